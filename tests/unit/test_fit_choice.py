"""The choice: what is known of the models decides it, and the time an answer takes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from fit_machines import (
    ALL,
    ARM,
    AVX2,
    AVX512,
    GIB,
    LAPTOP_8,
    LAPTOP_16,
    RTX_3060,
    RTX_4090,
    SERVER_512_4090,
    TINY,
    catalogue,
    cuda,
    machine,
    metal,
    model,
    variant,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from localr1.config import Goal
from localr1.fit import report
from localr1.fit.advisor import advise
from localr1.fit.comparison import SLIGHTLY_POINTS
from localr1.fit.full_r1 import FEWEST_PARAMETERS
from localr1.fit.placement import place
from localr1.fit.pool import main_memory, pool_needs, shortages
from localr1.fit.score import hardly_usable, worth
from localr1.fit.search import find, speed_of
from localr1.fit.types import Advice, Asked, Plan
from localr1.gguf import recipe, writer
from localr1.machine import profile
from localr1.machine.types import GpuUser, Machine

SMALL = ("r1-distill-qwen-1.5b", "r1-distill-qwen-7b")
GOALS: tuple[Goal, ...] = ("best", "balanced", "fast")


@cache
def _advice(where: Machine, goal: Goal = "best") -> Advice:
    known = catalogue()
    return advise(where, known.models, goal, quantization_loss=known.quantization_loss)


def _seconds(plan: Plan) -> float:
    return plan.time_to_answer.typical.expected


def _worth(plan: Plan) -> float:
    return worth(plan, plan.points_lost or 0.0)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Slow and fast ones, with and without a card."""
    total = draw(st.floats(4, 200))
    bandwidth = draw(st.floats(4, 300))
    cores = draw(st.integers(1, 32))
    features = draw(st.sampled_from([(), AVX2, AVX512, ARM]))
    free = total * draw(st.floats(0.3, 1))
    cards = []
    if draw(st.booleans()):
        memory = draw(st.floats(3, 40))
        cards.append(cuda(0, "GPU", memory, memory, draw(st.floats(80, 1800))))
    return machine(total, free, *cards, cores=cores, features=features, bandwidth_gb=bandwidth)


# --- KV cache types


@pytest.mark.parametrize("model_id", SMALL)
@settings(deadline=None)
@given(where=machines(), index=st.integers(0, 99), context=st.none() | st.integers(300, 131072))
def test_the_small_qwens_get_q8_0_only_for_want_of_memory_and_q4_0_never(
    model_id: str, where: Machine, index: int, context: int | None
) -> None:
    one = model(model_id)
    file = one.variants[index % len(one.variants)]
    asked = Asked(context_window=context)
    plan = find(one, file, where, asked)
    assert plan.settings.kv_cache_type in ("f16", "q8_0")
    if plan.settings.kv_cache_type == "q8_0" and plan.fits:
        same = Asked(plan.settings.context_window, "f16")
        assert not find(one, file, where, same).fits


def test_the_larger_qwens_bear_q4_0_where_nothing_else_fits() -> None:
    one, file = model("r1-distill-qwen-32b"), variant("r1-distill-qwen-32b", "Q4_K_M")
    asked = Asked(context_window=65536)
    roomy = find(one, file, machine(100, 90), asked)
    assert roomy.settings.kv_cache_type == "f16"
    finer = find(one, file, machine(100, 90), replace(asked, kv_cache_type="q8_0"))
    coarser = find(one, file, machine(100, 90), replace(asked, kv_cache_type="q4_0"))
    headroom = main_memory(machine(30, 30)).headroom_bytes
    tight = (finer.total_bytes + coarser.total_bytes) / 2 + headroom
    plan = find(one, file, machine(30, tight / GIB), asked)
    assert plan.fits
    assert plan.settings.kv_cache_type == "q4_0"


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ALL)
def test_no_advice_has_a_cache_that_harms(name: str, goal: Goal) -> None:
    for plan in _advice(ALL[name], goal).plans:
        known = (*plan.model.kv_cache_types, *plan.model.kv_cache_reserve)
        assert plan.settings.kv_cache_type in known
        assert not (plan.model.id in SMALL and plan.settings.kv_cache_type == "q4_0")


def _four_bit_words(model_id: str, where: Machine, kv: str | None) -> str:
    plan = place(model(model_id), variant(model_id, "Q4_K_M"), where, kv_cache_type=kv)
    assert plan.settings.kv_cache_type == "q4_0"
    return " ".join(plan.reasons)


