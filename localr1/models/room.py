"""Room on the disk for downloads: looked at before, while bytes come, and until there is some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from localr1.errors import DiskFull
from localr1.models.place import disk_full, free_bytes

SPARE_BYTES: Final = 64 << 20
"""Left free for the journal, the conversation database and the system."""
LOW_BYTES: Final = SPARE_BYTES // 2
"""With less than this a running download pauses."""
_POLL_SECONDS: Final = 1.0


class Room:
    """The disk that a download goes to.

    Args:
        directory: The folder of downloads.
        waits: Whether a disk that fills up is waited for; else it is an error.
        free: Room on the disk that holds a path, in bytes.
    """

    def __init__(
        self, directory: Path, *, waits: bool, free: Callable[[Path], int] = free_bytes
    ) -> None:
        self.waits = waits
        self._directory = directory
        self._free = free

    async def check(self, needed_bytes: int) -> None:
        """Raise DiskFull when so many bytes cannot fit."""
        available = await asyncio.to_thread(self._free, self._directory)
        if lacks(needed_bytes, available):
            raise disk_full(self._directory, needed_bytes, available, SPARE_BYTES)

    async def wait(self, needed_bytes: int) -> None:
        """Wait until so many bytes fit."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self.check(needed_bytes)
            except DiskFull:
                continue
            return

    def low(self) -> bool:
        """Whether the disk is nearly full; blocking."""
        return self._free(self._directory) < LOW_BYTES


def lacks(needed_bytes: int, available_bytes: int) -> bool:
    """Whether so many bytes are too many for the room that there is."""
    return needed_bytes > 0 and needed_bytes + SPARE_BYTES > available_bytes
