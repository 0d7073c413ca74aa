"""Downloading one variant: what, from where, how large, how far."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static
from textual.worker import Worker

from localr1.errors import LocalR1Error
from localr1.models.types import LocalModel, Model, Variant
from localr1.printable import one_line, printable
from localr1.tui import wording
from localr1.tui.command import bindings
from localr1.tui.download_command import DOWNLOAD
from localr1.tui.keymap import key
from localr1.tui.services import Services
from localr1.tui.widgets.note import Note
from localr1.tui.widgets.progress import Bar
from localr1.workflow import queue_item

if TYPE_CHECKING:
    from localr1.models.download import DownloadEvent

_STOPPED = (
    "The download is stopped.",
    "What is here stays on the disk.",
    "Enter goes on from it; Esc goes back. F3 keeps it for another day.",
)


class Download(Screen[LocalModel | None]):
    """Fetches a variant and gives it back; None when the user turned back.

    Args:
        services: The layers below.
        model: What to fetch.
        variant: Its quantization.
    """

    DEFAULT_CSS = """
    Download { align: center middle; background: $background; }
    Download > Vertical {
        width: 78;
        max-width: 96%;
        height: auto;
        max-height: 100%;
        overflow-y: auto;
        padding: 1 2;
        border: round $border-blurred;
        border-title-color: $text-muted;
    }
    Download .facts { height: auto; margin: 0 0 1 0; }
    Download .figures { height: 1; color: $text-muted; }
    Download .news { height: auto; color: $text-muted; margin: 1 0 0 0; }
    Download .ended > Bar, Download .ended > .figures, Download .ended > .news { display: none; }
    Download Note { margin: 0; }
    """

    COMMANDS_SHOWN = DOWNLOAD
    HELP_TITLE = "Download"
    BINDINGS: ClassVar[list[BindingType]] = bindings(DOWNLOAD)

    def __init__(self, services: Services, model: Model, variant: Variant) -> None:
        super().__init__()
        self._services = services
        self._model = model
        self._variant = variant
        self._fetching: Worker[None] | None = None
        self._done_bytes = 0

    @property
    def running(self) -> bool:
        """Whether bytes are coming."""
        return self._fetching is not None and self._fetching.is_running

    def compose(self) -> ComposeResult:
        """Facts, bar, figures."""
        with Vertical() as box:
            box.border_title = "Download"
            yield Static(self._facts(None), classes="facts", markup=False)
            yield Bar()
            yield Static("", classes="figures", markup=False)
            yield Static("", classes="news", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin at once: the user has seen the size and the host before coming here."""
        self._show_room()
        self.action_start()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Start only while nothing runs."""
        if action in {"start", "demo"}:
            return not self.running
        if action == "background":
            return self.running
        return super().check_action(action, parameters)

    def action_start(self) -> None:
        """Download, or go on."""
        if not self.running:
            self.query(Note).remove()
            self.query_one(Vertical).remove_class("ended")
            self._say("Asking the hub…")
            self._fetching = self._fetch()
            self.refresh_bindings()

    def action_cancel(self) -> None:
        """Stop; once stopped, go back."""
        if self.running and self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
            self._end(Note(*_STOPPED, severity="warning"))
        else:
            self.dismiss(None)

    @work(exclusive=True, group="background")
    async def action_background(self) -> None:
        """Let the queue go on with it."""
        if self._fetching is None:
            return
        try:
            await self._services.queue_first(self._model, self._variant)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="error", markup=False)
            return
        self._fetching.cancel()
        self.notify(
            f"{self._model.name} comes in the background. "
            f"{key(self.app, 'app.downloads')} shows how far it is.",
            markup=False,
        )
        self.dismiss(None)

    @work(exclusive=True, group="demo")
    async def action_demo(self) -> None:
        """Give back the demonstration model instead."""
        try:
            found = await self._services.local_models()
        except LocalR1Error as error:
            self._end(Note.of(error))
            return
        for local in found:
            if local.model.demo:
                self.dismiss(local)

    @work(exclusive=True, group="fetch")
    async def _fetch(self) -> None:
        queue = self._services.downloads.queue
        queued = queue.find(queue_item(self._model, self._variant).name) is not None
        self._done_bytes = 0
        try:
            await self._services.take_from_queue(self._model, self._variant)
            local = await self._services.fetch(self._model, self._variant, self._on_event)
        except LocalR1Error as error:
            self._fetching = None
            if not queued and not self._done_bytes:
                await self._services.leave_queue(self._model, self._variant)
            todo = f"{error.todo} Or press d: the demo needs no download.".strip()
            self._end(Note(error.what, error.why, todo, "error"))
        else:
            await self._services.leave_queue(self._model, self._variant)
            self.dismiss(local)

    @work(exclusive=True, group="room")
    async def _show_room(self) -> None:
        try:
            free = await self._services.free_disk_bytes()
        except LocalR1Error:
            return  # the download meets the same folder, and says what is wrong with it
        self.query_one(".facts", Static).update(self._facts(free))

    def _on_event(self, event: DownloadEvent) -> None:
        from localr1.models import download  # noqa: PLC0415  # heavy, and only needed now

        match event:
            case download.DownloadProgress():
                if event.done_bytes > self._done_bytes:
                    # Bytes come: whatever was in the way no longer is.
                    self._done_bytes = event.done_bytes
                    self.query_one(".news", Static).update("")
                self._progress(event.done_bytes, event.total_bytes)
                self._say(
                    " · ".join(
                        part
                        for part in (
                            _share(event.done_bytes, event.total_bytes),
                            f"{wording.size(event.bytes_per_second)}/s",
                            f"{wording.duration(event.seconds_left)} left"
                            if event.seconds_left is not None
                            else "",
                        )
                        if part
                    )
                )
            case download.Verifying():
                self._progress(event.done_bytes, event.total_bytes)
                self._say(
                    f"Verifying {one_line(event.file_name, 40)} · "
                    f"{_share(event.done_bytes, event.total_bytes)}"
                )
            case download.DownloadPaused():
                self._say("Paused")
                text = " ".join(part for part in (event.error.what, event.error.why) if part)
                self.query_one(".news", Static).update(Content(printable(text)))
            case download.DownloadNotice():
                self.query_one(".news", Static).update(Content(printable(event.text)))
            case download.DownloadRemark():
                self.notify(printable(event.text), severity="warning", timeout=15, markup=False)
            case download.DownloadDone():
                self._progress(1, 1)
                self._say("Complete and verified.")

    def _progress(self, done: int, total: int) -> None:
        self.query_one(Bar).show(done / total if total else 0.0)

    def _say(self, text: str) -> None:
        self.query_one(".figures", Static).update(Content(text))

    def _end(self, note: Note) -> None:
        self._say("")
        self.query_one(".news", Static).update("")
        box = self.query_one(Vertical)
        box.add_class("ended")
        box.mount(note)
        box.call_after_refresh(box.scroll_end, animate=False)
        self.refresh_bindings()

    def _facts(self, free: int | None) -> Content:
        about = "" if self._variant.size_is_exact else "about "
        room = f", {wording.size(free)} free" if free is not None else ""
        rows = [
            ("Model", f"{self._model.name} · {self._variant.quantization}"),
            ("From", f"{self._services.hub}/{self._variant.repository}"),
            ("Size", f"{about}{wording.size(self._variant.size_bytes)}"),
            ("To", f"{self._services.home.directories.models}{room}"),
            ("Licence", self._model.license),
        ]
        return Content("\n").join(
            Content.assemble((label.ljust(9), "dim"), printable(text)) for label, text in rows
        )


def _share(done: int, total: int) -> str:
    percent = f"{done / total:.0%}" if total else "0%"
    return f"{percent} · {wording.size(done)} of {wording.size(total)}"
