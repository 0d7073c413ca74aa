"""Placing one model variant on one machine, with reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from localr1.config import Goal
from localr1.fit.counterfactual import would_fit_if
from localr1.fit.explain import reasons
from localr1.fit.limits import limits
from localr1.fit.memory import variant_memory
from localr1.fit.pool import shortages
from localr1.fit.search import find
from localr1.fit.types import Asked, Plan, Settings
from localr1.machine.types import Cpu, Machine
from localr1.models.types import Model, Variant

_TINY_BYTES: Final = 64 << 20


def place(  # noqa: PLR0913 - three independent choices, each by keyword
    model: Model,
    variant: Variant,
    machine: Machine,
    *,
    context_window: int | None = None,
    kv_cache_type: str | None = None,
    gpu_layers: int | None = None,
    goal: Goal = "balanced",
) -> Plan:
    """The best placement of a variant, with its estimate and reasons.

    What is asked for is honoured, or the reasons say why not; the rest is chosen: as many
    layers on the GPUs as fit (experts go to the CPU first), then a context of 16,384 tokens
    or less, then a KV cache type that does not harm the model. A plan that `fits` leaves the
    headroom of `pool` free in every memory.

    Args:
        model: The model.
        variant: One of its files; need not be among `model.variants`.
        machine: What it is to run on.
        context_window: Tokens; the model's own maximum at most.
        kv_cache_type: `f16`, `q8_0` or `q4_0`.
        gpu_layers: Of `layers + 1`; more counts as all.
        goal: What the choices that are left are made for.

    Raises:
        ValueError: An unknown KV cache type, or a context window below 1.
    """
    asked = Asked(context_window, kv_cache_type, gpu_layers)
    plan = find(model, variant, machine, asked, goal)
    smaller = None if plan.fits else _smaller_that_fits(plan, machine, asked)
    return replace(
        plan,
        reasons=(*reasons(plan, machine, asked), *limits(plan, machine)),
        would_fit_if=would_fit_if(plan, machine, asked, smaller),
    )


def with_settings(plan: Plan, settings: Settings, machine: Machine) -> Plan:
    """A plan with refined settings (threads, guesses) and the memory that follows from them."""
    devices = variant_memory(plan.model.architecture, plan.variant, settings, machine)
    return replace(plan, settings=settings, devices=devices)


def side_by_side(plan: Plan, machine: Machine, most: int) -> Plan:
    """The plan with room for several replies at once, as many as fit, each with its own window.

    Guessing ahead ends with it: the batch is what several replies share.

    Args:
        plan: For one reply.
        machine: What it is to run on.
        most: Replies at once.
    """
    for count in range(most, 1, -1):
        several = replace(plan.settings, sequences=count, draft_tokens=0)
        wider = with_settings(plan, several, machine)
        if not shortages(wider.devices, machine):
            return wider
    return plan


def _smaller_that_fits(plan: Plan, machine: Machine, asked: Asked) -> Plan | None:
    """The best smaller variant of the model that fits as asked."""
    for variant in plan.model.variants:
        if variant.size_bytes < plan.variant.size_bytes:
            other = find(plan.model, variant, machine, asked)
            if other.fits:
                return other
    return None


def thread_count(size_bytes: int, cpu: Cpu) -> int:
    """How many threads llama.cpp should compute with.

    One for each fast core, since token generation waits for memory and slow cores hold the fast
    ones up. A tiny model gets one thread: its work between two barriers is so short that waiting
    for the other threads costs more than they bring, and a hundred times more on a busy computer
    (measured with the demo on two cores: 2,500 tokens/s with one thread whatever else runs; 4,000
    with two on idle cores, 3 to 30 on busy ones).
    """
    return 1 if size_bytes < _TINY_BYTES else max(1, cpu.performance_cores)
