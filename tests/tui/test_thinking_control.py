"""Thinking that goes round in circles or has a budget, on scripted events of the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot
from textual.widgets import Button
from tui_scene import (
    FrozenServices,
    PlayedEngine,
    a_chat,
    answering,
    chat_of,
    generated,
    in_chat,
    texts,
    thinking,
    until,
)

from localr1.config import Directories
from localr1.engine import protocol
from localr1.tui.app import LocalR1App
from localr1.tui.widgets.answer import Answer
from localr1.tui.widgets.note import LoopNote
from localr1.tui.widgets.reply import Reply

LOOP = protocol.LoopNoticed(1, "cycle", 5)


def set_preference(line: str) -> None:
    """Write the settings of the next app."""
    folder = Directories.standard().settings
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text(f"{line}\n", encoding="utf-8")


@asynccontextmanager
async def asked(
    *events: protocol.Event, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[LocalR1App, Pilot[None], PlayedEngine]]:
    """The chat in the middle of a reply, after some events of the engine."""
    app = await a_chat()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: in_chat(app))
        services = app.services
        assert isinstance(services, FrozenServices)
        engine = services.engines[-1]
        await pilot.press(*"Why?", "enter")
        await until(pilot, lambda: engine.asked)
        await play(app, pilot, engine, *events)
        yield app, pilot, engine
        if chat_of(app)._talk.busy:
            await play(app, pilot, engine, generated("cancelled"))
            await until(pilot, chat_of(app)._idle.is_set)


async def play(
    app: LocalR1App, pilot: Pilot[None], engine: PlayedEngine, *events: protocol.Event
) -> None:
    """Let events arrive, and the screen show them."""
    for event in events:
        engine.events.put_nowait(event)
    await until(pilot, engine.events.empty)
    reply = chat_of(app).query(Reply).last()
    await pilot.pause(0.02)
    await reply.draw()
    await pilot.pause()


async def test_a_loop_is_told_under_the_thinking_until_the_answer_begins() -> None:
    async with asked(thinking("Wait. ", 40, 4.0), LOOP) as (app, pilot, engine):
        note = " ".join(texts(app, "LoopNote").split())
        assert "goes round in circles: the same words 5 times over" in note
        assert "Ctrl+T" in note
        assert "thinking in circles" in texts(app, "#status")
        # It is under the thinking, and nobody's typing is disturbed.
        header, loop_note = app.screen.query_one("ThinkingHeader"), app.screen.query_one(LoopNote)
        assert loop_note.region.y > header.region.y
        assert app.focused is chat_of(app).composer
        await play(app, pilot, engine, thinking("Wait. ", 60, 6.0))
        assert app.screen.query(LoopNote)
        assert "thinking in circles" in texts(app, "#status")
        await play(app, pilot, engine, answering("Because.", 3))
        assert not app.screen.query(LoopNote)
        assert "answering" in texts(app, "#status")
        await play(app, pilot, engine, generated())
        assert "Because." in texts(app, "Answer")


async def test_another_loop_changes_the_note_instead_of_adding_one() -> None:
    async with asked(thinking("Wait. ", 40, 4.0), LOOP) as (app, pilot, engine):
        await play(app, pilot, engine, protocol.LoopNoticed(1, "paragraph", 3))
        assert len(app.screen.query(LoopNote)) == 1
        assert "a paragraph came 3 times" in texts(app, "LoopNote")


@pytest.mark.parametrize("way", ["key", "click"])
async def test_the_offer_ends_the_thinking_once(way: str) -> None:
    async with asked(thinking("Wait. ", 40, 4.0), LOOP) as (app, pilot, engine):
        if way == "key":
            await pilot.press("ctrl+t")
        else:
            await pilot.click("LoopNote Button")
            await until(pilot, lambda: app.screen.query_one("LoopNote Button", Button).disabled)
            await pilot.click("LoopNote Button")
        await until(pilot, lambda: engine.thinking_ended)
        await pilot.pause()
        assert engine.thinking_ended == 1
        assert app.focused is chat_of(app).composer
        await play(app, pilot, engine, protocol.ThinkingEnded(1, "user"), answering("So.", 2))
        assert not app.screen.query(LoopNote)


@pytest.mark.parametrize("reason", ["stop", "cancelled"])
async def test_a_loop_note_never_outlives_its_reply(reason: str) -> None:
    async with asked(thinking("Wait. ", 40, 4.0), LOOP) as (app, pilot, engine):
        if reason == "cancelled":
            await pilot.press("escape")
        else:
            engine.events.put_nowait(generated())
        await until(pilot, chat_of(app)._idle.is_set)
        await pilot.pause()
        assert not app.screen.query(LoopNote)
        assert "Wait." in chat_of(app).query(Reply).last().thinking.text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("loop", "went round in circles and was ended"),
        ("budget", "reached its budget"),
        ("room", "to leave room for the answer"),
    ],
)
async def test_a_thinking_that_the_engine_ended_is_told(reason: str, words: str) -> None:
    ended = protocol.ThinkingEnded(1, reason)  # type: ignore[arg-type]
    async with asked(thinking("Hm. ", 40, 4.0), ended, answering("So.", 2)) as (app, _pilot, _):
        assert words in " ".join(texts(app, "Note").split())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('thinking_budget = "4000"', "1,830 of 4,000 tokens ━━━───"),
        ('thinking_budget = "60s"', "Thinking 12 of 60 s ━─────"),
        ('thinking_budget = "900s"', "Thinking 12 s of 15 m 0 s ━─────"),
        ("", "Thinking 12 s · 1,830 tokens"),
    ],
)
async def test_a_budget_is_shown_while_it_is_used(setting: str, words: str) -> None:
    set_preference(setting)
    async with asked(thinking("Hm. ", 1830, 12.0)) as (app, _pilot, engine):
        assert words in texts(app, "ThinkingHeader")
        request = engine.asked[0]
        assert request.thinking_budget_tokens == (4000 if "4000" in setting else None)
        assert (request.thinking_budget_seconds is not None) == ("s" in setting[-3:])


async def test_the_settings_hold_for_every_question() -> None:
    set_preference("speculation = true")
    async with asked(thinking("Hm. ", 1, 0.1)) as (_app, _pilot, engine):
        assert engine.asked[0].draft_tokens > 0
        assert engine.asked[0].on_loop == "tell"


async def test_an_answer_that_filled_the_window_goes_on_where_it_was() -> None:
    first = (thinking("Hm. ", 90, 9.0), answering("First **half", 10))
    async with asked(*first) as (app, pilot, engine):
        await play(app, pilot, engine, generated("length", window_full=True))
        await until(pilot, lambda: len(engine.asked) == 2)
        await play(app, pilot, engine, protocol.PromptProgressed(1, 500, 1000))
        assert "Thought for" in texts(app, "ThinkingHeader")
        assert "window was full" in " ".join(texts(app, "Note").split())
        await play(app, pilot, engine, answering(" and more**.", 5), generated())
        await until(pilot, chat_of(app)._idle.is_set)
        await pilot.pause()
        answer = app.screen.query_one(Answer)
        assert answer.source == "First **half and more**."
        assert "First half and more." in texts(app, "Answer")
