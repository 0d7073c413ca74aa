"""A list of an answer: one widget for each plain item, where Textual's own has four."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.segment import Segment
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content, Span
from textual.css.styles import RulesMap
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widget import Widget
from textual.widgets import _markdown
from textual.widgets._markdown import MarkdownBlock, MarkdownBullet, MarkdownList, MarkdownListItem

from localr1.tui.widgets.formula import WithFormulas
from localr1.tui.widgets.laid_out import Column, LaidOutOnce, look_of

# ruff: noqa: SLF001 - blocks build each other


class MarkdownParagraph(WithFormulas, _markdown.MarkdownParagraph):
    """A paragraph; the first of an item has the item's mark before its first line."""

    mark = ""

    @property
    def look(self) -> tuple[str, Sequence[Span]]:
        """What it shows."""
        text, spans = super().look
        return f"{self.mark}{text}", spans

    def picture_of(self, content: Content) -> Visual:
        """The text, with its mark."""
        return _Hanging(self.mark, content) if self.mark else content

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What is selected, with its mark."""
        return self.mark + self.selected(selection), "\n"


class Bullets(LaidOutOnce, _markdown.MarkdownBulletList):
    """A list without numbers."""

    def compose(self) -> ComposeResult:
        """The items, one below the other."""
        yield from _rows(self)

    @property
    def look(self) -> object:
        """What it shows."""
        return _looks(self)

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not await _grown(self, block):
            await super()._update_from_block(block)


class Numbers(LaidOutOnce, _markdown.MarkdownOrderedList):
    """A list with numbers."""

    def compose(self) -> ComposeResult:
        """The items, one below the other."""
        yield from _rows(self)

    @property
    def look(self) -> object:
        """What it shows."""
        return _looks(self)

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not await _grown(self, block):
            await super()._update_from_block(block)


BLOCKS: Final[dict[str, type[MarkdownBlock]]] = {
    "paragraph_open": MarkdownParagraph,
    "bullet_list_open": Bullets,
    "ordered_list_open": Numbers,
}


def _items(block: MarkdownBlock) -> list[MarkdownListItem]:
    return [each for each in block._blocks if isinstance(each, MarkdownListItem)]


def _marks(items: Sequence[MarkdownListItem]) -> list[str]:
    """What stands before the items; numbers count on from the first, whatever the others say."""
    if not isinstance(items[0], _markdown.MarkdownOrderedListItem):
        return [item.bullet for item in items]
    start = int(items[0].bullet) if items[0].bullet.isdecimal() else 1
    numbers = [f"{number}. " for number in range(start, start + len(items))]
    return [each.rjust(1 + max(map(len, numbers))) for each in numbers]


def _rows(block: MarkdownList) -> Iterator[Widget]:
    items = _items(block)
    for item, mark in zip(items, _marks(items) if items else (), strict=True):
        first, more = (item._blocks[:1], item._blocks[1:])
        if first and isinstance(first[0], MarkdownParagraph):
            first[0].mark = mark
            first[0].set_content(first[0]._content)
            yield first[0]
            if more:
                yield _Below(more, len(mark))
        else:
            bullet = MarkdownBullet()
            bullet.symbol = mark
            yield Horizontal(bullet, Column(*item._blocks))


def _looks(block: MarkdownList) -> tuple[object, ...] | None:
    looks = tuple(look_of(row) for row in block.children or _rows(block))
    return None if None in looks else looks


async def _grown(shown: MarkdownList, block: MarkdownBlock) -> bool:
    """Show a list in the place of its beginning; only what is new in it is drawn.

    Returns:
        Whether it is one.
    """
    if not isinstance(block, type(shown)):
        return False
    there, rows, same = list(shown.children), list(_rows(block)), 0
    for old, new in zip(there, rows, strict=False):
        look = look_of(new)
        if isinstance(old, MarkdownParagraph) and isinstance(new, MarkdownParagraph):
            if look_of(old) != look:
                old.mark = new.mark
                old.set_content(new._content)
                old._copy_context(new)
        elif look is None or look_of(old) != look:
            break
        same += 1
    await shown.remove_children(there[same:])
    await shown.mount_all(rows[same:])
    return True


class _Below(Column):
    """What else an item has, below its first paragraph.

    Args:
        blocks: The blocks.
        indent: Cells to the left of them.
    """

    def __init__(self, blocks: Sequence[MarkdownBlock], indent: int) -> None:
        super().__init__(*blocks)
        self.styles.padding = (0, 0, 0, indent)
        looks = [look_of(block) for block in blocks]
        self.look = None if None in looks else looks


class _Hanging(Visual):
    """A text that stands to the right of a mark.

    Args:
        mark: What stands before the first line.
        content: The text.
    """

    def __init__(self, mark: str, content: Content) -> None:
        self._mark = mark
        self._content = content

    def _room(self, width: int) -> int:
        return max(1, width - len(self._mark))

    def render_strips(
        self, width: int, height: int | None, style: Style, options: RenderOptions
    ) -> list[Strip]:
        marked = (style + options.get_style(".mark")).rich_style
        prefix = Strip([Segment(self._mark, marked)])
        blank = Strip([Segment(" " * len(self._mark), style.rich_style)])
        strips = self._content.render_strips(self._room(width), height, style, options)
        return [Strip.join([blank if at else prefix, each]) for at, each in enumerate(strips)]

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return len(self._mark) + self._content.get_optimal_width(rules, container_width)

    def get_height(self, rules: RulesMap, width: int) -> int:
        return max(1, self._content.get_height(rules, self._room(width)))
