"""Matrices, cases and equations under each other, made of the pictures of their cells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from localr1.mathematics.box import Box, beside, bracket, padded, stacked, text_box, widened
from localr1.mathematics.tree import Table, Unclear

_BETWEEN_CELLS = 2
_BETWEEN_EQUATIONS = 4


def with_air(rows: Sequence[Box]) -> list[Box]:
    """The rows with an empty line between them, where one of them is higher than a line."""
    if all(row.height == 1 for row in rows):
        return list(rows)
    aired: list[Box] = []
    for row in rows:
        aired += [text_box(""), row] if aired else [row]
    return aired


def table_box(table: Table, boxes: Sequence[Sequence[Box]]) -> Box:
    """The picture of a table.

    Args:
        table: What it is.
        boxes: The pictures of its cells.

    Raises:
        Unclear: It is too large.
    """
    columns = max(len(row) for row in boxes)
    widths = [
        max((row[column].width for row in boxes if column < len(row)), default=0)
        for column in range(columns)
    ]
    rows = [_row(table, row, widths) for row in boxes]
    if table.rules:
        return _ruled(table, rows)
    aired = with_air(rows)
    if len(rows) == 2 and len(aired) == 2 and not table.equations:
        # A middle line to stand level with the text around.
        aired = [aired[0], text_box(" " * aired[0].width), aired[1]]
    body = stacked(aired, _middle(aired), "l")
    left = bracket(table.left, body.height, body.baseline)
    right = bracket(table.right, body.height, body.baseline)
    inside = padded(body, 1 if table.left == "{" else 0, 1 if table.right == "}" else 0)
    return beside([left, inside, right])


def _row(table: Table, boxes: Sequence[Box], widths: Sequence[int]) -> Box:
    parts: list[Box] = []
    for column, width in enumerate(widths):
        box = boxes[column] if column < len(boxes) else text_box("")
        if column:
            parts.append(_between(table, column))
        elif 0 in table.bars:
            parts.append(text_box("│ "))
        parts.append(widened(box, width, _side(table, column)))
    if len(widths) in table.bars:
        parts.append(text_box(" │"))
    return beside(parts)


def _between(table: Table, column: int) -> Box:
    if table.equations:
        return text_box("" if column % 2 else " " * _BETWEEN_EQUATIONS)
    return text_box(" │ " if column in table.bars else " " * _BETWEEN_CELLS)


def _side(table: Table, column: int) -> str:
    if table.equations and len(table.columns) == 2:
        return table.columns[column % 2]
    return table.columns[min(column, len(table.columns) - 1)]


def _middle(rows: Sequence[Box]) -> int:
    """The line that stands level with the text around."""
    tops = [0, *accumulate(row.height for row in rows)]
    index = (len(rows) - 1) // 2
    return tops[index] + rows[index].baseline


def _ruled(table: Table, rows: Sequence[Box]) -> Box:
    width = max(row.width for row in rows)
    lines: list[Box] = []
    for index, row in enumerate(rows):
        lines += [text_box("─" * width)] * table.rules.count(index)
        lines.append(row)
    lines += [text_box("─" * width)] * table.rules.count(len(rows))
    height = sum(line.height for line in lines)
    body = stacked(lines, height // 2, "l")
    left = bracket(table.left, height, body.baseline)
    return beside([left, body, bracket(table.right, height, body.baseline)])


def table_line(table: Table, texts: Sequence[Sequence[str]]) -> str:
    """The rows of a matrix or of cases in one line: `1, 2; 3, 4`.

    Args:
        table: What it is.
        texts: Its cells.

    Raises:
        Unclear: These marks stand within the cells too, or there are lines between the rows.
    """
    cases = "{" in {table.left, table.right}
    rows = [_row_line(row, table.bars, cases=cases) for row in texts]
    if table.rules or any(";" in row for row in rows):
        raise Unclear("marks or lines in a table")
    return "; ".join(rows)


def _row_line(texts: Sequence[str], bars: Sequence[int], *, cases: bool) -> str:
    if not cases and len(texts) > 1 and any("," in text for text in texts):
        raise Unclear("marks in a table")
    words = [*texts[:1]]
    for column, text in enumerate(texts[1:], 1):
        ended = words[-1].endswith((",", ";")) or not words[-1]
        words[-1] += " |" if column in bars else "" if ended else ","
        words.append(text)
    return " ".join(words)
