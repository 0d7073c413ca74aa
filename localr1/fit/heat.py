"""A computer that grows slower while it writes: hot, most of the time. A pure decision."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 30.0
"""Speeds over less say more about the text than about the computer."""
FALLEN_SHARE: Final = 0.6
"""A processor at its limit of heat falls to half of its clock and lower; a growing conversation
costs less than this within `LONGEST_TOKENS`."""
LONGEST_TOKENS: Final = 3000
_STEP_SECONDS: Final = 1.0


class Heat:
    """Watches the speed of one reply after another, and speaks up once.

    Not for replies whose words are guessed ahead: those come in bursts.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._fastest: tuple[float, int] = (0.0, 0)
        self._told = False

    def begin(self) -> None:
        """Another reply, or another part of it, begins."""
        self._samples.clear()
        self._fastest = (0.0, 0)

    def notice(self, tokens: int, seconds: float) -> tuple[float, float] | None:
        """Look at how far the part is.

        Args:
            tokens: Of the part so far.
            seconds: Since it began; less than the last time begins it anew.

        Returns:
            The speed before and now, in tokens per second, the first time that it has fallen
            far; None otherwise.
        """
        if self._samples and seconds < self._samples[-1][0]:
            self.begin()
        if self._samples and seconds - self._samples[-1][0] < _STEP_SECONDS:
            return None
        self._samples.append((seconds, tokens))
        while len(self._samples) > 1 and seconds - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()
        first_seconds, first_tokens = self._samples[0]
        if seconds - first_seconds < WINDOW_SECONDS:
            return None
        rate = (tokens - first_tokens) / (seconds - first_seconds)
        fastest, at_tokens = self._fastest
        if rate > fastest or tokens - at_tokens > LONGEST_TOKENS:
            self._fastest = (rate, tokens)
        elif rate < FALLEN_SHARE * fastest and not self._told:
            self._told = True
            return fastest, rate
        return None
