"""Formulas with a known value, and readers that find the value again in what is shown.

The readers know nothing of the code under test: they take the text, or the picture, as a person
would. All values are numbers modulo a prime, so that every division is exact; roots, powers and
functions are mixed into the value in ways that do not commute.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

PRIME: Final = 1_000_003
VALUES: Final = {"a": 31_337, "b": 271_829, "x": 31_415, "y": 57_721, "π": 16_180}
COMMANDS: Final = {"π": r"\pi "}
RAISED: Final = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇˣʸˢⁱⁿ", "0123456789+−=()abxysin", strict=True))


def power(base: int, exponent: int) -> int:
    return (base * 7919 + exponent * 104_729 + base * base * exponent + 17) % PRIME


def root(value: int, index: int = 2) -> int:
    return (pow(value, 3, PRIME) + 11 * index) % PRIME


def sine(value: int) -> int:
    return (pow(value, 5, PRIME) + 1234) % PRIME


def divided(above: int, below: int) -> int:
    return above * pow(below, -1, PRIME) % PRIME


@dataclass(frozen=True)
class Formula:
    """LaTeX, what it is worth, and how it may stand beside others."""

    latex: str
    value: int
    kind: str = "atom"
    """`number`, `atom`, `product`, `applied` (takes what follows) or `sum`."""


def _grouped(inner: Formula, *kinds: str) -> Formula:
    if inner.kind in kinds:
        return inner
    return Formula(rf"\left({inner.latex}\right)", inner.value)


def _fraction(above: Formula, below: Formula) -> Formula:
    value = divided(above.value, below.value or 1)
    latex = below.latex if below.value else "1"
    return Formula(rf"\frac{{{above.latex}}}{{{latex}}}", value, "fraction")


def _sum(left: Formula, sign: str, right: Formula) -> Formula:
    right = _grouped(right, "number", "atom", "fraction", "product", "applied")
    value = left.value + (right.value if sign == "+" else -right.value)
    return Formula(f"{left.latex} {sign} {right.latex}", value % PRIME, "sum")


def _times(left: Formula, right: Formula) -> Formula:
    left = _grouped(left, "number", "atom", "fraction", "product")
    right = _grouped(right, "number", "atom", "fraction", "applied")
    return Formula(
        rf"{left.latex} \cdot {right.latex}", left.value * right.value % PRIME, "product"
    )


def _beside(left: Formula, right: Formula) -> Formula:
    left = _grouped(left, "number", "atom", "fraction")
    right = _grouped(right, "atom", "fraction", "applied")
    if right.latex[0].isdigit():
        right = _grouped(right)
    if left.kind == "number" and right.kind == "fraction":
        left = _grouped(left)  # 3 1/2 would be read as a mixed number
    return Formula(f"{left.latex}{right.latex}", left.value * right.value % PRIME, "product")


def _over(left: Formula, right: Formula) -> Formula:
    left = _grouped(left, "number", "atom", "fraction")
    right = _grouped(right, "number", "atom", "fraction")
    value = divided(left.value, right.value or 1)
    return Formula(f"{left.latex}/{right.latex if right.value else '1'}", value, "product")


def _power(base: Formula, exponent: Formula) -> Formula:
    base = _grouped(base, "number", "atom") if "^" not in base.latex else _grouped(base)
    return Formula(f"{base.latex}^{{{exponent.latex}}}", power(base.value, exponent.value))


def _root(body: Formula, index: int) -> Formula:
    shown = "" if index == 2 else f"[{index}]"
    return Formula(rf"\sqrt{shown}{{{body.latex}}}", root(body.value, index))


def _sine(body: Formula) -> Formula:
    body = _grouped(body, "number", "atom", "fraction")
    return Formula(rf"\sin {body.latex}", sine(body.value), "applied")


def _minus(body: Formula) -> Formula:
    body = _grouped(body, "number", "atom", "fraction", "product", "applied")
    return Formula(f"-{body.latex}", -body.value % PRIME, "sum")


_LEAVES = st.one_of(
    st.integers(0, 999).map(lambda n: Formula(str(n), n, "number")),
    st.sampled_from(sorted(VALUES)).map(lambda c: Formula(COMMANDS.get(c, c), VALUES[c])),
)


def _larger(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    return st.one_of(
        st.builds(_sum, inner, st.sampled_from("+-"), inner),
        st.builds(_times, inner, inner),
        st.builds(_beside, inner, inner),
        st.builds(_over, inner, inner),
        st.builds(_fraction, inner, inner),
        st.builds(_power, inner, inner),
        st.builds(_root, inner, st.integers(2, 5)),
        st.builds(_sine, inner),
        st.builds(_minus, inner),
        inner.map(_grouped),
    )


FORMULAS: Final = st.recursive(_LEAVES, _larger, max_leaves=24)


# A line


class _Line:
    """Reads one line: signs of equal rank from left to right, factors without a sign as a product."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self) -> int:
        value = self._sum()
        self._blanks()
        assert self._at == len(self._text), f"{self._text!r} at {self._at}"
        return value

    def _blanks(self) -> bool:
        start = self._at
        while self._text[self._at : self._at + 1] == " ":
            self._at += 1
        return self._at > start

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._at)
        self._at += len(sign) if found else 0
        return found

    def _sum(self) -> int:
        self._blanks()
        value = -self._product() if self._skip("−") else self._product()
        while True:
            self._blanks()
            if self._skip("+"):
                value += self._product()
            elif self._skip("−"):
                value -= self._product()
            else:
                return value % PRIME

    def _product(self) -> int:
        value = self._factor()
        while True:
            self._blanks()
            if self._skip("·"):
                value = value * self._factor() % PRIME
            elif self._skip("/"):
                value = divided(value, self._factor())
            elif (self._next() and self._next() in "(√∛∜abxyπs⁴⁵") or self._next().isdigit():
                value = value * self._factor() % PRIME
            else:
                return value

    def _factor(self) -> int:
        self._blanks()
        if self._skip("sin"):
            return sine(self._factor())
        value = self._atom()
        if raised := re.compile(f"[{''.join(RAISED)}]+(?!√)").match(self._text, self._at):
            self._at = raised.end()
            return power(value, _Line("".join(RAISED[c] for c in raised[0])).value())
        return power(value, self._atom()) if self._skip("^") else value

    def _atom(self) -> int:
        for sign, index in {"√": 2, "∛": 3, "∜": 4, "⁵√": 5}.items():
            if self._skip(sign):
                return root(self._atom(), index)
        if self._skip("("):
            value = self._sum()
            assert self._skip(")"), f"{self._text!r} at {self._at}"
            return value
        if number := re.compile(r"[0-9]+").match(self._text, self._at):
            self._at = number.end()
            return int(number[0])
        letter = self._next()
        assert letter in VALUES, f"{self._text!r} at {self._at}"
        self._at += 1
        return VALUES[letter]


