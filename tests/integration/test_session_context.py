"""What the context window does to conversations, with the real worker and the demo model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from talking import GREEDY, ask, demo_engine, demo_model

from localr1.chat import budget, kv_state, template
from localr1.chat.kv_state import KvStates
from localr1.chat.reply import FULL_BY_SETTING, FULL_FOR_GOOD
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.store import Store
from localr1.chat.types import Event, Finished, LoopNotice, Notice
from localr1.engine.client import Engine
from localr1.errors import EngineDied

# Words that the demo was never trained on: it thinks in circles and answers without an end.
BABBLE = "what " * 400
IDENTITY = "Who are you?"
SHORT = ReplyOptions(temperature=0.0, thinking_budget_tokens=0, max_tokens=40)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "c.db")
    yield made
    made.close()


async def question_tokens(engine: Engine, question: str) -> int:
    """What must be computed of a question: all but the marker before it."""
    form = template.FamilyTemplate()
    segments = form.new_turn(question, open_thinking=True)[1:]
    return (await engine.count_tokens([segments]))[0]


async def test_only_the_question_is_left_to_compute_after_a_pause(
    tmp_path: Path, store: Store
) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        for n in range(6):
            question = f"What is {1200 + n} + {3400 + 7 * n}?"
            heard = await ask(session, question)
            assert heard.answer.endswith(f"= {4600 + 8 * n}")
            assert heard.stats is not None
            computed = heard.stats.prompt_tokens - heard.stats.cached_tokens
            if n:
                assert computed == await question_tokens(engine, question)
            await session.settle()
        # Opened again in an engine that has forgotten it, it is computed before anything is asked.
        await ask(ChatSession(engine, None, demo_model()), "3 - 4")
        assert session.conversation_id is not None
        kept = store.conversation(session.conversation_id)
        opened = ChatSession(engine, store, demo_model(), conversation=kept)
        await opened.resume()
        await opened.settle()
        heard = await ask(opened, "What is 5 - 6?")
        assert heard.answer == "5 - 6 = -1"
        assert heard.stats is not None
        computed = heard.stats.prompt_tokens - heard.stats.cached_tokens
        assert computed == await question_tokens(engine, "What is 5 - 6?")


async def test_a_question_at_once_drops_what_is_computed_ahead(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        for n in range(5):
            assert (await ask(session, f"{n} + 70")).answer == f"{n} + 70 = {n + 70}"
        await session.settle()


async def test_a_worker_killed_while_idle_is_told_by_the_next_reply(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        await ask(session, "1 + 1")
        psutil.Process(engine.process_id).kill()
        await session.settle()
        assert isinstance((await ask(session, "2 + 2")).error, EngineDied)
    async with demo_engine(tmp_path) as engine:
        session.replace_engine(engine)
        await session.resume()
        assert (await ask(session, "2 + 2")).answer == "2 + 2 = 4"


async def test_an_answer_that_fills_the_window_goes_on_to_its_right_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_engine(tmp_path) as engine:
        whole = (await ask(ChatSession(engine, None, demo_model()), IDENTITY)).answer
    # Less room than this answer takes, which no real window leaves.
    monkeypatch.setattr(budget, "reply_room", lambda _window: 70)
    async with demo_engine(tmp_path, context_window=256) as engine:
        session = ChatSession(engine, None, demo_model())
        while session.context_used < 160:
            await ask(session, "1 + 1", SHORT)
        heard = await ask(session, IDENTITY)
        assert heard.answer == whole
        assert [notice for notice in heard.notices if "the answer goes on" in notice]
        assert heard.stats is not None
        assert heard.stats.finish_reason == "stop"
        assert heard.stats.answer_tokens > 70
        assert heard.stats.thinking_tokens > 0
        await session.settle()
        assert (await ask(session, "2 + 3")).answer == "2 + 3 = 5"


async def test_an_endless_answer_ends_with_a_word(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, context_window=1024) as engine:
        session = ChatSession(engine, None, demo_model())
        heard = await ask(session, BABBLE)
        assert heard.stats is not None
        assert (heard.stats.finish_reason, heard.stats.window_full) == ("length", True)
        assert heard.notices[-1] == FULL_FOR_GOOD
        # More than ever was in the window at once.
        stats = heard.stats
        assert stats.prompt_tokens + stats.thinking_tokens + stats.answer_tokens > 1024
        assert stats.context_used <= 1024
        stopped = await ask(session, BABBLE, replace(GREEDY, when_full="stop"))
        assert stopped.notices[-1] == FULL_BY_SETTING
        assert heard.answer.startswith(stopped.answer)
        assert len(stopped.answer) < len(heard.answer)


async def test_the_longest_length_holds_across_a_full_window(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, context_window=1024) as engine:
        session = ChatSession(engine, None, demo_model())
        heard = await ask(session, BABBLE, replace(GREEDY, max_tokens=700))
    assert heard.stats is not None
    assert heard.stats.thinking_tokens + heard.stats.answer_tokens == 700
    assert (heard.stats.finish_reason, heard.stats.window_full) == ("length", False)


async def test_a_stop_after_the_window_was_full(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, context_window=1024) as engine:
        session = ChatSession(engine, None, demo_model())
        seen: list[Event] = []
        async for event in session.send(BABBLE, GREEDY):
            seen.append(event)
            if isinstance(event, Notice) and "goes on" in event.text:
                await session.stop()
    end = seen[-1]
    assert isinstance(end, Finished)
    assert end.stats.finish_reason == "cancelled"
    assert session.messages[-1].text


async def test_thinking_in_circles_is_told_or_ended(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, context_window=512) as engine:
        question = "what " * 150
        session = ChatSession(engine, None, demo_model(), look_ahead=False)
        told = [event async for event in session.send(question, GREEDY)]
        session = ChatSession(engine, None, demo_model(), look_ahead=False)
        ended = await ask(session, question, replace(GREEDY, on_loop="end"))
        # Told, the user may have the answer now.
        session = ChatSession(engine, None, demo_model(), look_ahead=False)
        async for event in session.send(question, GREEDY):
            if isinstance(event, LoopNotice):
                await session.answer_now()
            stats = getattr(event, "stats", None)
    assert any(isinstance(event, LoopNotice) and event.repeats >= 3 for event in told)
    assert "went round in circles" in ended.notices[0]
    assert ended.stats is not None
    assert isinstance(told[-1], Finished)
    assert ended.stats.thinking_tokens < told[-1].stats.thinking_tokens
    assert ended.answer
    assert stats is not None
    assert stats.thinking_tokens < told[-1].stats.thinking_tokens


def write_sums(store: Store, count: int) -> int:
    """A conversation as earlier days left it; its number."""
    number = store.create("Sums", "demo")
    parent: int | None = None
    for n in range(count):
        asked, answered = store.add_exchange(number, parent, f"What is {1100 + n} + {2200 + n}?")
        store.update(answered.id, f"{1100 + n} + {2200 + n} = {3300 + 2 * n}", "add", None)
        assert answered.parent_id == asked.id
        parent = answered.id
    return number


def opened(engine: Engine, store: Store, states: KvStates, number: int) -> ChatSession:
    kept = store.conversation(number)
    return ChatSession(engine, store, demo_model(), conversation=kept, states=states)


@pytest.fixture
async def left(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> tuple[KvStates, int]:
    """A conversation that was left, in a worker that is gone."""
    # The demo is so fast that the time to open a file decides.
    monkeypatch.setattr(kv_state, "_RESTORE_SECONDS", 0.0)
    states, number = KvStates(tmp_path / "kv", 1 << 30), write_sums(store, 25)
    async with demo_engine(tmp_path, 4096) as engine:
        session = opened(engine, store, states, number)
        await session.resume()
        await session.settle()
        assert await session.leave()
    return states, number


async def test_a_conversation_that_was_left_goes_on_in_another_worker(
    tmp_path: Path, store: Store, left: tuple[KvStates, int]
) -> None:
    states, number = left
    assert (states.size_bytes(number) or 0) > 500_000
    async with demo_engine(tmp_path, 4096) as engine:
        session = opened(engine, store, states, number)
        await session.resume()
        heard = await ask(session, "12 + 30")  # at once: nothing was computed meanwhile
        computed = await question_tokens(engine, "12 + 30")
    assert heard.answer == "12 + 30 = 42"
    assert heard.stats is not None
    assert heard.stats.prompt_tokens - heard.stats.cached_tokens == computed


@pytest.mark.parametrize("damage", ["a bit", "cut", "emptied", "other settings", "gone"])
async def test_a_state_that_does_not_fit_is_ignored(
    tmp_path: Path, store: Store, left: tuple[KvStates, int], damage: str
) -> None:
    states, number = left
    path = states.path(number)
    await asyncio.to_thread(_spoil, path, damage)
    kv_cache_type = "q8_0" if damage == "other settings" else "f16"
    async with demo_engine(tmp_path, 4096, kv_cache_type=kv_cache_type) as engine:
        session = opened(engine, store, states, number)
        await session.resume()
        await session.settle()
        heard = await ask(session, "12 + 30")
    assert heard.error is None
    assert heard.answer == "12 + 30 = 42"
    assert not await asyncio.to_thread(path.exists)


def _spoil(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "a bit":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[len(data) // 3 :]
    elif damage == "emptied":
        data.clear()
    path.write_bytes(data)
    if damage == "gone":
        path.unlink()


async def test_guessing_ahead_changes_no_answer(tmp_path: Path) -> None:
    questions = [f"What is {1200 + n} + {3400 + 7 * n}?" for n in range(4)]
    said: list[list[tuple[str, str]]] = []
    drafted = 0
    for draft_tokens in (0, 8):
        async with demo_engine(tmp_path, 4096, draft_tokens=draft_tokens) as engine:
            session = ChatSession(engine, None, demo_model())
            options = replace(GREEDY, draft_tokens=draft_tokens)
            heard = [await ask(session, question, options) for question in questions]
        said.append([(each.thinking, each.answer) for each in heard])
        drafted = sum(each.stats.drafted_tokens for each in heard if each.stats)
    assert said[0] == said[1]
    assert drafted > 0
