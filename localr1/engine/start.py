"""Starting the engine so that it loads: memory looked at just before, and the ladder down.

Before each load llama.cpp itself reckons what it will take (its dry run), in the same worker.

On a CPU an allocation hardly ever fails: the system swaps, or kills. So what is free is read
again before a load, and a plan that no longer fits gives way before it is tried. What is tried
and does not load gives way too, one named thing at a time, each in a fresh worker, and what
worked in the end is tried first the next time.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

from localr1.engine import experience
from localr1.engine.client import Engine
from localr1.engine.confirm import differences, exact_devices
from localr1.engine.types import Measurement
from localr1.errors import EngineDied, EngineError, LoadFailed, NothingFits
from localr1.fit import ladder
from localr1.fit.explain import gib
from localr1.fit.ladder import Need, Rung
from localr1.fit.memory import CPU, variant_memory
from localr1.fit.pool import memory_pool
from localr1.fit.types import Plan, Settings
from localr1.machine import memory
from localr1.machine.host import Host
from localr1.machine.types import Machine
from localr1.models.types import LocalModel

Tell = Callable[[str], None]
Cause = Literal["memory", "crash", "other"]

# A crash that nobody blames on memory is worth a few tries with less, not the whole ladder: the
# file may be damaged in a way that llama.cpp does not notice.
_CRASH_TRIES: Final = 2

# llama.cpp's own words: ggml-alloc.c, ggml-backend.cpp, ggml-cuda.cu, ggml-metal-device.m,
# llama-model.cpp, llama-context.cpp, llama-kv-cache.cpp, llama-mmap.cpp; -2 is what llama_decode
# returns when it cannot allocate. Then Python's and C++'s.
_MEMORY_WORDS: Final = re.compile(
    r"failed to allocate|unable to allocate|out of memory|not enough space in the buffer"
    r"|cudaMalloc failed|[cm]alloc(ate)? failed|posix_memalign failed|cannot allocate memory"
    r"|failed to reserve|insufficient memory|OutOf(Device|Host)Memory|Requested allocation size"
    r"|llama_decode returned -2\b|bad_alloc|MemoryError",
    re.IGNORECASE,
)
# gguf.cpp and llama-model-loader: sizes that a damaged header made up.
_DAMAGE_WORDS: Final = re.compile(
    r"gguf_|corrupt|not within the file bounds|invalid|while reading|memory size overflow",
    re.IGNORECASE,
)
_KILLED: Final = "(SIGKILL)"
_CRASHES: Final = ("(SIGABRT)", "(SIGSEGV)", "access violation", "abort (0x")


def cause_of(error: EngineError) -> Cause:
    """Whether less memory might help: by what llama.cpp said, or by how its worker ended."""
    words = f"{error.what} {error.why}"
    if isinstance(error, LoadFailed):
        damaged = _DAMAGE_WORDS.search(error.why)
        return "memory" if _MEMORY_WORDS.search(error.why) and not damaged else "other"
    if not isinstance(error, EngineDied):
        return "other"
    if _KILLED in error.what or _MEMORY_WORDS.search(words):
        return "memory"
    return "crash" if any(mark in error.what for mark in _CRASHES) else "other"


@dataclass
class Start:
    """One start of the engine.

    Args:
        local: The model.
        plan: How it is meant to be run.
        look: Looks at the computer as it is now.
        cache: Folder of what is remembered.
        logs: Folder of the engine's logs.
        on_progress: Called with the share of the tensors loaded, 0 to 1; begins anew when a
            load is tried again.
        on_step: Called with a sentence for each thing that gives way.
        rpc_endpoints: Other computers (`host:port`) whose devices the plan may name.
    """

    local: LocalModel
    plan: Plan
    look: Callable[[], Awaitable[Machine]]
    cache: Path
    logs: Path
    on_progress: Callable[[float], None] | None = None
    on_step: Tell | None = None
    rpc_endpoints: tuple[str, ...] = ()
    _machine: Machine | None = field(default=None, init=False)
    _failed: bool = field(default=False, init=False)

    async def run(self) -> Engine:
        """Load the model, as planned or as near to that as the computer allows.

        Raises:
            EngineMissing: llama-cpp-python is absent or does not start here.
            NothingFits: Even with the least settings it would be sure to swap.
            LoadFailed: llama.cpp refused the file, or everything that was tried.
            EngineDied: The worker ended while loading.
        """
        asked = self.plan.settings
        settings = await self._what_fits(asked)
        settings = await self._as_last_time(settings)
        engine = await self._climb_down(settings)
        if self._failed:
            await self._remember(engine.settings)
        elif engine.settings == asked:
            await asyncio.to_thread(experience.forget_load, self.cache, self.local, asked)
        return engine

    async def _what_fits(self, settings: Settings) -> Settings:
        """The settings that memory has room for now."""
        room = await asyncio.to_thread(_has_room, self.plan.total_bytes)
        if not settings.device_names and room:
            return settings
        machine, plan = await self._look(), self.plan
        descent = ladder.descend(plan.model, plan.variant, settings, machine)
        if descent.result.swaps and not plan.upper_bound:
            raise self._nothing_fits(descent.result, machine)
        for index, rung in enumerate(descent.rungs):
            if index == 0:
                self._tell(f"{_what_is_short(descent.planned, machine)}: {rung.words}.")
            else:
                self._tell(f"{rung.words[0].upper()}{rung.words[1:]}.")
        if paged := descent.result.paged_bytes:
            self._tell(
                f"Memory has no room for {gib(paged)} of it, which will be read from disk again"
                " and again. Close other programs to make it faster."
            )
        return descent.settings

    async def _as_last_time(self, settings: Settings) -> Settings:
        """Begin where the last load of this plan ended, if more would probably fail again."""
        asked = self.plan.settings
        known = await asyncio.to_thread(experience.recall_load, self.cache, self.local, asked)
        if known is None:
            return settings
        below = [rung.settings for rung in ladder.rungs(settings, self.plan.model)]
        if known.settings not in below or not known.holds(await self._look(), time.time()):
            return settings
        changes = ladder.described(settings, known.settings, self.plan.model)
        self._tell(f"As last time, when more did not load: {changes}.")
        return known.settings

    async def _climb_down(self, settings: Settings) -> Engine:
        crashes = 0
        while True:
            try:
                return await self._try(settings)
            except _TooLargeError as error:
                reason, last = str(error), None
            except (LoadFailed, EngineDied) as error:
                cause = cause_of(error)
                crashes += cause == "crash"
                if cause == "other" or crashes > _CRASH_TRIES:
                    raise
                last = error
                short = "memory was short" if cause == "memory" else "the engine crashed"
                reason = f"It did not load, {short}."
            self._failed = True
            # The worker is gone and its memory free again: what is left for the next one?
            self._machine = None
            rung = await self._next_rung(settings)
            if rung is None:
                raise _exhausted(last or LoadFailed("", reason)) from last
            self._tell(f"{reason} Trying again: {rung.words}.")
            settings = rung.settings

    async def _try(self, settings: Settings) -> Engine:
        """One load, after llama.cpp has said what it will take."""
        reckoned = False

        def check(found: Measurement) -> None:
            nonlocal reckoned
            reckoned = True
            self._check(settings, found)

        start = partial(
            Engine.start,
            self.local.path,
            settings,
            log_directory=self.logs,
            on_progress=self.on_progress,
            rpc_endpoints=self.rpc_endpoints,
        )
        try:
            return await start(on_measured=check)
        except (LoadFailed, EngineDied):
            if reckoned:
                raise
        # What cannot be reckoned may load all the same.
        return await start()

    def _check(self, settings: Settings, found: Measurement) -> None:
        """Tell where llama.cpp needs clearly more or less than planned.

        Raises:
            _TooLargeError: There is no room for that.
        """
        plan, machine = self.plan, self._machine
        planned = plan.devices
        if settings != plan.settings and machine is not None:
            planned = variant_memory(plan.model.architecture, plan.variant, settings, machine)
        exact = exact_devices(planned, found)
        words = " ".join(differences(planned, exact))
        if not words:
            return
        if machine is not None:
            short = bool(ladder.need_of(exact, machine).lacks)
        else:
            short = not _has_room(sum(device.resident_bytes for device in exact))
        if short:
            raise _TooLargeError(words)
        self._tell(words)

    async def _next_rung(self, settings: Settings) -> Rung | None:
        """The next step down that is not sure to swap."""
        machine, plan = await self._look(), self.plan
        for rung in ladder.rungs(settings, plan.model):
            needed = ladder.need(plan.model, plan.variant, rung.settings, machine)
            if plan.upper_bound or not needed.swaps:
                return Rung(rung.settings, ladder.described(settings, rung.settings, plan.model))
        return None

    async def _remember(self, worked: Settings) -> None:
        machine = await self._look()
        load = experience.Load(
            machine=experience.machine_key(machine),
            settings=worked,
            free_bytes=experience.free_bytes(machine),
            at_seconds=time.time(),
        )
        await asyncio.to_thread(
            experience.remember_load, self.cache, self.local, self.plan.settings, load
        )

    async def _look(self) -> Machine:
        if self._machine is None:
            self._machine = await self.look()
        return self._machine

    def _tell(self, words: str) -> None:
        if self.on_step is not None:
            self.on_step(words)

    def _nothing_fits(self, needed: Need, machine: Machine) -> NothingFits:
        free = machine.memory.available_bytes
        return NothingFits(
            f"{self.local.model.name} does not fit in memory now.",
            f"It needs at least {gib(needed.must_stay_bytes)} that must stay in memory;"
            f" {gib(free)} are free.",
            "Close other programs, or choose a smaller model or variant: `localr1 advise`"
            " shows what fits.",
        )


class _TooLargeError(Exception):
    """By llama.cpp's own reckoning there is no room; the message says how much it needs."""


def _has_room(size_bytes: int) -> bool:
    """Whether main memory has room for so much now."""
    return size_bytes <= memory_pool(memory.probe(Host()), size_bytes).budget_bytes


def _what_is_short(needed: Need, machine: Machine) -> str:
    pool = needed.lacks[0].pool
    if pool == CPU:
        return f"Only {gib(machine.memory.available_bytes)} of memory are free now"
    free = next(gpu.free_bytes for gpu in machine.gpus if gpu.name == pool)
    return f"Only {gib(free)} are free on {pool} now"


def _exhausted(error: EngineError) -> LoadFailed:
    """The error of the last rung, for someone who has seen all of them fail."""
    why = " ".join(part for part in (error.why, error.what) if part)
    return LoadFailed(
        "The model could not be loaded, not even with the least that it can run with.",
        why if isinstance(error, EngineDied) else error.why,
        "Close other programs, or choose a smaller model or variant: `localr1 advise` shows"
        " what fits.",
    )
