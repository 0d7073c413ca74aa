"""How fast this computer really is: measured, recorded, and put into what is predicted.

Between the layers that find out (the engine's kernels, finished replies) and the pure functions
that use it (`fit.calibration`, `fit.thinking`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from localr1.chat.store import Store
from localr1.chat.types import ReplyStats
from localr1.config import Directories
from localr1.engine import kernel_cache, runs
from localr1.errors import StoreError
from localr1.fit import calibration
from localr1.fit.calibration import Rates, Run
from localr1.fit.mix import Mix
from localr1.fit.search import speed_of
from localr1.fit.thinking import with_history
from localr1.fit.types import Interval, Plan
from localr1.machine import power
from localr1.machine.busy import Clock, clock, others_share
from localr1.machine.host import Host
from localr1.machine.types import Machine
from localr1.models.types import Model


async def with_experience(directories: Directories, machine: Machine) -> Machine:
    """The machine with its timed kernels and with what its own runs say.

    Raises:
        FileError: The engine's log cannot be written.
    """
    kernels = await kernel_cache.kernels(directories.cache, directories.logs, machine)
    machine = replace(machine, engine=replace(machine.engine, kernels=kernels))
    return await asyncio.to_thread(runs.with_corrections, directories.cache, machine)


def record_line(directories: Directories, machine: Machine) -> str:
    """How well the last runs were predicted, as a sentence; empty where there were none."""
    return runs.record_line(directories.cache, machine)


def thinking_history(directories: Directories) -> Mapping[str, tuple[int, ...]]:
    """Thinking tokens of finished replies by model, the oldest first; empty without a database."""
    if not directories.database.is_file():
        return {}
    with suppress(StoreError):  # told where conversations are opened
        store = Store(directories.database)
        try:
            return store.thinking_counts()
        finally:
            store.close()
    return {}


def as_used_here(directories: Directories, models: Iterable[Model]) -> tuple[Model, ...]:
    """The models, each thinking as long as it did in the user's own conversations."""
    history = thinking_history(directories)
    return tuple(with_history(model, history.get(model.id, ())) for model in models)


@dataclass(frozen=True)
class Measured:
    """What was measured, and where in the context window."""

    source: Literal["bench", "chat"]
    prompt_tokens: int
    """Computed, not found in the cache."""
    prompt_tps: float
    cached_tokens: int
    """Before the prompt's computed part."""
    generated_tokens: int
    generation_tps: float
    """0 where guessing ahead makes it incomparable."""
    depth_tokens: int
    """Tokens in the cache half way through the generation."""

    @classmethod
    def reply(cls, stats: ReplyStats) -> Measured | None:
        """What a finished reply says; None where its figures are of several requests."""
        generated = stats.thinking_tokens + stats.answer_tokens - stats.forced_tokens
        if (
            stats.context_used
            < stats.prompt_tokens + stats.thinking_tokens + stats.answer_tokens - 2
        ):
            return None
        return cls(
            "chat",
            stats.prompt_tokens - stats.cached_tokens,
            stats.prompt_tps,
            stats.cached_tokens,
            generated,
            0.0 if stats.drafted_tokens else stats.generation_tps,
            stats.context_used - generated // 2,
        )


class Watch:
    """Looks at the computer while something is measured, and records what came out.

    Args:
        directories: Where records are kept.
        plan: As it was loaded: with the settings of the engine.
        machine: What it was planned for.
        keep: Whether anything is recorded: not where the plan was for another computer.
    """

    def __init__(
        self, directories: Directories, plan: Plan, machine: Machine, *, keep: bool = True
    ) -> None:
        self._keep = keep
        self._directories = directories
        self._plan = plan
        self._machine = machine
        self._before: Clock = clock()

    def record(self, measured: Measured | None, *, busy_share: float | None = None) -> Run | None:
        """Keep what was measured since, beside what was predicted for it.

        Args:
            measured: None leaves no record.
            busy_share: Of the processor, by other programs; as seen since the beginning where
                left out.

        Returns:
            The record; None where there is nothing telling in it.
        """
        if measured is None or not self._keep:
            return None
        plan, machine = self._plan, self._machine
        if busy_share is None:
            busy_share = others_share(self._before, clock())
        run = run_of(plan, machine, measured)
        if run.prompt is None and run.generation is None:
            return None
        on_battery = power.probe(Host()).on_battery
        run = replace(
            run,
            at_seconds=time.time(),
            on_battery=bool(on_battery),
            # A GPU does not wait for what else the processor does.
            busy_share=0.0 if plan.on_gpus_alone else round(busy_share, 3),
        )
        runs.add(self._directories.cache, run)
        return run


def run_of(plan: Plan, machine: Machine, measured: Measured) -> Run:
    """A measurement beside its prediction; pure, so without time and circumstances."""
    speed, settings = speed_of(plan, machine), plan.settings
    plain = replace(speed, generation=None, prompt=None)
    architecture = plan.model.architecture
    tokens, depth = measured.prompt_tokens, measured.cached_tokens

    def rates(measured_tps: float, plain_tps: Interval, said_tps: Interval) -> Rates | None:
        if measured_tps <= 0:
            return None
        return Rates(measured_tps, plain_tps.expected, said_tps.expected)

    prompt = generation = None
    if tokens >= calibration.TELLING_PROMPT_TOKENS:
        prompt = rates(
            measured.prompt_tps, plain.prompt_tps(tokens, depth), speed.prompt_tps(tokens, depth)
        )
    if measured.generated_tokens >= calibration.TELLING_TOKENS:
        at = measured.depth_tokens
        generation = rates(
            measured.generation_tps, plain.generation_tps(at), speed.generation_tps(at)
        )
    return Run(
        machine=runs.machine_key(machine),
        devices=calibration.devices_key(machine, settings, architecture),
        family=Mix(plan.variant.quantization, architecture).base,
        model=plan.model.id,
        quantization=plan.variant.quantization,
        source=measured.source,
        at_seconds=0.0,
        prompt_tokens=tokens,
        generated_tokens=measured.generated_tokens,
        prompt=prompt,
        generation=generation,
    )
