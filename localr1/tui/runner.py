"""The one engine that the app runs: started, replaced and closed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localr1.fit.types import Plan
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


class Runner:
    """Keeps at most one model in memory.

    Args:
        services: The layers below.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = asyncio.Lock()
        self.running: Running | None = None
        self.machine: Machine | None = None
        """As last examined."""

    async def examine(self) -> Machine:
        """Look at the machine and remember what was seen."""
        self.machine = await self._services.examine()
        return self.machine

    async def start(self, local: LocalModel, on_progress: Callable[[float], None]) -> Running:
        """Load a model, or return it when it is loaded and alive; any other is closed first.

        Args:
            local: The model.
            on_progress: Called with the share loaded, 0 to 1.

        Raises:
            EngineError: It cannot be loaded.
        """
        async with self._lock:
            running = self.running
            if running is not None and running.local == local and running.engine.alive:
                return running
            await self._close()
            # Memory changes by the minute: what is free is looked at before every load.
            machine = await self.examine()
            plan = await self._services.plan_for(machine, local)
            engine = await self._services.start_engine(local, plan, on_progress)
            self.running = Running(local, plan, engine)
            return self.running

    async def close(self) -> None:
        """End the engine, if one runs."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        running, self.running = self.running, None
        if running is not None:
            await running.engine.close()