def test_four_bits_of_cache_are_called_harmful_only_where_they_were_found_so() -> None:
    for model_id in SMALL:
        assert "known to harm" in _four_bit_words(model_id, LAPTOP_16, "q4_0")
    assert "known to harm" not in _four_bit_words("r1-distill-qwen-14b", LAPTOP_16, "q4_0")


def test_four_bits_of_cache_that_localr1_chose_are_not_called_harmless() -> None:
    one = model("r1-distill-qwen-32b")
    file = variant(one.id, "Q4_K_M")
    found = (
        place(one, file, machine(64, free / 4), context_window=65536) for free in range(110, 160)
    )
    plan = next(plan for plan in found if plan.fits)
    assert plan.settings.kv_cache_type == "q4_0"
    told = next(line for line in plan.reasons if line.startswith("KV cache"))
    assert "costs this model a little" in told
    assert "not harm" not in told


# --- quantizations


def test_three_bits_cost_what_was_published() -> None:
    lost = catalogue().quantization_loss
    parameters = {m.id: m.architecture.parameters for m in catalogue().models}
    for name in ("Q3_K_M", "IQ3_M"):
        small = lost(name, parameters["r1-distill-qwen-1.5b"])
        assert 8 <= small <= 19
        assert 5 <= lost(name, parameters["r1-distill-qwen-7b"]) <= 6.5
        assert 4 <= lost(name, parameters["r1-distill-qwen-14b"]) <= 6.5
        assert 3 <= lost(name, parameters["r1-distill-qwen-32b"]) <= 5.5
    # Four bits: 2.1 to 2.4 points for the smallest, 0.4 to 1.9 for the largest that was tested.
    assert 2.0 <= lost("Q4_K_M", parameters["r1-distill-qwen-1.5b"]) <= 2.5
    assert 0.4 <= lost("Q4_K_M", parameters["r1-distill-qwen-32b"]) <= 1.9


@pytest.mark.parametrize("features", [AVX2, ()])
@pytest.mark.parametrize("quantization", ["IQ4_XS", "IQ3_M", "IQ2_M", "Q3_K_M", "Q2_K"])
def test_types_without_a_fast_layout_are_slow_on_a_cpu_and_it_is_said(
    quantization: str, features: tuple[str, ...]
) -> None:
    where = machine(64, 60, cores=2, features=features, bandwidth_gb=200)
    one = model("r1-distill-qwen-14b")

    def read(name: str) -> tuple[float, Plan]:
        plan = place(one, variant(one.id, name), where)
        (reads,) = speed_of(plan, where).reads
        return reads.rate.read.expected, plan

    slow, plan = read(quantization)
    usual, other = read("Q4_K_M")
    assert slow < usual
    assert any("no faster layout" in reason for reason in plan.reasons)
    assert not any("no faster layout" in reason for reason in other.reasons)


def test_a_type_with_a_fast_layout_is_not_called_slow() -> None:
    one = model("r1-distill-qwen-14b")
    plan = place(one, variant(one.id, "Q2_K"), machine(64, 60, features=AVX512))
    assert not any("no faster layout" in reason for reason in plan.reasons)
    on_gpu = place(one, variant(one.id, "IQ4_XS"), RTX_4090)
    assert on_gpu.on_gpus_alone
    assert not any("no faster layout" in reason for reason in on_gpu.reasons)


# --- time


@pytest.mark.parametrize("goal", ["balanced", "fast"])
@settings(deadline=None, max_examples=12)
@given(where=machines())
def test_twenty_minutes_are_never_preferred_to_two(goal: Goal, where: Machine) -> None:
    fitting = [p for p in _advice(where, goal).plans if p.fits and not p.model.demo]
    if not fitting:
        return
    first = fitting[0]
    for other in fitting[1:]:
        slightly = _worth(other) >= _worth(first) - SLIGHTLY_POINTS and not hardly_usable(other)
        assert not (slightly and _seconds(first) >= 1200 and _seconds(other) <= 120)


@pytest.mark.parametrize("goal", ["balanced", "fast"])
def test_what_was_passed_over_for_its_slowness_is_named_with_both_times(goal: Goal) -> None:
    # The 70B fits only in main memory; the 32B on the card.
    where = replace(RTX_4090, memory=replace(RTX_4090.memory, bandwidth_bytes_per_second=3e10))
    plans = _advice(where, goal).plans
    assert plans[0].model.id == "r1-distill-qwen-32b"
    slow = next(p for p in plans if p.model.id == "r1-distill-llama-70b")
    assert _seconds(slow) > 10 * _seconds(plans[0])
    if goal == "balanced":
        (line,) = [r for r in plans[0].reasons if "would answer better" in r]
        assert "DeepSeek-R1-Distill-Llama-70B" in line
        assert " min instead of " in line


