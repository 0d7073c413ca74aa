"""A card that lies idle: said at the top, explained and mended with one key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Static
from tui_scene import MACHINE, FrozenServices, a_chat, in_chat, offline_home, until

from localr1.errors import BuildFailed
from localr1.install import mend
from localr1.install.installer import Progress
from localr1.install.types import Build
from localr1.machine.types import Machine
from localr1.tui.app import LocalR1App
from localr1.tui.screens.fix import Fix
from localr1.tui.screens.welcome import Welcome

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
        assert "Nothing is wrong" in text_of(pilot, ".state")
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
