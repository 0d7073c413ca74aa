"""Messages chosen by the keyboard: edited, thought again, answered again, gone on with, quoted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input
from tui_scene import (
    FrozenServices,
    answering,
    asked,
    chat_of,
    generated,
    hold_still,
    played,
    played_chat,
    texts,
    thinking,
    until,
)

from localr1.models.types import LocalModel
from localr1.tui.screens.answer_again import AnswerAgainChoice
from localr1.tui.screens.compare import Compare
from localr1.tui.screens.context import ContextWindow
from localr1.tui.screens.pick_model import PickModel
from localr1.tui.screens.type_value import TypeValue
from localr1.tui.widgets.code_block import CodeBlock
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.reply import Reply

CODE = "Two ways:\n\n```python\nprint(1)\n```\n\nand\n\n```sh\necho 1\n```\n"


async def test_a_question_is_edited_and_both_versions_can_be_gone_to() -> None:
    async with played_chat() as (app, pilot, engine):
        chat = chat_of(app)
        await asked(app, pilot, "One?", answering("Uno.", 2), generated())
        chat.composer.load("a draft")
        await pilot.press("alt+up", "alt+up")
        assert isinstance(app.focused, Question)
        await pilot.press("e")
        assert chat.composer.text == "One?"
        await pilot.press("escape")
        assert chat.composer.text == "a draft"
        await pilot.press("alt+up", "alt+up", "e")
        await asked(app, pilot, "Two?", answering("Due.", 2), generated())
        assert chat.composer.text == "a draft"
        assert "◂ 2 of 2 ▸" in texts(app, "Question")
        assert "Due." in texts(app, "Answer")
        assert len(chat.query(Reply)) == 1
        await pilot.press("alt+up", "alt+up", "left")
        await until(pilot, lambda: "◂ 1 of 2 ▸" in texts(app, "Question"))
        assert "Uno." in texts(app, "Answer")
        # The same place is chosen on the other branch.
        await until(pilot, lambda: isinstance(app.focused, Question))
        await pilot.press("right")
        await until(pilot, lambda: "◂ 2 of 2 ▸" in texts(app, "Question"))
        await until(pilot, lambda: isinstance(app.focused, Question))
        await pilot.press("escape")
        await asked(app, pilot, "Three?")
        assert [m.text for m in chat._talk.messages] == ["Two?", "Due.", "Three?", "So it is."]
        assert len(engine.asked) == 3


async def test_a_reply_is_thought_again_and_answered_again_beside_the_first() -> None:
    async with played_chat(size=(100, 30)) as (app, pilot, engine):
        chat = chat_of(app)
        await asked(app, pilot, "Why?")
        await pilot.press("alt+up", "r")
        await played(app, pilot)
        assert "2 of 2" in texts(app, "Reply .figures")
        assert chat.composer.has_focus
        await pilot.press("alt+up", "a")
        await until(pilot, lambda: isinstance(app.screen, AnswerAgainChoice))
        await pilot.pause()
        assert "Nothing is thought again" in texts(app, ".hint")
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.screen is chat)
        await played(app, pilot, answering("Short.", 2), generated())
        assert not engine.asked[-1].thinking_open
        assert "3 of 3" in texts(app, "Reply .figures")
        assert "Short." in texts(app, "Answer")
        assert "answered again: much shorter" in texts(app, "ThinkingHeader")
        await pilot.press("alt+up", "plus")
        await until(pilot, lambda: "good" in texts(app, "Reply .figures"))
        await pilot.press("left")
        await until(pilot, lambda: "2 of 3" in texts(app, "Reply .figures"))
        assert "good" not in texts(app, "Reply .figures")


async def test_a_stopped_reply_goes_on_by_a_key() -> None:
    async with played_chat() as (app, pilot, engine):
        chat = chat_of(app)
        await asked(app, pilot, "Why?", thinking("Because it", 3, 1.0), generated("cancelled"))
        assert "stopped" in texts(app, "Reply .figures")
        await pilot.press("alt+up", "g")
        await played(
            app, pilot, thinking(" is so.", 4, 1.0), answering("It is so.", 4), generated()
        )
        assert engine.asked[-1].thinking_open
        assert len(chat.query(Reply)) == 1
        assert chat.query_one(Reply).thinking.text == "Because it is so."
        assert "It is so." in texts(app, "Answer")
        # Now it came to its end: nothing to go on with.
        await pilot.press("alt+up", "g")
        await pilot.pause()
        assert len(engine.asked) == 2


async def test_a_quotation_stands_in_the_prompt_and_typing_goes_there() -> None:
    async with played_chat() as (app, pilot, _engine):
        chat = chat_of(app)
        await asked(app, pilot, "Why?")
        await pilot.press("alt+up", "q")
        assert chat.composer.text == "> So it is.\n\n"
        assert chat.composer.has_focus
        await pilot.press(*"ok")
        assert chat.composer.text.endswith("\n\nok")
        # A letter that is no key of the chosen message goes to the prompt too.
        await pilot.press("alt+up", "w")
        assert chat.composer.text.endswith("okw")


async def test_code_blocks_are_copied_and_saved_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.sh").write_text("mine\n", encoding="utf-8")
    async with played_chat(size=(80, 34)) as (app, pilot, _engine):
        chat = chat_of(app)
        await asked(app, pilot, "How?", answering(CODE, 30), generated())
        assert "python" in texts(app, "CodeBlock .bar")
        await pilot.press("alt+up", "b", "c")
        assert app.clipboard == "print(1)"
        await pilot.press("b", "c")
        assert app.clipboard == "echo 1"
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, TypeValue))
        # A file that is there keeps its name.
        assert app.screen.query_one(Input).value == "code-2.sh"
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is chat)
        assert (tmp_path / "code-2.sh").read_text(encoding="utf-8") == "echo 1\n"
        assert (tmp_path / "code.sh").read_text(encoding="utf-8") == "mine\n"
        assert type(app.focused).__name__ == CodeBlock.__name__
        await pilot.press("escape")
        assert type(app.focused).__name__ == Reply.__name__
        await pilot.press("escape")
        assert chat.composer.has_focus
        # By mouse too.
        await pilot.click(".bar", offset=(11, 0))
        await pilot.pause()
        assert app.clipboard == "print(1)"


async def test_the_context_window_is_explained_and_a_new_conversation_begins_from_here() -> None:
    async with played_chat(size=(80, 34)) as (app, pilot, engine):
        chat = chat_of(app)
        await asked(app, pilot, "One?")
        await asked(app, pilot, "Two?", answering("Second.", 2), generated())
        number = chat._talk.conversation_id
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, ContextWindow))
        await pilot.pause()
        shown = texts(app, "ContextWindow > VerticalScroll")
        assert "the conversation so far" in shown
        assert "Leave out the oldest from now on" in shown
        await pilot.press("end", "enter")
        await until(pilot, lambda: chat._talk.conversation_id not in {number, None})
        await until(pilot, lambda: len(chat.query(Question)) == 1)
        assert [m.text for m in chat._talk.messages] == ["Two?", "Second."]
        # A summary is an exchange like any other, and the beginning of the next conversation.
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, ContextWindow))
        await pilot.press("home", "down", "enter")
        await until(pilot, lambda: app.screen is chat)
        before = chat._talk.conversation_id
        await played(app, pilot, answering("In short.", 3), generated())
        await until(pilot, lambda: chat._talk.conversation_id != before)
        await until(pilot, lambda: len(chat._talk.messages) == 2)
        assert chat._talk.messages[1].text == "In short."
        assert len(await app.services.summaries()) == 3
        assert len(engine.asked) == 3


async def test_another_model_answers_the_same_question_and_both_are_shown() -> None:
    async with played_chat(size=(100, 30)) as (app, pilot, _engine):
        chat = chat_of(app)
        services = app.services
        assert isinstance(services, FrozenServices)
        first = chat.local
        other = replace(first, model=replace(first.model, id="r1-other", name="DeepSeek-R1-Other"))

        async def both() -> tuple[LocalModel, ...]:
            return (first, other)

        services.local_models = both  # type: ignore[method-assign]
        await asked(app, pilot, "Why?", answering("One reason.", 3), generated())
        await pilot.press("alt+up", "m")
        await until(pilot, lambda: isinstance(app.screen, PickModel))
        await pilot.press("enter")
        await until(pilot, lambda: len(services.engines) == 2 and services.engines[1].asked)
        for event in (answering("Another reason.", 3), generated()):
            services.engines[1].events.put_nowait(event)
        await until(pilot, lambda: isinstance(app.screen, Compare))
        await hold_still(pilot)
        shown = texts(app, ".column")
        assert "One reason." in shown
        assert "Another reason." in shown
        assert "R1-Other" in shown
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is chat)
        assert chat.local == other
        assert "2 of 2" in texts(app, "Reply .figures")
        await pilot.press("alt+up", "v")
        await until(pilot, lambda: isinstance(app.screen, Compare))


async def test_words_are_found_in_a_long_thinking_page_by_page() -> None:
    long = "\n".join(f"step {number}, and on" for number in range(600))
    async with played_chat(size=(80, 30)) as (app, pilot, _engine):
        chat = chat_of(app)
        await asked(app, pilot, "Why?", thinking(long, 900, 9.0), answering("So.", 2), generated())

        async def find(words: str) -> None:
            await pilot.press("ctrl+f")
            await until(pilot, lambda: isinstance(app.screen, TypeValue))
            app.screen.query_one(Input).value = words
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is chat)
            await hold_still(pilot)

        await find("STEP 599")
        assert chat.query_one(Reply).thinking.is_open
        assert "step 599, and on" in texts(app, "ThinkingText")
        await find("step 0,")
        assert "step 0, and on" in texts(app, "ThinkingText")
        # Every page has it: asked again, the next one is shown.
        await find("and on")
        first = texts(app, "ThinkingText")
        await find("and on")
        assert texts(app, "ThinkingText") != first
