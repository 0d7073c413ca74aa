"""What plans are ranked by, in points of the published tests; larger is better.

A plan is worth its model's quality plus what its size adds, less what its quantization, its KV
cache type and a short context take away. From that comes off what waiting costs, which is where
the goals differ. Weights marked as judgement are choices of localr1's makers, not measurements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from localr1.config import Goal
from localr1.fit.types import NOTHING, Asked, Plan
from localr1.gguf.types import Architecture

POINTS_PER_DOUBLING = 4.0
"""What a model gains with every doubling of its size, from 8 billion parameters, beside its scores.

A judgement of localr1's makers, not a measurement. It rests on this: the tests that every member
of the family has are contest mathematics and science questions, where long thinking makes up for
size, while what a model knows grows with its parameters. No published figure gives the number, and
the first choice depends on it: for `best` on an RTX 4090 it is the 8B of R1-0528 with 2, the 32B
with 4 and the 70B, partly on the CPU, with 6; on a laptop of 16 GiB it is the 8B with all three."""
REFERENCE_PARAMETERS = 8e9

BEST_SECONDS = 600.0
BALANCED_SECONDS = 180.0
"""How long a typical answer may take before waiting costs `POINTS_PER_LATE_DOUBLING`."""
POINTS_PER_LATE_DOUBLING = 15.0
PATIENCE_SECONDS = 60.0
POINTS_PER_DOUBLING_OF_PATIENCE: Final[Mapping[Goal, float]] = {
    "best": 1.5,
    "balanced": 3.0,
    "fast": 3.0,
}
"""The lighter cost of every doubling of a wait over a minute. Judgement."""
FAST_TPS = 20.0
"""Tokens per second that `fast` wants: faster than anyone reads."""
POINTS_PER_MISSING_DOUBLING = 28.0
"""What `fast` takes off for every halving of that. Judgement: large enough that a small model wins
on a laptop without a GPU."""

_CONTEXT_POINTS = {16384: 0.0, 8192: -1.0, 4096: -5.0}
"""A context that long thinking does not fit into, where localr1 chose it. Judgement."""
_CACHE_POINTS = {"f16": 0.0, "q8_0": -0.1, "q4_0": -1.1}
"""arXiv 2504.04823, table 1: nothing that could be measured with 8 bits, so next to nothing; with 4
bits the models that bear it lose 0.1 to 1.1 points, by the method."""
_USUAL, _USUAL_POINTS = "Q4_K_M", 0.4
"""What nearly everybody runs, so that its faults would be known. Judgement."""
_IQ_POINTS = -1.0
"""`IQ...` types take more computing for each byte, and have no faster layout on most processors:
prompts wait longer, which a typical answer hardly shows. Judgement."""
_SIZE_POINTS_PER_DOUBLING = -0.15
"""So that twice the download for next to nothing does not win. Judgement."""

# Within one model speed is bought with little quality, unlike between models, so that waiting
# weighs less: three bits are no bargain because every answer is slow. Judgement.
_WITHIN_SECONDS = 120.0
_WITHIN_POINTS_PER_DOUBLING: Final[Mapping[Goal, float]] = {
    "best": 3.0,
    "balanced": 5.0,
    "fast": 5.0,
}
"""What a doubling of a wait over two minutes costs."""
_WITHIN_POINTS_PER_MISSING_DOUBLING = 10.0
"""What `fast` takes off there for every halving of the speed it wants."""
_QUICK_SECONDS = 10.0
_POINTS_PER_QUICK_DOUBLING = 0.5
"""What any doubling over this is worth: of two alike, the faster one."""

_LOW_BITS_POINTS = -400.0
"""Two bits and less: no distill was ever tested with so few."""
_SMALL_LOW_BITS_POINTS = -500.0
"""Three bits and less of the 1.5B model, which lost 8 to 19 points of 49 with three: never
recommended. Of the sizes that were tested (arXiv 2504.04823, table 1) it alone fell so far: the 7B
lost 5 to 6 of 64, the 14B 4.5 to 6 of 72, the 32B 4 to 5 of 75 (`models.quality`)."""
_SMALL_PARAMETERS = 3e9


def score(plan: Plan, goal: Goal, points_lost: float, asked: Asked = NOTHING) -> float:
    """What the ranking sorts by.

    Args:
        plan: One that fits.
        goal: What counts.
        points_lost: By its quantization.
        asked: What the user fixed; nothing is held against the plan for that.
    """
    points = worth(plan, points_lost, asked) - _waiting(plan, goal)
    if goal == "fast":
        points -= POINTS_PER_MISSING_DOUBLING * _missing(plan)
    return points


def worth(plan: Plan, points_lost: float, asked: Asked = NOTHING) -> float:
    """What a plan's answers are worth, however long they take."""
    settings, architecture = plan.settings, plan.model.architecture
    points = plan.model.quality - points_lost
    points += POINTS_PER_DOUBLING * math.log2(_equal_size(architecture) / REFERENCE_PARAMETERS)
    if asked.context_window is None:
        points += _CONTEXT_POINTS.get(settings.context_window, 0.0)
    if asked.kv_cache_type is None:
        points += _CACHE_POINTS[settings.kv_cache_type]
    points += _SIZE_POINTS_PER_DOUBLING * math.log2(max(1.0, plan.variant.size_bytes / (1 << 30)))
    if hardly_usable(plan):
        small = architecture.parameters < _SMALL_PARAMETERS
        points += _SMALL_LOW_BITS_POINTS if small else _LOW_BITS_POINTS
    if plan.variant.quantization.upper().startswith("IQ"):
        points += _IQ_POINTS
    elif plan.variant.quantization == _USUAL:
        points += _USUAL_POINTS
    return points


