"""A conversation's KV cache is kept when it is left, and found again when it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import Says, Scripted, died
from talking import ask, demo_model

from localr1.chat.kv_state import KvStates
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.store import Store
from localr1.models.types import Model

OPTIONS = ReplyOptions(seed=7)
LONG_QUESTION = "word " * 200


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "c.db")
    yield made
    made.close()


@pytest.fixture
def states(tmp_path: Path) -> KvStates:
    return KvStates(tmp_path / "kv", 1 << 30)


async def talked(
    store: Store | None, states: KvStates, model: Model | None = None
) -> tuple[Scripted, ChatSession]:
    """A session with one exchange, and nothing left to compute."""
    scripted = Scripted(8192, [Says("hm", "yes")])
    session = ChatSession(scripted.engine, store, model or demo_model(), states=states)
    await ask(session, LONG_QUESTION, OPTIONS)
    await session.settle()
    return scripted, session


def file_of(states: KvStates, session: ChatSession) -> Path:
    assert session.conversation_id is not None
    return states.path(session.conversation_id)


async def test_what_is_left_is_found_again(store: Store, states: KvStates) -> None:
    scripted, session = await talked(store, states)
    assert await session.leave()
    path = file_of(states, session)
    assert scripted.kept == {path: len(scripted.prefilled[-1])}
    assert not await session.leave()  # nothing is new

    assert session.conversation_id is not None
    opened = ChatSession(
        scripted.engine,
        store,
        demo_model(),
        conversation=store.conversation(session.conversation_id),
        states=states,
    )
    scripted.cached = 0
    await opened.resume()
    assert scripted.cached == scripted.kept[path]
    await opened.settle()
    assert scripted.prefilled[-1] == scripted.prefilled[0]  # whatever may be missing
    assert path.exists()
    assert not await opened.leave()  # nothing is new
    scripted.script.append(Says("hm", "no"))
    await ask(opened, "and?", OPTIONS)
    await opened.settle()
    assert await opened.leave()


async def test_private_conversations_leave_nothing(store: Store, states: KvStates) -> None:
    scripted, session = await talked(None, states)
    assert not await session.leave()
    assert scripted.kept == {}
    assert not states.path(1).parent.exists()
    fresh = ChatSession(scripted.engine, store, demo_model(), states=states)
    await fresh.resume()
    assert not await fresh.leave()  # nothing was said yet


async def test_nobody_saves_what_another_conversation_computed(
    store: Store, states: KvStates
) -> None:
    scripted, session = await talked(store, states)
    private = ChatSession(scripted.engine, None, demo_model())
    scripted.script.append(Says("hm", "secret"))
    await ask(private, "a private question", OPTIONS)
    assert not await session.leave()
    assert scripted.kept == {}


async def test_a_conversation_that_is_being_answered_is_not_saved(
    store: Store, states: KvStates
) -> None:
    scripted, session = await talked(store, states)
    scripted.script.append(Says("hm", "yes"))
    saved = [await session.leave() async for _ in session.send("and?", OPTIONS)]
    assert saved
    assert not any(saved)


async def test_nothing_is_computed_for_a_conversation_that_was_left(states: KvStates) -> None:
    scripted, session = await talked(None, states)
    scripted.script.append(Says("hm", "yes"))
    await ask(session, "and?", OPTIONS)
    await session.leave()
    await asyncio.sleep(0.1)
    assert len(scripted.prefilled) == 1  # of the first exchange


async def test_a_damaged_state_is_ignored_and_goes(store: Store, states: KvStates) -> None:
    scripted, session = await talked(store, states)
    assert await session.leave()
    scripted.kept.clear()  # what a damaged file is to the engine
    scripted.prefilled.clear()
    await session.resume()
    await session.settle()
    assert not file_of(states, session).exists()
    assert len(scripted.prefilled) == 1
    scripted.script.append(Says("hm", "fine"))
    assert (await ask(session, "and?", OPTIONS)).answer == "fine"


async def test_nothing_is_kept_where_computing_is_faster(store: Store, states: KvStates) -> None:
    model = demo_model()
    # 100 tokens a second against 300 MB a second: above 3 MB a token.
    heavy = replace(model, architecture=replace(model.architecture, layers=100_000))
    scripted, session = await talked(store, states, heavy)
    assert not await session.leave()
    assert scripted.kept == {}


async def test_a_short_time_limit_is_kept(store: Store, states: KvStates) -> None:
    model = demo_model()
    big = replace(model, architecture=replace(model.architecture, layers=1000))
    _, session = await talked(store, states, big)
    assert not await session.leave(within_seconds=0.1)
    assert await session.leave(within_seconds=60)


async def test_deleted_conversations_leave_nothing(store: Store, states: KvStates) -> None:
    _, session = await talked(store, states)
    assert session.conversation_id is not None
    store.delete(session.conversation_id)
    assert not await session.leave()
    assert not file_of(states, session).exists()


async def test_no_disk_space_switches_it_off(store: Store, tmp_path: Path) -> None:
    scripted, session = await talked(store, KvStates(tmp_path / "kv", 0))
    assert not await session.leave()
    assert scripted.kept == {}


async def test_a_dead_engine_is_no_error_here(store: Store, states: KvStates) -> None:
    scripted, session = await talked(store, states)
    assert await session.leave()
    scripted.alive = False
    assert not await session.leave()
    await session.resume()
    await session.settle()
    scripted.script.append(Says("hm", "yes"))
    assert died((await ask(session, "and?", OPTIONS)).error)
    assert file_of(states, session).exists()


async def test_a_folder_that_refuses_is_no_error(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("in the way")
    _, session = await talked(store, KvStates(tmp_path / "kv", 1 << 30))
    assert not await session.leave()


async def test_another_engine_knows_nothing(store: Store, states: KvStates) -> None:
    scripted, session = await talked(store, states)
    assert await session.leave()
    fresh = Scripted(8192, kept=scripted.kept)
    session.replace_engine(fresh.engine)
    assert not await session.leave()
    await session.resume()
    assert fresh.cached == scripted.kept[file_of(states, session)]
