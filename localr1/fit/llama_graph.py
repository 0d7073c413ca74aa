"""What llama.cpp computes for one micro-batch of an R1 model, as a graph of tensors.

Facts of llama.cpp of llama-cpp-python 0.3.36: src/models/{qwen2,qwen3,llama,deepseek2}.cpp,
llama-graph.cpp and llama-kv-cache.cpp. The last layer is computed for the tokens alone whose
logits are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from localr1.fit.batch import Batch, Layout, Place
from localr1.fit.graph import (
    F16,
    F32,
    I32,
    I64,
    Graph,
    Tensor,
    computed,
    fresh,
    get_rows,
    matmul,
    pointwise,
    rope,
    stored,
    swapped,
    view,
    weight,
)
from localr1.gguf.types import Architecture

CACHE_ELEMENTS: Final = {"f16": (1, 2), "q8_0": (32, 34), "q4_0": (32, 18)}
_ROTATION: Final = 64
"""Quantized caches hold rotated values; the smallest rotation, and that of all values."""


def build(architecture: Architecture, batch: Batch, layout: Layout) -> Graph:
    """The graph of one micro-batch."""
    builder = _Builder(architecture, batch, layout)
    builder.build()
    return builder.graph


class _Builder:
    def __init__(self, architecture: Architecture, batch: Batch, layout: Layout) -> None:
        self.a, self.batch, self._layout = architecture, batch, layout
        self.graph = Graph()
        self._sizes: dict[str, int] = {}
        self._positions = fresh("input", (batch.tokens,), I32)
        self._indices = fresh("input", (batch.tokens,), I64)
        mla, flash = architecture.mla, batch.flash_attention
        values = 1 if flash or mla else architecture.head_count_kv * architecture.value_length
        self._value_indices = fresh("input", (batch.tokens * values,), I64)
        self._mask = fresh("input", (batch.context, batch.tokens), F16 if flash else F32)
        self._key_rotation = self._value_rotation = None
        if batch.kv_cache_type != "f16" and not mla:
            self._key_rotation = _rotation(architecture.key_length, grows=True)
            self._value_rotation = _rotation(architecture.value_length, grows=False)

    def build(self) -> None:
        """Build the whole graph."""
        a, batch, places = self.a, self.batch, self._layout.places
        ends = (a.embedding_length, a.vocabulary_size)
        hidden = get_rows(weight(ends, self._layout.cpu), fresh("input", (batch.tokens,), I32))
        self.graph.add(hidden)
        # Texts may come as vectors instead; the place for them is kept.
        self.graph.add(fresh("input", (a.embedding_length, batch.tokens)))
        wanted = fresh("input", (batch.outputs,), I32)
        for index, place in enumerate(places):
            last = index == len(places) - 1
            hidden = self._layer(hidden, place, wanted if last else None)
        hidden = self._norm(hidden, self._layout.output)
        logits = matmul(weight(ends, self._layout.output), hidden)
        self.graph.add(logits)
        if batch.top_k:
            self._pick(logits)
        hidden.output = logits.output = True

    def _pick(self, logits: Tensor) -> None:
        size = self.a.vocabulary_size
        padded = computed((size, 1 + self.batch.outputs), logits)
        row = view(view(padded, (size,)), (size,))
        best = computed((self.batch.top_k,), row, element=I32)
        found = get_rows(view(row, (1, size)), best)
        self.graph.add(found)
        self.graph.add(best)
        found.output = best.output = True

    def _layer(self, hidden: Tensor, place: Place, wanted: Tensor | None) -> Tensor:
        self._sizes = dict(place.sizes)
        normed = self._norm(hidden, place.device)
        attention = (
            self._compressed(normed, place) if self.a.kv_lora_rank else self._plain(normed, place)
        )
        if wanted is not None:
            attention, hidden = get_rows(attention, wanted), get_rows(hidden, wanted)
        after = pointwise(attention, hidden)
        normed = self._norm(after, place.device)
        if place.sparse:
            forward = self._experts(normed, place)
        else:
            forward = self._feed_forward(normed, self.a.feed_forward_length, place, "")
        return pointwise(forward, after)

    def _norm(self, source: Tensor, device: int) -> Tensor:
        return pointwise(pointwise(source), self._vector(source.shape[0], device))

    def _vector(self, length: int, device: int) -> Tensor:
        return weight((length,), device, movable=self._layout.vectors_move)

    def _matrix(self, name: str, shape: Sequence[int], place: Place) -> Tensor:
        device = place.experts if name.endswith("_exps") else place.device
        size = self._sizes.get(name)
        return weight(shape, device, size_bytes=size, movable=size is not None)

    # Attention

    def _plain(self, normed: Tensor, place: Place) -> Tensor:
        a, tokens = self.a, self.batch.tokens

        def heads(name: str, count: int, length: int) -> Tensor:
            matrix = self._matrix(name, (a.embedding_length, count * length), place)
            result = matmul(matrix, normed)
            if a.name == "qwen2":
                result = pointwise(result, self._vector(count * length, place.device))
            return view(result, (length, count, tokens))

        query = heads("attn_q", a.head_count, a.key_length)
        key = heads("attn_k", a.head_count_kv, a.key_length)
        value = heads("attn_v", a.head_count_kv, a.value_length)
        if a.name == "qwen3":
            query, key = self._norm(query, place.device), self._norm(key, place.device)
        query, key = rope(query, self._positions), rope(key, self._positions)
        return self._attend(query, key, value, place)

    def _compressed(self, normed: Tensor, place: Place) -> Tensor:
        """DeepSeek's attention; with `mla` the cache holds the compressed rows."""
        a, tokens = self.a, self.batch.tokens
        rank, turned = a.kv_lora_rank, a.rope_length
        length, value_length = a.head_key_length, a.head_value_length
        plain = length - turned
        if a.q_lora_rank:
            matrix = self._matrix("attn_q_a", (a.embedding_length, a.q_lora_rank), place)
            query = self._norm(matmul(matrix, normed), place.device)
            matrix = self._matrix("attn_q_b", (a.q_lora_rank, a.head_count * length), place)
            query = matmul(matrix, query)
        else:
            matrix = self._matrix("attn_q", (a.embedding_length, a.head_count * length), place)
            query = matmul(matrix, normed)
        query = view(query, (length, a.head_count, tokens))
        matrix = self._matrix("attn_kv_a_mqa", (a.embedding_length, rank + turned), place)
        both = matmul(matrix, normed)
        gap = both.strides[1]
        narrow = view(both, (rank, tokens), (4, gap, gap * tokens, gap * tokens))
        key_end = view(both, (turned, 1, tokens), (4, gap, gap, gap * tokens))
        key_end = rope(key_end, self._positions)
        narrow = self._norm(narrow, place.device)
        if a.mla:
            strides = query.strides
            query_end = rope(view(query, (turned, a.head_count, tokens), strides), self._positions)
            start = swapped(view(query, (plain, a.head_count, tokens), strides), (0, 2, 1, 3))
            matrix = self._matrix("attn_k_b", (plain, rank, a.head_count), place)
            start = swapped(matmul(matrix, start), (0, 2, 1, 3))
            query = computed((rank + turned, a.head_count, tokens), start, query_end)
            narrow = view(narrow, (rank, 1, tokens))
            key = computed((rank + turned, 1, tokens), narrow, key_end)
            return self._attend(query, key, narrow, place)
        width = plain + value_length
        matrix = self._matrix("attn_kv_b", (rank, a.head_count * width), place)
        wide = matmul(matrix, narrow)
        steps = (4, 4 * width, 4 * width * a.head_count, 4 * width * a.head_count * tokens)
        start = view(wide, (plain, a.head_count, tokens), steps)
        value = view(wide, (value_length, a.head_count, tokens), steps)
        value = computed(value.shape, value)
        query = rope(query, self._positions)
        repeated = computed((turned, a.head_count, tokens), key_end)
        key = computed((length, a.head_count, tokens), start, repeated)
        return self._attend(query, key, value, place)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, place: Place) -> Tensor:
        a, batch, graph = self.a, self.batch, self.graph
        if self._key_rotation is not None:
            query, key = _turned(query, self._key_rotation), _turned(key, self._key_rotation)
        if self._value_rotation is not None:
            value = _turned(value, self._value_rotation)
        for tensor in (query, value, key):
            graph.add(tensor)
        keys, values = self._cached(key, value, place)
        query = swapped(view(query, query.shape, query.strides), (0, 2, 1, 3))
        keys, values = swapped(keys, (0, 2, 1, 3)), swapped(values, (0, 2, 1, 3))
        value_length = a.head_value_length or a.value_length
        if batch.flash_attention:
            shape = (values.shape[0], query.shape[2], query.shape[1])
            result = computed(shape, query, keys, values, self._mask)
            result.follows_weights = False
            result.extra_bytes = self._layout.flash_extra_bytes
            if a.mla:
                matrix = self._matrix(
                    "attn_v_b", (a.kv_lora_rank, value_length, a.head_count), place
                )
                result = swapped(matmul(matrix, swapped(result, (0, 2, 1, 3))), (0, 2, 1, 3))
                result = computed(result.shape, result)
            result = view(result, (value_length * a.head_count, batch.tokens))
        else:
            scores = computed(
                (batch.context, batch.tokens, a.head_count), keys, query, rows=batch.tokens
            )
            scores = computed(scores.shape, scores, self._mask, in_place=True)
            if a.mla:
                turned = swapped(values, (1, 0, 2, 3))
                values = computed(turned.shape, turned, element=turned.element)
            result = matmul(values, scores)
            if a.mla:
                matrix = self._matrix(
                    "attn_v_b", (a.kv_lora_rank, value_length, a.head_count), place
                )
                result = matmul(matrix, result)
            result = computed(
                (value_length * a.head_count, batch.tokens), swapped(result, (0, 2, 1, 3))
            )
        graph.add(result)
        if self._value_rotation is not None:
            result = _turned(result, self._value_rotation)
        inner = a.head_count * value_length
        return matmul(self._matrix("attn_output", (inner, a.embedding_length), place), result)

    def _cached(self, key: Tensor, value: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        """Write key and value into the cache; the cache as attention reads it."""
        a, batch = self.a, self.batch
        element = CACHE_ELEMENTS[batch.kv_cache_type]
        row = a.head_count_kv * a.key_length
        keys = fresh("fixed", (row, batch.context), element)
        keys.device = place.device
        flat = view(key, (row, batch.tokens), (4, key.strides[2], key.strides[3], key.strides[3]))
        self.graph.add(stored(keys, flat, self._indices))
        step = a.key_length * element[1] // element[0]
        line = keys.strides[1]
        shape = (a.key_length, a.head_count_kv, batch.context)
        seen_keys = view(keys, shape, (element[1], step, line, line * batch.context))
        if a.mla:
            return seen_keys, view(seen_keys, (a.kv_lora_rank, 1, batch.context), seen_keys.strides)
        row = a.head_count_kv * a.value_length
        values = fresh("fixed", (row, batch.context), element)
        values.device = place.device
        if batch.flash_attention:
            flat = view(
                value,
                (row, batch.tokens),
                (4, value.strides[2], value.strides[3], value.strides[3]),
            )
            self.graph.add(stored(values, flat, self._value_indices))
            step = a.value_length * element[1] // element[0]
            line = values.strides[1]
            shape = (a.value_length, a.head_count_kv, batch.context)
            return seen_keys, view(values, shape, (element[1], step, line, line * batch.context))
        # Without flash attention the values lie the other way round, and are written one by one.
        single = view(values, (1, row * batch.context))
        flat = view(view(value, (row, batch.tokens)), (1, row * batch.tokens))
        self.graph.add(stored(single, flat, self._value_indices))
        line = element[1] * batch.context
        shape = (batch.context, a.head_count_kv, a.value_length)
        steps = (element[1], line * a.value_length, line, line * row)
        return seen_keys, view(values, shape, steps)

    # Feed forward

    def _feed_forward(self, normed: Tensor, width: int, place: Place, suffix: str) -> Tensor:
        a = self.a
        up = matmul(self._matrix(f"ffn_up{suffix}", (a.embedding_length, width), place), normed)
        gate = matmul(self._matrix(f"ffn_gate{suffix}", (a.embedding_length, width), place), normed)
        joined = computed(gate.shape, gate, up)
        return matmul(self._matrix(f"ffn_down{suffix}", (width, a.embedding_length), place), joined)

    def _experts(self, normed: Tensor, place: Place) -> Tensor:
        a, graph, tokens = self.a, self.graph, normed.shape[1]
        used, width = a.expert_used_count, a.expert_feed_forward_length
        router = self._matrix("ffn_gate_inp", (a.embedding_length, a.expert_count), place)
        shares = pointwise(matmul(router, normed))
        biased = pointwise(shares, self._vector(a.expert_count, place.device))
        order = computed(biased.shape, biased, element=I32)
        chosen = view(order, (used, tokens), order.strides)
        weights = get_rows(view(shares, (1, a.expert_count, tokens)), chosen)
        weights = view(weights, (used, tokens))
        total = pointwise(computed((1, tokens), weights))
        weights = pointwise(view(pointwise(weights, total), (1, used, tokens)))
        graph.add(weights)
        normed_rows = view(normed, (a.embedding_length, 1, tokens))

        def of_each(name: str, rows: Tensor, inner: int, outer: int) -> Tensor:
            matrix = self._matrix(name, (inner, outer, a.expert_count), place)
            return computed((outer, used, tokens), matrix, rows, chosen, rows=tokens)

        up = of_each("ffn_up_exps", normed_rows, a.embedding_length, width)
        gate = of_each("ffn_gate_exps", normed_rows, a.embedding_length, width)
        joined = computed(gate.shape, gate, up)
        results = pointwise(of_each("ffn_down_exps", joined, width, a.embedding_length), weights)
        graph.add(results)
        gap = results.strides[2]
        parts = [
            view(results, (a.embedding_length, tokens), (4, gap, gap * tokens, gap * tokens))
            for _ in range(used)
        ]
        for part in parts:
            graph.add(part)
        mixed = parts[0]
        for part in parts[1:]:
            mixed = pointwise(mixed, part)
            graph.add(mixed)
        if not a.expert_shared_count:
            return mixed
        shared = self._feed_forward(normed, width * a.expert_shared_count, place, "_shexp")
        return pointwise(mixed, shared)


def _rotation(length: int, *, grows: bool) -> Tensor | None:
    """The matrix that heads of a quantized cache are rotated with."""
    if length % _ROTATION:
        return None
    size = _ROTATION
    while grows and length % (2 * size) == 0:
        size *= 2
    return fresh("input", (size, size))


def _turned(source: Tensor, rotation: Tensor) -> Tensor:
    size = rotation.shape[0]
    total = source.shape[0] * source.shape[1] * source.shape[2]
    shape = (size, total // size)
    rows = view(source, shape) if source.is_contiguous else computed(shape, source)
    return view(matmul(rotation, rows), source.shape)
