"""Guesses come from what was said before, and are given up where they do not pay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localr1.engine.speculation import Lookup, Worth


def test_what_followed_before_is_guessed_again() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4])
    assert lookup.guess(3) == [5, 6, 7]
    lookup.append(5)
    assert lookup.guess(8) == [6, 7, 8, 9, 1, 2, 3, 4]


def test_the_latest_occurrence_counts() -> None:
    assert Lookup([1, 2, 7, 0, 1, 2, 8, 0, 1, 2]).guess(1) == [8]


def test_nothing_is_guessed_from_nothing() -> None:
    assert Lookup().guess(4) == []
    assert Lookup([1]).guess(4) == []
    assert Lookup([1, 2, 3, 4, 5]).guess(4) == []


@given(st.lists(st.integers(0, 5), max_size=80), st.integers(0, 10))
def test_a_guess_is_always_what_followed_the_same_tokens(tokens: list[int], most: int) -> None:
    guess = Lookup(tokens).guess(most)
    assert len(guess) <= most
    if guess:
        places = [
            n
            for n in range(2, len(tokens))
            if tokens[n - 2 : n] == tokens[-2:] and tokens[n : n + len(guess)] == guess
        ]
        assert places


def test_guessing_begins_after_plain_steps_were_timed() -> None:
    worth = Worth()
    assert not worth.wanted
    for _ in range(12):
        worth.measured(0.01, 1, guessed=False)
    assert worth.wanted


def _run(worth: Worth, steps: int, guessing_seconds: float, tokens: int) -> int:
    """Take steps as `Worth` wants them, plain ones at 10 ms; how many of them guessed."""
    guessed = 0
    for _ in range(steps):
        if worth.wanted:
            worth.measured(guessing_seconds, tokens, guessed=True)
            guessed += 1
        else:
            worth.measured(0.010, 1, guessed=False)
    return guessed


def test_guessing_that_pays_goes_on_and_plain_steps_are_timed_again() -> None:
    guessed = _run(Worth(), 2000, guessing_seconds=0.015, tokens=3)
    assert 1800 < guessed < 2000


def test_guessing_that_does_not_pay_nearly_ends() -> None:
    guessed = _run(Worth(), 20_000, guessing_seconds=0.015, tokens=1)
    assert guessed < 20_000 / 100


def test_guessing_is_tried_again_when_it_pays_later() -> None:
    worth = Worth()
    _run(worth, 300, guessing_seconds=0.015, tokens=1)
    assert _run(worth, 3000, guessing_seconds=0.015, tokens=4) > 1500
