"""A plan beside the others: why it stands where it does, and what the first choice gave up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from localr1.config import Goal
from localr1.fit.explain import duration
from localr1.fit.score import FAST_TPS, limit_seconds
from localr1.fit.types import Plan

SLIGHTLY_POINTS: Final = 10.0
"""A plan worth at most this much less is called a little weaker. Judgement."""
_SAME_POINTS: Final = 0.5
_QUICKER: Final = 0.5
"""Share of the first choice's time within which another one is worth naming for its speed."""
_LONG_SECONDS: Final = 120.0
_ALIKE: Final = 1.25
"""Ratio of times below which they are called alike."""
_MUCH: Final = 1.75
"""From here on the ratio is said."""

Worth = Callable[[Plan], float]
"""What a plan's answers are worth, however long they take."""


def place(plan: Plan, first: Plan | None, goal: Goal, worth: Worth, *, advised: bool) -> str:
    """The end of a fitting plan's first line: why it stands where it does.

    Args:
        plan: Any.
        first: The first choice.
        goal: What it was chosen for.
        worth: What answers are worth.
        advised: Whether it is the advised variant of its model.
    """
    if not plan.fits or first is None or plan.model.demo:
        return ""
    answer = f"a typical answer in about {duration(_seconds(plan))}"
    if plan is first:
        return f"{answer}; {_praise(plan, goal)}"
    if advised:
        return f"{answer}; {_points(plan)}{_relation(plan, first, worth)}"
    return f"{answer}; {_beside(plan.points_lost or 0.0)}"


def passed_over(
    first: Plan, others: Sequence[Plan], advised: Sequence[Plan], worth: Worth
) -> Iterator[str]:
    """What the first choice was preferred to because of the time, and what would be sooner.

    The best of those whose answers are better but take longer; where the first choice keeps one
    waiting, the best of those that are much quicker.

    Args:
        first: The first choice.
        others: Every plan of another model that fits.
        advised: Those of them that are advised, one of each model.
        worth: What answers are worth.
    """
    value, seconds = worth(first), _seconds(first)
    instead = f"instead of {duration(seconds)}"
    better = [
        plan
        for plan in others
        if worth(plan) > value + _SAME_POINTS and _seconds(plan) > seconds * _MUCH
    ]
    if better:
        # One that is listed, where there is one: its time stands there too.
        listed = [plan for plan in better if plan in advised]
        other = max(listed or better, key=worth)
        yield (
            f"{_name(other)} would answer better, but takes about {duration(_seconds(other))}"
            f" {instead}"
        )
    quick = [plan for plan in advised if _seconds(plan) <= seconds * _QUICKER]
    if quick and seconds >= _LONG_SECONDS:
        other = max(quick, key=worth)
        little = "a little " if worth(other) >= value - SLIGHTLY_POINTS else ""
        yield (
            f"{_name(other)} is {little}weaker, and answers in about {duration(_seconds(other))}"
            f" {instead}"
        )


def _seconds(plan: Plan) -> float:
    return plan.time_to_answer.typical.expected


def _name(plan: Plan) -> str:
    return f"{plan.model.name} {plan.variant.quantization}"


def _praise(plan: Plan, goal: Goal) -> str:
    if goal == "fast":
        fast = plan.generation_tps.expected >= FAST_TPS
        return (
            f"the best at {FAST_TPS:.0f} tokens/s or more" if fast else "the best of the fast ones"
        )
    limit = limit_seconds(goal)
    if _seconds(plan) > limit:
        return "the best choice among slow ones"
    return f"the best that answers within {duration(limit)} here"


def _points(plan: Plan) -> str:
    """`67 points, `; nothing for a model without published scores."""
    if not plan.model.quality:
        return ""
    return f"{max(0.0, plan.model.quality - (plan.points_lost or 0.0)):.0f} points, "


def _relation(plan: Plan, first: Plan, worth: Worth) -> str:
    better, ratio = worth(plan) - worth(first), _seconds(plan) / _seconds(first)
    if ratio >= _ALIKE:
        speed = "takes longer" if ratio < _MUCH else f"takes {_fold(ratio)} as long"
    elif ratio <= 1 / _ALIKE:
        speed = "quicker" if 1 / ratio < _MUCH else f"{_fold(1 / ratio)} as quick"
    else:
        speed = "as quick"
    if abs(better) <= _SAME_POINTS:
        return f"as good, {speed}"
    if better > 0:
        return f"better, but {speed}" if ratio >= _ALIKE else f"better, {speed}"
    return f"weaker, but {speed}" if ratio <= 1 / _ALIKE else f"weaker, {speed}"


def _fold(ratio: float) -> str:
    return "twice" if ratio < 2.5 else f"{ratio:.0f} times"


def _beside(loss: float) -> str:
    if loss < 0.5:
        return "its quantization costs next to nothing"
    return f"its quantization costs about {loss:.1f} points"