def test_best_shows_both_times_where_it_keeps_one_waiting() -> None:
    where = machine(64, 60, cores=8, bandwidth_gb=45)
    plans = _advice(where, "best").plans
    assert _seconds(plans[0]) > 120
    slow, quick = [r for r in plans[0].reasons if " instead of " in r]
    assert "would answer better, but takes about" in slow
    assert "weaker, and answers in about" in quick


def test_the_goal_decides_context_and_cache_too() -> None:
    # At 16,384 tokens a part of the layers has to stay on the CPU.
    one, file = model("r1-distill-llama-8b"), variant("r1-distill-llama-8b", "Q6_K")
    where = machine(32, 28, cuda(0, "GPU", 8, 7.6, 300), bandwidth_gb=10, cores=4)
    best, fast = (find(one, file, where, goal=goal) for goal in ("best", "fast"))
    assert fast.generation_tps.expected >= best.generation_tps.expected
    assert fast.settings.context_window <= best.settings.context_window


def test_the_r1_0528_distill_is_taken_to_think_twice_as_long() -> None:
    late, early = model("r1-0528-qwen3-8b"), model("r1-distill-llama-8b")
    assert late.thinking_tokens.typical == 2 * early.thinking_tokens.typical
    assert 1.8 < late.thinking_tokens.hard / early.thinking_tokens.hard < 2.2
    assert late.thinking_tokens.assumed
    plan = place(late, variant(late.id, "Q4_K_M"), RTX_3060)
    assert plan.time_to_answer.assumed


# --- memory


@settings(deadline=None, max_examples=10)
@given(where=machines(), goal=st.sampled_from(GOALS))
def test_nothing_that_is_said_to_fit_would_swap(where: Machine, goal: Goal) -> None:
    for plan in _advice(where, goal).plans:
        if plan.fits:
            needs = pool_needs(plan.devices, where)
            ram = main_memory(where, needs["CPU"])
            assert needs["CPU"] + ram.headroom_bytes <= where.memory.available_bytes


# --- the full R1


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ALL)
def test_the_full_r1_has_an_honest_line_everywhere(name: str, goal: Goal) -> None:
    where = ALL[name]
    advice = _advice(where, goal)
    full = advice.full_r1
    assert full is not None
    assert full.plan.model.architecture.parameters >= FEWEST_PARAMETERS
    assert full.plan.model.architecture.mla
    needs = pool_needs(full.plan.devices, where)
    assert full.gpu_bytes + full.memory_bytes + full.disk_bytes == sum(needs.values())
    assert full.memory_bytes <= where.memory.available_bytes
    assert full.plan.fits == (full.disk_bytes == 0 and not shortages(full.plan.devices, where))
    for told in (full.plan.model.name, full.plan.variant.quantization, "main memory", "tokens/s"):
        assert told in full.words
    assert ("from disk" in full.words) == (full.disk_bytes > 0)
    first = advice.plans[0]
    if not first.fits or first.model.demo:
        assert full.beaten_by is None
        assert "No distill fits here either" in full.words
    elif first.model.id == full.plan.model.id:
        assert full.beaten_by is None
        assert "the best choice here" in full.words
    else:
        assert full.beaten_by is not None
        assert full.beaten_by.fits
        assert f"{full.beaten_by.model.name} {full.beaten_by.variant.quantization}" in full.words


def test_what_comes_from_disk_makes_the_full_r1_slow() -> None:
    small, large = _advice(LAPTOP_16).full_r1, _advice(machine(300, 290)).full_r1
    assert small is not None
    assert large is not None
    assert small.disk_bytes > 100 * GIB
    assert small.plan.generation_tps.expected < 0.3
    assert large.disk_bytes == 0
    assert "UD-" in small.plan.variant.quantization


def test_old_files_of_r1_are_warned_about(tmp_path: Path) -> None:
    plans = _advice(SERVER_512_4090).plans
    listed = next(p for p in plans if p.model.id == "r1-671b")
    assert any("71 times that of newer files" in reason for reason in listed.reasons)
    # A file's own header decides, whatever the catalogue says of its name.
    for model_id, old in (("r1-671b", True), ("r1-0528-671b", False)):
        shape = model(model_id).architecture
        path = tmp_path / f"DeepSeek-R1-{model_id}-Q4_K_M.gguf"
        writer.write_header(path, shape, recipe.tensors(shape, "Q4_K_M"))
        choice = catalogue().from_file(path)
        assert choice.variant is not None
        assert choice.model.architecture.mla != old
        plan = place(choice.model, choice.variant, SERVER_512_4090)
        assert any("older kind of file" in reason for reason in plan.reasons) == old


