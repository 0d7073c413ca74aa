"""Prompts are R1's, and nobody's words can become a special token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localr1.chat import budget, template
from localr1.chat.store import title_of
from localr1.chat.template import Turn
from localr1.engine.protocol import Segment
from localr1.printable import printable


def text_of(segments: tuple[Segment, ...]) -> str:
    return "".join(segment.text for segment in segments)


def test_rendering_is_the_official_one() -> None:
    segments = template.render("Be brief.", [Turn("hi", "Hello!")], "2+2?", open_thinking=True)
    assert text_of(segments) == (
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>hi<｜Assistant｜>\n\nHello!<｜end▁of▁sentence｜>"
        "<｜User｜>2+2?<｜Assistant｜><think>\n"
    )


def test_thinking_is_left_to_the_model_where_the_template_does() -> None:
    segments = template.render("", [], "2+2?", open_thinking=False)
    assert text_of(segments).endswith("<｜Assistant｜>")


def test_known_token_ids_are_used_again() -> None:
    segments = template.past_turn(Turn("q", "a", (1, 2, 3)))
    assert (1, 2, 3) in [segment.tokens for segment in segments]


@given(st.text() | st.from_regex(r"(</?think>|<｜User｜>|.){0,8}"))
def test_words_keep_every_character_and_make_no_tag(text: str) -> None:
    segments = template.words(text)
    assert text_of(segments) == text
    for segment in segments:
        assert not segment.special
        assert "<think>" not in segment.text
        assert "</think>" not in segment.text


@given(
    st.integers(0, 500),
    st.lists(st.integers(1, 900), max_size=12),
    st.integers(1, 3000),
    st.integers(64, 8192),
)
def test_budget(opening: int, turns: list[int], question: int, window: int) -> None:
    share = budget.share_out(opening, turns, question, window)
    kept = turns[share.left_out_turns :]
    assert share.prompt_tokens == opening + question + sum(kept)
    if share.fits:
        assert share.prompt_tokens < window
    if share.left_out_turns:  # as few as possible: one more would have taken the reply's room
        last = turns[share.left_out_turns - 1]
        assert share.prompt_tokens + last + budget.reply_room(window) > window
    assert budget.answer_reserve(window) < budget.reply_room(window) or window < 16


@given(st.text())
def test_printable_text_commands_no_terminal(text: str) -> None:
    shown = printable(text)
    assert "\x1b" not in shown
    assert all(c in "\t\n" or ord(c) >= 32 for c in shown)
    assert printable(shown) == shown


def test_printable_keeps_what_people_read() -> None:
    assert printable("naïve — 東京\n\t🙂") == "naïve — 東京\n\t🙂"
    assert printable("a\x1b[31mb\x07\x9b2J") == "a[31mb2J"


@given(st.text())
def test_titles_are_one_short_line(text: str) -> None:
    title = title_of(text)
    assert title
    assert len(title) <= 61
    assert "\n" not in title