def value_of_line(text: str) -> int:
    """What a line is worth.

    Raises:
        AssertionError: It cannot be read.
    """
    return _Line(text).value()


# A picture


def value_of_picture(lines: tuple[str, ...]) -> int:
    """What a picture is worth.

    Raises:
        AssertionError: It cannot be read.
    """
    return value_of_line(_flat(_trimmed(list(lines))))


def _trimmed(lines: list[str]) -> list[str]:
    lines = [line for line in lines if line.strip()]
    width = max(map(len, lines))
    lines = [line.ljust(width) for line in lines]
    left = min(len(line) - len(line.lstrip()) for line in lines)
    right = max(len(line.rstrip()) for line in lines)
    return [line[left:right] for line in lines]


def _baseline(lines: list[str]) -> int:
    """The line of the first sign from the left that stands level with the whole."""
    column = [line[0] for line in lines]
    if "─" in column:
        # Of several lines the longest is the fraction that holds the others.
        return max((_run(lines[i], 0, "─"), i) for i, c in enumerate(column) if c == "─")[1]
    if any(c in "⎛⎜⎝" for c in column):
        rows = [i for i, c in enumerate(column) if c in "⎛⎜⎝"]
        inner = _inside(lines, rows, 0)
        return rows[0] + _leading(inner)
    if any(c in "√∛∜⁵" for c in column):
        row = next(i for i, c in enumerate(column) if c in "√∛∜⁵")
        bar = 2 if column[row] == "⁵" else 1
        if lines[row][bar] != "│":
            return row
        top = next(i for i, line in enumerate(lines) if line[bar] == "┌")
        inner = [line[bar + 1 : bar + 1 + _run(lines[top], bar + 1, "─")] for line in lines]
        return top + 1 + _leading(inner[top + 1 : row + 1])
    return next(i for i, c in enumerate(column) if c != " ")


