"""The sha256 of a file that is still growing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from localr1.models.place import disk_errors, opened

# Small enough to stay in the processor's cache between reading and hashing.
_BLOCK_BYTES = 1 << 20
_STEP_BYTES = 8 << 20
_LOOK_SECONDS = 0.05


class PrefixHash:
    """The sha256 of a file that is still growing: it follows the part without gaps.

    Args:
        path: The file.
        available: How many bytes from the start are there now.
    """

    def __init__(self, path: Path, available: Callable[[], int]) -> None:
        self.hashed_bytes = 0
        self._path = path
        self._available = available
        self._digest = hashlib.sha256()
        self._buffer = bytearray(_BLOCK_BYTES)
        self._stopping = asyncio.Event()

    async def follow(self) -> None:
        """Hash whatever is there, until `stop`."""
        while not self._stopping.is_set():
            if self._available() - self.hashed_bytes >= _STEP_BYTES:
                await self.step()
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _LOOK_SECONDS)

    def stop(self) -> None:
        """Let `follow` return after its current step."""
        self._stopping.set()

    async def step(self) -> bool:
        """Hash the next few megabytes.

        Returns:
            False when everything available is hashed.

        Raises:
            FileError: The file cannot be read.
        """
        with disk_errors(self._path):
            return await asyncio.to_thread(self._step)

    def hexdigest(self) -> str:
        """The hash of the first `hashed_bytes`."""
        return self._digest.hexdigest()

    def _step(self) -> bool:
        wanted = min(_STEP_BYTES, self._available() - self.hashed_bytes)
        if wanted <= 0:
            return False
        view = memoryview(self._buffer)
        with opened(self._path, "r") as file:
            file.seek(self.hashed_bytes)
            while wanted > 0 and (count := file.readinto(view[:wanted])):
                self._digest.update(view[:count])
                self.hashed_bytes += count
                wanted -= count
        return wanted <= 0
