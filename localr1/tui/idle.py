"""A graphics card that lies idle: the line that says so."""

from __future__ import annotations

from localr1.fit.explain import tps
from localr1.install.prospect import prospect
from localr1.machine.types import Machine
from localr1.tui.scenario import Scenario
from localr1.tui.services import Services


async def idle_words(services: Services, machine: Machine, scenario: Scenario | None = None) -> str:
    """What lies idle and what would run with it; empty where nothing does.

    Args:
        services: The layers below.
        machine: This computer.
        scenario: What the ranking is for; without one nothing is ranked.
    """
    elsewhere = services.home.profile is not None or (scenario is not None and scenario.elsewhere)
    if elsewhere or all(device.usable_by_engine for device in machine.devices):
        return ""
    found = prospect(machine, await services.bench())
    if found is None:
        return ""
    if found.machine is None:
        return f"{found.words} F6 says more."
    if scenario is None:
        return f"{found.words} F6 to fix."
    advice = await services.advise(found.machine, scenario.goal, scenario.asked)
    best = next((plan for plan in advice.plans if plan.fits and not plan.model.demo), None)
    if best is None:
        return f"{found.words} F6 to fix."
    name = f"{best.model.name} {best.variant.quantization}"
    return f"{found.words} F6 to fix; then: {name}, about {tps(best.generation_tps)}."
