"""Medians, ratios of pairs, bounds, and the table that shows them: pure functions."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Unit = Literal["tokens/s", "MB/s", "ms", "s", "MiB", "ratio", "percent"]


@dataclass(frozen=True)
class Bound:
    """What a figure must reach, or not exceed."""

    kind: Literal["at least", "at most"]
    value: float

    def holds(self, figure: float) -> bool:
        """Whether the figure keeps it."""
        return figure >= self.value if self.kind == "at least" else figure <= self.value


@dataclass(frozen=True)
class Row:
    """One line of the table: the median of several runs."""

    what: str
    unit: Unit
    samples: tuple[float, ...]
    """One figure per run; never empty."""
    bound: Bound | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Where the middle half of the runs lies."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third

    @property
    def passed(self) -> bool | None:
        """Whether the median keeps the bound; None without one."""
        return self.bound.holds(self.median) if self.bound else None


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Pair by pair, so that what slows the whole machine for a while cancels out.

    Raises:
        ValueError: When the two do not have the same length.
    """
    return tuple(a / b for a, b in zip(above, below, strict=True))


def with_sampling(seconds: Iterable[float], sampling_seconds: float) -> tuple[float, ...]:
    """Time per token of a program that only computes, were it to sample too."""
    return tuple(value + sampling_seconds for value in seconds)


def per_second(seconds: Iterable[float]) -> tuple[float, ...]:
    """Tokens per second from seconds per token."""
    return tuple(1 / value for value in seconds)


def middle_of_windows(start: int, skip: int, window: int, count: int) -> int:
    """The depth at which `count` windows in a row, each after `skip` tokens, begin on average.

    What is measured at this depth meets the middle one of them; those before are less deep by as
    much as those after are deeper.
    """
    return start + skip + (skip + window) * (count - 1) // 2


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = ["| what | median | middle half | runs | bound | |", "|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row.spread
        verdict = {None: "", True: "kept", False: "**missed**"}[row.passed]
        bound = f"{row.bound.kind} {row.bound.value:g}" if row.bound else ""
        name = f"{row.what} ({row.note})" if row.note else row.what
        lines.append(
            f"| {name} | {_shown(row.median, row.unit)} | {_number(low, row.unit)} to "
            f"{_number(high, row.unit)} | {len(row.samples)} | {bound} | {verdict} |"
        )
    return "\n".join(lines)


def as_json(machine: dict[str, Any], rows: Sequence[Row]) -> str:
    """Everything, the single runs too."""
    table = [
        {**asdict(row), "median": row.median, "spread": row.spread, "passed": row.passed}
        for row in rows
    ]
    return json.dumps({"machine": machine, "rows": table}, indent=1, ensure_ascii=False) + "\n"


def all_kept(rows: Sequence[Row]) -> bool:
    """Whether there is a bound, and no bound is missed."""
    verdicts = [row.passed for row in rows if row.passed is not None]
    return bool(verdicts) and all(verdicts)


def _shown(value: float, unit: Unit) -> str:
    suffix = {"ratio": "", "percent": " %"}.get(unit, f" {unit}")
    return _number(value, unit) + suffix


def _number(value: float, unit: Unit) -> str:
    if unit == "ratio":
        return f"{value:.3f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
