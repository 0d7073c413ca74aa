"""The advice: memory bars, what if, details, every key; ranked by the real advisor."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input
from tui_scene import (
    ADVICE,
    GIB,
    MACHINE,
    QWEN_7B,
    QWEN_14B,
    FrozenServices,
    a_chat,
    a_plan,
    at_advice,
    chat_of,
    in_chat,
    offline_home,
    texts,
    until,
)

from localr1 import workflow
from localr1.config import Goal
from localr1.engine import runs
from localr1.fit.calibration import Rates, Run
from localr1.fit.types import NOTHING, Advice, Asked, FullR1, Plan
from localr1.machine.types import Machine
from localr1.models.types import LocalModel
from localr1.tui.app import LocalR1App
from localr1.tui.ranking import Ranker
from localr1.tui.scenario import FIELDS, Scenario
from localr1.tui.screens.chat import Chat
from localr1.tui.screens.plan_detail import PlanDetail
from localr1.tui.screens.type_value import TypeValue
from localr1.tui.screens.welcome import Welcome
from localr1.tui.services import Services
from localr1.tui.widgets.advice_list import AdviceList
from localr1.tui.widgets.what_if import WhatIf

EVIL = "[bold]not bold[/] [@click=app.quit]x[/] \x1b[31mred\x1b]0;title\x07 \u202egnol"


def small_home() -> workflow.Home:
    """The real catalogue, cut to what is ranked in no time."""
    home = offline_home()
    ids = ("r1-distill-qwen-1.5b", "r1-distill-qwen-14b", "r1-distill-llama-70b", "demo")
    models = [home.catalogue.model(name) for name in ids]
    few = tuple(replace(model, variants=model.variants[::4]) for model in models)
    return replace(home, catalogue=replace(home.catalogue, models=few))


class RealAdvice(FrozenServices):
    """A frozen machine, advised for real."""

    async def advise(self, machine: Machine, goal: Goal, asked: Asked = NOTHING) -> Advice:
        return await Services.advise(self, machine, goal, asked)

    async def plan_for(self, machine: Machine, local: LocalModel, asked: Asked = NOTHING) -> Plan:
        return await Services.plan_for(self, machine, local, asked)


class Asking(FrozenServices):
    """Remembers what was asked of the plans that were loaded."""

    loaded: tuple[Asked, ...] = ()

    async def plan_for(self, machine: Machine, local: LocalModel, asked: Asked = NOTHING) -> Plan:
        self.loaded += (asked,)
        return await super().plan_for(machine, local, asked)


def app_of(services: FrozenServices) -> LocalR1App:
    return LocalR1App(services.home, services=services)


def frozen(advice: Advice = ADVICE) -> LocalR1App:
    return app_of(FrozenServices(offline_home(), advice=advice))


def welcome_of(app: LocalR1App) -> Welcome:
    screen = app.screen
    assert isinstance(screen, Welcome)
    return screen


def shows(app: LocalR1App, kind: type[Screen[Any]]) -> bool:
    return isinstance(app.screen, kind)


def listed(app: LocalR1App) -> list[tuple[str, str]]:
    rows = app.screen.query_one(AdviceList)._rows
    return [(row.model.id, row.variant.quantization) for row in rows]


def scenario_of(app: LocalR1App) -> Scenario:
    return welcome_of(app)._scenario


async def ranked(app: LocalR1App, pilot: Pilot[None]) -> None:
    """The list is for what is asked for."""
    await until(pilot, lambda: at_advice(app) and welcome_of(app)._current)
    await pilot.pause()


async def to_row(pilot: Pilot[None], field: str) -> None:
    if not pilot.app.screen.query_one(WhatIf).has_focus:
        await pilot.press("w")
    await pilot.press(*["up"] * len(FIELDS), *["down"] * FIELDS.index(field))


async def test_the_list_is_ranked_again_as_the_user_moves_and_says_for_what() -> None:
    home = small_home()
    app = app_of(RealAdvice(home))
    async with app.run_test(size=(120, 40)) as pilot:
        await ranked(app, pilot)
        before = listed(app)
        await to_row(pilot, "gpu")
        await pilot.press(*["right"] * 12)
        assert scenario_of(app).gpu == "RTX 5090"
        await ranked(app, pilot)
        there = scenario_of(app).on(MACHINE)
        best = workflow.advise(home, there, goal="balanced").best
        assert best is not None
        row = app.screen.query_one(AdviceList).highlighted
        assert row is not None
        assert row.plan == best
        assert listed(app) != before
        assert "what if: RTX 5090" in texts(app, "#ranking")
        assert "not this machine" in texts(app, "#machine")
        assert "not this machine" in texts(app, "#what-if")
        assert "not this machine" in texts(app, "#detail")
        # Another goal, context and KV cache count as well.
        await to_row(pilot, "context_window")
        await pilot.press(*["right"] * 5)
        await to_row(pilot, "kv_cache_type")
        await pilot.press("right", "right")
        await to_row(pilot, "goal")
        await pilot.press("right")
        scenario = Scenario("fast", 32768, "q8_0", gpu="RTX 5090")
        assert scenario_of(app) == scenario
        await ranked(app, pilot)
        advice = workflow.advise(home, there, goal="fast", asked=scenario.asked)
        detail = welcome_of(app)._ranked
        assert detail is not None
        assert detail.advice == advice
        await pilot.press("escape", "t")
        assert scenario_of(app) == scenario.here()
        await ranked(app, pilot)
        assert "not this machine" not in texts(app, "Welcome")


async def test_nothing_is_loaded_on_a_machine_that_is_not_there() -> None:
    app = frozen()
    async with app.run_test(size=(80, 24)) as pilot:
        await ranked(app, pilot)
        assert not welcome_of(app).check_action("this_machine", ())
        await to_row(pilot, "ram_bytes")
        await pilot.press("right", "escape")
        await ranked(app, pilot)
        assert not welcome_of(app).check_action("examine", ())
        await pilot.press("end", "enter")
        await until(pilot, lambda: app._notifications)
        assert shows(app, Welcome)
        assert "t goes back to this machine" in next(iter(app._notifications)).message
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, PlanDetail))
        await pilot.press("enter")
        await pilot.pause()
        assert shows(app, PlanDetail)
        await pilot.press("escape", "t")
        await ranked(app, pilot)
        await pilot.press("end", "enter")
        await until(pilot, lambda: in_chat(app))
        assert chat_of(app).local.model.demo


async def test_what_is_asked_of_this_machine_is_how_the_model_is_loaded() -> None:
    services = Asking(offline_home(), idle=True)
    app = app_of(services)
    asked = Asked(8192, "q8_0")
    async with app.run_test(size=(80, 24)) as pilot:
        await ranked(app, pilot)
        await to_row(pilot, "context_window")
        await pilot.press("right", "right", "right")
        await to_row(pilot, "kv_cache_type")
        await pilot.press("right", "right", "escape")
        await ranked(app, pilot)
        await pilot.press("end", "enter")
        await until(pilot, lambda: in_chat(app))
        assert services.loaded[-1] == asked
        engine = services.engines[-1]
        # The same again changes nothing; another context loads the model again.
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        await ranked(app, pilot)
        assert scenario_of(app).asked == asked
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app))
        assert engine.alive
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        await ranked(app, pilot)
        await to_row(pilot, "context_window")
        await pilot.press("left", "escape")
        await ranked(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app))
        assert services.loaded[-1] == Asked(4096, "q8_0")
        assert [one.alive for one in services.engines] == [False, True]


async def test_the_chat_reaches_the_advice_by_key_and_by_palette_and_comes_back() -> None:
    app = await a_chat()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: in_chat(app))
        chat = chat_of(app)
        chat.composer.load("half a question")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        await ranked(app, pilot)
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert {"What if (W)", "Details (D or Space)", "All (A)", "Goal (G)"} <= set(titles)
        assert "This machine (T)" not in titles
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is chat)
        assert chat.composer.text == "half a question"
        commands = list(app.get_system_commands(app.screen))
        models = next(command for command in commands if command.title.startswith("Models"))
        app.call_later(models.callback)
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is chat)


async def test_memory_that_the_loaded_model_holds_counts_as_free() -> None:
    app = await a_chat()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: in_chat(app))
        held = app.runner.running
        assert held is not None
        plan = replace(held.plan.devices[0], name="CPU", mapped_bytes=GIB, weights_bytes=3 * GIB)
        app.runner.running = replace(held, plan=replace(held.plan, devices=(plan,)))
        machine = await app.runner.examine()
        freed = machine.memory.available_bytes - MACHINE.memory.available_bytes
        assert freed == plan.total_bytes - GIB


async def test_details_tell_everything_and_take_the_plan() -> None:
    full = FullR1(ADVICE.plans[3], 0, 20 * GIB, 120 * GIB, ADVICE.plans[0], "R1 would crawl here")
    local = LocalModel(QWEN_14B, QWEN_14B.variants[0], offline_home().directories.models / "x", 1)
    services = FrozenServices(offline_home(), advice=replace(ADVICE, full_r1=full), idle=True)

    async def here() -> tuple[LocalModel, ...]:
        return (local,)

    services.local_models = here  # type: ignore[method-assign]
    app = app_of(services)
    async with app.run_test(size=(120, 60)) as pilot:
        await ranked(app, pilot)
        assert "R1 would crawl here" in texts(app, "#full")
        await pilot.press("space")
        await until(pilot, lambda: isinstance(app.screen, PlanDetail))
        await pilot.pause()
        told = texts(app, "VerticalScroll")
        for part in (
            "40 to 65 s*",  # a typical question
            "3 to 4 min*",  # a hard one
            "2,000 (assumed*) for a typical question",
            "█ weights",
            "Runs entirely on CUDA0",
            "R1 would crawl here",
            "KV cache f16",
            "owner/model-GGUF",
        ):
            assert part in told, part
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, PlanDetail))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Chat))
        assert chat_of(app).local == local


async def test_the_app_says_how_good_its_predictions_were() -> None:
    home = offline_home()
    key = runs.machine_key(MACHINE)
    for measured in (9.0, 10.0, 12.5):
        rates = Rates(measured, 10.0, 10.0)
        run = Run(
            machine=key,
            devices="CPU",
            family="Q4_K",
            model="r1-distill-qwen-7b",
            quantization="Q4_K_M",
            source="chat",
            at_seconds=0.0,
            prompt_tokens=100,
            generated_tokens=1000,
            prompt=None,
            generation=rates,
        )
        runs.add(home.directories.cache, run)
    app = frozen()
    async with app.run_test(size=(80, 24)) as pilot:
        await ranked(app, pilot)
        await pilot.press("home")
        words = "Last 3 runs here: median error 10 %."
        await until(pilot, lambda: words in texts(app, "#detail"))
        await pilot.press("d")
        await until(pilot, lambda: shows(app, PlanDetail))
        await pilot.pause()
        assert words in texts(app, "VerticalScroll")
        await pilot.press("escape")
        await to_row(pilot, "ram_bytes")
        await pilot.press("right")
        await ranked(app, pilot)
        assert words not in texts(app, "#detail")


async def test_the_full_r1_is_told_on_its_row_where_room_is_short() -> None:
    full = FullR1(ADVICE.plans[3], 0, 20 * GIB, 120 * GIB, ADVICE.plans[0], "R1 would crawl here")
    giant = replace(ADVICE.plans[3].model.architecture, parameters=671_000_000_000)
    r1 = replace(ADVICE.plans[3], model=replace(ADVICE.plans[3].model, architecture=giant))
    app = frozen(replace(ADVICE, plans=(*ADVICE.plans[:3], r1), full_r1=full))
    async with app.run_test(size=(80, 24)) as pilot:
        await ranked(app, pilot)
        assert "crawl" not in texts(app, "Welcome")
        await pilot.press("home", "down", "down")
        await until(pilot, lambda: "R1 would crawl here" in texts(app, "#detail"))
        assert "Would fit if the computer has 120 GiB more" in texts(app, "#detail")


async def test_a_value_of_ones_own_is_typed_and_what_is_wrong_is_told_there() -> None:
    app = frozen()
    async with app.run_test(size=(80, 24)) as pilot:
        await ranked(app, pilot)
        await to_row(pilot, "gpu")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TypeValue))
        app.screen.query_one(Input).value = "RTX 4O90 [bold]"
        await pilot.press("enter")
        await until(pilot, lambda: "Names like it" in texts(app, ".problem"))
        assert "[bold]" in texts(app, ".problem")
        app.screen.query_one(Input).value = "RTX 4090 x2"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        assert scenario_of(app).gpu == "RTX 4090 x2"
        await ranked(app, pilot)
        assert "2 × RTX 4090" in texts(app, "#ranking")
        await pilot.press("enter", "escape")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        assert scenario_of(app).gpu == "RTX 4090 x2"
        # Only what can be typed offers it.
        await to_row(pilot, "kv_cache_type")
        await pilot.press("enter")
        await pilot.pause()
        assert shows(app, Welcome)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_mouse_changes_values_too(size: tuple[int, int]) -> None:
    app = frozen()
    async with app.run_test(size=size) as pilot:
        await ranked(app, pilot)
        if size[0] < 110:
            assert not app.screen.query_one(WhatIf).display
            await pilot.press("w")
        panel = app.screen.query_one(WhatIf)
        lines = [str(line) for line in texts(app, "#what-if").split("\n")]
        row = next(number for number, line in enumerate(lines) if "Memory" in line)
        left, right = lines[row].index("◂"), lines[row].index("▸")
        await pilot.click(panel, Offset(right, row))
        await until(pilot, lambda: scenario_of(app).ram_bytes == 32 * GIB)
        await pilot.click(panel, Offset(left, row))
        await until(pilot, lambda: scenario_of(app).ram_bytes is None)
        await pilot.click(panel, Offset(left - 8, row - 1))
        assert panel.field == "kv_cache_type"
        assert scenario_of(app) == Scenario()


async def test_w_opens_the_panel_and_closes_it_again() -> None:
    app = frozen()
    async with app.run_test(size=(80, 24)) as pilot:
        await ranked(app, pilot)
        await pilot.press("w")
        await pilot.pause()
        assert "Context" in texts(app, "#what-if")
        assert not welcome_of(app).check_action("toggle_all", ())
        await pilot.press("w")
        await pilot.pause()
        assert "llama.cpp" in texts(app, "#machine")
        few = len(listed(app))
        await pilot.press("a")
        assert len(listed(app)) == few + 1
        await pilot.press("r")
        await ranked(app, pilot)
        assert len(listed(app)) == few + 1


async def test_the_cursor_stays_with_the_model_that_the_user_looks_at() -> None:
    app = app_of(RealAdvice(small_home()))
    async with app.run_test(size=(120, 40)) as pilot:
        await ranked(app, pilot)
        await pilot.press("home", "down", "down")
        row = app.screen.query_one(AdviceList).highlighted
        assert row is not None
        await pilot.press("g")
        await ranked(app, pilot)
        now = app.screen.query_one(AdviceList).highlighted
        assert now is not None
        assert now.model.id == row.model.id


async def test_hostile_text_is_only_text() -> None:
    model = replace(QWEN_7B, name=f"Model {EVIL}", notes=(EVIL,), license=EVIL)
    odd = replace(model.variants[0], repository=f"owner/{EVIL}", quantization=f"Q4 {EVIL}")
    plans = (
        replace(a_plan(model, odd, 30, f"Needs; {EVIL}", EVIL), would_fit_if=(EVIL,)),
        a_plan(model, model.variants[1], 30, EVIL, EVIL, fits=False),
    )
    full = FullR1(plans[1], 0, 0, 0, None, EVIL)
    app = frozen(Advice("balanced", plans, full))
    async with app.run_test(size=(160, 60)) as pilot:
        await ranked(app, pilot)
        await pilot.press("a")
        for key in ("home", "down"):
            await pilot.press(key)
            await pilot.pause()
            assert "[bold]not bold[/]" in texts(app, "#detail")
            await pilot.press("d")
            await until(pilot, lambda: isinstance(app.screen, PlanDetail))
            await pilot.pause()
            told = texts(app, "VerticalScroll")
            assert told.count("[bold]not bold[/]") >= 3
            assert "\x1b" not in told
            assert "\u202e" not in told
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, Welcome))


@pytest.mark.parametrize("size", [(60, 24), (44, 16)])
async def test_bars_and_panel_are_there_in_little_room(size: tuple[int, int]) -> None:
    app = frozen()
    async with app.run_test(size=size) as pilot:
        await ranked(app, pilot)
        await pilot.press("w")
        await pilot.pause()
        assert "Graphics" in texts(app, "#what-if")
        await pilot.press("escape", "d")
        await until(pilot, lambda: isinstance(app.screen, PlanDetail))
        for _ in range(6):
            if "····" in texts(app, "VerticalScroll"):
                break
            await pilot.press("pagedown")
            await pilot.pause()
        assert "····" in texts(app, "VerticalScroll")


# The ranker


class Counting(FrozenServices):
    """Advises slowly, and knows how many times and how many at once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(offline_home(), **options)
        self.asked_for: list[Goal] = []
        self.running = 0
        self.most = 0

    async def advise(self, machine: Machine, goal: Goal, asked: Asked = NOTHING) -> Advice:
        self.asked_for.append(goal)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.05)
        self.running -= 1
        return await super().advise(machine, goal, asked)


