"""Answers in sections: the same Markdown, drawn near the view and nowhere else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from tui_scene import hold_still, messages, until

from localr1.markdown import MathsParser
from localr1.tui.sections import LEAST_CHARACTERS, split
from localr1.tui.widgets.answer import Answer, Section
from localr1.tui.widgets.reply import Reply
from localr1.tui.widgets.transcript import Transcript

WORDS = "so the carry is one and the next column gives seven " * 6
BLOCKS = (
    f"{WORDS}\n\n",
    f"## A heading\n\n{WORDS}\n",
    f"- {WORDS}\n\n- and more\n\n  of it\n\n",
    "1. one\n\n2. two\n\ntext between\n\n3. three\n\n",
    "```python\nx = 1\n\n\ny = 2\n```\n\n",
    "~~~\n```\n\nnot the end\n\n~~~\n\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n",
    "\\[\nx^2\n\n+ 1\n\\]\n\n",
    "$$ \\frac{1}{2} $$\n\n",
    "\\begin{align}\na &= b \\\\\n\nc &= d\n\\end{align}\n\n",
    "\\[\n\\begin{aligned}\na &= b \\\\\n\nc &= d\n\\end{aligned}\n\\]\n\n",
    f"> {WORDS}\n>\n> again\n\n",
    "    indented code\n\n    more of it\n\n",
    "\\[ never closed\n\n",
    "```\nnever closed\n\n",
    "---\n\n",
    "",
)


def tokens(text: str) -> list[tuple[str, str, str]]:
    return [(t.type, t.tag, t.content) for t in MathsParser().parse(text)]


@given(st.lists(st.sampled_from(BLOCKS), max_size=14).map("".join))
def test_the_sections_say_what_the_whole_says(text: str) -> None:
    parts = split(text)
    assert "".join(parts) == text
    assert [t for part in parts for t in tokens(part)] == tokens(text)
    assert all(len(part) >= LEAST_CHARACTERS for part in parts[:-1])


@given(st.lists(st.sampled_from(BLOCKS), max_size=10).map("".join), st.integers(1, 200))
def test_sections_stay_as_they_are_when_more_comes(text: str, step: int) -> None:
    before: tuple[str, ...] = ("",)
    for end in range(0, len(text) + step, step):
        parts = split(text[:end])
        assert parts[: len(before) - 1] == before[:-1]
        before = parts


class Page(App[None]):
    """A long conversation."""

    def __init__(self) -> None:
        super().__init__()
        self.transcript = Transcript()

    def compose(self) -> ComposeResult:
        yield self.transcript


LONG = "".join(f"## Part {number}\n\n{WORDS}{WORDS}{WORDS}\n\n" for number in range(8))


async def test_only_what_is_near_the_view_is_drawn_and_reading_keeps_its_place() -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        transcript = app.transcript
        await transcript.show(messages(*((f"Question {n}", "", LONG) for n in range(6))))
        await until(pilot, lambda: not transcript._tending)
        await hold_still(pilot)
        replies = list(app.query(Reply))
        assert len(replies) == 6
        assert [bool(each.children) for each in replies] == [not each.asleep for each in replies]
        assert sum(each.asleep for each in replies) >= 4
        assert not list(app.query(Section))[-1].asleep
        assert sum(not each.asleep for each in app.query(Section)) <= 8
        top = transcript.max_scroll_y
        transcript.scroll_to(y=top // 2, animate=False, immediate=True)
        await pilot.pause()
        await until(pilot, lambda: not transcript._tending and not asleep_in_view(app))
        await hold_still(pilot)
        # What was read at first sleeps now.
        assert list(app.query(Section))[-1].asleep
        assert sum(each.asleep for each in replies) >= 3
        # Above, sections come to their true height while they are drawn; what is read stays.
        for _ in range(12):
            seen = [strip.text[:70] for strip in app.screen._compositor.render_strips()]
            transcript.scroll_relative(y=-2, animate=False, immediate=True)
            await pilot.pause()
            await until(pilot, lambda: not transcript._tending)
            await hold_still(pilot)
            now = [strip.text[:70] for strip in app.screen._compositor.render_strips()]
            assert now[4:] == seen[2:-2]


def asleep_in_view(app: Page) -> bool:
    view = app.transcript.region
    parts = (*app.query(Reply), *app.query(Section))
    return any(each.asleep and each.region.overlaps(view) for each in parts)


async def test_an_answer_that_streams_is_the_same_as_the_whole() -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        grown, whole = Answer(growing=True), Answer(LONG)
        await app.transcript.add(grown)
        for at in range(0, len(LONG), 170):
            grown.extend(LONG[at : at + 170])
            await grown.draw()
        await grown.complete()
        await app.transcript.add(whole)
        await pilot.pause()
        assert grown.source == whole.source == LONG
        assert [s.words for s in grown.query(Section)] == [s.words for s in whole.query(Section)]


async def test_a_reply_that_slept_is_drawn_as_before() -> None:
    app = Page()
    async with app.run_test(size=(80, 24)) as pilot:
        transcript = app.transcript
        talk = messages(("First", "I think.", "So **it** is."), ("Second", "", LONG))
        await transcript.show(talk)
        await until(pilot, lambda: not transcript._tending)
        first = app.query(Reply).first()
        assert first.asleep
        assert first.answer_text == "So **it** is."
        assert first.thinking.text == "I think."
        # Whatever is done with it wakes it.
        assert await first.find("think") == 1
        assert [each.source for each in first.query(Answer)] == ["So **it** is."]
        await first.sleep()
        assert first.asleep
        assert not first.children
        await first.wake()
        assert first.thinking.is_open
        await first.action_thinking()
        assert not first.thinking.is_open
