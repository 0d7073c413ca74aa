"""The load of the chat's model: how far it is, what gave way for it, and how it ended."""

from __future__ import annotations

import asyncio

from localr1.errors import Interrupted
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.talk import Talk
from localr1.tui.widgets.note import StepNote
from localr1.tui.widgets.progress import LoadLine
from localr1.tui.widgets.transcript import Transcript


class Loading:
    """At most one load at a time.

    Args:
        talk: Has the model loaded.
        transcript: Where it is said what gives way.
        line: Shows how far the load is.
    """

    def __init__(self, talk: Talk, transcript: Transcript, line: LoadLine) -> None:
        self._talk = talk
        self._transcript = transcript
        self._line = line
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether a model is being loaded."""
        return self._task is not None

    def begin(self) -> None:
        """Load the chat's model; what was said of earlier loads goes."""
        if self._task is None:
            self._task = asyncio.create_task(self._load())
            self._task.add_done_callback(self._ended)
            self._progress(0.0)
            self._line.screen.refresh_bindings()

    async def stop(self) -> None:
        """End the load, at once; `finished` tells."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def finished(self) -> None:
        """Wait until the model is there; who stops waiting stops the load.

        Raises:
            Interrupted: The load was stopped.
            LocalR1Error: The model cannot be loaded.
        """
        task = self._task
        if task is None:
            return
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        if task.cancelled():
            raise Interrupted(
                "Loading was stopped.", "", "Load the model when you like, or choose another one."
            )
        task.result()

    async def _load(self) -> None:
        await self._transcript.query("RestartNote, StepNote").remove()
        await self._talk.load(self._progress, self._tell)

    def _progress(self, fraction: float) -> None:
        if self._task is not None:
            name = wording.short_name(printable(self._talk.local.model.name))
            self._line.show(f"Loading {name}", fraction)

    def _tell(self, words: str) -> None:
        self._transcript.call_later(self._transcript.add, StepNote(words))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # told by `finished`, if anyone still waits there
        if self._line.is_attached:
            self._line.hide()
            self._line.screen.refresh_bindings()
