"""localr1's memory estimate against llama.cpp's own dry run, over the whole family.

    python benchmarks/memory.py [--rpc] [--sample N]

Every model of the catalogue x 5 quantizations x 4 context windows x 3 KV cache types x flash
attention x 2 micro-batches, from files that are all header; with `--rpc` also x 4 shares of the
layers on a device lent over loopback (`make rpc` builds what that needs). A quantized KV cache
without flash attention must be refused. Differences are those of each device's whole memory and of
each component. llama.cpp prints two decimals of a MiB, so that much is always unknown.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

from dry_runs import Ask, asking

from localr1.engine.types import DeviceBuffers
from localr1.fit.memory import estimate_memory
from localr1.fit.types import DeviceMemory, Settings
from localr1.gguf import recipe, writer
from localr1.gguf.types import Architecture
from localr1.machine.types import Cpu, Device, EngineInfo, Machine, Memory, Power
from localr1.models import catalog

QUANTIZATIONS: Final = ("Q2_K", "IQ4_XS", "Q4_K_M", "Q6_K", "Q8_0")
CONTEXTS: Final = (2048, 8192, 32_768, 131_072)
CACHE_TYPES: Final = ("f16", "q8_0", "q4_0")
UBATCHES: Final = (512, 2048)
SHARES: Final = (0.0, 1 / 3, 2 / 3, 1.0)
"""Of the layers, on the device that is lent."""
LENT: Final = "RPC0"
REFUSAL: Final = "flash_attn"
"""What llama.cpp says of a quantized cache without flash attention names this."""
WORST, MEDIAN = 0.01, 0.001
"""What the differences may be."""
UNKNOWN_BYTES: Final = 5300
"""What the log leaves out of a figure."""

_GIB: Final = 1 << 30
_COMPONENTS: Final = ("weights", "KV cache", "compute buffer", "output")


@dataclass(frozen=True)
class Cell:
    """One way to run one file."""

    model_id: str
    quantization: str
    settings: Settings

    @property
    def refused(self) -> bool:
        """Whether llama.cpp must refuse it."""
        return not self.settings.flash_attention and self.settings.kv_cache_type != "f16"

    def __str__(self) -> str:
        s = self.settings
        flash = "" if s.flash_attention else ", no flash attention"
        layers = f", {s.gpu_layers} layers lent" if s.device_names else ""
        return (
            f"{self.model_id} {self.quantization}, {s.context_window:,} {s.kv_cache_type},"
            f" {s.ubatch}{flash}{layers}"
        )


@dataclass(frozen=True)
class Difference:
    """How far an estimate is off."""

    cell: Cell
    device: str
    component: str
    """`all` for the whole memory of a device."""
    share: float
    """Of what llama.cpp says; less than 0: too little was estimated."""


def cells(*, lent: bool) -> Iterator[Cell]:
    """The whole grid, cells of one file and placement together."""
    for model in catalog.load().models:
        layers = model.architecture.layers + 1
        counts = [round(share * layers) for share in SHARES] if lent else [0]
        for quantization, gpu_layers in product(QUANTIZATIONS, counts):
            for context, cache, flash, ubatch in product(
                CONTEXTS, CACHE_TYPES, (True, False), UBATCHES
            ):
                settings = Settings(
                    context,
                    kv_cache_type=cache,
                    gpu_layers=gpu_layers,
                    device_names=(LENT,) if lent else (),
                    flash_attention=flash,
                    ubatch=ubatch,
                    threads=1,
                )
                cell = Cell(model.id, quantization, settings)
                # That these are refused has nothing to do with where the layers are.
                if not (lent and cell.refused):
                    yield cell


def architecture_of(cell: Cell) -> Architecture:
    """The shape of a cell's model."""
    return catalog.load().model(cell.model_id).architecture


