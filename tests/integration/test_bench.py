"""`localr1 bench` on the demo: measured, printed, remembered, used."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from commands import begun
from talking import demo_engine, demo_model

from localr1 import workflow
from localr1.cli import bench
from localr1.cli.ask import choose
from localr1.engine import bench as engine_bench
from localr1.engine import experience
from localr1.engine.bench import Bench, Measurement
from localr1.fit import threads
from localr1.fit.threads import Sample, ThreadSpeed
from localr1.machine.busy import used_share

SHORT_SECONDS = 1.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short measurement on a computer that counts as idle."""
    monkeypatch.setattr(Bench.__init__, "__kwdefaults__", {"limit_seconds": SHORT_SECONDS})
    monkeypatch.setattr(bench, "used_share", lambda: 0.01)


def run(*, json_: bool = True) -> int:
    return bench.run(argparse.Namespace(model="demo", json=json_))


def remembered() -> Path:
    return workflow.open_home().directories.cache / experience.THREADS_NAME


@pytest.mark.usefixtures("quick")
def test_every_figure_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    value = json.loads(capsys.readouterr().out)
    assert value["schema"] == 1
    assert value["model"] == "demo"
    assert value["default_threads"] == 1
    assert value["remembered"] is True
    assert value["depth_tokens"] > value["prompt_tokens"] > 0
    counts = [result["threads"] for result in value["results"]]
    assert value["default_threads"] in counts
    assert value["threads"] in counts
    assert value["rounds"] >= 1
    for result in value["results"]:
        assert 1 <= len(result["samples"]) <= value["rounds"]
        for name in ("prompt_tps", "generation_tps"):
            spread = result[name]
            assert spread["low"] <= spread["median"] <= spread["high"]
    usual = next(r for r in value["results"] if r["threads"] == 1)
    assert usual["generation_tps"]["low"] > 0
    assert usual["prompt_tps"]["low"] > 0
    for spread in value["predicted"].values():
        assert 0 < spread["low"] <= spread["expected"] <= spread["high"]
    assert list(json.loads(remembered().read_text()).values()) == [value["threads"]]


@pytest.mark.usefixtures("quick")
def test_the_table_fits_80_columns_and_says_what_follows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(json_=False)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 100
    table = [line for line in lines if "tok/s" in line and "threads" in line]
    assert table
    assert len(table[0].rstrip()) <= 80
    assert "predicted" in said.out
    assert "measured" in said.out
    assert "thread" in lines[-1]
    assert "measuring" in said.err


@pytest.fixture
def two_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads are twice as fast as one, whatever the computer."""

    async def measure(
        _bench: Bench, counts: tuple[int, ...], _default: int, _show: object = None
    ) -> Measurement:
        await asyncio.sleep(0)
        speeds = [
            ThreadSpeed(count, (Sample(100, 10.0 * count), Sample(90, 9.0 * count)))
            for count in counts
        ]
        return Measurement(tuple(speeds), 2, 64, 32, 1.0)

    monkeypatch.setattr(engine_bench.Bench, "run", measure)
    monkeypatch.setattr(bench, "candidates", lambda _cpu, default: (default, 2))
    monkeypatch.setattr(bench, "used_share", lambda: 0.01)


@pytest.mark.usefixtures("two_win")
def test_a_measured_count_is_used_for_the_next_load(capsys: pytest.CaptureFixture[str]) -> None:
    home = workflow.open_home()
    local = choose(home, "demo")
    machine = asyncio.run(workflow.examine(home))
    assert workflow.plan_for(home, machine, local).settings.threads == 1
    run(json_=False)
    assert "From now on 2 threads" in capsys.readouterr().out
    # One core could not run them.
    expected = 2 if machine.cpu.logical_cores > 1 else 1
    assert workflow.plan_for(home, machine, local).settings.threads == expected


@pytest.mark.usefixtures("two_win")
def test_a_busy_computer_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "used_share", lambda: 0.63)
    run(json_=False)
    assert "Other programs used 63%" in capsys.readouterr().out
    assert not remembered().exists()


def test_how_busy_the_processor_is() -> None:
    assert 0 <= used_share(0.1) <= 1


async def test_counts_that_never_end_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_bench, "_LEAST_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(engine_bench, "_PATIENCE", 0.0)
    async with demo_engine(tmp_path) as engine:
        found = await Bench(engine, demo_model(), limit_seconds=1).run((1, 2), 1)
    one, two = found.speeds
    assert found.rounds > 1
    assert (len(one.samples), len(two.samples)) == (found.rounds, 1)
    assert threads.choose(found.speeds, 1, 60, 1000) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_leaves_nothing_behind() -> None:
    process = begun("bench", "demo")
    assert process.stderr is not None
    assert "measuring" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped" in errors
    assert out == ""
    assert not remembered().exists()
