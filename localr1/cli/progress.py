"""A download's progress bar on a terminal."""

from __future__ import annotations

from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from localr1.cli import output
from localr1.models.download import (
    DownloadEvent,
    DownloadNotice,
    DownloadPaused,
    DownloadProgress,
    DownloadRemark,
    Verifying,
)


class DownloadBar:
    """Shows download events on stderr.

    Args:
        total_bytes: Expected, until the hub says exactly.
    """

    def __init__(self, total_bytes: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=output.console(stderr=True),
        )
        self._task = self._progress.add_task("downloading", total=total_bytes)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def show(self, event: DownloadEvent) -> None:
        """Draw one event."""
        match event:
            case DownloadProgress():
                self._progress.update(
                    self._task,
                    description="downloading",
                    completed=event.done_bytes,
                    total=event.total_bytes,
                )
            case Verifying():
                self._progress.update(
                    self._task,
                    description="verifying",
                    completed=event.done_bytes,
                    total=event.total_bytes,
                )
            case DownloadPaused():
                self._progress.update(self._task, description="paused")
                self._say(f"Paused: {event.error}")
            case DownloadNotice() | DownloadRemark():
                self._say(event.text)
            case _:
                pass

    def _say(self, text: str) -> None:
        self._progress.console.print(output.line(text), markup=False)
