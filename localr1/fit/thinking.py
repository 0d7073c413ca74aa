"""How many tokens a model thinks: the user's own replies instead of what is published or assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Final

from localr1.models.types import Model

LEAST_REPLIES: Final = 5
"""Fewer say more about their questions than about the model."""
LEAST_REPLIES_FOR_HARD: Final = 20
HARD_SHARE: Final = 0.9
"""What a hard question takes is what one reply in ten exceeds."""
COUNTED_REPLIES: Final = 100
"""The latest."""


def with_history(model: Model, thinking_tokens: Sequence[int]) -> Model:
    """The model with the counts of a user's own replies, where there are enough of them.

    Args:
        model: As the catalogue has it.
        thinking_tokens: Of replies that thought to their end, the oldest first.
    """
    counts = sorted(thinking_tokens[-COUNTED_REPLIES:])
    if len(counts) < LEAST_REPLIES:
        return model
    known = model.thinking_tokens
    typical = max(1, round(median(counts)))
    hard, assumed = known.hard, known.is_assumed(hard=True)
    if len(counts) >= LEAST_REPLIES_FOR_HARD:
        hard, assumed = counts[int(HARD_SHARE * len(counts))], False
    return replace(
        model,
        thinking_tokens=replace(
            known,
            typical=typical,
            hard=max(typical, hard),
            assumed=False,
            hard_assumed=assumed,
            source=f"your last {len(counts)} replies",
        ),
    )
