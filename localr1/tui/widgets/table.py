"""A table of an answer in one widget: Textual's own has one for each cell, and each costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from textual.app import ComposeResult
from textual.content import Content
from textual.css.styles import RulesMap
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widgets._markdown import MarkdownBlock, MarkdownTable

from localr1.tui.widgets.laid_out import LaidOutOnce

_LINES: Final = "$foreground 20%"
_HEADER: Final = "$primary"


class Table(LaidOutOnce, MarkdownTable):
    """A table with lines around its cells, as wide as there is room."""

    _cells: Sequence[Sequence[Content]] = ()

    def compose(self) -> ComposeResult:
        """Nothing but itself."""
        self.update(_Grid(self.cells))
        return ()

    @property
    def cells(self) -> Sequence[Sequence[Content]]:
        """Its rows, headers first."""
        if self._blocks:
            headers, rows = self._get_headers_and_rows()
            self._cells = [[each.stylize(_HEADER) for each in headers], *rows]
            self._blocks.clear()
        return self._cells

    @property
    def look(self) -> object:
        """What it shows."""
        return [[(cell.plain, cell.spans) for cell in row] for row in self.cells]

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, Table):
            self._copy_context(block)
            self._cells = block.cells
            self.update(_Grid(self._cells))
        else:
            await super()._update_from_block(block)

    def get_selection(self, _selection: Selection) -> tuple[str, str] | None:
        """The source, which others can draw as well."""
        return self.source or "", "\n"


class _Grid(Visual):
    """The table at a width.

    Args:
        rows: The cells, headers first.
    """

    def __init__(self, rows: Sequence[Sequence[Content]]) -> None:
        columns = len(rows[0])
        self._rows = [(*row, *[Content()] * columns)[:columns] for row in rows]
        self._drawn: tuple[int, Content] = (0, Content())

    def _content(self, width: int) -> Content:
        if self._drawn[0] != width:
            self._drawn = width, self._draw(width)
        return self._drawn[1]

    def _draw(self, width: int) -> Content:
        columns = list(zip(*self._rows, strict=True))
        widths = column_widths(
            [max(2 + each.cell_length for each in column) for column in columns],
            [max(2 + each.get_minimal_width({}) for each in column) for column in columns],
            width - len(columns) - 1,
        )
        wall = Content.styled("│", _LINES)
        lines = [_rule("┌┬┐", widths)]
        for number, row in enumerate(self._rows):
            if number:
                lines.append(_rule("├┼┤", widths))
            cells = [each.wrap(max(1, room - 2)) for each, room in zip(row, widths, strict=True)]
            for at in range(max(len(cell) for cell in cells)):
                parts = [
                    _padded(cell[at] if at < len(cell) else Content(), room)
                    for cell, room in zip(cells, widths, strict=True)
                ]
                lines.append(Content.assemble(wall, wall.join(parts), wall))
        return Content("\n").join([*lines, _rule("└┴┘", widths)])

    def render_strips(
        self, width: int, height: int | None, style: Style, options: RenderOptions
    ) -> list[Strip]:
        return self._content(width).render_strips(width, height, style, options)

    def get_optimal_width(self, _rules: RulesMap, container_width: int) -> int:
        return container_width

    def get_height(self, _rules: RulesMap, width: int) -> int:
        return self._content(width).plain.count("\n") + 1


def column_widths(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """How wide the columns of a table are, in cells: a pure function.

    Args:
        natural: What each column needs.
        least: What it needs so that no word is broken.
        room: What there is, together.

    Returns:
        Together as much as there is room, as long as there is a cell for each column: where there
        is more than is needed each gets its share of it, else the widest give way first.
    """
    cap = max(natural)
    fitted = list(natural)
    for floor in (least, [1] * len(natural)):
        while sum(fitted) > room and cap > 1:
            cap -= 1
            fitted = [min(wide, max(cap, low)) for wide, low in zip(natural, floor, strict=True)]
        if sum(fitted) <= room:
            break
        cap = max(natural)
    edges = [0, *(room * edge // sum(fitted) for edge in accumulate(fitted))]
    return [max(1, end - begin) for begin, end in pairwise(edges)]


def _rule(corners: str, widths: Sequence[int]) -> Content:
    begin, between, end = tuple(corners)
    return Content.styled(f"{begin}{between.join('─' * width for width in widths)}{end}", _LINES)


def _padded(cell: Content, width: int) -> Content:
    return Content.assemble(" ", cell, " " * max(1, width - 1 - cell.cell_length))
