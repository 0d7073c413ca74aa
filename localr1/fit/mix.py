"""Which tensor types a quantization is a mix of, and which of them the CPU repacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from localr1.gguf import recipe
from localr1.gguf.recipe import Recipe
from localr1.gguf.types import Architecture


@dataclass(frozen=True)
class Kind:
    """What one tensor type contributes to the work of a token."""

    name: str
    """`Q4_K`, ..."""
    size_bytes: float
    """Weights of this type that one token reads."""
    layer_parameters: float
    """How many of them lie in layers: those that every token of a prompt is multiplied with."""


class Mix:
    """The types that one quantization gives the matrices of one architecture."""

    def __init__(self, quantization: str, architecture: Architecture) -> None:
        self.quantization = quantization
        """`Q4_K_M`, ..."""
        self.architecture = architecture
        """Shape of the model."""
        self.base = Recipe.of(quantization, architecture).base
        """Type of the matrices that no rule singles out."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The types of all matrices that a token is multiplied with; of experts those in use."""
        return _kinds(self.architecture, self.quantization)


@lru_cache(maxsize=1024)
def _kinds(architecture: Architecture, quantization: str) -> tuple[Kind, ...]:
    sums: dict[str, tuple[float, float]] = {}
    used = architecture.expert_used_count / max(1, architecture.expert_count)
    parts = recipe.parts(architecture, quantization)
    ends = [(entry, 1, False) for entry in parts.ends]
    layers = [
        (entry, parts.layers.count(number), True)
        for number, kind in enumerate(parts.kinds)
        for entry in kind
    ]
    for tensor, times, in_layer in ends + layers:
        looked_up = tensor.name == "token_embd.weight" and not architecture.tied_embeddings
        if len(tensor.shape) < 2 or looked_up:
            continue
        share = times * (used if "_exps." in tensor.name else 1.0)
        size, count = sums.get(tensor.quantization, (0.0, 0.0))
        count += share * math.prod(tensor.shape) if in_layer else 0.0
        sums[tensor.quantization] = size + share * tensor.size_bytes, count
    return tuple(Kind(name, size, count) for name, (size, count) in sums.items())


def repacked_types(features: tuple[str, ...]) -> frozenset[str]:
    """Types whose matrices llama.cpp copies into anonymous memory in a faster layout.

    The rule is `ggml_repack_get_optimal_repack_type()` in llama.cpp's
    `ggml/src/ggml-cpu/repack.cpp`; it holds for matrices whose rows come in eights, which
    all of the family's do. The token embedding is looked up, not multiplied, and never
    repacked.

    Args:
        features: `Machine.used_features`: `AVX2`, `AVX512`, `NEON`, `DOTPROD`, `MATMUL_INT8`, ...
    """
    have = frozenset(features)
    types: set[str] = set()
    if "AVX2" in have:
        types |= {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}
    if "AVX512" in have:
        types.add("Q2_K")
    if "NEON" in have:
        types.add("IQ4_NL")
    if "NEON" in have and have & {"DOTPROD", "MATMUL_INT8"}:
        types |= {"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q1_0"}
    if {"NEON", "DOTPROD"} <= have:
        types.add("MXFP4")
    return frozenset(types)
