"""What recorded runs make of an estimate: close where they agree, unmoved by what disturbed one."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from fit_machines import RTX_4090, model
from hypothesis import given
from hypothesis import strategies as st

from localr1.fit import calibration
from localr1.fit.calibration import Rates, Run, correction, corrections, record_line
from localr1.fit.types import Interval, Settings

HERE = "this computer"


def run(
    ratio: float,
    *,
    prompt: float | None = None,
    family: str = "Q4_K",
    devices: str = "CPU",
    said: float = 10.0,
) -> Run:
    """A run that was `ratio` times as fast as estimated."""
    return Run(
        machine=HERE,
        devices=devices,
        family=family,
        model="r1-distill-qwen-7b",
        quantization="Q4_K_M",
        source="chat",
        at_seconds=1e9,
        prompt_tokens=100,
        generated_tokens=1000,
        prompt=None if prompt is None else Rates(100 * prompt, 100.0, 100.0),
        generation=Rates(10 * ratio, 10.0, said),
    )


def known(*runs: Run, family: str = "Q4_K", devices: str = "CPU") -> Interval | None:
    found = corrections(runs, HERE, on_battery=False)
    return correction(found, devices, family, "generation")


def test_without_runs_nothing_is_corrected() -> None:
    assert corrections((), HERE, on_battery=False) == ()
    assert known() is None
    assert known(run(0.8), devices="RTX 4090") is None


def test_a_few_runs_that_agree_are_believed() -> None:
    found = known(*[run(0.8)] * 5)
    assert found is not None
    assert found.expected == pytest.approx(0.8, rel=0.03)
    assert found.low < 0.8 < found.high
    assert found.high / found.low < 1.4


def test_one_run_is_believed_less_than_many() -> None:
    one, many = known(run(0.7)), known(*[run(0.7)] * 12)
    assert one is not None
    assert many is not None
    assert 0.7 < many.expected < one.expected < 1
    assert one.high / one.low > 1.15 * many.high / many.low


def test_an_outlier_moves_next_to_nothing() -> None:
    calm = [run(1.3 + 0.01 * (n % 3)) for n in range(11)]
    without, found = known(*calm), known(*calm, run(0.05))
    assert without is not None
    assert found is not None
    assert found.expected == pytest.approx(without.expected, rel=0.02)


def test_runs_that_disagree_leave_a_wide_interval() -> None:
    agree = known(*[run(1.0)] * 8)
    differ = known(*[run(ratio) for ratio in (0.6, 1.7, 0.7, 1.5, 0.5, 1.6, 0.8, 1.4)])
    assert agree is not None
    assert differ is not None
    assert differ.high / differ.low > 2 * agree.high / agree.low


@pytest.mark.parametrize(
    "other",
    [
        replace(run(3.0), machine="another computer"),
        replace(run(3.0), busy_share=0.5),
        replace(run(3.0), on_battery=True),
        replace(run(3.0), version=calibration.ESTIMATE_VERSION - 1),
        replace(run(3.0), generation=None),
        run(3.0, devices="RTX 4090"),
    ],
)
def test_what_says_nothing_of_this_computer_does_not_count(other: Run) -> None:
    runs = [run(0.8)] * 5
    assert known(*runs, *[other] * 9) == known(*runs)


def test_on_battery_only_runs_on_battery_count() -> None:
    runs = [run(0.9), replace(run(0.4), on_battery=True)]
    found = corrections(runs, HERE, on_battery=True)
    there = correction(found, "CPU", "Q4_K", "generation")
    assert there is not None
    assert there.expected < 0.7


def test_a_family_that_never_ran_learns_from_the_others() -> None:
    runs = [run(0.8)] * 6
    other = known(*runs, family="Q8_0")
    assert other is not None
    assert other.expected == pytest.approx(0.8, rel=0.05)
    own = known(*runs, *[run(1.2, family="Q8_0")] * 6, family="Q8_0")
    assert own is not None
    assert own.expected == pytest.approx(1.2, rel=0.08)


def test_old_runs_are_forgotten() -> None:
    found = known(*[run(0.5)] * 100, *[run(1.0)] * calibration.KEPT_RUNS)
    assert found is not None
    assert found.expected == pytest.approx(1.0, rel=0.02)


def test_prompts_have_a_correction_of_their_own() -> None:
    found = corrections([run(1.0, prompt=2.0)] * 5, HERE, on_battery=False)
    prompt = correction(found, "CPU", "Q4_K", "prompt")
    generation = correction(found, "CPU", "Q4_K", "generation")
    assert prompt is not None
    assert generation is not None
    assert prompt.expected == pytest.approx(2.0, rel=0.1)
    assert generation.expected == pytest.approx(1.0)


def test_nine_in_ten_of_the_next_runs_lie_within() -> None:
    pick = random.Random(3)
    inside = total = 0
    for _ in range(200):
        true, noise = math.exp(pick.gauss(0, 0.3)), pick.uniform(0.02, 0.12)
        ratios = [true * math.exp(pick.gauss(0, noise)) for _ in range(11)]
        found = known(*[run(ratio) for ratio in ratios[:10]])
        assert found is not None
        inside += found.low < ratios[10] < found.high
        total += 1
    assert 0.82 < inside / total <= 1


@given(
    ratios=st.lists(st.floats(0.01, 100), min_size=1, max_size=30),
    families=st.lists(st.sampled_from(["Q4_K", "Q8_0", "IQ3_S"]), min_size=30, max_size=30),
)
def test_intervals_are_in_order_and_between_what_was_seen(
    ratios: list[float], families: list[str]
) -> None:
    runs = [run(ratio, family=name) for ratio, name in zip(ratios, families, strict=False)]
    for one in corrections(runs, HERE, on_battery=False):
        assert 0 < one.low < one.expected < one.high < math.inf
        assert min(*ratios, 1) * 0.999 <= one.expected <= max(*ratios, 1) * 1.001


def test_the_record_is_told() -> None:
    assert record_line((), HERE) == ""
    wrong = run(1.0, said=10.6)  # 94.3 s were said for 100
    assert record_line([wrong], HERE) == "The last run here: error 6 %."
    runs = [*[run(1.0, said=5.0)] * 30, *[wrong] * 7, *[run(1.0)] * 5]
    assert record_line(runs, HERE) == "Last 12 runs here: median error 6 %."
    assert record_line([replace(wrong, busy_share=0.9)], HERE) == ""
    assert record_line([replace(wrong, machine="another")], HERE) == ""


def test_the_error_is_that_of_the_whole_time() -> None:
    # 1 s for the prompt and 100 s for the reply, where 2 and 100 were said.
    one = replace(run(1.0), prompt=Rates(100.0, 50.0, 50.0))
    assert one.error == pytest.approx(1 / 101)
    assert replace(one, prompt=None).error == 0
    assert replace(one, prompt=None, generation=None).error is None


def test_what_computes_has_a_name() -> None:
    shape = model("r1-distill-qwen-7b").architecture
    (gpu,) = RTX_4090.gpus

    def key(**changes: Any) -> str:
        return calibration.devices_key(RTX_4090, replace(Settings(4096), **changes), shape)

    assert key() == "CPU"
    assert key(gpu_layers=29) == "CPU"
    assert key(gpu_layers=29, device_names=("CUDA0",)) == gpu.description
    assert key(gpu_layers=10, device_names=("CUDA0",)) == f"{gpu.description} + CPU"