def _leading(lines: list[str]) -> int:
    """The baseline, counted with the empty lines above."""
    empty = next(i for i, line in enumerate(lines) if line.strip())
    return empty + _baseline(_trimmed(lines))


def _run(line: str, start: int, sign: str) -> int:
    end = start
    while line[end : end + 1] == sign:
        end += 1
    return end - start


def _inside(lines: list[str], rows: list[int], start: int) -> list[str]:
    return [
        line[start + 1 : _closing(lines, rows, start)] for line in lines[rows[0] : rows[-1] + 1]
    ]


def _closing(lines: list[str], rows: list[int], start: int) -> int:
    """The column of the bracket of the same height that closes this one."""
    for column in range(start + 1, len(lines[0])):
        found = [i for i in range(len(lines)) if lines[i][column] in "⎞⎟⎠"]
        if [i for i in found if i in rows] == rows and lines[rows[0]][column] == "⎞":
            opened = sum(
                lines[rows[0]][c] == "⎛" and lines[rows[-1]][c] == "⎝"
                for c in range(start + 1, column)
            )
            closed = sum(
                lines[rows[0]][c] == "⎞" and lines[rows[-1]][c] == "⎠"
                for c in range(start + 1, column)
            )
            if opened == closed:
                return column
    raise AssertionError("\n".join(lines))


def _flat(lines: list[str]) -> str:
    """The picture as a line with all its brackets."""
    level = _baseline(lines)
    words: list[str] = []
    column, width = 0, len(lines[0])
    top = level
    while column < width:
        sign = lines[level][column]
        above, below = lines[:level], lines[level + 1 :]
        if sign == "─":
            end = column + _run(lines[level], column, "─")
            parts = (_flat(_trimmed([line[column:end] for line in p])) for p in (above, below))
            words.append("(({})/({}))".format(*parts))
            column, top = end, level
        elif sign in "⎛⎜⎝":
            rows = [i for i in range(len(lines)) if lines[i][column] in "⎛⎜⎝"]
            first = max(i for i in rows if i <= level and lines[i][column] == "⎛")
            last = min(i for i in rows if i >= level and lines[i][column] == "⎝")
            rows = list(range(first, last + 1))
            words.append(f"({_flat(_trimmed(_inside(lines, rows, column)))})")
            column, top = _closing(lines, rows, column) + 1, first
        elif sign == "│":
            first = max(i for i in range(level) if lines[i][column] == "┌")
            end = column + 1 + _run(lines[first], column + 1, "─")
            last = next(i for i in range(level, len(lines)) if lines[i][column - 1] in "√∛∜")
            index = "⁵" if lines[last][column - 2 : column - 1] == "⁵" else ""
            inner = [line[column + 1 : end] for line in lines[first + 1 : last + 1]]
            words.append(f" {index}{lines[last][column - 1]}({_flat(_trimmed(inner))})")
            column, top = end, level
        elif sign in "√∛∜" and level and lines[level - 1][column + 1 : column + 2] == "_":
            end = column + 1 + _run(lines[level - 1], column + 1, "_")
            words.append(f"{sign}({lines[level][column + 1 : end]})")
            column, top = end, level
        elif sign in "√∛∜⁵" and "│" in lines[level][column + 1 : column + 3].rstrip("√"):
            column += 1  # said when its bar comes
        elif sign == " " and (end := _exponent(lines, level, top, column)):
            row = top if top < level else level - 1
            words.append(f"^({_plain(lines[row][column:end])})")
            column, top = end, level
        else:
            words.append(sign)
            column += 1
            top = level if sign != " " else top
    return "".join(words)


