"""Tables and lists of an answer: few widgets, the same whether they come at once or bit by bit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.console import RenderableType
from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.selection import SELECT_ALL
from textual.widget import Widget
from tui_scene import hold_still, until

from localr1.chat.types import AnswerDelta
from localr1.tui.widgets.answer import Answer
from localr1.tui.widgets.code_block import Code, CodeBlock
from localr1.tui.widgets.listing import MarkdownParagraph
from localr1.tui.widgets.table import Table, column_widths
from localr1.tui.widgets.transcript import Transcript

TABLE = "| step | a result |\n|---|---|\n| ones | 16 |\n| tens and `more` of it | \\(x^2\\) |\n"
LIST = "".join(
    f"{number}. **item** {number} is one that goes on to the end of the line, and a little on\n"
    for number in range(8, 13)
)
NESTED = "- one\n  - inner\n\n    more of it\n- ```\n  code\n  ```\n-\n- last\n"
TEXT = f"{TABLE}\nBetween.\n\n{LIST}\nAnd then.\n\n{NESTED}"


class Page(App[None]):
    """An answer that grows, or one that was there at once."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.transcript = Transcript()

    def compose(self) -> ComposeResult:
        yield self.transcript

    async def on_mount(self) -> None:
        await self.transcript.add(self.answer)

    @property
    def seen(self) -> list[str]:
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()]


async def test_what_streams_looks_like_the_whole() -> None:
    grown, whole = Page(Answer(growing=True)), Page(Answer(TEXT))
    async with whole.run_test(size=(60, 50)) as pilot:
        await hold_still(pilot)
        wanted = whole.seen
    assert "  │ tens and more of it               │ x²               │" in wanted
    mark, below = "    8. item 8 is one that goes on", "       "
    first = next(number for number, line in enumerate(wanted) if line.startswith(mark))
    assert wanted[first + 1].startswith(f"{below}and a little on")
    async with grown.run_test(size=(60, 50)) as pilot:
        for at in range(0, len(TEXT), 7):
            grown.answer.extend(TEXT[at : at + 7])
            await grown.answer.draw()
        await hold_still(pilot)
        # Half-read Markdown can leave traces until the end.
        await grown.answer.complete()
        await hold_still(pilot)
        assert grown.seen == wanted


async def test_an_item_that_is_over_is_not_drawn_again() -> None:
    app = Page(Answer(growing=True))
    async with app.run_test(size=(60, 50)) as pilot:
        before: list[Widget] = []
        for line in LIST.splitlines(keepends=True):
            app.answer.extend(line)
            await app.answer.draw()
            await pilot.pause()
            items = list(app.query(MarkdownParagraph))
            assert items[: len(before)] == before
            before = list(items)
        assert len(before) == 5


async def test_a_table_is_one_widget_and_copied_as_its_source() -> None:
    app = Page(Answer(TABLE))
    async with app.run_test(size=(60, 50)) as pilot:
        await pilot.pause()
        table = app.query_one(Table)
        assert not table.children
        assert table.get_selection(SELECT_ALL) == (TABLE, "\n")


@given(
    st.lists(st.tuples(st.integers(2, 90), st.integers(2, 90)), min_size=1, max_size=12),
    st.integers(12, 200),
)
def test_columns_fill_the_room_and_break_words_last(
    needs: list[tuple[int, int]], room: int
) -> None:
    natural = [max(pair) for pair in needs]
    least = [min(pair) for pair in needs]
    widths = column_widths(natural, least, room)
    assert sum(widths) == room or min(widths) == 1
    assert min(widths) >= 1
    if sum(natural) <= room:
        assert all(width >= need for width, need in zip(widths, natural, strict=True))
    elif sum(least) <= room:
        assert all(width >= need for width, need in zip(widths, least, strict=True))


async def test_a_block_that_is_over_is_never_drawn_again() -> None:
    code = "```python\ndef f(x):\n    return x\n```\n\n"
    nested = "1. **one**\n   - inner\n   - more\n2. two\n"
    some = f"## Heading\n\nWith *words*.\n\n{TABLE}\n{code}\\[ x^2 \\]\n\n---\n\n"
    text = f"{some}{LIST}\nBetween.\n\n{nested}\nAfter.\n\n" * 3
    app = Page(Answer(growing=True))
    async with app.run_test(size=(60, 50)) as pilot:
        over: list[Widget] = []
        for at in range(0, len(text), 50):
            app.answer.extend(text[at : at + 50])
            await app.answer.draw()
            blocks = [block for section in app.answer.sections for block in section.children]
            assert blocks[: len(over)] == over
            over = blocks[:-1]
        await app.answer.complete()
        await pilot.pause()
        blocks = [block for section in app.answer.sections for block in section.children]
        assert blocks[: len(over)] == over
        assert len(app.answer.sections) > 1


async def test_long_code_is_the_same_in_pieces_and_gets_its_colours() -> None:
    lines = [f"def f{number}(x):\n    return {number}  # {number}\n\n" for number in range(120)]
    text = f"```python\n{''.join(lines)}```\n"
    app = Page(Answer(growing=True))
    async with app.run_test(size=(60, 50)) as pilot:
        for at in range(0, len(text), 900):
            app.answer.extend(text[at : at + 900])
            await app.answer.draw()
            await pilot.pause()
        await app.answer.complete()
        block = app.query_one(CodeBlock)
        await until(pilot, lambda: block._coloured[0] == block.code)
        await pilot.pause()
        pieces = [each._lines for each in block.query(Code)]
        assert len(pieces) > 3
        assert "\n".join(piece.plain for piece in pieces) == block.code
        assert all(len({str(span.style) for span in piece.spans}) > 3 for piece in pieces)


async def test_more_of_an_answer_is_one_drawing_of_the_screen() -> None:
    app = Page(Answer())
    async with app.run_test(size=(60, 20)) as pilot:
        reply = app.transcript.new_reply()
        await app.transcript.add(reply)
        assert reply._ticker is not None
        reply._ticker.stop()
        await reply.receive(AnswerDelta("Begin.", 1, 0.1))
        await hold_still(pilot)
        drawn, display = [], app._display

        def counted(screen: Screen[object], renderable: RenderableType | None) -> None:
            drawn.extend([renderable] if renderable is not None else [])
            display(screen, renderable)

        app._display = counted  # type: ignore[method-assign]
        for number in range(10):
            await reply.receive(AnswerDelta(f" And on, {TEXT[40 * number :][:40]}", 1, 0.1))
            await reply.draw()
            await pilot.pause(0.2)
        # Laid out twice, as Textual would, it would be twice as many.
        assert len(drawn) <= 14
