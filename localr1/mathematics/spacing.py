"""How far parts of a row stand apart, and what each belongs to: the same in a line and a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from localr1.mathematics.tree import (
    Fenced,
    Fraction,
    Node,
    Row,
    Scripts,
    Space,
    Symbol,
    Tag,
    Text,
)

Role: TypeAlias = Literal[
    "operand",
    "postfix",
    "prefix",
    "binary",
    "slash",
    "relation",
    "punctuation",
    "open",
    "close",
    "function",
    "big",
    "words",
]
APART_CELLS = 3
"""A space as wide as this ends what is multiplied or applied."""
_SIGNS = frozenset("+−±∓")
_BEFORE_PREFIX = frozenset(
    {
        None,
        "binary",
        "prefix",
        "relation",
        "punctuation",
        "open",
        "function",
        "big",
        "slash",
        "words",
    }
)
_POINT = Symbol(".", "punctuation")
FACTORS: Final = frozenset({"operand", "postfix", "close"})
"""What multiplies or applies to what follows it at once."""


@dataclass(frozen=True)
class Placed:
    """A part of a row in its place."""

    node: Node
    role: Role
    gap: int
    """Cells between it and the part before."""
    before: Role | None
    """What it directly follows; None at the edge, and after a wide space."""
    after: Role | None
    """What directly follows it."""
    signs: str
    """The binary signs on both sides, one after the other."""

    @property
    def is_factor(self) -> bool:
        """Whether it is multiplied or applied without a sign, on either side."""
        return self.is_multiplied or self.before in FACTORS

    @property
    def is_multiplied(self) -> bool:
        """Whether a factor without a sign follows."""
        return self.after in {"operand", "postfix", "open", "function", "big"}


def placed(row: Sequence[Node], *, tight: bool, before: Role | None = None) -> list[Placed]:
    """Every part of a row but its spaces.

    Args:
        row: The parts.
        tight: Whether signs stand close, as in exponents.
        before: What the row continues.
    """
    roles: list[tuple[Node, Role, int]] = []
    last = before
    last_node: Node | None = None
    bars: list[str] = []
    cells, kept = 0, False
    for node in row:
        if isinstance(node, Space):
            cells, kept = max(cells, node.cells), kept or node.kept
            if cells >= APART_CELLS:
                last = None
            continue
        role = _role(node, last, bars)
        if isinstance(node, Tag):
            cells = max(cells, APART_CELLS)
        asked = cells if not tight or kept else min(cells, 1) if cells >= APART_CELLS else 0
        gap = max(asked, _gap(last, role, last_node, node, tight=tight))
        roles.append((node, role, gap if roles or before else 0))
        last, last_node, cells, kept = role, node, 0, False
    result: list[Placed] = []
    for index, (node, role, gap) in enumerate(roles):
        previous = before if index == 0 else roles[index - 1][1]
        following = roles[index + 1] if index + 1 < len(roles) else None
        apart = gap >= APART_CELLS
        after = following[1] if following and following[2] < APART_CELLS else None
        signs = _sign(roles[index - 1]) if index else ""
        signs += _sign(following) if following else ""
        result.append(Placed(node, role, gap, None if apart else previous, after, signs))
    return result


def _sign(part: tuple[Node, Role, int]) -> str:
    node, role, _ = part
    return node.text if role == "binary" and isinstance(node, Symbol) else ""


def _role(node: Node, before: Role | None, bars: list[str]) -> Role:
    role: Role = "operand"
    if isinstance(node, Scripts) and node.base is not None:
        role = _role(node.base, before, bars)
    elif isinstance(node, Tag) or (isinstance(node, Text) and node.text.strip() != node.text):
        role = "words"
    elif isinstance(node, Symbol):
        role = _role_of_sign(node, before, bars)
    return role


def _role_of_sign(sign: Symbol, before: Role | None, bars: list[str]) -> Role:
    match sign.kind:
        case "number" | "letter" | "ordinary":
            return "operand"
        case "binary":
            return "prefix" if sign.text in _SIGNS and before in _BEFORE_PREFIX else "binary"
        case "bar" if sign.text in bars:
            bars.remove(sign.text)
            return "close"
        case "bar":
            bars.append(sign.text)
            return "open"
        case kind:
            return kind


def _gap(before: Role | None, role: Role, left: Node | None, right: Node, *, tight: bool) -> int:
    loose = 0 if tight else 1
    if before is None or "slash" in {before, role} or role in {"postfix", "punctuation"}:
        gap = 0
    elif "relation" in {before, role}:
        gap = loose
    elif _is_word(left, "binary") or _is_word(right, "binary"):
        gap = 1
    elif before == "prefix":
        gap = 0
    elif before == "punctuation":
        gap = 0 if _is_number(right) or left == _POINT else loose
    elif "binary" in {before, role}:
        gap = loose
    else:
        gap = _gap_of_factors(before, role, left, right)
    return gap


def _gap_of_factors(before: Role, role: Role, left: Node | None, right: Node) -> int:
    gap = 0
    if before == "open" or role == "close":
        gap = 0
    elif before in {"function", "big"}:
        named = before == "function" or _is_word(left, "big")
        gap = 0 if named and isinstance(right, Fenced) and right.left in {"(", "["} else 1
    elif role in {"function", "big"}:
        gap = 1
    elif before == "close" or role == "open":
        gap = 0
    elif _is_number(right) and _ends_in_number(left):
        gap = 1
    elif isinstance(left, Text) or isinstance(right, Text):
        gap = int(_edge(left, -1).isalnum() and _edge(right, 0).isalnum())
    return gap


def _is_word(node: Node | None, kind: str) -> bool:
    return isinstance(node, Symbol) and node.kind == kind and node.text.isalpha()


def _is_number(node: Node | None) -> bool:
    if isinstance(node, Scripts):
        return _is_number(node.base)
    return isinstance(node, Symbol) and node.kind == "number"


def _ends_in_number(node: Node | None) -> bool:
    if isinstance(node, Row) and node.items:
        return _ends_in_number(node.items[-1])
    return isinstance(node, Symbol) and node.kind == "number"


def _edge(node: Node | None, at: int) -> str:
    if isinstance(node, Scripts) and node.base is not None and at == 0:
        return _edge(node.base, at)
    if isinstance(node, Symbol | Text):
        return node.text[at : at + 1 or None]
    if isinstance(node, Row) and node.items:
        return _edge(node.items[at], at)
    return "x" if isinstance(node, Fraction) else ""
