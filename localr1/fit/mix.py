"""Which tensor types a quantization is a mix of.

`Q4_K_M` is a recipe, not a type: llama.cpp's quantizer gives most matrices Q4_K, the output
Q6_K, and some values and FFN-down matrices Q6_K. The recipes here are facts about
`llama_tensor_get_type_impl()` in llama.cpp's `src/llama-quant.cpp` (dense models, with an
importance matrix, as the published files are made), checked in a test against the
published sizes of every dense model in the catalogue. For files that other programs mixed
(`UD-...`) they are an approximation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from localr1.gguf.quantization import BLOCK_SIZES
from localr1.gguf.types import Architecture

Role = Literal["q", "k", "v", "o", "gate", "up", "down"]

# The type that most matrices of a mix get, where it is not the mix's own name.
_BASE = {
    "Q2_K_S": "Q2_K",
    "Q3_K_S": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_L": "Q3_K",
    "Q4_K_S": "Q4_K",
    "Q4_K_M": "Q4_K",
    "Q5_K_S": "Q5_K",
    "Q5_K_M": "Q5_K",
    "IQ2_S": "IQ2_XS",
    "IQ2_M": "IQ2_S",
    "IQ3_XS": "IQ3_S",
    "IQ3_M": "IQ3_S",
    "MXFP4_MOE": "MXFP4",
}
# Mixes that only keep embedding and output in Q8_0, and what they are otherwise.
_LARGE = {
    "Q2_K_L": "Q2_K",
    "Q3_K_XL": "Q3_K_L",
    "Q4_K_L": "Q4_K_M",
    "Q5_K_L": "Q5_K_M",
    "Q6_K_L": "Q6_K",
}
_UNSLOTH = "UD-"
_LOW_BIT = frozenset(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"))
# A name nobody knows counts as the plain type of as many bits.
_BY_BITS = {1: "IQ1_M", 2: "Q2_K", 3: "Q3_K", 4: "Q4_K", 5: "Q5_K", 6: "Q6_K", 8: "Q8_0"}


@dataclass(frozen=True)
class LayerKind:
    """What the recipes look at in a layer's place."""

    index_below_4: int
    """The layer's index, at most 4: the first few are treated one by one."""
    first_sixteenth: bool
    first_eighth: bool
    more_bits: bool
    """In the first or last eighth, or every third between."""


