"""The memory that a plan takes, as a bar for each device with the exact figures beside it.

Every part has a character of its own, so that the bars also read without colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from textual.content import Content

from localr1.fit.memory import CPU
from localr1.fit.usage import PoolUse
from localr1.printable import one_line
from localr1.tui import wording


@dataclass(frozen=True)
class Part:
    """One part of a bar."""

    sign: str
    name: str
    style: str
    cells: int
    """Of its column of figures."""


WEIGHTS: Final = Part("█", "weights", "$primary", 11)
KV_CACHE: Final = Part("▒", "KV", "$secondary", 6)
COMPUTE: Final = Part("≡", "compute", "$accent", 11)
USED: Final = Part("/", "in use", "dim", 10)
FREE: Final = Part("·", "free", "$success", 9)
SHORT: Final = Part("!", "missing", "$error bold", 0)
PARTS: Final = (USED, WEIGHTS, KV_CACHE, COMPUTE, FREE)

_MAIN_MEMORY: Final = "Memory"
_LABEL_CELLS: Final = 8
_MOST_CELLS: Final = 56
_FEWEST_CELLS: Final = 12
"""A shorter bar says nothing: the figures go onto a line of their own."""


def memory_lines(uses: Sequence[PoolUse], width: int) -> list[Content]:
    """The bars with their legend.

    Args:
        uses: Of a plan.
        width: Cells.
    """
    columns = sum(part.cells for part in PARTS)
    bar = min(_MOST_CELLS, width - _LABEL_CELLS - columns)
    if bar >= _FEWEST_CELLS:
        legend = [(f"{f'{part.sign} {part.name}':>{part.cells}}", part.style) for part in PARTS]
        head = Content.assemble(("GiB".ljust(_LABEL_CELLS + bar), "dim"), *legend)
        rows = [
            Content.assemble(_label(use), bar_content(use, bar), *_figures(use)) for use in uses
        ]
        return [head, *rows]
    legend = [(f"{part.sign} {part.name}  ", part.style) for part in PARTS]
    lines = list(Content.assemble(("GiB  ", "dim"), *legend).wrap(max(8, width)))
    for use in uses:
        lines.append(Content.assemble(_label(use), bar_content(use, max(0, width - _LABEL_CELLS))))
        lines.append(_short_figures(use).truncate(width))
    return lines


def bar_content(use: PoolUse, cells: int) -> Content:
    """A bar of so many cells, every part that is there at least one of them.

    Where memory is missing, the end of the bar is what finds no room.
    """
    sizes = _sizes(use)
    shares = split_cells([size for _, size in sizes], cells)
    bar = Content.assemble(
        *((part.sign * share, part.style) for (part, _), share in zip(sizes, shares, strict=True))
    )
    if not use.short_bytes or not cells:
        return bar
    whole = sum(size for _, size in sizes)
    missing = min(cells, max(1, round(use.short_bytes * cells / whole)))
    return Content.assemble(bar[: cells - missing], (SHORT.sign * missing, SHORT.style))


def split_cells(sizes: Sequence[int], cells: int) -> list[int]:
    """Share cells out in proportion, at least one to each size above 0 while there are enough.

    Args:
        sizes: None below 0.
        cells: To share out; all are, unless every size is 0.
    """
    total = sum(sizes)
    if total == 0:
        return [0] * len(sizes)
    exact = [size * cells / total for size in sizes]
    shares = [max(int(share), 1 if size else 0) for share, size in zip(exact, sizes, strict=True)]
    while sum(shares) < cells:
        shares[max(range(len(sizes)), key=lambda n: exact[n] - shares[n])] += 1
    while sum(shares) > cells:
        shares[max(range(len(sizes)), key=lambda n: (shares[n] > 1, shares[n] - exact[n]))] -= 1
    return shares


def figure(size_bytes: int) -> str:
    """GiB without the unit: `8.4`, `131`, `<0.1`, `0`."""
    if size_bytes == 0:
        return "0"
    gib = size_bytes / wording.GIB
    if gib < 0.05:
        return "<0.1"
    return f"{gib:.0f}" if gib >= 99.95 else f"{gib:.1f}"


def pool_name(use: PoolUse) -> str:
    """What a memory is called: `Memory`, `CUDA0`."""
    return _MAIN_MEMORY if use.name == CPU else one_line(use.name, _LABEL_CELLS - 1)


def _sizes(use: PoolUse) -> list[tuple[Part, int]]:
    # Where memory is missing, what should stay free is part of what is missing.
    whole = max(use.total_bytes + use.short_bytes, use.used_bytes + use.need_bytes)
    return [
        (USED, use.used_bytes),
        (WEIGHTS, use.weights_bytes),
        (KV_CACHE, use.kv_cache_bytes),
        (COMPUTE, use.compute_bytes),
        (FREE, whole - use.used_bytes - use.need_bytes),
    ]


def _label(use: PoolUse) -> str:
    return pool_name(use).ljust(_LABEL_CELLS)


def _figures(use: PoolUse) -> list[tuple[str, str]]:
    cells = [(figure(size).rjust(part.cells), "") for part, size in _sizes(use)[:-1]]
    return [*cells, _last(use, FREE.cells)]


def _last(use: PoolUse, cells: int) -> tuple[str, str]:
    if use.short_bytes:
        return f"{SHORT.sign} {figure(use.short_bytes)}".rjust(cells), SHORT.style
    return figure(use.left_bytes).rjust(cells), ""


def _short_figures(use: PoolUse) -> Content:
    parts: list[tuple[str, str]] = [(" " * _LABEL_CELLS, "")]
    for part, size in _sizes(use)[:-1]:
        if size:
            parts += [(f"{part.sign} ", part.style), (f"{figure(size)}  ", "")]
    last = SHORT if use.short_bytes else FREE
    parts += [(f"{last.sign} ", last.style), (figure(use.short_bytes or use.left_bytes), "")]
    return Content.assemble(*parts)
