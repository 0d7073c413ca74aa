"""Measuring how fast a loaded model is with several numbers of threads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.fit.threads import Sample, ThreadSpeed
from localr1.models.types import Model

LIMIT_SECONDS: Final = 60.0
"""About as long as everything takes together, for whatever model."""

_ROUNDS: Final = 7
_SAMPLE_SECONDS: Final = (0.3, 2.5)
"""Shortest and longest measurement that is planned, prompt and generation together."""
_PROMPT_SHARE: Final = 0.35
"""Of that time, for the prompt."""
_PROMPT_TOKENS: Final = (16, 512)
_GENERATED_TOKENS: Final = (4, 256)
# One count may be a hundred times slower than another, on a busy computer.
_PATIENCE: Final = 4.0
_LEAST_PATIENCE_SECONDS: Final = 4.0
_QUICK_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Measurement:
    """What was measured."""

    speeds: tuple[ThreadSpeed, ...]
    """By number of threads, ascending."""
    rounds: int
    prompt_tokens: int
    """Of each measurement."""
    generated_tokens: int
    seconds: float
    """For all of it."""

    @property
    def depth_tokens(self) -> int:
        """Tokens in the KV cache half way through the generation."""
        return self.prompt_tokens + self.generated_tokens // 2


class Bench:
    """Measures a loaded model; each round tries every count, in another order.

    Args:
        engine: The loaded model.
        model: For its vocabulary and sampling.
        limit_seconds: About how long it may take.
    """

    def __init__(
        self, engine: Engine, model: Model, *, limit_seconds: float = LIMIT_SECONDS
    ) -> None:
        self._engine = engine
        self._model = model
        self._limit_seconds = limit_seconds
        # Any tokens do: speed does not depend on what they say. No two prompts begin alike, or
        # the second one would already be in the cache.
        self._random = random.Random(0)  # noqa: S311 - not a secret

    async def run(
        self,
        counts: Sequence[int],
        default: int,
        on_round: Callable[[int, int], None] | None = None,
    ) -> Measurement:
        """Measure.

        Args:
            counts: Numbers of threads to try.
            default: The one among them that sizes the measurements, and is set again in the end.
            on_round: Called before each round with its number from 1, and how many there may be.

        Raises:
            EngineDied: The worker ended.
            EngineError: llama.cpp failed.
        """
        started = time.monotonic()
        await self._engine.set_threads(default)
        prompt, generated, planned = await self._sizes(len(counts))
        samples: dict[int, list[Sample]] = {count: [] for count in counts}
        left = list(counts)
        rounds = 0
        while rounds < _ROUNDS:
            begun = time.monotonic()
            if on_round is not None:
                on_round(rounds + 1, _ROUNDS)
            turn = rounds % len(left)
            for count in [*left[turn:], *left[:turn]]:
                await self._engine.set_threads(count)
                sample, ended = await self._sample(prompt, generated, planned * _PATIENCE)
                samples[count].append(sample)
                if not ended and count != default:
                    left.remove(count)
            rounds += 1
            now = time.monotonic()
            if now - started + (now - begun) > self._limit_seconds:
                break
        await self._engine.set_threads(default)
        return Measurement(
            tuple(ThreadSpeed(count, tuple(samples[count])) for count in sorted(counts)),
            rounds,
            prompt,
            generated,
            time.monotonic() - started,
        )

    async def _sizes(self, counts: int) -> tuple[int, int, float]:
        """Tokens of prompt and generation, and about how long one measurement then takes."""
        started = time.monotonic()
        room = self._engine.context_window - 1
        prompt, generated = min(_PROMPT_TOKENS[0], room // 2), min(_GENERATED_TOKENS[0], room // 2)
        # The first one also brings the file into memory.
        speed, _ = await self._sample(prompt, generated, self._limit_seconds)
        if time.monotonic() - started < _QUICK_SECONDS:
            speed, _ = await self._sample(min(128, room // 2), min(16, room // 2), 10.0)
        left = self._limit_seconds - (time.monotonic() - started)
        least, most = _SAMPLE_SECONDS
        seconds = min(max(left / (_ROUNDS * counts), least), most)

        def within(tps: float, share: float, bounds: tuple[int, int]) -> int:
            return min(max(int(tps * seconds * share), bounds[0]), bounds[1], room // 2)

        prompt = within(speed.prompt_tps, _PROMPT_SHARE, _PROMPT_TOKENS)
        generated = within(speed.generation_tps, 1 - _PROMPT_SHARE, _GENERATED_TOKENS)
        return prompt, generated, speed.answer_seconds(prompt, generated)

    async def _sample(
        self, prompt_tokens: int, generated_tokens: int, limit_seconds: float
    ) -> tuple[Sample, bool]:
        """One measurement, and whether it ran to its end."""
        size = self._model.architecture.vocabulary_size
        ids = tuple(self._random.randrange(size) for _ in range(prompt_tokens))
        sampling = self._model.sampling
        request = protocol.Generate(
            request_id=0,
            segments=(protocol.Segment(tokens=ids),),
            thinking_open=False,
            seed=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            max_tokens=generated_tokens,
            on_loop="ignore",
            ignore_end=True,
        )
        deadline = time.monotonic() + max(limit_seconds, _LEAST_PATIENCE_SECONDS)
        done = 0
        async with aclosing(self._engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, protocol.PromptProgressed):
                    done = event.done_tokens
                if isinstance(event, protocol.Generated):
                    return _speeds(event, done), event.finish_reason == "length"
                if time.monotonic() > deadline:
                    await self._engine.stop(event.request_id)
        raise AssertionError("a reply without an end")


def _speeds(end: protocol.Generated, done_tokens: int) -> Sample:
    computed = min(done_tokens, end.prompt_tokens) - end.cached_tokens
    generated = end.thinking_tokens + end.answer_tokens
    # The first token comes from the prompt, and the last one is not computed any more.
    steps = generated - 1
    return Sample(
        computed / end.prompt_seconds if end.prompt_seconds > 0 else 0.0,
        steps / end.generation_seconds if steps > 0 and end.generation_seconds > 0 else 0.0,
    )
