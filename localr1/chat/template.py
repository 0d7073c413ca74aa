"""R1's chat template as prompt segments: a pure function.

Facts (deepseek-ai/DeepSeek-R1-Distill-*, tokenizer_config.json): BOS, the system text, then for
each turn `<｜User｜>` question `<｜Assistant｜>` answer EOS, with everything up to `</think>`
stripped from earlier replies and their two line breaks kept; a new reply is opened with
`<think>` and a line break (R1-0528 leaves that to the model). Rendering here, rather than by the
file's own template, makes every upload behave alike: files differ by the date of their making.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from localr1.engine.protocol import Segment
from localr1.engine.thinking import ANSWER_SEPARATOR

BOS: Final = "<｜begin▁of▁sentence｜>"
EOS: Final = "<｜end▁of▁sentence｜>"
USER: Final = "<｜User｜>"
ASSISTANT: Final = "<｜Assistant｜>"
THINK: Final = "<think>"

# llama.cpp parses user-defined tokens even where special tokens are off.
_THINK_TAG: Final = re.compile(r"(</?th)(ink>)")


@dataclass(frozen=True)
class Turn:
    """An earlier exchange."""

    question: str
    answer: str
    """Without its thinking."""
    answer_token_ids: tuple[int, ...] = ()
    """The answer as the engine generated it; spares tokenizing and keeps the cache's prefix."""


def words(text: str) -> tuple[Segment, ...]:
    """Anyone's words as segments in which no special token can arise."""
    pieces: list[Segment] = []
    position = 0
    for match in _THINK_TAG.finditer(text):
        # Cut in the middle: tokenized apart, the halves never make the tag's token.
        pieces.append(Segment(text[position : match.end(1)]))
        position = match.start(2)
    if text[position:]:
        pieces.append(Segment(text[position:]))
    return tuple(pieces)


def opening(system: str) -> tuple[Segment, ...]:
    """What every prompt begins with."""
    return (Segment(BOS, special=True), *words(system))


def past_turn(turn: Turn) -> tuple[Segment, ...]:
    """An earlier exchange, as later prompts show it."""
    answer = (
        (Segment(tokens=turn.answer_token_ids),)
        if turn.answer_token_ids
        else words(ANSWER_SEPARATOR + turn.answer)
    )
    return (
        Segment(USER, special=True),
        *words(turn.question),
        Segment(ASSISTANT, special=True),
        *answer,
        Segment(EOS, special=True),
    )


def new_turn(question: str, *, open_thinking: bool) -> tuple[Segment, ...]:
    """The question to answer now, up to where the model begins to write."""
    opened = (Segment(THINK, special=True), Segment("\n")) if open_thinking else ()
    return (
        Segment(USER, special=True),
        *words(question),
        Segment(ASSISTANT, special=True),
        *opened,
    )


def render(
    system: str, history: Sequence[Turn], question: str, *, open_thinking: bool
) -> tuple[Segment, ...]:
    """The whole prompt."""
    past = (segment for turn in history for segment in past_turn(turn))
    return (*opening(system), *past, *new_turn(question, open_thinking=open_thinking))
