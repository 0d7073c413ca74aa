"""The screens before the chat, with a fixed machine; the download is real, over loopback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from loopback_hub import Fault, LoopbackHub
from textual.widgets import Static
from tui_scene import (
    ADVICE,
    FrozenServices,
    a_plan,
    a_variant,
    at_advice,
    chat_of,
    in_chat,
    offline_home,
    texts,
    until,
)

from localr1.errors import LoadFailed
from localr1.fit.types import Advice
from localr1.models.library import DEMO_PATH
from localr1.tui.app import LocalR1App
from localr1.tui.screens.confirm import Confirm
from localr1.tui.screens.download import Download
from localr1.tui.screens.help import Help
from localr1.tui.screens.welcome import Welcome
from localr1.tui.widgets.advice_list import AdviceList
from localr1.tui.widgets.note import ActionNote, Note
from localr1.workflow import Home, open_home

NAME = "model-Q4_K_M.gguf"


def small_model_home(hub: LoopbackHub) -> tuple[Home, Advice]:
    """A home whose only model is the demo's file under another name, on the loopback hub."""
    content = DEMO_PATH.read_bytes()
    hub.add("owner/model-GGUF", {NAME: content})
    home = open_home()
    demo = home.catalogue.model("demo")
    variant = replace(a_variant("Q4_K_M", 1), size_bytes=len(content))
    model = replace(demo, id="r1-small", name="DeepSeek-R1-Small", demo=False, variants=(variant,))
    catalogue = replace(home.catalogue, models=(model, demo))
    advice = Advice("balanced", (a_plan(model, variant, 500, "Needs little", needs_gib=0.2),))
    return replace(home, catalogue=catalogue), advice


def parts_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def advice_list(app: LocalR1App) -> AdviceList:
    return app.screen.query_one(AdviceList)


async def test_the_first_frame_is_there_before_anything_is_detected() -> None:
    app = LocalR1App(offline_home(), services=FrozenServices(offline_home()))
    async with app.run_test(size=(80, 24)):
        assert app.screen_stack[0].query_one("#splash", Static).is_attached


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 24), (44, 16)])
async def test_advice_is_readable_at_every_size(size: tuple[int, int]) -> None:
    app = LocalR1App(offline_home(), services=FrozenServices(offline_home()))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.pause()
        shown = texts(app, "AdviceList OptionList")
        assert "R1-Distill-Qwen-14B" in shown
        assert "40–65 s*" in shown
        assert ("9.8 GiB" in shown) is (size[0] >= 60)


async def test_offline_with_nothing_here_the_demo_is_offered_plainly() -> None:
    app = LocalR1App(offline_home(), services=FrozenServices(offline_home()))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: at_advice(app))
        row = advice_list(app).highlighted
        assert row is not None
        assert row.model.demo
        await pilot.pause()
        assert "only adds, subtracts and compares numbers" in " ".join(texts(app, "#offer").split())
        await pilot.press("home", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Welcome)


async def test_a_key_shows_every_variant() -> None:
    app = LocalR1App(offline_home(), services=FrozenServices(offline_home()))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: at_advice(app))
        few = len(advice_list(app)._rows)
        await pilot.press("a")
        assert len(advice_list(app)._rows) == few + 1
        await pilot.press("g")
        await until(pilot, lambda: "fast answers first" in texts(app, "#ranking"))


async def test_what_does_not_fit_is_asked_about_first() -> None:
    home = open_home()
    app = LocalR1App(
        home, services=FrozenServices(home, advice=Advice("balanced", ADVICE.plans[3:]))
    )
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: at_advice(app))
        assert "No R1 fits this machine" in texts(app, "#offer")
        await pilot.press("home", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "lacks 109 GiB" in texts(app, ".consequence")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Welcome))


async def test_a_download_ends_in_the_chat(hub: LoopbackHub) -> None:
    home, advice = small_model_home(hub)
    app = LocalR1App(home, services=FrozenServices(home, advice=advice))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.pause()
        assert "127.0.0.1" in texts(app, "#detail")
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app))
        assert chat_of(app)._talk.local.path.read_bytes() == DEMO_PATH.read_bytes()
        assert "R1-Small" in texts(app, "#status")


async def test_a_cancelled_download_is_kept_and_goes_on(hub: LoopbackHub) -> None:
    home, advice = small_model_home(hub)
    hub.inject(Fault("stall", after_bytes=100_000, seconds=30, times=8))
    app = LocalR1App(home, services=FrozenServices(home, advice=advice))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Download))
        await until(pilot, lambda: "%" in texts(app, ".figures"))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen.query(Note))
        await pilot.pause()
        assert "What is here stays on the disk" in texts(app, "Note")
        assert parts_in(home.directories.models)
        hub.clear_faults()
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app))


async def test_a_failed_download_says_what_why_and_what_to_do(hub: LoopbackHub) -> None:
    home, advice = small_model_home(hub)
    hub.inject(Fault("status", host="hub", status=404, times=50))
    app = LocalR1App(home, services=FrozenServices(home, advice=advice))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.query(Note))
        note = app.screen.query_one(Note)
        assert note.what
        assert note.todo
        await pilot.press("d")
        await until(pilot, lambda: in_chat(app))
        assert chat_of(app)._talk.local.model.demo


@pytest.mark.parametrize("size", [(60, 24), (60, 16)])
async def test_the_next_step_after_a_failed_download_is_in_view_in_little_room(
    hub: LoopbackHub, size: tuple[int, int]
) -> None:
    home, advice = small_model_home(hub)
    hub.inject(Fault("status", host="hub", status=404, times=50))
    app = LocalR1App(home, services=FrozenServices(home, advice=advice))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.query(Note))
        step = "Or press d: the demo needs no download."
        await until(pilot, lambda: step in " ".join(texts(app, "Note .todo").split()), 10)


@pytest.mark.parametrize("connected", [True, False])
async def test_without_a_connection_that_is_said_and_the_demo_is_offered(connected: bool) -> None:
    home = open_home()
    services = FrozenServices(home, connected=connected)
    app = LocalR1App(home, services=services)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.pause()
        row = advice_list(app).highlighted
        assert row is not None
        assert row.model.demo is not connected
        said = "No connection, and no R1 is on this disk" in " ".join(texts(app, "#offer").split())
        assert said is not connected


async def test_a_load_that_fails_gives_the_message_back_and_offers_another_try() -> None:
    home = offline_home()
    services = FrozenServices(home, load_error=LoadFailed("It cannot be loaded.", "broken", "Try."))
    local = (await services.local_models())[-1]
    services.last = local
    app = LocalR1App(home, services=services)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query(ActionNote))
        await pilot.pause()
        assert "broken" in texts(app, "ActionNote")
        chat = chat_of(app)
        chat.composer.focus()
        chat.composer.load("my question")
        await pilot.press("enter")
        await until(pilot, lambda: chat.composer.text == "my question")
        services.load_error = None
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        assert not chat.query(ActionNote)


async def test_help_and_palette_are_made_from_the_commands() -> None:
    app = LocalR1App(offline_home(), services=FrozenServices(offline_home()))
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "All (A)" in titles
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, Help))
        await pilot.pause()
        assert "Show every quantization" in texts(app, ".help")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
