"""How fast llama.cpp's own CPU kernels are here: tiny graphs, timed. Worker side.

What a processor could read or compute says little about what llama.cpp gets out of it: every
weight type has its own kernels, some have a faster layout that the weights are copied into, and
which of them this build uses only this build knows. So the matrices are laid where a load would
lay them, and multiplied with one column, as each generated token is, and with many, as prompts
are. The data is arbitrary: speed does not depend on it.

One core computes, and its time is that of the thread: other programs that run meanwhile do not
count. (With several cores each step waits for the slowest, so that those programs would be what is
measured.) What the cores do together follows from this and from the bandwidth of memory, which is
measured with all of them (`machine.bandwidth`).
"""

from __future__ import annotations

import ctypes
import random
import time
from collections.abc import Sequence
from typing import Final

from localr1.engine.ggml import Ggml
from localr1.gguf.quantization import BLOCK_SIZES, row_bytes
from localr1.machine.types import Kernel

WEIGHT_TYPES: Final = (
    *("Q4_K", "Q6_K", "Q8_0", "Q5_K", "Q3_K", "Q2_K", "Q4_0", "F16", "IQ4_XS", "IQ4_NL"),
    *("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S", "BF16"),
)
"""Types that the family's files hold, the most usual first: time may run out."""
CACHE_TYPES: Final = ("F16", "Q8_0", "Q4_0")

_ALL_SECONDS: Final = 0.8
_LONGEST_SECONDS: Final = 2.0
"""By the clock on the wall, on a computer that is busy with other things."""
_PART_SECONDS: Final = 0.006
"""For each figure, after one run that does not count."""
_LEAST_RUNS: Final = 2
# Together larger than a core's share of a last-level cache: weights come from memory, as a model's.
_POOL_BYTES: Final = 64 << 20
_GRAPHS: Final = 8
_COLUMNS: Final = 2048
_BATCH: Final = 128
_BATCH_ROWS: Final = 1024
# As in the family: four heads and more share one of the cache, whose rows lie between the others'.
# How far they lie apart matters as much as their number: a core cannot foresee the next one.
_HEAD_LENGTH, _HEADS, _KV_HEADS, _CELLS = 128, 16, 4, 2048
# From 64 queries on llama.cpp has a faster way, but only for one type (GGML_FA_TILE_Q in
# ggml-cpu/common.h).
_QUERIES: Final = {"F16": 64, "Q8_0": 8, "Q4_0": 8}
_QUERY_HEADS, _QUERY_CELLS = 4, 1024
_F32, _F16 = 0, 1  # enum ggml_type
# Some systems count a thread's time in steps of milliseconds.
_FINE: Final = time.get_clock_info("thread_time").resolution < 1e-5
_clock: Final = time.thread_time if _FINE else time.perf_counter
# Bytes of which no two make a 16-bit float that is infinite, not a number or next to nothing.
_BYTES: Final = range(0x20, 0x40)


