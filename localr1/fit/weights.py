"""How many bytes each part of a model's file holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from localr1.fit.mix import LayerKind, Mix, Role, layer_kind
from localr1.gguf.quantization import BLOCK_SIZES
from localr1.gguf.types import Architecture, TensorInfo

HEADER_BYTES_PER_TOKEN = 39
"""Header bytes per entry of the vocabulary, which are not loaded as weights.

The files of Qwen's vocabulary have 39.2 (R1-Distill-Qwen-1.5B Q4_K_M: 1,117,320,800 bytes of
file, 1,111,370,240 of tensors, 151,936 tokens); Llama's have about 60, so that a little too
much is counted as weights there.
"""

_EXPERT = re.compile(r"_(ch)?exps\.")
_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class Layer:
    """Bytes of one layer's tensors."""

    dense_bytes: int
    """Attention, norms, dense FFN, router and shared experts: read for every token."""
    expert_bytes: int
    """Routed experts."""
    dense_repack_bytes: int
    """How much of the dense part the CPU backend copies into a faster layout."""
    expert_repack_bytes: int
    largest_bytes: int
    """The largest single tensor."""


@dataclass(frozen=True)
class Sum:
    """Bytes of some consecutive layers."""

    dense_bytes: int
    expert_bytes: int
    dense_repack_bytes: int
    expert_repack_bytes: int

    @property
    def total_bytes(self) -> int:
        """Dense and expert bytes."""
        return self.dense_bytes + self.expert_bytes

    @property
    def repack_bytes(self) -> int:
        """Dense and expert bytes that are repacked."""
        return self.dense_repack_bytes + self.expert_repack_bytes


@dataclass(frozen=True)
class Weights:
    """Bytes of a model's tensors, by layer."""

    embedding_bytes: int
    output_bytes: int
    """0 where the embedding serves as the output."""
    output_repack_bytes: int
    layers: tuple[Layer, ...]

    @property
    def total_bytes(self) -> int:
        """All tensors."""
        return (
            self.embedding_bytes + self.output_bytes + self.between(0, len(self.layers)).total_bytes
        )

    @cached_property
    def largest_layer_tensor_bytes(self) -> int:
        """The largest tensor of any layer."""
        return max((layer.largest_bytes for layer in self.layers), default=0)

    def between(self, start: int, stop: int) -> Sum:
        """Sum over layers `start` to `stop`, the latter not included."""
        stop = max(start, stop)
        low, high = self._until[start], self._until[stop]
        return Sum(*(b - a for a, b in zip(low, high, strict=True)))

    @cached_property
    def _until(self) -> tuple[tuple[int, int, int, int], ...]:
        rows = (
            (x.dense_bytes, x.expert_bytes, x.dense_repack_bytes, x.expert_repack_bytes)
            for x in self.layers
        )
        start = (0, 0, 0, 0)
        return tuple(accumulate(rows, _added, initial=start))


