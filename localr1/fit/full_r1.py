"""What the full R1, with its 671 billion parameters, would be on a machine: one honest account.

Where it does not fit, what main memory has no room for is read from disk for every token, as far
as the token's experts lie there: the disk's speed is assumed, and the account says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localr1.fit.explain import duration, gib, together, tps
from localr1.fit.memory import CPU
from localr1.fit.pool import main_memory, pool_needs, shortages
from localr1.fit.rates import DISK_BYTES_PER_SECOND
from localr1.fit.types import FullR1, Plan
from localr1.machine.types import Machine

FEWEST_PARAMETERS = 500e9
"""From here on a model is the full one; the largest distill has 70 billion parameters."""
WORTH_SAYING_POINTS = 4.0
"""A quantization that costs more than this is named as a reason against it."""


def full_r1(plans: Sequence[Plan], machine: Machine) -> FullR1 | None:
    """The account of the full R1; None where the catalogue does not have it.

    Args:
        plans: All of them, ranked: the best one that fits first.
        machine: What they are for.
    """
    full = [plan for plan in plans if plan.model.architecture.parameters >= FEWEST_PARAMETERS]
    # Files without the compressed cache are the worse choice wherever there are others.
    full = [plan for plan in full if plan.model.architecture.mla] or full
    if not full:
        return None
    plan = next((plan for plan in full if plan.fits), None) or min(
        full, key=lambda p: sum(lack.bytes_short for lack in shortages(p.devices, machine))
    )
    first = next((p for p in plans if p.fits and not p.model.demo), None)
    rival = next(
        (p for p in plans if p.fits and not p.model.demo and p.model.id != plan.model.id), None
    )
    # Its own rank decides where it fits; where it does not, whatever does beats it.
    beaten_by = rival if not plan.fits or first is not plan else None
    needs = pool_needs(plan.devices, machine)
    main = needs[CPU]
    free = main_memory(machine, main).free_bytes
    from_disk = 0 if plan.fits else max(0, main - free)
    result = FullR1(
        plan=plan,
        gpu_bytes=sum(size for name, size in needs.items() if name != CPU),
        memory_bytes=main - from_disk,
        disk_bytes=from_disk,
        beaten_by=beaten_by,
        words="",
    )
    return replace(result, words=_words(result))


def _words(full: FullR1) -> str:
    plan = full.plan
    size = gib(plan.variant.size_bytes)
    smallest = min(v.size_bytes for v in plan.model.variants) == plan.variant.size_bytes
    which = f"{plan.model.name} {plan.variant.quantization} ({size}"
    which += ", its smallest file)" if smallest and not plan.fits else ")"
    places = []
    if full.gpu_bytes:
        places.append(f"{gib(full.gpu_bytes)} on {together(plan.settings.device_names)}")
    places.append(f"{gib(full.memory_bytes)} in main memory")
    if full.disk_bytes:
        places.append(f"{gib(full.disk_bytes)} read from disk again and again")
    seconds = plan.time_to_answer.typical.expected
    speed = f"about {tps(plan.generation_tps)}, {duration(seconds)} for a typical answer"
    if full.disk_bytes:
        speed += f" with a disk of {DISK_BYTES_PER_SECOND / 1e9:.0f} GB/s"
    words = f"{which}: {_listed(places)}; {speed}"
    lost = plan.points_lost or 0.0
    if lost > WORTH_SAYING_POINTS:
        words += f"; so few bits cost it about {lost:.0f} of {plan.model.quality:.0f} points"
    return words + _verdict(full)


def _verdict(full: FullR1) -> str:
    other = full.beaten_by
    if other is None:
        fits = full.plan.fits
        return ". It is the best choice here" if fits else ". No distill fits here either"
    seconds = other.time_to_answer.typical.expected
    return (
        f". {other.model.name} {other.variant.quantization} beats it here: a typical answer in"
        f" about {duration(seconds)}"
    )


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if parts[:-1] else "") + parts[-1]
