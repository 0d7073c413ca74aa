"""From tokens to a tree. What is not known for sure makes the whole formula unclear."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from localr1.mathematics.alphabets import in_alphabet
from localr1.mathematics.commands import (
    ALPHABETS,
    BINOMIALS,
    FRACTIONS,
    IGNORED,
    INFIX,
    SIZES,
    TEXTS,
    UPRIGHT,
)
from localr1.mathematics.environments import ENVIRONMENTS, column_sides
from localr1.mathematics.reader import Reader, is_digit
from localr1.mathematics.symbols import (
    ACCENTS,
    ARROWS,
    CLOSING,
    COMMANDS,
    DELIMITERS,
    NEGATED,
    SPACES,
    fence,
    is_letter,
    sign,
)
from localr1.mathematics.tokens import Token
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
    joined,
    kind_of,
    side_by_side,
)

_CELL_ENDS: Final = frozenset({"&", "\\\\", "\\cr", "\\end", ""})
_ROW_ENDS: Final = frozenset({"\\\\", "\\cr"})
_STOPS: Final = frozenset({"}", "&", "\\\\", "\\cr", "\\end", "\\right", "\\middle", ""})
_PRIMES: Final = ("", "′", "″", "‴")
_SIDES: Final = frozenset({"open", "close", "bar"})


def parse(source: str) -> Node:
    """The tree of a formula, without the signs around it that say that it is one.

    Raises:
        Unclear: It is wrong, unknown in a part, too long or too deep.
    """
    parser = _Parser(source)
    # Rows and alignment without an environment are wrong in LaTeX, but clear.
    table = parser.table("rl", equations=True)
    if parser.next.text:
        raise Unclear(parser.next.text)
    return table


class _Parser(Reader):
    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._alphabet = ""

    # Rows

    def row(self, ends: frozenset[str]) -> Node:
        """Parts side by side, up to one of the ends."""
        self.deeper()
        items: list[Node] = []
        opened: list[int] = []
        while self.next.text not in ends:
            if self.next.text in _STOPS:
                raise Unclear(self.next.text or "ends too early")
            if self.next.text in INFIX:
                items = [self.infix(items, ends)]
                break
            if self.next.text == "\\pmod" and items:
                items.append(Space(2))
            spaced = self.next.spaced
            node = self.part()
            if node is None:
                continue
            if spaced and items and kind_of(node) == "number":
                items += _space_before_number(items[-1])
            if kind_of(node) == "open":
                self.deeper()
                opened.append(len(items))
            items.append(self.scripted(self.closed(node, items, opened)))
        self.deeper(-1 - len(opened))
        return alone(Row(tuple(items)))

    def closed(self, node: Node, items: list[Node], opened: list[int]) -> Node:
        """The brackets with what they hold, if this is the bracket that closes them."""
        if not (isinstance(node, Symbol) and node.kind == "close" and opened):
            return node
        start = items[opened[-1]]
        if not (isinstance(start, Symbol) and node.text in CLOSING[start.text]):
            return node
        body = tuple(items[opened[-1] + 1 :])
        del items[opened.pop() :]
        self.deeper(-1)
        return Fenced(start.text, alone(Row(body)), node.text)

    def infix(self, items: list[Node], ends: frozenset[str]) -> Node:
        command = self.take().text
        above, below = alone(Row(tuple(items))), self.row(ends)
        return Fraction(above, below) if command == "\\over" else Choose(above, below)

    def group(self) -> Node:
        self.expect("{")
        row = self.row(frozenset({"}"}))
        self.expect("}")
        return row

    def argument(self) -> Node:
        r"""What one command or `^` takes: a group, a command with its own, or one character."""
        if self.next.text == "{":
            return self.group()
        if self.next.text in _STOPS or self.next.text in {"^", "_", "'"}:
            raise Unclear("no argument")
        self.deeper()
        if is_digit(self.next.text):
            node: Node | None = self.letter(Symbol(self.take().text, "number"))
        else:
            node = self.part()
        self.deeper(-1)
        if node is None or isinstance(node, Space | Tag) or kind_of(node) in _SIDES:
            raise Unclear("no argument")
        return node

    def optional(self) -> Node | None:
        if not self.skip("["):
            return None
        row = self.row(frozenset({"]"}))
        self.expect("]")
        return row

    def scripted(self, base: Node) -> Node:
        """The part with the scripts that follow it."""
        scripts: dict[str, Node] = {}
        primes = 0
        limits = isinstance(base, Symbol) and base.limits
        while (mark := self.next.text) in {"^", "_", "'", "\\limits", "\\nolimits"}:
            self.take()
            if mark in {"^", "_"}:
                if mark in scripts:
                    raise Unclear("two exponents or indices")
                scripts[mark] = self.argument()
            elif mark == "'":
                primes += 1
                if "^" in scripts or primes >= len(_PRIMES):
                    raise Unclear("primes")
            else:
                limits = mark == "\\limits"
        if primes:
            prime = Symbol(_PRIMES[primes], "ordinary")
            scripts["^"] = Row((prime, scripts["^"])) if "^" in scripts else prime
        shown = {mark: script for mark, script in scripts.items() if script != Row(())}
        if not shown:
            return base
        if isinstance(base, Space | Tag):
            raise Unclear("no base")
        braced = isinstance(base, Accent) and base.name in {"overbrace", "underbrace"}
        return Scripts(base, shown.get("_"), shown.get("^"), limits or braced)

    # Parts

    def part(self) -> Node | None:
        """One part without its scripts; None for what shows nothing."""
        text = self.next.text
        if text == "{":
            group = self.group()
            # An empty group begins scripts that stand before something.
            return group if group != Row(()) or self.next.text in {"^", "_"} else None
        if text in {"^", "_", "'"}:
            return Row(())
        return self.known() if text[0] == "\\" else self.character()

    def known(self) -> Node | None:
        """What a command stands for."""
        text = self.take().text
        node: Node | None = None
        if text in SPACES:
            node = Space(SPACES[text])
        elif text in COMMANDS:
            node = self.letter(COMMANDS[text])
        elif text in TEXTS:
            node = Text(self.words())
        elif text in DELIMITERS or text in SIZES:
            shown = DELIMITERS[text] if text in DELIMITERS else self.side()
            node = fence(shown) if shown else None
        elif text not in IGNORED:
            node = self.command(text)
        return node

    def character(self) -> Node:
        token = self.take()
        if is_digit(token.text):
            number = self.number(token.text)
            digits = (self.letter(Symbol(digit, "number")) for digit in number)
            return alone(Row(tuple(digits))) if self._alphabet else Symbol(number, "number")
        if token.text == "~":
            return Space(SPACES["~"])
        if token.text in "([)]|":
            return fence(token.text)
        follows = self.next
        if token.text == "d" and token.spaced and not follows.spaced and is_letter(follows.text):
            # The differential under an integral stands apart.
            self.back(Token("d", token.start, False))
            return Space(1)
        return self.letter(sign(token.text))

    def letter(self, symbol: Symbol) -> Symbol:
        """The symbol in the alphabet that is asked for."""
        is_letter = symbol.kind in {"letter", "number"} or symbol.text == "∇"
        if not self._alphabet or not is_letter:
            return symbol
        text = in_alphabet(symbol.text, self._alphabet)
        if text is None:
            raise Unclear(f"{symbol.text} in {self._alphabet}")
        return Symbol(text, symbol.kind)

    def command(self, text: str) -> Node | None:
        if text in FRACTIONS:
            return Fraction(self.argument(), self.argument())
        if text in BINOMIALS:
            return Choose(self.argument(), self.argument())
        if text in ALPHABETS or text in UPRIGHT:
            return self.in_alphabet(ALPHABETS.get(text, ""), word=text in UPRIGHT)
        name = text[1:]
        if name in ACCENTS:
            return Accent(self.argument(), *ACCENTS[name])
        if name in ARROWS:
            below = self.optional()
            return Scripts(Symbol(ARROWS[name], "relation"), below, self.argument(), True)
        if text not in _SPECIAL:
            raise Unclear(text)
        return _SPECIAL[text](self)

    def in_alphabet(self, alphabet: str, *, word: bool) -> Node:
        before, self._alphabet = self._alphabet, alphabet
        node = self.argument()
        self._alphabet = before
        if word and isinstance(node, Row) and all(kind_of(item) == "letter" for item in node.items):
            return Text("".join(item.text for item in node.items if isinstance(item, Symbol)))
        return node

    def root(self) -> Node:
        index = self.optional()
        return Root(self.argument(), index)

    def left(self) -> Node:
        left = self.side()
        parts: list[Node] = []
        while True:
            parts.append(self.row(frozenset({"\\right", "\\middle"})))
            if not self.skip("\\middle"):
                break
            parts.append(Symbol(self.side(), "relation"))
        self.expect("\\right")
        return Fenced(left, joined(tuple(parts)), self.side())

    def side(self) -> str:
        text = self.take().text
        if text not in DELIMITERS:
            raise Unclear(text)
        return DELIMITERS[text]

    def negated(self) -> Node:
        symbol = self.argument()
        if not isinstance(symbol, Symbol) or symbol.text not in NEGATED:
            raise Unclear("\\not")
        return Symbol(NEGATED[symbol.text], "relation")

    def stack(self, *, above: bool) -> Node:
        script, base = self.argument(), self.argument()
        return Scripts(base, None if above else script, script if above else None, True)

    def modulo(self) -> Node:
        return Fenced("(", Row((Symbol("mod", "function"), self.argument())), ")")

    def operator(self) -> Node:
        limits = self.skip("*")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9 \-]*", name := self.words()):
            raise Unclear(name)
        return Symbol(name, "big" if limits else "function", limits)

    def lines(self) -> Node:
        self.expect("{")
        table = self.table("c", equations=True, ends=frozenset({"}"}))
        self.expect("}")
        return table

    def coloured(self) -> Node:
        self.unseen()
        return self.argument()

    def unseen(self) -> None:
        self.words()

    def tag(self) -> Node:
        self.skip("*")
        return Tag(self.words())

    def blank(self) -> Node:
        self.skip("*")
        self.words()
        return Space(1)

    # Tables

    def environment(self) -> Node:
        name = self.words().removesuffix("*")
        environment = ENVIRONMENTS.get(name)
        if environment is None:
            raise Unclear(name)
        argument = self.words() if environment.argument else None
        columns, bars = column_sides(argument, environment)
        table = self.table(columns, equations=environment.equations)
        self.expect("\\end")
        if self.words().removesuffix("*") != name:
            raise Unclear(name)
        if not isinstance(table, Table):
            return table
        left, right = environment.left, environment.right
        return Table(table.rows, table.columns, left, right, table.equations, table.rules, bars)

    def table(
        self, columns: str, *, equations: bool = False, ends: frozenset[str] = frozenset()
    ) -> Node:
        r"""Rows of cells, up to `\end` or the end; a single equation is not a table."""
        rows: list[tuple[Node, ...]] = []
        rules: list[int] = []
        while True:
            while self.skip("\\hline"):
                rules.append(len(rows))
            cells = [self.row(_CELL_ENDS | ends)]
            while self.skip("&"):
                cells.append(self.row(_CELL_ENDS | ends))
            if self.next.text not in _ROW_ENDS:
                break
            rows.append(tuple(cells))
            self.row_end()
        if cells != [Row(())] or not rows:
            rows.append(tuple(cells))
        if equations and len(rows) == 1 and not rules:
            return side_by_side(rows[0])
        if columns == "rl" and all(len(row) == 1 for row in rows):
            columns = "l"
        return Table(tuple(rows), columns, equations=equations, rules=tuple(rules))


def _space_before_number(before: Node) -> list[Node]:
    """A number after white space: 1 000 is not 1000, nor 2³ 4 the same as 2³4."""
    kind = kind_of(before)
    if kind == "number" or isinstance(before, Scripts):
        return [Space(1, kept=True)]
    return [Space(1)] if kind == "punctuation" else []


_SPECIAL: Final[dict[str, Callable[[_Parser], Node | None]]] = {
    "\\sqrt": _Parser.root,
    "\\left": _Parser.left,
    "\\begin": _Parser.environment,
    "\\boxed": lambda parser: Boxed(parser.argument()),
    "\\not": _Parser.negated,
    "\\overset": lambda parser: parser.stack(above=True),
    "\\stackrel": lambda parser: parser.stack(above=True),
    "\\underset": lambda parser: parser.stack(above=False),
    "\\pmod": _Parser.modulo,
    "\\operatorname": _Parser.operator,
    "\\substack": _Parser.lines,
    "\\textcolor": _Parser.coloured,
    "\\tag": _Parser.tag,
    "\\hspace": _Parser.blank,
    # What these hold is not shown in LaTeX either.
    **dict.fromkeys(
        ("\\color", "\\label", "\\phantom", "\\hphantom", "\\vphantom"),
        _Parser.unseen,
    ),
}
