"""The ladder: it always ends, each rung changes one thing and needs less than the one above."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from fit_machines import (
    GIB,
    LAPTOP_8,
    LAPTOP_16,
    M2_16,
    RTX_4090,
    SERVER_512_4090,
    TWO_3090,
    catalogue,
    machine,
    model,
    variant,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from localr1.fit import ladder
from localr1.fit.memory import estimate_memory
from localr1.fit.placement import place
from localr1.fit.types import Settings
from localr1.machine.types import Machine
from localr1.models.types import Model, Variant

MODELS = [m for m in catalogue().models if m.variants]
MACHINES = (LAPTOP_8, M2_16, RTX_4090, TWO_3090, SERVER_512_4090)
KNOBS = (
    "sequences",
    "ubatch",
    "context_window",
    "kv_cache_type",
    "cpu_expert_layers",
    "gpu_layers",
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Model, Variant, Settings, Machine]:
    """A model, some settings that need not be wise, and a machine that has the devices."""
    where = draw(st.sampled_from(MACHINES))
    one = draw(st.sampled_from(MODELS))
    file = draw(st.sampled_from(one.variants))
    layers = one.architecture.layers
    names = tuple(gpu.name for gpu in where.gpus) if draw(st.booleans()) else ()
    on_gpu = draw(st.integers(0, layers + 3)) if names else 0
    split = tuple(draw(st.floats(0.1, 9)) for _ in names) if len(names) > 1 else ()
    flash = draw(st.booleans())
    settings_ = Settings(
        context_window=draw(st.integers(256, 200_000)),
        kv_cache_type=draw(st.sampled_from(one.kv_cache_types)) if flash else "f16",
        gpu_layers=on_gpu,
        cpu_expert_layers=draw(st.integers(0, layers)) if on_gpu else 0,
        tensor_split=split,
        device_names=names if on_gpu else (),
        flash_attention=flash,
        ubatch=draw(st.sampled_from([64, 256, 512, 1000, 2048])),
        threads=draw(st.integers(0, 8)),
        sequences=draw(st.sampled_from([1, 1, 2, 4, 7])),
    )
    return one, file, settings_, where


def changed(before: Settings, after: Settings) -> set[str]:
    names = {f.name for f in fields(Settings) if getattr(before, f.name) != getattr(after, f.name)}
    if "gpu_layers" in names and after.gpu_layers == 0:
        # What says where the layers go goes with them.
        names -= {"device_names", "tensor_split", "cpu_expert_layers"}
    return names


def bytes_by_device(
    one: Model, file: Variant, settings_: Settings, where: Machine
) -> dict[str, int]:
    found = estimate_memory(one.architecture, file.size_bytes, file.quantization, settings_, where)
    return {device.name: device.total_bytes for device in found}


@settings(deadline=None)
@given(situation=situations())
def test_each_rung_changes_one_thing_and_says_which(
    situation: tuple[Model, Variant, Settings, Machine],
) -> None:
    one, _, start, _ = situation
    steps = ladder.rungs(start, one)
    assert len(steps) <= 45
    above = start
    for rung in steps:
        (knob,) = changed(above, rung.settings)
        assert knob in KNOBS
        assert rung.words
        assert " and " not in rung.words.replace(" and ".join(start.device_names), "")
        assert ladder.described(above, rung.settings, one) == rung.words
        above = rung.settings
    assert ladder.next_rung(above, one) is None


@settings(deadline=None)
@given(situation=situations())
def test_each_rung_needs_less_where_it_is_meant_to(
    situation: tuple[Model, Variant, Settings, Machine],
) -> None:
    one, file, start, where = situation
    # More layers than there are are no layers that a step could take away.
    assume(start.gpu_layers <= one.architecture.layers + 1)
    # No plan spreads fewer layers than there are devices.
    assume(not start.gpu_layers or start.gpu_layers > len(start.device_names))
    above = start
    for rung in ladder.rungs(start, one):
        before = bytes_by_device(one, file, above, where)
        after = bytes_by_device(one, file, rung.settings, where)
        if changed(above, rung.settings) == {"sequences"}:
            assert sum(after.values()) < sum(before.values())
        elif changed(above, rung.settings) <= {"ubatch", "context_window", "kv_cache_type"}:
            # A GPU that computes with the CPU's cache unpacks a quantized one first.
            unpacks = "kv_cache_type" in changed(above, rung.settings)
            # Where it computes for the CPU's layers too, smaller tensors may lie worse in its buffer.
            some_on_cpu = above.gpu_layers <= one.architecture.layers or above.cpu_expert_layers
            on_both = above.gpu_layers and some_on_cpu
            assert sum(after.values()) < sum(before.values()) or unpacks or on_both
            assert all(after[name] <= before[name] for name in before) or unpacks or on_both
            assert sum(after.values()) < 1.02 * sum(before.values()) or unpacks
        else:
            # The demo's layers are smaller than the buffer that copies between devices.
            gpus = [name for name in before if name != "CPU" and not one.demo]
            less = sum(after.get(name, 0) for name in gpus) < sum(before[name] for name in gpus)
            assert less or one.demo
        above = rung.settings


@settings(deadline=None)
@given(situation=situations())
def test_no_rung_harms_the_model(situation: tuple[Model, Variant, Settings, Machine]) -> None:
    one, _, start, _ = situation
    for rung in ladder.rungs(start, one):
        below = rung.settings
        if below.kv_cache_type not in {*one.kv_cache_types, start.kv_cache_type}:
            # For want of memory, and after everything else that can give way.
            assert below.kv_cache_type in one.kv_cache_reserve
            assert not below.device_names
        if not start.flash_attention:
            assert below.kv_cache_type == start.kv_cache_type
        assert below.context_window >= min(start.context_window, ladder.SMALLEST_CONTEXT)
        assert below.flash_attention == start.flash_attention
        assert (below.threads, below.draft_tokens) == (start.threads, start.draft_tokens)


def test_the_order_is_sequences_batch_context_cache_experts_layers() -> None:
    moe = replace(model("r1-671b"), kv_cache_types=("f16", "q8_0"))
    start = Settings(16384, gpu_layers=62, device_names=("CUDA0",), sequences=4)
    order: list[str] = []
    above = start
    for rung in ladder.rungs(start, moe):
        (knob,) = changed(above, rung.settings)
        if knob not in order[-1:]:
            order.append(knob)
        above = rung.settings
    assert order == [
        "sequences",
        "ubatch",
        "context_window",
        *(["kv_cache_type"] if moe.architecture.value_length % 32 == 0 else []),
        "cpu_expert_layers",
        "gpu_layers",
    ]
    assert above == Settings(4096, kv_cache_type=above.kv_cache_type, ubatch=256)


def test_a_model_that_a_quantized_cache_harms_keeps_its_own() -> None:
    on_gpu = Settings(8192, gpu_layers=29, device_names=("CUDA0",))
    *rungs, last = ladder.rungs(on_gpu, model("r1-distill-qwen-7b"))
    assert {rung.settings.kv_cache_type for rung in rungs} == {"f16"}
    assert last.settings == Settings(4096, kv_cache_type="q8_0", ubatch=256)
    assert last.words == "the KV cache is kept in q8_0 instead of f16"
    *_, before, last = ladder.rungs(Settings(8192), model("r1-distill-qwen-14b"))
    assert before.settings == Settings(4096, kv_cache_type="q8_0", ubatch=256)
    assert last.settings == Settings(4096, kv_cache_type="q4_0", ubatch=256)


def test_words_name_both_figures() -> None:
    first, second = ladder.rungs(Settings(16384), model("r1-distill-qwen-7b"))[:2]
    assert first.words == "prompts are read 256 tokens at a time instead of 512"
    assert second.words == "the context window goes from 16,384 to 8,192 tokens"
    on_gpu = Settings(4096, gpu_layers=29, device_names=("CUDA0",), ubatch=256)
    rung = ladder.next_rung(on_gpu, model("r1-distill-qwen-7b"))
    assert rung is not None
    assert rung.words == "26 of 29 layers are on CUDA0 instead of 29"


def test_a_plan_that_fits_stays_as_it_is() -> None:
    for where in (LAPTOP_16, RTX_4090, M2_16):
        plan = place(model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M"), where)
        descent = ladder.descend(plan.model, plan.variant, plan.settings, where)
        assert descent.settings == plan.settings
        assert descent.rungs == ()
        assert not descent.planned.swaps
        assert descent.planned.paged_bytes == 0


@pytest.mark.parametrize(("free_gib", "context"), [(7.0, 32768), (6.0, 16384), (4.6, 4096)])
def test_less_free_memory_takes_a_shorter_context(free_gib: float, context: int) -> None:
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")
    asked = Settings(32768)
    now = machine(15.5, free_gib)
    descent = ladder.descend(one, file, asked, now)
    assert descent.settings.context_window == context
    assert bool(descent.rungs) == (descent.settings != asked)
    assert not descent.result.swaps


def test_what_is_sure_to_swap_is_said() -> None:
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")
    descent = ladder.descend(one, file, Settings(8192), machine(15.5, 1.5))
    assert descent.result.swaps
    assert descent.result.must_stay_bytes > 2 * GIB
    # Without a repacked copy nearly all of the file may be paged, slowly.
    plain = machine(15.5, 1.5, features=())
    descent = ladder.descend(one, file, Settings(8192), plain)
    assert not descent.result.swaps
    assert descent.result.paged_bytes > 2 * GIB


def test_a_full_gpu_gives_layers_back() -> None:
    one, file = model("r1-distill-qwen-14b"), variant("r1-distill-qwen-14b", "Q4_K_M")
    plan = place(one, file, RTX_4090)
    (gpu,) = RTX_4090.gpus
    busy = replace(
        RTX_4090,
        devices=(RTX_4090.devices[0], replace(gpu, free_bytes=8 * GIB)),
    )
    descent = ladder.descend(one, file, plan.settings, busy)
    assert descent.result.lacks == ()
    assert 0 < descent.settings.gpu_layers < plan.settings.gpu_layers
    assert descent.planned.lacks[0].pool == "CUDA0"
