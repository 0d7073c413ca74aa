"""Loading in the chat: how far it is, what gave way, stopping it, and beginning anew."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest
from faults import sabotage
from textual.pilot import Pilot
from tui_scene import (
    FrozenServices,
    a_chat,
    chat_of,
    in_chat,
    offline_home,
    texts,
    until,
)

from localr1.errors import LoadFailed
from localr1.models.types import Choice
from localr1.tui.app import LocalR1App
from localr1.tui.widgets.note import RestartNote, StepNote
from localr1.tui.widgets.question import Question

AT_ONCE_SECONDS = 1.0
STEPS = (
    "Only 3.1 GiB of memory are free now: the context window goes from 16,384 to 8,192 tokens.",
    "It did not load, memory was short. Trying again: smaller batches.",
)
SLOW_LOAD = """
@on_import("llama_cpp.llama_cpp")
def slow(api):
    callback = api.llama_progress_callback

    def slow_callback(function):
        def report(*arguments):
            time.sleep(0.3)
            return function(*arguments)
        return callback(report)

    api.llama_progress_callback = slow_callback
"""


async def stop_loading(app: LocalR1App, pilot: Pilot[None]) -> None:
    """Press the key, and see that it takes effect at once."""
    began = time.monotonic()
    await pilot.press("escape")  # returns when what it does is done
    await until(pilot, lambda: app.screen.query(RestartNote))
    assert time.monotonic() - began < AT_ONCE_SECONDS


async def test_a_load_says_how_far_it_is_and_what_gave_way() -> None:
    pause = asyncio.Event()
    app = await a_chat(pause=pause, steps=STEPS)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(app.screen.query(StepNote)) == len(STEPS))
        await pilot.pause()
        assert "40%" in texts(app, "#load")
        assert "16,384 to 8,192 tokens" in " ".join(texts(app, "StepNote").split())
        pause.set()
        await until(pilot, lambda: in_chat(app))
        # The user may look at it later; the next load begins without it.
        await until(pilot, lambda: "Loading" not in texts(app, "#load"))
        assert len(app.screen.query(StepNote)) == len(STEPS)
        services = app.services
        assert isinstance(services, FrozenServices)
        services.steps = ()
        services.engines[-1].alive = False
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        assert not app.screen.query(StepNote)


@pytest.mark.parametrize("way", ["ctrl+r", "click", "send"])
async def test_a_stopped_load_says_so_and_begins_again(way: str) -> None:
    pause = asyncio.Event()
    app = await a_chat(pause=pause)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query("Composer") and chat_of(app)._loading.running)
        chat = chat_of(app)
        await stop_loading(app, pilot)
        await pilot.pause()
        assert "Loading was stopped." in texts(app, "RestartNote")
        assert "not loaded" in texts(app, "#status")
        assert not chat._load_line.display
        pause.set()
        if way == "click":
            await pilot.click("RestartNote Button")
        elif way == "send":
            chat.composer.focus()
            await pilot.press(*"hi", "enter")
        else:
            await pilot.press(way)
        await until(pilot, lambda: in_chat(app))
        assert not chat.query(RestartNote)
        assert app.focused is chat.composer
        if way == "send":
            services = app.services
            assert isinstance(services, FrozenServices)
            await until(pilot, lambda: services.engines[-1].asked)


async def test_first_the_waiting_message_comes_back_then_the_load_stops() -> None:
    app = await a_chat(pause=asyncio.Event())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query("Composer"))
        chat = chat_of(app)
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: chat.query(Question))
        await pilot.press("escape")
        await until(pilot, lambda: not chat.query(Question), AT_ONCE_SECONDS)
        assert chat.composer.text == "hello"
        assert chat._loading.running
        await pilot.press("ctrl+r")
        assert chat._loading.running
        await stop_loading(app, pilot)
        assert chat.composer.text == "hello"
        assert app.focused is chat.composer


async def test_a_load_that_fails_gives_the_waiting_message_back() -> None:
    pause = asyncio.Event()
    app = await a_chat(pause=pause, load_error=LoadFailed("It cannot be loaded.", "broken", "Try."))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query("Composer"))
        chat = chat_of(app)
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: chat.query(Question))
        pause.set()
        await until(pilot, lambda: chat.query(RestartNote))
        assert chat.composer.text == "hello"
        assert not chat.query(Question)


async def test_a_stopped_load_that_is_slow_to_go_is_waited_for_by_the_next_one_only() -> None:
    pause = asyncio.Event()
    app = await a_chat(pause=pause, cleaning_seconds=1.5)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query("Composer") and chat_of(app)._loading.running)
        await until(pilot, lambda: "40%" in texts(app, "#load"))
        began = time.monotonic()
        await stop_loading(app, pilot)
        pause.set()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        assert time.monotonic() - began >= 1.5


async def test_a_real_load_is_stopped_while_llama_cpp_reads_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = offline_home()
    app = LocalR1App(home, Choice(home.catalogue.model("demo"), None))
    path = os.environ.get("PYTHONPATH", "")
    sabotage(monkeypatch, tmp_path, SLOW_LOAD)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query("Composer"))
        shown = texts(app, "#load")
        await until(pilot, lambda: (now := texts(app, "#load")) != shown and " 0%" not in now)
        workers = psutil.Process().children()
        assert workers
        await stop_loading(app, pilot)
        assert app.screen.query("RestartNote Button")
        monkeypatch.setenv("PYTHONPATH", path)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        assert not any(worker.is_running() and worker.status() != "zombie" for worker in workers)
        running = app.runner.running
        assert running is not None
        assert [child.pid for child in psutil.Process().children()] == [running.engine.process_id]
