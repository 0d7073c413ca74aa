"""A speed limit, shared by everything that downloads, in this process and in others."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from localr1.models.lock import try_lock
from localr1.models.place import opened, write_all

# What may come at once after a rest: small, so that no second is far above the limit.
_BURST_SECONDS = 0.1
# A wait is cut into such slices, so that a new limit is felt at once.
_SLICE_SECONDS = 0.2
# Until when the line is taken, by the system's steady clock, and when that clock began: after a
# restart of the computer what is written means nothing.
_STATE = struct.Struct("<dd")
_SAME_START_SECONDS = 2.0
# Longer than any process leaves behind.
_LONGEST_SECONDS = 600.0


class SpeedLimit:
    """Lets at most so many bytes pass in a second.

    Bytes take the line for as long as they need at this speed, one after the other.

    Args:
        bytes_per_second: 0 for no limit; it may be changed at any time.
        clock: Seconds, only ever growing; the same for every process.
        shared: A file through which processes know of each other's bytes; None for this
            process alone. It holds a few bytes and may be deleted at any time.
    """

    def __init__(
        self,
        bytes_per_second: int = 0,
        clock: Callable[[], float] = time.monotonic,
        shared: Path | None = None,
    ) -> None:
        self._bytes_per_second = max(0, bytes_per_second)
        self._clock = clock
        self._shared = shared
        self._free_at = clock()
        """When the line is free of all that has passed."""
        self._untold_seconds = 0.0
        """What other processes do not know of yet."""

    @property
    def bytes_per_second(self) -> int:
        """The limit; 0 for none."""
        return self._bytes_per_second

    @bytes_per_second.setter
    def bytes_per_second(self, value: int) -> None:
        before, after = self._bytes_per_second, max(0, value)
        if before == after:
            return
        now = self._clock()
        # What has passed counts on, at the new speed.
        scale = before / after if after else 0.0
        self._free_at = now + max(0.0, self._free_at - now) * scale
        self._untold_seconds *= scale
        self._bytes_per_second = after
        self._tell(most_seconds=self._free_at - now if before else math.inf)

    def note(self, count: int) -> None:
        """Count bytes that have come."""
        if not self._bytes_per_second:
            return
        seconds = count / self._bytes_per_second
        self._free_at = max(self._free_at, self._clock()) + seconds
        self._untold_seconds += seconds
        self._tell()

    def wait_seconds(self) -> float:
        """How long to let nothing more come; 0 for not at all."""
        if not self._bytes_per_second:
            return 0.0
        return max(0.0, self._free_at - self._clock() - _BURST_SECONDS)

    async def passing(self, count: int) -> None:
        """Count bytes that have come, and wait until more may."""
        self.note(count)
        while (seconds := self.wait_seconds()) > 0:  # noqa: ASYNC110  # time is what is waited for
            await asyncio.sleep(min(seconds, _SLICE_SECONDS))

    def _tell(self, most_seconds: float = math.inf) -> None:
        """Put what came behind what came to others; where that cannot be, the next time.

        Args:
            most_seconds: For which the line may be taken by what came before.
        """
        if self._shared is None:
            return
        with suppress(OSError), _opened(self._shared) as file:
            if not try_lock(file):
                return
            now = self._clock()
            began = time.time() - now
            taken = _taken_seconds(file.readall(), now, began)
            self._free_at = now + min(taken, most_seconds) + self._untold_seconds
            self._untold_seconds = 0.0
            file.seek(0)
            write_all(file, _STATE.pack(self._free_at, began))
            file.truncate()


def _opened(path: Path) -> FileIO:
    try:
        return opened(path, "r+")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened(path, "a").close()
        return opened(path, "r+")


def _taken_seconds(data: bytes, now: float, began: float) -> float:
    if len(data) != _STATE.size:
        return 0.0
    free_at, then = _STATE.unpack(data)
    # Not a number is no answer either.
    if not 0.0 <= free_at - now <= _LONGEST_SECONDS or not abs(then - began) <= _SAME_START_SECONDS:
        return 0.0
    return float(free_at) - now