class Headers:
    """Files of the true shape and length that are all header.

    Args:
        folder: Where they go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, cell: Cell) -> Path:
        """The file of a cell, written now if it is not there."""
        path = self._folder / f"{cell.model_id}-{cell.quantization}.gguf"
        if not path.exists():
            architecture = architecture_of(cell)
            tensors = recipe.tensors(architecture, cell.quantization)
            writer.write_header(path, architecture, tensors)
        return path


def estimated(cell: Cell, file_bytes: int) -> tuple[DeviceMemory, ...]:
    """What localr1 says."""
    return estimate_memory(
        architecture_of(cell), file_bytes, cell.quantization, cell.settings, MACHINE
    )


def differences(
    cell: Cell, found: Sequence[DeviceBuffers], said: Sequence[DeviceMemory]
) -> Iterator[Difference]:
    """Every device and component that takes anything, those that the log rounds away aside."""
    by_name = {memory.name: memory for memory in said}
    for buffers in found:
        memory = by_name.get(buffers.device)
        mine = (0, 0, 0, 0) if memory is None else _components(memory)
        theirs = (
            buffers.weights_bytes,
            buffers.kv_cache_bytes,
            buffers.compute_buffer_bytes,
            buffers.output_bytes,
        )
        if not any((*mine, *theirs)):
            continue
        for component, ours, there in zip(_COMPONENTS, mine, theirs, strict=True):
            if max(ours, there) > UNKNOWN_BYTES / MEDIAN:
                share = ours / max(there, 1) - 1
                yield Difference(cell, buffers.device, component, share)
        yield Difference(cell, buffers.device, "all", sum(mine) / max(sum(theirs), 1) - 1)


def compare(grid: Iterable[Cell], ask: Ask, headers: Headers) -> tuple[list[Difference], int]:
    """Run a grid.

    Returns:
        The differences, and how many cells were refused as they must be.

    Raises:
        ValueError: A cell was refused, or not, against expectation.
    """
    result: list[Difference] = []
    refused = 0
    for cell in grid:
        path = headers.path(cell)
        found = ask(path, cell.settings)
        refusal = found if isinstance(found, str) else ""
        if (REFUSAL in refusal) != cell.refused or (refusal and not cell.refused):
            raise ValueError(f"{cell}: {refusal or 'not refused'}")
        if isinstance(found, str):
            refused += 1
        else:
            result += differences(cell, found, estimated(cell, path.stat().st_size))
    return result, refused


def table(results: Sequence[Difference]) -> Iterator[str]:
    """Worst and median by device and component, as lines of Markdown."""
    yield "| device | component | figures | median | worst | where |"
    yield "|---|---|--:|--:|--:|---|"
    groups: defaultdict[tuple[str, str], list[Difference]] = defaultdict(list)
    for difference in results:
        groups[difference.device, difference.component].append(difference)
    for (device, component), group in sorted(groups.items(), key=_order):
        worst = max(group, key=lambda d: abs(d.share))
        median = statistics.median(abs(d.share) for d in group)
        yield (
            f"| {device} | {component} | {len(group):,} | {median:.4%} | {worst.share:+.4%} |"
            f" {worst.cell} |"
        )


def within_bounds(results: Sequence[Difference]) -> bool:
    """Whether the whole memory of every device is near enough everywhere."""
    shares = [abs(d.share) for d in results if d.component == "all"]
    return max(shares) <= WORST and statistics.median(shares) <= MEDIAN


def _order(group: tuple[tuple[str, str], list[Difference]]) -> tuple[str, int]:
    device, component = group[0]
    return device, _COMPONENTS.index(component) if component in _COMPONENTS else -1


def _components(memory: DeviceMemory) -> tuple[int, int, int, int]:
    return (
        memory.weights_bytes,
        memory.kv_cache_bytes,
        memory.compute_buffer_bytes,
        memory.output_bytes,
    )


def _device(name: str, kind: str, backend: str) -> Device:
    return Device(
        name=name,
        description=name,
        kind="cpu" if kind == "cpu" else "gpu",
        vendor="",
        backend=backend,
        total_bytes=1024 * _GIB,
        free_bytes=1024 * _GIB,
        unified=False,
        bandwidth_bytes_per_second=None,
        usable_by_engine=True,
        reason="",
    )


MACHINE: Final = Machine(
    operating_system="any",
    cpu=Cpu("any", 1, 1, 1, ()),
    memory=Memory(1024 * _GIB, 1024 * _GIB),
    devices=(_device("CPU", "cpu", "CPU"), _device(LENT, "gpu", "RPC")),
    engine=EngineInfo("", (), ()),
    power=Power(None, None),
)
"""Room for everything, and a device that is lent."""


def _run(grid: list[Cell], sample: int, ask: Ask, headers: Headers, title: str) -> bool:
    if sample:
        chosen = set(random.Random(1).sample(range(len(grid)), min(sample, len(grid))))
        grid = [cell for index, cell in enumerate(grid) if index in chosen]
    started = time.monotonic()
    results, refused = compare(grid, ask, headers)
    seconds = time.monotonic() - started
    also = f", {refused:,} refused as they must be" if refused else ""
    print(f"\n## {title}: {len(grid):,} cells{also}, {seconds:.0f} s\n")
    print("\n".join(table(results)), flush=True)
    return within_bounds(results)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rpc", action="store_true", help="also with layers on a lent device")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="N cells of each grid")
    given = parser.parse_args()
    print(f"- {platform.platform()}, Python {platform.python_version()}")
    kept = True
    with tempfile.TemporaryDirectory(prefix="localr1-benchmark-") as folder, ExitStack() as stack:
        headers = Headers(Path(folder))
        ask = stack.enter_context(asking())
        kept &= _run(list(cells(lent=False)), given.sample, ask, headers, "On the CPU")
        if given.rpc:
            sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
            import lender

            library = lender.library_folder()
            if library is None:
                print("benchmark: there is no build with RPC: `make rpc`", file=sys.stderr)
                return 1
            log = Path(folder) / "lender.log"
            lent = stack.enter_context(lender.lent(library, 1024 * _GIB, log))
            ask = stack.enter_context(asking([lent.endpoint], library))
            kept &= _run(list(cells(lent=True)), given.sample, ask, headers, "With a lent device")
    print(f"\nbounds: worst {WORST:.0%}, median {MEDIAN:.1%}: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
