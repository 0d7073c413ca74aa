"""The panel beside the chat with live figures; while it is hidden nothing looks and nothing draws."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from textual import events
from textual.content import Content
from textual.widgets import Static

from localr1.chat.types import ReplyStats
from localr1.machine.gauges import Gauges, Now, Watcher
from localr1.tui.live import Live
from localr1.tui.panel_words import Pace, Speeds, panel_lines
from localr1.tui.runner import Runner
from localr1.tui.talk import Talk

FEWEST_COLUMNS: Final = 76
"""In a narrower terminal the panel would leave too little of the chat."""
_EVERY_SECONDS: Final = 1.0


class SidePanel(Static):
    """Speed, context, memory, temperature and battery, once a second.

    Args:
        talk: What is said, and with which model.
        runner: Holds the engine.
        live: Knows the reply that is being written.
        gauges: Makes what looks at the computer.
    """

    DEFAULT_CSS = """
    SidePanel {
        dock: right;
        width: 32;
        height: 1fr;
        margin: 0 0 1 0;
        padding: 0 1;
        border-left: vkey $border-blurred;
        background: $background;
        display: none;
    }
    """

    def __init__(
        self, talk: Talk, runner: Runner, live: Live, gauges: Callable[[], Gauges] = Gauges
    ) -> None:
        super().__init__("", markup=False, id="panel")
        self._talk = talk
        self._runner = runner
        self._live = live
        self._gauges = gauges
        self._wanted = False
        self._watcher: Watcher | None = None
        self._now: Now | None = None
        self._writing, self._reading = Pace(), Pace()
        self._read_tps: float | None = None
        self._speeds = Speeds()

    @property
    def wanted(self) -> bool:
        """Whether the user wants it, be the terminal wide enough or not."""
        return self._wanted

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        self._wanted = wanted
        self.fit()

    @property
    def has_room(self) -> bool:
        """Whether the terminal is wide enough."""
        return self.app.size.width >= FEWEST_COLUMNS

    def fit(self) -> None:
        """Be there where it is wanted and there is room, and look only then."""
        there = self._wanted and self.has_room
        self.display = there
        if there and self._watcher is None:
            self._begin()
        elif not there:
            self._end()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._writing.forget()
        self._reading.forget()
        self._watcher = watcher = Watcher(
            self._gauges(),
            self._process_id,
            lambda now: _tell(loop, lambda: self._take(watcher, now)),
            _EVERY_SECONDS,
        )
        watcher.start()

    def _end(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def on_unmount(self) -> None:
        """Look no more."""
        self._end()

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the lines to the new room."""
        if self.display:
            self._draw()

    def _process_id(self) -> int | None:
        running = self._runner.running
        return running.engine.process_id if running is not None and self._is_here else None

    @property
    def _is_here(self) -> bool:
        return self._talk.ready and not self._talk.elsewhere

    def _take(self, watcher: Watcher, now: Now) -> None:
        """What the computer says: the panel's beat."""
        if watcher is self._watcher and self.is_attached:
            self._now = now
            self._speeds = self._measured()
            self._draw()

    def _measured(self) -> Speeds:
        status, at = self._live.newest, time.monotonic()
        running = self._runner.running if self._talk.ready else None
        expected = running.plan.generation_tps.expected if running and self._is_here else None
        written = status.thinking_tokens + status.answer_tokens
        if not self._talk.busy:
            self._writing.forget()
            self._reading.forget()
            self._read_tps = None
            last = self._talk.last_stats or ReplyStats()
            return Speeds(None, last.generation_tps, last.prompt_tps, expected)
        if not written:
            self._read_tps = self._reading.note(at, status.read_tokens) or self._read_tps
            return Speeds(None, None, self._read_tps, expected)
        writing = self._writing.note(at, written)
        return Speeds(writing, status.generation_tps, self._read_tps, expected)

    def _draw(self) -> None:
        running = self._runner.running if self._talk.ready else None
        lines = panel_lines(
            self._live.newest,
            self._speeds,
            running,
            self._runner.machine if self._is_here else None,
            self._now,
            max(12, self.content_size.width),
        )
        self.update(Content("\n").join(lines), layout=False)


def _tell(loop: asyncio.AbstractEventLoop, take: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(take)
    except RuntimeError:
        return  # the app has ended meanwhile
