"""A computer that grows hot is noticed, once; one that is only uneven is not."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from localr1.fit.heat import FALLEN_SHARE, WINDOW_SECONDS, Heat


def told(rates: list[float], heat: Heat | None = None) -> list[tuple[int, tuple[float, float]]]:
    """When something was said, a rate for each second."""
    heat = heat or Heat()
    tokens, said = 0.0, []
    for second, rate in enumerate(rates):
        tokens += rate
        if (fallen := heat.notice(int(tokens), float(second))) is not None:
            said.append((second, fallen))
    return said


def test_a_fall_to_half_is_said_once_with_both_speeds() -> None:
    ((second, (before, now)),) = told([12.0] * 60 + [5.0] * 120)
    assert 60 < second < 60 + 1.5 * WINDOW_SECONDS
    assert math.isclose(before, 12, abs_tol=0.5)
    assert now < FALLEN_SHARE * before
    heat = Heat()
    assert len(told([12.0] * 60 + [5.0] * 60, heat)) == 1
    assert told([12.0] * 60 + [5.0] * 60, heat) == []


def test_a_short_dip_or_a_short_reply_is_nothing() -> None:
    assert told([12.0] * 60 + [2.0] * 8 + [12.0] * 60) == []
    assert told([12.0] * 10 + [2.0] * 10) == []


def test_a_long_conversation_may_slow_down() -> None:
    # Half the speed after 10,000 tokens is what a long context costs.
    rates = [20.0 / (1 + second / 1000) for second in range(1000)]
    assert told(rates) == []


def test_the_answer_after_the_thinking_is_measured_anew() -> None:
    heat = Heat()
    assert told([12.0] * 60, heat) == []
    assert told([5.0] * 60, heat) == []


@given(st.lists(st.floats(8.0, 12.0), max_size=300))
def test_what_stays_within_a_third_is_never_said(rates: list[float]) -> None:
    assert told(rates) == []
