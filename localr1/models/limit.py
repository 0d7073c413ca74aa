"""A speed limit, shared by everything that downloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# What may come at once after a rest: small, so that no second is far above the limit.
_BURST_SECONDS = 0.1
# A wait is cut into such slices, so that a new limit is felt at once.
_SLICE_SECONDS = 0.2


class SpeedLimit:
    """Lets at most so many bytes pass in a second.

    Args:
        bytes_per_second: 0 for no limit; it may be changed at any time.
        clock: Seconds, only ever growing.
    """

    def __init__(
        self, bytes_per_second: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bytes_per_second = max(0, bytes_per_second)
        self._clock = clock
        self._passed_bytes = 0.0
        """Not yet made up for by time."""
        self._at = clock()

    @property
    def bytes_per_second(self) -> int:
        """The limit; 0 for none."""
        return self._bytes_per_second

    @bytes_per_second.setter
    def bytes_per_second(self, value: int) -> None:
        self._settle()
        self._bytes_per_second = max(0, value)

    def note(self, count: int) -> None:
        """Count bytes that have come."""
        self._settle()
        self._passed_bytes += count

    def wait_seconds(self) -> float:
        """How long to let nothing more come; 0 for not at all."""
        self._settle()
        if not self._bytes_per_second:
            return 0.0
        return max(0.0, self._passed_bytes / self._bytes_per_second - _BURST_SECONDS)

    async def passing(self, count: int) -> None:
        """Count bytes that have come, and wait until more may."""
        self.note(count)
        while (seconds := self.wait_seconds()) > 0:  # noqa: ASYNC110  # time is what is waited for
            await asyncio.sleep(min(seconds, _SLICE_SECONDS))

    def _settle(self) -> None:
        now = self._clock()
        if self._bytes_per_second:
            made_up = (now - self._at) * self._bytes_per_second
            self._passed_bytes = max(0.0, self._passed_bytes - made_up)
        else:
            self._passed_bytes = 0.0
        self._at = now
