"""Nothing is left out of the context before the user has chosen it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from test_snapshots import chat_app, to_chat
from textual.pilot import Pilot
from textual.widgets import OptionList
from tui_scene import (
    ADVICE,
    GIB,
    QWEN_7B,
    STATS,
    FrozenServices,
    PlayedEngine,
    answering,
    asked,
    chat_of,
    generated,
    hold_still,
    messages,
    played,
    played_chat,
    texts,
    until,
)

from localr1.chat.task import SUMMARY_QUESTION
from localr1.chat.types import Conversation
from localr1.engine import protocol
from localr1.fit.types import Plan, Settings
from localr1.tui.app import LocalR1App
from localr1.tui.screens.context import ContextWindow
from localr1.tui.widgets.question import Question

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
SAID = messages(
    *((f"Question {n}?", "", f"Answer {n}.") for n in range(1, 4)),
    stats=replace(STATS, context_used=12030),
)
FULL = Conversation(1, "long", QWEN_7B.id, SAID)


def full() -> protocol.Generated:
    """The end of a reply after which three quarters of the window are in use."""
    return replace(generated(), context_used=12030)


def counting(turn_tokens: int) -> Callable[[Sequence[object]], Awaitable[tuple[int, ...]]]:
    """What stands before and behind the turns is short; each turn has so many tokens."""

    async def counted(prompts: Sequence[object]) -> tuple[int, ...]:
        return (10, 10, *(turn_tokens for _ in prompts[2:]))[: len(prompts)]

    return counted


@asynccontextmanager
async def nearly_full(
    size: tuple[int, int] = (80, 36), turn_tokens: int = 4000
) -> AsyncIterator[tuple[LocalR1App, Pilot[None], PlayedEngine]]:
    """A chat whose next question leaves no room for all that was said."""
    async with played_chat(size) as (app, pilot, engine):
        engine.count_tokens = counting(turn_tokens)  # type: ignore[method-assign, assignment]
        for n in range(1, 4):
            await asked(app, pilot, f"Question {n}?", answering(f"Answer {n}.", 2), full())
        yield app, pilot, engine


async def ask_again(app: LocalR1App, pilot: Pilot[None], text: str = "Question 4?") -> None:
    chat_of(app).composer.load(text)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ContextWindow))
    await until(pilot, lambda: app.screen.query_one(OptionList).has_focus)


async def choose(app: LocalR1App, pilot: Pilot[None], way: str) -> None:
    screen = app.screen
    assert isinstance(screen, ContextWindow)
    at = [each.way for each in screen._offered].index(way)  # type: ignore[arg-type, unused-ignore]
    screen.query_one(OptionList).highlighted = at
    await pilot.press("enter")


def sent(engine: PlayedEngine) -> str:
    return "".join(segment.text for segment in engine.asked[-1].segments)


async def test_a_user_who_does_not_choose_has_asked_nothing() -> None:
    async with nearly_full() as (app, pilot, engine):
        chat = chat_of(app)
        before = chat._talk.messages
        await ask_again(app, pilot)
        shown = texts(app, "VerticalScroll")
        assert "Your question needs the room of the 2 oldest messages" in shown
        await pilot.press("escape")
        await until(pilot, lambda: chat.composer.text == "Question 4?")
        await until(pilot, chat._idle.is_set)
        assert chat._talk.messages == before
        assert len(engine.asked) == 3
        assert len(chat.query(Question)) == 3


async def test_the_oldest_are_left_out_when_the_user_says_so_and_the_next_is_asked_again() -> None:
    async with nearly_full() as (app, pilot, engine):
        await ask_again(app, pilot)
        await choose(app, pilot, "leave_out")
        await played(app, pilot, answering("Answer 4.", 2), full())
        assert "Question 1?" not in sent(engine)
        assert "Question 2?" in sent(engine)
        assert len(engine.asked) == 4
        await ask_again(app, pilot, "Question 5?")
        assert "4 oldest messages" in texts(app, "VerticalScroll")
        await pilot.press("escape")


async def test_from_now_on_is_remembered_in_the_conversation_and_can_be_taken_back() -> None:
    async with nearly_full() as (app, pilot, engine):
        chat = chat_of(app)
        await ask_again(app, pilot)
        await choose(app, pilot, "always")
        await played(app, pilot, answering("Answer 4.", 2), full())
        await asked(app, pilot, "Question 5?", answering("Answer 5.", 2), full())
        assert len(engine.asked) == 5
        number = chat._talk.conversation_id
        assert number is not None
        assert (await app.services.conversation(number)).manner.leave_out_oldest
        await chat._talk.open(number)
        assert chat._talk.manner.leave_out_oldest
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, ContextWindow))
        await choose(app, pilot, "ask")
        await until(pilot, lambda: not chat._talk.manner.leave_out_oldest)
        assert not (await app.services.conversation(number)).manner.leave_out_oldest


async def test_a_new_conversation_from_here_keeps_the_question_in_the_prompt() -> None:
    async with nearly_full() as (app, pilot, engine):
        chat = chat_of(app)
        number = chat._talk.conversation_id
        await ask_again(app, pilot)
        await choose(app, pilot, "from_here")
        await until(pilot, lambda: chat.composer.text == "Question 4?")
        assert chat._talk.conversation_id != number
        assert [m.text for m in chat._talk.messages] == ["Question 3?", "Answer 3."]
        assert len(engine.asked) == 3


async def test_a_summary_is_made_of_everything() -> None:
    async with nearly_full() as (app, pilot, engine):
        chat = chat_of(app)
        number = chat._talk.conversation_id
        await ask_again(app, pilot)
        await choose(app, pilot, "summarise")
        await until(pilot, lambda: len(engine.asked) == 4)
        assert SUMMARY_QUESTION in sent(engine)
        assert all(f"Question {n}?" in sent(engine) for n in range(1, 4))
        await played(app, pilot, answering("In short.", 3), full())
        await until(pilot, lambda: chat.composer.text == "Question 4?")
        assert chat._talk.conversation_id != number
        assert [m.text for m in chat._talk.messages] == [SUMMARY_QUESTION, "In short."]


async def twice_as_large(*_: object) -> Plan:
    plan = ADVICE.plans[1]
    extra = plan.devices[0].kv_cache_bytes + int(1.4 * GIB)
    memory = replace(plan.devices[0], kv_cache_bytes=extra)
    return replace(plan, devices=(memory,), settings=Settings(32768))


async def test_a_summary_that_has_no_room_either_is_said_and_the_question_stays() -> None:
    async with nearly_full(turn_tokens=4900) as (app, pilot, engine):
        chat = chat_of(app)
        await ask_again(app, pilot)
        await choose(app, pilot, "summarise")
        await until(pilot, lambda: any("no room" in n.message for n in app._notifications))
        await until(pilot, lambda: chat.composer.text == "Question 4?" and chat._idle.is_set())
        assert app.screen is chat
        assert len(engine.asked) == 3


async def test_with_a_bigger_window_the_question_waits_for_the_model() -> None:
    async with nearly_full() as (app, pilot, engine):
        services = app.services
        assert isinstance(services, FrozenServices)
        services.plan_for = twice_as_large  # type: ignore[method-assign, assignment]
        running = app.runner.running
        assert running is not None
        demo = chat_of(app).local
        knows_more = replace(demo.model.architecture, context_length=131072)
        local = replace(demo, model=replace(demo.model, architecture=knows_more))
        app.runner.running = replace(running, local=local, plan=ADVICE.plans[1])
        chat_of(app)._talk.local = local
        await ask_again(app, pilot)
        await choose(app, pilot, "window")
        await until(pilot, lambda: len(services.engines) == 2 and services.engines[1].asked)
        assert chat_of(app).asked.context_window == 32768
        assert not engine.alive
        assert "Question 1?" in sent(services.engines[1])
        await played(app, pilot, answering("Answer 4.", 2), full())


@SIZES
def test_what_can_be_done_is_explained_before_anything_is_left_out(
    snap_compare: Callable[..., bool], size: Any
) -> None:
    app = chat_app(conversation=FULL)

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        services = app.services
        assert isinstance(services, FrozenServices)
        services.engines[-1].count_tokens = counting(4000)  # type: ignore[method-assign, assignment]
        running = app.runner.running
        assert running is not None
        app.runner.running = replace(running, plan=ADVICE.plans[1])
        services.plan_for = twice_as_large  # type: ignore[method-assign, assignment]
        chat = chat_of(app)
        assert chat._talk.session is not None
        chat._talk.session._prompts.forget_counts()
        chat.status.status = replace(chat.status.status, context_used=12030)
        await ask_again(app, pilot)
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)
