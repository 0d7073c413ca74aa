"""The context window is shared out by rules that hold for all numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localr1.chat import budget

windows = st.integers(8, 200_000)
openings = st.integers(1, 50)
turns = st.lists(st.integers(1, 3000), max_size=30)
questions = st.integers(1, 5000)


@given(openings, turns, questions, windows)
def test_what_is_sent_is_the_opening_the_newest_turns_and_the_question(
    opening: int, turns: list[int], question: int, window: int
) -> None:
    share = budget.share_out(opening, turns, question, window)
    kept = turns[share.left_out_turns :]
    assert share.prompt_tokens == opening + sum(kept) + question
    if share.fits:
        assert share.prompt_tokens < window


@given(openings, turns, questions, windows)
def test_nothing_is_left_out_without_need(
    opening: int, turns: list[int], question: int, window: int
) -> None:
    share = budget.share_out(opening, turns, question, window)
    room = budget.reply_room(window)
    spare = max(question, window // 16)
    if opening + sum(turns) + spare + room <= window:
        assert share.left_out_turns == 0
    elif share.left_out_turns:
        newest = turns[share.left_out_turns - 1]
        assert share.prompt_tokens + newest + room + window // 8 > window
    if share.left_out_turns < len(turns):
        assert share.prompt_tokens + room <= window


@given(openings, turns, questions, windows)
def test_what_was_left_out_once_stays_left_out(
    opening: int, turns: list[int], question: int, window: int
) -> None:
    """As a conversation grows and an answer does, and whoever asks again."""
    left_out = 0
    for end in range(len(turns) + 1):
        begun = budget.share_out(opening, turns[:end], 0, window)
        asked = budget.share_out(opening, turns[:end], question, window)
        assert left_out <= begun.left_out_turns <= asked.left_out_turns
        left_out = begun.left_out_turns


@given(openings, turns, windows, st.integers(0, 3000))
def test_what_is_computed_ahead_holds_for_every_question_of_usual_length(
    opening: int, turns: list[int], window: int, answered: int
) -> None:
    ahead = budget.share_out(opening, turns, 0, window)
    asked = budget.share_out(opening, turns, window // 16, window)
    if ahead.left_out_turns < len(turns):
        assert asked.left_out_turns == ahead.left_out_turns
    # And the answer takes nothing back that was left out for a long question.
    long = budget.share_out(opening, turns, answered, window)
    after = budget.share_out(opening, [*turns, answered + 1], 0, window)
    assert after.left_out_turns >= long.left_out_turns


def test_room_is_made_for_several_turns_at_once() -> None:
    window, turn = 4096, 100
    counts = [
        budget.share_out(1, [turn] * many, 20, window).left_out_turns for many in range(29, 60)
    ]
    changes = sum(first != second for first, second in zip(counts, counts[1:], strict=False))
    assert counts[-1] > 25
    assert changes <= len(counts) // 4


@given(windows, openings, questions, turns, st.integers(1, 2000))
def test_an_answer_that_goes_on_ends_after_few_rounds(
    window: int, opening: int, question: int, turns: list[int], first: int
) -> None:
    least = budget.continuing_room(window)
    answer, rounds, left_out = first, 0, 0
    while True:
        share = budget.share_out(opening, turns, question + answer, window, least_room=least)
        if not share.fits:
            break
        assert share.left_out_turns >= left_out
        gained = window - share.prompt_tokens
        assert gained >= least
        left_out, answer, rounds = share.left_out_turns, answer + gained, rounds + 1
    assert rounds <= window // least


@given(windows)
def test_the_shares_are_of_a_size(window: int) -> None:
    assert budget.answer_reserve(window) < budget.reply_room(window) or window < 16
    assert 0 < budget.continuing_room(window) <= max(window // 4, 1)
    assert budget.continuing_room(window) >= window // 16


def test_what_is_left_out_is_counted_in_messages() -> None:
    assert budget.left_out_words(6) == "6 earliest messages no longer in the window"


@given(
    st.integers(0, 200),
    st.lists(st.integers(1, 3000), max_size=20),
    st.integers(1, 300),
    st.integers(512, 16384),
)
def test_a_summary_leaves_out_nothing_while_a_short_reply_has_room(
    opening: int, turns: list[int], asked: int, window: int
) -> None:
    share = budget.share_out(opening, turns, asked, window, whole=True)
    everything = opening + sum(turns) + asked
    if everything + 2 * budget.answer_reserve(window) <= window:
        assert share == budget.Budget(0, everything, fits=True)
    else:
        assert share == budget.share_out(opening, turns, asked, window)


@given(openings, turns, st.integers(0, 5000), st.integers(1, 4000), windows)
def test_what_surely_fits_leaves_out_no_more(
    opening: int, turns: list[int], thought: int, question: int, window: int
) -> None:
    before = budget.share_out(opening, turns[:-1], 0, window).left_out_turns
    used = opening + sum(turns[before:]) + thought
    if budget.surely_fits(used, question, window):
        form = 60
        assert budget.share_out(opening, turns, question + form, window).left_out_turns == before
