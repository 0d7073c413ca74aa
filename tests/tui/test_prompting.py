"""The prompt: long pastes, attached files, the editor, what it costs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from tui_scene import asked, chat_of, played_chat, texts, thinking, until

from localr1.errors import FileError
from localr1.tui import editor
from localr1.tui.folding import (
    Folds,
    as_attachment,
    attached_names,
    completions,
    dropped_path,
    without_files,
)
from localr1.tui.prompt_cost import cost_words, with_files

LONG = "\n".join(f"line {number} of the text" for number in range(214))


@given(st.lists(st.text(max_size=1200), max_size=4), st.text())
def test_what_was_folded_comes_back_whole(pasted: list[str], typed: str) -> None:
    folds = Folds()
    words = [folds.fold(text) for text in pasted]
    # What a user types is not the words by chance.
    typed = typed.replace("[", "(")
    text = typed.join(["", *words])
    assert folds.unfold(text) == typed.join(["", *pasted])


def test_two_pastes_of_one_length_are_told_apart() -> None:
    folds = Folds()
    first, second = folds.fold(LONG), folds.fold(LONG.upper())
    assert first == "[Pasted 214 lines]"
    assert second == "[Pasted 214 lines #2]"
    assert folds.fold(LONG) == first
    assert folds.unfold(f"{second} and {first}") == f"{LONG.upper()} and {LONG}"


@pytest.mark.parametrize(
    ("pasted", "path"),
    [
        ("/a/b.txt", "/a/b.txt"),
        ("'/a/my notes.txt' ", "/a/my notes.txt"),
        ("/a/my\\ notes.txt", "/a/my notes.txt"),
        ("file:///a/my%20notes.txt", "/a/my notes.txt"),
        ("/a\n/b", ""),
        ("just words", ""),
        ("", ""),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of Unix")
def test_a_dropped_file_is_known_by_its_path(pasted: str, path: str) -> None:
    assert dropped_path(pasted) == path


def test_names_behind_an_at_sign_are_found_and_addresses_are_not() -> None:
    text = 'Compare @a.txt with @"my notes.txt", mail me@example.org'
    assert list(attached_names(text)) == [
        ("@a.txt", "a.txt"),
        ('@"my notes.txt"', "my notes.txt"),
    ]
    assert as_attachment("my notes.txt") == '@"my notes.txt"'


def test_a_name_is_completed_as_far_as_it_is_sure() -> None:
    names = [("notes.txt", False), ("notes.md", False), ("src", True), (".git", True)]
    assert completions("no", iter(names)) == ("notes.", ("notes.md", "notes.txt"))
    assert completions("s", iter(names)) == ("src/", ("src/",))
    assert completions("", iter(names))[1] == ("notes.md", "notes.txt", "src/")
    assert completions("x", iter(names)) == ("x", ())


def test_the_cost_is_told_in_tokens_and_seconds() -> None:
    assert cost_words(3100, 250.0, 12000) == "3,100 tokens, read in about 10 s"
    assert cost_words(3100, 0.0, 12000) == "3,100 tokens"
    assert cost_words(31000, 250.0, 12000).endswith("more than the window has room for (12,000)")


async def test_files_are_put_into_the_message_and_folded_when_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("print(1)\nprint(2)\n", encoding="utf-8")
    message = await with_files("What does @a.py do? Ask @someone.")
    assert "[file name]: a.py\n[file content begin]\nprint(1)\n" in message
    assert message.endswith("What does a.py do? Ask @someone.")
    assert without_files(message) == (
        ("a.py, 2 lines",),
        "What does a.py do? Ask @someone.",
    )
    with pytest.raises(FileError, match="no file"):
        await with_files("Read @src/gone.py")


@pytest.mark.skipif(shutil.which("pdftotext") is not None, reason="pdftotext is here")
async def test_a_pdf_without_its_program_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.4\n\0")
    with pytest.raises(FileError, match="is a PDF"):
        await with_files(f"Read @{path}")


async def test_a_long_paste_is_one_line_with_its_cost_and_is_sent_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("one\ntwo\n", encoding="utf-8")
    async with played_chat(size=(80, 44)) as (app, pilot, engine):
        chat = chat_of(app)
        chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: chat.composer.text == "[Pasted 214 lines]")
        await until(pilot, lambda: "tokens" in str(chat.composer.border_subtitle))
        # A crash loses nothing of it.
        await until(pilot, lambda: chat._draft._saved[1] == LONG)
        await pilot.press(*" @no", "tab")
        assert chat.composer.text == "[Pasted 214 lines] @notes.txt"
        await asked(app, pilot, chat.composer.text)
        question = chat._talk.messages[0].text
        assert LONG in question
        assert "[file name]: notes.txt\n[file content begin]\none\ntwo\n" in question
        shown = texts(app, "Question")
        assert "notes.txt, 2 lines" in shown
        assert "more lines" in shown
        assert len(engine.asked) == 1
        # Edited, the file is one word again.
        await pilot.press("alt+up", "alt+up", "e")
        assert chat.composer.text.startswith("[notes.txt, 2 lines]")


@pytest.mark.skipif(sys.platform == "win32", reason="a script of Unix")
def test_the_editor_gives_back_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "edit"
    script.write_text('#!/bin/sh\nprintf "more" >> "$1"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(script))
    assert editor.edited("some ") == "some more"
    script.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    with pytest.raises(FileError, match="ended with an error"):
        editor.edited("some")
    monkeypatch.setenv("VISUAL", str(tmp_path / "gone"))
    with pytest.raises(FileError, match="cannot be used"):
        editor.edited("some")


async def test_the_arrow_brings_back_what_was_asked_in_every_conversation() -> None:
    async with played_chat((80, 30)) as (app, pilot, _):
        chat = chat_of(app)
        await asked(app, pilot, "First?")
        await asked(app, pilot, "Second?")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: chat._talk.conversation_id is None and not chat._talk.messages)
        await until(pilot, lambda: chat.composer._sent == ["First?", "Second?"])
        await asked(app, pilot, "Third?")
        seen = []
        for _n in range(4):
            await pilot.press("up")
            seen.append(chat.composer.text)
        assert seen == ["Third?", "Second?", "First?", "First?"]
        await pilot.press("down")
        assert chat.composer.text == "Second?"


async def test_what_was_asked_in_private_is_never_brought_back() -> None:
    async with played_chat((80, 30)) as (app, pilot, _):
        chat = chat_of(app)
        await pilot.press("f7")
        await until(pilot, lambda: app.services.private)
        await asked(app, pilot, "Secret?")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not app.services.private and not chat._talk.messages)
        await until(pilot, lambda: chat.composer._sent == [])


async def test_ctrl_c_copies_clears_stops_and_then_quits() -> None:
    async with played_chat((80, 30)) as (app, pilot, engine):
        chat = chat_of(app)
        chat.composer.load("Count on.")
        await pilot.press("enter")
        await until(pilot, lambda: chat._talk.busy and engine.asked)
        engine.events.put_nowait(thinking("One, two", 3, 1.0))
        chat.composer.load("and then this")
        chat.composer.select_all()
        await pilot.press("ctrl+c")
        assert app.clipboard == "and then this"
        assert chat.composer.text == "and then this", "copying leaves all as it is"
        assert chat._talk.busy
        chat.composer.move_cursor(chat.composer.document.end)
        await pilot.press("ctrl+c")
        assert chat.composer.text == ""
        assert chat._talk.busy
        await pilot.press("ctrl+c")
        await until(pilot, chat._idle.is_set)
        assert chat._talk.messages[-1].thinking == "One, two", "what came is kept"
        assert app.is_running
        await pilot.press("ctrl+c")
        assert app.is_running
        told = [notice.message for notice in app._notifications]
        assert "Press Ctrl+C again to quit." in told
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app._exit)
