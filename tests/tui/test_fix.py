"""A card that lies idle: said at the top, explained and mended with one key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Static
from tui_scene import MACHINE, FrozenServices, a_chat, in_chat, offline_home, until

from localr1 import workflow
from localr1.chat.types import ThinkingDelta
from localr1.config import Quiet
from localr1.errors import BuildFailed
from localr1.install import mend
from localr1.install.installer import Progress
from localr1.install.types import Build
from localr1.machine.types import EngineInfo, Machine, Power
from localr1.tui.app import LocalR1App
from localr1.tui.live import Live
from localr1.tui.screens.fix import Fix
from localr1.tui.screens.welcome import Welcome
from localr1.tui.services import Services
from localr1.tui.talk import Talk
from localr1.tui.widgets.machine_panel import MachinePanel, machine_lines
from localr1.tui.widgets.status_line import Status, StatusLine

CPU, CARD = MACHINE.devices
IDLE = replace(
    MACHINE,
    devices=(
        CPU,
        replace(
            CARD,
            name=CARD.description,
            backend="",
            usable_by_engine=False,
            reason="llama.cpp was built without GPU support",
        ),
    ),
    engine=replace(MACHINE.engine, backends=("CPU",), compiled=("CPU",)),
)


def services_of(machine: Machine) -> FrozenServices:
    services = FrozenServices(offline_home(), idle=True)
    services.machine = machine
    return services


def text_of(pilot: Pilot[None], selector: str) -> str:
    found = pilot.app.screen.query(selector).results(Static)
    return " ".join(" ".join(str(one.render()).split()) for one in found)


async def at_idle(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, Welcome))
    await until(pilot, lambda: bool(text_of(pilot, "#idle")))


async def test_a_card_that_lies_idle_is_said_at_the_top() -> None:
    app = LocalR1App(offline_home(), services=services_of(IDLE))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_idle(pilot)
        text = text_of(pilot, "#idle")
        assert text.startswith(
            "NVIDIA GeForce RTX 4070 12.0 GiB is not used: the engine is a CPU build. F6 to fix"
        )
        # What would run then stands beside it.
        assert "then: DeepSeek-R1" in text
        assert pilot.app.screen.query_one("#idle").display


async def test_nothing_is_said_where_the_card_is_used() -> None:
    app = LocalR1App(offline_home(), services=services_of(MACHINE))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.runner.machine is not None)
        await pilot.pause(0.2)
        assert not pilot.app.screen.query_one("#idle").display


async def test_under_a_profile_the_engine_here_is_left_alone() -> None:
    services = services_of(IDLE)
    services.home = replace(services.home, profile=IDLE)
    app = LocalR1App(offline_home(), services=services)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: app.runner.machine is not None)
        await pilot.press("f6")
        await until(pilot, lambda: bool(app._notifications))
        (said,) = app._notifications
        assert "mended without --profile" in said.message
        assert not isinstance(app.screen, Fix)
        assert not app.screen.query_one("#idle").display
        assert app.screen.query_one(MachinePanel).border_title == "The profile's machine"


async def test_f6_explains_and_mends_and_the_line_goes() -> None:
    services = services_of(IDLE)
    go_on = asyncio.Event()

    async def mending(on_event: Callable[[mend.Event], None]) -> mend.Mended:
        on_event(mend.Stage("Getting it."))
        on_event(Progress("compiling", 0.25, 61.0))
        await go_on.wait()
        services.machine = MACHINE
        (build,) = shown[:1]
        return mend.Mended(build, MACHINE.engine, "CUDA0")

    services.mending = mending
    shown: list[Build] = []
    app = LocalR1App(offline_home(), services=services)
    async with app.run_test(size=(100, 40)) as pilot:
        await at_idle(pilot)
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, Fix))
        screen = app.screen
        assert isinstance(screen, Fix)
        shown.extend(screen._builds)
        command = text_of(pilot, ".command")
        assert "whl/cu124" in command
        assert "nvidia-cublas-cu12" in command
        assert "a minute or two" in text_of(pilot, ".state")
        await pilot.press("enter")
        await until(pilot, lambda: "compiling" in text_of(pilot, ".state"))
        assert screen.has_class("-running")
        go_on.set()
        await until(pilot, lambda: "ran on CUDA0" in text_of(pilot, ".state"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        await until(pilot, lambda: not app.screen.query_one("#idle").display)


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_build_that_fails_or_is_stopped_changes_nothing(stopped: bool) -> None:
    services = services_of(IDLE)
    ended = asyncio.Event()

    async def mending(on_event: Callable[[mend.Event], None]) -> mend.Mended:
        on_event(mend.Stage("Getting it."))
        if not stopped:
            raise BuildFailed("The engine was not built.", "nvcc fatal", "The log has it.")
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()
        raise AssertionError

    services.mending = mending
    app = LocalR1App(offline_home(), services=services)
    async with app.run_test(size=(100, 40)) as pilot:
        await at_idle(pilot)
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, Fix))
        await pilot.press("enter")
        wanted = "Getting it." if stopped else "nvcc fatal"
        await until(pilot, lambda: wanted in text_of(pilot, ".state"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        if stopped:
            await until(pilot, ended.is_set)
        assert app.screen.query_one("#idle").display


async def test_f6_without_trouble_says_so() -> None:
    app = LocalR1App(offline_home(), services=services_of(MACHINE))
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: app.runner.machine is not None)
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, Fix))
        await until(pilot, lambda: "Nothing is wrong" in text_of(pilot, ".state"))
        assert app.screen.check_action("start", ()) is False


async def test_the_chat_says_it_once() -> None:
    app = await a_chat()
    services = app.services
    assert isinstance(services, FrozenServices)
    services.machine = IDLE
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: in_chat(app) and bool(app._notifications))
        told = [one.message for one in app._notifications]
        assert len([text for text in told if "is not used" in text]) == 1
        await app.runner.examine()
        await pilot.pause(0.1)
        told = [one.message for one in app._notifications]
        assert len([text for text in told if "is not used" in text]) == 1


def test_a_battery_is_shown_while_it_is_used() -> None:
    def words(power: Power) -> str:
        return "\n".join(str(line) for line in machine_lines(replace(MACHINE, power=power), 80))

    assert "on battery · 41 % · drawing 12 W" in words(Power(True, 41.0, 12.4))
    assert "on battery" in words(Power(True, None))
    assert "battery ·" not in words(Power(False, 80.0))


@pytest.mark.parametrize(
    ("quiet", "on_battery", "half"),
    [
        ("never", True, False),
        ("battery", True, True),
        ("battery", False, False),
        ("always", False, True),
    ],
)
def test_quiet_halves_the_threads(quiet: Quiet, on_battery: bool, half: bool) -> None:
    home = offline_home()
    home = replace(home, preferences=replace(home.preferences, quiet=quiet))
    machine = replace(MACHINE, power=Power(on_battery, 50.0))
    (local,) = [one for one in workflow.local_models(home) if one.model.demo]
    big = replace(local, size_bytes=4 << 30)
    loud = workflow.plan_for(offline_home(), machine, big).settings
    plan = workflow.plan_for(home, machine, big).settings
    assert plan.threads == (max(1, loud.threads // 2) if half else loud.threads)
    assert plan.ubatch == (128 if half else loud.ubatch)


async def test_an_engine_left_half_replaced_is_put_right_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = replace(MACHINE, engine=EngineInfo("", (), (), problem="No module named 'llama_cpp'"))
    answers = [broken, MACHINE, broken, broken]
    repaired = [True, False]

    async def examine(_home: object) -> Machine:
        return answers.pop(0)

    monkeypatch.setattr(workflow, "examine", examine)
    monkeypatch.setattr(mend, "repair", lambda: repaired.pop(0))
    services = Services(offline_home())
    assert await services.examine() == MACHINE
    assert await services.examine() == broken
    assert answers == [broken]


def test_a_computer_that_slows_down_is_said_once() -> None:
    class Line:
        status = Status()
        screen = SimpleNamespace(refresh_bindings=lambda: None)

        def __init__(self) -> None:
            self.told: list[str] = []

        def notify(self, text: str, **_options: object) -> None:
            self.told.append(text)

    line = Line()
    live = Live(cast("StatusLine", line), cast("Talk", SimpleNamespace(session=None)))
    tokens = 0
    for second in range(240):
        tokens += 12 if second < 60 else 5
        live.follow(ThinkingDelta("word ", tokens, float(second)))
    assert len(line.told) == 1
    assert "from 12 to" in line.told[0]
    assert "quiet" in line.told[0]
