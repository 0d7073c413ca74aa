"""The context window's bar and choices: pure functions."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tui_scene import ADVICE

from localr1.fit.types import Settings
from localr1.tui.screens.context import choices, parts_content
from localr1.tui.widgets.status_line import Status, gauge_cells, gauge_content

TOKENS = st.integers(0, 200_000)


@given(TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, st.integers(0, 60))
def test_the_bar_has_its_length_whatever_is_in_it(  # noqa: PLR0913, PLR0917 - numbers
    history: int, thinking: int, answer: int, kept: int, window: int, cells: int
) -> None:
    shares = gauge_cells(history, (thinking, answer), kept, window, cells)
    assert sum(shares) == cells
    assert min(shares) >= 0


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 1000))
def test_what_is_there_is_seen(history: int, thinking: int, answer: int) -> None:
    shares = gauge_cells(history, (thinking, answer), 1024, 16384, 20)
    assert min(shares) >= 1


def test_the_parts_are_told_apart_without_colours() -> None:
    status = Status(context_used=8000, context_window=16384, thinking_tokens=4000)
    bar = gauge_content(status, 20).plain
    assert bar == "━" * 5 + "╍" * 5 + "─" * 9 + "╌"
    words = parts_content(status, 4).plain
    assert "4,000  24 %  the conversation so far" in words
    assert "4 earliest messages no longer in the window. Nothing is deleted." in words


def test_what_is_offered_follows_what_is_asked_and_what_was_chosen() -> None:
    status = Status(context_used=8000, context_window=16384)
    asked = choices(status, 0.0, None, None, said=True, leaving_out=4)
    assert [each.way for each in asked] == ["leave_out", "always", "summarise", "from_here"]
    assert asked[0].label == "Leave out the 4 oldest messages"
    chosen = choices(status, 0.0, None, None, said=True, unasked=True)
    assert [each.way for each in chosen] == ["ask", "summarise", "from_here"]


def test_a_bigger_window_is_offered_with_what_it_takes() -> None:
    status = Status(context_used=8000, context_window=16384)
    now = ADVICE.plans[1]
    extra = replace(now.devices[0], kv_cache_bytes=now.devices[0].kv_cache_bytes + (3 << 29))
    bigger = replace(now, devices=(extra,), settings=Settings(32768))
    offered = choices(status, 100.0, now, bigger, said=True)
    assert [each.way for each in offered] == ["always", "summarise", "window", "from_here"]
    window = offered[2]
    assert window.label == "A window of 32k tokens"
    assert window.cost == (
        "+1.5 GiB of memory: it fits; the model is loaded again and reads 8,000 tokens (about 80 s)."
    )
    assert window.context_window == 32768
    too_big = replace(bigger, fits=False, would_fit_if=("the graphics card has 1.2 GiB more free",))
    refused = choices(status, 0.0, now, too_big, said=False)
    assert not refused[2].possible
    assert "It would, if the graphics card has 1.2 GiB more free." in refused[2].cost
    assert [each.possible for each in refused] == [True, False, False, False]
