"""An engine that somebody else started and closes, asked by turns with its owner."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from localr1.engine import protocol
from localr1.engine.client import Engine


class Guest(Engine):
    """The same model in the same worker, which does what it is asked in the order of asking.

    What is stopped here is only what was asked here, and the other way round.

    Args:
        host: The owner's.
    """

    def __init__(self, host: Engine) -> None:
        super().__init__(host._worker, host.loaded, host.settings)  # noqa: SLF001 - it is one worker
        self._host = host

    async def generate(self, request: protocol.Generate) -> AsyncGenerator[protocol.Event, None]:
        """As in `Engine`."""
        # What the owner's conversation had computed is lost, or will be when this has its turn.
        self._host.cache_holder = self
        async with aclosing(super().generate(request)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Stop what was asked here; the worker goes on."""
        await self.stop(None)
