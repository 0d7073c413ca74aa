"""A user's own replies say how long a model thinks, once there are enough of them."""

from __future__ import annotations

from fit_machines import model
from hypothesis import given
from hypothesis import strategies as st

from localr1.fit.thinking import (
    COUNTED_REPLIES,
    LEAST_REPLIES,
    LEAST_REPLIES_FOR_HARD,
    with_history,
)

MODEL = model("r1-distill-qwen-7b")


def test_a_few_replies_say_nothing() -> None:
    assert with_history(MODEL, ()) is MODEL
    assert with_history(MODEL, (300,) * (LEAST_REPLIES - 1)) is MODEL


def test_the_middle_reply_is_typical() -> None:
    found = with_history(MODEL, (200, 300, 400, 500, 9000)).thinking_tokens
    assert found.typical == 400
    assert not found.is_assumed(hard=False)
    assert found.source == "your last 5 replies"
    # What is hard for the model, five replies do not show.
    assert found.hard == MODEL.thinking_tokens.hard
    assert found.is_assumed(hard=True)


def test_many_replies_show_hard_questions_too() -> None:
    counts = (*range(100, 2000, 100), 7000)
    assert len(counts) == LEAST_REPLIES_FOR_HARD
    found = with_history(MODEL, counts).thinking_tokens
    assert (found.typical, found.hard) == (1050, 1900)
    assert not found.is_assumed(hard=True)


@given(counts=st.lists(st.integers(1, 30_000), max_size=300))
def test_hard_is_never_below_typical(counts: list[int]) -> None:
    found = with_history(MODEL, counts).thinking_tokens
    assert 0 < found.typical <= found.hard
    if len(counts) >= LEAST_REPLIES:
        latest = counts[-COUNTED_REPLIES:]
        assert min(latest) <= found.typical <= max(latest)
