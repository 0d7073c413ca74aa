"""Noticing that a thinking goes round in circles: pure bookkeeping on tokens and paragraphs.

R1, and its small distills most of all, can fall into a loop in which nothing new comes until
the window is full. Two kinds are noticed: exactly the same tokens over and over, and paragraphs
that were said before.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, Literal

LoopKind = Literal["cycle", "paragraph"]

WINDOW_TOKENS: Final = 512
SHORTEST_PERIOD: Final = 4
LONGEST_PERIOD: Final = 128
REPEATS: Final = 3
CHECKED_EVERY: Final = 16
# Table borders, rows of zeros and the columns of 1111 + 2222 repeat a few tokens a few times and
# mean no harm: a short period must go round for this long.
_SHORTEST_CYCLE_TOKENS: Final = 96

# A paragraph counts from this length on; short ones ("Wait.", "So x = 3.") come back honestly.
_PARAGRAPH_CHARACTERS: Final = 48
_LETTERS: Final = _PARAGRAPH_CHARACTERS // 3
_TABLE_MARKS: Final = frozenset("|+\u2502\u250c\u251c\u2514")
_PARAGRAPHS_KEPT: Final = 128


class LoopWatch:
    """Watches one thinking; `notice` tells of each loop once."""

    def __init__(self) -> None:
        self._tokens: deque[int] = deque(maxlen=WINDOW_TOKENS)
        self._count = 0
        self._cycling = False
        self._line = ""
        self._paragraphs: deque[str] = deque()
        self._seen: Counter[str] = Counter()
        self._told: set[str] = set()

    def feed(self, token: int, text: str) -> tuple[LoopKind, int] | None:
        """Take a token and the text that it completed.

        Returns:
            The kind of loop and how often it has gone round, when a new one is noticed.
        """
        self._tokens.append(token)
        self._count += 1
        if text and (found := self._feed_text(text)):
            return ("paragraph", found)
        if self._count % CHECKED_EVERY:
            return None
        repeats = cycle_repeats(list(self._tokens))
        was, self._cycling = self._cycling, repeats > 0
        return ("cycle", repeats) if repeats and not was else None

    def _feed_text(self, text: str) -> int:
        self._line += text
        if "\n" not in text:
            return 0
        *done, self._line = self._line.split("\n")
        return max((self._paragraph(part) for part in done), default=0)

    def _paragraph(self, text: str) -> int:
        """How often a paragraph was said, when that makes a loop; else 0."""
        words = " ".join(text.split()).casefold()
        # Borders and headings of tables, and bare figures, come back too.
        told = words[:1] not in _TABLE_MARKS and sum(c.isalpha() for c in words) >= _LETTERS
        if len(words) < _PARAGRAPH_CHARACTERS or not told:
            return 0
        self._paragraphs.append(words)
        self._seen[words] += 1
        if len(self._paragraphs) > _PARAGRAPHS_KEPT:
            oldest = self._paragraphs.popleft()
            self._seen[oldest] -= 1
            if not self._seen[oldest]:
                del self._seen[oldest]
                self._told.discard(oldest)
        times = self._seen[words]
        if times < REPEATS or words in self._told:
            return 0
        self._told.add(words)
        return times


def cycle_repeats(tokens: list[int]) -> int:
    """How often the end of a sequence repeats exactly, with the shortest period that does.

    Returns:
        The whole number of times, at least `REPEATS`; 0 where there is no cycle.
    """
    end = len(tokens)
    for period in range(SHORTEST_PERIOD, LONGEST_PERIOD + 1):
        # The count that makes a cycle: three times, and for short periods until it is long.
        needed = max(REPEATS, -(-_SHORTEST_CYCLE_TOKENS // period))
        if end < needed * period or tokens[-1] != tokens[-1 - period]:
            continue
        same = period
        while same < end and tokens[end - 1 - same] == tokens[end - 1 - same + period]:
            same += 1
        if same >= needed * period:
            return same // period
    return 0
