"""Formulas in answers: found in Markdown, drawn, streamed, copied, and shown as source."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest
from markdown_it.token import Token
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from tui_scene import a_chat, chat_of, hold_still, in_chat, messages, texts, until

from localr1.chat.types import Conversation
from localr1.markdown import BLOCK, INLINE, MathsParser
from localr1.tui import theme
from localr1.tui.widgets.answer import Answer
from localr1.tui.widgets.formula import Formula, with_sources

LESSON = (Path(__file__).parents[1] / "data" / "mathematics" / "answer.md").read_text("utf-8")
ROOTS = r"""The roots of \(x^2 - 5x + 6 = 0\) are
\[
x = \frac{5 \pm \sqrt{1}}{2}
\]
so **both** are whole: \(x = 2\) or $x = 3$.
"""


class SnapCompare(Protocol):
    def __call__(self, app: App[None], **options: object) -> bool: ...


class Page(App[None]):
    """One answer."""

    CSS = "#page { padding: 1 2; }"

    def __init__(self, text: str = "", *, growing: bool = False) -> None:
        super().__init__()
        self.answer = Answer(text, growing=growing)

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="page"):
            yield self.answer

    def on_mount(self) -> None:
        for one in theme.THEMES:
            self.register_theme(one)
        self.theme = theme.DEFAULT


# Found in Markdown


def formulas(source: str, *, growing: bool = False, as_source: bool = False) -> list[str]:
    """Blocks as their source, then those within a line as they are shown."""
    tokens = MathsParser(growing=growing, as_source=as_source).parse(source)
    blocks = [token.content for token in tokens if token.type == BLOCK]
    return blocks + [t.content for t in children(tokens) if INLINE in t.meta]


def prose(source: str, *, growing: bool = False) -> str:
    tokens = MathsParser(growing=growing).parse(source)
    return "".join(t.content for t in children(tokens) if t.type == "text")


def children(tokens: list[Token]) -> list[Token]:
    return [child for token in tokens for child in token.children or ()]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (r"so \(a_1*b_1 + c*d\) holds", ["a₁ * b₁ + c * d"]),
        (r"so $a_1*b_1 + c*d$ holds", ["a₁ * b₁ + c * d"]),
        ("\\[\n\\boxed{936}\n\\]\n", [r"\boxed{936}"]),
        ("$$\n\\frac{1}{2} \\\\ x\n$$\n", ["\\frac{1}{2} \\\\ x"]),
        ("\\begin{align}\na &= b\n\\end{align}", ["\\begin{align}\na &= b\n\\end{align}"]),
        ("We get:\n\\[\nx\n= 1\n- 3\n\\]\nso", ["x\n= 1\n- 3"]),
        ("1. First:\n   \\[\n   x\n   \\]\n2. Next", ["x"]),
        ("> so\n> \\[\n> x\n> \\]", ["x"]),
        ("- so\n\n  $$\n  x\n  $$", ["x"]),
        ("\\[ x \\].\n", ["x ."]),
        (r"in \[ x^2 \] a line, $$y^2$$ too", ["x²", "y²"]),
        (r"**Answer:** \boxed{42}", ["▐ 42 ▌"]),
        (r"**\boxed{\frac{1}{2}}**", ["▐ 1/2 ▌"]),
        (r"\(\unknown{x}\)", [r"\unknown{x}"]),
        ("| a | b |\n|---|---|\n| \\(P(A|B)\\) | $\\|x\\|$ |", ["P(A|B)", "‖x‖"]),
        ("\\[\na \\\\[4pt] b\n\\]", ["a \\\\[4pt] b"]),
    ],
)
def test_formulas_are_found_where_they_are(source: str, found: list[str]) -> None:
    assert [" ".join(one.split()) for one in formulas(source)] == [
        " ".join(f.split()) for f in found
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("from $5 to $10", "$5-$10", "US$5 and US$6", "it is $5, or 6$ at most", "5$ + 6$"),
        *("costs $ 5 $ now", "$5 and that for $x", "<b>not bold</b>", "$HOME/bin and $PATH"),
        "| price |\n|---|\n| $5 | $6 |",
    ],
)
def test_money_and_html_stay_text(text: str) -> None:
    assert formulas(text) == []
    assert "$" in prose(text) or "<b>" in prose(text)


def test_code_is_left_alone() -> None:
    assert (
        formulas("```latex\n\\[ x \\]\n$y$\n```\n\n    \\[ x \\]\n\nand `\\(x\\)` and `$x$`") == []
    )
    tokens = MathsParser().parse("```\n| \\(P(A|B)\\) |\n```\n")
    assert tokens[0].content == "| \\(P(A|B)\\) |\n"


def test_what_follows_a_formula_in_its_line_is_kept() -> None:
    source = r"\[ x \] and more"
    assert formulas(source) == ["x"]
    assert prose(source) == " and more"


@pytest.mark.parametrize("opener", [r"\(", r"\[", r"\boxed{", r"\begin{align}"])
def test_a_half_written_formula_is_its_source(opener: str) -> None:
    half = rf"so {opener}a_1*b_1*\frac{{1}}{{2"
    assert formulas(half, growing=True) == []
    assert prose(half, growing=True) == half


def test_a_half_written_block_is_a_block_already() -> None:
    for half in ("\\[\nx\n= 1\n\n", "$$\nx = 1", "\\begin{align}\nx"):
        assert len(formulas(f"so\n{half}", growing=True)) == 1
    # At the end it was never closed: what follows is prose again.
    assert formulas("\\[\nx\n= 1\n\nand *so* on") == ["x\n= 1"]
    assert prose("\\[\nx\n= 1\n\nand *so* on") == "and so on"
    assert formulas("$$ is what they pay") == []


def test_one_that_never_closes_does_not_take_the_next() -> None:
    assert formulas(r"a \( opens, and \(x^2\) is one") == ["x²"]


# Drawn


async def test_an_answer_is_drawn() -> None:
    app = Page(ROOTS)
    async with app.run_test(size=(80, 24)) as pilot:
        await hold_still(pilot)
        shown = texts(app, "Answer")
        assert "The roots of x² − 5x + 6 = 0 are" in shown
        assert "    5 ± √1" in shown
        assert "x = ──────" in shown
        assert "so both are whole: x = 2 or x = 3." in shown
        assert "\\" not in shown


@pytest.mark.parametrize(("columns", "height"), [(80, 3), (26, 7), (12, 4)])
async def test_a_wide_formula_is_never_cut(columns: int, height: int) -> None:
    app = Page(r"\[ y = \frac{a}{2} + \frac{b}{3} + cccc = \frac{d}{4} + \frac{e}{5} \]")
    async with app.run_test(size=(columns, 24)) as pilot:
        await hold_still(pilot)
        formula = app.query_one(Formula)
        shown = texts(app, "Formula")
        for sign in "yabcde2345":
            assert sign in shown
        assert formula.size.height >= height
        assert ("frac" in shown) == (columns == 12)
        await pilot.resize_terminal(100, 24)
        await hold_still(pilot)
        assert formula.size.height == 3


async def seen_while_streaming(text: str, step: int) -> tuple[list[str], str, str]:
    """What is seen after each piece, at the end, and when all is drawn anew."""
    app = Page(growing=True)
    async with app.run_test(size=(80, 30)) as pilot:
        await pilot.pause()
        seen = []
        for at in range(0, len(text), step):
            app.answer.extend(text[at : at + step])
            await app.answer.draw()
            await pilot.pause()
            seen.append(texts(app, "Answer"))
        await hold_still(pilot)
        end = texts(app, "Answer")
        await app.answer.complete()
        await hold_still(pilot)
        return seen, end, texts(app, "Answer")


async def test_a_formula_is_source_until_it_is_closed() -> None:
    seen, end, anew = await seen_while_streaming(ROOTS, 9)
    assert end == anew
    assert any(r"\frac{5 \pm" in one for one in seen)
    drawn = [number for number, one in enumerate(seen) if "──────" in one]
    source = [number for number, one in enumerate(seen) if r"\frac" in one]
    assert max(source) < min(drawn)
    # Once drawn it stays as it is.
    assert drawn == list(range(min(drawn), len(seen)))
    assert not any("[ x" in one or "( x" in one for one in seen)


async def test_a_formula_with_empty_lines_streams_as_one() -> None:
    _, end, anew = await seen_while_streaming("so\n\\[\nx^2\n\n+ 1\n\n\\]\nend", 3)
    assert end == anew
    assert "x² + 1" in anew


# Copied, and shown as source


async def test_selecting_a_formula_copies_its_source() -> None:
    app = Page(ROOTS)
    async with app.run_test(size=(80, 24)) as pilot:
        await hold_still(pilot)
        app.screen.text_select_all()
        selected = app.screen.get_selected_text()
        assert selected is not None
        assert r"\[x = \frac{5 \pm \sqrt{1}}{2}\]" in selected


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("mark", ["", "- "])
async def test_selecting_a_line_copies_the_source_of_its_formulas(growing: bool, mark: str) -> None:
    line = mark + r"So \[ \frac{1}{2} + x^2 \] and `code` and \(y_1\) hold, for $z \le 3$."
    app = Page("" if growing else line, growing=growing)
    async with app.run_test(size=(60, 12)) as pilot:
        if growing:
            for part in (line[:20], line[20:45], line[45:]):
                app.answer.extend(part)
                await app.answer.draw()
        await until(
            pilot, lambda: "1/2 + x² and code and y₁ hold, for z ≤ 3." in texts(app, "Answer")
        )
        app.screen.text_select_all()
        selected = app.screen.get_selected_text()
        assert selected is not None
        assert selected.strip().lstrip("•-● ") == line.removeprefix(mark).replace("`", "")


def test_a_formula_is_copied_whole_where_the_selection_touches_it() -> None:
    text, found = "So 1/2 and y₁.", [(3, 6, r"\(\frac12\)"), (11, 13, r"\(y_1\)")]
    assert with_sources(text, 0, len(text), found) == r"So \(\frac12\) and \(y_1\)."
    assert with_sources(text, 4, 9, found) == r"\(\frac12\) an"
    assert with_sources(text, 6, 11, found) == " and "
    assert with_sources(text, 0, 4, found) == r"So \(\frac12\)"
    assert with_sources(text, 12, 12, found) == ""


async def test_a_key_shows_the_source_and_draws_again() -> None:
    talk = Conversation(1, "roots", "demo", messages(("Roots?", "", ROOTS), ("Again?", "", ROOTS)))
    app = await a_chat(conversation=talk)

    async def shows(pilot: Pilot[None], source: bool) -> None:
        await until(pilot, lambda: (r"\frac{5 \pm" in texts(app, "Answer")) == source)
        # What is not at the end is drawn a moment later.
        await until(pilot, lambda: texts(app, "Answer").count("──────") == (0 if source else 2))
        await hold_still(pilot)
        shown = texts(app, "Answer")
        assert ("x^2 - 5x" in shown) == source

    async with app.run_test(size=(80, 50)) as pilot:
        await until(pilot, lambda: in_chat(app))
        await chat_of(app)._redraw()
        await shows(pilot, source=False)
        await pilot.press("f4")
        await shows(pilot, source=True)
        # What is drawn later is shown in the same way.
        await chat_of(app)._redraw()
        await shows(pilot, source=True)
        await pilot.press("f4")
        await shows(pilot, source=False)


@pytest.mark.parametrize("size", [(80, 60), (120, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_an_answer_full_of_formulas(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(Page(LESSON), terminal_size=size, run_before=hold_still)
