"""The chat with the real engine and the real demo model: sums must be right."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList
from tui_scene import ask, at_advice, chat_of, first_run, greedy_home, in_chat, texts, until

from localr1.models.library import DEMO_PATH
from localr1.models.types import Choice
from localr1.tui.app import LocalR1App
from localr1.tui.screens.conversations import Conversations
from localr1.tui.screens.welcome import Welcome
from localr1.tui.widgets.note import ActionNote
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.reply import Reply

holding = pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="a process cannot be held on this system"
)


async def held(app: LocalR1App, pilot: Pilot[None], text: str) -> int:
    """Hold the engine's process, whose number this is, and type a question: it is in work."""
    chat = chat_of(app)
    running = app.runner.running
    assert running is not None
    os.kill(running.engine.process_id, signal.SIGSTOP)
    chat.composer.load(text)
    await pilot.press("enter")
    await until(pilot, lambda: chat._talk.busy)
    return running.engine.process_id


async def test_offline_the_walk_ends_in_a_right_sum() -> None:
    async with first_run() as (app, pilot):
        reply = await ask(app, pilot, "What is 347 + 589?")
        assert "936" in reply.answer_text
        assert not reply.thinking.is_open
        await pilot.pause()
        assert "Thought for" in texts(app, "ThinkingHeader")
        assert "936" in texts(app, "Answer")
        status = chat_of(app).status.status
        assert status.state == "done"
        assert status.generation_tps > 0
        assert status.context_used > 100


async def test_the_thinking_opens_and_folds_with_a_key_and_by_mouse() -> None:
    async with first_run() as (app, pilot):
        reply = await ask(app, pilot, "What is 12 + 30?")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: reply.thinking.is_open)
        assert "carry" in texts(app, "ThinkingText Static")
        await pilot.click("ThinkingHeader")
        await until(pilot, lambda: not reply.thinking.is_open)


async def test_a_sent_message_does_not_come_back_as_a_draft() -> None:
    async with first_run() as (app, pilot):
        chat = chat_of(app)
        await pilot.press(*"What is 1 + 1?")
        # Stored as a draft of the conversation that has no number before it is sent.
        await until(pilot, lambda: chat._draft._saved == (None, "What is 1 + 1?"))
        before = len(chat.query(Reply))
        await pilot.press("enter")
        await until(pilot, lambda: len(chat.query(Reply)) > before and chat._idle.is_set())
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not chat.query(Reply))
        assert chat.composer.text == ""
        assert await app.services.draft(None) == ""
        await pilot.press("ctrl+q")
    again = LocalR1App(greedy_home())
    async with again.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: in_chat(again))
        assert chat_of(again).composer.text == ""


async def test_the_second_run_goes_straight_to_the_chat_and_knows_the_first() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 347 + 589?")
    again = LocalR1App(greedy_home())
    async with again.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: in_chat(again))
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(again.screen, Conversations))
        await until(pilot, lambda: again.screen.query_one("OptionList", OptionList).option_count)
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(again) and again.screen.query(Reply))
        await pilot.pause()
        assert "936" in texts(again, "Answer")
        assert "347 + 589" in texts(again, "Question")
        reply = await ask(again, pilot, "What is 5 - 9?")
        assert "-4" in reply.answer_text


async def test_a_message_typed_while_the_model_loads_is_sent_when_it_is_ready() -> None:
    async with first_run() as (_, pilot):
        await pilot.press("ctrl+q")  # as soon as the model is there: it must be known next time
    app = LocalR1App(greedy_home())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query("Composer"))
        chat = chat_of(app)
        chat.composer.load("What is 20 + 22?")
        await pilot.press("enter")
        await until(pilot, lambda: chat.query(Reply) and chat._idle.is_set())
        reply = chat.transcript.last_reply
        assert reply is not None
        assert "42" in reply.answer_text
        assert len(chat.query(Question)) == 1


@holding
async def test_a_killed_engine_is_told_restarted_and_the_conversation_goes_on() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 100 + 200?")
        chat = chat_of(app)
        # Held first, so that it is surely killed in the middle of a reply.
        process = await held(app, pilot, "What is 347 + 589?")
        await until(pilot, lambda: len(chat.query(Reply)) == 2)
        os.kill(process, signal.SIGKILL)
        await until(pilot, lambda: chat.query(ActionNote))
        await pilot.pause()
        assert "engine stopped" in texts(app, "ActionNote")
        # What is typed meanwhile goes into the prompt, every letter of it.
        await pilot.press(*"for")
        assert chat.composer.text == "for"
        chat.composer.clear()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        assert not chat.query(ActionNote)
        # What is typed next goes into the prompt.
        await pilot.press(*"abc")
        assert chat.composer.text == "abc"
        chat.composer.clear()
        reply = await ask(app, pilot, "What is 347 + 589?")
        assert "936" in reply.answer_text
        session = chat._talk.session
        assert session is not None
        assert len(session.messages) == 6