def score_within(plan: Plan, goal: Goal, points_lost: float, asked: Asked = NOTHING) -> float:
    """What the variants and the settings of one model are compared by; as `score`."""
    seconds = plan.time_to_answer.typical.expected
    points = worth(plan, points_lost, asked)
    points -= _POINTS_PER_QUICK_DOUBLING * max(0.0, math.log2(seconds / _QUICK_SECONDS))
    late = max(0.0, math.log2(seconds / _WITHIN_SECONDS))
    points -= _WITHIN_POINTS_PER_DOUBLING[goal] * late
    if goal == "fast":
        points -= _WITHIN_POINTS_PER_MISSING_DOUBLING * _missing(plan)
    return points


def hardly_usable(plan: Plan) -> bool:
    """Whether so few bits are left that the variant is no advice even if it nearly fits."""
    architecture, bits = plan.model.architecture, _bits(plan.variant.quantization)
    if architecture.expert_count:
        return False
    return bits <= (3 if architecture.parameters < _SMALL_PARAMETERS else 2)


def limit_seconds(goal: Goal) -> float:
    """How long a typical answer may take before waiting weighs heavily."""
    return BEST_SECONDS if goal == "best" else BALANCED_SECONDS


def _missing(plan: Plan) -> float:
    """Doublings of speed that `fast` misses."""
    return max(0.0, math.log2(FAST_TPS / plan.generation_tps.expected))


def _waiting(plan: Plan, goal: Goal) -> float:
    seconds = plan.time_to_answer.typical.expected
    light = POINTS_PER_DOUBLING_OF_PATIENCE[goal] * max(0.0, math.log2(seconds / PATIENCE_SECONDS))
    late = max(0.0, math.log2(seconds / limit_seconds(goal)))
    return light + POINTS_PER_LATE_DOUBLING * late


def _equal_size(architecture: Architecture) -> float:
    """Parameters of a dense model that knows about as much.

    For experts the geometric mean of all and the active ones, a common rule of thumb.
    """
    active = architecture.active_parameters or architecture.parameters
    return math.sqrt(architecture.parameters * active)


def _bits(quantization: str) -> int:
    """The number in a quantization's name: 4 for `Q4_K_M`, 1 for `UD-IQ1_S`."""
    match = re.search(r"\d+", quantization)
    return int(match[0][:2]) if match else 16
