"""Guessing the next tokens from what the conversation said before: pure bookkeeping.

Thinking repeats itself: formulas, names and whole sentences of the question come back. Where the
last few tokens occurred before, what followed then is guessed again, and one batch computes all
guesses. A guess is only kept when sampling draws the same token, so the reply is what it would
have been without guessing, at another speed (but for llama.cpp's rounding, which depends on how
many tokens are computed together).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# The longer match is tried first; shorter ones than two tokens guess at random.
_LENGTHS: Final = (4, 2)

# A step with guesses must beat a plain step by this much to be worth it.
_MARGIN: Final = 0.98
# Steps of either kind before the first judgement, and how far older ones count.
_STEPS: Final = 12
_WEIGHT: Final = 1 / 16
# Tokens without guesses after they did not pay; doubled each time, up to the last.
_FIRST_PAUSE_TOKENS: Final = 128
_LONGEST_PAUSE_TOKENS: Final = 4096


class Lookup:
    """Finds what followed the last occurrence of the latest tokens.

    Args:
        tokens: The prompt.
    """

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.append(token)

    @property
    def length(self) -> int:
        """How many tokens it knows."""
        return len(self._tokens)

    def append(self, token: int) -> None:
        """Take the next token of the conversation."""
        tokens = self._tokens
        # A match must lie before the end, so an n-gram is entered when something follows it.
        for length in _LENGTHS:
            if len(tokens) >= length:
                self._after[tuple(tokens[-length:])] = len(tokens)
        tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that may follow; empty where nothing matches."""
        tokens = self._tokens
        for length in _LENGTHS:
            found = self._after.get(tuple(tokens[-length:])) if len(tokens) >= length else None
            if found is not None:
                return tokens[found : found + most]
        return []


class Worth:
    """Decides from measured times whether guessing pays; switches it off when it does not.

    It lives as long as the model, so that short replies do not each pay for the trial anew.
    Plain steps are timed now and then also while guessing pays, since speed falls with depth.
    """

    def __init__(self) -> None:
        self._plain_seconds = 0.0
        self._guessing_seconds = 0.0
        self._plain_steps = 0
        self._guessing_steps = 0
        self._pause_tokens = 0
        self._next_pause_tokens = _FIRST_PAUSE_TOKENS
        self._since_plain = 0

    @property
    def wanted(self) -> bool:
        """Whether the next step should guess."""
        if self._pause_tokens > 0 or self._plain_steps < _STEPS:
            return False
        return self._since_plain < 8 * _STEPS

    def measured(self, seconds: float, tokens: int, *, guessed: bool) -> None:
        """Take one step's figures.

        Args:
            seconds: How long it took.
            tokens: How many tokens it brought: 1, and one for each right guess.
            guessed: Whether it computed guesses.
        """
        each = seconds / max(1, tokens)
        if not guessed:
            self._plain_seconds = _mean(self._plain_seconds, each, self._plain_steps)
            self._plain_steps += 1
            self._since_plain = 0
            self._pause_tokens = max(0, self._pause_tokens - tokens)
            return
        self._guessing_seconds = _mean(self._guessing_seconds, each, self._guessing_steps)
        self._guessing_steps += 1
        self._since_plain += 1
        if self._guessing_steps < _STEPS:
            return
        if self._guessing_seconds > _MARGIN * self._plain_seconds:
            self._pause_tokens = self._next_pause_tokens
            self._next_pause_tokens = min(2 * self._next_pause_tokens, _LONGEST_PAUSE_TOKENS)
            self._guessing_steps = 0
        else:
            self._next_pause_tokens = _FIRST_PAUSE_TOKENS


def _mean(before: float, value: float, count: int) -> float:
    """A running mean that forgets slowly; plain while there are few values."""
    return before + (value - before) * max(_WEIGHT, 1 / (count + 1))