async def test_of_many_wishes_the_last_is_ranked_and_never_two_at_once() -> None:
    services = Counting()
    ranker = Ranker(services)
    wishes = [Scenario("best"), Scenario("fast"), Scenario("balanced"), Scenario("fast")]
    first = asyncio.create_task(ranker.rank(MACHINE, Scenario("best"), 0.0))
    await until_asked(services)
    others = await asyncio.gather(*(ranker.rank(MACHINE, wish, 0.01) for wish in wishes))
    assert (await first) is not None
    assert others[:-1] == [None, None, None]
    assert others[-1] is not None
    assert others[-1].scenario == wishes[-1]
    assert services.asked_for == ["best", "fast"]
    assert services.most == 1


async def until_asked(services: Counting) -> None:
    deadline = time.monotonic() + 30
    while not services.asked_for:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_the_app_goes_on_while_the_advisor_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(RealAdvice(small_home()))
    begun, free = threading.Event(), threading.Event()
    advise = workflow.advise

    def slow(*arguments: Any, **options: Any) -> Advice:
        begun.set()
        assert free.wait(120)
        return advise(*arguments, **options)

    async with app.run_test(size=(120, 40)) as pilot:
        await ranked(app, pilot)
        monkeypatch.setattr(workflow, "advise", slow)
        await to_row(pilot, "ram_bytes")
        await pilot.press("right")
        await until(pilot, begun.is_set)
        # The keys work, the panel changes at once, and it is said that the list does not yet.
        await pilot.press("right", "escape", "down")
        assert scenario_of(app).ram_bytes == 48 * GIB
        await until(pilot, lambda: "ranking…" in texts(app, "#ranking"))
        await pilot.press("enter")
        await pilot.pause()
        assert shows(app, Welcome)
        free.set()
        await ranked(app, pilot)
        assert "ranking…" not in texts(app, "#ranking")
