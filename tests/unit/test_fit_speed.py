"""Predicted speeds against measured ones, and rules for all inputs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from fit_machines import (
    ARM,
    AVX512,
    GIB,
    LAPTOP_16,
    RTX_4090,
    SERVER_512,
    cuda,
    machine,
    metal,
    model,
    variant,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from localr1.fit.mix import Mix, repacked_types
from localr1.fit.placement import place
from localr1.fit.speed import Speed, predict, time_to_answer, typical_depth
from localr1.fit.types import Interval, Settings
from localr1.fit.weights import spread
from localr1.machine.types import Correction, Device, Kernel, Machine
from localr1.models.types import Model


def _card(name: str, bandwidth_gb: float, vendor: str = "nvidia") -> Machine:
    card = cuda(0, name, 80, 80, bandwidth_gb)
    if vendor != "nvidia":
        card = replace(card, vendor=vendor, backend="ROCm", description=name)
    return machine(128, 120, card, bandwidth_gb=50)


def _apple(name: str, bandwidth_gb: float) -> Machine:
    return machine(64, 60, metal(name, 60, 60, bandwidth_gb), features=ARM)


def _speed(where: Machine, model_id: str, quantization: str = "Q4_K_M") -> Speed:
    one, file = model(model_id), variant(model_id, quantization)
    plan = place(one, file, where, context_window=4096)
    weights = spread(one.architecture, file.size_bytes, quantization)
    return predict(Mix(quantization, one.architecture), weights, plan.settings, where)


# User reports of generation with Q4_K_M and a short context. Left out: cards whose bandwidth
# is not certain, and 1.5B on a GTX 1050 Ti (launch-bound: 39 tokens/s).
MEASURED: list[tuple[Machine, dict[str, float]]] = [
    (_card("RTX 3090", 936), {"r1-distill-qwen-7b": 119.8, "r1-distill-qwen-14b": 66.0}),
    (_card("RTX 3080", 912), {"r1-distill-qwen-7b": 144, "r1-distill-llama-8b": 134}),
    (_card("RTX 5070", 672), {"r1-distill-qwen-7b": 110.9, "r1-distill-qwen-14b": 56.4}),
    (_card("RTX 2080", 448), {"r1-distill-qwen-7b": 77.2, "r1-distill-llama-8b": 71.7}),
    (_card("RTX 5090", 1792), {"r1-0528-qwen3-8b": 227}),
    (
        _card("RX 7900 XT", 800, "amd"),
        {"r1-distill-qwen-7b": 122.5, "r1-0528-qwen3-8b": 110.6, "r1-distill-qwen-32b": 30.9},
    ),
    (_card("RX 7800 XT", 624, "amd"), {"r1-0528-qwen3-8b": 101.1, "r1-distill-qwen-14b": 56.0}),
    (_apple("M4 Pro", 273), {"r1-distill-qwen-7b": 49.6, "r1-distill-qwen-14b": 25.7}),
    (_apple("M1 Max", 400), {"r1-distill-qwen-7b": 48.7, "r1-distill-qwen-32b": 9.0}),
    # Ryzen AI 9 HX 370 without its GPU: nominal 120 GB/s, of which about 100 are read.
    (
        machine(32, 28, cores=12, features=AVX512, bandwidth_gb=100),
        {
            "r1-distill-qwen-1.5b": 65.2,
            "r1-distill-qwen-7b": 17.3,
            "r1-distill-llama-8b": 16.7,
            "r1-distill-qwen-14b": 9.2,
            "r1-distill-qwen-32b": 4.2,
        },
    ),
    # Two cores of an EPYC, measured with our own engine and bandwidth probe.
    (
        machine(24, 17, cores=2, features=AVX512, bandwidth_gb=46.7),
        {"r1-distill-qwen-1.5b": 36},
    ),
]


@pytest.mark.parametrize(
    ("where", "model_id", "measured"),
    [(where, model_id, tps) for where, speeds in MEASURED for model_id, tps in speeds.items()],
)
def test_interval_holds_what_was_measured(where: Machine, model_id: str, measured: float) -> None:
    predicted = _speed(where, model_id).generation_tps(256)
    assert predicted.low < measured < predicted.high
    assert predicted.expected == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize(
    ("where", "model_id", "measured"),
    [
        # pp512, from the same reports.
        (_card("RX 7800 XT", 624, "amd"), "r1-0528-qwen3-8b", 1855),
        (_card("RX 7800 XT", 624, "amd"), "r1-distill-qwen-14b", 1050),
        (
            machine(32, 28, cores=12, features=AVX512, bandwidth_gb=100),
            "r1-distill-qwen-7b",
            49,
        ),
        (
            machine(32, 28, cores=12, features=AVX512, bandwidth_gb=100),
            "r1-distill-qwen-1.5b",
            227,
        ),
    ],
)
def test_prompt_interval_holds_what_was_measured(
    where: Machine, model_id: str, measured: float
) -> None:
    predicted = _speed(where, model_id).prompt_tps()
    assert predicted.low < measured < predicted.high


# Our own engine on an H100, docs/benchmarks.md: generation at about depth 512 and deeper, and
# 4,096 tokens of prompt.
H100 = _card("H100 80GB HBM3", 3352)
ON_H100 = [
    ("r1-distill-qwen-1.5b", 512, 517.8),
    ("r1-distill-qwen-7b", 512, 259.8),
    ("r1-distill-qwen-32b", 512, 75.0),
    ("r1-distill-qwen-1.5b", 8000, 434.7),
    ("r1-distill-qwen-7b", 8000, 236.0),
    ("r1-distill-qwen-32b", 2000, 71.6),
]


@pytest.mark.parametrize(("model_id", "depth", "measured"), ON_H100)
def test_small_and_large_models_on_a_fast_gpu(model_id: str, depth: int, measured: float) -> None:
    predicted = _speed(H100, model_id).generation_tps(depth)
    assert predicted.expected == pytest.approx(measured, rel=0.06)
    assert predicted.low < measured < predicted.high


@pytest.mark.parametrize(
    ("model_id", "measured"),
    [
        ("r1-distill-qwen-1.5b", 27_300),
        ("r1-distill-qwen-7b", 9_760),
        ("r1-distill-qwen-32b", 2_385),
    ],
)
def test_prompts_on_a_fast_gpu(model_id: str, measured: float) -> None:
    predicted = _speed(H100, model_id).prompt_tps(4096)
    assert predicted.low < measured < predicted.high
    assert predicted.expected == pytest.approx(measured, rel=0.35)


def test_a_gpu_and_the_processor_are_a_sum() -> None:
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")
    where = _card("RTX 3090", 936)
    weights = spread(one.architecture, file.size_bytes, file.quantization)
    mix = Mix(file.quantization, one.architecture)

    def seconds(gpu_layers: int) -> float:
        names = ("CUDA0",) if gpu_layers else ()
        placed = Settings(4096, gpu_layers=gpu_layers, device_names=names)
        return predict(mix, weights, placed, where).token_seconds(512).expected

    none, half, whole = (seconds(n) for n in (0, 14, 29))
    # What a layer costs on either side; the output goes with the first to the GPU.
    assert whole < half < none
    assert half - whole == pytest.approx(sum(_layer_seconds(where, 0, 15, on_gpu=False)), rel=0.2)


def _layer_seconds(where: Machine, start: int, stop: int, *, on_gpu: bool) -> list[float]:
    rate = 936e9 * 0.82 if on_gpu else (where.memory.bandwidth_bytes_per_second or 0) * 0.75
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")
    weights = spread(one.architecture, file.size_bytes, file.quantization)
    return [weights.layers[n].dense_bytes / rate for n in range(start, stop)]


# Of one core.
KERNELS = (
    Kernel("Q4_K", 28e9, 235e9),
    Kernel("Q6_K", 29e9, 340e9),
    Kernel("Q8_0", 29e9, 145e9),
    Kernel("attention F16", 25e9, 72e9),
)


def _with_kernels(where: Machine) -> Machine:
    return replace(where, engine=replace(where.engine, kernels=KERNELS))


def test_measured_kernels_count_by_type() -> None:
    where = _with_kernels(machine(32, 28, cores=2, features=AVX512, bandwidth_gb=100))
    four, eight = (_speed(where, "r1-distill-qwen-7b", q) for q in ("Q4_K_M", "Q8_0"))
    assert four.known
    # 6.53 billion parameters in layers, of which 0.98 are Q6_K in Q4_K_M.
    computing = 2 * 6.53e9 / (2 * 145e9)
    assert eight.prompt_tps().expected == pytest.approx(1 / computing, rel=0.05)
    computing = 2 * (5.55e9 / (2 * 235e9) + 0.98e9 / (2 * 340e9))
    assert four.prompt_tps().expected == pytest.approx(1 / computing, rel=0.05)
    # 56 and 58 GB/s of kernels, where memory gives 100.
    reading = 3.12e9 / 48.9e9 + 1.25e9 / 50.2e9
    assert four.generation_tps(0).expected == pytest.approx(1 / reading, rel=0.07)
    assert eight.generation_tps(0).expected == pytest.approx(50.2e9 / 7.52e9, rel=0.07)
    slow = _with_kernels(machine(32, 28, cores=2, features=AVX512, bandwidth_gb=20))
    assert _speed(slow, "r1-distill-qwen-7b").generation_tps(0).expected < 20e9 / 4.37e9


def test_depth_costs_what_attention_takes() -> None:
    where = _with_kernels(machine(32, 28, cores=2, features=AVX512, bandwidth_gb=100))
    speed = _speed(where, "r1-distill-qwen-7b")
    deep = speed.token_seconds(4096).expected - speed.token_seconds(0).expected
    # 28 layers of 28 heads attend to 128 + 128 numbers of each token.
    flops = 2 * 28 * 28 * 256
    assert deep == pytest.approx(flops * 4096 / (2 * 25e9), rel=0.01)
    long, short = (1 / speed.prompt_tps(n).expected for n in (4096, 512))
    assert long - short == pytest.approx(flops * (4096 - 512) / 2 / (2 * 72e9), rel=0.01)
    after = 1 / speed.prompt_tps(512, depth=2000).expected
    assert after - short == pytest.approx(flops * 2000 / (2 * 72e9), rel=0.01)


def test_a_type_that_was_not_timed_is_estimated_like_before() -> None:
    plain = machine(32, 28, cores=2, features=AVX512, bandwidth_gb=47)
    model_id = "r1-distill-qwen-7b"
    assert _speed(_with_kernels(plain), model_id, "Q2_K") == _speed(plain, model_id, "Q2_K")


def test_runs_correct_what_is_said_and_narrow_it() -> None:
    plain = machine(32, 28, cores=2, features=AVX512, bandwidth_gb=47)
    told = replace(
        plain,
        corrections=(
            Correction("CPU", "Q4_K", "generation", 0.75, 0.8, 0.85, runs=9),
            Correction("CPU", "", "prompt", 1.8, 2.0, 2.2, runs=9),
        ),
    )
    before, after = (_speed(one, "r1-distill-qwen-7b") for one in (plain, told))
    said, corrected = before.generation_tps(700), after.generation_tps(700)
    assert corrected.expected == pytest.approx(0.8 * said.expected)
    assert corrected.low == pytest.approx(0.75 * said.expected)
    assert corrected.high == pytest.approx(0.85 * said.expected)
    assert after.prompt_tps().expected == pytest.approx(2 * before.prompt_tps().expected)
    other = _speed(told, "r1-distill-qwen-7b", "Q8_0")
    assert other.generation_tps(700) == _speed(plain, "r1-distill-qwen-7b", "Q8_0").generation_tps(
        700
    )


def test_a_window_that_thinking_does_not_fit_into_is_said() -> None:
    long, short = model("r1-0528-qwen3-8b"), model("r1-distill-qwen-7b")
    speed = _speed(RTX_4090, "r1-distill-qwen-7b")

    def cut(one: Model, window: int) -> tuple[bool, bool]:
        times = time_to_answer(one, speed, window)
        return times.typical_cut_short, times.hard_cut_short

    assert long.thinking_tokens.hard == 23_000
    assert cut(long, 16384) == (False, True)
    assert cut(long, 24576) == (False, False)
    assert cut(long, 2048) == (True, True)
    assert cut(short, 16384) == (False, False)
    assert cut(short, 8192) == (False, True)


def test_an_assumed_length_of_thinking_doubles_the_interval() -> None:
    one = model("r1-671b")
    assert one.thinking_tokens.is_assumed(hard=False)
    assert not one.thinking_tokens.is_assumed(hard=True)
    speed = _speed(RTX_4090, "r1-distill-qwen-7b")
    times = time_to_answer(one, speed, 65536)
    sure = replace(one, thinking_tokens=replace(one.thinking_tokens, assumed=False))
    known = time_to_answer(sure, speed, 65536)
    assert times.assumed
    assert not times.hard_assumed
    assert times.hard == known.hard
    assert times.typical.expected == known.typical.expected
    wide, narrow = times.typical, known.typical
    assert math.log(wide.high / wide.low) == pytest.approx(2 * math.log(narrow.high / narrow.low))


@settings(deadline=None)
@given(depth=st.integers(0, 131072), more=st.integers(1, 10000))
def test_generation_slows_down_with_depth(depth: int, more: int) -> None:
    speed = _speed(RTX_4090, "r1-distill-qwen-14b")
    shallow, deep = speed.generation_tps(depth), speed.generation_tps(depth + more)
    assert deep.expected < shallow.expected
    for tps in (shallow, deep, speed.prompt_tps()):
        assert 0 < tps.low <= tps.expected <= tps.high


@settings(deadline=None)
@given(prompt=st.integers(1, 6000), tokens=st.integers(1, 20000))
def test_time_to_answer_is_the_sum_over_its_tokens(prompt: int, tokens: int) -> None:
    speed = _speed(LAPTOP_16, "r1-distill-qwen-7b")
    whole = speed.answer_seconds(prompt, tokens).expected
    middle = 1 / speed.generation_tps(prompt + tokens // 2).expected
    assert whole == pytest.approx(prompt / speed.prompt_tps(prompt).expected + tokens * middle)


def test_experts_are_read_by_share() -> None:
    one, file = model("r1-0528-671b"), variant("r1-0528-671b", "Q4_K_M")
    weights = spread(one.architecture, file.size_bytes, file.quantization)
    speed = predict(
        Mix(file.quantization, one.architecture),
        weights,
        Settings(context_window=4096),
        SERVER_512,
    )
    read = sum(part.weights_bytes for part in speed.reads)
    # 37 of 671 billion parameters for a token, all of them for a large batch.
    assert 18 * GIB < read < 26 * GIB
    assert sum(p.all_weights_bytes for p in speed.reads) > 370 * GIB


def test_slow_types_gain_nothing_on_a_small_cpu() -> None:
    phone = machine(16, 12, cores=6, features=ARM, bandwidth_gb=80)
    small = _speed(phone, "r1-distill-qwen-1.5b", "IQ2_M").generation_tps(256)
    usual = _speed(phone, "r1-distill-qwen-1.5b", "Q4_K_M").generation_tps(256)
    # A Snapdragon 8 Elite: 15 against 38 tokens/s.
    assert small.expected < usual.expected


def test_unknown_bandwidth_widens_the_interval() -> None:
    known = _speed(_card("RTX 4060", 272), "r1-distill-qwen-7b")
    unknown_card: Device = cuda(0, "RTX 4060 Laptop GPU", 80, 80, None)
    unknown = _speed(machine(128, 120, unknown_card), "r1-distill-qwen-7b")
    assert known.known
    assert not unknown.known
    wide, narrow = unknown.generation_tps(256), known.generation_tps(256)
    assert wide.high / wide.low > 3 * narrow.high / narrow.low


def test_reading_pages_from_disk_is_slow() -> None:
    one, file = model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M")
    weights = spread(one.architecture, file.size_bytes, "Q4_K_M", repacked_types(("AVX2",)))
    settings = Settings(context_window=4096)
    mix = Mix("Q4_K_M", one.architecture)
    inside = predict(mix, weights, settings, LAPTOP_16).generation_tps(100)
    paging = predict(mix, weights, settings, LAPTOP_16, 2 * GIB).generation_tps(100)
    assert paging.expected < inside.expected / 3


def test_an_answer_ends_where_the_context_does() -> None:
    one = model("r1-0528-qwen3-8b")
    speed = _speed(RTX_4090, "r1-0528-qwen3-8b")
    short, long = (time_to_answer(one, speed, n) for n in (4096, 65536))
    assert short.typical == long.typical
    assert short.hard.expected < long.hard.expected
    assert short.long_document.expected < long.long_document.expected
    assert isinstance(short.hard, Interval)
    assert typical_depth(one) > typical_depth(model("demo"))
