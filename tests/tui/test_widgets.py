"""The chat's widgets on scripted events: folding, following, keys, untrusted text."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static
from tui_scene import (
    ANSWER,
    STATS,
    THINKING,
    a_chat,
    chat_of,
    in_chat,
    messages,
    texts,
    until,
)

from localr1.chat.types import (
    AnswerDelta,
    Conversation,
    Finished,
    Notice,
    PromptProgress,
    ThinkingDelta,
)
from localr1.tui.app import LocalR1App
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.reply import Reply
from localr1.tui.widgets.thinking import TAIL_LINES
from localr1.tui.widgets.thinking import Page as ThinkingPage
from localr1.tui.widgets.transcript import MOUNTED_MESSAGES, Earlier, Transcript

EVIL = "\x1b[31mred\x1b]0;title\x07 [bold]not bold[/] \u202egnol [link=https://x.y]z"


class Page(App[None]):
    """A transcript with one reply that is about to stream."""

    def __init__(self, display: str = "folded") -> None:
        super().__init__()
        self.transcript = Transcript(display)
        self.reply = self.transcript.new_reply()

    def compose(self) -> ComposeResult:
        yield self.transcript

    async def on_mount(self) -> None:
        await self.transcript.add(self.reply)


async def think(app: Page, pilot: Pilot[None], lines: int = 30) -> None:
    for number in range(lines):
        event = ThinkingDelta(f"line {number}\n", tokens=number + 1, seconds=(number + 1) / 10)
        await app.reply.receive(event)
    await app.reply.draw()
    await pilot.pause()


async def test_thinking_streams_into_a_short_tail_and_folds_when_the_answer_begins() -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        await think(app, pilot)
        tail = texts(app, ".tail")
        assert tail.count("line") == TAIL_LINES
        assert "line 29" in tail
        assert "Thinking 3 s · 30 tokens · 10 tok/s" in texts(app, "ThinkingHeader")
        await app.reply.receive(AnswerDelta("It is **so**.", 4, 0.1))
        await app.reply.draw()
        await pilot.pause()
        assert not app.query(".tail")
        assert not app.query("ThinkingText")
        assert "It is so." in texts(app, "Answer")
        await app.reply.receive(Finished(STATS))
        await pilot.pause()
        assert "Thought for 3 s · 100 tokens" in texts(app, "ThinkingHeader")


async def test_thinking_that_the_user_opened_stays_open_and_grows() -> None:
    app = Page()
    async with app.run_test(size=(80, 60)) as pilot:
        await think(app, pilot, 5)
        await app.reply.thinking.toggle()
        await app.reply.receive(ThinkingDelta("more\n", 9, 1.0))
        await app.reply.draw()
        await app.reply.receive(AnswerDelta("Yes.", 1, 0.1))
        await app.reply.draw()
        await pilot.pause()
        assert app.reply.thinking.is_open
        text = texts(app, "ThinkingText Static")
        assert "line 0" in text
        assert "more" in text


async def test_a_long_thought_is_whole_when_opened() -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        await think(app, pilot, 900)
        await app.reply.thinking.toggle()
        await pilot.pause()
        pages = list(app.query(ThinkingPage))
        assert len(pages) > 3
        assert pages[0].asleep
        for page in pages:
            await page.wake()
        whole = "\n".join(str(page.render()) for page in pages)
        assert [line for line in whole.split("\n") if line] == [f"line {n}" for n in range(900)]


@pytest.mark.parametrize(("display", "is_open"), [("open", True), ("hidden", False)])
async def test_the_setting_for_thinking_is_followed(display: str, is_open: bool) -> None:
    app = Page(display)
    async with app.run_test(size=(80, 24)) as pilot:
        await think(app, pilot, 3)
        assert app.reply.thinking.is_open is is_open
        assert not app.query(".tail")


async def test_the_prompt_is_read_with_progress_and_notices_stay() -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.reply.receive(PromptProgress(512, 2048))
        await pilot.pause()
        assert "Reading 512 of 2,048 tokens" in texts(app, "ThinkingHeader")
        await app.reply.receive(Notice("Two messages are left out."))
        await pilot.pause()
        assert "Two messages are left out." in texts(app, "Note")


async def test_a_stopped_reply_says_so_and_keeps_what_came() -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.reply.receive(AnswerDelta("half an ans", 3, 0.2))
        await app.reply.receive(Finished(replace(STATS, finish_reason="cancelled")))
        await pilot.pause()
        assert "half an ans" in texts(app, "Answer")
        assert "stopped" in texts(app, ".figures")


async def test_untrusted_text_cannot_draw_style_or_command() -> None:
    app = Page()
    async with app.run_test(size=(100, 40)) as pilot:
        await app.transcript.add(Question(EVIL))
        await app.reply.receive(ThinkingDelta(EVIL, 1, 0.1))
        await app.reply.thinking.toggle()
        await app.reply.draw()
        await app.reply.receive(AnswerDelta(EVIL, 1, 0.1))
        await app.reply.draw()
        await pilot.pause()
        for selector in ("Question", "ThinkingText", "Answer"):
            text = texts(app, selector)
            assert "[bold]not bold[/]" in text, selector
            assert "[31mred" in text, selector
            assert not set(text) & set("\x1b\x07\u202e")


async def test_the_view_follows_only_from_the_end() -> None:
    app = Page()
    async with app.run_test(size=(80, 20)) as pilot:
        for _ in range(12):
            await app.transcript.add(Question("a question\nof two lines"))
        await pilot.pause()
        assert app.transcript.scroll_y == app.transcript.max_scroll_y > 0
        app.transcript.scroll_to(y=3, animate=False)
        await pilot.pause()
        await app.transcript.add(Question("more"))
        await pilot.pause()
        assert app.transcript.scroll_y == 3
        app.transcript.scroll_end(animate=False)
        await pilot.pause()
        await app.transcript.add(Question("more"))
        await pilot.pause()
        assert app.transcript.scroll_y == app.transcript.max_scroll_y


async def test_a_short_conversation_begins_at_the_top() -> None:
    app = Page()
    async with app.run_test(size=(80, 30)) as pilot:
        await app.transcript.add(Question("hello"))
        await pilot.pause()
        assert app.transcript.scroll_y == 0
        assert app.reply.region.y <= 2


async def test_only_the_last_messages_are_mounted_and_earlier_ones_come_on_request() -> None:
    app = Page()
    pairs = [(f"question {n}", "", f"answer {n}") for n in range(25)]
    async with app.run_test(size=(80, 24)) as pilot:
        await app.transcript.show(messages(*pairs))
        await pilot.pause()
        assert len(app.query(Question)) + len(app.query(Reply)) == MOUNTED_MESSAGES
        app.query_one("#earlier").action_press()  # type: ignore[attr-defined]
        await until(
            pilot,
            lambda: len(app.query(Question)) == MOUNTED_MESSAGES and app.query("#earlier"),
        )
        app.query_one("#earlier").action_press()  # type: ignore[attr-defined]
        await until(pilot, lambda: len(app.query(Question)) == 25)
        assert not app.query(Earlier)
        first = app.query(Question).first()
        assert "question 0" in str(first.render())


async def ready_chat(pilot: Pilot[None], app: LocalR1App) -> None:
    await until(pilot, lambda: in_chat(app))


async def test_a_draft_survives_the_app() -> None:
    app = await a_chat()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready_chat(pilot, app)
        await pilot.press(*"half a thought")
        await pilot.press("ctrl+q")
    again = await a_chat()
    async with again.run_test(size=(80, 24)) as pilot:
        await ready_chat(pilot, again)
        await until(pilot, lambda: chat_of(again).composer.text == "half a thought")


async def test_ctrl_j_begins_a_line_and_up_brings_back_the_last_prompt() -> None:
    app = await a_chat(
        conversation=Conversation(1, "sums", "demo", messages(("What is 1 + 1?", "", "2")))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await ready_chat(pilot, app)
        composer = chat_of(app).composer
        composer.remember(["first", "second"])
        await pilot.press("a", "ctrl+j", "b")
        assert composer.text == "a\nb"
        await pilot.press("ctrl+c")
        assert composer.text == ""
        await pilot.press("up")
        assert composer.text == "second"
        await pilot.press("up")
        assert composer.text == "first"
        await pilot.press("down", "down")
        assert composer.text == ""


async def test_ctrl_c_clears_then_asks_and_the_second_quits() -> None:
    app = await a_chat()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready_chat(pilot, app)
        await pilot.press("x", "ctrl+c")
        assert chat_of(app).composer.text == ""
        await pilot.press("ctrl+c")
        assert app.is_running
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app._exit)


async def test_a_waiting_message_can_be_taken_back() -> None:
    pause = asyncio.Event()
    app = await a_chat(pause=pause)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.screen.query("Composer"))
        chat = chat_of(app)
        assert "Loading" in texts(app, "#load")
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: chat.query(Question))
        await pilot.press("escape")
        await until(pilot, lambda: not chat.query(Question))
        assert chat.composer.text == "hello"
        pause.set()
        await ready_chat(pilot, app)


async def test_the_last_answer_is_copied_as_markdown() -> None:
    app = await a_chat(
        conversation=Conversation(
            1, "sums", "demo", messages(("What is 347 + 589?", THINKING, ANSWER))
        )
    )
    async with app.run_test(size=(80, 30)) as pilot:
        await ready_chat(pilot, app)
        await chat_of(app)._redraw()
        await pilot.press("ctrl+y")
        assert app.clipboard == ANSWER
        await pilot.pause()
        assert "│ 936 │" in texts(app, "Answer")


async def test_the_splash_is_plain() -> None:
    app = await a_chat()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready_chat(pilot, app)
        assert "localr1" in str(app.screen_stack[0].query_one("#splash", Static).render())
