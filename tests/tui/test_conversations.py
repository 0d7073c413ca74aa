"""Going from one conversation to another with the real engine: what is computed is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_chat_demo import first_run
from textual.pilot import Pilot
from tui_scene import ask, chat_of, in_chat, until

from localr1.chat import kv_state
from localr1.tui.app import LocalR1App
from localr1.tui.screens.conversations import Conversations
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.reply import Reply

LONG_AGO = 1_000_000_000


@pytest.fixture
def _always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # The demo computes faster than any disk reads.
    monkeypatch.setattr(kv_state, "pays", lambda *_arguments, **_limits: True)


def kept(app: LocalR1App) -> list[Path]:
    return sorted((app.services.home.directories.cache / "kv").glob("*.kv"))


async def at_list(app: LocalR1App, pilot: Pilot[None], conversations: int) -> Conversations:
    """Open the list of conversations."""
    await pilot.press("ctrl+l")
    await until(pilot, lambda: isinstance(app.screen, Conversations))
    listing = app.screen
    assert isinstance(listing, Conversations)
    await until(pilot, lambda: len(listing._summaries) == conversations)
    return listing


async def delete(app: LocalR1App, pilot: Pilot[None], conversations: int, *keys: str) -> None:
    """Delete the conversation that some keys lead to."""
    listing = await at_list(app, pilot, conversations)
    await pilot.press(*keys, "ctrl+d")
    await until(pilot, lambda: len(listing._summaries) == conversations - 1)
    await pilot.press("escape")
    await until(pilot, lambda: in_chat(app))


@pytest.mark.usefixtures("_always_worth_it")
async def test_the_state_is_kept_when_a_conversation_is_left_and_read_when_it_is_opened() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 347 + 589?")
        chat = chat_of(app)
        assert not kept(app)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not chat.query(Question))
        (file,) = kept(app)
        os.utime(file, (LONG_AGO, LONG_AGO))
        await at_list(app, pilot, 1)
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app) and app.screen.query(Reply))
        await until(pilot, lambda: file.stat().st_mtime > LONG_AGO)
        reply = await ask(app, pilot, "What is 5 - 9?")
        assert "-4" in reply.answer_text


@pytest.mark.usefixtures("_always_worth_it")
async def test_quitting_keeps_the_state() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 347 + 589?")
        await pilot.press("ctrl+q")
    assert len(kept(app)) == 1


@pytest.mark.usefixtures("_always_worth_it")
async def test_a_deleted_conversation_leaves_no_state() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 347 + 589?")
        chat = chat_of(app)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not chat.query(Question))
        await ask(app, pilot, "What is 1 + 1?")
        assert len(kept(app)) == 1
        # First the one that is not open, then the one that is.
        await delete(app, pilot, 2, "down")
        await delete(app, pilot, 1)
        await until(pilot, lambda: not chat.query(Question))
        assert chat.status.status.context_used == 0
        await pilot.press("ctrl+q")
    assert not kept(app)


async def test_an_engine_that_was_replaced_knows_the_conversation() -> None:
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 347 + 589?")
        first = app.runner.running
        assert first is not None
        await first.engine.close()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        session = chat_of(app)._talk.session
        assert session is not None
        await until(pilot, lambda: session._idle._task is not None)
        await session.settle()
        await ask(app, pilot, "What is 5 - 9?")
        stats = session.messages[-1].stats
        assert stats is not None
        assert stats.cached_tokens > stats.prompt_tokens / 2
