"""Placements: what is promised to fit does, and what is asked for is honoured or explained."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from fit_machines import (
    ALL,
    AVX512,
    GIB,
    LAPTOP_8,
    LAPTOP_16,
    LAPTOP_4060,
    M2_16,
    RTX_3060,
    RTX_4090,
    SERVER_512_4090,
    TINY,
    TWO_3090,
    catalogue,
    cuda,
    machine,
    metal,
    model,
    variant,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from localr1.fit.attention import has_flash_attention
from localr1.fit.placement import place, side_by_side, thread_count, with_settings
from localr1.fit.pool import gpu_pool, main_memory, pool_needs, shortages
from localr1.fit.types import Plan
from localr1.machine.types import Cpu, Machine

MODELS = [m for m in catalogue().models if m.variants]


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Machines with 0 to 3 cards or a unified GPU, and any part of their memory free."""
    total = draw(st.floats(1, 600))
    free = total * draw(st.floats(0.05, 1))
    kind = draw(st.sampled_from(["none", "cards", "unified"]))
    system = draw(st.sampled_from(["Linux 6.1 x86_64", "Windows 11 AMD64"]))
    bandwidth = draw(st.none() | st.floats(20, 2000))
    if kind == "unified":
        lent = total * draw(st.floats(0.3, 0.9))
        return machine(total, free, metal("M2", lent, min(lent, free), bandwidth or 100))
    cards = []
    if kind == "cards":
        for index in range(draw(st.integers(1, 3))):
            memory = draw(st.floats(2, 96))
            cards.append(cuda(index, "GPU", memory, memory * draw(st.floats(0.1, 1)), bandwidth))
    return machine(total, free, *cards, system=system)


def _within(plan: Plan, where: Machine) -> bool:
    """Whether every memory keeps its headroom, each byte of main memory counted once."""
    needs = pool_needs(plan.devices, where)
    ram = main_memory(where, needs["CPU"])
    rooms = [needs["CPU"] <= ram.free_bytes - ram.headroom_bytes]
    for device in plan.devices[1:]:
        gpu = next(g for g in where.gpus if g.name == device.name)
        pool = gpu_pool(gpu, where)
        rooms.append(device.total_bytes <= pool.free_bytes - pool.headroom_bytes)
    return all(rooms)


