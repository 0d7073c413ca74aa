"""A formula in two dimensions: fractions stacked, limits over and under, brackets grown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from localr1.mathematics.alphabets import RAISED, lowered, raised
from localr1.mathematics.box import (
    Box,
    beside,
    bracket,
    cells,
    lifted,
    padded,
    stacked,
    text_box,
    widened,
)
from localr1.mathematics.grid import table_box, with_air
from localr1.mathematics.line import ROOTS, joins_numbers, piece, script, with_mark
from localr1.mathematics.spacing import FACTORS, Placed, Role, placed
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
    Symbol,
    Table,
    alone,
    side_by_side,
)

_INDENT_CELLS: Final = 4
_GAP_CELLS: Final = 1


def drawn(node: Node) -> Box:
    """The formula as a picture, as wide as it gets.

    Raises:
        Unclear: It is too large, or has a part that cannot be drawn.
    """
    match node:
        case Row(items):
            box = _pasted(placed(items, tight=False))
        case Fraction():
            box = _fraction(node)
        case Choose(above, below):
            pair = Table(((above,), (below,)), "c", "(", ")")
            box = table_box(pair, _cells(pair))
        case Root():
            box = _root(node, enclosed=False)
        case Scripts():
            box = _scripts(node)
        case Fenced(left, body, right):
            box = _fenced(left, drawn(body), right)
        case Accent():
            box = _accent(node)
        case Boxed(body):
            box = _boxed(drawn(body))
        case Table():
            box = table_box(node, _cells(node))
        case _:
            box = text_box(piece(node).text)
    return box


def drawn_within(node: Node, width: int) -> Box | None:
    """The formula as a picture, broken before relations and signs where it is too wide.

    Args:
        node: The formula.
        width: Cells that there are.

    Returns:
        None when a part that cannot be broken is wider.

    Raises:
        Unclear: As `drawn`.
    """
    whole = drawn(node)
    if whole.width <= width:
        return whole
    if isinstance(node, Table) and node.equations:
        rows = [drawn_within(side_by_side(row), width) for row in node.rows]
        fitting = [row for row in rows if row is not None]
        return stacked(with_air(fitting), 0, "l") if len(fitting) == len(rows) else None
    if not isinstance(node, Row):
        return None
    lines: list[list[Placed]] = [[]]
    used = 0
    for run, needed in _runs(placed(node.items, tight=False), width - _INDENT_CELLS):
        if lines[-1] and used + needed > width:
            lines.append([])
            used = _INDENT_CELLS
        lines[-1] += run
        used += needed
    boxes = [_pasted([replace(line[0], gap=0), *line[1:]]) for line in lines]
    boxes = [padded(box, _INDENT_CELLS if index else 0) for index, box in enumerate(boxes)]
    if max(box.width for box in boxes) > width:
        return None
    return stacked(with_air(boxes), 0, "l")


def _runs(parts: Sequence[Placed], width: int) -> list[tuple[list[Placed], int]]:
    """The parts, cut before every relation, and before signs where that is not enough.

    With each run comes how many cells it takes, with the least gap before it.
    """
    runs: list[tuple[list[Placed], int]] = []
    for run in _cut(parts, {"relation"}):
        needed = _pasted(run).width
        if needed <= width:
            runs.append((run, needed + _GAP_CELLS))
        else:
            smaller = _cut(run, {"relation", "binary"})
            runs += [(part, _pasted(part).width + _GAP_CELLS) for part in smaller]
    return runs


def _cut(parts: Sequence[Placed], roles: set[Role]) -> list[list[Placed]]:
    runs: list[list[Placed]] = [[]]
    for part in parts:
        starts = part.role in roles or (part.before is None and runs[-1])
        if starts and runs[-1]:
            runs.append([])
        runs[-1].append(part)
    return runs


# Rows


def _pasted(parts: Sequence[Placed]) -> Box:
    boxes = [_in_row(part) for part in parts]
    _grow(parts, boxes)
    pasted: list[Box] = []
    for index, (part, box) in enumerate(zip(parts, boxes, strict=True)):
        gap = part.gap
        if index:
            gap = max(gap, _least_gap(parts[index - 1], boxes[index - 1], part, box))
        pasted.append(padded(box, gap))
    return beside(pasted)


def _in_row(part: Placed) -> Box:
    node = alone(part.node)
    return _root(node, enclosed=part.is_multiplied) if isinstance(node, Root) else drawn(node)


def _least_gap(before: Placed, left: Box, part: Placed, right: Box) -> int:
    """One cell where two parts would touch and could be read as one."""
    if part.role == "punctuation":
        return 0
    first, second = alone(before.node), alone(part.node)
    joined_to_root = left.level[-1:] in RAISED and right.level[:1] in ROOTS
    if joins_numbers(left.level, right.level, second):
        return 1
    if joined_to_root or (_has_open_start(second) and before.role in FACTORS):
        return 1
    if _has_limits(second) and not _has_limits(first) and left.height > 1:
        return 2
    if isinstance(first, Fraction) or isinstance(second, Fraction):
        return 1
    brackets = isinstance(first, Fenced | Table) and first.right
    brackets = brackets or (isinstance(second, Fenced | Table) and second.left)
    return int(left.height > 1 and right.height > 1 and not brackets)


def _has_limits(node: Node) -> bool:
    return isinstance(node, Scripts) and node.limits and isinstance(node.base, Symbol)


def _has_open_start(node: Node) -> bool:
    if isinstance(node, Root):
        return node.index is not None
    return isinstance(node, Scripts) and (node.base is None or node.base == Row(()))


def _grow(parts: Sequence[Placed], boxes: list[Box]) -> None:
    """Make integrals and absolute bars as high as what belongs to them."""
    opened: dict[str, int] = {}
    for index, part in enumerate(parts):
        sign = part.node.base if isinstance(part.node, Scripts) else part.node
        if not isinstance(sign, Symbol):
            continue
        if sign.integral:
            end = index + 1
            while end < len(parts) and parts[end].role != "relation" and parts[end].before:
                end += 1
            boxes[index] = _integral(part.node, sign.text, boxes[index + 1 : end], boxes[index])
        elif sign.kind == "bar" and part.role == "open":
            opened[sign.text] = index
        elif sign.kind == "bar" and part.role == "close" and sign.text in opened:
            start = opened.pop(sign.text)
            inside = beside(boxes[start + 1 : index])
            if inside.height > 1:
                boxes[start] = bracket(sign.text, inside.height, inside.baseline)
                grown = bracket(sign.text, inside.height, inside.baseline)
                boxes[index] = _with_scripts(part.node, grown)


def _integral(node: Node, sign: str, body: Sequence[Box], box: Box) -> Box:
    if sign not in _INTEGRALS:
        return box
    reach = max((max(b.baseline, b.height - b.baseline - 1) for b in body), default=0)
    if box.height == 1 and reach == 0:
        return box
    reach = max(reach, 1)
    columns = _INTEGRALS[sign]
    middle = ["⎮" * columns] * (2 * reach - 1)
    tall = Box(("⌠" * columns, *middle, "⌡" * columns), reach, columns)
    return _with_scripts(node, tall)


_INTEGRALS: Final = {"∫": 1, "∬": 2, "∭": 3}


# Fractions, roots, brackets


def _fraction(node: Fraction) -> Box:
    above, below = drawn(node.above), drawn(node.below)
    width = max(above.width, below.width, 1)
    if above.height > 1 or below.height > 1:
        width += 2
    return stacked([above, text_box("─" * width), below], above.height)


def _root(node: Root, *, enclosed: bool) -> Box:
    body = alone(node.body)
    small = "" if node.index is None else script(node.index)[0]
    flat = piece(node)  # also says whether the index can be written
    if isinstance(body, Symbol) and body.kind in {"number", "letter"} and not enclosed:
        return text_box(flat.text)
    box = drawn(body)
    sign = {"": "√", "3": "∛", "4": "∜"}.get(small) or f"{raised(small)}√"
    if box.height == 1:
        bar = text_box("_" * box.width)
        return beside([text_box(sign), stacked([bar, box], 1)])
    width = cells(sign)
    blank = " " * width
    lines = [f"{blank}┌" + "─" * box.width]
    lines += [f"{blank}│{text}" for text in box.lines[:-1]]
    lines.append(f"{sign}│{box.lines[-1]}")
    return Box(tuple(lines), box.baseline + 1, width + 1 + box.width)


def _fenced(left: str, body: Box, right: str) -> Box:
    height, baseline = body.height, body.baseline
    return beside([bracket(left, height, baseline), body, bracket(right, height, baseline)])


def _boxed(body: Box) -> Box:
    line = "─" * (body.width + 2)
    lines = [f"┌{line}┐", *(f"│ {text} │" for text in body.lines), f"└{line}┘"]
    return Box(tuple(lines), body.baseline + 1, body.width + 4)


def _cells(node: Table) -> list[list[Box]]:
    rows: list[list[Box]] = []
    for row in node.rows:
        boxes: list[Box] = []
        for column, cell in enumerate(row):
            items = cell.items if isinstance(cell, Row) else (cell,)
            before: Role | None = "operand" if column and node.equations else None
            boxes.append(_pasted(placed(items, tight=False, before=before)))
        rows.append(boxes)
    return rows


# Scripts


def _scripts(node: Scripts) -> Box:
    base = None if node.base is None else alone(node.base)
    if base is None or base == Row(()):
        return text_box(piece(node).text)
    if node.limits:
        return _limits(node, base)
    box = drawn(base)
    loose = isinstance(base, Fraction | Root | Scripts | Row)
    if loose or (isinstance(base, Table) and not base.right):
        box = _fenced("(", box, ")")
    return _with_scripts(node, box)


def _limits(node: Scripts, base: Node) -> Box:
    above = None if node.above is None else _limit(node.above)
    below = None if node.below is None else _limit(node.below)
    box = drawn(base)
    if isinstance(base, Symbol) and base.text in _ARROWS:
        least = max(b.width for b in (above, below) if b is not None) + 2
        box = text_box(_arrow(base.text, least))
    rows = [row for row in (above, box, below) if row is not None]
    return stacked(rows, box.baseline + (above.height if above is not None else 0))


def _limit(node: Node) -> Box:
    inner = alone(node)
    return drawn(inner) if isinstance(inner, Table) else text_box(script(node)[0])


_ARROWS: Final = {"→": "─", "←": "─", "↔": "─", "⇒": "═", "⇐": "═"}


def _arrow(sign: str, width: int) -> str:
    shaft = _ARROWS[sign] * (width - 1)
    if sign in "←⇐":
        return sign + shaft
    return f"←{shaft[1:]}→" if sign == "↔" else shaft + sign


def _with_scripts(node: Node, base: Box) -> Box:
    """The base with its index and exponent at its right."""
    if not isinstance(node, Scripts):
        return base
    upper = "" if node.above is None else script(node.above)[0]
    lower = "" if node.below is None else script(node.below)[0]
    small_upper, small_lower = raised(upper), lowered(lower)
    if base.height == 1:
        # What has no small form stands above and below what has one.
        level = text_box((small_lower or "") + (small_upper or ""))
        up = [text_box(upper)] if upper and not small_upper else []
        down = [text_box(lower)] if lower and not small_lower else []
        return beside([base, stacked([*up, level, *down], len(up), "l")])
    under = base.height - 1 - base.baseline
    both = (small_upper or not upper) and (small_lower or not lower)
    top = text_box(small_upper if both and small_upper else upper)
    bottom = text_box(small_lower if both and small_lower else lower)
    # Level with the first and last line, where these are not level with the text.
    up_by = base.baseline if both else max(base.baseline, 1)
    down_by = under if both else max(under, 1)
    width = max(top.width, bottom.width)
    boxes = [base]
    if not width:
        return base
    corner = [lifted(top, up_by)] if upper else []
    corner += [lifted(bottom, -down_by)] if lower else []
    if len(corner) == 2:
        blank = text_box(" " * width)
        rows = [widened(top, width, "l"), *[blank] * (up_by + down_by - 1)]
        corner = [stacked([*rows, widened(bottom, width, "l")], up_by, "l")]
    return beside([*boxes, *corner])


# Accents


def _accent(node: Accent) -> Box:
    body = drawn(node.body)
    if body.height == 1 and (marked := with_mark(node, piece(node.body, tight=True).text)):
        return text_box(marked)
    width = body.width
    if node.name in _OVER:
        return stacked([text_box(_OVER[node.name](width)), body], body.baseline + 1)
    if node.name in _UNDER:
        return stacked([body, text_box(_UNDER[node.name](width))], body.baseline)
    return text_box(piece(node).text)


def _brace(left: str, middle: str, right: str, width: int) -> str:
    half = max(width - 3, 0)
    return left + "─" * (half // 2) + middle + "─" * (half - half // 2) + right


_OVER: Final[dict[str, Callable[[int], str]]] = {
    "overline": lambda width: "_" * width,
    "bar": lambda width: "_" * width,
    "vec": lambda width: _arrow("→", max(width, 2)),
    "overleftarrow": lambda width: _arrow("←", max(width, 2)),
    "hat": lambda _: "^",
    "tilde": lambda _: "~",
    "overbrace": lambda width: _brace("╭", "┴", "╮", width),
}
_UNDER: Final[dict[str, Callable[[int], str]]] = {
    "underline": lambda width: "‾" * width,
    "underbrace": lambda width: _brace("╰", "┬", "╯", width),
}
