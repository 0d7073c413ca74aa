"""What would make a plan fit: single changes, each tried by computing the placement.

Every line completes the sentence "It would fit if ...".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from localr1.fit.explain import gib, held_by
from localr1.fit.memory import CPU, GIB
from localr1.fit.pool import Shortage, main_memory, shortages
from localr1.fit.search import CONTEXT_WINDOWS, find
from localr1.fit.types import NOTHING, Asked, Plan
from localr1.machine.types import Machine

LARGEST_GPU_BYTES = 96 * GIB
"""More memory than this on one card is no advice."""
MODULE_BYTES = (4 * GIB, 8 * GIB)
"""What memory is sold in: little at a time, then in the larger steps."""


def would_fit_if(
    plan: Plan,
    machine: Machine,
    asked: Asked = NOTHING,
    smaller: Plan | None = None,
    *,
    thorough: bool = True,
) -> tuple[str, ...]:
    """Single changes after which the plan would fit, each computed, the easiest first.

    Args:
        plan: One that does not fit.
        machine: What it is to run on.
        asked: What the user fixed.
        smaller: The best smaller variant of the model that fits, where there is one.
        thorough: Whether to try other machines too, at the cost of more placements.
    """
    if plan.fits:
        return ()
    return tuple(_changes(plan, machine, asked, smaller, thorough=thorough))


def _changes(
    plan: Plan, machine: Machine, asked: Asked, smaller: Plan | None, *, thorough: bool
) -> Iterator[str]:
    yield from _asking_less(plan, machine, asked)
    if smaller is not None:
        yield f"it is {smaller.variant.quantization} ({gib(smaller.variant.size_bytes)})"
    for lack in shortages(plan.devices, machine):
        yield from _more_memory(plan, machine, asked, lack, thorough=thorough)


def _asking_less(plan: Plan, machine: Machine, asked: Asked) -> Iterator[str]:
    """Which of the user's own choices stands in the way."""
    model, settings = plan.model, plan.settings

    def tried(change: Asked) -> Plan:
        return find(model, plan.variant, machine, change)

    if asked.gpu_layers is not None:
        other = tried(replace(asked, gpu_layers=None))
        if other.fits:
            yield f"{other.settings.gpu_layers} layers go to the GPU"
    if asked.kv_cache_type is not None:
        known = (*model.kv_cache_types, *model.kv_cache_reserve)
        for kv in (name for name in known if name != settings.kv_cache_type):
            if tried(replace(asked, kv_cache_type=kv)).fits:
                yield f"the KV cache is {kv}"
                break
    if asked.context_window is not None:
        for context in (c for c in CONTEXT_WINDOWS if c < settings.context_window):
            if tried(replace(asked, context_window=context)).fits:
                yield f"the context is {context:,} tokens"
                break


def _more_memory(
    plan: Plan, machine: Machine, asked: Asked, lack: Shortage, *, thorough: bool
) -> Iterator[str]:
    missing = lack.bytes_short
    if lack.pool != CPU:
        held = held_by(machine, lack.pool)
        yield f"{_rounded_up(missing)} more is free on {lack.pool}{held and f' ({held})'}"
        return
    memory = machine.memory
    if missing <= memory.total_bytes - memory.available_bytes:
        yield f"{_rounded_up(missing)} more main memory is free (close other programs)"
    else:
        # Headroom grows with the total, so that a little more than the shortage is needed.
        need = missing + _free_for_plans(machine, 0)
        more = missing
        while more < 64 * missing and _free_for_plans(machine, more) < need:
            more += max(GIB // 4, missing // 100)
        yield f"the computer has {gib(_in_modules(more))} more main memory"
    own = [gpu for gpu in machine.gpus if not gpu.unified]
    if thorough and own and not asked.gpu_layers:
        gpu = own[0]
        extra = missing
        for _ in range(4):
            extra = int(extra * 1.1) + GIB // 4
            if extra > LARGEST_GPU_BYTES:
                break
            larger = replace(
                gpu, total_bytes=gpu.total_bytes + extra, free_bytes=gpu.free_bytes + extra
            )
            devices = tuple(larger if d is gpu else d for d in machine.devices)
            if find(plan.model, plan.variant, replace(machine, devices=devices), asked).fits:
                yield f"{gpu.name} has {_rounded_up(extra)} more"
                break


def _free_for_plans(machine: Machine, more_bytes: int) -> int:
    """What plans may take of main memory, if the computer had more of it; may be negative."""
    memory = replace(
        machine.memory,
        total_bytes=machine.memory.total_bytes + more_bytes,
        available_bytes=machine.memory.available_bytes + more_bytes,
    )
    pool = main_memory(replace(machine, memory=memory))
    return pool.free_bytes - pool.headroom_bytes


def _in_modules(size_bytes: int) -> int:
    """The next larger amount that can be bought."""
    step = next((step for step in MODULE_BYTES if size_bytes <= step), MODULE_BYTES[-1])
    return -(-size_bytes // step) * step


def _rounded_up(size_bytes: int) -> str:
    """A size that is enough as shown."""
    step = 1 << 20 if size_bytes < 0.1 * GIB else GIB // 10 + 1
    return gib(-(-size_bytes // step) * step)
