"""What is being downloaded beside everything else: order, pauses, speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from localr1.errors import LocalR1Error
from localr1.fit import time_words
from localr1.models.downloads import Downloads, Status
from localr1.models.queue import Item, Queue
from localr1.printable import one_line, printable
from localr1.tui import wording
from localr1.tui.command import bindings
from localr1.tui.download_command import DOWNLOADS
from localr1.tui.keymap import key

LIMITS: Final = (0, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000)
"""Bytes per second that the key offers one after the other; 0 is no limit."""

_LOOK_SECONDS: Final = 1.0


def brief(status: Status | None) -> str:
    """How far the running download is, for the status line: `↓ 45% · 3 m 2 s`."""
    if status is None:
        return ""
    if status.waiting:
        return "↓ waiting"
    if status.verifying:
        return "↓ verifying"
    left = status.seconds_left
    time = f" · {time_words.rough_duration(left)}" if left is not None else ""
    return f"↓ {status.fraction:.0%}{time}"


def state_text(item: Item, status: Status | None) -> str:
    """What is happening with an item, in a few words."""
    if item.problem:
        return "stopped"
    if item.paused:
        return "paused"
    if status is None or status.name != item.name:
        return "waits its turn"
    if status.waiting:
        return "waits"
    if status.verifying:
        return "verifying"
    parts = [f"{status.fraction:.0%}"]
    if status.bytes_per_second > 0:
        parts.append(f"{wording.size(status.bytes_per_second)}/s")
    if status.seconds_left is not None:
        parts.append(f"{time_words.rough_duration(status.seconds_left)} left")
    return " · ".join(parts)


def row_content(item: Item, status: Status | None, width: int) -> Content:
    """One line of the list: name, size, what is happening.

    Args:
        item: The download.
        status: Of the one that runs.
        width: Cells.
    """
    right = f"  {wording.size(item.size_bytes):>8}  {state_text(item, status)}"
    room = max(10, width - Content(right).cell_length)
    name = one_line(item.name, room)
    gap = " " * max(0, room - Content(name).cell_length)
    return Content.assemble(name, gap, (right, "$error" if item.problem else "dim"))


def next_limit(bytes_per_second: int) -> int:
    """The limit that comes after this one."""
    return next((limit for limit in LIMITS if limit > bytes_per_second), 0)


def limit_text(bytes_per_second: int) -> str:
    """A limit in words."""
    if not bytes_per_second:
        return "no speed limit"
    return f"at most {bytes_per_second / 1e6:g} MB/s"


class DownloadQueue(ModalScreen[None]):
    """The downloads in their order.

    Args:
        downloads: What is shown and changed.
        online: Whether anything may be downloaded.
    """

    DEFAULT_CSS = """
    DownloadQueue { align: center middle; }
    DownloadQueue > Vertical {
        width: 90;
        max-width: 96%;
        height: auto;
        max-height: 80%;
        padding: 1 1 0 1;
        border: round $primary;
        background: $surface;
    }
    DownloadQueue OptionList, DownloadQueue OptionList:focus {
        height: auto; max-height: 12; border: none; padding: 0; background: $surface;
        scrollbar-size-vertical: 1; text-wrap: nowrap;
    }
    DownloadQueue .detail { height: auto; min-height: 2; margin: 1 1; color: $text-muted; }
    """

    COMMANDS_SHOWN = DOWNLOADS
    HELP_TITLE = "Downloads"
    BINDINGS: ClassVar[list[BindingType]] = bindings(DOWNLOADS)

    def __init__(self, downloads: Downloads, *, online: bool) -> None:
        super().__init__()
        self._downloads = downloads
        self._online = online

    def compose(self) -> ComposeResult:
        """The list, and more about the item under the cursor."""
        with Vertical() as box:
            box.border_title = "Downloads"
            yield OptionList()
            yield Static("", classes="detail", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Fill the list once its width is known; then see what other processes do to it."""
        self.call_after_refresh(self.show)
        self.query_one(OptionList).focus()
        self._look()
        self.set_interval(_LOOK_SECONDS, self._look)

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        await self._downloads.look()

    def on_resize(self) -> None:
        """Fit the rows to the new width."""
        self.call_after_refresh(self.show)

    @property
    def _item(self) -> Item | None:
        at = self.query_one(OptionList).highlighted
        items = self._downloads.queue.items
        return items[at] if at is not None and at < len(items) else None

    def show(self) -> None:
        """Draw what there is now; the cursor stays where it is."""
        if not self.is_attached or not self.query(OptionList):
            return
        queue, status = self._downloads.queue, self._downloads.status
        rows = self.query_one(OptionList)
        # A list that was empty has no place of its own yet; it gets the whole box.
        place = rows if rows.display and rows.option_count else self.query_one(Vertical)
        width = max(20, place.scrollable_content_region.width)
        contents = [row_content(item, status, width) for item in queue.items]
        if rows.option_count == len(contents):
            for index, content in enumerate(contents):
                rows.replace_option_prompt_at_index(index, content)
        else:
            at = rows.highlighted or 0
            rows.clear_options()
            rows.add_options(Option(content) for content in contents)
            rows.highlighted = min(at, len(contents) - 1) if contents else None
        rows.display = bool(contents)
        box = self.query_one(Vertical)
        box.border_subtitle = limit_text(queue.limit_bytes_per_second)
        self._explain()

    def on_option_list_option_highlighted(self) -> None:
        """Tell about another item."""
        self._explain()

    def _explain(self) -> None:
        item, status = self._item, self._downloads.status
        if item is None:
            text = (
                f"Nothing is being downloaded. {key(self.app, 'chat.models')} shows the models; "
                "b there, while one comes, lets it come in the background."
            )
        elif item.problem:
            text = f"{item.problem} Space tries again."
        elif not self._online:
            text = "Offline: nothing is downloaded now."
        elif status is not None and status.name == item.name:
            verifying = f"Verifying {status.verifying}." if status.verifying else ""
            text = status.waiting or verifying or status.notice
        else:
            text = ""
        self.query_one(".detail", Static).update(Content(printable(text)))

    def action_pause(self) -> None:
        """Pause or go on."""
        if (item := self._item) is not None:
            change = Queue.pause if item.ready else Queue.resume
            self._change(partial(change, name=item.name))

    def action_move(self, by: int) -> None:
        """Change the order; the cursor goes with the item."""
        if (item := self._item) is not None:
            rows = self.query_one(OptionList)
            at = (rows.highlighted or 0) + by
            rows.highlighted = min(max(at, 0), rows.option_count - 1)
            self._change(partial(Queue.move, name=item.name, by=by))

    def action_remove(self) -> None:
        """Take an item out."""
        if (item := self._item) is not None:
            self._change(partial(Queue.remove, name=item.name))

    def action_limit(self) -> None:
        """Another speed limit."""
        self._change(
            lambda queue: replace(
                queue, limit_bytes_per_second=next_limit(queue.limit_bytes_per_second)
            )
        )

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)

    @work(group="change")
    async def _change(self, change: Callable[[Queue], Queue]) -> None:
        try:
            await self._downloads.change(change)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)
