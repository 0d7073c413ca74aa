"""What limits a plan that fits, and what freeing graphics memory would bring."""

from __future__ import annotations

from collections.abc import Iterator

from localr1.fit.explain import gib, held_by, together, tps
from localr1.fit.memory import CPU
from localr1.fit.pool import shortages
from localr1.fit.search import find, speed_of
from localr1.fit.speed import typical_depth
from localr1.fit.types import Asked, Plan
from localr1.machine.types import Machine

MOST_SHARE = 0.5
"""Of a token's time, from which on one thing is what limits a plan."""
WORTH_FREEING = 1.25
"""A plan must become faster by this factor for it to be worth saying."""


def limits(plan: Plan, machine: Machine, *, thorough: bool = True) -> tuple[str, ...]:
    """What holds a fitting plan back, in sentences; empty for one that does not fit.

    Args:
        plan: Any.
        machine: What it runs on.
        thorough: Whether to work out what more graphics memory would bring.
    """
    if not plan.fits or plan.model.demo:
        return ()
    return tuple(_limits(plan, machine, thorough=thorough))


def _limits(plan: Plan, machine: Machine, *, thorough: bool) -> Iterator[str]:
    settings = plan.settings
    speed = speed_of(plan, machine)
    reads = speed.reads
    depth = typical_depth(plan.model)
    seconds = {
        on_cpu: sum(read.seconds(depth) for read in reads if read.on_cpu == on_cpu)
        for on_cpu in (True, False)
    }
    network = sum(crossing.token_seconds(depth) for crossing in speed.crossings)
    whole = seconds[True] + seconds[False] + network
    if network > MOST_SHARE * whole:
        yield (
            f"Limited by the network: it takes {network / whole:.0%} of each token's time, and"
            " more memory would not change that"
        )
        return
    size_bytes = sum(read.weights_bytes + read.kv_bytes * depth for read in reads)
    if not settings.device_names:
        yield f"Limited by main memory's speed: every token reads {gib(size_bytes)} of it"
        return
    names = together(settings.device_names)
    if plan.on_gpus_alone:
        yield f"Limited by {names}'s memory speed: every token reads {gib(size_bytes)} there"
        return
    share = seconds[True] / max(1e-9, whole)
    yield (
        f"Limited by {names}'s memory: what is left to the CPU takes {share:.0%} of each token's"
        " time"
    )
    if thorough:
        yield from _freed(plan, machine)


def _freed(plan: Plan, machine: Machine) -> Iterator[str]:
    """How much more graphics memory would hold all of the model, and how fast it then is."""
    settings = plan.settings
    every = plan.model.architecture.layers + 1
    asked = Asked(settings.context_window, settings.kv_cache_type, every)
    whole = find(plan.model, plan.variant, machine, asked)
    lacks = [lack for lack in shortages(whole.devices, machine) if lack.pool != CPU]
    if not whole.on_gpus_alone or len(lacks) != 1:
        return
    (lack,) = lacks
    if whole.generation_tps.expected < WORTH_FREEING * plan.generation_tps.expected:
        return
    speed = f"all of it would run there, at about {tps(whole.generation_tps)}"
    device = next(gpu for gpu in machine.gpus if gpu.name == lack.pool)
    used_bytes = device.total_bytes - device.free_bytes
    if lack.bytes_short <= used_bytes:
        held = held_by(machine, lack.pool)
        yield (
            f"If {gib(lack.bytes_short)} more were free on {lack.pool}, {speed}: "
            + (held or f"other programs hold {gib(used_bytes)}")
        )
    elif lack.bytes_short <= device.total_bytes:
        yield f"With {gib(lack.bytes_short)} more memory on {lack.pool} {speed}"
