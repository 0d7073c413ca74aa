"""localr1's engine as the benchmark measures it: through the client, by the client's clock."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import psutil
from native_sampler import TEMPERATURE, TOP_K, TOP_P

from localr1.engine import protocol
from localr1.engine.client import Engine, probe
from localr1.engine.protocol import Segment
from localr1.engine.watch import Limits
from localr1.fit.types import Settings

# A worker that stands still while llama-bench runs has not hung.
_PATIENT: Final = Limits(silence_seconds=3600.0, stop_seconds=3600.0)
_ORDINARY_TOKENS: Final = range(1000, 100_000)
"""Of the model with random weights: neither bytes nor special tokens."""


def random_tokens(count: int, seed: int, vocabulary: range = _ORDINARY_TOKENS) -> tuple[int, ...]:
    """A prompt that shares no beginning with that of another seed."""
    pick = random.Random(seed)
    return tuple(pick.choice(vocabulary) for _ in range(count))


def measuring(  # noqa: PLR0913 - what a measurement may vary
    segments: Sequence[Segment],
    max_tokens: int,
    *,
    seed: int = 1,
    temperature: float = TEMPERATURE,
    draft_tokens: int = 0,
    ignore_end: bool = True,
    thinking_open: bool = False,
) -> protocol.Generate:
    """A request with R1's sampling whose reply nothing ends early."""
    return protocol.Generate(
        request_id=0,
        segments=tuple(segments),
        thinking_open=thinking_open,
        seed=seed,
        temperature=temperature,
        top_p=TOP_P,
        top_k=TOP_K,
        min_p=0.0,
        max_tokens=max_tokens,
        on_loop="ignore",
        draft_tokens=draft_tokens,
        ignore_end=ignore_end,
    )


@dataclass(frozen=True)
class Mark:
    """How many tokens of the reply were here, and when."""

    tokens: int
    seconds: float


@dataclass(frozen=True)
class Window:
    """Tokens of a reply that were timed."""

    first_token: int
    tokens: int
    seconds_per_token: float


@dataclass
class Reply:
    """A running reply, timed in windows by what arrives here."""

    engine: Engine
    events: AsyncGenerator[protocol.Event, None]
    generated: protocol.Generated | None = None
    _counts: dict[str, int] = field(default_factory=dict)
    _last: Mark = Mark(0, 0.0)
    _request_id: int = 0

    async def reach(self, tokens: int) -> Mark:
        """Wait for so many tokens of the reply, or its end."""
        while self._last.tokens < tokens and self.generated is None:
            await self._next()
        return self._last

    async def window(self, skip: int, tokens: int) -> Window:
        """Let some tokens pass, then time some.

        Text comes in pieces of several tokens, so that the window is a few tokens longer or
        shorter than asked for; what was timed is exact.
        """
        first = await self.reach(self._last.tokens + skip)
        last = await self.reach(first.tokens + tokens)
        count = last.tokens - first.tokens
        if count < tokens // 2:
            raise RuntimeError("the reply ended within a window")
        return Window(first.tokens, count, (last.seconds - first.seconds) / count)

    async def end(self) -> protocol.Generated:
        """Wait for the end."""
        while self.generated is None:
            await self._next()
        return self.generated

    async def stop(self) -> protocol.Generated:
        """End it where it is."""
        if self.generated is None:
            await self.engine.stop(self._request_id)
        return await self.end()

    async def _next(self) -> None:
        event = await anext(self.events)
        now = time.perf_counter()
        self._request_id = event.request_id
        if isinstance(event, protocol.Generated):
            self.generated = event
        elif isinstance(event, protocol.Text):
            self._counts[event.part] = event.tokens
            self._last = Mark(sum(self._counts.values()), now)


class OurEngine:
    """A loaded engine, and what is measured on it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._process = psutil.Process(engine.process_id)

    @classmethod
    async def start(cls, model: Path, settings: Settings, logs: Path) -> Self:
        """Load a model, on all devices that llama.cpp names where layers go to GPUs.

        Raises:
            LocalR1Error: When it does not load.
        """
        return cls(await Engine.start(model, settings, log_directory=logs, limits=_PATIENT))

    async def close(self) -> None:
        """End it."""
        await self.engine.close()

    def hold(self) -> None:
        """Let the worker stand still, whatever it does."""
        self._process.suspend()

    def go_on(self) -> None:
        """Let it work again."""
        self._process.resume()

    def reply(self, request: protocol.Generate) -> Reply:
        """Begin a reply."""
        return Reply(self.engine, self.engine.generate(request))

    async def finish(self, request: protocol.Generate) -> tuple[protocol.Generated, float]:
        """Run a request to its end.

        Returns:
            Its last event, and the seconds from sending it until that was here.
        """
        started = time.perf_counter()
        async with aclosing(self.engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, protocol.Generated):
                    return event, time.perf_counter() - started
        raise RuntimeError("the reply had no end")

    async def first_token_seconds(self, segments: Sequence[Segment]) -> float:
        """Seconds from sending a prompt until its first token was here."""
        _, seconds = await self.finish(measuring(segments, 1))
        return seconds


def own_seconds_per_token(generated: protocol.Generated) -> float:
    """What the worker itself costs: neither decoding nor sampling."""
    own = generated.generation_seconds - generated.decoding_seconds - generated.sampling_seconds
    return own / max(1, generated.thinking_tokens + generated.answer_tokens)


async def gpu_names(logs: Path) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """llama.cpp's GPUs by name, their descriptions, and its line about the CPU's features."""
    info = await probe(logs)
    gpus = [device for device in info.devices if device.kind in ("gpu", "igpu")]
    return (
        tuple(device.name for device in gpus),
        tuple(device.description for device in gpus),
        info.system_info,
    )
