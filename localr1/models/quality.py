"""How good a model's answers are, and what quantization takes away, in benchmark points.

These are rules of thumb for ranking, not measurements of the very file. Each says where it
comes from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from localr1.models.types import Sourced

POINTS_PER_NAT = 60.0
"""Points lost per nat of divergence from the unquantized model.

From arXiv 2504.04823v2, table 1: R1-Distill-Qwen-7B loses 1.6 to 2.1 points of its mean score
with 4-bit weights and 5.4 to 6.2 with 3-bit weights. llama.cpp's own tables give 4-bit types a
divergence of 0.028 to 0.036 (times 60: 1.7 to 2.2) and 3-bit types 0.084 to 0.111 (5.1 to 6.7).
"""

REFERENCE_PARAMETERS = 7_615_616_512
"""The model that `POINTS_PER_NAT` holds for."""

SIZE_EXPONENT = 0.2
"""Small models lose more: points scale with (7.6e9 / parameters) ** 0.2.

Same table, mean of two methods at 4 bit: 2.3 (1.5B), 1.9 (7B), 1.4 (14B), 1.2 (32B); the rule
gives 2.5, 1.9, 1.6, 1.4. At 3 bit 5.8 (7B), 5.4 (14B), 4.6 (32B); it gives
Q3_K_M and IQ3_M 5.1 and 6.2, 4.4 and 5.4, 3.8 and 4.6.
"""
SMALL_LOW_BITS_EXPONENT = 0.56
"""The same for models smaller than the reference once the divergence passes `LOW_BITS_KLD`.

Same table at 3 bit: 7.6 and 18.6 points (1.5B) against 5.4 and 6.2 (7B); Q3_K_M and IQ3_M get
11.4 and 13.9.
"""
LOW_BITS_KLD = 0.0725
"""Between the coarsest 4-bit type, Q4_0 (0.0719), and the finest 3-bit one, Q3_K_L (0.0731)."""

MOST_POINTS_LOST = 60.0
"""Where the line ends: at such divergences a model writes nonsense, not fewer right answers."""

_UNKNOWN_BY_BITS = {8: 0.1, 6: 0.3, 5: 1.0, 4: 3.0, 3: 12.0, 2: 30.0, 1: 60.0}


@dataclass(frozen=True)
class QuantizationLoss:
    """What is known of one quantization; exactly one of the last three is set."""

    bits_per_weight: float | None
    """On an 8B model; smaller models have more, as embeddings are kept finer."""
    source: str
    kld: float | None = None
    """Kullback-Leibler divergence from the unquantized model, nats per token."""
    points_lost: float | None = None
    """Given directly, for the model it was made for."""
    same_as: str | None = None
    """The quantization that this one only refines."""


def quality(benchmarks: Mapping[str, Sourced], names: tuple[str, ...]) -> float:
    """Mean of the named scores that a model has, in percent; 0 where it has none."""
    scores = [float(benchmarks[name].value) for name in names if name in benchmarks]
    return sum(scores) / len(scores) if scores else 0.0


def points_lost(
    quantizations: Mapping[str, QuantizationLoss], name: str, parameters: int | None = None
) -> float:
    """Points of `Model.quality` that a quantization is expected to cost.

    `POINTS_PER_NAT` times the divergence, scaled by the model's size (small models lose more,
    with three bits and less much more), at most
    `MOST_POINTS_LOST`. An unknown name counts as its `UD-` or `_L`-less relative, and
    failing that by the number of bits in its name.

    Args:
        quantizations: By upper-case name.
        name: `Q4_K_M`, in any case.
        parameters: Of the model; a 7B where left out.
    """
    name = name.upper()
    for candidate in (name, name.removeprefix("UD-"), re.sub(r"(_K)_X?L$", r"\1_M", name)):
        loss = quantizations.get(candidate)
        if loss is not None and loss.same_as is not None:
            loss = quantizations[loss.same_as.upper()]
        if loss is None:
            continue
        if loss.points_lost is not None:
            return loss.points_lost
        if loss.kld is not None:
            return _scaled(POINTS_PER_NAT * loss.kld, parameters)
    bits = re.search(r"\d+", name)
    known = _UNKNOWN_BY_BITS.get(int(bits[0][:2])) if bits else None
    return 0.0 if known is None else _scaled(known, parameters)


def _scaled(points: float, parameters: int | None) -> float:
    """Points that the reference model would lose, for a model of another size."""
    ratio = REFERENCE_PARAMETERS / parameters if parameters else 1.0
    low_bits = points > POINTS_PER_NAT * LOW_BITS_KLD
    exponent = SMALL_LOW_BITS_EXPONENT if low_bits and ratio > 1 else SIZE_EXPONENT
    return min(points * math.pow(ratio, exponent), MOST_POINTS_LOST)
