"""Predicted times as people read them, with their spread. Pure functions."""

from __future__ import annotations

from localr1.fit.types import Interval


def rough_duration(seconds: float) -> str:
    """An estimated time, without false precision: `5 s`, `40 s`, `7 min`, `2 h`."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{round(seconds / 5) * 5} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86400)} days"


def time_range(interval: Interval) -> str:
    """A predicted time with its spread: `6 to 11 min`, or one time where both are alike."""
    return _range(interval, " to ", "about ")


def short_time_range(interval: Interval) -> str:
    """The same in at most 12 cells: `6–11 min`, `50 s–2 min`, `40 h–3 d`."""
    return _range(interval, "–", "").replace("days", "d")


def _range(interval: Interval, between: str, about: str) -> str:
    low, high = rough_duration(interval.low), rough_duration(interval.high)
    if low == high:
        return f"{about}{low}"
    number, unit = low.split()
    return f"{number if unit == high.split()[1] else low}{between}{high}"
