"""A file being downloaded: `.part` and its journal, written on a thread of its own.

Bytes count as fetched once they are synced and then recorded: after a crash of the program
or of the computer the journal never promises more than the disk holds. That happens every
`commit_bytes` or `COMMIT_SECONDS`, on a second thread while the next bytes are written, so
that little is fetched twice and a slow disk does not make the network wait.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TypeVar

from localr1.errors import FileError
from localr1.models.journal import (
    Content,
    Journal,
    WrittenRange,
    content_record,
    etag_record,
    range_records,
    read,
)
from localr1.models.place import (
    disk_errors,
    journal_path,
    opened,
    part_path,
    sync_folder,
    write_all,
)
from localr1.models.ranges import Ranges

COMMIT_SECONDS = 4.0
_LOOK_SECONDS = 1.0
_READ_BYTES = 1 << 20
# What a kill may cost: so much, or a hundredth of the file. Some of it is not written yet.
_LOST_BYTES = 16 << 20
_LOST_SHARE = 100
_UNWRITTEN_BYTES = 6 << 20
_MOST_COMMIT_BYTES = 32 << 20

_T = TypeVar("_T")


def commit_bytes(size_bytes: int) -> int:
    """After how many bytes a file of this size is synced; as many may come meanwhile."""
    lost = max(_LOST_BYTES, size_bytes // _LOST_SHARE)
    return min((lost - _UNWRITTEN_BYTES) // 2, _MOST_COMMIT_BYTES)


class PartFile:
    """A partial file, open for writing at any place.

    Use `await PartFile.open(...)`, and `await close()` at the end whatever happens. One task
    opens and closes it; several may write.
    """

    def __init__(
        self, target: Path, content: Content, nearly_full: Callable[[], bool] = lambda: False
    ) -> None:
        self.path = part_path(target)
        self.content = content
        self.etag = ""
        self.done = Ranges()
        """What has been written; at most twice `commit_bytes` may not be recorded yet."""
        self.changed = False
        """Whether an older part file was dropped because the hub has other bytes now."""
        self._journal_path = journal_path(target)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="localr1-disk")
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="localr1-sync")
        self._syncing: Future[None] | None = None
        self._commit_bytes = commit_bytes(content.size_bytes)
        self._file: FileIO | None = None
        self._journal: FileIO | None = None
        self._recorded: list[WrittenRange] = []
        self._pending: list[WrittenRange] = []
        self._committed_at = time.monotonic()
        self._nearly_full = nearly_full
        self._looked_at = 0.0
        self._torn = False
        """Whether the journal ends in the middle of a line."""

    @classmethod
    async def open(
        cls, target: Path, content: Content, nearly_full: Callable[[], bool] = lambda: False
    ) -> PartFile:
        """Open or create a part file; what an earlier run recorded for the same bytes counts.

        Args:
            target: Where the complete file goes.
            content: What it is to become.
            nearly_full: Whether the disk is nearly full: nothing more is written then; blocking.

        Raises:
            FileError: It cannot be created or read.
        """
        part = cls(target, content, nearly_full)
        try:
            await part._run(part._open)
        except BaseException:
            await part.close()
            raise
        return part

    async def write(self, offset: int, data: bytes | bytearray) -> None:
        """Write bytes at a place.

        Raises:
            DiskFull: No room left; everything recorded so far stays good.
            FileError: The disk refuses otherwise.
        """
        try:
            await self._run(lambda: self._write(offset, data))
        except FileError:
            # What was not yet synced may be gone with it.
            kept = (*self._recorded, *self._pending)
            self.done = Ranges((item.start, item.end) for item in kept)
            raise
        self.done.add(offset, offset + len(data))

    async def commit(self) -> None:
        """Sync and record everything written.

        Raises:
            DiskFull: No room left.
            FileError: The disk refuses otherwise.
        """
        await self._run(self._commit)

    async def remember_etag(self, etag: str) -> None:
        """Record which version the server sends."""
        if etag != self.etag:
            self.etag = etag
            await self._run(lambda: self._note_etag(etag))

    async def restart(self) -> None:
        """Forget everything and start from an empty file."""
        self.done = Ranges()
        self.etag = ""
        await self._run(self._restart)

    async def drop_damaged(self) -> int:
        """Compare the bytes on the disk with the checksums taken when they came.

        Ranges that differ, or that have no checksum, count as missing again.

        Returns:
            How many bytes were dropped.
        """
        sound = await self._run(self._sound)
        before = self.done.total_bytes
        self._recorded = sound
        self.done = Ranges((item.start, item.end) for item in sound)
        await self._run(self._rewrite_journal)
        return before - self.done.total_bytes

    async def finish(self, target: Path) -> None:
        """Put the complete file in its place, in one step; the journal goes.

        Raises:
            FileError: The place is taken by something that cannot be replaced.
        """
        await self._run(self._commit)
        await self._run(lambda: self._finish(target))

    async def discard(self) -> None:
        """Delete the part file and its journal."""
        await self._run(self._discard)

    async def close(self) -> None:
        """Record what was written and close; the download can be resumed later."""
        closing = asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)
        stopped: asyncio.CancelledError | None = None
        with disk_errors(self.path):
            # Whoever is cancelled again waits too: the lock must outlast the open files.
            while not closing.done():
                try:
                    await asyncio.shield(closing)
                except asyncio.CancelledError as error:
                    stopped = error
            closing.result()
        if stopped is not None:
            raise stopped

    async def _run(self, function: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        with disk_errors(self.path, self.content.size_bytes - self.done.total_bytes):
            return await loop.run_in_executor(self._thread, function)

    # From here on: on the disk thread.

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _beside(self._journal_path).unlink(missing_ok=True)
        journal = read(self._journal_path)
        same = journal is not None and journal.content.same_bytes(self.content)
        self.changed = journal is not None and not same and bool(journal.ranges)
        if journal is None or not same or not self.path.exists():
            self._restart()
            return
        self._file = opened(self.path, "r+")
        self._journal = opened(self._journal_path, "a")
        # A last line without its end must not swallow the next record.
        self._torn = True
        self._adopt(journal)

    def _adopt(self, journal: Journal) -> None:
        size = self.path.stat().st_size
        self.etag = journal.etag
        self._recorded = [item for item in journal.ranges if item.end <= size]
        self.done = Ranges((item.start, item.end) for item in self._recorded)

    def _restart(self) -> None:
        self._abandon()
        self._recorded.clear()
        # The journal first: it must never describe bytes of another file.
        self._journal, self._torn = opened(self._journal_path, "w"), False
        self._append(content_record(self.content))
        os.fsync(self._journal.fileno())
        self._file = opened(self.path, "w+")
        sync_folder(self.path.parent)

    def _write(self, offset: int, data: bytes | bytearray) -> None:
        try:
            self._put(offset, data)
        except OSError:
            # What becomes of the bytes that are being synced is known before anybody asks.
            with suppress(OSError):
                self._join()
            raise

    def _put(self, offset: int, data: bytes | bytearray) -> None:
        file = self._opened()
        self._look()
        file.seek(offset)
        write_all(file, data)
        end = offset + len(data)
        # A checksum can only be carried on where the bytes follow each other.
        for index, item in enumerate(self._pending):
            if item.end == offset:
                crc32 = zlib.crc32(data, item.crc32)
                self._pending[index] = WrittenRange(item.start, end, crc32)
                break
        else:
            self._pending.append(WrittenRange(offset, end, zlib.crc32(data)))
        waiting = sum(item.end - item.start for item in self._pending)
        late = time.monotonic() - self._committed_at >= COMMIT_SECONDS
        if waiting >= self._commit_bytes or late:
            self._begin_commit()

    def _begin_commit(self) -> None:
        """Have what is written synced and recorded, once that is done for what came before."""
        self._join()
        self._committed_at = time.monotonic()
        written, self._pending = self._pending, []
        self._syncing = self._syncer.submit(self._sync, written)

    def _join(self) -> None:
        """Wait until nothing is being synced."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            try:
                syncing.result()
            except OSError:
                # A second try may succeed without the bytes: the system has forgotten them.
                self._pending.clear()
                raise

    def _sync(self, written: list[WrittenRange]) -> None:
        """Where it is done on the second thread, whoever else uses the journal joins first."""
        os.fsync(self._opened().fileno())
        self._append(range_records(written))
        if self._journal is not None:
            os.fsync(self._journal.fileno())
        self._recorded += written

    def _commit(self) -> None:
        self._join()
        self._committed_at = time.monotonic()
        written, self._pending = self._pending, []
        if written:
            self._sync(written)

    def _note_etag(self, etag: str) -> None:
        self._join()
        self._append(etag_record(etag))

    def _append(self, records: bytes) -> None:
        if self._journal is not None:
            torn, self._torn = self._torn, True
            write_all(self._journal, b"\n" + records if torn else records)
            self._torn = False

    def _look(self) -> None:
        """Stop before the disk is full to the last byte: other programs need some too."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            if self._nearly_full():
                raise OSError(errno.ENOSPC, "the disk is nearly full")

    def _sound(self) -> list[WrittenRange]:
        self._commit()
        with opened(self.path, "r") as file:
            return [item for item in self._recorded if _crc32(file, item) == item.crc32]

    def _rewrite_journal(self) -> None:
        # Beside the old one first: a crash in between must not forget what is here.
        written = _beside(self._journal_path)
        if self._journal is not None:
            self._journal.close()
        self._journal, self._torn = opened(written, "w"), False
        self._append(content_record(self.content))
        if self.etag:
            self._append(etag_record(self.etag))
        self._append(range_records(self._recorded))
        os.fsync(self._journal.fileno())
        self._journal.close()
        written.replace(self._journal_path)
        self._journal = opened(self._journal_path, "a")

    def _finish(self, target: Path) -> None:
        self._close_files()
        self.path.replace(target)
        # The name must be on the disk before the record of the part goes.
        sync_folder(target.parent)
        self._journal_path.unlink(missing_ok=True)

    def _discard(self) -> None:
        self._abandon()
        self.path.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)

    def _close(self) -> None:
        try:
            # What cannot be recorded any more is simply fetched again.
            with suppress(OSError):
                if self._file is not None and self.done.total_bytes:
                    self._commit()
                elif self._file is not None:
                    self._discard()  # nothing came: there is nothing to go on with
        finally:
            self._close_files()
            self._syncer.shutdown(wait=False)

    def _abandon(self) -> None:
        with suppress(OSError):
            self._join()
        self._pending.clear()
        self._close_files()

    def _close_files(self) -> None:
        for file in (self._file, self._journal):
            if file is not None:
                file.close()
        self._file = self._journal = None

    def _opened(self) -> FileIO:
        if self._file is None:
            raise OSError(0, "the file is closed")
        return self._file


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _crc32(file: FileIO, item: WrittenRange) -> int:
    crc32 = 0
    position = item.start
    file.seek(position)
    while position < item.end:
        data = file.read(min(_READ_BYTES, item.end - position))
        if not data:
            return -1
        crc32 = zlib.crc32(data, crc32)
        position += len(data)
    return crc32