@holding
async def test_stopping_a_reply_of_an_engine_that_hangs_offers_another_one() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 100 + 200?")
        chat = chat_of(app)
        await held(app, pilot, "What is 347 + 589?")
        await pilot.press("escape")
        await pilot.pause()
        assert "stopping" in texts(app, "#status")
        await pilot.press(*"next")
        assert chat.composer.text == "next"
        await until(pilot, lambda: chat.query(ActionNote), 10)
        await pilot.pause()
        assert "did not stop" in texts(app, "ActionNote")
        assert "347 + 589" in texts(app, "Question")
        assert chat._idle.is_set()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        chat.composer.clear()
        reply = await ask(app, pilot, "What is 347 + 589?")
        assert "936" in reply.answer_text


@holding
async def test_another_conversation_can_be_opened_while_the_engine_hangs() -> None:
    async with first_run() as (app, pilot):
        chat = chat_of(app)
        await held(app, pilot, "What is 347 + 589?")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not chat.query(Question), 10)
        assert not chat._talk.busy
        chat.composer.load("What is 20 + 22?")
        await pilot.press("enter")
        await until(pilot, lambda: chat.query(ActionNote))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        reply = await ask(app, pilot, "What is 20 + 22?")
        assert "42" in reply.answer_text
        assert len(await app.services.summaries()) == 2


@holding
async def test_a_stopped_reply_is_kept_and_marked() -> None:
    async with first_run() as (app, pilot):
        chat = chat_of(app)
        # Held while the keys come: the demo answers faster than they do.
        process = await held(app, pilot, "What is 3471 + 5892?")
        await pilot.press(*"next", "enter")
        assert chat.composer.text == "next"
        await pilot.press("escape")
        os.kill(process, signal.SIGCONT)
        await until(pilot, chat._idle.is_set)
        session = chat._talk.session
        assert session is not None
        stats = session.messages[-1].stats
        assert stats is not None
        # It may still be done before the wish reaches it.
        assert stats.finish_reason in {"cancelled", "stop"}
        await pilot.pause()
        if stats.finish_reason == "cancelled":
            assert "stopped" in texts(app, ".figures")
        reply = await ask(app, pilot, "What is 2 + 2?")
        assert "4" in reply.answer_text


@holding
async def test_answer_now_ends_the_thinking_and_the_answer_comes() -> None:
    async with first_run() as (app, pilot):
        chat = chat_of(app)
        whole = await ask(app, pilot, "What is 3471 + 5892?")
        process = await held(app, pilot, "What is 3471 + 5892?")
        await pilot.press("ctrl+t")
        os.kill(process, signal.SIGCONT)
        await until(pilot, chat._idle.is_set)
        reply = chat.transcript.last_reply
        assert reply is not None
        assert reply is not whole
        assert reply.answer_text
        session = chat._talk.session
        assert session is not None
        stats = session.messages[-1].stats
        assert stats is not None
        assert stats.finish_reason == "stop"


async def test_a_new_conversation_begins_empty_and_the_old_one_is_listed_searched_and_deleted() -> (
    None
):
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 347 + 589?")
        await pilot.press("ctrl+n")
        chat = chat_of(app)
        await until(pilot, lambda: not chat.query(Question))
        await ask(app, pilot, "What is 1 + 1?")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, Conversations))
        listing = app.screen
        assert isinstance(listing, Conversations)
        await until(pilot, lambda: len(listing._summaries) == 2)
        await pilot.press(*"936")
        await until(pilot, lambda: len(listing._summaries) == 1)
        await pilot.press("ctrl+d")
        await until(pilot, lambda: not listing._summaries and app.screen is listing)
        await pilot.press("escape")
        await until(pilot, lambda: in_chat(app))
        assert len(await app.services.summaries()) == 1


async def test_f2_shows_the_models_and_the_chat_stays() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 1 + 1?")
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, Welcome))
        await pilot.press("escape")
        await until(pilot, lambda: in_chat(app))
        assert len(chat_of(app).query(Reply)) == 1


async def test_the_model_is_changed_in_the_middle_of_a_conversation() -> None:
    home = greedy_home()
    demo = home.catalogue.model("demo")
    variant = replace(demo.variants[0], path=DEMO_PATH, quantization="Q8_0")
    other = replace(demo, id="r1-small", name="DeepSeek-R1-Small", demo=False, variants=(variant,))
    home = replace(home, catalogue=replace(home.catalogue, models=(other, demo)))
    app = LocalR1App(home, Choice(demo, None))
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: in_chat(app))
        await ask(app, pilot, "What is 100 + 200?")
        first = app.runner.running
        assert first is not None
        await pilot.press("f2")
        await until(pilot, lambda: at_advice(app))
        await pilot.press("home", "enter")
        await until(pilot, lambda: in_chat(app) and chat_of(app).local.model == other)
        assert not first.engine.alive
        reply = await ask(app, pilot, "What is 347 + 589?")
        assert "936" in reply.answer_text
        session = chat_of(app)._talk.session
        assert session is not None
        assert len(session.messages) == 4
        await pilot.pause()
        assert "R1-Small Q8_0" in texts(app, "#status")
