"""Conversations with the real engine and a real database."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from talking import GREEDY, Heard, ask, demo_engine, demo_model

from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.store import Store
from localr1.chat.template import USER
from localr1.chat.types import AnswerDelta, ThinkingDelta
from localr1.engine.protocol import Event, Generate
from localr1.errors import ContextFull, EngineDied, UsageError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import demo_task


async def test_ten_turns_stay_right_and_are_kept(tmp_path: Path) -> None:
    rng = random.Random(10)
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        cached = []
        for _ in range(10):
            problem = demo_task.draw_problem(rng, held_out=True)
            heard = await ask(session, demo_task.ask(problem, rng))
            assert heard.answer == demo_task.answer_of(problem)
            assert heard.stats is not None
            assert heard.stats.finish_reason == "stop"
            cached.append(heard.stats.cached_tokens)
        assert cached == sorted(cached)
        assert cached[-1] > 100
        assert session.conversation_id is not None
        kept = store.conversation(session.conversation_id)
    assert kept.messages == session.messages
    assert len(kept.messages) == 20
    assert all(m.thinking for m in kept.messages if m.role == "assistant")
    store.close()


async def test_an_earlier_conversation_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        await ask(session, "What is 12 + 30?")
        assert session.conversation_id is not None
        earlier = store.conversation(session.conversation_id)
        session = ChatSession(engine, store, demo_model(), conversation=earlier)
        heard = await ask(session, "12 - 30")
    assert heard.answer == "12 - 30 = -18"
    assert [m.text for m in store.conversation(earlier.id).messages] == [
        "What is 12 + 30?",
        "12 + 30 = 42",
        "12 - 30",
        "12 - 30 = -18",
    ]
    store.close()


async def test_kill_mid_answer_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    model = demo_model()
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, model)
        await ask(session, "20 + 22")
        heard = Heard()
        async with aclosing(session.send("Who are you?", GREEDY)) as events:
            async for event in events:
                if isinstance(event, (ThinkingDelta, AnswerDelta)):
                    heard.thinking += event.text
                    psutil.Process(engine.process_id).kill()
                heard.error = getattr(event, "error", heard.error)
        assert isinstance(heard.error, EngineDied)
        assert not session.busy
    async with demo_engine(tmp_path) as engine:
        session.replace_engine(engine)
        again = await ask(session, "5 - 7")
    assert again.answer == "5 - 7 = -2"
    assert session.conversation_id is not None
    kept = store.conversation(session.conversation_id).messages
    assert [m.text for m in kept[:2]] == ["20 + 22", "20 + 22 = 42"]
    assert kept[2].text == "Who are you?"
    assert (kept[3].thinking + kept[3].text).startswith(heard.thinking[:20].strip()[:5])
    assert kept[3].stats is not None
    assert kept[3].stats.finish_reason == "failed"
    store.close()


async def test_the_question_is_stored_before_generation(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        async with aclosing(session.send("3 + 4", GREEDY)) as events:
            async for _ in events:
                assert session.conversation_id is not None
                assert store.conversation(session.conversation_id).messages[0].text == "3 + 4"
                break
        # Leaving early is a stop; the exchange is kept and marked.
        assert session.conversation_id is not None
        reply = store.conversation(session.conversation_id).messages[1]
        assert reply.stats is not None
        assert reply.stats.finish_reason == "cancelled"
        assert (await ask(session, "3 + 5")).answer == "3 + 5 = 8"
    store.close()


async def test_stop_before_the_first_word(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        async with aclosing(session.send("9999 - 1", GREEDY)) as events:
            first = True
            async for event in events:
                if first:
                    await session.stop()
                    first = False
                stats = getattr(event, "stats", None)
        assert stats is not None
        assert stats.finish_reason == "cancelled"


async def test_answer_now_through_the_session(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        answer = ""
        async with aclosing(session.send("1234 + 4321", GREEDY)) as events:
            async for event in events:
                await session.answer_now()
                if isinstance(event, AnswerDelta):
                    answer += event.text
    assert answer.startswith(("1234 + 4321", "I stopped thinking"))


async def test_oldest_turns_are_left_out_in_words_and_nothing_is_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path, context_window=512) as engine:
        session = ChatSession(engine, store, demo_model())
        notices: list[str] = []
        for n in range(14):
            heard = await ask(session, f"What is {1000 + n} + {2000 + n}?")
            assert heard.error is None
            notices += heard.notices
        assert any("earliest messages no longer in the window" in notice for notice in notices)
        assert heard.answer == "1013 + 2013 = 3026"
        assert session.conversation_id is not None
        assert len(store.conversation(session.conversation_id).messages) == 28
    store.close()


async def test_questions_without_an_answer_count_among_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    async with demo_engine(tmp_path, context_window=512) as engine:
        plain = engine.generate

        def counted(request: Generate) -> AsyncGenerator[Event, None]:
            sent.append(2 * sum(segment.text.count(USER) for segment in request.segments))
            return plain(request)

        monkeypatch.setattr(engine, "generate", counted)
        session = ChatSession(engine, None, demo_model())
        async with aclosing(session.send("1234 + 4321", GREEDY)) as events:
            async for event in events:
                if isinstance(event, ThinkingDelta):
                    await session.stop()
        assert session.messages[-1].text == ""
        notices: list[str] = []
        while not notices:
            notices += (await ask(session, f"{len(session.messages)} + 1000")).notices
        # The question that was stopped and its reply are the first of them.
        gone = session.left_out_messages
        assert notices == [f"{gone} earliest messages no longer in the window. Nothing is deleted."]
        assert gone > 2
        assert sent[-1] == len(session.messages) - gone


async def test_a_message_larger_than_the_window(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, context_window=512) as engine:
        session = ChatSession(engine, None, demo_model())
        heard = await ask(session, "what " * 600)
        assert isinstance(heard.error, ContextFull)
        assert "512" in heard.error.why
        assert (await ask(session, "2 + 3")).answer == "2 + 3 = 5"


async def test_length_is_told(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        heard = await ask(session, "2345 + 3456", ReplyOptions(temperature=0.0, max_tokens=8))
    assert heard.stats is not None
    assert heard.stats.finish_reason == "length"
    assert heard.stats.thinking_tokens + heard.stats.answer_tokens == 8


async def test_seeds_are_random_unless_set(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        seeds = {
            stats.seed
            for _ in range(3)
            if (stats := (await ask(session, "1 + 2", ReplyOptions())).stats)
        }
        fixed = await ask(session, "1 + 2", ReplyOptions(seed=42))
    assert len(seeds) == 3
    assert fixed.stats is not None
    assert fixed.stats.seed == 42


async def test_nothing_and_twice_are_refused(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        with pytest.raises(UsageError):
            await ask(session, "  \n ")
        async with aclosing(session.send("1 + 1", GREEDY)) as events:
            await anext(events)
            with pytest.raises(UsageError, match="still running"):
                await ask(session, "2 + 2")


async def test_a_disk_that_refuses_does_not_lose_the_reply_on_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        await ask(session, "1 + 1")
        monkeypatch.setattr(store, "update", _refuse)
        heard = await ask(session, "40 + 2")
    assert heard.answer == "40 + 2 = 42"
    assert heard.error is not None
    assert "full" in heard.error.why
    assert session.messages[-1].text == "40 + 2 = 42"
    store.close()


def _refuse(*_arguments: object) -> None:
    from localr1.errors import StoreError

    raise StoreError(
        "The conversations cannot be written.", "database or disk is full", "Free space."
    )