def layer_kind(layer: int, layers: int) -> LayerKind:
    """The kind of a layer in a model of `layers` layers."""
    eighth = layers // 8
    more = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
    return LayerKind(min(layer, 4), layer < layers // 16, layer < eighth, more)


class Mix:
    """The types that one quantization gives the matrices of one architecture."""

    def __init__(self, quantization: str, architecture: Architecture) -> None:
        name = quantization.upper()
        self.architecture = architecture
        """Shape of the model."""
        self.unsloth = name.startswith(_UNSLOTH)
        """Whether attention and shared experts are kept finer than the name says."""
        name = re.sub(r"_XL$", "", name.removeprefix(_UNSLOTH)) if self.unsloth else name
        self._large = name in _LARGE
        self._name = _LARGE.get(name, name)
        self.base = _plain_type(self._name)
        """Type of the matrices that no rule singles out."""
        self._gqa = architecture.head_count // max(1, architecture.head_count_kv)
        self._is_70b = architecture.name == "llama" and architecture.layers == 80

    @property
    def embedding(self) -> str:
        """Type of the token embedding."""
        if self._large:
            return "Q8_0"
        if self.unsloth:
            return self._at_least("Q4_K")
        if self._name in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
            return "IQ3_S"
        if self._name in _LOW_BIT:
            return "Q2_K"
        return "Q4_K" if self._name in ("TQ1_0", "TQ2_0") else self.base

    @property
    def output(self) -> str:
        """Type of the output matrix."""
        if self._large:
            return "Q8_0"
        if self._name in _LOW_BIT or self._name == "IQ3_XXS":
            return "Q6_K" if self.unsloth else "Q5_K"
        return self._at_least("Q6_K")

    @property
    def fine(self) -> str:
        """Type of what is used for every token in a model with experts.

        Unsloth keeps it at 4 to 6 bits (its article on the 671B models): the finer end.
        """
        return self._at_least("Q6_K") if self.unsloth else self.base

    def of(self, role: Role, kind: LayerKind) -> str:
        """Type of one matrix of a dense layer."""
        if role == "v":
            return self._value(kind)
        if role == "down":
            return self._down(kind)
        if role == "o":
            return self._attention_output()
        if role in ("q", "k") and self._name == "IQ3_XXS":
            return "IQ2_S"
        middle = not (kind.first_eighth or (kind.more_bits and kind.index_below_4 == 4))
        if self._name == "IQ3_XS" and (role in ("q", "k") or middle):
            return "IQ3_XXS"
        return self.base

    def _at_least(self, name: str) -> str:
        finer = BLOCK_SIZES[self.base].bits_per_element > BLOCK_SIZES[name].bits_per_element
        return self.base if finer else name

    def _value(self, kind: LayerKind) -> str:
        name, shared = self._name, self._gqa >= 4
        result = self.base
        if name in _LOW_BIT:
            coarse = "IQ3_S" if name in ("IQ2_S", "IQ2_M") else "Q2_K"
            return "Q4_K" if shared else coarse
        if name == "Q2_K":
            result = "Q4_K" if shared else "Q3_K"
        elif name == "IQ3_M" or (name in ("Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_S") and shared):
            result = "Q4_K"
        elif name == "Q3_K_M":
            result = "Q5_K" if kind.index_below_4 < 2 else "Q4_K"
        elif name == "Q3_K_L" or (name in ("IQ4_NL", "IQ4_XS") and shared):
            result = "Q5_K"
        elif name in ("Q4_K_M", "Q5_K_M") and kind.more_bits:
            result = "Q6_K"
        elif name == "Q4_K_S" and kind.index_below_4 < 4:
            result = "Q5_K"
        return "Q5_K" if self._is_70b and result in ("Q3_K", "Q4_K") else result

    def _down(self, kind: LayerKind) -> str:
        name = self._name
        if name in ("Q4_K_M", "Q5_K_M") and kind.more_bits:
            return "Q6_K"
        if name == "Q3_K_M":
            return "Q5_K" if kind.first_sixteenth else "Q4_K"
        if name in ("Q2_K", "Q3_K_L"):
            return "Q3_K" if name == "Q2_K" else "Q5_K"
        if not kind.first_eighth:
            return self.base
        if name in _LOW_BIT:
            return "IQ3_S" if name in ("IQ2_S", "IQ2_M") else "Q2_K"
        early = {"Q2_K_S": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_S": "Q5_K", "Q4_0": "Q4_1"}
        return early.get(name, self.base)

    def _attention_output(self) -> str:
        special = {
            "Q2_K": "Q3_K",
            "Q3_K_M": "Q4_K",
            "Q3_K_L": "Q5_K",
            "IQ3_XXS": "IQ3_S",
            "IQ3_M": "Q4_K",
            "IQ2_S": "IQ3_S",
            "IQ2_M": "IQ3_S",
            "IQ1_S": "IQ2_XXS",
            "IQ1_M": "IQ2_XXS",
        }
        return special.get(self._name, self.base)


def repacked_types(features: tuple[str, ...]) -> frozenset[str]:
    """Types whose matrices llama.cpp copies into anonymous memory in a faster layout.

    The rule is `ggml_repack_get_optimal_repack_type()` in llama.cpp's
    `ggml/src/ggml-cpu/repack.cpp`; it holds for matrices whose rows come in eights, which
    all of the family's do. The token embedding is looked up, not multiplied, and never
    repacked.

    Args:
        features: `Cpu.features`: `AVX2`, `AVX512`, `NEON`, `DOTPROD`, `MATMUL_INT8`, ...
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


def _plain_type(name: str) -> str:
    known = _BASE.get(name, name)
    if known in BLOCK_SIZES:
        return known
    bits = re.search(r"\d+", name)
    return _BY_BITS.get(int(bits[0][:2]) if bits else 16, "F16")
