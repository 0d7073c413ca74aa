"""How many threads are the fastest: which counts to try, and when another one wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from localr1.fit.types import Interval, Settings
from localr1.machine.types import Cpu

WIN_SHARE: Final = 0.03
"""Another count than the default has to be faster by this share: less is chance."""


@dataclass(frozen=True)
class Sample:
    """One measurement, in tokens per second; 0 where it took too long to end."""

    prompt_tps: float
    generation_tps: float

    def answer_seconds(self, prompt_tokens: int, generated_tokens: int) -> float:
        """How long an answer would take at these speeds."""
        if not self.prompt_tps or not self.generation_tps:
            return math.inf
        return prompt_tokens / self.prompt_tps + generated_tokens / self.generation_tps


@dataclass(frozen=True)
class ThreadSpeed:
    """All measurements with one number of threads, one for each round it took part in."""

    threads: int
    samples: tuple[Sample, ...]

    @property
    def prompt_tps(self) -> Interval:
        """Slowest, median and fastest round."""
        return _spread([sample.prompt_tps for sample in self.samples])

    @property
    def generation_tps(self) -> Interval:
        """Slowest, median and fastest round."""
        return _spread([sample.generation_tps for sample in self.samples])


def gentle(settings: Settings, cpu: Cpu) -> Settings:
    """The same settings for a computer that is to stay cool and quiet, or whose battery is to last.

    Half of the cores, since the power that a core takes grows faster than what it does; and
    prompts in pieces of at most 128 tokens, between which a stop is heard and the fan slows.
    """
    threads = settings.threads or cpu.performance_cores
    return replace(settings, threads=max(1, threads // 2), ubatch=min(settings.ubatch, 128))


def candidates(cpu: Cpu, default: int) -> tuple[int, ...]:
    """The counts worth trying, ascending.

    The default, all cores of a kind, half of them, and one fewer than the fast ones, which
    leaves a core to everything else that runs.
    """
    counts = {
        default,
        cpu.performance_cores,
        cpu.performance_cores - 1,
        cpu.physical_cores,
        cpu.physical_cores // 2,
        cpu.logical_cores,
    }
    return tuple(sorted(count for count in counts if 0 < count <= max(default, cpu.logical_cores)))


def choose(
    speeds: Sequence[ThreadSpeed], default: int, prompt_tokens: int, generated_tokens: int
) -> int:
    """The count to use: the default, unless another is clearly faster.

    Compared is the time of an answer, round by round, so that what slows the computer down for
    a while slows both. The winner is faster by more than `WIN_SHARE` in the median and in no
    round slower.

    Args:
        speeds: What was measured, the default among it.
        default: The count without measuring.
        prompt_tokens: Of the answer that is compared.
        generated_tokens: Thinking and answer.
    """

    def seconds(speed: ThreadSpeed) -> list[float]:
        return [s.answer_seconds(prompt_tokens, generated_tokens) for s in speed.samples]

    usual = next(seconds(speed) for speed in speeds if speed.threads == default)
    best, best_gain = default, 1 + WIN_SHARE
    for speed in speeds:
        # A count that was given up early has fewer rounds.
        gains = [a / b for a, b in zip(usual, seconds(speed), strict=False) if b < math.inf]
        if speed.threads != default and gains and min(gains) > 1 and median(gains) > best_gain:
            best, best_gain = speed.threads, median(gains)
    return best


def _spread(values: Sequence[float]) -> Interval:
    return Interval(min(values), median(values), max(values))
