"""The desk between the API and the engine: replies in turn, each stopped in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field

from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.models.types import LocalModel
from localr1.server.answers import Delta, End
from localr1.server.line import Line
from localr1.server.stops import StopFinder

Event = Delta | End | protocol.PromptProgressed


@dataclass
class Counts:
    """What happened since the server began."""

    replies: int = 0
    cancelled: int = 0
    """Of the replies, those whose client left."""
    engine_starts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    prompt_seconds: float = 0.0
    generation_seconds: float = 0.0
    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    """By path and status."""

    def take(self, end: protocol.Generated) -> None:
        """A reply is over."""
        self.replies += 1
        self.prompt_tokens += end.prompt_tokens
        self.cached_tokens += end.cached_tokens
        self.thinking_tokens += end.thinking_tokens
        self.answer_tokens += end.answer_tokens
        self.prompt_seconds += end.prompt_seconds
        self.generation_seconds += end.generation_seconds


class Desk:
    """Asks the engine for replies, as many at once as it has room for.

    Args:
        local: The model.
        start: Loads it; called again after a worker died.
        most_waiting: How many requests may wait.
        most_seconds: The longest that one reply may take; it is cut then.
    """

    def __init__(
        self,
        local: LocalModel,
        start: Callable[[], Awaitable[Engine]],
        *,
        most_waiting: int,
        most_seconds: float,
    ) -> None:
        self.local = local
        self.counts = Counts()
        self.line = Line(most_waiting)
        self._start = start
        self._most_seconds = most_seconds
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> bool:
        """Whether a model is loaded."""
        return self._engine is not None and self._engine.alive

    @property
    def context_window(self) -> int:
        """Tokens that the engine's window holds; 0 while none runs."""
        return self._engine.context_window if self._engine is not None else 0

    async def open(self) -> Engine:
        """The engine; started where none runs.

        Raises:
            LocalR1Error: The model cannot be loaded.
        """
        async with self._opening:
            if self._engine is None or not self._engine.alive:
                if self._engine is not None:
                    await self._engine.close()
                    self._engine = None
                self._engine = await self._start()
                self.line.places = self._engine.settings.sequences
                self.counts.engine_starts += 1
            return self._engine

    async def close(self) -> None:
        """Stop everything and free the memory."""
        for task in self._running:
            task.cancel()
        if self._engine is not None:
            await self._engine.close()

    async def reply(
        self,
        asker: Hashable,
        request: Callable[[int], protocol.Generate],
        stops: tuple[str, ...],
    ) -> AsyncGenerator[Event, None]:
        """Wait for a turn, and yield what the engine says; leaving early stops it.

        The engine does not wait for a reader that is slow: what it says is kept for it.

        Args:
            asker: Who asks.
            request: Makes the request for a window of so many tokens.
            stops: Texts that end the answer.

        Raises:
            Refusal: Too many wait.
            LocalR1Error: The engine failed.
        """
        said: asyncio.Queue[Event | Exception] = asyncio.Queue()
        task = asyncio.create_task(self._serve(asker, request, stops, said))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            while True:
                event = await said.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if isinstance(event, End):
                    return
        finally:
            if not task.done():
                self.counts.cancelled += 1
            task.cancel()

    async def _serve(
        self,
        asker: Hashable,
        request: Callable[[int], protocol.Generate],
        stops: tuple[str, ...],
        said: asyncio.Queue[Event | Exception],
    ) -> None:
        try:
            async with self.line.turn(asker):
                engine = await self.open()
                asked = await asyncio.to_thread(request, engine.context_window)
                await self._generate(engine, asked, stops, said)
        except Exception as error:  # noqa: BLE001 - it is raised where the reply is read
            said.put_nowait(error)

    async def _generate(
        self,
        engine: Engine,
        asked: protocol.Generate,
        stops: tuple[str, ...],
        said: asyncio.Queue[Event | Exception],
    ) -> None:
        finder = StopFinder(stops)
        cut = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._most_seconds
        async with aclosing(engine.generate(asked)) as events:
            async for event in events:
                match event:
                    case protocol.PromptProgressed():
                        said.put_nowait(event)
                    case protocol.Text(part="thinking"):
                        said.put_nowait(Delta("thinking", event.text))
                    case protocol.Text():
                        text, ends = finder.feed(event.text)
                        if text:
                            said.put_nowait(Delta("answer", text))
                        if ends:
                            await engine.stop(event.request_id)
                    case protocol.Generated():
                        self.counts.take(event)
                        if text := finder.end():
                            said.put_nowait(Delta("answer", text))
                        stopped = finder.found or event.finish_reason == "stop"
                        said.put_nowait(End("stop" if stopped else "length", event))
                    case _:
                        pass
                if not cut and loop.time() > deadline:
                    cut = True
                    await engine.stop(event.request_id)
