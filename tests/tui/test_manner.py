"""How a conversation is held: kind of work, sampling, seed, system prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input, Select
from tui_scene import QWEN_7B, asked, chat_of, hold_still, in_chat, played_chat, texts, until

from localr1.chat.manner import PRESETS, USUAL, Manner
from localr1.chat.store import Store
from localr1.tui.screens.manner import MannerForm


@given(
    st.builds(
        Manner,
        system=st.text(st.characters(exclude_categories=["Cs"])),
        preset=st.sampled_from([each.id for each in PRESETS]),
        temperature=st.none() | st.floats(0, 2),
        top_p=st.none() | st.floats(0.01, 1),
        seed=st.none() | st.integers(0, 2**31 - 1),
        leave_out_oldest=st.booleans(),
    )
)
def test_it_is_kept_as_it_was(manner: Manner) -> None:
    assert Manner.from_text(manner.to_text()) == manner


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seed": "x"}', '{"temperature": []}', "3"])
def test_what_cannot_be_read_is_as_if_nothing_was_chosen(text: str) -> None:
    assert Manner.from_text(text) == USUAL


def test_the_makers_advice_is_told_outside_of_it() -> None:
    assert not USUAL.warnings(QWEN_7B)
    assert not Manner(temperature=0.6, top_p=0.95).warnings(QWEN_7B)
    low, high = Manner(temperature=0.0), Manner(temperature=1.2, top_p=0.5, system="Be brief.")
    assert "repeat itself" in low.warnings(QWEN_7B)[0]
    thread, top_p, system = high.warnings(QWEN_7B)
    assert "lose its thread" in thread
    assert "0.95" in top_p
    assert "advise against a system prompt" in system


def test_a_presets_words_are_put_behind_a_question_once() -> None:
    manner = Manner(preset="mathematics")
    question = manner.question("What is 1 + 1?")
    assert question.startswith("What is 1 + 1?\n\nPlease reason step by step")
    assert "\\boxed{}" in question
    assert manner.question(question) == question


async def test_a_conversation_is_held_as_chosen_and_stays_so(tmp_path: Path) -> None:
    del tmp_path
    async with played_chat(size=(80, 24)) as (app, pilot, engine):
        chat = chat_of(app)
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(app.screen, MannerForm))
        app.screen.query_one(Select).value = "mathematics"
        app.screen.query_one("#temperature", Input).value = "warm"
        await pilot.pause()
        assert "cannot be warm" in texts(app, ".problem")
        app.screen.query_one("#system", Input).focus()
        await pilot.press(*"Brief", "home")
        await until(pilot, lambda: "Brief" in texts(app, "#system"))
        app.screen.query_one("#system", Input).value = ""
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert isinstance(app.screen, MannerForm)
        app.screen.query_one("#temperature", Input).value = "0.9"
        app.screen.query_one("#seed", Input).value = "7"
        await pilot.pause()
        assert "lose its thread" in texts(app, ".problem")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is chat)
        await asked(app, pilot, "What is 1 + 1?")
        request = engine.asked[-1]
        assert (request.temperature, request.seed) == (0.9, 7)
        assert "\\boxed{}" in chat._talk.messages[0].text
        number = chat._talk.conversation_id
        assert number is not None
        kept = (await app.services.conversation(number)).manner
        assert kept == Manner(preset="mathematics", temperature=0.9, seed=7)
        # The next conversation is an ordinary one.
        await pilot.press("ctrl+n")
        await until(pilot, lambda: chat._talk.conversation_id is None)
        assert chat._talk.manner == USUAL


SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])


@SIZES
def test_the_form_warns_outside_the_makers_advice(
    snap_compare: Callable[..., bool], size: tuple[int, int]
) -> None:
    from test_snapshots import chat_app

    app = chat_app()

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: in_chat(app))
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(app.screen, MannerForm))
        app.screen.query_one(Select).value = "mathematics"
        app.screen.query_one("#temperature", Input).value = "1.2"
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


def test_a_database_of_the_first_format_is_read(tmp_path: Path) -> None:
    import sqlite3

    from localr1.chat.database import _MIGRATIONS

    path = tmp_path / "c.db"
    with sqlite3.connect(path) as old:
        old.executescript(_MIGRATIONS[0])
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "INSERT INTO conversation VALUES (1, 'Old', 'demo', '2026-01-02', '2026-01-02')"
        )
        old.execute(
            "INSERT INTO message(id, conversation_id, parent_id, role, text, created_at)"
            " VALUES (1, 1, NULL, 'user', 'Hello', '2026-01-02'),"
            " (2, 1, 1, 'assistant', 'Hi', '2026-01-02')"
        )
    old.close()
    store = Store(path)
    kept = store.conversation(1)
    assert [m.text for m in kept.messages] == ["Hello", "Hi"]
    assert kept.manner == USUAL
    store.close()
