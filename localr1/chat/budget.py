"""How the context window is shared out: pure functions on token counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# A reply needs room to think; a quarter of the window, within these bounds.
_SMALLEST_REPLY_ROOM: Final = 256
_LARGEST_REPLY_ROOM: Final = 8192
# What thinking may never take from the answer: an eighth of the window, at most this.
_LARGEST_ANSWER_RESERVE: Final = 1024


@dataclass(frozen=True)
class Budget:
    """What is sent to the model."""

    left_out_turns: int
    """The oldest exchanges that are not sent."""
    prompt_tokens: int
    fits: bool
    """False where even the question alone leaves no room for a reply."""


def reply_room(context_window: int) -> int:
    """Tokens kept free for thinking and answer."""
    room = min(max(context_window // 4, _SMALLEST_REPLY_ROOM), _LARGEST_REPLY_ROOM)
    return min(room, max(1, context_window // 2))


def answer_reserve(context_window: int) -> int:
    """Tokens that thinking leaves to the answer."""
    return min(_LARGEST_ANSWER_RESERVE, context_window // 8)


def share_out(
    opening_tokens: int, turn_tokens: Sequence[int], question_tokens: int, context_window: int
) -> Budget:
    """Leave out as few of the oldest turns as needed to keep the reply's room free.

    A question that fits only into the reply's room is still asked, alone, as long as the
    smallest room is left.
    """
    fixed = opening_tokens + question_tokens
    room = reply_room(context_window)
    total = fixed + sum(turn_tokens)
    left_out = 0
    while left_out < len(turn_tokens) and total + room > context_window:
        total -= turn_tokens[left_out]
        left_out += 1
    smallest = min(_SMALLEST_REPLY_ROOM, room)
    return Budget(left_out, total, total + smallest <= context_window)
