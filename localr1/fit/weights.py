"""How many bytes each part of a model's file holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Literal

from localr1.gguf import recipe
from localr1.gguf.types import Architecture, TensorInfo
from localr1.models.types import Variant

HEADER_BYTES_PER_TOKEN = 39
"""Header bytes per entry of the vocabulary, which are not loaded as weights.

The files of Qwen's vocabulary have 39.2 (R1-Distill-Qwen-1.5B Q4_K_M: 1,117,320,800 bytes of
file, 1,111,370,240 of tensors, 151,936 tokens); Llama's have about 60, so that a little too
much is counted as weights there.
"""

LONGEST_HEADER_BYTES_PER_TOKEN, LONGEST_HEADER_BYTES = 80, 1 << 16
"""What a header may have for each token, and beside the tokens."""
ROUNDING = 0.002
"""How much of a published size may be rounded away."""

Origin = Literal["header", "recipe", "size"]
"""Where tensors are known from: the file's own header, the quantization's recipe in llama.cpp,
which its size confirms, or such a recipe scaled to the size of a file that another one made."""

_EXPERT = re.compile(r"_(ch)?exps$")
_LAYER = re.compile(r"blk\.(\d+)\.(.+)$")


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
    matrices: tuple[tuple[str, int, bool], ...] = ()
    """Name without layer number, bytes, and whether it is repacked, of every matrix."""


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
    """The output layer without the embedding, which may serve as its matrix."""
    output_repack_bytes: int
    layers: tuple[Layer, ...]
    tied: bool = False
    """Whether the embedding is the output's matrix, too."""

    @property
    def head_bytes(self) -> int:
        """What the output layer reads: on a GPU, with a copy of a tied embedding."""
        return self.output_bytes + (self.embedding_bytes if self.tied else 0)

    @property
    def total_bytes(self) -> int:
        """All tensors."""
        return (
            self.embedding_bytes + self.output_bytes + self.between(0, len(self.layers)).total_bytes
        )

    @cached_property
    def largest_matrices(self) -> tuple[tuple[str, int, bool], ...]:
        """As `Layer.matrices`: the largest of each name."""
        found: dict[str, tuple[str, int, bool]] = {}
        for layer in self.layers:
            for matrix in layer.matrices:
                if matrix[1] > found.get(matrix[0], matrix)[1] or matrix[0] not in found:
                    found[matrix[0]] = matrix
        return tuple(found.values())

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


def origin(architecture: Architecture, variant: Variant) -> Origin:
    """Where a variant's tensors are known from."""
    if variant.tensors:
        return "header"
    exact = follows_recipe(architecture, variant.quantization, variant.size_bytes)
    return "recipe" if exact else "size"


def of_variant(
    architecture: Architecture, variant: Variant, repacked: frozenset[str] = frozenset()
) -> Weights:
    """Weights by layer of a variant: from its header where that was read, else by `spread`."""
    if variant.tensors:
        return from_tensors(variant.tensors, architecture.layers, repacked)
    return spread(architecture, variant.size_bytes, variant.quantization, repacked)


def spread(
    architecture: Architecture,
    file_bytes: int,
    quantization: str,
    repacked: frozenset[str] = frozenset(),
) -> Weights:
    """Weights by layer of a file whose header was not read.

    They are those of the quantization's recipe, to the byte; where the file's size says that it
    was made in another way, they are scaled to that size, and of a model with experts only those.

    Args:
        architecture: Shape of the model.
        file_bytes: Length of all shards.
        quantization: `Q4_K_M`, ...
        repacked: Types that the CPU backend repacks, see `mix.repacked_types`.
    """
    listed = _listed(architecture, quantization, repacked)
    if _agrees(listed, architecture, file_bytes):
        return listed
    return _scaled(listed, file_bytes - HEADER_BYTES_PER_TOKEN * architecture.vocabulary_size)


def follows_recipe(architecture: Architecture, quantization: str, file_bytes: int) -> bool:
    """Whether a file is as long as its quantization's recipe makes it."""
    if not recipe.Recipe.of(quantization, architecture).known:
        return False
    return _agrees(_listed(architecture, quantization, frozenset()), architecture, file_bytes)


@lru_cache(maxsize=1024)
def _listed(architecture: Architecture, quantization: str, repacked: frozenset[str]) -> Weights:
    parts = recipe.parts(architecture, quantization)
    kinds = [_layer(((x.name, x) for x in kind), repacked) for kind in parts.kinds]
    layers = tuple(kinds[number] for number in parts.layers)
    return _with_ends(((x.name, x) for x in parts.ends), layers, repacked)


