"""What a formula consists of, once read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "number",
    "letter",
    "ordinary",  # as a letter: ∞, …, °
    "postfix",  # n!
    "binary",  # a + b
    "slash",  # a/b
    "relation",  # a = b
    "punctuation",
    "open",
    "close",
    "bar",  # | and ‖: which side it is of depends on what stands before
    "function",  # sin
    "big",  # ∑, ∫, lim: applies to the whole product that follows
]


class Unclear(ValueError):
    """A formula, or a part of it, that is better shown as its source."""


_EQUATION_GAP: Final = 4
"""Cells between two equations in one line."""


@dataclass(frozen=True)
class Symbol:
    """A sign, a number or a name, as it is shown."""

    text: str
    kind: Kind
    limits: bool = False
    """Whether its scripts stand above and below it in a block: ∑, lim."""
    integral: bool = False
    """Whether it grows with what follows: ∫."""


@dataclass(frozen=True)
class Space:
    """A space that was asked for."""

    cells: int
    kept: bool = False
    """Whether leaving it out would join two numbers."""


@dataclass(frozen=True)
class Text:
    r"""Words: `\text{if }`. Their spaces count."""

    text: str


@dataclass(frozen=True)
class Row:
    """Parts side by side."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Fraction:
    """One above the other; without a line it is a plain stack."""

    above: Node
    below: Node


@dataclass(frozen=True)
class Choose:
    """A binomial coefficient."""

    above: Node
    below: Node


@dataclass(frozen=True)
class Root:
    """A root; a square root has no index."""

    body: Node
    index: Node | None


@dataclass(frozen=True)
class Scripts:
    """Something with an index, an exponent or limits; without a base they stand before what follows."""

    base: Node | None
    below: Node | None
    above: Node | None
    limits: bool
    """Whether they stand under and over the base in a block."""


@dataclass(frozen=True)
class Fenced:
    """Something in brackets; one side may be empty."""

    left: str
    body: Node
    right: str


@dataclass(frozen=True)
class Accent:
    """A mark over, under or through something."""

    body: Node
    name: str
    """What it is called where it cannot be drawn: `overline(a + b)`."""
    mark: str
    """The combining character, for a single letter."""


@dataclass(frozen=True)
class Boxed:
    """A final answer."""

    body: Node


@dataclass(frozen=True)
class Table:
    """A matrix, cases, or equations under each other."""

    rows: tuple[tuple[Node, ...], ...]
    columns: str
    """How each column stands: any of `lcr`; the last one goes for all that follow."""
    left: str = ""
    right: str = ""
    equations: bool = False
    """Whether the cells of a row are one equation, cut where it is to be aligned."""
    rules: tuple[int, ...] = ()
    """Before which rows a line is drawn; the number of rows: after the last one."""
    bars: tuple[int, ...] = ()
    """Before which columns a line is drawn."""


@dataclass(frozen=True)
class Tag:
    """The number of an equation."""

    text: str


Node: TypeAlias = (
    Symbol
    | Space
    | Text
    | Row
    | Fraction
    | Choose
    | Root
    | Scripts
    | Fenced
    | Accent
    | Boxed
    | Table
    | Tag
)


def alone(node: Node) -> Node:
    """The only part of a row, where it has only one."""
    while isinstance(node, Row) and len(node.items) == 1:
        node = node.items[0]
    return node


def joined(cells: tuple[Node, ...]) -> Node:
    """The cells of one row of equations as the row that they are."""
    items: list[Node] = []
    for cell in cells:
        items += cell.items if isinstance(cell, Row) else (cell,)
    return alone(Row(tuple(items)))


def side_by_side(cells: tuple[Node, ...]) -> Node:
    """One row of equations: two cells are one, and a gap stands before the next."""
    items: list[Node] = []
    for index in range(0, len(cells), 2):
        pair = joined(cells[index : index + 2])
        if pair == Row(()):
            continue
        first = pair.items[0] if isinstance(pair, Row) else pair
        if items and kind_of(first) not in {"relation", "binary"}:
            items.append(Space(_EQUATION_GAP))
        items += pair.items if isinstance(pair, Row) else (pair,)
    return alone(Row(tuple(items)))


def kind_of(node: Node) -> Kind | None:
    """The kind of a sign; None for what is none."""
    return node.kind if isinstance(node, Symbol) else None