# --- what limits a plan, and what would change it


def test_a_plan_on_the_cpu_is_limited_by_memory_speed() -> None:
    plan = _advice(LAPTOP_16, "balanced").plans[0]
    assert any("Limited by main memory's speed" in reason for reason in plan.reasons)


def _crowded(*users: GpuUser) -> Machine:
    card = replace(cuda(0, "RTX 3060", 12, 8.4, 360), users=users)
    return machine(31, 25, card, bandwidth_gb=42)


def test_who_holds_the_memory_that_is_missing_is_named() -> None:
    users = (GpuUser("Xorg", GIB // 2), GpuUser("firefox", 18 * GIB // 10))
    one, file = model("r1-distill-qwen-14b"), variant("r1-distill-qwen-14b", "Q4_K_M")
    plan = place(one, file, _crowded(*users))
    assert plan.fits
    assert not plan.on_gpus_alone
    (line,) = [r for r in plan.reasons if "more were free on CUDA0" in r]
    assert line.endswith("firefox holds 1.8 GiB, Xorg holds 0.5 GiB")
    assert any("left to the CPU takes" in reason for reason in plan.reasons)
    # Without names it is said how much others hold.
    nameless = place(one, file, _crowded())
    assert any("other programs hold 3.6 GiB" in reason for reason in nameless.reasons)
    # Freed, it does what was promised.
    where = _crowded()
    freed = replace(where.gpus[0], free_bytes=where.gpus[0].total_bytes)
    whole = place(one, file, replace(where, devices=(where.devices[0], freed)))
    assert whole.on_gpus_alone
    assert whole.generation_tps.expected > 1.25 * plan.generation_tps.expected


def test_a_no_says_who_holds_the_graphics_memory() -> None:
    one, file = model("r1-distill-qwen-14b"), variant("r1-distill-qwen-14b", "Q4_K_M")
    plan = place(one, file, _crowded(GpuUser("firefox", 2 * GIB)), gpu_layers=49)
    assert not plan.fits
    assert any("is free on CUDA0 (firefox holds 2.0 GiB)" in line for line in plan.would_fit_if)


def test_the_cheapest_change_comes_first() -> None:
    one, file = model("r1-distill-llama-8b"), variant("r1-distill-llama-8b", "Q4_K_M")
    where = machine(16, 9.5)
    plan = place(one, file, where, context_window=32768, kv_cache_type="f16")
    assert not plan.fits
    assert plan.would_fit_if[0] == "the KV cache is q8_0"
    assert plan.would_fit_if[1].startswith("the context is ")
    assert "more main memory" in plan.would_fit_if[-1]


def test_memory_to_buy_comes_in_whole_modules() -> None:
    plan = place(model("r1-distill-qwen-32b"), variant("r1-distill-qwen-32b", "Q4_K_M"), LAPTOP_8)
    (line,) = [one for one in plan.would_fit_if if "the computer has" in one]
    assert int(float(line.split()[3])) % 8 == 0


# --- JSON


def test_json_has_every_number_of_a_plan() -> None:
    where = RTX_3060
    advice = _advice(where)
    obj = report.advice_to_json(advice, profile.to_json(where))
    plan, first = obj["plans"][0], advice.plans[0]
    assert plan["score"] == pytest.approx(first.score, abs=0.01)
    assert plan["quality"] == pytest.approx(first.model.quality)
    assert plan["points_lost"] == pytest.approx(first.points_lost, abs=0.01)
    assert plan["device_names"] == ["CUDA0"]
    full, known = obj["full_r1"], advice.full_r1
    assert known is not None
    assert full["model"] == known.plan.model.id
    assert full["disk_bytes"] == known.disk_bytes
    assert full["beaten_by"]["model"] == advice.plans[0].model.id
    assert full["words"] == known.words
    nothing = _advice(TINY)
    assert report.advice_to_json(nothing, profile.to_json(TINY))["full_r1"]["beaten_by"] is None


def test_unified_memory_is_named_as_what_limits() -> None:
    where = machine(32, 26, metal("M2 Pro", 21, 21, 200), features=ARM)
    plan = _advice(where, "balanced").plans[0]
    assert any("Limited by Metal's memory speed" in reason for reason in plan.reasons)
