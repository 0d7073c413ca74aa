"""Compute buffers: a few layers stand for all, and memory is never given out twice."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from fit_machines import catalogue
from hypothesis import given, settings
from hypothesis import strategies as st

from localr1.fit import graph_memory
from localr1.fit.backends import BACKENDS, Backend
from localr1.fit.batch import Batch, Devices, Layout, Place
from localr1.fit.compute import compute_bytes
from localr1.fit.graph import Graph, computed, fresh
from localr1.fit.graph_memory import buffer_bytes
from localr1.fit.llama_graph import build
from localr1.gguf.types import Architecture

MODELS = tuple(m for m in catalogue().models if not m.demo)


def some_places(a: Architecture, cpu: int, chance: random.Random) -> list[Place]:
    """Layers on the CPU first, then on each GPU; of some, the experts on the CPU."""
    borders = sorted(chance.randint(0, a.layers) for _ in range(cpu))
    kept = chance.choice((0, 0, a.layers, chance.randint(0, a.layers)))
    sizes = (("ffn_down", chance.randint(1, 1 << 27)), ("ffn_up_exps", 1 << 30))
    places = []
    for layer in range(a.layers):
        device = (cpu, *range(cpu))[sum(border <= layer for border in borders)]
        sparse = bool(a.expert_count) and layer >= a.leading_dense_layers
        experts = cpu if sparse and layer < kept else device
        places.append(Place(device, experts, sparse, sizes if cpu in (device, experts) else ()))
    return places


@pytest.mark.parametrize("seed", range(40))
def test_a_few_layers_stand_for_all(seed: int) -> None:
    chance = random.Random(seed)
    a = chance.choice(MODELS).architecture
    # What a device keeps beside its results is the same in every layer.
    plain = [replace(backend, unpacks_cache="never") for backend in BACKENDS.values()]
    backends: list[Backend] = chance.choices(plain, k=chance.randint(0, 2))
    flash = chance.random() < 0.7
    batch = Batch(
        tokens=chance.choice((32, 512, 2048)),
        context=chance.choice((2048, 16_384, 131_072)),
        kv_cache_type=chance.choice(("f16", "q8_0", "q4_0")) if flash else "f16",
        flash_attention=flash,
        outputs=chance.choice((1, 9)),
    )
    places = some_places(a, len(backends), chance)
    output = places[-1].device
    takes_over = backends[0].takes_over if backends else "nothing"
    whole = all(max(x.device, x.experts) < len(backends) for x in places)
    layout = Layout(tuple(places), output, len(backends), takes_over == "everything")
    devices = Devices(
        (*(b.alignment_bytes for b in backends), 32),
        takes_over=takes_over != "nothing",
        copies=4 if len(backends) > 1 and whole else 1,
    )
    every = buffer_bytes(build(a, batch, layout), devices)
    assert tuple(every) == compute_bytes(a, batch, places, output, backends)


class Checked(graph_memory._Pool):
    """Memory that notices when it is given out twice, or taken back without having been given."""

    def __init__(self, alignment: int) -> None:
        super().__init__(alignment)
        self.used: set[int] = set()
        """Multiples of the alignment."""
        self.unit = alignment

    def take(self, size: int) -> int:
        offset = super().take(size)
        taken = set(range(offset // self.unit, (offset + self.rounded(size)) // self.unit))
        assert not taken & self.used
        self.used |= taken
        assert self.most >= offset + size
        return offset

    def free(self, offset: int, size: int) -> None:
        gone = set(range(offset // self.unit, (offset + self.rounded(size)) // self.unit))
        assert gone <= self.used
        self.used -= gone
        super().free(offset, size)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=40),
    reads=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=80),
)
def test_what_is_still_read_is_not_written_over(
    sizes: list[int], reads: list[tuple[int, int]]
) -> None:
    tensors = [fresh("input", (sizes[0],))]
    for index, size in enumerate(sizes[1:], 1):
        sources = {tensors[b % index] for a, b in reads if a == index} or {tensors[index - 1]}
        # Half of them may take a source's place, if it is alike.
        tensors.append(computed((size,), *sources, in_place=bool(index % 2)))
    graph = Graph()
    for tensor in tensors:
        graph.add(tensor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_memory, "_Pool", Checked)
        (most,) = buffer_bytes(graph, Devices((32,)))
    pairs = [4 * (t.shape[0] + max(s.shape[0] for s in t.sources)) for t in graph.nodes]
    assert most <= sum(-(-4 * size // 32) * 32 for size in sizes)
    # Where nothing may be written over, a result lies beside the largest of its sources.
    assert all(node.in_place or most >= pair for node, pair in zip(graph.nodes, pairs, strict=True))


def test_holes_are_filled_by_what_fits_best() -> None:
    pool = graph_memory._Pool(32)
    first, second, third = pool.take(100), pool.take(200), pool.take(32)
    assert (first, second, third) == (0, 128, 352)
    pool.free(first, 100)
    pool.free(second, 200)
    assert pool.take(330) == 0  # the two holes are one
    pool.free(0, 330)
    assert pool.take(400) == 384
    pool.free(384, 400)
    pool.free(third, 32)
    assert pool.take(1000) == 0  # all is free again, and the end moved back
    assert pool.most == 1024
