"""Two who ask one engine: by turns, and neither ends what the other asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from talking import ask, demo_engine, demo_model, question

from localr1.chat.session import ChatSession
from localr1.chat.store import Store
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.engine.guest import Guest


async def said(engine: Engine, request: protocol.Generate) -> protocol.Generated:
    last = [event async for event in engine.generate(request)][-1]
    assert isinstance(last, protocol.Generated)
    return last


def endless(text: str) -> protocol.Generate:
    return question(text, ignore_end=True, max_tokens=1500)


async def test_each_stops_only_its_own(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        guest = Guest(engine)
        for one, other in ((engine, guest), (guest, engine)):
            running = asyncio.create_task(said(one, endless("1 + 1")))
            await asyncio.sleep(0.2)
            waiting = asyncio.create_task(said(other, question("2 + 2")))
            await asyncio.sleep(0.05)
            await other.stop(None)
            # At once, although its turn has not come.
            given_up = await waiting
            assert not running.done()
            assert (given_up.finish_reason, given_up.prompt_tokens) == ("cancelled", 0)
            assert (await running).finish_reason == "length"


@pytest.mark.parametrize("sequences", [1, 2])
async def test_who_gives_up_waiting_holds_nobody_up(tmp_path: Path, sequences: int) -> None:
    async with demo_engine(tmp_path, sequences=sequences) as engine:
        running = [asyncio.create_task(said(engine, endless("1 + 1"))) for _ in range(sequences)]
        await asyncio.sleep(0.2)
        waiting = [asyncio.create_task(said(Guest(engine), question("2 + 2"))) for _ in range(3)]
        await asyncio.sleep(0.05)
        left = waiting.pop(1)
        left.cancel()
        assert [each.finish_reason for each in await asyncio.gather(*waiting)] == ["stop"] * 2
        assert [each.finish_reason for each in await asyncio.gather(*running)] == (
            ["length"] * sequences
        )


async def test_a_guest_leaves_the_worker_and_takes_the_cache(tmp_path: Path) -> None:
    store = Store(None)
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        assert (await ask(session, "347 + 589")).answer == "347 + 589 = 936"
        guest = Guest(engine)
        assert (await said(guest, question("12 + 30"))).finish_reason == "stop"
        # What is computed is no longer the conversation's: it must not be kept as that.
        assert engine.cache_holder is guest
        await guest.close()
        assert engine.alive
        assert (await ask(session, "20 + 22")).answer == "20 + 22 = 42"
        assert engine.cache_holder is not guest
    store.close()
