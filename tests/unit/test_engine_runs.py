"""Records of runs: found again, and nothing that is damaged or foreign gets in."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from fit_machines import LAPTOP_8, RTX_4090

from localr1.engine import runs
from localr1.fit.calibration import Rates, Run
from localr1.machine.types import Kernel, Power

RUN = Run(
    machine="here",
    devices="CPU",
    family="Q4_K",
    model="r1-distill-qwen-7b",
    quantization="Q4_K_M",
    source="bench",
    at_seconds=1_700_000_000.25,
    prompt_tokens=512,
    generated_tokens=64,
    prompt=Rates(30.0, 25.0, 29.0),
    generation=None,
)


def test_records_are_found_again_in_their_order(tmp_path: Path) -> None:
    cache = tmp_path / "not made yet"
    assert runs.read(cache) == ()
    wanted = [replace(RUN, prompt_tokens=n) for n in range(5)]
    for one in wanted:
        runs.add(cache, one)
    assert runs.read(cache) == tuple(wanted)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        b'{"machine": "here"}',
        b"\xff\xfe",
        json.dumps({**asdict(RUN), "family": 4}).encode(),
        json.dumps({**asdict(RUN), "prompt_tokens": True}).encode(),
        json.dumps({**asdict(RUN), "prompt": 3}).encode(),
        json.dumps({**asdict(RUN), "more": 1}).encode(),
        json.dumps(asdict(RUN)).encode()[:-20],
    ],
)
def test_a_damaged_line_is_left_out(tmp_path: Path, line: bytes) -> None:
    runs.add(tmp_path, RUN)
    with (tmp_path / runs.RUNS_NAME).open("ab") as file:
        file.write(line + b"\n")
    runs.add(tmp_path, RUN)
    assert runs.read(tmp_path) == (RUN, RUN)


@pytest.mark.parametrize("figure", [0, -1, float("nan"), float("inf")])
def test_a_figure_that_is_no_speed_is_none(tmp_path: Path, figure: float) -> None:
    runs.add(tmp_path, replace(RUN, prompt=Rates(figure, 1.0, 1.0)))
    (found,) = runs.read(tmp_path)
    assert found.prompt is None


def test_the_file_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_TRIM_BYTES", 5000)
    monkeypatch.setattr(runs, "_KEPT_RUNS", 4)
    for n in range(60):
        runs.add(tmp_path, replace(RUN, prompt_tokens=n))
    assert (tmp_path / runs.RUNS_NAME).stat().st_size < 6000
    assert runs.read(tmp_path)[-1].prompt_tokens == 59


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    runs.add(file, RUN)
    assert runs.read(file) == ()


def test_the_key_is_the_processors_and_the_builds() -> None:
    key = runs.machine_key(LAPTOP_8)
    more = replace(LAPTOP_8.memory, total_bytes=2 * LAPTOP_8.memory.total_bytes)
    same = replace(LAPTOP_8, memory=more, devices=RTX_4090.devices, power=Power(True, 3.0))
    assert runs.machine_key(same) == key
    for other in (
        replace(LAPTOP_8, cpu=replace(LAPTOP_8.cpu, name="another")),
        replace(LAPTOP_8, cpu=replace(LAPTOP_8.cpu, performance_cores=3)),
        replace(LAPTOP_8, engine=replace(LAPTOP_8.engine, version="0.3.37")),
        replace(LAPTOP_8, engine=replace(LAPTOP_8.engine, system_info="AVX512 = 1")),
        # What an estimate is made from: without kernels it is another one.
        replace(LAPTOP_8, engine=replace(LAPTOP_8.engine, kernels=(Kernel("Q4_K", 1.0, 1.0),))),
    ):
        assert runs.machine_key(other) != key
