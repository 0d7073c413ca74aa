"""Which model, which quantization: plans ranked for one machine and one goal.

The score is in points of the published tests: the model's quality, what its size adds,
what its quantization and a short context take away, and what waiting costs. Larger is
better. Weights marked as judgement are choices of localr1's makers, not measurements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from localr1.config import Goal
from localr1.fit.counterfactual import would_fit_if
from localr1.fit.explain import Ranking, duration, reasons
from localr1.fit.pool import shortages
from localr1.fit.search import NOTHING, Asked, find
from localr1.fit.types import Advice, Plan
from localr1.gguf.types import Architecture
from localr1.machine.types import Machine
from localr1.models.types import Model

QuantizationLoss = Callable[[str, int], float]
"""Points of quality that a quantization costs a model of so many parameters."""

POINTS_PER_DOUBLING = 4.0
"""What a model gains with every doubling of its size, from 8 billion parameters. Judgement: the
tests that every member of the family has are contest mathematics and science questions,
where long thinking makes up for size; what a model knows grows with its parameters."""
REFERENCE_PARAMETERS = 8e9

BEST_SECONDS = 600.0
BALANCED_SECONDS = 180.0
"""How long a typical answer may take before waiting costs `POINTS_PER_LATE_DOUBLING`."""
POINTS_PER_LATE_DOUBLING = 15.0
PATIENCE_SECONDS = 60.0
POINTS_PER_DOUBLING_OF_PATIENCE = {"best": 0.5, "balanced": 3.0, "fast": 3.0}
"""The lighter cost of every doubling of a wait over a minute. Judgement."""
FAST_TPS = 20.0
"""Tokens per second that `fast` wants: faster than anyone reads."""
POINTS_PER_MISSING_DOUBLING = 28.0
"""What `fast` takes off for every halving of that. Judgement: large enough that a small model wins
on a laptop without a GPU."""

_CONTEXT_POINTS = {16384: 0.0, 8192: -1.0, 4096: -5.0}
"""A context that long thinking does not fit into, where localr1 chose it. Judgement."""
_QUANTIZED_CACHE_POINTS = -0.1
"""arXiv 2504.04823, table 1: models that bear a 4-bit cache lose 0.1 to 0.3 with it, and nothing
that could be measured with 8 bits."""
_USUAL, _USUAL_POINTS = "Q4_K_M", 0.4
"""What nearly everybody runs, so that its faults would be known. Judgement."""
_I_QUANT_POINTS = -1.0
"""`IQ...` types take more computing for each byte and have no faster layout on most processors:
prompts wait longer, which a typical answer hardly shows. Judgement."""
_SIZE_POINTS_PER_DOUBLING = -0.15
"""So that twice the download for next to nothing does not win. Judgement."""
_VARIANT_SECONDS = 120.0
_VARIANT_POINTS_PER_DOUBLING = 5.0
"""Among the variants of one model, what a doubling of a wait over two minutes costs: there
speed is bought with little quality, unlike between models. Judgement."""

_LOW_BITS_POINTS = -400.0
"""Two bits and less: no distill was ever tested with so few."""
_SMALL_LOW_BITS_POINTS = -500.0
"""Three bits and less of the 1.5B model, which lost 8 to 19 points of 49 with three
(arXiv 2504.04823): never recommended."""
_SMALL_PARAMETERS = 3e9


def advise(
    machine: Machine,
    models: Iterable[Model],
    goal: Goal = "best",
    context_window: int | None = None,
    *,
    quantization_loss: QuantizationLoss,
) -> Advice:
    """Rank every variant of every model.

    The best variant of each model comes first, best model first; then the other variants
    that fit; then the demo, which never outranks a real model that fits; then what does not
    fit, the smallest shortage first, again the nearest variant of each model before others.

    Args:
        machine: What is to run the model.
        models: The catalogue's models.
        goal: `best` answers that come within about ten minutes, `balanced` within about
            three, `fast` at about 20 tokens per second or as near to it as it goes.
        context_window: A context that must be had; chosen by plan where left out.
        quantization_loss: `Catalogue.quantization_loss`.
    """
    asked = Asked(context_window=context_window) if context_window is not None else NOTHING
    fitting: list[Plan] = []
    others: list[tuple[int, Plan]] = []
    losses: dict[int, float] = {}
    for model in models:
        for variant in model.variants:
            plan = find(model, variant, machine, asked)
            loss = quantization_loss(variant.quantization, model.architecture.parameters)
            losses[id(variant)] = loss
            if plan.fits:
                fitting.append(replace(plan, score=score(plan, goal, loss, asked)))
            else:
                lack = sum(s.bytes_short for s in shortages(plan.devices, machine))
                others.append((lack, plan))
    fitting.sort(key=lambda p: (p.model.demo, -p.score))
    sound = (plan for plan in fitting if not _hardly_usable(plan))
    best = _one_of_each(sorted(sound, key=lambda p: -_among_variants(p)))
    fitting.sort(key=lambda p: (p.model.demo, id(p) not in best, -p.score))
    others.sort(key=lambda pair: (_hardly_usable(pair[1]), pair[0]))
    missing = [plan for _, plan in others]
    advised = {plan.model.id for plan in fitting if id(plan) in best}
    nearest = _one_of_each([plan for plan in missing if plan.model.id not in advised])
    missing.sort(key=lambda p: id(p) not in nearest)
    first = fitting[0] if fitting else None
    firsts = best | nearest
    return Advice(
        goal,
        tuple(
            replace(
                plan,
                reasons=reasons(
                    plan,
                    machine,
                    asked,
                    Ranking(
                        _place(plan, first, goal, firsts, losses[id(plan.variant)]),
                        losses[id(plan.variant)],
                    ),
                ),
                would_fit_if=would_fit_if(
                    plan,
                    machine,
                    asked,
                    _best_smaller(plan, fitting),
                    thorough=id(plan) in firsts,
                ),
            )
            for plan in (*fitting, *missing)
        ),
    )


def score(plan: Plan, goal: Goal, points_lost: float, asked: Asked = NOTHING) -> float:
    """What the ranking sorts by; larger is better.

    Args:
        plan: One that fits.
        goal: What counts.
        points_lost: By its quantization.
        asked: What the user fixed; nothing is held against the plan for that.
    """
    settings, architecture = plan.settings, plan.model.architecture
    points = plan.model.quality - points_lost
    points += POINTS_PER_DOUBLING * math.log2(_equal_size(architecture) / REFERENCE_PARAMETERS)
    if asked.context_window is None:
        points += _CONTEXT_POINTS.get(settings.context_window, 0.0)
    if asked.kv_cache_type is None and settings.kv_cache_type != "f16":
        points += _QUANTIZED_CACHE_POINTS
    points += _SIZE_POINTS_PER_DOUBLING * math.log2(max(1.0, plan.variant.size_bytes / (1 << 30)))
    points -= _waiting(plan, goal)
    if _hardly_usable(plan):
        small = architecture.parameters < _SMALL_PARAMETERS
        points += _SMALL_LOW_BITS_POINTS if small else _LOW_BITS_POINTS
    if plan.variant.quantization.upper().startswith("IQ"):
        points += _I_QUANT_POINTS
    elif plan.variant.quantization == _USUAL:
        points += _USUAL_POINTS
    if goal == "fast":
        speed = plan.generation_tps.expected
        points -= POINTS_PER_MISSING_DOUBLING * max(0.0, math.log2(FAST_TPS / speed))
    return points


def _waiting(plan: Plan, goal: Goal) -> float:
    seconds = plan.time_to_answer.typical.expected
    light = POINTS_PER_DOUBLING_OF_PATIENCE[goal] * max(0.0, math.log2(seconds / PATIENCE_SECONDS))
    limit = BEST_SECONDS if goal == "best" else BALANCED_SECONDS
    return light + POINTS_PER_LATE_DOUBLING * max(0.0, math.log2(seconds / limit))


def _equal_size(architecture: Architecture) -> float:
    """Parameters of a dense model that knows about as much.

    For experts the geometric mean of all and the active ones, a common rule of thumb.
    """
    active = architecture.active_parameters or architecture.parameters
    return math.sqrt(architecture.parameters * active)


def _bits(quantization: str) -> int:
    """The number in a quantization's name: 4 for `Q4_K_M`, 1 for `UD-IQ1_S`."""
    match = re.search(r"\d+", quantization)
    return int(match[0][:2]) if match else 16


