"""How layers are shared out among several GPUs."""

from __future__ import annotations

from collections.abc import Sequence


def even_counts(sizes: Sequence[int], room: Sequence[int]) -> list[int]:
    """Layers per GPU, so that all are filled to the same share of their room.

    Args:
        sizes: Bytes of each layer, in order.
        room: Bytes that each GPU has for layers.
    """
    total, whole = sum(sizes), max(1, sum(room))
    counts = [0] * len(room)
    gpu, passed, border = 0, 0.0, room[0] / whole * total
    for size in sizes:
        while passed + size / 2 > border and gpu < len(room) - 1:
            gpu += 1
            border += room[gpu] / whole * total
        counts[gpu] += 1
        passed += size
    return counts


def greedy_counts(sizes: Sequence[int], room: Sequence[int]) -> list[int]:
    """Layers per GPU, each filled before the next.

    Args:
        sizes: As above.
        room: As above.
    """
    counts = [0] * len(room)
    gpu, left = 0, room[0]
    for size in sizes:
        while size > left and gpu < len(room) - 1:
            gpu += 1
            left = room[gpu]
        counts[gpu] += 1
        left -= size
    return counts