@settings(deadline=None)
@given(where=machines(), index=st.integers(0, 10**6))
def test_a_plan_fits_exactly_when_every_memory_keeps_its_headroom(
    where: Machine, index: int
) -> None:
    one = MODELS[index % len(MODELS)]
    plan = place(one, one.variants[index // 7 % len(one.variants)], where)
    assert plan.fits == _within(plan, where)
    assert plan.settings.context_window <= one.architecture.context_length
    assert plan.settings.kv_cache_type in (*one.kv_cache_types, *one.kv_cache_reserve)
    assert plan.reasons
    assert "\n" not in plan.reasons[0]
    assert bool(plan.would_fit_if) <= (not plan.fits)
    assert sum(pool_needs(plan.devices, where).values()) == plan.total_bytes


@settings(deadline=None)
@given(where=machines(), index=st.integers(0, 10**6), most=st.integers(1, 9))
def test_as_many_replies_at_once_as_memory_has_room_for(
    where: Machine, index: int, most: int
) -> None:
    one = MODELS[index % len(MODELS)]
    plan = place(one, one.variants[index // 7 % len(one.variants)], where)
    several = side_by_side(plan, where, most)
    count = several.settings.sequences
    assert 1 <= count <= most
    if count == 1:
        assert several == plan
    else:
        assert _within(several, where)
        assert several.settings.context_window == plan.settings.context_window
    if count < most:
        wider = replace(several.settings, sequences=count + 1, draft_tokens=0)
        assert not _within(with_settings(plan, wider, where), where)


@settings(deadline=None)
@given(where=machines(), index=st.integers(0, 10**6), more=st.floats(0.1, 200))
def test_more_memory_never_makes_a_fitting_plan_unfit(
    where: Machine, index: int, more: float
) -> None:
    one = MODELS[index % len(MODELS)]
    file = one.variants[index // 7 % len(one.variants)]
    if not place(one, file, where).fits:
        return
    extra = int(more * GIB)
    memory = replace(
        where.memory,
        total_bytes=where.memory.total_bytes + extra,
        available_bytes=where.memory.available_bytes + extra,
    )
    assert place(one, file, replace(where, memory=memory)).fits


@settings(deadline=None)
@given(
    where=machines(),
    context=st.integers(1, 300_000),
    kv=st.sampled_from(["f16", "q8_0", "q4_0"]),
    layers=st.integers(0, 200),
    index=st.integers(0, 10**6),
)
def test_what_is_asked_for_is_done(
    where: Machine, context: int, kv: str, layers: int, index: int
) -> None:
    one = MODELS[index % len(MODELS)]
    file = one.variants[index // 7 % len(one.variants)]
    plan = place(one, file, where, context_window=context, kv_cache_type=kv, gpu_layers=layers)
    architecture, settings = one.architecture, plan.settings
    words = " ".join(plan.reasons)
    assert settings.context_window == min(context, architecture.context_length)
    assert settings.kv_cache_type == kv
    able = [gpu for gpu in where.gpus if has_flash_attention(architecture, gpu.backend)]
    # Without flash attention a card takes only a cache in f16.
    able = able or list(where.gpus if kv == "f16" else ())
    expected = min(layers, architecture.layers + 1) if able else 0
    assert settings.gpu_layers == expected
    if context > architecture.context_length:
        assert f"instead of {context:,}" in words
    if kv not in (*one.kv_cache_types, *one.kv_cache_reserve):
        assert f"KV cache in {kv}" in words
    if layers != expected:
        assert f"{layers}" in words
    assert plan.fits == _within(plan, where)


def _place(model_id: str, quantization: str, where: Machine, **asked: int) -> Plan:
    return place(
        model(model_id),
        variant(model_id, quantization),
        where,
        context_window=asked.get("context"),
        gpu_layers=asked.get("layers"),
    )


def test_the_whole_model_goes_to_a_gpu_that_holds_it() -> None:
    plan = _place("r1-distill-qwen-14b", "Q4_K_M", RTX_3060)
    assert plan.settings.gpu_layers == 49
    assert plan.settings.context_window == 16384
    # Three GiB of f16 would not fit beside it; this model bears q8_0.
    assert plan.settings.kv_cache_type == "q8_0"
    assert "Runs entirely on CUDA0" in plan.reasons


def test_a_part_goes_to_a_gpu_that_does_not_hold_it() -> None:
    plan = _place("r1-distill-qwen-32b", "Q4_K_M", RTX_3060)
    assert plan.fits
    assert 15 < plan.settings.gpu_layers < 40
    gpu = plan.devices[1]
    one_more = place(
        plan.model,
        plan.variant,
        RTX_3060,
        context_window=plan.settings.context_window,
        kv_cache_type=plan.settings.kv_cache_type,
        gpu_layers=plan.settings.gpu_layers + 1,
    )
    assert gpu.total_bytes < 11.2 * GIB
    assert not one_more.fits
    assert any("layers go to the GPU" in line for line in one_more.would_fit_if)


def test_one_card_is_enough_where_it_is() -> None:
    assert _place("r1-distill-qwen-14b", "Q8_0", TWO_3090).settings.device_names == ("CUDA0",)


def test_two_cards_share_what_one_cannot_hold() -> None:
    plan = _place("r1-distill-llama-70b", "Q4_K_M", TWO_3090)
    assert plan.fits
    assert plan.settings.device_names == ("CUDA0", "CUDA1")
    assert plan.settings.gpu_layers == 81
    assert sum(plan.settings.tensor_split) == 81
    first, second = plan.devices[1:]
    assert abs(first.total_bytes - second.total_bytes) < 2 * GIB
    assert not plan.upper_bound


def test_unequal_cards_are_filled_by_their_room() -> None:
    where = machine(64, 60, cuda(0, "RTX 4090", 24, 23.5, 1008), cuda(1, "RTX 3060", 12, 11.5, 360))
    plan = _place("r1-distill-qwen-32b", "Q6_K", where)
    assert plan.fits
    assert plan.settings.gpu_layers == 65
    big, small = plan.settings.tensor_split
    assert 1.5 < big / small < 3.5


def test_experts_give_way_first() -> None:
    plan = _place("r1-0528-671b", "UD-Q2_K_XL", SERVER_512_4090)
    assert plan.fits
    assert plan.settings.gpu_layers == 62
    # The first three layers have no experts; a few layers' experts fit on the card.
    assert 3 < plan.settings.cpu_expert_layers < 62
    assert plan.devices[1].total_bytes > 10 * GIB


def test_old_r1_files_are_told_by_their_cache() -> None:
    old = _place("r1-671b", "UD-IQ1_S", SERVER_512_4090)
    new = _place("r1-0528-671b", "UD-IQ1_S", SERVER_512_4090)
    assert any("older kind of file" in reason for reason in old.reasons)
    assert not any("older kind of file" in reason for reason in new.reasons)


def test_a_unified_gpu_is_not_a_second_memory() -> None:
    plan = _place("r1-distill-qwen-14b", "Q4_K_M", M2_16)
    needs = pool_needs(plan.devices, M2_16)
    assert set(needs) == {"CPU"}
    assert needs["CPU"] == plan.total_bytes
    # 16 GiB of main memory and 10.7 GiB lent to the GPU do not add up.
    assert not _place("r1-distill-qwen-32b", "Q4_K_M", M2_16).fits


def test_the_smaller_of_two_limits_binds_a_unified_gpu() -> None:
    lent = machine(64, 60, metal("M2", 8, 8, 100))
    plan = _place("r1-distill-qwen-14b", "Q4_K_M", lent)
    assert plan.fits
    assert plan.settings.gpu_layers < 49
    assert plan.devices[1].total_bytes <= 7.5 * GIB


def test_a_desktop_gets_more_room() -> None:
    idle, busy = cuda(0, "RTX 4060", 8, 8, 272), cuda(0, "RTX 4060", 8, 7, 272)
    assert gpu_pool(idle, machine(32, 28, idle)).headroom_bytes == GIB // 2
    assert gpu_pool(busy, machine(32, 28, busy)).headroom_bytes == GIB
    used = cuda(0, "RTX 4060", 8, 7.8, 272)
    windows = machine(32, 28, used, system="Windows 11 AMD64")
    assert gpu_pool(used, windows).headroom_bytes == GIB
    assert gpu_pool(used, machine(32, 28, used)).headroom_bytes == GIB // 2


def test_a_gpu_that_the_engine_cannot_use_is_left_alone() -> None:
    card = replace(cuda(0, "RTX 4090", 24, 24, 1008), usable_by_engine=False)
    plan = _place("r1-distill-qwen-7b", "Q4_K_M", machine(32, 28, card), layers=10)
    assert plan.settings.gpu_layers == 0
    assert plan.settings.device_names == ()
    assert any("no GPU" in reason for reason in plan.reasons)


@settings(deadline=None)
@given(where=st.sampled_from(list(ALL.values())), index=st.integers(0, 10**6))
def test_changes_that_are_named_help(where: Machine, index: int) -> None:
    one = MODELS[index % len(MODELS)]
    file = one.variants[index // 7 % len(one.variants)]
    plan = place(one, file, where, context_window=65536)
    if plan.fits:
        return
    assert plan.would_fit_if
    assert "lacks" in plan.reasons[0]
    for line in plan.would_fit_if:
        changed, context, used = where, 65536, file
        if match := re.fullmatch(r"the context is ([\d,]+) tokens", line):
            context = int(match[1].replace(",", ""))
        elif match := re.fullmatch(r"it is (\S+) \(.*\)", line):
            used = next(v for v in one.variants if v.quantization == match[1])
        elif match := re.match(r"([\d.,]+) (GiB|MiB) more main memory is free", line):
            free = where.memory.available_bytes + _bytes(match)
            changed = replace(where, memory=replace(where.memory, available_bytes=free))
        elif match := re.match(r"the computer has ([\d.,]+) (GiB|MiB) more main memory", line):
            memory = where.memory
            more = replace(
                memory,
                total_bytes=memory.total_bytes + _bytes(match),
                available_bytes=memory.available_bytes + _bytes(match),
            )
            changed = replace(where, memory=more)
        elif match := re.match(r"CUDA0 has ([\d.,]+) (GiB|MiB) more", line):
            gpu = where.gpus[0]
            larger = replace(
                gpu,
                total_bytes=gpu.total_bytes + _bytes(match),
                free_bytes=gpu.free_bytes + _bytes(match),
            )
            changed = replace(
                where, devices=tuple(larger if d is gpu else d for d in where.devices)
            )
        else:
            raise AssertionError(line)
        assert place(one, used, changed, context_window=context).fits, (line, plan.reasons)


def _bytes(match: re.Match[str]) -> int:
    unit = GIB if match[2] == "GiB" else 1 << 20
    return int(float(match[1].replace(",", "")) * unit)


def test_what_has_to_page_from_disk_does_not_fit_and_says_so() -> None:
    plan = _place("r1-distill-qwen-32b", "Q4_K_M", LAPTOP_16)
    assert not plan.fits
    assert any("read from disk for every token" in reason for reason in plan.reasons)
    assert plan.generation_tps.expected < 0.5


def test_what_only_takes_the_headroom_is_not_said_to_page() -> None:
    need = _place("r1-distill-qwen-1.5b", "Q8_0", LAPTOP_8, context=16384).total_bytes
    tight = machine(8, need / GIB + 0.3)
    plan = _place("r1-distill-qwen-1.5b", "Q8_0", tight, context=16384)
    assert not plan.fits
    # The cache in q8_0 that it falls back on needs 0.2 GiB less than the one in f16.
    assert any("It would leave 0.5 GiB" in reason for reason in plan.reasons)


def test_the_demo_fits_nearly_everywhere() -> None:
    demo = model("demo")
    for where in (TINY, LAPTOP_8, M2_16, LAPTOP_4060):
        plan = place(demo, demo.variants[0], where)
        assert plan.fits
        assert plan.settings.context_window == 1024
        assert any("demonstration" in reason for reason in plan.reasons)


def test_a_window_that_cuts_a_hard_question_short_is_said() -> None:
    one, file = model("r1-0528-qwen3-8b"), variant("r1-0528-qwen3-8b", "Q4_K_M")
    where = machine(32, 28, features=AVX512)

    def said(window: int | None) -> list[str]:
        plan = place(one, file, where, context_window=window)
        return [line for line in plan.reasons if "cuts short" in line]

    assert said(None) == said(32768) == []
    assert "23,000" in said(16384)[0]
    assert "16,384" in said(16384)[0]
    assert said(2048)[0].startswith("A typical question")


@pytest.mark.parametrize(
    ("model_id", "kind", "words"),
    [
        ("r1-distill-qwen-14b", "q8_0", None),
        ("r1-distill-qwen-14b", "q4_0", "costs this model a little"),
        ("r1-distill-qwen-7b", "q4_0", "known to harm"),
    ],
)
def test_what_a_smaller_cache_costs_is_said(model_id: str, kind: str, words: str | None) -> None:
    where = machine(64, 60, features=AVX512)
    plan = place(model(model_id), variant(model_id, "Q4_K_M"), where, kv_cache_type=kind)
    told = [line for line in plan.reasons if line.startswith("KV cache")]
    assert told == [] if words is None else (len(told) == 1 and words in told[0])


def test_old_671b_files_go_to_cards_without_flash_attention() -> None:
    one = replace(model("r1-671b"), architecture=replace(model("r1-671b").architecture, mla=False))
    file = variant("r1-671b", "Q4_K_M")
    where = machine(1024, 1000, *(cuda(i, "H100", 80, 79, 3350.0) for i in range(8)))
    plan = place(one, file, where)
    assert plan.fits
    assert (plan.settings.flash_attention, plan.settings.kv_cache_type) == (False, "f16")
    assert plan.settings.gpu_layers == one.architecture.layers + 1
    assert any("Without flash attention" in line for line in plan.reasons)
    # What was asked for decides: without flash attention llama.cpp takes no other cache.
    asked = place(one, file, where, kv_cache_type="q8_0")
    assert (asked.settings.flash_attention, asked.settings.gpu_layers) == (True, 0)
    newer = replace(one, architecture=replace(one.architecture, mla=True))
    assert place(newer, file, where).settings.flash_attention


def test_many_cards_are_one_phrase() -> None:
    where = machine(1024, 1000, *(cuda(i, "H100", 80, 79, 3350.0) for i in range(8)))
    plan = place(model("r1-0528-671b"), variant("r1-0528-671b", "Q4_K_M"), where)
    told = " ".join(plan.reasons)
    assert "on CUDA0 to CUDA7" in told
    assert "CUDA3" not in told
    assert "of 632.0 GiB free" in plan.reasons[0]


def test_nothing_lacks_on_a_machine_with_plenty() -> None:
    where = machine(2000, 1900, features=AVX512)
    for one in MODELS:
        for file in one.variants:
            plan = place(one, file, where)
            assert plan.fits
            assert not shortages(plan.devices, where)
            # What its longest thinking needs, where that is published or assumed as longer.
            wished = 1024 if one.demo else 32768 if "0528" in one.id else 16384
            assert plan.settings.context_window == min(wished, one.architecture.context_length)
            assert plan.settings.kv_cache_type == "f16"


def test_nonsense_is_refused() -> None:
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")
    with pytest.raises(ValueError, match="context window"):
        place(one, file, RTX_4090, context_window=0)
    with pytest.raises(ValueError, match="q5_1x"):
        place(one, file, RTX_4090, kv_cache_type="q5_1x")


def test_tiny_models_get_one_thread_and_others_the_fast_cores() -> None:
    cpu = Cpu("i7-13700H", 14, 20, 6, ())
    assert thread_count(4_000_000, cpu) == 1
    assert thread_count(4_700_000_000, cpu) == 6
    assert thread_count(4_700_000_000, Cpu("odd", 1, 1, 0, ())) == 1