def _exponent(lines: list[str], level: int, top: int, column: int) -> int:
    """Where an exponent ends that begins here; 0 if there is none."""
    row = top if top < level else level - 1
    if row < 0 or not column or (lines[level][column - 1] == " " and top == level):
        return 0
    end = column
    while end < len(lines[0]) and lines[row][end] != " " and lines[level][end] == " ":
        end += 1
        both = lines[row][end : end + 2], lines[level][end : end + 2]
        if both[0][:1] == " " and both[0][1:] not in {"", " "} and both[1] == "  ":
            end += 1
    return end if end > column else 0


def _plain(text: str) -> str:
    """An exponent; beside a high bracket it is in small signs."""
    return "".join(RAISED[c] for c in text) if set(text) <= set(RAISED) else text


# Signs that must all be there


def signs_of(text: str) -> str:
    """Capital letters, digits and value-bearing signs of a text, in order, without their forms."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if ("A" <= c <= "Z") or ("0" <= c <= "9") or c in _KEPT)


_KEPT = frozenset("+−×÷≤∈∞βΩ")


@dataclass(frozen=True)
class Written:
    """LaTeX, and the signs that it shows in the order in which a line has them."""

    latex: str
    signs: str


_SIGNS = st.one_of(
    st.sampled_from("ABCKMXYZ").map(lambda c: Written(c, c)),
    st.integers(0, 99).map(lambda n: Written(str(n), str(n))),
    st.sampled_from([Written(r"\infty ", "∞"), Written(r"\beta ", "β"), Written(r"\Omega ", "Ω")]),
    st.sampled_from(
        [Written(r"\mathbf{A}", "A"), Written(r"\mathbb{R}", "R"), Written(r"\text{M K}", "MK")]
    ),
)
# `<` and `>` are the parts; after a blank comes the sign that stands between them.
_PATTERNS = (
    *("{<}", "(<)", r"\left[<\right]", r"\left|<\right|", "|<|", r"\sqrt{<}", r"\sqrt[n]{<}"),
    *(r"\boxed{<}", r"\hat{<}", r"\vec{<}", r"\tilde{<}", r"\overline{<}", r"\underline{<}"),
    *(r"\lim_{<}", r"\sin <", r"\underbrace{<}", r"\operatorname{rank}<", r"\left\{<\right."),
    *(r"\frac{<}{>}", r"\binom{<}{>}", "{<}_{>}", "{<}^{>}", r"\sum_{<}^{>}", r"\int_{<}^{>}"),
    *(r"\begin{pmatrix}<\\>\end{pmatrix}", r"\begin{cases}<\\>\end{cases}", r"{}^{<}{>}"),
    *(r"\begin{aligned}<&>\end{aligned}", r"\begin{aligned}<\\>\end{aligned}", r"<\int >"),
    *(r"\begin{bmatrix}<&>\end{bmatrix}", r"<\quad{}>", "<{} >", "<,>", r"\lim_{<}>", "<'>"),
    *(r"\left.<\right|_{>}", r"\overset{<}{=}_{>}", "<+> +", "<-> −", r"<\times{}> ×"),
    *(r"<\div{}> ÷", r"<\le{}> ≤", r"<\in{}> ∈", "</>", "<=>"),
)


def _filled(pattern: str, left: Written, right: Written) -> Written:
    latex, _, sign = pattern.rpartition(" ") if pattern[-1] in _KEPT else (pattern, "", "")
    parts = {"<": left.latex, ">": right.latex}
    signs = left.signs + sign + (right.signs if ">" in latex else "")
    return Written("".join(parts.get(c, c) for c in latex), signs)


def _more(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    return st.builds(_filled, st.sampled_from(_PATTERNS), inner, inner)


WRITTEN: Final = st.recursive(_SIGNS, _more, max_leaves=12)
"""Anything but values: also what cannot be computed."""
