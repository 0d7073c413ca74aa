"""Ranking for a scenario, in a thread: one at a time, and only the last wish counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from localr1.fit.types import Advice, Plan
from localr1.machine.types import Machine
from localr1.models.types import LocalModel
from localr1.tui.scenario import Scenario
from localr1.tui.services import Services

QUIET_SECONDS: Final = 0.12
"""Who steps through values in one go is waited for."""


@dataclass(frozen=True)
class Ranked:
    """Advice with what it is for."""

    scenario: Scenario
    machine: Machine
    """The one that the advice is for, there or not."""
    advice: Advice
    local: tuple[tuple[LocalModel, Plan], ...]
    """Models on this disk, each with its plan."""


class Ranker:
    """Ranks for what was asked last.

    Args:
        services: The layers below.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = asyncio.Lock()
        self._wish = 0

    async def rank(
        self, machine: Machine, scenario: Scenario, quiet_seconds: float = QUIET_SECONDS
    ) -> Ranked | None:
        """Rank; None where something else was asked for before it began.

        Args:
            machine: This one.
            scenario: What is asked for.
            quiet_seconds: How long to wait for more changes.

        Raises:
            LocalR1Error: The models on this disk cannot be read.
        """
        self._wish += 1
        wish = self._wish
        await asyncio.sleep(quiet_seconds)
        # A thread that computes cannot be stopped: the next one waits until it is through.
        async with self._turn:
            if wish != self._wish:
                return None
            there = scenario.on(machine)
            local = tuple(
                [
                    (local, await self._services.plan_for(there, local, scenario.asked))
                    for local in await self._services.local_models()
                ]
            )
            advice = await self._services.advise(there, scenario.goal, scenario.asked)
        return Ranked(scenario, there, advice, local)
