"""A card that lies idle, in the advice of the command line: what runs now and what would after it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from commands import Run
from tui_scene import MACHINE

from localr1.cli import advise
from localr1.install import look
from localr1.install.types import Bench, Place, Tools
from localr1.machine.types import Machine

CPU, CARD = MACHINE.devices
UNUSED = replace(
    CARD,
    name=CARD.description,
    backend="",
    usable_by_engine=False,
    reason="llama.cpp was built without GPU support",
)
IDLE = replace(
    MACHINE,
    devices=(CPU, UNUSED),
    engine=replace(MACHINE.engine, backends=("CPU",), compiled=("CPU",)),
)
BENCH = Bench(Place("Linux", "x86_64", (3, 12), "/v/bin/python", "pip"), Tools())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer with an RTX 4070 and an engine for the processor alone."""
    monkeypatch.setattr(advise, "machine_for", lambda _arguments, _home: IDLE)
    monkeypatch.setattr(look, "bench", lambda: BENCH)


@pytest.mark.usefixtures("here")
def test_the_advice_says_what_would_run_after_the_fix(run: Run) -> None:
    code, out, _ = run("advise")
    text = " ".join(out.split())
    assert code == 0
    assert "RTX 4070 12.0 GiB is not used: the engine is a CPU build." in text
    assert "localr1 doctor --fix mends that." in text
    assert "After the fix: DeepSeek-R1" in text


@pytest.mark.usefixtures("here")
def test_for_programs_both_are_there_and_the_second_is_faster(run: Run) -> None:
    told = json.loads(run("advise", "--json", "--goal", "fast")[1])
    after = told["after_fix"]
    assert told["idle_gpu"].startswith("NVIDIA GeForce RTX 4070")
    assert after["gpu_layers"] > 0
    now = next(
        plan
        for plan in told["plans"]
        if (plan["model"], plan["variant"]) == (after["model"], after["variant"])
    )
    assert now["gpu_layers"] == 0
    assert after["generation_tps"]["expected"] > now["generation_tps"]["expected"]


def test_another_machine_and_one_without_idle_cards_say_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine: list[Machine] = [MACHINE]
    monkeypatch.setattr(advise, "machine_for", lambda _arguments, _home: machine[0])
    assert "is not used" not in run("advise")[1]
    machine[0] = IDLE
    assert json.loads(run("advise", "--json", "--ram", "64G")[1])["idle_gpu"] is None