def measure(memory_bytes: int) -> list[Kernel]:
    """Time the kernels of this build on one core of this processor.

    Args:
        memory_bytes: Most memory to take for it.

    Returns:
        What there was time for within a second.

    Raises:
        AttributeError: This build lacks a function.
        MemoryError: There is no memory for it.
    """
    began, spent = time.perf_counter(), _clock()
    pool_bytes = min(_POOL_BYTES, max(memory_bytes // 4, 16 << 20)) // 4096 * 4096
    bench = _Bench(Ggml(), pool_bytes)
    usual, *rest = WEIGHT_TYPES
    found: list[Kernel] = []
    try:
        found += [bench.weights(usual), *map(bench.attention, CACHE_TYPES)]
        for kind in rest:
            if _clock() - spent > _ALL_SECONDS or time.perf_counter() - began > _LONGEST_SECONDS:
                break
            found.append(bench.weights(kind))
    finally:
        bench.close()
    return found


class _Bench:
    """Buffers filled once, in which matrices of every type are laid in turn."""

    def __init__(self, ggml: Ggml, pool_bytes: int) -> None:
        self._ggml = ggml
        self._device = ggml.cpu_device()
        set_threads = ggml.procedure(
            self._device, "ggml_backend_set_n_threads", None, [ctypes.c_void_p, ctypes.c_int]
        )
        self._backend = ggml.ggml_backend_dev_init(self._device, None)
        set_threads(self._backend, 1)
        self._plain = ggml.ggml_backend_dev_buffer_type(self._device)
        pick = random.Random(0)  # noqa: S311 - not a secret
        self._bytes = bytes(pick.choices(_BYTES, k=1 << 18))
        self._pool_bytes = pool_bytes
        self._pools: dict[int, int] = {}
        self._pool = 0
        """Where matrices are laid now."""
        self._contexts: list[int] = []
        self._buffers: list[int] = []

    def close(self) -> None:
        """Give everything back."""
        self._drop()
        for pool in self._pools.values():
            self._ggml.ggml_backend_buffer_free(pool)
        self._ggml.ggml_backend_free(self._backend)

    def weights(self, kind: str) -> Kernel:
        """Reading one type's weights for one token, and computing with them for many."""
        self._choose_pool(kind)
        part = self._pool_bytes // _GRAPHS
        rows = part // row_bytes(kind, _COLUMNS) // 16 * 16
        graphs = [self._product(kind, rows, 1, part * number) for number in range(_GRAPHS)]
        one = self._best_seconds(graphs)
        self._drop()
        many = self._best_seconds([self._product(kind, _BATCH_ROWS, _BATCH, 0)])
        self._drop()
        products = 2 * _BATCH_ROWS * _COLUMNS * _BATCH
        return Kernel(kind, rows * row_bytes(kind, _COLUMNS) / one, products / many)

    def attention(self, kind: str) -> Kernel:
        """Attending to a cache of one type, for one token and for many."""
        self._pool = self._filled(self._plain)
        size = 2 * row_bytes(kind, _HEAD_LENGTH) * _KV_HEADS * _CELLS
        places = [size * n for n in range(_GRAPHS) if size * (n + 1) <= self._pool_bytes]
        graphs = [self._attending(kind, 1, _HEADS, _CELLS, place) for place in places]
        one = self._best_seconds(graphs)
        self._drop()
        queries = _QUERIES[kind]
        many = self._best_seconds([self._attending(kind, queries, _QUERY_HEADS, _QUERY_CELLS, 0)])
        self._drop()
        flops = 2 * 2 * _HEAD_LENGTH
        return Kernel(
            f"attention {kind}",
            flops * _HEADS * _CELLS / one,
            flops * _QUERY_HEADS * _QUERY_CELLS * queries / many,
        )

    def _choose_pool(self, kind: str) -> None:
        """Lay matrices into the kind of buffer that a load puts them into."""
        for buffer_type in self._ggml.extra_buffer_types(self._device):
            self._pool = self._filled(buffer_type)
            context = self._context()
            columns = self._ggml.floats(context, _COLUMNS, 1)
            product = self._ggml.ggml_mul_mat(context, self._matrix(context, kind, 64, 0), columns)
            if self._ggml.ggml_backend_dev_supports_op(self._device, product):
                return
        self._pool = self._filled(self._plain)

    def _filled(self, buffer_type: int) -> int:
        if buffer_type not in self._pools:
            pool = self._ggml.ggml_backend_buft_alloc_buffer(buffer_type, self._pool_bytes)
            if not pool:
                raise MemoryError(f"{self._pool_bytes} bytes")
            self._pools[buffer_type] = pool
            base = self._ggml.ggml_backend_buffer_get_base(pool)
            for start in range(0, self._pool_bytes, len(self._bytes)):
                size = min(len(self._bytes), self._pool_bytes - start)
                ctypes.memmove(base + start, self._bytes, size)
        return self._pools[buffer_type]

    def _context(self) -> int:
        context = self._ggml.context(1 << 18)
        self._contexts.append(context)
        return context

    def _placed(self, tensor: int, place: int) -> int:
        base = self._ggml.ggml_backend_buffer_get_base(self._pool)
        self._ggml.ggml_backend_tensor_alloc(self._pool, tensor, base + place)
        return tensor

    def _matrix(self, context: int, kind: str, rows: int, place: int) -> int:
        type_id = BLOCK_SIZES[kind].type_id
        matrix = self._ggml.ggml_new_tensor_2d(context, type_id, _COLUMNS, rows)
        return self._placed(matrix, place)

    def _product(self, kind: str, rows: int, columns: int, place: int) -> int:
        g, context = self._ggml, self._context()
        x = g.floats(context, _COLUMNS, columns)
        product = g.ggml_mul_mat(context, self._matrix(context, kind, rows, place), x)
        return self._graph(context, product, [x])

    def _attending(self, kind: str, queries: int, heads: int, cells: int, place: int) -> int:
        g, context = self._ggml, self._context()
        type_id = BLOCK_SIZES[kind].type_id
        size = row_bytes(kind, _HEAD_LENGTH) * _KV_HEADS * cells
        halves = []
        for half in range(2):
            cache = g.ggml_new_tensor_3d(context, type_id, _HEAD_LENGTH, _KV_HEADS, cells)
            self._placed(cache, place + half * size)
            halves.append(g.ggml_permute(context, cache, 0, 2, 1, 3))
        query = g.ggml_new_tensor_3d(context, _F32, _HEAD_LENGTH, queries, heads)
        mask = g.ggml_new_tensor_2d(context, _F16, cells, queries)
        result = g.ggml_flash_attn_ext(context, query, *halves, mask, 0.1, 0.0, 0.0)
        return self._graph(context, result, [query, mask])

    def _graph(self, context: int, result: int, inputs: Sequence[int]) -> int:
        """A graph of one result; its inputs are zeros."""
        g = self._ggml
        graph: int = g.ggml_new_graph(context)
        g.ggml_build_forward_expand(graph, result)
        buffer = g.ggml_backend_alloc_ctx_tensors_from_buft(context, self._plain)
        if not buffer:
            raise MemoryError("for the inputs")
        self._buffers.append(buffer)
        for tensor in inputs:
            g.ggml_backend_tensor_memset(tensor, 0, 0, g.ggml_nbytes(tensor))
        return graph

    def _best_seconds(self, graphs: Sequence[int]) -> float:
        """Of the fastest run: whatever else the memory was used for can only have added to it."""
        run = self._ggml.ggml_backend_graph_compute
        run(self._backend, graphs[-1])
        best = float("inf")
        started, runs = _clock(), 0
        while runs < _LEAST_RUNS or _clock() - started < _PART_SECONDS:
            begun = _clock()
            run(self._backend, graphs[runs % len(graphs)])
            best = min(best, _clock() - begun)
            runs += 1
        return max(best, 1e-9)

    def _drop(self) -> None:
        """Forget all graphs."""
        for buffer in self._buffers:
            self._ggml.ggml_backend_buffer_free(buffer)
        for context in self._contexts:
            self._ggml.ggml_free(context)
        self._buffers, self._contexts = [], []
