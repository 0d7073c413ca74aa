"""Loops in a thinking are noticed, and honest repetition is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.engine.loops import (
    CHECKED_EVERY,
    LONGEST_PERIOD,
    REPEATS,
    SHORTEST_PERIOD,
    WINDOW_TOKENS,
    LoopWatch,
    cycle_repeats,
)

PARAGRAPH = "Let me check whether the sum of the digits is divisible by nine."


def noticed(tokens: list[int]) -> list[tuple[str, int]]:
    watch = LoopWatch()
    return [found for token in tokens if (found := watch.feed(token, ""))]


@pytest.mark.parametrize("period", range(1, LONGEST_PERIOD + 1))
def test_every_period_is_noticed_once(period: int) -> None:
    lead = list(range(1000, 1040))
    rounds = max(REPEATS, -(-96 // period)) + -(-CHECKED_EVERY // period)
    found = noticed(lead + list(range(period)) * rounds)
    assert len(found) == 1
    assert found[0][0] == "cycle"
    assert found[0][1] >= REPEATS


def test_a_cycle_is_noticed_soon_after_its_third_round() -> None:
    period = 40
    watch = LoopWatch()
    fed = 0
    for fed in range(1, 1000):
        if watch.feed(fed % period, ""):
            break
    assert REPEATS * period <= fed < REPEATS * period + CHECKED_EVERY


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=WINDOW_TOKENS, unique=True))
def test_new_tokens_are_no_loop(tokens: list[int]) -> None:
    assert cycle_repeats(tokens) == 0


@given(
    period=st.lists(st.integers(0, 9), min_size=SHORTEST_PERIOD, max_size=LONGEST_PERIOD),
    rounds=st.integers(1, 6),
    lead=st.lists(st.integers(100, 200), max_size=50),
)
def test_what_is_called_a_cycle_does_repeat(
    period: list[int], rounds: int, lead: list[int]
) -> None:
    tokens = (lead + period * rounds)[-WINDOW_TOKENS:]
    repeats = cycle_repeats(tokens)
    if repeats:
        assert any(
            tokens[-p * repeats :] == tokens[-p:] * repeats
            for p in range(SHORTEST_PERIOD, LONGEST_PERIOD + 1)
            if p * repeats <= len(tokens)
        )


def test_a_row_of_zeros_is_no_loop() -> None:
    assert noticed([*range(500), *[7] * 30, *range(500, 900)]) == []


def test_the_equal_columns_of_a_sum_are_no_loop() -> None:
    column = list(range(17))
    assert noticed([*range(100, 120), *column * 5, *range(200, 300)]) == []


GRID = """+------------------+------------------+------------------+
| a                | b                | the sum of a, b  |
+------------------+------------------+------------------+
| 1                | 2                | 3                |
+------------------+------------------+------------------+
"""
TABLE = """| number of the case | what is known of it | what follows |
| :----------------- | :------------------ | :----------- |
| %d | x | y |
"""


@pytest.mark.parametrize("text", [GRID, "".join(TABLE % n for n in range(4))])
def test_tables_are_no_loop(text: str) -> None:
    watch = LoopWatch()
    assert [watch.feed(n, f"{line}\n") for n, line in enumerate(text.splitlines())].count(None) == (
        len(text.splitlines())
    )


def test_a_second_loop_is_told_again() -> None:
    cycle = list(range(20)) * 8
    assert len(noticed([*cycle, *range(100, 400), *cycle])) == 2


def told(paragraphs: list[str], chunk: int = 10**6) -> list[tuple[str, int]]:
    watch = LoopWatch()
    text = "\n\n".join(paragraphs) + "\n\n"
    pieces = [text[i : i + chunk] for i in range(0, len(text), chunk)]
    return [found for n, piece in enumerate(pieces) if (found := watch.feed(n, piece))]


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 10**6])
def test_a_paragraph_said_three_times_is_told_once(chunk: int) -> None:
    others = [
        f"Another thought, the number {n} of the many that I have had here." for n in range(9)
    ]
    said = [PARAGRAPH, *others[:3], PARAGRAPH.upper(), *others[3:], f"  {PARAGRAPH}", PARAGRAPH]
    assert told(said, chunk) == [("paragraph", 3)]


def test_short_and_different_paragraphs_may_come_back() -> None:
    assert told(["Wait."] * 50) == []
    assert told([f"{PARAGRAPH} And the digit {n}." for n in range(200)]) == []


def test_an_old_paragraph_is_forgotten() -> None:
    others = [
        f"Another thought, the number {n} of the many that I have had here." for n in range(150)
    ]
    assert told([PARAGRAPH, PARAGRAPH, *others, PARAGRAPH]) == []
