"""Earlier conversations: find, open, put in order, delete."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
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

from localr1.chat.export import form_of
from localr1.chat.shelf import HIT_BEGIN, HIT_END, tag_of
from localr1.chat.types import ConversationSummary, Hit
from localr1.config import expanded
from localr1.errors import LocalR1Error
from localr1.printable import one_line, printable
from localr1.tui import wording
from localr1.tui.command import bindings
from localr1.tui.keymap import key
from localr1.tui.list_command import CONVERSATIONS
from localr1.tui.screens.type_value import TypeValue
from localr1.tui.services import Services

_SEARCH_SECONDS = 0.15


@dataclass(frozen=True)
class Outcome:
    """What was done in the list."""

    opened: int | None
    """The conversation to open."""
    deleted: frozenset[int]


def summary_content(summary: ConversationSummary, width: int, now: datetime) -> Content:
    """A conversation in the list: title and tags, messages, when; below it what a search found.

    Args:
        summary: The conversation.
        width: Cells.
        now: For `14:05` instead of a date, today.
    """
    moment = summary.updated_at.astimezone(now.tzinfo)
    when = f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d}"
    right = f"  {wording.plural(summary.message_count, 'message')}  {when:>10}"
    room = max(10, width - len(right))
    left = Content.assemble(
        ("★ " if summary.pinned else "", "$accent"),
        ("(put away) " if summary.archived else "", "dim"),
        one_line(summary.title, room) or "(untitled)",
        *((f" #{one_line(tag, 30)}", "$secondary") for tag in summary.tags),
    ).truncate(room, ellipsis=True)
    line = Content.assemble(left, " " * max(0, room - left.cell_length), (right, "dim"))
    return (
        line if summary.hit is None else Content("\n").join([line, hit_content(summary.hit, width)])
    )


def hit_content(hit: Hit, width: int) -> Content:
    """What a search found, with its words set off.

    Args:
        hit: Where and what.
        width: Cells.
    """
    parts: list[tuple[str, str]] = [(f"  {hit.where}: ", "dim")]
    for part in hit.excerpt.split(HIT_BEGIN):
        found, mark, rest = part.partition(HIT_END)
        if mark:
            parts.append((_flat(found), "bold $accent"))
        parts.append((_flat(rest if mark else found), "dim"))
    return Content.assemble(*parts).truncate(width, ellipsis=True)


def _export_path(text: str) -> Path:
    path = expanded(text.strip()).absolute()
    form_of(path)
    return path


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", printable(text))


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

    COMMANDS_SHOWN = CONVERSATIONS
    HELP_TITLE = "Conversations"
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
        self._deleted: list[int] = []
        """The last one is the first to come back."""
        self._archived = False
        self._search: Timer | None = None

    def compose(self) -> ComposeResult:
        """Search line and list."""
        with Vertical() as box:
            box.border_title = "Conversations"
            does = {"open": "opens", "pin": "pins", "delete": "deletes", "help": "all keys"}
            does["close"] = "closes"
            box.border_subtitle = " · ".join(
                f"{key(self.app, f'conversations.{name}')} {words}" for name, words in does.items()
            )
            yield Input(placeholder="Search questions, answers, thinking and #tags", compact=True)
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
        tag = tag_of(query) if query.startswith("#") else ""
        if tag and tag not in await self._known_tags():
            tag = ""  # it is still being typed
        try:
            self._summaries = await self._services.summaries(
                "" if tag else query.lstrip("#"), archived=self._archived, tag=tag
            )
        except LocalR1Error as error:
            self._summaries = ()
            empty.update(Content(printable(str(error))))
        else:
            nothing = "Nothing was put away." if self._archived else "No conversations yet."
            empty.update("Nothing found." if query else nothing)
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

    async def _known_tags(self) -> tuple[str, ...]:
        try:
            return await self._services.tags()
        except LocalR1Error:
            return ()  # what reads the list says why

    @work(exclusive=True, group="change")
    async def action_delete(self) -> None:
        """Delete the conversation under the cursor; it comes back by `action_undo`."""
        summary = self._highlighted
        if summary is None:
            return
        if summary.id == self._locked:
            self.notify("It is being answered now; stop the reply first.", markup=False)
            return
        if await self._done(self._services.discard_conversation(summary.id)):
            self._deleted.append(summary.id)
            title = one_line(summary.title, 40)
            undo = key(self.app, "conversations.undo")
            self.notify(f"Deleted “{title}”. {undo} brings it back.", markup=False)
            self.refill()

    @work(exclusive=True, group="change")
    async def action_undo(self) -> None:
        """Bring back what was deleted last."""
        if self._deleted and await self._done(
            self._services.restore_conversation(self._deleted[-1])
        ):
            self._deleted.pop()
            self.refill()

    @work(exclusive=True, group="change")
    async def action_pin(self) -> None:
        """Keep the conversation at the top, or no longer."""
        summary = self._highlighted
        if summary is not None:
            await self._done(self._services.pin(summary.id, pinned=not summary.pinned))
            self.refill()

    @work(exclusive=True, group="change")
    async def action_archive(self) -> None:
        """Put the conversation away, or back into the list."""
        summary = self._highlighted
        if summary is not None:
            await self._done(self._services.archive(summary.id, archived=not summary.archived))
            self.refill()

    def action_show_archived(self) -> None:
        """Show what was put away, or the list again."""
        self._archived = not self._archived
        title = "Conversations that were put away" if self._archived else "Conversations"
        self.query_one(Vertical).border_title = title
        self.refill()

    @work(exclusive=True, group="change")
    async def action_tags(self) -> None:
        """Ask for the conversation's tags."""
        summary = self._highlighted
        if summary is None:
            return
        known = await self._known_tags()
        hint = "Words between commas; none takes all tags away."
        if known:
            hint += f" In use: {one_line(', '.join(known), 200)}."
        screen = TypeValue[tuple[str, ...]](
            "Tags", hint, lambda text: tuple(text.split(",")), ", ".join(summary.tags)
        )
        tags = await self.app.push_screen_wait(screen)
        if tags is not None:
            await self._done(self._services.set_tags(summary.id, tags))
            self.refill()

    @work(exclusive=True, group="change")
    async def action_rename(self) -> None:
        """Ask for another title."""
        summary = self._highlighted
        if summary is None:
            return
        screen = TypeValue[str]("Title", "A few words.", str.strip, printable(summary.title))
        title = await self.app.push_screen_wait(screen)
        if title:
            await self._done(self._services.rename(summary.id, title))
            self.refill()

    @work(exclusive=True, group="change")
    async def action_export(self) -> None:
        """Ask for a file, and write the conversation to it."""
        summary = self._highlighted
        if summary is None:
            return
        screen = TypeValue[Path](
            "Export",
            "A file whose name ends in .md, .html, .txt or .json.",
            _export_path,
            f"conversation-{summary.id}.html",
        )
        path = await self.app.push_screen_wait(screen)
        if path is not None and await self._done(self._services.export(summary, path)):
            self.notify(f"Written to {printable(str(path))}.", markup=False)

    async def _done(self, change: Awaitable[None]) -> bool:
        """Make a change; where it fails, say why."""
        try:
            await change
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return False
        return True

    @property
    def _highlighted(self) -> ConversationSummary | None:
        at = self.query_one(OptionList).highlighted
        return self._summaries[at] if at is not None and at < len(self._summaries) else None
