"""Thinking and answer are told apart by token ids, whatever the stream looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.engine.reply import (
    EndReason,
    ReplySplitter,
    StablePrefix,
    ThinkingLimits,
    Vocabulary,
    common_prefix_length,
)

THINK, END_THINK, EOS, USER = 100, 101, 102, 103
BLANK = 50
VOCABULARY = Vocabulary(THINK, END_THINK, frozenset({EOS, USER}))


def parts(tokens: list[int], *, thinking_open: bool) -> tuple[list[int], list[int], bool]:
    splitter = ReplySplitter(VOCABULARY, thinking_open=thinking_open)
    said: dict[str, list[int]] = {"thinking": [], "answer": []}
    for token in tokens:
        verdict = splitter.accept(token)
        if verdict == "end":
            return said["thinking"], said["answer"], True
        if verdict != "marker":
            said[verdict].append(token)
        if verdict == "answer" and token != BLANK:
            splitter.answer_begun = True
    return said["thinking"], said["answer"], False


@pytest.mark.parametrize(
    ("tokens", "thinking_open", "thinking", "answer"),
    [
        ([1, 2, END_THINK, 3, EOS], True, [1, 2], [3]),
        ([THINK, 1, END_THINK, 3, EOS], True, [1], [3]),  # opened twice
        ([THINK, 1, END_THINK, 3, EOS], False, [1], [3]),  # R1-0528 opens it itself
        ([BLANK, BLANK, THINK, 1, END_THINK, 3, EOS], False, [1], [BLANK, BLANK, 3]),  # late
        ([3, 4, EOS], False, [], [3, 4]),  # no thinking at all
        ([1, END_THINK, 3, END_THINK, 4, EOS], True, [1], [3, 4]),  # a stray end
        ([1, END_THINK, 3, THINK, 4, EOS], True, [1], [3, THINK, 4]),  # a tag in the answer
        ([1, 2, EOS], True, [1, 2], []),  # ended inside the thinking
        ([1, END_THINK, 3, USER, 9], True, [1], [3]),  # the model begins to play the user
    ],
)
def test_split(
    tokens: list[int], thinking_open: bool, thinking: list[int], answer: list[int]
) -> None:
    assert parts(tokens, thinking_open=thinking_open) == (thinking, answer, True)


@given(st.lists(st.sampled_from([1, 2, 3, THINK, END_THINK])), st.booleans())
def test_every_token_is_counted_once(tokens: list[int], thinking_open: bool) -> None:
    splitter = ReplySplitter(VOCABULARY, thinking_open=thinking_open)
    for token in tokens:
        splitter.accept(token)
    assert splitter.thinking_tokens + splitter.answer_tokens == len(tokens)


@given(st.text(alphabet=" \nab", max_size=30), st.data())
def test_answer_text_does_not_depend_on_chunks(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    bounds = [0, *cuts, len(text)]
    shown: list[str] = []
    prefix = StablePrefix(shown.append)
    for a, b in zip(bounds, bounds[1:], strict=False):
        prefix.feed(text[a:b])
    assert "".join(shown) == text.strip()


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix(first: list[int], second: list[int]) -> None:
    expected = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        expected += 1
    assert common_prefix_length(first, second) == expected


def test_limits() -> None:
    def reason(
        limits: ThinkingLimits,
        tokens: int = 5,
        seconds: float = 1,
        room: int = 100,
        wanted: EndReason | None = None,
    ) -> str | None:
        return limits.reason_to_end(
            thinking_tokens=tokens, thinking_seconds=seconds, room_tokens=room, wanted=wanted
        )

    assert reason(ThinkingLimits()) is None
    assert reason(ThinkingLimits(budget_tokens=5), wanted="user") == "user"
    assert reason(ThinkingLimits(budget_tokens=5)) == "budget"
    assert reason(ThinkingLimits(budget_tokens=6)) is None
    assert reason(ThinkingLimits(budget_tokens=0), tokens=0) == "user"
    assert reason(ThinkingLimits(budget_seconds=0.5)) == "budget"
    assert reason(ThinkingLimits(answer_reserve_tokens=100)) == "room"
    assert reason(ThinkingLimits(answer_reserve_tokens=99)) is None
    assert reason(ThinkingLimits(), room=0) is None
