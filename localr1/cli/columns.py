"""Tables and wrapped lines as plain text: nothing heavy is imported for them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PIPE_COLUMNS = 200
_GAP = "  "


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """Whether its cells stand at the right edge."""


def width() -> int:
    """Columns of the terminal; plenty where there is none: tables must not be cut for a pipe."""
    return shutil.get_terminal_size((_PIPE_COLUMNS, 24)).columns


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> list[str]:
    """A table's lines, the titles first; the last column wraps where it is too wide.

    Args:
        columns: From left to right.
        rows: A cell for each column.
        width: Longest line.
    """
    cells = [[column.title for column in columns], *(list(row) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    before = sum(widths[:-1]) + len(_GAP) * (len(columns) - 1)
    room = max(10, width - before)
    lines = []
    for row in cells:
        padded = [
            cell.rjust(size) if column.right else cell.ljust(size)
            for cell, size, column in zip(row[:-1], widths, columns, strict=False)
        ]
        last = row[-1]
        if columns[-1].right:
            last = last.rjust(min(widths[-1], room))
        first, *others = textwrap.wrap(last, room, drop_whitespace=False) or [""]
        lines.append(_GAP.join([*padded, first]).rstrip())
        lines += [" " * before + other.strip() for other in others]
    return lines


def wrapped(text: str, width: int, *, mark: str = "", indent: int = 0) -> list[str]:
    """A text's lines; those after the first stand under its beginning.

    Args:
        text: To be wrapped.
        width: Longest line.
        mark: What the first line begins with: `- `.
        indent: Columns before the mark.
    """
    start = " " * indent
    return textwrap.wrap(
        text,
        max(20, width),
        initial_indent=start + mark,
        subsequent_indent=start + " " * len(mark),
        break_on_hyphens=False,
    )
