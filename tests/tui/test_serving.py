"""The app serves the model that it has loaded: one engine, by turns, until it is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from test_snapshots import chat_app, to_chat
from textual.pilot import Pilot
from tui_scene import ask, chat_of, first_run, hold_still, texts, until

from localr1.tui.app import LocalR1App
from localr1.tui.screens.serve import Serve
from localr1.tui.widgets.note import Note
from localr1.tui.widgets.reply import Reply


async def begin(app: LocalR1App, pilot: Pilot[None]) -> None:
    await pilot.press("f10")
    await until(pilot, lambda: isinstance(app.screen, Serve))
    assert "Enter begins" in texts(app, "Serve Static")
    await pilot.press("enter")
    await until(pilot, lambda: app.serving.running)
    await until(pilot, lambda: app.serving.key in texts(app, "Serve Static"))
    assert app.serving.address in texts(app, "Serve Static")


def client(app: LocalR1App) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=app.serving.address, api_key=app.serving.key, max_retries=0)


async def status(address: str, **headers: str) -> int:
    """Of a request for the models; 0 where nobody answers."""
    async with httpx2.AsyncClient() as plain:
        try:
            return (await plain.get(f"{address}/models", headers=headers)).status_code
        except httpx2.ConnectError:
            return 0


async def asked(program: openai.AsyncOpenAI, text: str, **more: Any) -> str:
    reply = await program.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": text}], temperature=0, **more
    )
    return reply.choices[0].message.content or ""


async def test_a_program_and_the_chat_get_their_answers_from_one_engine() -> None:
    async with first_run() as (app, pilot):
        assert "936" in (await ask(app, pilot, "What is 347 + 589?")).answer_text
        running = app.runner.running
        assert running is not None
        await begin(app, pilot)
        await pilot.press("escape")
        await until(pilot, lambda: f":{app.serving.port}" in texts(app, "StatusLine"))
        async with client(app) as program:
            programs = [asyncio.create_task(asked(program, f"{n} + 30")) for n in range(12, 24)]
            reply = await ask(app, pilot, "What is 20 + 22?")
            assert "42" in reply.answer_text
            answers = await asyncio.gather(*programs)
            assert answers == [f"{n} + 30 = {n + 30}" for n in range(12, 24)]
            # The conversation goes on, though others have had the engine meanwhile.
            assert "15" in (await ask(app, pilot, "What is 7 + 8?")).answer_text
            address = app.serving.address
            bearer = f"Bearer {app.serving.key}"
            assert await status(address) == 401
            assert await status(address, Authorization=bearer) == 200
            assert await status(address, Authorization=bearer, Host="evil.example") == 403
        assert app.runner.running is running
        await pilot.press("f10")
        await until(pilot, lambda: isinstance(app.screen, Serve))
        await pilot.press("enter")
        await until(pilot, lambda: not app.serving.running)
        assert running.engine.alive
        assert await status(address) == 0
        await pilot.press("escape")
        await until(pilot, lambda: "served" not in texts(app, "StatusLine"))


async def test_the_chat_says_that_it_waits_and_can_leave_the_line() -> None:
    async with first_run() as (app, pilot):
        await begin(app, pilot)
        await pilot.press("escape")
        chat = chat_of(app)
        await until(pilot, lambda: chat._talk.ready)
        async with client(app) as program:
            # Enough of them that one is always in work.
            programs = [
                asyncio.create_task(asked(program, "1 + 1", extra_body={"user": str(n)}))
                for n in range(100)
            ]
            await until(pilot, lambda: app.serving.busy)
            chat.composer.load("What is 2 + 2?")
            await pilot.press("enter")
            await until(pilot, lambda: bool(app.screen.query(Note)))
            assert "another program" in texts(app, "Note")
            await pilot.press("escape")
            await until(pilot, lambda: bool(chat.query(Reply)) and chat._idle.is_set())
            assert set(await asyncio.gather(*programs)) == {"1 + 1 = 2"}


async def test_quitting_ends_it() -> None:
    async with first_run() as (app, pilot):
        await begin(app, pilot)
        address = app.serving.address
        await pilot.press("escape")
        await pilot.press("ctrl+q")
    assert not app.serving.running
    assert await status(address) == 0


async def test_the_palette_has_it() -> None:
    async with first_run() as (app, _):
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "Serve this model (F10)" in titles


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_what_serving_means_is_said_before_it_begins(
    snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    app = chat_app()

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        await pilot.press("f10")
        await until(pilot, lambda: isinstance(app.screen, Serve))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)
