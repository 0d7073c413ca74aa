"""How far reading or copying large files is, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from localr1.cli import output
from localr1.models.place import size_text

_LINE_SECONDS: Final = 5.0


@contextmanager
def counting(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show progress while the block runs: a bar on a terminal, else a line now and then.

    Args:
        what: What is being done, for people.
        total_bytes: How many there are.

    Returns:
        A function to call with the number of bytes that were dealt with since the last call.
    """
    what = output.line(what)
    if not sys.stderr.isatty():
        yield _lines(what, total_bytes)
        return
    from rich.progress import (  # noqa: PLC0415 - only on a terminal
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=output.console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total_bytes)
        yield lambda count: progress.advance(task, count)


def _lines(what: str, total_bytes: int) -> Callable[[int], None]:
    done = 0
    said_at = time.monotonic()

    def on_bytes(count: int) -> None:
        nonlocal done, said_at
        done += count
        if time.monotonic() - said_at >= _LINE_SECONDS:
            said_at = time.monotonic()
            share = min(1.0, done / max(1, total_bytes))
            output.note(f"localr1: {what}: {size_text(done)}, {share:.0%}")

    return on_bytes
