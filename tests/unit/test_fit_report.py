"""JSON objects with exactly the promised keys, table rows, and how numbers are written."""

from __future__ import annotations

import json

import pytest
from fit_machines import LAPTOP_8, RTX_3060, TWO_3090, catalogue, model, variant

from localr1.fit.advisor import advise
from localr1.fit.explain import duration, gib, needs_of_free, tps
from localr1.fit.placement import place
from localr1.fit.report import advice_to_json, estimate_to_json, plan_to_json, summary
from localr1.fit.types import Interval
from localr1.machine.profile import to_json

DEVICE = {
    "name",
    "weights_bytes",
    "repack_bytes",
    "mapped_bytes",
    "kv_cache_bytes",
    "compute_buffer_bytes",
    "output_bytes",
    "overhead_bytes",
    "total_bytes",
    "resident_bytes",
}
ESTIMATE = {
    "schema",
    "model",
    "variant",
    "context_window",
    "kv_cache_type",
    "gpu_layers",
    "flash_attention",
    "ubatch",
    "exact",
    "cpu_expert_layers",
    "tensor_split",
    "devices",
    "total_bytes",
    "resident_bytes",
    "prompt_tps",
    "generation_tps",
    "time_to_answer_seconds",
}
PLAN = {
    "model",
    "variant",
    "rank",
    "fits",
    "context_window",
    "kv_cache_type",
    "gpu_layers",
    "cpu_expert_layers",
    "tensor_split",
    "flash_attention",
    "ubatch",
    "devices",
    "total_bytes",
    "resident_bytes",
    "file_bytes",
    "generation_tps",
    "time_to_answer_seconds",
    "reasons",
    "would_fit_if",
}
ADDED = {"fits", "upper_bound", "tensors", "reasons", "would_fit_if", "prompt_tps"}
# "Every number" of a plan: what it was ranked by, and where it runs.
RANKED = {"device_names", "quality", "points_lost", "score"}
INTERVAL = {"low", "expected", "high"}
GIB = 1 << 30


def test_estimate_has_the_keys_of_the_contract() -> None:
    plan = place(model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M"), RTX_3060)
    data = json.loads(json.dumps(estimate_to_json(plan)))
    assert set(data) - ADDED == ESTIMATE - ADDED
    assert set(data) >= ESTIMATE
    assert data["schema"] == 1
    assert data["model"] == "r1-distill-qwen-7b"
    assert data["exact"] is False
    assert set(data["prompt_tps"]) == set(data["generation_tps"]) == INTERVAL
    times = data["time_to_answer_seconds"]
    assert {"typical", "hard", "long_document"} <= set(times)
    assert all(set(times[kind]) == INTERVAL for kind in ("typical", "hard", "long_document"))
    assert (times["assumed"], times["hard_assumed"]) == (True, True)
    assert times["thinking_tokens"]["hard"] > times["thinking_tokens"]["typical"] > 0
    assert [device["name"] for device in data["devices"]] == ["CPU", "CUDA0"]
    for device in data["devices"]:
        assert set(device) == DEVICE
        parts = ("weights", "kv_cache", "compute_buffer", "output", "overhead")
        assert device["total_bytes"] == sum(device[f"{part}_bytes"] for part in parts)
        assert device["resident_bytes"] == device["total_bytes"] - device["mapped_bytes"]
    assert data["total_bytes"] == sum(device["total_bytes"] for device in data["devices"])
    exact = estimate_to_json(plan, exact=True)
    assert exact["exact"] is True
    assert exact["upper_bound"] is False


def test_advice_has_the_keys_of_the_contract() -> None:
    known = catalogue()
    advice = advise(TWO_3090, known.models, quantization_loss=known.quantization_loss)
    data = json.loads(json.dumps(advice_to_json(advice, to_json(TWO_3090))))
    assert set(data) == {"schema", "machine", "goal", "plans", "full_r1"}
    assert data["goal"] == "best"
    assert data["machine"]["memory"]["total_bytes"] == TWO_3090.memory.total_bytes
    assert [plan["rank"] for plan in data["plans"]] == list(range(1, len(advice.plans) + 1))
    for plan in data["plans"]:
        assert set(plan) >= PLAN
        assert set(plan) - PLAN <= ADDED | RANKED
        assert all(isinstance(line, str) for line in plan["reasons"] + plan["would_fit_if"])
    assert plan_to_json(advice.plans[0], 1) == data["plans"][0]


def test_a_row_says_it_in_short() -> None:
    plan = place(model("r1-distill-qwen-7b"), variant("r1-distill-qwen-7b", "Q4_K_M"), LAPTOP_8)
    row = summary(plan, LAPTOP_8, 3)
    assert row.rank == 3
    assert row.model == "DeepSeek-R1-Distill-Qwen-7B"
    assert row.quantization == "Q4_K_M"
    assert not row.fits
    assert row.needs == needs_of_free(plan, LAPTOP_8)
    assert row.needs.endswith("of 4.6 GiB free")
    assert row.need_bytes == plan.total_bytes
    assert row.reason == plan.reasons[0]


def test_several_memories_are_named() -> None:
    plan = place(model("r1-distill-qwen-32b"), variant("r1-distill-qwen-32b", "Q4_K_M"), RTX_3060)
    words = needs_of_free(plan, RTX_3060)
    assert "of 11.2 GiB free on CUDA0 and " in words
    assert words.endswith("of 25.0 GiB free in main memory")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (7.4, "7 s"),
        (41, "40 s"),
        (59.9, "1 min"),
        (65, "1 min 5 s"),
        (160, "2 min 40 s"),
        (178, "3 min"),
        (1500, "25 min"),
        (4800, "1 h 20 min"),
        (7199, "2 h"),
        (86400, "a day"),
        (200_000, "2 days"),
    ],
)
def test_times_are_written_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 MiB"),
        (50 << 20, "50 MiB"),
        (GIB // 2, "0.5 GiB"),
        (int(5.94 * GIB), "5.9 GiB"),
        (1249 * GIB, "1,249.0 GiB"),
    ],
)
def test_sizes_are_binary_with_one_decimal(size: int, words: str) -> None:
    assert gib(size) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (118.4, "118 tokens/s"),
        (11.2, "11 tokens/s"),
        (3.26, "3.3 tokens/s"),
        (0.2, "0.20 tokens/s"),
    ],
)
def test_speeds_have_as_many_digits_as_they_deserve(value: float, words: str) -> None:
    assert tps(Interval(0, value, 2 * value)) == words
