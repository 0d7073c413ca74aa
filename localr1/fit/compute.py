"""The compute buffer of each device: what llama.cpp reserves for one micro-batch.

It is found by building the graph and giving out memory for it as llama.cpp does (`llama_graph`,
`graph_memory`), which agrees with its own dry run to the byte. Layers that are alike need no more
together than three of them, so that seldom more than a dozen are looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, islice
from typing import Final

from localr1.fit.backends import CPU_ALIGNMENT_BYTES, Backend
from localr1.fit.batch import Batch, Devices, Layout, Place
from localr1.gguf.types import Architecture

KNOWN: Final = frozenset(("qwen2", "qwen3", "llama", "deepseek2"))
"""Architectures whose graphs are known; others are taken for llamas."""
OTHERS_FACTOR: Final = 1.5
"""What those others are given, so that they hardly ever need more."""
_ALIKE: Final = 3
_PIPELINE_COPIES: Final = 4
"""GGML_SCHED_MAX_COPIES: how often inputs are kept where several GPUs work one after the other."""


def compute_bytes(
    architecture: Architecture,
    batch: Batch,
    places: Sequence[Place],
    output: int,
    backends: Sequence[Backend],
) -> tuple[int, ...]:
    """Bytes of compute buffer on each device, the GPUs first.

    Args:
        architecture: Shape of the model.
        batch: What is computed at once.
        places: Of every layer of the model.
        output: Device of the output layer.
        backends: Of the GPUs.
    """
    cpu = len(backends)
    takes_over = backends[0].takes_over if backends else "nothing"
    layout = Layout(
        places=tuple(_representative(places)),
        output=output,
        cpu=cpu,
        vectors_move=takes_over == "everything",
        flash_extra_bytes=max((_unpacked(architecture, batch, b) for b in backends), default=0),
    )
    whole = output < cpu and all(max(x.device, x.experts) < cpu for x in places)
    devices = Devices(
        alignments=(*(b.alignment_bytes for b in backends), CPU_ALIGNMENT_BYTES),
        takes_over=takes_over != "nothing",
        copies=_PIPELINE_COPIES if len(backends) > 1 and whole else 1,
    )
    return _compute_bytes(architecture, batch, layout, devices)


def _representative(places: Sequence[Place]) -> Iterator[Place]:
    """A few layers of each kind."""
    for _, alike in groupby(places):
        yield from islice(alike, _ALIKE)


class Found:
    """Sizes found before, by a digest of everything they depend on but this code.

    Finding one takes some milliseconds, and ranking the catalogue needs a hundred of them: whoever
    can keep them between runs gives them back here.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, tuple[int, ...]] = {}
        self.grown = False
        """Whether some were found since they were last given back or kept."""

    def give(self, sizes: Mapping[str, tuple[int, ...]]) -> None:
        """Give back what was kept."""
        self.sizes = {**sizes, **self.sizes}


FOUND: Final = Found()


@lru_cache(maxsize=4096)
def _compute_bytes(
    architecture: Architecture, batch: Batch, layout: Layout, devices: Devices
) -> tuple[int, ...]:
    facts = repr((architecture, batch, layout, devices))
    key = hashlib.blake2b(facts.encode(), digest_size=9).hexdigest()
    known = FOUND.sizes.get(key)
    if known is not None:
        return known
    # Both take a while to import, and are seldom needed where the sizes are kept.
    from localr1.fit.graph_memory import buffer_bytes  # noqa: PLC0415
    from localr1.fit.llama_graph import build  # noqa: PLC0415

    found = buffer_bytes(build(architecture, batch, layout), devices)
    if architecture.name not in KNOWN:
        found = [int(size * OTHERS_FACTOR) for size in found]
    FOUND.sizes[key] = tuple(found)
    FOUND.grown = True
    return tuple(found)


def _unpacked(a: Architecture, batch: Batch, backend: Backend) -> int:
    """Room that a GPU's flash attention keeps beside its result."""
    quantized = batch.kv_cache_type != "f16"
    if not batch.flash_attention or backend.unpacks_cache == "never":
        return 0
    row = a.head_count_kv * (a.key_length + a.value_length)
    cache = 2 * row * batch.context
    if backend.unpacks_cache == "quantized":
        return cache if quantized else 0
    # Metal (ggml-metal-ops.cpp): also padding, what blocks of the mask are empty, and the
    # results of 32 groups of threads.
    padding = 64 * (2 * row + 2 * batch.tokens)
    blocks = -(-batch.tokens // 8) * -(-batch.context // 64)
    value = a.value_length or a.kv_lora_rank
    partial = 4 * min(batch.tokens, 32) * a.head_count * 32 * (value + 2)
    return cache + padding + blocks + partial
