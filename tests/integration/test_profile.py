"""`--profile FILE`: another computer is planned for; what runs and is measured is this one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import fit_machines
import pytest
from commands import Run

from localr1 import workflow
from localr1.cli import bench
from localr1.cli.parser import parse
from localr1.engine.bench import Bench
from localr1.engine.runs import RUNS_NAME
from localr1.errors import UsageError
from localr1.fit import placement
from localr1.machine import profile
from localr1.machine.types import EngineDevice, EngineInfo, Machine

GIB = 1 << 30
LAPTOP = fit_machines.LAPTOP_16


def written(tmp_path: Path, machine: Machine) -> str:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(profile.to_json(machine)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("command", ["advise", "machine", "ask", "chat", "bench", "serve", "pull"])
def test_it_stands_before_or_after_the_command(command: str) -> None:
    assert parse([command, "--profile", "a"]).profile == "a"
    assert parse(["--profile", "a", command]).profile == "a"
    assert parse(["--profile", "a", command, "--profile", "b"]).profile == "b"
    assert parse([command]).profile is None
    assert parse(["--profile", "a"]).profile == "a"


def test_the_plan_is_the_profiles_and_nothing_is_recorded(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, LAPTOP)
    code, out, _ = run("ask", "--model", "demo", "--profile", path, "12 + 30")
    assert (code, out) == (0, "12 + 30 = 42\n")
    home = workflow.open_home()
    assert asyncio.run(workflow.examine(replace(home, profile=LAPTOP))) is LAPTOP
    assert not (home.directories.cache / RUNS_NAME).exists()


def test_what_is_not_here_is_said_by_name(run: Run, tmp_path: Path) -> None:
    other = fit_machines.RTX_3060
    model = fit_machines.model("r1-distill-qwen-7b")
    plan = placement.place(model, fit_machines.variant(model.id, "Q4_K_M"), other)
    assert plan.settings.device_names == ("CUDA0",)
    with pytest.raises(UsageError, match="no CUDA0 in this computer"):
        workflow.check_devices(plan, LAPTOP)
    listed = EngineDevice("CUDA0", "NVIDIA GeForce RTX 3060", "gpu", 12 * GIB, 11 * GIB)
    engine = replace(other.engine, devices=(listed,))
    workflow.check_devices(plan, replace(other, engine=engine))
    code, out, errors = run(
        "ask", "--model", "demo", "--profile", written(tmp_path, other), "1 + 1"
    )
    assert (code, out) == (2, "")
    assert "llama.cpp has no CUDA0 in this computer" in errors


def test_what_is_measured_is_this_computer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench.__init__, "__kwdefaults__", {"limit_seconds": 1.0})
    monkeypatch.setattr(bench, "used_share", lambda: 0.01)
    monkeypatch.setattr(bench, "candidates", lambda _cpu, _default: (1,))
    path = written(tmp_path, LAPTOP)
    code, out, errors = run("bench", "demo", "--json", "--profile", path)
    value = json.loads(out)
    assert code == 0
    assert (value["for_profile"], value["remembered"]) == (True, False)
    assert "what is measured is this computer" in errors
    assert not (workflow.open_home().directories.cache / RUNS_NAME).exists()


def test_doctor_looks_at_the_profiles_engine(run: Run, tmp_path: Path) -> None:
    cpu, card = fit_machines.RTX_3060.devices
    idle = replace(card, backend="", usable_by_engine=False, runtime="CUDA 12.6", capability="8.6")
    there = replace(
        LAPTOP,
        operating_system="Windows 11 AMD64",
        devices=(cpu, idle),
        engine=EngineInfo("0.3.36", ("CPU",), (), "AVX2 = 1", compiled=("CPU",)),
    )
    path = written(tmp_path, there)
    code, out, errors = run("doctor", "--json", "--profile", path)
    checks = json.loads(out)["checks"]
    assert code == 1
    assert {one["name"] for one in checks} == {"engine", "gpu"}
    assert "RTX 3060 is not used" in checks[1]["what"]
    assert checks[1]["command"].startswith("python -m pip install")
    assert "/cu12" in checks[1]["command"]
    assert "the profile's computer" in errors
    code, _, errors = run("doctor", "--fix", "--profile", path)
    assert code == 2
    assert "Only the engine of this computer" in errors


@pytest.mark.parametrize("command", [("ask", "1 + 1"), ("chat", "--plain"), ("serve",)])
def test_it_does_not_go_with_a_pool(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    path = written(tmp_path, LAPTOP)
    code, _, errors = run(*command, "--pool", "10.0.0.7:50052", "--profile", path)
    assert code == 2
    assert "--pool and --profile do not go together" in errors


@pytest.mark.parametrize(
    "command", [("ask", "1 + 1"), ("bench", "demo"), ("doctor",), ("chat", "--plain"), ("machine",)]
)
def test_one_that_cannot_be_used_ends_every_command(run: Run, command: tuple[str, ...]) -> None:
    code, out, errors = run(*command, "--profile", "/no/such/file.json")
    assert (code, out) == (2, "")
    assert "/no/such/file.json cannot be read" in errors
