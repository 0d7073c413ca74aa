"""How much memory a graph takes on each device while it is computed.

First each tensor gets a device, then the graph is cut where the device changes and what the next
part needs from elsewhere is copied to it, then memory is given out and taken back in the order of
computing: the rules of llama.cpp's scheduler (ggml-backend.cpp) and of its graph allocator
(ggml-alloc.c), of llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from localr1.fit.batch import Devices
from localr1.fit.graph import Graph, Tensor

_OFFLOAD_ROWS: Final = 32
"""From so many rows on a GPU takes over (GGML_OP_OFFLOAD_MIN_BATCH's default)."""


def buffer_bytes(graph: Graph, devices: Devices) -> list[int]:
    """Bytes of compute buffer on each device. Uses the graph up."""
    if devices.cpu == 0:
        for tensor in (*graph.leaves, *graph.nodes):
            tensor.device = 0
        return _Allocator(devices).run(graph.nodes, graph.leaves)
    _assign(graph, devices)
    parts = _Parts(graph, devices)
    return _Allocator(devices).run(list(parts.order), parts.leaves)


def _assign(graph: Graph, devices: Devices) -> None:
    cpu = devices.cpu
    for leaf in graph.leaves:
        if leaf.kind == "input":
            leaf.device = cpu
    nodes = [node for node in graph.nodes if node.kind != "view"]
    for node in nodes:
        node.device = _by_memory(node, devices)
    # GPUs take what lies beside their work, in both directions; then the CPU takes the rest.
    for among in ({cpu}, set[int]()):
        _spread(nodes, among)
        _spread(nodes[::-1], among)
    for node in graph.nodes:
        if node.kind == "view" and node.root is not None:
            node.device = node.root.device


def _spread(nodes: Sequence[Tensor], stopping: set[int]) -> None:
    """Give undecided tensors the device of the one before, unless it is one of `stopping`."""
    current = -1
    for node in nodes:
        if node.device == -1:
            node.device = current
        else:
            current = -1 if node.device in stopping else node.device


def _by_memory(node: Tensor, devices: Devices) -> int:
    """The device that a result's memory or its weights decide; -1 where they do not."""
    if node.root is not None:
        return node.root.device
    if not node.follows_weights:
        return -1
    for source in node.sources:
        if source.weight:
            on_cpu = devices.takes_over and source.movable and source.device == devices.cpu
            return 0 if on_cpu and node.rows >= _OFFLOAD_ROWS else source.device
    return -1


class _Parts:
    """A graph cut where the device changes, with copies of what each part needs from elsewhere."""

    def __init__(self, graph: Graph, devices: Devices) -> None:
        self._devices = devices
        self._copied: dict[tuple[int, int], Tensor] = {}
        self._kept: list[Tensor] = []
        self._inputs: list[tuple[Tensor, Tensor]] = []
        self._parts: list[tuple[list[tuple[Tensor, Tensor]], list[Tensor]]] = []
        self._cut(graph.nodes)
        self.leaves = self._leaves(graph)
        """What is there from the start."""

    @property
    def order(self) -> Iterator[Tensor]:
        """Everything in the order of computing and copying."""
        for inputs, nodes in self._parts:
            for source, copy in inputs:
                # Reads the source, so that it stays until the copy is made.
                yield Tensor("view", source.shape, source.strides, source.element, (source,))
                yield copy
            yield from nodes

    def _cut(self, nodes: Sequence[Tensor]) -> None:
        current, part = -1, list[Tensor]()
        for node in nodes:
            if node.kind == "view":
                part.append(node)
                continue
            # Also where the weights that were sent for the last part can make room for others.
            more = bool(self._inputs) and any(
                s.weight and s.device != current for s in node.sources
            )
            if node.device != current or more:
                part = part if current == -1 else []
                current, self._inputs = node.device, []
                self._parts.append((self._inputs, part))
            part.append(node)
            node.sources = tuple(
                source if source.device == current else self._sent(source, current)
                for source in node.sources
            )

    def _sent(self, source: Tensor, device: int) -> Tensor:
        key = (id(source), device)
        if key not in self._copied:
            copies = [_copy_of(source, device) for _ in range(self._devices.copies)]
            if len(copies) > 1:
                for copy in copies:
                    copy.output = True
                self._kept += copies
            self._copied[key] = copies[0]
            self._inputs.append((source, copies[0]))
        return self._copied[key]

    def _leaves(self, graph: Graph) -> list[Tensor]:
        if self._devices.copies == 1:
            return graph.leaves
        inputs = []
        for leaf in graph.leaves:
            if leaf.kind == "input":
                leaf.output = True
                more = [_copy_of(leaf, leaf.device) for _ in range(self._devices.copies - 1)]
                inputs += [leaf, *more]
        return inputs + self._kept


def _copy_of(source: Tensor, device: int) -> Tensor:
    copy = Tensor("computed", source.shape, source.strides, source.element)
    copy.known_bytes, copy.device = source.size_bytes, device
    return copy


class _Allocator:
    def __init__(self, devices: Devices) -> None:
        self._pools = [_Pool(alignment) for alignment in devices.alignments]
        self._cpu = devices.cpu

    def run(self, order: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[int]:
        for leaf in leaves:
            self._place(leaf)
        for node in order:
            if node.root is not None:
                node.root.views += 1
            for source in node.sources:
                source.children += 1
        for node in order:
            self._place(node)
            for source in node.sources:
                source.children -= 1
                if source.children or source.views:
                    continue
                root = source.root
                if root is None:
                    self._free(source)
                else:
                    root.views -= 1
                    if not root.views and not root.children:
                        self._free(root)
        return [pool.most for pool in self._pools]

    def _size(self, tensor: Tensor) -> int:
        extra = tensor.extra_bytes if tensor.device != self._cpu else 0
        return tensor.size_bytes + extra

    def _place(self, tensor: Tensor) -> None:
        if tensor.kind in ("fixed", "view") or tensor.root is not None or tensor.offset >= 0:
            return
        pool = self._pools[tensor.device]
        if tensor.in_place:
            for source in tensor.sources:
                if (
                    source.root is None
                    and source.offset >= 0
                    and not source.output
                    and source.children == 1
                    and not source.views
                    and source.shape == tensor.shape
                    and source.strides == tensor.strides
                ):
                    tensor.offset, source.offset = source.offset, -1
                    have, need = pool.rounded(self._size(source)), pool.rounded(self._size(tensor))
                    if have > need:
                        self._pools[source.device].free(tensor.offset + need, have - need)
                    return
        tensor.offset = pool.take(self._size(tensor))

    def _free(self, tensor: Tensor) -> None:
        if tensor.offset >= 0 and not tensor.output:
            self._pools[tensor.device].free(tensor.offset, self._size(tensor))
            tensor.offset = -1


class _Pool:
    """The memory of one device: holes in the order of their places, the last one endless."""

    def __init__(self, alignment: int) -> None:
        self._alignment = alignment
        self._holes: list[list[int]] = []
        self._end = 0
        self.most = 0

    def rounded(self, size: int) -> int:
        return -(-size // self._alignment) * self._alignment

    def take(self, size: int) -> int:
        size = self.rounded(size)
        best = None
        for hole in self._holes:
            if hole[1] >= size and (best is None or hole[1] <= best[1]):
                best = hole
        if best is None:
            offset, self._end = self._end, self._end + size
            self.most = max(self.most, self._end)
            return offset
        offset = best[0]
        best[0] += size
        best[1] -= size
        if not best[1]:
            self._holes.remove(best)
        return offset

    def free(self, offset: int, size: int) -> None:
        size = self.rounded(size)
        holes = self._holes
        index = 0
        while index < len(holes) and holes[index][0] < offset:
            index += 1
        if index and sum(holes[index - 1]) == offset:
            index -= 1
            holes[index][1] += size
        else:
            holes.insert(index, [offset, size])
        if index + 1 < len(holes) and sum(holes[index]) == holes[index + 1][0]:
            holes[index][1] += holes.pop(index + 1)[1]
        if sum(holes[-1]) == self._end:
            self._end = holes.pop()[0]
