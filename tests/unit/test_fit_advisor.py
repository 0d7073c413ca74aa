"""Advice on real machines, as somebody who knows the models would give it."""

from __future__ import annotations

import pytest
from fit_machines import (
    ALL,
    LAPTOP_8,
    LAPTOP_16,
    LAPTOP_4060,
    M2_16,
    M3_MAX_64,
    RTX_3060,
    RTX_4090,
    SERVER_512,
    SERVER_512_4090,
    TINY,
    TWO_3090,
    catalogue,
    machine,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from localr1.config import Goal
from localr1.fit.advisor import advise
from localr1.fit.types import Advice, Plan
from localr1.machine.types import Machine

GOALS: tuple[Goal, ...] = ("best", "balanced", "fast")


def _advice(where: Machine, goal: Goal = "best", context: int | None = None) -> Advice:
    known = catalogue()
    return advise(where, known.models, goal, context, quantization_loss=known.quantization_loss)


def _best(where: Machine, goal: Goal = "best") -> Plan:
    best = _advice(where, goal).best
    assert best is not None
    return best


@pytest.mark.parametrize(
    ("where", "models", "quantizations"),
    [
        (LAPTOP_8, {"r1-distill-qwen-7b", "r1-distill-qwen-1.5b"}, {"IQ3_XXS", "Q8_0"}),
        (LAPTOP_16, {"r1-0528-qwen3-8b"}, {"Q4_K_M", "Q5_K_M"}),
        (M2_16, {"r1-0528-qwen3-8b"}, {"Q4_K_M", "Q5_K_M", "Q6_K"}),
        (LAPTOP_4060, {"r1-0528-qwen3-8b"}, {"Q4_K_M", "Q5_K_M"}),
        (RTX_3060, {"r1-0528-qwen3-8b"}, {"Q6_K", "Q8_0"}),
        (RTX_4090, {"r1-distill-qwen-32b"}, {"Q4_K_M", "Q4_K_S"}),
        (M3_MAX_64, {"r1-distill-llama-70b", "r1-distill-qwen-32b"}, {"Q4_K_M", "Q6_K"}),
        (TWO_3090, {"r1-distill-llama-70b"}, {"Q4_K_M", "Q4_K_S"}),
        (SERVER_512, {"r1-0528-671b"}, {"Q4_K_M", "UD-Q4_K_XL"}),
        (SERVER_512_4090, {"r1-0528-671b"}, {"Q4_K_M", "UD-Q4_K_XL"}),
    ],
)
def test_the_first_choice_is_an_experts(
    where: Machine, models: set[str], quantizations: set[str]
) -> None:
    best = _best(where)
    assert best.model.id in models
    assert best.variant.quantization in quantizations
    assert best.time_to_answer.typical.expected < 600
    assert "the best that answers within 10 min here" in best.reasons[0]


@pytest.mark.parametrize("where", [LAPTOP_8, LAPTOP_16])
def test_fast_on_a_laptop_is_the_small_model(where: Machine) -> None:
    best = _best(where, "fast")
    assert best.model.id == "r1-distill-qwen-1.5b"
    assert best.generation_tps.expected > 15


@pytest.mark.parametrize("where", [RTX_3060, RTX_4090, TWO_3090, M3_MAX_64])
def test_fast_with_a_gpu_is_fast_and_good(where: Machine) -> None:
    best = _best(where, "fast")
    assert best.generation_tps.expected >= 20
    assert best.model.quality > 60


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ALL)
def test_rules_that_hold_on_every_machine(name: str, goal: Goal) -> None:
    advice = _advice(ALL[name], goal)
    plans = advice.plans
    assert len(plans) == sum(len(m.variants) for m in catalogue().models)
    fits = [plan.fits for plan in plans]
    assert fits == sorted(fits, reverse=True)
    fitting = [plan for plan in plans if plan.fits]
    # The demo is last among what fits.
    assert [plan.model.demo for plan in fitting].count(True) == 1
    assert fitting[-1].model.demo
    seen: set[str] = set()
    for plan in fitting:
        first = plan.model.id not in seen
        seen.add(plan.model.id)
        assert plan.reasons
        assert not plan.would_fit_if
        if plan.model.id == "r1-distill-qwen-1.5b":
            low = plan.variant.quantization[:4] in ("Q3_K", "IQ3_", "Q2_K", "IQ2_")
            assert not (low and first)
    for plan in plans:
        if not plan.fits:
            assert plan.score == 0
            assert plan.would_fit_if
            assert "lacks" in plan.reasons[0]


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", [name for name in ALL if name != "1 GB"])
def test_two_bits_come_after_everything_else_that_fits(name: str, goal: Goal) -> None:
    fitting = [p for p in _advice(ALL[name], goal).plans if p.fits and not p.model.demo]
    low = [
        "2" in plan.variant.quantization[:3] and not plan.model.architecture.expert_count
        for plan in fitting
        if plan.model.id != "r1-distill-qwen-1.5b"
    ]
    assert low == sorted(low)


def test_balanced_answers_sooner_than_best() -> None:
    for where in (LAPTOP_16, M3_MAX_64, TWO_3090, SERVER_512):
        best, balanced = _best(where), _best(where, "balanced")
        assert balanced.time_to_answer.typical.expected <= best.time_to_answer.typical.expected


def test_where_only_the_demo_fits_it_is_offered_and_the_others_say_why() -> None:
    advice = _advice(TINY)
    assert advice.best is not None
    assert advice.best.model.demo
    nearest = advice.plans[1]
    assert nearest.model.id == "r1-distill-qwen-1.5b"
    assert not nearest.fits
    assert any("more main memory" in line for line in nearest.would_fit_if)


def test_where_nothing_fits_there_is_no_best() -> None:
    advice = _advice(machine(0.25, 0.05))
    assert advice.best is None
    assert all(plan.reasons and plan.would_fit_if for plan in advice.plans)


def test_a_wanted_context_is_had() -> None:
    advice = _advice(RTX_3060, context=32768)
    for plan in advice.plans:
        assert plan.settings.context_window == min(32768, plan.model.architecture.context_length)
    unfit = next(p for p in advice.plans if p.model.id == "r1-distill-llama-70b" and not p.fits)
    assert unfit.would_fit_if


@settings(max_examples=15, deadline=None)
@given(total=st.floats(1, 700), share=st.floats(0.1, 1), more=st.floats(0, 300))
def test_with_more_memory_no_fewer_plans_fit(total: float, share: float, more: float) -> None:
    small = _advice(machine(total, total * share))
    large = _advice(machine(total + more, total * share + more))
    before = {(p.model.id, p.variant.quantization) for p in small.plans if p.fits}
    after = {(p.model.id, p.variant.quantization) for p in large.plans if p.fits}
    assert before <= after


def test_advice_is_the_same_every_time() -> None:
    assert _advice(RTX_4090) == _advice(RTX_4090)
