"""Earlier conversations: find, open, delete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localr1.chat.types import ConversationSummary
from localr1.errors import LocalR1Error
from localr1.printable import one_line, printable
from localr1.tui import wording
from localr1.tui.command import CONVERSATIONS, bindings
from localr1.tui.screens.confirm import Confirm
from localr1.tui.services import Services

_SEARCH_SECONDS = 0.15


@dataclass(frozen=True)
class Outcome:
    """What was done in the list."""

    opened: int | None
    """The conversation to open."""
    deleted: frozenset[int]


def summary_content(summary: ConversationSummary, width: int, now: datetime) -> Content:
    """One line of the list: title, number of messages, when.

    Args:
        summary: The conversation.
        width: Cells.
        now: For `14:05` instead of a date, today.
    """
    moment = summary.updated_at.astimezone(now.tzinfo)
    when = f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d}"
    right = f"  {wording.plural(summary.message_count, 'message')}  {when:>10}"
    room = max(10, width - len(right))
    title = one_line(summary.title, room) or "(untitled)"
    gap = " " * max(0, room - Content(title).cell_length)
    return Content.assemble(title, gap, (right, "dim"))


class Conversations(ModalScreen[Outcome]):
    """The list of earlier conversations, newest first.

    Args:
        services: The layers below.
        locked: A conversation that is being answered and cannot be deleted now.
    """

    DEFAULT_CSS = """
    Conversations { align: center middle; }
    Conversations > Vertical {
        width: 90;
        max-width: 94%;
        height: 80%;
        padding: 0 1;
        border: round $primary;
        background: $surface;
    }
    Conversations Input { border: none; height: 1; margin: 1 1 1 1; padding: 0; background: $surface; }
    Conversations OptionList {
        height: 1fr; border: none; padding: 0; background: $surface; scrollbar-size-vertical: 1;
        text-wrap: nowrap;
    }
    Conversations .empty { height: 1fr; padding: 0 1; color: $text-muted; display: none; }
    Conversations .none OptionList { display: none; }
    Conversations .none .empty { display: block; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(CONVERSATIONS),
        ("up", "move(-1)", "Up"),
        ("down", "move(1)", "Down"),
    ]

    def __init__(self, services: Services, locked: int | None = None) -> None:
        super().__init__()
        self._services = services
        self._locked = locked
        self._summaries: tuple[ConversationSummary, ...] = ()
        self._deleted: set[int] = set()
        self._search: Timer | None = None

    def compose(self) -> ComposeResult:
        """Search line and list."""
        with Vertical() as box:
            box.border_title = "Conversations"
            box.border_subtitle = "Enter opens · Ctrl+D deletes · Esc closes"
            yield Input(placeholder="Search the text of all conversations", compact=True)
            yield OptionList()
            yield Static("", classes="empty", markup=False)

    def on_mount(self) -> None:
        """Fill the list."""
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self.refill()

    @work(exclusive=True, group="search")
    async def refill(self) -> None:
        """Show what the search finds."""
        query = self.query_one(Input).value.strip()
        empty = self.query_one(".empty", Static)
        try:
            self._summaries = await self._services.summaries(query)
        except LocalR1Error as error:
            self._summaries = ()
            empty.update(Content(printable(str(error))))
        else:
            empty.update("Nothing found." if query else "No conversations yet.")
        self.query_one(Vertical).set_class(not self._summaries, "none")
        options = self.query_one(OptionList)
        at = options.highlighted or 0
        # Border, padding, scrollbar and the option's own padding.
        width = max(30, options.size.width - 4)
        now = datetime.now().astimezone()
        options.clear_options()
        options.add_options([Option(summary_content(s, width, now)) for s in self._summaries])
        if self._summaries:
            options.highlighted = min(at, len(self._summaries) - 1)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search when the typing pauses."""
        event.stop()
        if self._search is not None:
            self._search.stop()
        self._search = self.set_timer(_SEARCH_SECONDS, self.refill)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter opens."""
        event.stop()
        self.action_open()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click opens."""
        event.stop()
        self.action_open()

    def action_move(self, step: int) -> None:
        """Move the cursor of the list while the search line keeps the focus."""
        options = self.query_one(OptionList)
        if step < 0:
            options.action_cursor_up()
        else:
            options.action_cursor_down()

    def action_open(self) -> None:
        """Open the conversation under the cursor."""
        if (summary := self._highlighted) is not None:
            self.dismiss(Outcome(summary.id, frozenset(self._deleted)))

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(Outcome(None, frozenset(self._deleted)))

    @work(exclusive=True, group="delete")
    async def action_delete(self) -> None:
        """Delete the conversation under the cursor, after asking."""
        summary = self._highlighted
        if summary is None:
            return
        if summary.id == self._locked:
            self.notify("It is being answered now; stop the reply first.", markup=False)
            return
        title = one_line(summary.title, 60)
        messages = wording.plural(summary.message_count, "message")
        sure = await self.app.push_screen_wait(
            Confirm(f"Delete “{title}”?", f"{messages} will be gone for good.", "Delete")
        )
        if not sure:
            return
        try:
            await self._services.delete_conversation(summary.id)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        self._deleted.add(summary.id)
        self.refill()

    @property
    def _highlighted(self) -> ConversationSummary | None:
        at = self.query_one(OptionList).highlighted
        return self._summaries[at] if at is not None and at < len(self._summaries) else None
