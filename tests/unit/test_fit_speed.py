"""Predicted speeds against measured ones, and rules for all inputs."""

from __future__ import annotations

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
from localr1.machine.types import Device, Machine


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
    assert whole == pytest.approx(prompt / speed.prompt_tps().expected + tokens * middle)


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
