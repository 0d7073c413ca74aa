"""A formula in one line, with brackets wherever the flat form could be read as another value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from localr1.mathematics.alphabets import RAISED, lowered, raised
from localr1.mathematics.grid import table_line
from localr1.mathematics.reader import is_digit
from localr1.mathematics.spacing import FACTORS, Placed, placed
from localr1.mathematics.tree import (
    Accent,
    Boxed,
    Choose,
    Fenced,
    Fraction,
    Node,
    Root,
    Row,
    Scripts,
    Space,
    Symbol,
    Table,
    Tag,
    Text,
    Unclear,
    alone,
    side_by_side,
)

MOST_CHARACTERS: Final = 8000


class Bond(IntEnum):
    """How firmly the parts of a text hold together without brackets."""

    LOOSE = 0
    """Sums, relations, fractions."""
    PRODUCT = 1
    """Factors side by side: 2πr."""
    ATOM = 2
    """One sign or number, with its scripts, or something in brackets."""


@dataclass(frozen=True)
class Piece:
    """A part as text."""

    text: str
    bond: Bond = Bond.ATOM
    open_end: bool = False
    """Whether what follows at once would be read as a part of it: x^α."""
    open_start: bool = False
    """Whether it would be read as a part of what stands at once before it: ³√x."""


def line(node: Node) -> str:
    """The formula as one line of text.

    Raises:
        Unclear: It has no form in one line that can only be read in one way.
    """
    return piece(node).text


def piece(node: Node, *, tight: bool = False) -> Piece:
    """A part as text, and how it holds together.

    Args:
        node: The part.
        tight: Without spaces around signs, as in exponents and fractions.

    Raises:
        Unclear: As `line`.
    """
    made = _piece(node, tight)
    if len(made.text) > MOST_CHARACTERS:
        raise Unclear("too long")
    return made


def _piece(node: Node, tight: bool) -> Piece:
    match node:
        case Row(items):
            made = _row(items, tight=tight)
        case Fraction():
            made = _fraction(node)
        case Root():
            made = _root(node, enclosed=False)
        case Scripts():
            made = _scripts(node, tight=tight)
        case Accent():
            made = _accent(node)
        case Table():
            made = _table(node)
        case Choose() | Fenced() | Boxed():
            made = _held(node, tight=tight)
        case _:
            made = _leaf(node)
    return made


def _leaf(node: Symbol | Text | Space | Tag) -> Piece:
    match node:
        case Symbol(text, kind):
            loose = kind in {"binary", "relation", "slash", "punctuation", "function", "big"}
        case Text(text):
            loose = " " in text
        case Space(cells):
            text, loose = " " * cells, True
        case Tag(name):
            text, loose = f"({name})", True
    return Piece(text, Bond.LOOSE if loose else Bond.ATOM)


def _held(node: Choose | Fenced | Boxed, *, tight: bool) -> Piece:
    match node:
        case Choose(above, below):
            return Piece(f"({_factors(above)} choose {_factors(below)})")
        case Boxed(body):
            return Piece(f"▐ {piece(body).text} ▌")
        case Fenced(left, body, right):
            whole = Bond.ATOM if left and right else Bond.LOOSE
            return Piece(f"{left}{piece(body, tight=tight).text}{right}", whole)


def enclosed(made: Piece) -> str:
    """The text in brackets, unless it holds together by itself."""
    firm = made.bond is Bond.ATOM and not made.open_end and not made.open_start
    return made.text if firm else f"({made.text})"


def _factors(node: Node) -> str:
    """The text in brackets, unless it is one sign or a product."""
    made = piece(node, tight=True)
    firm = made.bond >= Bond.PRODUCT and not made.open_end and not made.open_start
    return made.text if firm else f"({made.text})"


# Rows


def _row(items: tuple[Node, ...], *, tight: bool) -> Piece:
    parts = placed(items, tight=tight)
    words: list[str] = []
    last: Piece | None = None
    is_product = True
    skip = False
    for index, part in enumerate(parts):
        if skip:
            skip = False
            continue
        if index + 1 < len(parts) and _is_mixed(part, parts[index + 1]):
            made, skip = _mixed(part, parts[index + 1]), True
        else:
            made = _in_row(part, tight)
        gap = part.gap
        if last is not None and gap == 0 and _would_join(last, made, part):
            gap = 1
        is_product = is_product and part.role in {"operand", "postfix", "open", "close"}
        is_product = is_product and gap == 0 and made.bond is not Bond.LOOSE
        words.append(" " * gap + made.text)
        last = made
    text = "".join(words)
    if len(parts) == 1 and last is not None:
        return replace(last, text=text)
    bond = Bond.PRODUCT if is_product and text else Bond.LOOSE
    if is_product and [part.role for part in parts] == ["operand", "postfix"]:
        bond = Bond.ATOM
    return Piece(text, bond, open_end=last is not None and last.open_end)


def _would_join(left: Piece, right: Piece, part: Placed) -> bool:
    """Whether two parts without a space between would be read as one."""
    if part.before is None:
        return False
    if right.open_start and part.before in FACTORS:
        return True
    if right.text[:1] in ROOTS and left.text[-1:] in RAISED:
        return True  # x²√3 could be the square root of 3, the x's exponent its index
    if joins_numbers(left.text, right.text, part.node):
        return True
    return left.open_end and part.role in {"operand", "postfix", "open", "function", "big"}


def joins_numbers(left: str, right: str, node: Node) -> bool:
    """Whether a text would go on with the number that ends before it.

    Args:
        left: The text before.
        right: The text.
        node: What the text shows; a marked digit does go on: 0.16̅ is 0.1666…
    """
    if not (is_digit(left[-1:]) and is_digit(right[:1])):
        return False
    return not (isinstance(node, Accent) and node.name in {"overline", "bar", "dot"})


def _in_row(part: Placed, tight: bool) -> Piece:
    """A part with brackets where its neighbours would take a piece of it."""
    node = alone(part.node)
    if isinstance(node, Root):
        return _root(node, enclosed=part.is_multiplied)
    made = piece(node, tight=tight)
    if not isinstance(node, Fraction) or made.bond is Bond.ATOM:
        return made
    applied = part.before in {"function", "slash"} or part.after == "slash"
    divided = not set(part.signs) <= _NO_MATTER
    if part.is_factor or applied or divided:
        return Piece(f"({made.text})")
    return made


_NO_MATTER: Final = frozenset("+−±∓·×")
"""Beside these a fraction is the same with and without brackets."""


def _is_mixed(part: Placed, following: Placed) -> bool:
    """Whether a number and a fraction of numbers stand side by side: 3 1/2 in the one reading."""
    fraction = following.node
    return (
        _is_number(part.node)
        and part.before not in {"operand", "postfix", "close", "function", "slash"}
        and isinstance(fraction, Fraction)
        and _is_number(fraction.above)
        and _is_number(fraction.below)
        and not following.is_multiplied
        and following.after != "slash"
        and following.gap < 2
    )


def _mixed(part: Placed, following: Placed) -> Piece:
    return Piece(f"{piece(part.node).text} {piece(following.node).text}", Bond.LOOSE)


def _is_number(node: Node) -> bool:
    node = alone(node)
    return isinstance(node, Symbol) and node.kind == "number"


# Fractions and roots


def _fraction(node: Fraction) -> Piece:
    below = piece(node.below, tight=True)
    if _is_derivative(node):
        return Piece(f"{piece(node.above, tight=True).text}/{below.text}", Bond.LOOSE)
    return Piece(f"{_factors(node.above)}/{enclosed(below)}", Bond.LOOSE)


def _is_derivative(node: Fraction) -> bool:
    """Whether it is dy/dx, ∂²f/∂x∂y or the like, which needs no brackets."""
    above = node.above.items if isinstance(node.above, Row) else (node.above,)
    below = node.below.items if isinstance(node.below, Row) else (node.below,)
    sign = _letter(above[0]) if above else ""
    return (
        sign in {"d", "∂"}
        and len(below) % 2 == 0
        and len(below) > 0
        and len(above) <= 2
        and all(_letter(item) == sign for item in below[::2])
        and all(_letter(item) and not _is_open(item) for item in (*above, *below[1::2]))
    )


def _letter(node: Node) -> str:
    """The letter that this is, with a simple script at most."""
    if isinstance(node, Scripts) and node.base is not None:
        scripts = (alone(script) for script in (node.below, node.above) if script is not None)
        return _letter(node.base) if all(isinstance(one, Symbol) for one in scripts) else ""
    return node.text if isinstance(node, Symbol) and node.kind in {"letter", "ordinary"} else ""


def _is_open(node: Node) -> bool:
    return piece(node, tight=True).open_end


def _root(node: Root, *, enclosed: bool) -> Piece:
    body = alone(node.body)
    made = piece(body, tight=True)
    simple = isinstance(body, Symbol) and body.kind in {"number", "letter"}
    round_ = isinstance(body, Fenced) and (body.left, body.right) == ("(", ")")
    text = made.text if round_ or (simple and not enclosed) else f"({made.text})"
    index = "" if node.index is None else piece(node.index, tight=True).text
    if index in _ROOTS:
        return Piece(_ROOTS[index] + text)
    small = raised(index)
    if small is None:
        raise Unclear("root")
    return Piece(f"{small}√{text}", open_start=True)


_ROOTS: Final = {"": "√", "3": "∛", "4": "∜"}
ROOTS: Final = frozenset(_ROOTS.values())


# Scripts and accents


def script(node: Node) -> tuple[str, bool]:
    """An exponent, index or limit as text, and whether it is one sign, number or word."""
    made = piece(node, tight=True)
    inner = alone(node)
    if isinstance(inner, Text):
        return made.text, made.text.isalnum()
    return made.text, isinstance(inner, Symbol) and (
        inner.kind in {"number", "letter", "ordinary"} or inner.text in {"*", "∗", "⊥"}
    )


def _scripts(node: Scripts, *, tight: bool) -> Piece:
    base = None if node.base is None or node.base == Row(()) else alone(node.base)
    if node.limits and isinstance(base, Symbol) and base.kind in _NEVER_UNDER:
        raise Unclear("over or under")  # 3 with a carry over it would be a power
    if base is None:
        text, firm = "", True
    else:
        made = piece(base, tight=tight)
        word = isinstance(base, Symbol | Text)
        text = made.text if word or isinstance(base, Fenced) else _base(base, made)
        firm = not isinstance(base, Symbol) or base.kind not in {"function", "big", "relation"}
    open_end = False
    if base is None and node.above is not None:
        # Before a chemical element the upper number comes first.
        upper, _ = script(node.above)
        text = raised(upper) or f"^{_round(node.above, upper)}"
    if node.below is not None:
        lower, single = script(node.below)
        small = lowered(lower)
        bare = small is None and single
        text += small or ("_" + (lower if bare else _round(node.below, lower)))
        open_end = bare
    if base is not None and node.above is not None:
        upper, single = script(node.above)
        small = raised(upper)
        bare = small is None and single
        text += small or ("^" + (upper if bare else _round(node.above, upper)))
        open_end = bare
    return Piece(text, Bond.ATOM if firm else Bond.LOOSE, open_end, open_start=base is None)


_NEVER_UNDER: Final = frozenset({"number", "letter", "ordinary"})
"""What has an exponent or an index at its side; over or under it stands something else."""


def _base(base: Node, made: Piece) -> str:
    if isinstance(base, Accent | Boxed | Choose) or (isinstance(base, Table) and base.left):
        return made.text
    return f"({made.text})"


def _round(node: Node, text: str) -> str:
    inner = alone(node)
    is_round = isinstance(inner, Fenced) and (inner.left, inner.right) == ("(", ")")
    return text if is_round else f"({text})"


def _accent(node: Accent) -> Piece:
    made = piece(node.body, tight=True)
    if marked := with_mark(node, made.text):
        return Piece(marked)
    return Piece(f"{node.name}({made.text})")


_ON_EACH: Final = frozenset({"overline", "underline", "cancel"})


def with_mark(node: Accent, text: str) -> str:
    """The text with the mark on its only letter, or a line on all; nothing when it has no such form."""
    if (
        not node.mark
        or not text.isalnum()
        or any(raised(c) is None and not c.isalpha() for c in text)
    ):
        return ""
    if len(text) == 1 or node.name in _ON_EACH:
        return "".join(character + node.mark for character in text)
    return ""


# Tables


def _table(node: Table) -> Piece:
    if node.equations:
        text = "; ".join(piece(side_by_side(cells)).text for cells in node.rows)
    else:
        text = table_line(node, [[piece(cell).text.strip() for cell in row] for row in node.rows])
    right = "}" if node.left == "{" else node.right
    return Piece(f"{node.left}{text}{right}", Bond.ATOM if node.left else Bond.LOOSE)
