"""A reply's thinking: one line, a short tail while it streams, the whole text on demand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from localr1.printable import printable
from localr1.tui.command import Command, bindings
from localr1.tui.sections import lines_of
from localr1.tui.widgets.laid_out import Column, LaidOutOnce

TAIL_LINES = 8
# As much text as can be in the tail, whatever the width: older text is never laid out.
_TAIL_CHARACTERS = 4096
# The open text is drawn in pages of about this size; only the last one is ever drawn again.
_PAGE_CHARACTERS = 2000


class ThinkingHeader(Static, can_focus=True):
    """The line that stands for the thinking; a click, Enter or Space opens it."""

    DEFAULT_CSS = """
    ThinkingHeader { height: 1; width: 1fr; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    ThinkingHeader:hover { color: $text; }
    ThinkingHeader:focus { color: $text; background: $block-cursor-blurred-background; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(
        [
            Command(
                "thinking.toggle",
                "enter,space",
                "open_or_fold",
                "Open or fold",
                "Open or fold the thinking.",
                palette=False,
            )
        ]
    )

    class Toggled(Message):
        """The user wants it open, or folded."""

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def action_open_or_fold(self) -> None:
        """Tell the block."""
        self.post_message(self.Toggled())

    def on_click(self, event: events.Click) -> None:
        """The same by mouse."""
        event.stop()
        self.action_open_or_fold()


class Page(LaidOutOnce, Static):
    """A page of it; asleep it only keeps its place.

    Args:
        text: The page.
        asleep: Whether it is drawn only when it comes near the view.
    """

    DEFAULT_CSS = """
    Page { height: auto; color: $text-muted; }
    """

    def __init__(self, text: str, *, asleep: bool = False) -> None:
        self._words = Content(text.rstrip("\n"))
        super().__init__("" if asleep else self._words, markup=False)
        self.asleep = asleep
        if asleep:
            self.styles.height = lines_of(text)

    def show(self, words: Content) -> None:
        """Have it say something else."""
        self._words = words
        if not self.asleep:
            self.update(words)

    async def wake(self) -> None:
        """Draw it."""
        self.asleep = False
        self.styles.height = "auto"
        self.update(self._words)

    async def sleep(self) -> None:
        """Keep only its place."""
        self.asleep = True
        self.styles.height = self.size.height
        self.update("")


class ThinkingText(Column):
    """The whole thinking as plain text, in pages."""

    DEFAULT_CSS = """
    ThinkingText { padding: 0 0 0 1; border-left: solid $border-blurred; }
    """

    def __init__(self, text: str) -> None:
        pages = _pages(text)
        last = len(pages) - 1
        super().__init__(*(Page(page, asleep=n < last) for n, page in enumerate(pages)))
        self._last = pages[-1]
        self._found: tuple[str, int] = ("", -1)
        """The words last looked for, and the page that was shown."""

    def append(self, text: str) -> None:
        """Add what came since."""
        first, *more = _pages(self._last + text)
        page = self.children[-1]
        if isinstance(page, Page):
            page.show(Content(first.rstrip("\n")))
        if more:
            self.mount_all([Page(text) for text in more])
        self._last = more[-1] if more else first

    def find(self, text: str, words: str) -> int:
        """Mark words wherever they are, and show the next place; case does not matter.

        Args:
            text: The whole thinking.
            words: What is looked for.

        Returns:
            How many places there are.
        """
        pages, places, hits = _pages(text), 0, []
        needle = re.compile(re.escape(words), re.IGNORECASE)
        for number, (page, shown) in enumerate(zip(pages, self.query(Page), strict=False)):
            found = list(needle.finditer(page.rstrip("\n")))
            places += len(found)
            content = Content(page.rstrip("\n"))
            for match in found:
                content = content.stylize("reverse", match.start(), match.end())
            shown.show(content)
            if found:
                hits.append(number)
        before = self._found[1] if self._found[0] == words else -1
        if hits:
            at = next((number for number in hits if number > before), hits[0])
            self._found = words, at
            self.children[at].scroll_visible(animate=False, top=True)
        return places


class ThinkingBlock(Column):
    """The thinking of one reply.

    Folded it is one line; while it streams, a tail of at most eight lines hangs under it; the
    whole text is only mounted while it is open.

    Args:
        text: The thinking so far.
        display: The user's setting: `folded`, `open` or `hidden`.
    """

    DEFAULT_CSS = """
    ThinkingBlock { margin: 0 0 1 0; }
    ThinkingBlock > .tail {
        color: $text-muted;
        text-style: dim;
        height: 1;
        padding: 0 0 0 1;
        border-left: solid $border-blurred;
        text-wrap: nowrap;
    }
    """

    def __init__(self, text: str = "", display: str = "folded") -> None:
        super().__init__()
        self._text = printable(text)
        self._shown = len(self._text)
        self._label = ""
        self._streaming = False
        self._preference = display
        self._touched = False
        self._body: ThinkingText | None = None
        self._tail: Static | None = None
        self._header = ThinkingHeader()

    @property
    def is_open(self) -> bool:
        """Whether the whole text is shown."""
        return self._body is not None

    @property
    def pages(self) -> Sequence[Page]:
        """The pages that there are, but for the last, which may grow."""
        return list(self._body.query_children(Page))[:-1] if self._body is not None else ()

    @property
    def text(self) -> str:
        """The thinking so far, clean."""
        return self._text

    def compose(self) -> ComposeResult:
        """The line."""
        yield self._header

    async def on_mount(self) -> None:
        """Open at once where the user's setting says so."""
        self._draw_label()
        if self._preference == "open" and self._text:
            await self._open()

    def label(self, text: str) -> None:
        """Set the line's text, cheaply."""
        if text != self._label:
            self._label = text
            self._draw_label()

    def extend(self, text: str) -> None:
        """Take more thinking; `draw` shows it."""
        self._streaming = True
        self._text += printable(text)

    async def draw(self) -> None:
        """Show what came since the last call."""
        if self._shown == len(self._text):
            return
        first = self._shown == 0
        new, self._shown = self._text[self._shown :], len(self._text)
        if first and self._preference == "open" and not self._touched:
            await self._open()
        elif self._body is not None:
            self._body.append(new)
        elif self._preference != "hidden":
            await self._draw_tail()

    async def end(self) -> None:
        """The thinking is over: fold, unless the user or the setting wants it open."""
        await self.draw()
        self._streaming = False
        await self._drop_tail()
        self._draw_label()

    async def toggle(self) -> None:
        """Open or fold it; from now on nothing folds by itself."""
        self._touched = True
        if self._body is not None:
            await self._body.remove()
            self._body = None
            if self._streaming and self._preference != "hidden":
                await self._draw_tail()
        elif self._text:
            await self._open()
        self._draw_label()

    async def find(self, words: str) -> int:
        """Open it and show where words are; see `ThinkingText.find`."""
        if self._body is None and self._text:
            await self.toggle()
        return self._body.find(self._text, words) if self._body is not None else 0

    async def on_thinking_header_toggled(self, event: ThinkingHeader.Toggled) -> None:
        """The line was clicked."""
        event.stop()
        await self.toggle()

    async def _open(self) -> None:
        await self._drop_tail()
        self._body = ThinkingText(self._text)
        self._shown = len(self._text)
        await self.mount(self._body)
        self._draw_label()

    async def _drop_tail(self) -> None:
        if self._tail is not None:
            await self._tail.remove()
            self._tail = None

    async def _draw_tail(self) -> None:
        width = max(10, self.content_size.width - 2)
        lines = Content(self._text[-_TAIL_CHARACTERS:].strip()).wrap(width)[-TAIL_LINES:]
        if self._tail is None:
            self._tail = Static("", markup=False, classes="tail")
            self._tail.styles.height = len(lines)
            await self.mount(self._tail)
        elif len(lines) > (self._tail.size.height or 0):
            # Only ever growing, at most eight times: a new layout costs more than a redraw.
            self._tail.styles.height = len(lines)
        self._tail.update(Content("\n").join(lines), layout=False)

    def _draw_label(self) -> None:
        mark = "▾" if self.is_open else "▸" if self._text else "·"
        self._header.update(Content(f"{mark} {self._label}"), layout=False)


def _pages(text: str) -> list[str]:
    """The text cut at line ends into pages, at least one."""
    pages: list[str] = []
    while len(text) > _PAGE_CHARACTERS:
        cut = text.rfind("\n", 0, _PAGE_CHARACTERS)
        if cut <= 0:
            # A line without end is not cut in a word if that can be helped.
            cut = text.rfind(" ", 0, _PAGE_CHARACTERS)
        if cut <= 0:
            cut = _PAGE_CHARACTERS - 1
        pages.append(text[: cut + 1].removesuffix("\n"))
        text = text[cut + 1 :]
    return [*pages, text]
