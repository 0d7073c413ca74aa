"""The conversation on screen: the last messages, and the end in view while it is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Static

from localr1.amount import ThinkingBudget
from localr1.chat.types import Message
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.widgets.reply import Reply

MOUNTED_MESSAGES = 20
"""Messages drawn at first, and more at each request: cost grows with what is mounted."""


class Question(Static):
    """What the user said.

    Args:
        text: The message.
        waiting: Whether it waits for the model to be loaded.
    """

    DEFAULT_CSS = """
    Question {
        height: auto;
        padding: 0 1;
        margin: 0 0 1 0;
        border-left: outer $primary;
        background: $surface;
    }
    Question.waiting { border-left: outer $border-blurred; color: $text-muted; }
    """

    def __init__(self, text: str, *, waiting: bool = False) -> None:
        super().__init__(
            Content(printable(text)), markup=False, classes="waiting" if waiting else None
        )


class Earlier(Vertical):
    """A button in the place of older messages."""

    DEFAULT_CSS = """
    Earlier { height: 2; align-horizontal: center; }
    Earlier Button { width: auto; color: $text-muted; background: $background; }
    """

    def __init__(self, messages: int) -> None:
        super().__init__()
        self._messages = messages

    def compose(self) -> ComposeResult:
        """The button."""
        yield Button(
            f"▴ show earlier messages ({wording.count(self._messages)})", id="earlier", compact=True
        )


class Transcript(VerticalScroll, can_focus=False):
    """Questions, replies and notes, newest last.

    Args:
        display: The user's setting for thinking.
        budget: How long the model may think.
    """

    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        padding: 0;
        background: $background;
        scrollbar-size-vertical: 1;
    }
    /* At least as high as the view, so that a short conversation begins at the top. */
    Transcript > #page { height: auto; min-height: 100%; max-width: 120; padding: 1 2 0 2; }
    """

    def __init__(self, display: str = "folded", budget: ThinkingBudget | None = None) -> None:
        super().__init__(id="transcript")
        self._budget = budget
        self._display = display
        self._formulas_as_source = False
        self._older: list[Message] = []
        self._blank: Widget | None = None
        self._page = Vertical(id="page")

    def compose(self) -> ComposeResult:
        """The page that everything stands on."""
        yield self._page

    def on_mount(self) -> None:
        """Stay at the end until the user scrolls away."""
        self.anchor()

    @property
    def last_reply(self) -> Reply | None:
        """The newest reply on screen."""
        replies = [child for child in self._page.children if isinstance(child, Reply)]
        return replies[-1] if replies else None

    async def show(self, messages: Sequence[Message], blank: Widget | None = None) -> None:
        """Replace everything by a conversation.

        Args:
            messages: Oldest first.
            blank: Shown while there are no messages.
        """
        with self.app.batch_update():
            await self._page.remove_children()
            self._older = list(messages[:-MOUNTED_MESSAGES])
            self._blank = None
            if messages:
                await self._page.mount_all(self._widgets(messages[-MOUNTED_MESSAGES:]))
                if self._older:
                    await self._page.mount(Earlier(len(self._older)), before=0)
            elif blank is not None:
                self._blank = blank
                await self._page.mount(blank)
        self.anchor()

    async def add(self, widget: Widget, *, follow: bool = False) -> None:
        """Put a widget at the end.

        Args:
            widget: A question, reply or note.
            follow: Go to the end, wherever the user had scrolled to.
        """
        if self._blank is not None and isinstance(widget, Question | Reply):
            blank, self._blank = self._blank, None
            await blank.remove()
        await self._page.mount(widget)
        if follow:
            self.anchor()

    def new_reply(self) -> Reply:
        """A reply that is about to stream, not mounted yet."""
        return Reply(
            display=self._display,
            budget=self._budget,
            formulas_as_source=self._formulas_as_source,
        )

    async def toggle_formulas(self) -> None:
        """Show all formulas as LaTeX, or drawn again; the last answer first."""
        self._formulas_as_source = not self._formulas_as_source
        for child in reversed(self._page.children):
            if isinstance(child, Reply):
                # Asked again meanwhile, it goes on with what is wanted now.
                await child.show_formulas(as_source=self._formulas_as_source)

    async def on_button_pressed(self, event: Button.Pressed) -> None:
        """Show more of the past, and keep what is read in its place."""
        if event.button.id != "earlier":
            return
        event.stop()
        before = self.max_scroll_y - self.scroll_y
        self.release_anchor()
        shown, self._older = self._older[-MOUNTED_MESSAGES:], self._older[:-MOUNTED_MESSAGES]
        with self.app.batch_update():
            await self.query(Earlier).remove()
            await self._page.mount_all(self._widgets(shown), before=0)
            if self._older:
                await self._page.mount(Earlier(len(self._older)), before=0)
        self.call_after_refresh(
            lambda: self.scroll_to(y=self.max_scroll_y - before, animate=False, immediate=True)
        )

    def _widgets(self, messages: Sequence[Message]) -> list[Widget]:
        return [
            Question(message.text)
            if message.role == "user"
            else Reply(message, display=self._display, formulas_as_source=self._formulas_as_source)
            for message in messages
        ]
