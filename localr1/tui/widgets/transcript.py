"""The conversation on screen: the last messages, and the end in view while it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Button

from localr1.amount import ThinkingBudget
from localr1.chat.types import Message
from localr1.tui import wording
from localr1.tui.widgets.answer import Section
from localr1.tui.widgets.chosen import Chosen
from localr1.tui.widgets.laid_out import Column, LaidOutOnce
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.reply import Reply
from localr1.tui.widgets.thinking import Page

MOUNTED_MESSAGES = 20
"""Messages drawn at first, and more at each request: cost grows with what is mounted."""


Part = Reply | Section | Page
"""What can sleep."""


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


class Transcript(LaidOutOnce, VerticalScroll, can_focus=False):
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
    Transcript > #page { min-height: 100%; max-width: 120; padding: 1 2 0 2; }
    """

    def __init__(self, display: str = "folded", budget: ThinkingBudget | None = None) -> None:
        super().__init__(id="transcript")
        self._budget = budget
        self._display = display
        self._formulas_as_source = False
        self._older: list[Message] = []
        self._blank: Widget | None = None
        self._tending = False
        self._unseen = False
        """Whether something moved since the last look."""
        self.versions_of: Callable[[int], tuple[int, ...]] = lambda _number: ()
        """The messages in a message's place on all branches."""
        self._page = Column(id="page")

    def use(self, display: str, budget: ThinkingBudget) -> None:
        """Show the thinking of replies from now on in another way."""
        self._display, self._budget = display, budget

    def compose(self) -> ComposeResult:
        """The page that everything stands on."""
        yield self._page

    def on_mount(self) -> None:
        """Stay at the end until the user scrolls away."""
        self.anchor()
        self.watch(self, "scroll_y", self._moved, init=False)
        self.watch(self, "virtual_size", self._moved, init=False)

    def _moved(self) -> None:
        """What is in view may be another part of the conversation."""
        self._unseen = True
        if not self._tending and self.is_mounted:
            self._tending = True
            self.run_worker(self._tend(), group="tend")

    def _scroll_update(self, virtual_size: Size) -> None:
        """Set the scrollbar: the layout that changed it draws it too."""
        super()._scroll_update(virtual_size)
        self.vertical_scrollbar._repaint_required = False  # noqa: SLF001 - else it is drawn twice

    async def _tend(self) -> None:
        """Draw what came near the view, and let what went far from it keep only its place."""
        try:
            while self._unseen:
                self._unseen = False
                # What was scrolled or added is laid out first.
                await self._laid_out()
                while found := self._next_to_wake():
                    await self._wake(found)
                for far in self._far_away():
                    if far.is_attached:
                        await far.sleep()
        finally:
            self._tending = False

    def _parts(self) -> Iterator[Part]:
        """What can sleep; the last reply is at hand for whatever the user does next."""
        last = self.last_reply
        for child in self._page.children:
            if isinstance(child, Reply):
                if child is not last:
                    yield child
                yield from child.parts

    def _next_to_wake(self) -> Part | None:
        near = self.region.grow((self.size.height // 4, 0, self.size.height // 4, 0))
        asleep = (each for each in self._parts() if each.asleep)
        return next((each for each in asleep if each.region.overlaps(near)), None)

    def _far_away(self) -> list[Part]:
        wide = self.region.grow((self.size.height // 2, 0, self.size.height // 2, 0))
        awake = (each for each in self._parts() if not each.asleep)
        return [each for each in awake if each.size and not each.region.overlaps(wide)]

    async def _wake(self, part: Part) -> None:
        """Draw it; what is read stays in its place when another height shows above it."""
        above, before = part.region.y < self.region.y, part.size.height
        await part.wake()
        await self._laid_out()
        if above and (self._anchor_released or not self._anchored):
            moved = part.size.height - before
            self.scroll_to(y=self.scroll_y + moved, animate=False, immediate=True)
            await self._laid_out()

    async def _laid_out(self) -> None:
        """Wait until the screen is laid out anew."""
        done = asyncio.Event()
        self.call_after_refresh(done.set)
        await done.wait()

    @property
    def last_reply(self) -> Reply | None:
        """The newest reply on screen."""
        replies = [child for child in self._page.children if isinstance(child, Reply)]
        return replies[-1] if replies else None

    @property
    def chosen(self) -> Chosen | None:
        """The message that the keyboard is at."""
        at = self.screen.focused
        return at if isinstance(at, Chosen) else None

    @property
    def all_messages(self) -> list[Chosen]:
        """Questions and replies on screen, oldest first."""
        return [child for child in self._page.children if isinstance(child, Chosen)]

    def choose(self, step: int) -> bool:
        """Choose the message before (-1) or after (1) the chosen one; before none is the last.

        Returns:
            Whether there is one.
        """
        there, at = self.all_messages, self.chosen
        number = (there.index(at) if at in there else len(there)) + step
        if not 0 <= number < len(there):
            return False
        there[number].focus()
        return True

    def choose_message(self, message_id: int) -> None:
        """Choose a message by its number, where it is on screen."""
        for each in self.all_messages:
            if each.message is not None and each.message.id == message_id:
                each.focus()

    async def cut(self, message_id: int) -> None:
        """Take away a message and everything after it."""
        page = list(self._page.children)
        for number, child in enumerate(page):
            if isinstance(child, Chosen) and child.message and child.message.id == message_id:
                await self._page.remove_children(page[number:])
                return

    def settle(self, messages: Sequence[Message]) -> None:
        """Tell what was asked and answered last how it is stored."""
        pairs = zip(reversed(self.all_messages), reversed(messages), strict=False)
        for each, message in list(pairs)[:2]:
            if isinstance(each, Question) == (message.role == "user"):
                each.settle(message, self.versions_of(message.id))

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
        self._moved()

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

    def new_reply(self, begun: Message | None = None) -> Reply:
        """A reply that is about to stream, not mounted yet.

        Args:
            begun: What is there of it; None where nothing is.
        """
        return Reply(
            begun,
            display=self._display,
            budget=self._budget,
            formulas_as_source=self._formulas_as_source,
            growing=True,
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
        # What is in view at the end is drawn at once, the rest when it comes near.
        last = messages[-1] if messages else None
        return [self._widget(message, asleep=message is not last) for message in messages]

    def _widget(self, message: Message, *, asleep: bool) -> Widget:
        versions = self.versions_of(message.id)
        if message.role == "user":
            return Question(message.text, message=message, versions=versions)
        return Reply(
            message,
            display=self._display,
            formulas_as_source=self._formulas_as_source,
            versions=versions,
            asleep=asleep,
        )