def _among_variants(plan: Plan) -> float:
    """What the variants of one model are compared by."""
    seconds = plan.time_to_answer.typical.expected
    wait = max(0.0, math.log2(seconds / _VARIANT_SECONDS))
    return plan.score - _VARIANT_POINTS_PER_DOUBLING * wait


def _hardly_usable(plan: Plan) -> bool:
    """Whether so few bits are left that the variant is no advice even if it nearly fits."""
    architecture, bits = plan.model.architecture, _bits(plan.variant.quantization)
    if architecture.expert_count:
        return False
    return bits <= (3 if architecture.parameters < _SMALL_PARAMETERS else 2)


def _one_of_each(plans: Sequence[Plan]) -> set[int]:
    """The identities of the first plan of each model."""
    seen: dict[str, Plan] = {}
    for plan in plans:
        seen.setdefault(plan.model.id, plan)
    return {id(plan) for plan in seen.values()}


def _best_smaller(plan: Plan, fitting: Sequence[Plan]) -> Plan | None:
    """The plan of the model's best smaller variant that fits."""
    return next(
        (
            other
            for other in fitting
            if other.model.id == plan.model.id
            and not _hardly_usable(other)
            and other.variant.size_bytes < plan.variant.size_bytes
        ),
        None,
    )


def _place(plan: Plan, first: Plan | None, goal: Goal, firsts: set[int], loss: float) -> str:
    """The end of a fitting plan's first line: why it stands where it does."""
    seconds = plan.time_to_answer.typical.expected
    answer = f"a typical answer in about {duration(seconds)}"
    if not plan.fits or first is None or plan.model.demo:
        return ""
    if plan is first:
        return f"{answer}; {_praise(plan, goal)}"
    if id(plan) in firsts:
        return answer
    return f"{answer}; {_beside(loss)}"


def _praise(plan: Plan, goal: Goal) -> str:
    seconds = plan.time_to_answer.typical.expected
    if goal == "fast":
        fast = plan.generation_tps.expected >= FAST_TPS
        return (
            f"the best at {FAST_TPS:.0f} tokens/s or more" if fast else "the best of the fast ones"
        )
    limit = BEST_SECONDS if goal == "best" else BALANCED_SECONDS
    if seconds > limit:
        return "the best choice among slow ones"
    return f"the best that answers within {duration(limit)} here"


def _beside(loss: float) -> str:
    if loss < 0.5:
        return "its quantization costs next to nothing"
    return f"its quantization costs about {loss:.1f} points"
