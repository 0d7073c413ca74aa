"""A private conversation leaves nothing on the disk: no row, draft, computed state or log text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.pilot import Pilot
from tui_scene import ask, chat_of, first_run, in_chat, texts, until

from localr1.chat import kv_state
from localr1.tui.app import LocalR1App
from localr1.tui.screens.conversations import Conversations
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.reply import Reply

SECRET = "What is 8147 + 1265?"
WORDS = (b"8147 + 1265", b"8147 and 1265", b"unsent secret")


def written() -> list[Path]:
    """Files under localr1's own folder in which a word of the conversation stands."""
    files = (path for path in Path(os.environ["LOCALR1_HOME"]).rglob("*") if path.is_file())
    return [
        path
        for path in files
        # Computed states have no words in them, but the conversation's number, which is below 0.
        if path.name.startswith("-") or any(word in path.read_bytes() for word in WORDS)
    ]


async def private(app: LocalR1App, pilot: Pilot[None]) -> None:
    chat = chat_of(app)
    await pilot.press("f7")
    await until(pilot, lambda: app.services.private and not chat.query(Question))
    await until(pilot, lambda: "never written" in texts(app, "Heading"))


async def test_nothing_of_it_is_ever_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_state, "pays", lambda *_arguments, **_limits: True)
    async with first_run() as (app, pilot):
        await ask(app, pilot, "What is 1 + 1?")
        await private(app, pilot)
        reply = await ask(app, pilot, SECRET)
        assert "9412" in reply.answer_text
        reply = await ask(app, pilot, "What is 5 - 9?")
        assert "-4" in reply.answer_text
        chat = chat_of(app)
        await pilot.press(*"unsent secret")
        await until(pilot, lambda: chat._draft._saved[1] == "unsent secret")
        assert not written()
        # Another private one begins empty.
        await private(app, pilot)
        assert chat.composer.text == ""
        await ask(app, pilot, SECRET)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, Conversations))
        listing = app.screen
        assert isinstance(listing, Conversations)
        await until(pilot, lambda: len(listing._summaries) == 1)
        assert not written()
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app) and len(app.screen.query(Reply)) == 1)
        assert not app.services.private
        assert "never written" not in texts(app, "Heading")
        await ask(app, pilot, "What is 2 + 2?")
        assert not written()
        await ask(app, pilot, SECRET)  # not private: so it would be found
        await pilot.press("ctrl+q")
    assert written()


async def test_it_lives_through_a_new_engine_and_ends_with_the_app() -> None:
    async with first_run() as (app, pilot):
        await private(app, pilot)
        await ask(app, pilot, SECRET)
        running = app.runner.running
        assert running is not None
        await running.engine.close()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: in_chat(app))
        assert "-2" in (await ask(app, pilot, "What is 5 - 7?")).answer_text
        assert len(chat_of(app).query(Reply)) == 2
        await pilot.press("ctrl+q")
    assert not written()
