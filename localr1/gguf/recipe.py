"""Every tensor of a model file, from the model's shape and the name of its quantization.

Names and shapes are those that llama.cpp wants of each architecture (src/models/*.cpp), types
those that its quantizer gives (`llama_tensor_get_type_impl()` and `tensor_type_fallback()` in
src/llama-quant.cpp, llama-cpp-python 0.3.36), with an importance matrix, as the published files
are made. A test asks the quantizer itself. Mixes of other programs (`UD-...`) are approximated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from localr1.gguf.quantization import BLOCK_SIZES, row_bytes
from localr1.gguf.types import Architecture, TensorInfo

ALIGNMENT_BYTES: Final = 32
"""Where a tensor's data may begin, if the file does not say otherwise (gguf.h)."""

# The type that most matrices of a mix get, where it is not the mix's own name.
_BASE: Final = {
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
_LARGE: Final = {
    "Q2_K_L": "Q2_K",
    "Q3_K_XL": "Q3_K_L",
    "Q4_K_L": "Q4_K_M",
    "Q5_K_L": "Q5_K_M",
    "Q6_K_L": "Q6_K",
}
_UNSLOTH: Final = "UD-"
_FINE: Final = "Q6_K"
"""What Unsloth keeps for every token in models with experts: 4 to 6 bits, says its article on
the 671B models; the finer end."""
_LOW_BIT: Final = frozenset(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"))
# A name nobody knows counts as the plain type of as many bits.
_BY_BITS: Final = {1: "IQ1_M", 2: "Q2_K", 3: "Q3_K", 4: "Q4_K", 5: "Q5_K", 6: "Q6_K", 8: "Q8_0"}
# For rows that are no whole blocks.
_SMALLER_BLOCKS: Final = {
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0", "Q2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"), "IQ4_NL"),
    **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
}
_UNQUANTIZED: Final = frozenset(("F32", "F16", "BF16"))


@dataclass(frozen=True)
class Recipe:
    """One quantization of one model."""

    architecture: Architecture
    name: str
    """Without what other programs add to it."""
    base: str
    """Type of the matrices that no rule singles out."""
    large_ends: bool
    """Whether embedding and output are kept in Q8_0."""
    dynamic: bool
    """Whether it is Unsloth's mix, which only the file itself knows."""

    @classmethod
    def of(cls, quantization: str, architecture: Architecture) -> Recipe:
        """The recipe that a quantization's name stands for."""
        name = quantization.upper()
        dynamic = name.startswith(_UNSLOTH)
        name = re.sub(r"_XL$", "", name.removeprefix(_UNSLOTH)) if dynamic else name
        large = name in _LARGE
        name = _LARGE.get(name, name)
        return cls(architecture, name, _plain_type(name), large, dynamic)

    @property
    def known(self) -> bool:
        """Whether llama.cpp's quantizer has such a mix."""
        return not self.dynamic and (self.name in _BASE or self.name in BLOCK_SIZES)

    def kind_of(self, layer: int) -> tuple[object, ...]:
        """Everything about a layer's place that types and shapes depend on."""
        layers = self.architecture.layers
        sparse = layer >= self.architecture.leading_dense_layers
        first = (min(layer, 4), layer < layers // 16, layer < layers // 8)
        # For its low-bit mixes the quantizer counts matrices up to an eighth of the layers.
        counted = layer if self.name in _LOW_BIT and layer < layers // 8 else -1
        return (sparse, *first, self._more_bits(layer), self._at_the_ends(layer), counted)

    def type_of(self, name: str, shape: tuple[int, ...]) -> str:
        """The type of one tensor."""
        stem, layer = name, -1
        if stem.startswith("blk."):
            _, number, stem = stem.split(".", 2)
            layer = int(number)
        return self.type_in(layer, stem, shape)

    def type_in(self, layer: int, name: str, shape: tuple[int, ...]) -> str:
        """The type of a tensor whose name is without its layer; -1: of none."""
        stem = name.removesuffix(".weight")
        if len(shape) < 2 or stem == "ffn_gate_inp":
            return "F32"
        if self.base in _UNQUANTIZED:
            return self.base
        result = self._of_matrix(stem, layer, shape)
        if shape[0] % BLOCK_SIZES[result].elements:
            result = _SMALLER_BLOCKS.get(result, result)
        return "F16" if shape[0] % BLOCK_SIZES[result].elements else result

    def _of_matrix(self, stem: str, layer: int, shape: tuple[int, ...]) -> str:
        if stem == "output" or (stem == "token_embd" and self.architecture.tied_embeddings):
            return self._output(shape)
        if stem == "token_embd":
            return self._embedding()
        if self.name == "MXFP4_MOE":
            return "MXFP4" if len(shape) > 2 else "Q8_0"
        if self.dynamic and self.architecture.expert_count and "_exps" not in stem:
            return self._at_least(_FINE)
        return self._of_layer(stem, layer)

    def _of_layer(self, stem: str, layer: int) -> str:
        if stem in ("attn_v", "attn_kv_b"):
            return self._value(layer)
        if stem == "attn_output":
            return self._attention_output()
        if stem.startswith("ffn_down"):
            return self._down(layer, shared=stem.endswith("_shexp"))
        if stem in ("attn_q", "attn_k"):
            return {"IQ3_XXS": "IQ2_S", "IQ3_XS": "IQ3_XXS"}.get(self.name, self.base)
        middle = stem.startswith(("ffn_up", "ffn_gate")) and not self._at_the_ends(layer)
        return "IQ3_XXS" if middle and self.name == "IQ3_XS" else self.base

    def _embedding(self) -> str:
        if self.large_ends or self.name == "MXFP4_MOE":
            return "Q8_0"
        if self.dynamic:
            return self._at_least("Q4_K")
        if self.name in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
            return "IQ3_S"
        if self.name in _LOW_BIT:
            return "Q2_K"
        return "Q4_K" if self.name in ("TQ1_0", "TQ2_0", "Q2_0") else self.base

    def _output(self, shape: tuple[int, ...]) -> str:
        if (
            self.large_ends
            or self.name in ("MXFP4_MOE", "Q8_0")
            or shape[0] % BLOCK_SIZES[self.base].elements
        ):
            return "Q8_0"
        if self.name in _LOW_BIT or self.name == "IQ3_XXS":
            return "Q6_K" if self.dynamic else "Q5_K"
        return "Q6_K"

    def _value(self, layer: int) -> str:
        name, shared = self.name, self._heads_per_value >= 4
        if name in _LOW_BIT:
            coarse = "IQ3_S" if name in ("IQ2_S", "IQ2_M") else "Q2_K"
            return "Q4_K" if shared or self.architecture.expert_count >= 4 else coarse
        result = self.base
        if name == "Q2_K":
            result = "Q4_K" if shared else "Q3_K"
        elif name == "IQ3_M" or (name in ("Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_S") and shared):
            result = "Q4_K"
        elif name == "Q3_K_M":
            result = "Q5_K" if layer < 2 else "Q4_K"
        elif name == "Q3_K_L" or (name in ("IQ4_NL", "IQ4_XS") and shared):
            result = "Q5_K"
        elif name in ("Q4_K_M", "Q5_K_M") and self._more_bits(layer):
            result = "Q6_K"
        elif name == "Q4_K_S" and layer < 4:
            result = "Q5_K"
        # In the 70B one value head serves eight others, so that it is cheap to keep it finer.
        a = self.architecture
        seventy = a.name == "llama" and a.layers == 80 and a.head_count != a.head_count_kv
        return "Q5_K" if seventy and result in ("Q3_K", "Q4_K") else result

    def _down(self, layer: int, *, shared: bool) -> str:
        name, layers = self.name, self.architecture.layers
        if name in _LOW_BIT:
            # Here the quantizer counts matrices, of which layers with shared experts have two.
            lead = self.architecture.leading_dense_layers
            if self.architecture.expert_shared_count and layer >= lead:
                layer += layer - lead + shared
        if name in ("Q4_K_M", "Q5_K_M") and self._more_bits(layer):
            return "Q6_K"
        if name == "Q3_K_M":
            return "Q5_K" if layer < layers // 16 else "Q4_K"
        if name in ("Q2_K", "Q3_K_L"):
            return "Q3_K" if name == "Q2_K" else "Q5_K"
        if layer >= layers // 8:
            return self.base
        if name in _LOW_BIT:
            return "IQ3_S" if name in ("IQ2_S", "IQ2_M") else "Q2_K"
        early = {"Q2_K_S": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_S": "Q5_K"}
        early |= {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}
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
        return special.get(self.name, self.base)

    @property
    def _heads_per_value(self) -> int:
        a = self.architecture
        return a.head_count // max(1, a.head_count_kv)

    def _more_bits(self, layer: int) -> bool:
        """In the first or last eighth, or every third between."""
        layers = self.architecture.layers
        eighth = layers // 8
        return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2

    def _at_the_ends(self, layer: int) -> bool:
        layers = self.architecture.layers
        return layer < layers // 8 or layer >= 7 * layers // 8

    def _at_least(self, name: str) -> str:
        finer = BLOCK_SIZES[self.base].bits_per_element > BLOCK_SIZES[name].bits_per_element
        return self.base if finer else name


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, wherever in it."""

    name: str
    """Without its layer's number."""
    shape: tuple[int, ...]
    quantization: str
    size_bytes: int


@dataclass(frozen=True)
class Parts:
    """The tensors of a file, layers that are alike listed once."""

    ends: tuple[Entry, ...]
    """What belongs to no layer."""
    kinds: tuple[tuple[Entry, ...], ...]
    layers: tuple[int, ...]
    """The kind of each layer."""


@lru_cache(maxsize=1024)
def parts(architecture: Architecture, quantization: str) -> Parts:
    """Every tensor of a file, by kind of layer."""
    recipe = Recipe.of(quantization, architecture)

    def entry(name: str, shape: tuple[int, ...], kind: str) -> Entry:
        return Entry(name, shape, kind, row_bytes(kind, shape[0]) * math.prod(shape[1:]))

    lead = architecture.leading_dense_layers
    shapes = {
        sparse: sorted(_layer(architecture, lead if sparse else 0)) for sparse in (True, False)
    }
    # Layers in many kinds of places get the same types in the end.
    places: dict[tuple[object, ...], int] = {}
    kinds: dict[tuple[bool, tuple[str, ...]], int] = {}
    numbers: list[int] = []
    for layer in range(architecture.layers):
        place = recipe.kind_of(layer)
        if place not in places:
            own = shapes[layer >= lead]
            types = tuple(recipe.type_in(layer, name, shape) for name, shape in own)
            places[place] = kinds.setdefault((layer >= lead, types), len(kinds))
        numbers.append(places[place])
    return Parts(
        ends=tuple(entry(n, s, recipe.type_in(-1, n, s)) for n, s in _ends(architecture)),
        kinds=tuple(
            tuple(entry(*tensor, kind) for tensor, kind in zip(shapes[sparse], types, strict=True))
            for sparse, types in kinds
        ),
        layers=tuple(numbers),
    )


def tensors(architecture: Architecture, quantization: str) -> tuple[TensorInfo, ...]:
    """Every tensor of a file, in the order in which llama.cpp's quantizer writes them."""
    found = parts(architecture, quantization)
    result: list[TensorInfo] = []
    offset = 0
    for prefix, entries in (
        ("", found.ends),
        *((f"blk.{layer}.", found.kinds[kind]) for layer, kind in enumerate(found.layers)),
    ):
        for one in entries:
            name, size = prefix + one.name, one.size_bytes
            result.append(TensorInfo(name, one.shape, one.quantization, offset, size))
            offset += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return tuple(result)


def _ends(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    ends = (a.embedding_length, a.vocabulary_size)
    if not a.tied_embeddings:
        yield "output.weight", ends
    yield "output_norm.weight", (a.embedding_length,)
    if a.name == "llama":
        yield "rope_freqs.weight", (a.key_length // 2,)
    yield "token_embd.weight", ends


def _layer(a: Architecture, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, wide = a.embedding_length, a.feed_forward_length
    yield "attn_norm.weight", (width,)
    yield "ffn_norm.weight", (width,)
    yield from _compressed_attention(a) if a.kv_lora_rank else _attention(a)
    if a.expert_count and layer >= a.leading_dense_layers:
        yield from _experts(a)
        return
    yield "ffn_gate.weight", (width, wide)
    yield "ffn_up.weight", (width, wide)
    yield "ffn_down.weight", (wide, width)


def _attention(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    rows = {
        "attn_q": a.head_count * a.key_length,
        "attn_k": a.head_count_kv * a.key_length,
        "attn_v": a.head_count_kv * a.value_length,
    }
    for name, length in rows.items():
        yield f"{name}.weight", (a.embedding_length, length)
        if a.name == "qwen2":
            yield f"{name}.bias", (length,)
    yield "attn_output.weight", (a.head_count * a.value_length, a.embedding_length)
    if a.name == "qwen3":
        yield "attn_q_norm.weight", (a.key_length,)
        yield "attn_k_norm.weight", (a.key_length,)


def _compressed_attention(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    """DeepSeek's; old files have both halves of the expansion in one matrix."""
    heads, rank = a.head_count, a.kv_lora_rank
    plain = a.head_key_length - a.rope_length
    if a.q_lora_rank:
        yield "attn_q_a.weight", (a.embedding_length, a.q_lora_rank)
        yield "attn_q_a_norm.weight", (a.q_lora_rank,)
        yield "attn_q_b.weight", (a.q_lora_rank, heads * a.head_key_length)
    else:
        yield "attn_q.weight", (a.embedding_length, heads * a.head_key_length)
    yield "attn_kv_a_mqa.weight", (a.embedding_length, rank + a.rope_length)
    yield "attn_kv_a_norm.weight", (rank,)
    if a.mla:
        yield "attn_k_b.weight", (plain, rank, heads)
        yield "attn_v_b.weight", (rank, a.head_value_length, heads)
    else:
        yield "attn_kv_b.weight", (rank, heads * (plain + a.head_value_length))
    yield "attn_output.weight", (heads * a.head_value_length, a.embedding_length)


def _experts(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, wide, count = a.embedding_length, a.expert_feed_forward_length, a.expert_count
    yield "ffn_gate_inp.weight", (width, count)
    yield "ffn_gate_exps.weight", (width, wide, count)
    yield "ffn_up_exps.weight", (width, wide, count)
    yield "ffn_down_exps.weight", (wide, width, count)
    if a.name == "deepseek2":
        yield "exp_probs_b.bias", (count,)
    if a.expert_shared_count:
        shared = wide * a.expert_shared_count
        yield "ffn_gate_shexp.weight", (width, shared)
        yield "ffn_up_shexp.weight", (width, shared)
        yield "ffn_down_shexp.weight", (shared, width)


def _plain_type(name: str) -> str:
    known = _BASE.get(name, name)
    if known in BLOCK_SIZES:
        return known
    bits = re.search(r"\d+", name)
    return _BY_BITS.get(int(bits[0][:2]) if bits else 16, "F16")
