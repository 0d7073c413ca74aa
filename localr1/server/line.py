"""Who is served next: a few at a time, in turn among those who ask."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager

from localr1.server.refusal import Refusal


class Line:
    """A waiting line in which nobody who asks a lot keeps the others waiting.

    Args:
        most_waiting: How many may wait; one asker takes at most half of the places.
    """

    def __init__(self, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self.places = 1
        """How many may be served at once."""
        self.served = 0
        """How many are."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, asker: Hashable) -> AsyncGenerator[None, None]:
        """Wait for a turn, and hold it.

        Args:
            asker: Who asks; turns go round among them.

        Raises:
            Refusal: Too many wait.
        """
        await self._enter(asker)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, asker: Hashable) -> None:
        if self.served < self.places:
            self.served += 1
            return
        mine = len(self._waiting.get(asker, ()))
        if self.waiting >= self._most_waiting or mine >= max(1, self._most_waiting // 2):
            raise Refusal(
                429,
                f"{self.waiting} requests wait already; ask again in a moment.",
                code="queue_full",
            )
        called = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(asker, deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._leave()  # called and gone in the same moment
            else:
                self._drop(asker, called)
            raise

    def _leave(self) -> None:
        while self._waiting:
            asker = next(iter(self._waiting))
            waiting = self._waiting.pop(asker)
            called = waiting.popleft()
            if waiting:
                self._waiting[asker] = waiting  # behind all others
            if not called.done():
                called.set_result(None)
                return
        self.served -= 1

    def _drop(self, asker: Hashable, called: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(asker)
        if waiting is not None and called in waiting:
            waiting.remove(called)
            if not waiting:
                del self._waiting[asker]
