"""Copying model files from disk to disk so that a stop at any moment loses nothing.

A copy grows under another name, is read back and compared by sha256, and only then gets its
final name. Stopped, it goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final, Protocol

from localr1.errors import FileError
from localr1.models.place import (
    COPYING,
    disk_errors,
    disk_full,
    free_bytes,
    opened,
    sync_folder,
    write_all,
)

SPARE_BYTES: Final = 64 << 20
"""Left free on a disk that is copied to."""
_BLOCK_BYTES: Final = 4 << 20


class Hash(Protocol):
    """What hashlib computes."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """The result so far."""


@dataclass(frozen=True)
class Span:
    """Part of a file."""

    path: Path
    start: int
    size_bytes: int


copy_errors = partial(disk_errors, advice=COPYING)
"""`disk_errors` with the advice for copies."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes that were dealt with since the last call."""


def growing_path(target: Path) -> Path:
    """The name of a copy that is not finished."""
    return target.with_name(target.name + ".copying")


def file_sha256(path: Path, on_bytes: OnBytes) -> str:
    """The sha256 of a whole file.

    Raises:
        FileError: It cannot be read.
    """
    with copy_errors(path):
        size = path.stat().st_size
    digest = hashlib.sha256()
    for block in _blocks([Span(path, 0, size)], on_bytes):
        digest.update(block)
    return digest.hexdigest()


def copy(
    sources: Sequence[Span], target: Path, on_bytes: OnBytes, *, expected_sha256: str = ""
) -> str:
    """Copy spans, one after the other, into one file.

    Args:
        sources: What to copy.
        target: The file to be; its folder is created. An existing file is replaced at the end.
        on_bytes: Told of bytes read from the sources, then of bytes read back: twice as many as
            the copy has, and more after a damaged start was found.
        expected_sha256: What the result must be; empty where that is not known.

    Returns:
        The sha256 of the copy, as read back from the disk.

    Raises:
        DiskFull: The disk has no room for it.
        FileError: A file cannot be read or written, or the bytes are not those expected.
    """
    size = sum(span.size_bytes for span in sources)
    growing = growing_path(target)
    with copy_errors(target, size):
        target.parent.mkdir(parents=True, exist_ok=True)
        done = growing.stat().st_size if growing.exists() else 0
    for start in dict.fromkeys((done if done <= size else 0, 0)):
        check_room(target.parent, size - start)
        came = _write(sources, growing, start, on_bytes)
        if expected_sha256 and came != expected_sha256:
            growing.unlink(missing_ok=True)
            raise FileError(
                f"{sources[0].path.name} is damaged.",
                f"Its sha256 is {came} instead of {expected_sha256}.",
                "Download it again.",
            )
        if file_sha256(growing, on_bytes) == came:
            _finish(growing, target)
            return came
        # What an earlier run had written is not what it should be: once more, from the start.
    growing.unlink(missing_ok=True)
    raise FileError(
        f"{target} cannot be written correctly.",
        "What was read back from the disk is not what was written.",
        "The disk may be failing: use another one.",
    )


def check_room(folder: Path, needed_bytes: int) -> None:
    """Make sure that a disk has room.

    Raises:
        DiskFull: It has not.
    """
    available = free_bytes(folder)
    if needed_bytes > 0 and needed_bytes + SPARE_BYTES > available:
        raise disk_full(folder, needed_bytes, available, advice=COPYING)


def _write(sources: Sequence[Span], growing: Path, start: int, on_bytes: OnBytes) -> str:
    """Append what is missing; the sha256 of the sources from their beginning."""
    digest = hashlib.sha256()
    size = sum(span.size_bytes for span in sources)
    with copy_errors(growing, size - start), opened(growing, "r+" if start else "w") as out:
        out.truncate(start)
        out.seek(start)
        position = 0
        for block in _blocks(sources, on_bytes):
            digest.update(block)
            after = position + len(block)
            if after > start:
                write_all(out, block[max(0, start - position) :])
            position = after
        os.fsync(out.fileno())
        _forget_pages(out)
    return digest.hexdigest()


def _blocks(spans: Sequence[Span], on_bytes: OnBytes) -> Iterator[bytes]:
    for span in spans:
        with _reading(span) as file:
            left = span.size_bytes
            while left > 0:
                with copy_errors(span.path):
                    block = file.read(min(left, _BLOCK_BYTES))
                if not block:
                    raise FileError(
                        f"{span.path} is cut short.", f"It lacks {left} bytes.", "Copy it again."
                    )
                left -= len(block)
                on_bytes(len(block))
                yield block


@contextmanager
def _reading(span: Span) -> Iterator[FileIO]:
    with copy_errors(span.path):
        file = opened(span.path, "r")
    with file:
        file.seek(span.start)
        yield file


def _forget_pages(file: FileIO) -> None:
    """Let the system drop its copy in memory, so that reading back reads the disk."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _finish(growing: Path, target: Path) -> None:
    with copy_errors(target):
        growing.replace(target)
        # The new name must be on the disk before whoever called deletes the source.
        sync_folder(target.parent)
