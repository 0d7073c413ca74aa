"""A graph of computations, as far as memory depends on it: shapes, layouts, and who reads what.

The operations are those of llama.cpp that the R1 family uses. What each makes, whether it may
write over what it reads, and the order of computing are facts of ggml (ggml.c, ggml-alloc.c) of
llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

Kind = Literal["input", "fixed", "view", "computed"]
"""`input`: filled in before each run; `fixed`: a weight or a cache, in a buffer of its own;
`view`: others' memory seen in another way; `computed`: everything else."""

Four = tuple[int, int, int, int]
ElementType = tuple[int, int]
"""Elements and bytes of one block."""

F32: Final[ElementType] = (1, 4)
F16: Final[ElementType] = (1, 2)
I32: Final[ElementType] = (1, 4)
I64: Final[ElementType] = (1, 8)


class Tensor:
    """One value in the graph.

    Args:
        kind: What it is.
        shape: Fastest-running dimension first.
        strides: Bytes from one element (of the first dimension: block) to the next.
        element: Of what.
        sources: What it is computed from.
        root: What it is a view of; writing into a cache gives a view of it, too.
    """

    in_place = False
    """Whether the result may take the place of a source of the same layout."""
    follows_weights = True
    """Whether it is computed where its weights are."""
    rows = 0
    """Rows that are computed at once: GPUs take over only what has many."""
    output = False
    """Whether it must stay after the run."""
    device = -1
    """Where it is or is computed: an index, the CPU last; -1: not decided."""
    weight = False
    movable = False
    """Whether a weight may be sent to a GPU that takes work over."""
    extra_bytes = 0
    """Room beside the result, for what a GPU's kernel needs meanwhile."""
    known_bytes = -1
    """Its size where that is not that of its elements."""
    in_graph = False
    # While memory is given out: readers that are still to come, views that are still read, and
    # where its bytes begin (-1: not here, or no longer).
    children = 0
    views = 0
    offset = -1

    def __init__(  # noqa: PLR0913, PLR0917 - made a hundred thousand times
        self,
        kind: Kind,
        shape: Four,
        strides: Four,
        element: ElementType,
        sources: tuple[Tensor, ...] = (),
        root: Tensor | None = None,
    ) -> None:
        self.kind, self.shape, self.strides, self.element = kind, shape, strides, element
        self.sources, self.root = sources, root

    @property
    def size_bytes(self) -> int:
        """From its first byte to its last."""
        if self.known_bytes >= 0:
            return self.known_bytes
        (a, b, c, d), (one, two, three, four) = self.shape, self.strides
        elements, width = self.element
        row = a * one // elements if elements > 1 else width + (a - 1) * one
        return row + (b - 1) * two + (c - 1) * three + (d - 1) * four

    @property
    def is_contiguous(self) -> bool:
        """Whether its rows follow each other without gaps."""
        return self.strides == contiguous(self.shape, self.element)


def contiguous(shape: Four, element: ElementType) -> Four:
    """Strides of a tensor without gaps."""
    first = element[1]
    second = first * shape[0] // element[0]
    third = second * shape[1]
    return (first, second, third, third * shape[2])


def whole(shape: Sequence[int]) -> Four:
    """A shape with all its dimensions."""
    a, b, c, d = (*shape, 1, 1, 1)[:4]
    return (a, b, c, d)


def fresh(kind: Kind, shape: Sequence[int], element: ElementType = F32) -> Tensor:
    """A tensor that nothing is computed for."""
    full = whole(shape)
    return Tensor(kind, full, contiguous(full, element), element)


def weight(
    shape: Sequence[int], device: int, *, size_bytes: int | None = None, movable: bool = False
) -> Tensor:
    """A matrix or vector of the model."""
    result = fresh("fixed", shape)
    result.device, result.weight, result.movable = device, True, movable
    if size_bytes is not None:
        result.known_bytes = size_bytes
    return result


def computed(
    shape: Sequence[int],
    *sources: Tensor,
    element: ElementType = F32,
    in_place: bool = False,
    rows: int | None = None,
) -> Tensor:
    """The result of an operation, without gaps."""
    full = whole(shape)
    result = Tensor("computed", full, contiguous(full, element), element, sources)
    result.in_place = in_place
    result.rows = full[1] * full[2] * full[3] if rows is None else rows
    return result


def matmul(matrix: Tensor, other: Tensor) -> Tensor:
    """Matrix times matrix."""
    shape = (matrix.shape[1], *other.shape[1:])
    return computed(shape, matrix, other, rows=shape[1])


def pointwise(first: Tensor, *others: Tensor) -> Tensor:
    """A sum, product or function of single elements; has the first one's shape."""
    return computed(first.shape, first, *others, in_place=True)


def rope(source: Tensor, positions: Tensor) -> Tensor:
    """Rotated heads."""
    result = computed(source.shape, source, positions, in_place=True, rows=source.shape[2])
    result.follows_weights = False
    return result


def get_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a table."""
    return computed((table.shape[0], *rows.shape[:3]), table, rows, rows=0)


def view(source: Tensor, shape: Sequence[int], strides: Four | None = None) -> Tensor:
    """The same memory in another shape."""
    full = whole(shape)
    return Tensor(
        "view",
        full,
        contiguous(full, source.element) if strides is None else strides,
        source.element,
        (source,),
        root=source.root or source,
    )


def swapped(source: Tensor, order: Four) -> Tensor:
    """A view whose dimension `order[i]` is dimension i of the source."""
    shape, strides = [0] * 4, [0] * 4
    for index, place in enumerate(order):
        shape[place], strides[place] = source.shape[index], source.strides[index]
    return view(source, shape, (strides[0], strides[1], strides[2], strides[3]))


def stored(cache: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
    """Rows written into a cache."""
    return Tensor(
        "computed",
        cache.shape,
        cache.strides,
        cache.element,
        (rows, indices, cache),
        root=cache.root or cache,
    )


class Graph:
    """Tensors in the order in which they are computed."""

    def __init__(self) -> None:
        self.nodes: list[Tensor] = []
        self.leaves: list[Tensor] = []

    def add(self, tensor: Tensor) -> None:
        """Add a tensor after everything that it needs and that is not in the graph yet."""
        if tensor.in_graph:
            return
        tensor.in_graph = True
        for source in tensor.sources:
            if not source.in_graph:
                self.add(source)
        (self.leaves if tensor.kind in ("input", "fixed") else self.nodes).append(tensor)
