"""A lock between processes, held as long as a file is open; a crash releases it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from io import FileIO
from pathlib import Path

from localr1.models.place import disk_errors, opened

_POLL_SECONDS = 0.2
_MOMENT_SECONDS = 0.01

if sys.platform == "win32":
    import msvcrt

    def try_lock(file: FileIO) -> bool:
        """Lock an open file until it is closed; False where another has it."""
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(file: FileIO) -> bool:
        """Lock an open file until it is closed; False where another has it."""
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def locked(path: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold a lock file; wait while another process, or another task, holds it.

    Args:
        path: The lock file; it is removed when the lock is released.
        on_wait: Called once when there is a wait.

    Raises:
        FileError: The lock file cannot be created.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _acquire(path)
        if file is None:
            on_wait()
    while file is None:
        await asyncio.sleep(_POLL_SECONDS)
        with disk_errors(path):
            file = _acquire(path)
    try:
        yield
    finally:
        _release(path, file)


@contextmanager
def held_now(path: Path, limit_seconds: float = 5.0) -> Iterator[None]:
    """Hold a lock file for a moment's work; blocking.

    Args:
        path: The lock file; it is removed when the lock is released.
        limit_seconds: How long to wait for another holder.

    Raises:
        FileError: The lock file cannot be created.
        TimeoutError: Another process holds it for too long.
    """
    deadline = time.monotonic() + limit_seconds
    while True:
        with disk_errors(path):
            file = _acquire(path)
        if file is not None:
            break
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_MOMENT_SECONDS)
    try:
        yield
    finally:
        _release(path, file)


def held(path: Path) -> bool:
    """Whether somebody holds a lock file right now.

    Raises:
        FileError: The lock file cannot be opened.
    """
    if not path.exists():
        return False
    with disk_errors(path):
        file = _acquire(path)
    if file is None:
        return True
    _release(path, file)
    return False


def _acquire(path: Path) -> FileIO | None:
    try:
        file = opened(path, "a")
    except PermissionError:
        # Windows refuses to open a file that is being removed; elsewhere it is a real refusal.
        if sys.platform == "win32" and path.exists():
            return None
        raise
    try:
        # The file may have been removed by its last holder between opening and locking.
        if try_lock(file) and _same_file(path, file):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _same_file(path: Path, file: FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _release(path: Path, file: FileIO) -> None:
    # POSIX removes the name while the lock is held, so nobody can lock a name about to go;
    # Windows cannot remove an open file. A file left behind is harmless: only the lock counts.
    if sys.platform == "win32":
        file.close()
        with suppress(OSError):
            path.unlink()
    else:
        with suppress(OSError):
            path.unlink()
        file.close()