def _added(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def spread(
    architecture: Architecture,
    file_bytes: int,
    quantization: str,
    repacked: frozenset[str] = frozenset(),
) -> Weights:
    """Spread a file's size over the parts of the model.

    Sizes follow the quantization's recipe and are then scaled so that the sum is the
    file's: embedding and output keep the recipe's size, as their types are certain, and so
    does what every token uses in a model with experts.

    Args:
        architecture: Shape of the model.
        file_bytes: Length of all shards.
        quantization: `Q4_K_M`, ...
        repacked: Types that the CPU backend repacks, see `mix.repacked_types`.
    """
    mix = Mix(quantization, architecture)
    tensor_bytes = max(1, file_bytes - HEADER_BYTES_PER_TOKEN * architecture.vocabulary_size)
    matrix = architecture.vocabulary_size * architecture.embedding_length
    embedding = _bytes(matrix, mix.embedding)
    output = 0 if architecture.tied_embeddings else _bytes(matrix, mix.output)
    if embedding + output > tensor_bytes // 2 and quantization not in ("F16", "BF16", "F32"):
        # Hardly any layers, or a wrong size: no recipe is better than plain shares.
        embedding = output = matrix * tensor_bytes / max(1, architecture.parameters)
        output = 0 if architecture.tied_embeddings else output
    raw = _raw_layers(architecture, mix, repacked)
    left = max(1.0, tensor_bytes - embedding - output)
    dense = sum(layer[0] for layer in raw)
    experts = sum(layer[1] for layer in raw)
    if experts and left > dense:
        # Rules for single layers and tensors concern the experts, nearly all of the file.
        dense_scale, expert_scale = 1.0, (left - dense) / experts
    else:
        dense_scale = expert_scale = left / (dense + experts)
    layers = tuple(
        Layer(
            int(layer[0] * dense_scale),
            int(layer[1] * expert_scale),
            int(layer[2] * dense_scale),
            int(layer[3] * expert_scale),
            int(max(layer[4] * dense_scale, layer[5] * expert_scale)),
        )
        for layer in raw
    )
    # Whole bytes get lost in the layers; the embedding takes them, so that nothing is missing.
    rest = tensor_bytes - int(output) - sum(x.dense_bytes + x.expert_bytes for x in layers)
    repack = int(output) if mix.output in repacked else 0
    return Weights(rest, int(output), repack, layers)


def recipe_bytes(architecture: Architecture, quantization: str) -> int:
    """Tensor bytes that the recipe alone gives a dense model, before any scaling."""
    mix = Mix(quantization, architecture)
    matrix = architecture.vocabulary_size * architecture.embedding_length
    raw = _raw_layers(architecture, mix, frozenset())
    ends = _bytes(matrix, mix.embedding)
    ends += 0 if architecture.tied_embeddings else _bytes(matrix, mix.output)
    return int(ends + sum(layer[0] + layer[1] for layer in raw))


def from_tensors(
    tensors: Iterable[TensorInfo], layers: int, repacked: frozenset[str] = frozenset()
) -> Weights:
    """Weights by layer from the tensors that a header lists: no estimate."""
    rows = [[0, 0, 0, 0, 0] for _ in range(layers)]
    embedding = output = output_repack = 0
    for tensor in tensors:
        repack = (
            tensor.size_bytes if tensor.quantization in repacked and len(tensor.shape) > 1 else 0
        )
        match = _LAYER.match(tensor.name)
        if match is not None and int(match[1]) < layers:
            row = rows[int(match[1])]
            expert = _EXPERT.search(tensor.name) is not None
            row[int(expert)] += tensor.size_bytes
            row[2 + int(expert)] += repack
            row[4] = max(row[4], tensor.size_bytes)
        elif tensor.name.startswith("token_embd"):
            embedding += tensor.size_bytes
        else:
            output += tensor.size_bytes
            output_repack += repack
    return Weights(embedding, output, output_repack, tuple(Layer(*row) for row in rows))


_Raw = tuple[float, float, float, float, float, float]
"""Dense, expert, dense repacked, expert repacked, largest dense, largest expert bytes."""


def _raw_layers(architecture: Architecture, mix: Mix, repacked: frozenset[str]) -> Sequence[_Raw]:
    layers = architecture.layers
    if architecture.expert_count:
        dense = _with_experts(architecture, mix, repacked, experts=False)
        sparse = _with_experts(architecture, mix, repacked, experts=True)
        return [sparse if i >= architecture.leading_dense_layers else dense for i in range(layers)]
    known: dict[LayerKind, _Raw] = {}
    result = []
    for index in range(layers):
        kind = layer_kind(index, layers)
        if kind not in known:
            known[kind] = _dense(architecture, mix, repacked, kind)
        result.append(known[kind])
    return result


def _dense(architecture: Architecture, mix: Mix, repacked: frozenset[str], kind: LayerKind) -> _Raw:
    a = architecture
    ffn = a.embedding_length * a.feed_forward_length
    matrices: dict[Role, int] = {
        "q": a.embedding_length * a.head_count * a.key_length,
        "k": a.embedding_length * a.head_count_kv * a.key_length,
        "v": a.embedding_length * a.head_count_kv * a.value_length,
        "o": a.embedding_length * a.head_count * a.value_length,
        "gate": ffn,
        "up": ffn,
        "down": ffn,
    }
    # Two norms in F32; biases and head norms are smaller still.
    total, repack, largest = 8.0 * a.embedding_length, 0.0, 0.0
    for role, elements in matrices.items():
        name = mix.of(role, kind)
        size = _bytes(elements, name)
        total += size
        repack += size if name in repacked else 0
        largest = max(largest, size)
    return (total, 0.0, repack, 0.0, largest, 0.0)


def _with_experts(
    architecture: Architecture, mix: Mix, repacked: frozenset[str], *, experts: bool
) -> _Raw:
    """A layer of a model that has experts, itself with or without them."""
    a = architecture
    one_expert = 3 * a.embedding_length * a.expert_feed_forward_length
    sparse_layers = a.layers - a.leading_dense_layers
    router = a.embedding_length * a.expert_count
    routed = one_expert * a.expert_count
    shared = one_expert * a.expert_shared_count
    dense_ffn = 3 * a.embedding_length * a.feed_forward_length
    matrix = a.vocabulary_size * a.embedding_length
    ends = matrix if a.tied_embeddings else 2 * matrix
    # What is neither vocabulary nor FFN is attention; its inner sizes are not in Architecture.
    attention = max(
        0,
        a.parameters
        - ends
        - sparse_layers * (routed + shared + router)
        - a.leading_dense_layers * dense_ffn,
    ) / max(1, a.layers)
    fine = attention + (shared if experts else dense_ffn)
    dense = _bytes(fine, mix.fine) + (4.0 * router if experts else 0.0)
    expert = _bytes(routed, mix.base) if experts else 0.0
    return (
        dense,
        expert,
        dense if mix.fine in repacked else 0.0,
        expert if mix.base in repacked else 0.0,
        _bytes(max(attention / 2, dense_ffn / 3 if not experts else shared / 3), mix.fine),
        expert / 3,
    )


def _bytes(elements: float, name: str) -> float:
    return elements * BLOCK_SIZES[name].bits_per_element / 8
