"""Arithmetic in plain Markdown: no sign of it may be taken for markup."""

from __future__ import annotations

import pytest

from localr1.markdown import MathsParser


def shown(text: str) -> str:
    return MathsParser().render(text).strip().replace("\n", "|")


@pytest.mark.parametrize(
    "text",
    ["2*3*4 = 24", "2**3**2", "x*y*z", "x**2 + y**2", "(a)*(b)*(c)", "a * b * c", "f(*args)"],
)
def test_stars_between_factors_stay(text: str) -> None:
    assert shown(text) == f"<p>{text}</p>"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*em* and **strong**", "<em>em</em> and <strong>strong</strong>"),
        ("*em*phasis and **bold**text", "<em>em</em>phasis and <strong>bold</strong>text"),
        ("这是**重点**内容", "这是<strong>重点</strong>内容"),
        ("**2*3** is *5*", "<strong>2*3</strong> is <em>5</em>"),
    ],
)
def test_emphasis_is_emphasis_still(text: str, html: str) -> None:
    assert shown(text) == f"<p>{html}</p>"


def test_figures_under_figures_keep_their_signs() -> None:
    assert shown("12\n+ 30\n- 4\n= 38") == "<p>12|+ 30|- 4|= 38</p>"


@pytest.mark.parametrize("text", ["Numbers:\n- 4\n- 5", "- 4\n- 5\n  - 6\n  - 7", "12\n- of them"])
def test_lists_are_lists_still(text: str) -> None:
    items = text.count("- ")
    assert shown(text).count("<li>") == items
