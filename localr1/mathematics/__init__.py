r"""LaTeX as people read it in a terminal: in one line, or drawn in two dimensions.

Pure: no I/O, no clock, no library. A formula that is not understood in every part has no form
here, and whoever shows it shows its source: a wrong formula is worse than an unread one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from localr1.mathematics.box import cells
from localr1.mathematics.environments import ENVIRONMENTS
from localr1.mathematics.layout import drawn_within
from localr1.mathematics.line import line
from localr1.mathematics.parser import parse
from localr1.mathematics.tree import Node, Unclear

__all__ = ["ENVIRONMENTS", "forget", "in_a_block", "in_one_line"]

# While an answer streams, the formulas of its last part are asked for again and again.
_REMEMBERED: Final = 512


@lru_cache(maxsize=_REMEMBERED)
def in_one_line(source: str) -> str | None:
    r"""A formula in one line: `(a+b)/c`, `x²`, `√(x+1)`.

    Args:
        source: LaTeX, without the signs around it.

    Returns:
        None when it is to be shown as its source.
    """
    try:
        return line(_tree(source)).strip() or None
    except Unclear:
        return None


@lru_cache(maxsize=_REMEMBERED)
def in_a_block(source: str, width_cells: int) -> tuple[str, ...] | None:
    r"""A formula drawn in two dimensions; where it is too wide: broken, or in one line.

    Args:
        source: LaTeX, without the signs around it.
        width_cells: How wide a line may be.

    Returns:
        The lines, none of them wider; None when it is to be shown as its source.
    """
    try:
        box = drawn_within(_tree(source), width_cells)
    except Unclear:
        box = None
    if box is not None and box.width:
        return tuple(text.rstrip() for text in box.lines)
    flat = in_one_line(source)
    return (flat,) if flat is not None and cells(flat) <= width_cells else None


def forget() -> None:
    """Forget all formulas: for measuring."""
    for remembered in (in_one_line, in_a_block, _tree):
        remembered.cache_clear()


@lru_cache(maxsize=_REMEMBERED)
def _tree(source: str) -> Node:
    return parse(source)
