"""Downloading a variant: resumable, verified, never half a file under a final name.

Every file is fetched into a part file with a journal (`part`), over several connections
(`transfer`), while its sha256 is computed behind the bytes as they come. Only a file with the
right hash gets its final name. A stop at any moment costs at most some megabytes: call
`download` again and it goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from localr1.config import ensure, network_allowed
from localr1.errors import ChecksumMismatch, DiskFull, FileChanged
from localr1.models import journal
from localr1.models.digest import PrefixHash
from localr1.models.hub import RemoteFile, saved_token
from localr1.models.limit import SpeedLimit
from localr1.models.lock import locked
from localr1.models.part import PartFile
from localr1.models.patience import Patience
from localr1.models.place import (
    Sidecar,
    disk_errors,
    free_bytes,
    journal_path,
    lock_path,
    part_path,
    read_sidecar,
    target_path,
    write_sidecar,
)
from localr1.models.progress import (
    DownloadDone,
    DownloadEvent,
    DownloadNotice,
    DownloadPaused,
    DownloadProgress,
    DownloadRemark,
    RateMeter,
    Verifying,
    seconds_left,
)
from localr1.models.ranges import Ranges
from localr1.models.refusal import offline_error
from localr1.models.room import Room

if TYPE_CHECKING:
    from httpx2 import AsyncClient

__all__ = [
    "DownloadDone",
    "DownloadEvent",
    "DownloadNotice",
    "DownloadPaused",
    "DownloadProgress",
    "DownloadRemark",
    "Verifying",
    "download",
]

MAX_CONNECTIONS = 8
_TICK_SECONDS = 0.25


async def download(  # noqa: PLR0913  # keyword arguments with defaults
    files: Sequence[RemoteFile],
    directory: Path,
    *,
    on_event: Callable[[DownloadEvent], None],
    connections: int = 4,
    token: str | None = None,
    offline: bool = False,
    patience: Patience | None = None,
    limit: SpeedLimit | None = None,
    wait_for_room: bool = False,
    free: Callable[[Path], int] = free_bytes,
) -> Path:
    """Fetch the files of one variant, or go on where an earlier call stopped.

    Args:
        files: All files of the variant, shards in order, from `hub.list_files`.
        directory: The folder of downloads.
        on_event: Called in the event loop.
        connections: At once, 1 to 8.
        token: Sent to the hub only; None for the user's own, empty for none.
        offline: The command line's `--offline`; files that are here need no network.
        patience: Time limits and retries.
        limit: Shared by all that downloads; None for full speed.
        wait_for_room: Whether a disk that fills up under way is waited for; else it is an error.
        free: Room on the disk that holds a path.

    Returns:
        The path of the first file.

    Raises:
        OfflineError: Something is missing and the network may not be used.
        DiskFull: Not enough room, before or during the download.
        FileError: The folder cannot be written.
        HubDenied, HubNotFound, HubUnreachable: As `hub.list_files`, after many tries.
        ChecksumMismatch: The bytes are not those that the hub announced.
        FileChanged: The hub has another file now than `files` says.
    """
    if not files:
        raise ValueError("there is nothing to download")
    run = _Download(
        files,
        directory,
        on_event,
        min(max(connections, 1), MAX_CONNECTIONS),
        token,
        patience or Patience(),
        limit or SpeedLimit(),
        Room(directory, waits=wait_for_room, free=free),
    )
    if await run.complete():
        on_event(DownloadDone(run.targets[0]))
        return run.targets[0]
    if not network_allowed(offline):
        raise offline_error(f"{files[0].repository}/{files[0].path} is not here")
    ensure(directory)
    await run.room.check(await run.missing_bytes())
    await run.fetch_all()
    on_event(DownloadDone(run.targets[0]))
    return run.targets[0]


@dataclass
class _Download:
    """One call of `download`."""

    files: Sequence[RemoteFile]
    directory: Path
    on_event: Callable[[DownloadEvent], None]
    connections: int
    token: str | None
    patience: Patience
    limit: SpeedLimit
    room: Room
    meter: RateMeter = field(default_factory=RateMeter)
    finished_bytes: int = 0
    """Of files that are complete."""
    restarted: set[str] = field(default_factory=set)
    """Files that changed on the server during this call."""

    @cached_property
    def targets(self) -> list[Path]:
        return [target_path(self.directory, file.repository, file.path) for file in self.files]

    @cached_property
    def unit(self) -> tuple[tuple[str, int], ...]:
        return tuple((file.path, file.size_bytes) for file in self.files)

    @cached_property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    async def complete(self) -> bool:
        """Whether every file is here and known to be right, without reading them."""
        for file, target in zip(self.files, self.targets, strict=True):
            with disk_errors(target):
                if not await asyncio.to_thread(_is_complete, file, target):
                    return False
        return True

    async def missing_bytes(self) -> int:
        """What is still to be written."""
        return sum(
            [
                await asyncio.to_thread(file_missing_bytes, file, self.directory)
                for file in self.files
            ]
        )

    async def fetch_all(self) -> None:
        from localr1.models import transfer  # noqa: PLC0415  # heavy: the HTTP library

        if self.token is None:
            self.token = await asyncio.to_thread(saved_token)
        client = await asyncio.to_thread(transfer.http_client, self.connections, self.patience)
        async with client:
            for file, target in zip(self.files, self.targets, strict=True):
                async with locked(lock_path(target), partial(self._notice_wait, target)):
                    with disk_errors(target):
                        there = await asyncio.to_thread(_is_complete, file, target)
                    if not there and not await self._adopt(file, target):
                        await self._fetch(client, file, target)
                self.finished_bytes += file.size_bytes

    async def _adopt(self, file: RemoteFile, target: Path) -> bool:
        """Take a file of the right size without a note: a crash came between, or a copy."""
        if file.sha256 is None:
            return False
        with disk_errors(target):
            if not await asyncio.to_thread(_is_unnoted, file, target):
                return False
        digest = await self._hash(PrefixHash(target, lambda: file.size_bytes), file)
        if digest != file.sha256:
            return False
        await asyncio.to_thread(self._write_note, file, target, digest)
        return True

    async def _fetch(self, client: AsyncClient, file: RemoteFile, target: Path) -> None:
        content = journal.Content(
            file.repository, file.path, file.revision, file.size_bytes, file.sha256, self.unit
        )
        part = await PartFile.open(target, content, self.room.low)
        try:
            if part.changed:
                self._notice(f"{target.name} has changed on the hub; it is fetched from the start.")
            digest = await self._fetch_sound(client, file, part)
            await part.finish(target)
        finally:
            await part.close()
        await asyncio.to_thread(self._write_note, file, target, digest)

    async def _fetch_sound(self, client: AsyncClient, file: RemoteFile, part: PartFile) -> str:
        """Fetch until the hash is right, giving damaged ranges one more chance."""
        for last in (False, True):
            prefix = await self._fetch_bytes(client, file, part)
            digest = await self._hash(prefix, file)
            if file.sha256 is None or digest == file.sha256:
                return digest
            if last:
                break
            if not await part.drop_damaged():
                # Perhaps something was read wrongly under way; the disk has the last word.
                digest = await self._hash(
                    PrefixHash(part.path, lambda: part.done.prefix_bytes), file
                )
                if digest == file.sha256:
                    return digest
                break
            self._notice(f"Bytes of {file.path} changed on this disk; they are fetched again.")
        await part.discard()
        raise ChecksumMismatch(
            f"{file.repository}/{file.path} came damaged and was dropped.",
            f"Its sha256 is {digest}; the hub announced {file.sha256}.",
            "Run the command again. If it happens again, a proxy or mirror sends wrong bytes: "
            "check HTTPS_PROXY and HF_ENDPOINT.",
        )

    async def _fetch_bytes(
        self, client: AsyncClient, file: RemoteFile, part: PartFile
    ) -> PrefixHash:
        """Fetch every missing byte; from zero once if the server's version changed.

        Returns the hash, up to where it came along with the bytes.
        """
        from localr1.models.fetch import Fetch  # noqa: PLC0415  # heavy: the HTTP library
        from localr1.models.transfer import ChangedError, Source  # noqa: PLC0415  # as above

        if file.sha256 is None and not part.etag and part.done.total_bytes:
            self._notice(
                f"Nothing tells which version of {file.path} is here; it starts from zero."
            )
            await part.restart()
        while True:
            source = Source(client, file, self.token, part.etag)
            fetch = Fetch(
                source,
                part,
                self.connections,
                self.patience,
                on_notice=self._notice,
                limit=self.limit,
            )
            prefix = PrefixHash(part.path, lambda: part.done.prefix_bytes)
            try:
                await self._accompanied(fetch.run(), prefix, file, part)
            except ChangedError as error:
                if file.path in self.restarted:
                    raise FileChanged(
                        f"{file.repository}/{file.path} keeps changing on the server.",
                        "Its entity tag, or its date, differs from one request to the next.",
                        "Try again later.",
                    ) from error
                self.restarted.add(file.path)
                self._notice(f"{file.path} has changed on the server; it starts from zero.")
                await part.restart()
            except DiskFull as error:
                if not self.room.waits:
                    raise
                self.on_event(DownloadPaused(error))
                await self.room.wait(await self.missing_bytes())
                self._notice("There is room again; the download goes on.")
            else:
                return prefix

    async def _accompanied(
        self,
        fetching: Coroutine[None, None, None],
        prefix: PrefixHash,
        file: RemoteFile,
        part: PartFile,
    ) -> None:
        """Fetch while hashing behind and telling the progress."""
        beside = [
            asyncio.create_task(prefix.follow()),
            asyncio.create_task(self._tick(file, part)),
        ]
        try:
            await fetching
        finally:
            prefix.stop()
            beside[1].cancel()
            results = await asyncio.gather(*beside, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        self._progress(file, part)

    async def _tick(self, file: RemoteFile, part: PartFile) -> None:
        while True:
            self._progress(file, part)
            await asyncio.sleep(_TICK_SECONDS)

    def _progress(self, file: RemoteFile, part: PartFile) -> None:
        done = self.finished_bytes + part.done.total_bytes
        rate = self.meter.sample(done)
        left = seconds_left(self.total_bytes - done, rate)
        self.on_event(DownloadProgress(done, self.total_bytes, rate, left, file.path))

    async def _hash(self, prefix: PrefixHash, file: RemoteFile) -> str:
        self.on_event(Verifying(file.path, prefix.hashed_bytes, file.size_bytes))
        told = time.monotonic()
        while await prefix.step():
            if time.monotonic() - told >= _TICK_SECONDS:
                told = time.monotonic()
                self.on_event(Verifying(file.path, prefix.hashed_bytes, file.size_bytes))
        self.on_event(Verifying(file.path, prefix.hashed_bytes, file.size_bytes))
        return prefix.hexdigest()

    def _write_note(self, file: RemoteFile, target: Path, digest: str) -> None:
        with disk_errors(target):
            journal_path(target).unlink(missing_ok=True)
            # Without a hash from the hub nobody has vouched for the bytes: the library looks.
            modified_ns = target.stat().st_mtime_ns if file.sha256 else 0
        write_sidecar(
            target,
            Sidecar(
                file.repository,
                file.path,
                file.revision,
                file.size_bytes,
                digest,
                modified_ns,
                self.unit,
            ),
        )

    def _notice(self, text: str) -> None:
        self.on_event(DownloadNotice(text))

    def _notice_wait(self, target: Path) -> None:
        self._notice(f"Another localr1 is downloading {target.name}; waiting for it.")


def _is_complete(file: RemoteFile, target: Path) -> bool:
    sidecar = read_sidecar(target)
    if sidecar is None or sidecar.size_bytes != file.size_bytes:
        return False
    same = (
        sidecar.sha256 == file.sha256
        if file.sha256
        else (sidecar.path, sidecar.revision) == (file.path, file.revision)
    )
    return same and target.is_file() and target.stat().st_size == file.size_bytes


def _is_unnoted(file: RemoteFile, target: Path) -> bool:
    """Whether a file of the right size lies there without a note."""
    if read_sidecar(target) is not None or not target.is_file():
        return False
    return target.stat().st_size == file.size_bytes


def file_missing_bytes(file: RemoteFile, directory: Path) -> int:
    """What is still to be written for a file; blocking.

    Raises:
        FileError: The folder cannot be read.
    """
    target = target_path(directory, file.repository, file.path)
    with disk_errors(target):
        if _is_complete(file, target):
            return 0
        known = journal.read(journal_path(target))
        if known is None or known.content.sha256 != file.sha256 or not part_path(target).exists():
            return file.size_bytes
    done = Ranges((item.start, item.end) for item in known.ranges)
    return file.size_bytes - done.total_bytes
