"""The one engine that the app runs: started, replaced and closed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localr1.fit.types import NOTHING, Asked, Plan
from localr1.fit.usage import without
from localr1.machine.types import Machine
from localr1.models.types import LocalModel
from localr1.tui.services import Services

if TYPE_CHECKING:
    from localr1.engine.client import Engine


@dataclass(frozen=True)
class Running:
    """A loaded model."""

    local: LocalModel
    plan: Plan
    engine: Engine
    asked: Asked = NOTHING
    """What the user wanted of the plan."""

    def is_for(self, local: LocalModel, asked: Asked) -> bool:
        """Whether it is alive and what is wanted."""
        return self.local == local and self.asked == asked and self.engine.alive


class Runner:
    """Keeps at most one model in memory.

    Args:
        services: The layers below.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = asyncio.Lock()
        self._given_up: set[asyncio.Task[Running]] = set()
        self.running: Running | None = None
        self.machine: Machine | None = None
        """As last examined."""
        self.on_examined: Callable[[Machine], object] = lambda _machine: None
        """Called whenever it was; the app sets it."""
        self.others_wait: Callable[[], bool] = lambda: False
        """Whether a reply for another program is being written; the app sets it."""

    async def examine(self) -> Machine:
        """Look at the machine and remember what was seen.

        Memory that the loaded model holds counts as free: another one would take its place.
        """
        machine = await self._services.examine()
        running = self.running
        if running is not None and running.engine.alive:
            machine = without(machine, running.plan.devices)
        self.machine = machine
        self.on_examined(machine)
        return machine

    async def start(
        self,
        local: LocalModel,
        on_progress: Callable[[float], None],
        on_step: Callable[[str], None],
        asked: Asked = NOTHING,
    ) -> Running:
        """Load a model, or return it when it is loaded and alive; any other is closed first.

        Cancelling takes effect at once; the next start waits until the memory is free again.

        Args:
            local: The model.
            on_progress: Called with the share loaded, 0 to 1.
            on_step: Called with a sentence for each thing that gives way so that it loads.
            asked: What the user wants of the plan.

        Raises:
            LocalR1Error: It cannot be loaded.
        """
        loading = asyncio.create_task(self._start(local, on_progress, on_step, asked))
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            self._given_up.add(loading)
            loading.add_done_callback(self._forget)
            loading.cancel()
            raise

    async def close(self) -> None:
        """End the engine, if one runs."""
        async with self._lock:
            await self._close()

    async def _start(
        self,
        local: LocalModel,
        on_progress: Callable[[float], None],
        on_step: Callable[[str], None],
        asked: Asked,
    ) -> Running:
        async with self._lock:
            running = self.running
            if running is not None and running.is_for(local, asked):
                return running
            died = running is not None and not running.engine.alive
            if died and (words := await self._services.leave_lost()):
                on_step(words)
            await self._close()
            # Memory changes by the minute: what is free is looked at before every load.
            machine = await self.examine()
            plan = await self._services.plan_for(machine, local, asked)
            engine = await self._services.start_engine(local, plan, on_progress, on_step)
            self.running = Running(local, plan, engine, asked)
            return self.running

    async def _close(self) -> None:
        running, self.running = self.running, None
        if running is None:
            return
        closing = asyncio.create_task(running.engine.close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing  # the next model needs the memory
            raise

    def _forget(self, loading: asyncio.Task[Running]) -> None:
        self._given_up.discard(loading)
        if not loading.cancelled():
            loading.exception()  # nobody waits for it any more
