"""The queue's runner: one download after the other, beside whatever else the app does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from localr1.errors import DiskFull, FileError, HubUnreachable, LocalR1Error, OfflineError
from localr1.models.limit import SpeedLimit
from localr1.models.progress import (
    DownloadEvent,
    DownloadNotice,
    DownloadPaused,
    DownloadProgress,
    DownloadRemark,
    Verifying,
)
from localr1.models.queue import Item, Queue, QueueFile

_RETRY_SECONDS = 30.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Status:
    """How far the running download is."""

    name: str
    done_bytes: int = 0
    total_bytes: int = 0
    bytes_per_second: float = 0.0
    seconds_left: float | None = None
    verifying: str = ""
    """The file whose bytes are being checked; empty while they come."""
    waiting: str = ""
    """What nothing comes before; empty while something does."""
    notice: str = ""
    """The latest word about it."""

    @property
    def fraction(self) -> float:
        """The share that is here, 0 to 1."""
        return self.done_bytes / self.total_bytes if self.total_bytes else 0.0


async def follow(file: QueueFile, limit: SpeedLimit) -> None:
    """Keep a limit as the queue has it, whichever process changes it, until cancelled."""
    known: tuple[int, int] | None = None
    while True:
        stamp = await asyncio.to_thread(file.stamp)
        if stamp != known:
            known = stamp
            queue = await asyncio.to_thread(file.read)
            limit.bytes_per_second = queue.limit_bytes_per_second
        await asyncio.sleep(_LOOK_SECONDS)


class Downloads:
    """Runs a queue in the event loop of its owner.

    Args:
        file: Where the queue is kept.
        fetch: Downloads one item and calls back with its events; cancelling keeps what is here.
        limit: What `fetch` keeps to; set here from the queue.
        on_change: Called after every change of `queue` or `status`.
        on_end: Called with an item that is complete, or with one that stopped and why.
        retry_seconds: Between tries while there is no connection or no room.
    """

    def __init__(  # noqa: PLR0913  # keyword arguments with defaults
        self,
        file: QueueFile,
        fetch: Callable[[Item, Callable[[DownloadEvent], None]], Awaitable[object]],
        limit: SpeedLimit,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_end: Callable[[Item, LocalR1Error | None], None] = lambda _item, _error: None,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self.queue = Queue()
        self.status: Status | None = None
        """Of the item that runs; None while none does."""
        self.on_change = on_change
        self.on_end = on_end
        self._file = file
        self._fetch = fetch
        self._limit = limit
        self._retry_seconds = retry_seconds
        self._stamp: tuple[int, int] | None = None
        """Of the file when it was last looked at."""
        self._wake = asyncio.Event()
        self._changing = asyncio.Lock()
        self._runner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on with what is in the file, and with whatever is added."""
        if self._runner is None:
            self.queue = await asyncio.to_thread(self._file.read)
            self._limit.bytes_per_second = self.queue.limit_bytes_per_second
            self.on_change()
            self._runner = asyncio.create_task(self._run(), name="downloads")

    async def look(self) -> None:
        """Take over what another process did to the queue; cheap where it did nothing."""
        async with self._changing:
            stamp = await asyncio.to_thread(self._file.stamp)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            queue = await asyncio.to_thread(self._file.read)
            if queue == self.queue:
                return
            self.queue = queue
        self._limit.bytes_per_second = queue.limit_bytes_per_second
        self._wake.set()
        self.on_change()

    async def close(self) -> None:
        """Stop; the next start goes on."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    async def change(self, change: Callable[[Queue], Queue]) -> None:
        """Add, remove, pause or move something; what runs is what then comes first.

        Raises:
            FileError: The queue cannot be kept; the change holds for this run.
        """
        try:
            async with self._changing:
                try:
                    self.queue = await asyncio.to_thread(self._file.change, change)
                except FileError:
                    self.queue = change(self.queue)
                    raise
        finally:
            self._limit.bytes_per_second = self.queue.limit_bytes_per_second
            self._wake.set()
            self.on_change()

    async def _settle(self, change: Callable[[Queue], Queue]) -> None:
        # Where it cannot be written down, this run knows it, and the next one finds out again.
        with suppress(FileError):
            await self.change(change)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            item = self.queue.next
            if item is None:
                self._show(None)
                await self._wake.wait()
            else:
                await self._run_until_changed(item)

    async def _run_until_changed(self, item: Item) -> None:
        """Run one item until it ends, or until another one comes first."""
        running = asyncio.create_task(self._run_item(item), name=f"download {item.name}")
        try:
            while not running.done():
                waking = asyncio.create_task(self._wake.wait())
                await asyncio.wait({running, waking}, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
                self._wake.clear()
                first = self.queue.next
                if first is None or first.name != item.name:
                    break
        finally:
            if not running.done():
                running.cancel()
            await asyncio.wait({running})
        if not running.cancelled():
            running.result()

    async def _run_item(self, item: Item) -> None:
        self._show(Status(item.name, total_bytes=item.size_bytes))
        while True:
            try:
                await self._fetch(item, self._on_event)
            except (HubUnreachable, DiskFull) as error:
                # Both may mend by themselves: the laptop was closed, a file was deleted.
                self._wait_for(error)
                await asyncio.sleep(self._retry_seconds)
            except LocalR1Error as error:
                # Offline is for this run only: the next one may be allowed to go on.
                if not isinstance(error, OfflineError):
                    await self._settle(partial(Queue.stop, name=item.name, problem=str(error)))
                    self.on_end(item, error)
                    return
                self._wait_for(error)
                await asyncio.Event().wait()
            else:
                await self._settle(lambda queue: queue.remove(item.name))
                self.on_end(item, None)
                return

    def _on_event(self, event: DownloadEvent) -> None:
        status = self.status
        if status is None:
            return
        match event:
            case DownloadProgress():
                # Bytes come: whatever was in the way no longer is.
                notice = status.notice if event.done_bytes <= status.done_bytes else ""
                self._show(
                    replace(
                        status,
                        notice=notice,
                        done_bytes=event.done_bytes,
                        total_bytes=event.total_bytes,
                        bytes_per_second=event.bytes_per_second,
                        seconds_left=event.seconds_left,
                        verifying="",
                        waiting="",
                    )
                )
            case Verifying():
                self._show(replace(status, verifying=event.file_name, waiting=""))
            case DownloadPaused():
                self._wait_for(event.error)
            case DownloadNotice() | DownloadRemark():
                self._show(replace(status, notice=event.text))
            case _:
                pass

    def _wait_for(self, error: LocalR1Error) -> None:
        if self.status is not None:
            waiting = " ".join(part for part in (error.what, error.why) if part)
            self._show(replace(self.status, bytes_per_second=0.0, waiting=waiting))

    def _show(self, status: Status | None) -> None:
        self.status = status
        self.on_change()
