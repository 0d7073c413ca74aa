"""How the context window is shared out: pure functions on token counts.

What goes first is the oldest exchange; the beginning (a system prompt) and the question always
stay. When room must be made, more is made than needed, so that the prompts of the next turns
begin alike and their KV cache holds. Which exchanges are left out follows from the token counts
alone: reopening a conversation gives the same prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# A reply needs room to think; a quarter of the window, within these bounds.
_SMALLEST_REPLY_ROOM: Final = 256
_LARGEST_REPLY_ROOM: Final = 8192
# Beside it, a sixteenth of the window is kept for the next question: what is computed of the next
# prompt while the user types must not depend on what is typed.
_QUESTION_SHARE: Final = 16
# When room is made, it is an eighth of the window more than needed.
_MADE_SHARE: Final = 8
# More than the words of a template around a question.
_FORM_TOKENS: Final = 64
# What thinking may never take from the answer: an eighth of the window, at most this.
_LARGEST_ANSWER_RESERVE: Final = 1024


@dataclass(frozen=True)
class Budget:
    """What is sent to the model."""

    left_out_turns: int
    """The oldest exchanges that are not sent."""
    prompt_tokens: int
    fits: bool
    """False where even the question alone leaves too little room for a reply."""


def reply_room(context_window: int) -> int:
    """Tokens kept free for thinking and answer."""
    room = min(max(context_window // 4, _SMALLEST_REPLY_ROOM), _LARGEST_REPLY_ROOM)
    return min(room, max(1, context_window // 2))


def answer_reserve(context_window: int) -> int:
    """Tokens that thinking leaves to the answer."""
    return min(_LARGEST_ANSWER_RESERVE, context_window // 8)


def continuing_room(context_window: int) -> int:
    """Fewest free tokens that are worth going on with an answer for.

    A sixteenth of the window or 256 tokens, whichever is more, as far as a quarter of a small
    window allows; every round of an answer is at least this long, so that there are few.
    """
    return max(1, context_window // 16, min(256, context_window // 4))


def share_out(  # noqa: PLR0913 - what is not plain is by keyword
    opening_tokens: int,
    turn_tokens: Sequence[int],
    asked_tokens: int,
    context_window: int,
    *,
    least_room: int | None = None,
    whole: bool = False,
) -> Budget:
    """Leave out the oldest turns so that the reply's room stays free.

    What only fits into the reply's room is still sent, alone, as long as the least room is
    left.

    Args:
        opening_tokens: What every prompt begins with.
        turn_tokens: The earlier exchanges, oldest first.
        asked_tokens: The question; with the answer so far where an answer goes on; 0 for the
            beginning of the next prompt, whose question is not known yet.
        context_window: Tokens of the whole window.
        least_room: Fewest tokens that a reply is begun with; None means what a new one needs.
        whole: Leave out nothing as long as a short reply has room: for a summary of it all.
    """
    everything = opening_tokens + sum(turn_tokens) + asked_tokens
    if whole and everything + 2 * answer_reserve(context_window) <= context_window:
        return Budget(0, everything, fits=True)
    left_out, total = 0, opening_tokens
    # As the conversation grew: so the same turns are left out whenever this is asked.
    room = reply_room(context_window)
    roomy = room + context_window // _QUESTION_SHARE
    made = room + context_window // _MADE_SHARE
    for end, tokens in enumerate(turn_tokens, start=1):
        total += tokens
        if total + roomy > context_window:
            left_out, total = _leave_out(turn_tokens[:end], left_out, total, context_window - made)
    total += asked_tokens
    if total + room > context_window:
        left_out, total = _leave_out(turn_tokens, left_out, total, context_window - made)
    least = min(_SMALLEST_REPLY_ROOM, room) if least_room is None else least_room
    return Budget(left_out, total, total + least <= context_window)


def surely_fits(context_used: int, added_bytes: int, context_window: int) -> bool:
    """Whether nothing more is left out for a question, by what the last reply left in the window.

    Args:
        context_used: Tokens when it ended, its thinking among them; 0 where that is not known.
        added_bytes: Of all that comes to it; no token has less than one.
        context_window: Tokens of the whole window.
    """
    room = reply_room(context_window) + context_window // _QUESTION_SHARE + _FORM_TOKENS
    return 0 < context_used <= context_window - room - added_bytes


def _leave_out(
    turn_tokens: Sequence[int], left_out: int, total: int, most_tokens: int
) -> tuple[int, int]:
    """Leave out more of the oldest turns until the rest keeps within `most_tokens`."""
    while left_out < len(turn_tokens) and total > most_tokens:
        total -= turn_tokens[left_out]
        left_out += 1
    return left_out, total


def left_out_words(messages: int) -> str:
    """What is left out, in words."""
    return f"{messages} earliest messages no longer in the window"
