"""Sets of byte ranges: which parts of a file are there, and which are still to fetch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of half-open byte ranges `[start, end)`, kept sorted, disjoint and merged."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Put a range into the set; touching and overlapping ones become one."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    @property
    def total_bytes(self) -> int:
        """Bytes in the set."""
        return sum(self._ends) - sum(self._starts)

    @property
    def prefix_bytes(self) -> int:
        """Bytes from 0 on without a gap."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def missing(self, size_bytes: int) -> list[tuple[int, int]]:
        """The ranges of a file of this size that are not in the set, in order."""
        gaps = []
        position = 0
        for start, end in self:
            if start >= size_bytes:
                break
            if position < start:
                gaps.append((position, start))
            position = end
        if position < size_bytes:
            gaps.append((position, size_bytes))
        return gaps