def _agrees(listed: Weights, architecture: Architecture, file_bytes: int) -> bool:
    header = file_bytes - listed.total_bytes
    tokens = architecture.vocabulary_size
    longest = LONGEST_HEADER_BYTES + LONGEST_HEADER_BYTES_PER_TOKEN * tokens
    return 0 <= header <= longest or abs(header) <= ROUNDING * file_bytes


def _scaled(listed: Weights, tensor_bytes: int) -> Weights:
    ends = listed.embedding_bytes + listed.output_bytes
    if tensor_bytes < ends + len(listed.layers):
        # A wrong size: no recipe is better than plain shares.
        share = max(1, tensor_bytes) / max(1, listed.total_bytes)
        embedding, output = listed.embedding_bytes * share, listed.output_bytes * share
    else:
        embedding, output = float(listed.embedding_bytes), float(listed.output_bytes)
    left = max(1.0, tensor_bytes - embedding - output)
    every = listed.between(0, len(listed.layers))
    dense, experts = every.dense_bytes, every.expert_bytes
    if experts and left > dense:
        # Rules for single layers and tensors concern the experts, nearly all of the file.
        dense_scale, expert_scale = 1.0, (left - dense) / experts
    else:
        dense_scale = expert_scale = left / max(1, dense + experts)

    def scaled(layer: Layer) -> Layer:
        return Layer(
            int(layer.dense_bytes * dense_scale),
            int(layer.expert_bytes * expert_scale),
            int(layer.dense_repack_bytes * dense_scale),
            int(layer.expert_repack_bytes * expert_scale),
            tuple(
                (name, int(size * (expert_scale if _EXPERT.search(name) else dense_scale)), repack)
                for name, size, repack in layer.matrices
            ),
        )

    layers = tuple(scaled(layer) for layer in listed.layers)
    repack = int(listed.output_repack_bytes * output / max(1, listed.output_bytes))
    # Whole bytes get lost in the layers; the embedding takes them, so that nothing is missing.
    rest = max(1, tensor_bytes) - int(output)
    rest -= sum(layer.dense_bytes + layer.expert_bytes for layer in layers)
    return Weights(rest, int(output), repack, layers, listed.tied)


def from_tensors(
    tensors: Iterable[TensorInfo], layers: int, repacked: frozenset[str] = frozenset()
) -> Weights:
    """Weights by layer from the tensors that a header lists: no estimate."""
    rows: list[list[tuple[str, TensorInfo]]] = [[] for _ in range(layers)]
    ends: list[tuple[str, TensorInfo]] = []
    for tensor in tensors:
        match = _LAYER.match(tensor.name)
        if match is not None and int(match[1]) < layers:
            rows[int(match[1])].append((match[2], tensor))
        else:
            ends.append((tensor.name, tensor))
    return _with_ends(ends, tuple(_layer(row, repacked) for row in rows), repacked)


_Named = Iterable[tuple[str, TensorInfo | recipe.Entry]]
"""Tensors with their names, in a layer without its number."""


def _layer(tensors: _Named, repacked: frozenset[str]) -> Layer:
    sums = [0, 0, 0, 0]
    matrices: list[tuple[str, int, bool]] = []
    for name, tensor in tensors:
        stem, size = name.removesuffix(".weight"), tensor.size_bytes
        is_matrix = len(tensor.shape) > 1
        repack = is_matrix and tensor.quantization in repacked
        expert = int(_EXPERT.search(stem) is not None)
        sums[expert] += size
        sums[2 + expert] += size if repack else 0
        if is_matrix:
            matrices.append((stem, size, repack))
    return Layer(sums[0], sums[1], sums[2], sums[3], tuple(matrices))


def _with_ends(tensors: _Named, layers: tuple[Layer, ...], repacked: frozenset[str]) -> Weights:
    embedding = output = output_repack = 0
    tied = True
    for name, tensor in tensors:
        tied = tied and name != "output.weight"
        if name.startswith("token_embd"):
            embedding += tensor.size_bytes
            continue
        output += tensor.size_bytes
        if len(tensor.shape) > 1 and tensor.quantization in repacked:
            output_repack += tensor.size_bytes
    return Weights(embedding, output, output_repack, layers, tied)
