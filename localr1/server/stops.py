"""Texts at which an answer ends, found however the stream is cut. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class StopFinder:
    """Passes text on up to the first of the given texts.

    What may be the beginning of one is held back until it is known.

    Args:
        stops: The texts; none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False
        """Whether one of them came; nothing is passed on after that."""

    def feed(self, text: str) -> tuple[str, bool]:
        """Take more text; returns what is certain, and whether the end was found in it."""
        if self.found:
            return "", False
        self._held += text
        at = min((i for i in map(self._held.find, self._stops) if i >= 0), default=-1)
        if at >= 0:
            self.found = True
            shown, self._held = self._held[:at], ""
            return shown, True
        kept = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - kept
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown, False

    def end(self) -> str:
        """No more comes; returns what was held back."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may begin the stop."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
