"""How far the building of an engine is, on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final, Self

from localr1.cli import output
from localr1.install.installer import Progress
from localr1.install.mend import Event, Refused, Stage
from localr1.printable import one_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_LINE_SECONDS: Final = 20.0
_REASON_CHARACTERS: Final = 200


class Building:
    """Shows what mending tells: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.progress import (  # noqa: PLC0415 - only on a terminal
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            columns = (
                TextColumn("{task.description}", markup=False),
                *(BarColumn(), TaskProgressColumn(), TimeElapsedColumn()),
            )
            self._bar = Progress(*columns, console=output.console(stderr=True), transient=True)
            self._task = self._bar.add_task("preparing", total=None)
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case Stage():
                self._say(event.text)
                if event.command:
                    self._say(event.command)
            case Refused():
                why = one_line(event.error.why, _REASON_CHARACTERS)
                self._say(f"{event.error.what} {why} Trying another way.")
            case Progress():
                self._progress(event)

    def _progress(self, event: Progress) -> None:
        if self._bar is not None and self._task is not None:
            total = None if event.share is None else 1.0
            self._bar.update(
                self._task, description=event.stage, completed=event.share or 0.0, total=total
            )
        elif time.monotonic() - self._said_at >= _LINE_SECONDS:
            self._said_at = time.monotonic()
            share = "" if event.share is None else f", {event.share:.0%}"
            output.note(f"localr1: {event.stage}{share}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(output.line(text), markup=False)
        else:
            output.note(output.line(text))
