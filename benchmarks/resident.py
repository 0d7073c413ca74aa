"""What models really take of main memory once they are loaded, against localr1's estimate. Linux.

    python benchmarks/resident.py [--shapes 1.5b,7b] [--cache DIR]

A model of the true shape with random weights is loaded on the CPU as the app does it, reads a
prompt of nearly its whole window and writes some tokens. Then the kernel says what the worker has
of its own (what must stay), and which pages of the file it read for the last tokens (what is read
again and again, though the system may drop it). The bound is on both together: what is resident.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import random_model
from engine import CACHE
from our_engine import measuring, random_tokens

from localr1.config import Directories
from localr1.engine.client import Engine
from localr1.engine.protocol import Segment
from localr1.fit.memory import variant_memory
from localr1.fit.types import DeviceMemory, Settings
from localr1.home import examine_machine
from localr1.machine.types import Machine
from localr1.models.catalog import Catalogue, load
from localr1.models.file_header import FileHeaders

_MIB: Final = 1 << 20
BOUND: Final = 0.03
"""How far the plan may be off."""
_KIB: Final = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One way to load one shape."""

    shape: str
    quantization: str
    settings: Settings

    def __str__(self) -> str:
        s = self.settings
        return f"{self.shape} {self.quantization}, {s.context_window:,} {s.kv_cache_type}"


@dataclass(frozen=True)
class Resident:
    """What the kernel says of the worker."""

    own_bytes: int
    """Anonymous memory: it must stay."""
    read_bytes: int
    """Pages of the model's file that the last tokens were computed with."""


def cases(shapes: list[str]) -> Iterator[Case]:
    """Windows and KV caches of each shape."""
    for shape in shapes:
        for context, cache in ((2048, "f16"), (4096, "f16"), (4096, "q8_0")):
            yield Case(shape, "Q4_K_M", Settings(context, kv_cache_type=cache))
        yield Case(shape, "Q8_0", Settings(2048))


async def measured(case: Case, path: Path, logs: Path) -> Resident:
    """Load, compute, and look."""
    engine = await Engine.start(path, case.settings, log_directory=logs)
    try:
        # Nearly the whole window: buffers are touched as far as the conversation goes.
        prompt = Segment(tokens=random_tokens(case.settings.context_window * 15 // 16, 1))
        await _reply(engine, (prompt,), 4)
        process = Path(f"/proc/{engine.process_id}")
        process.joinpath("clear_refs").write_text("1")
        await _reply(engine, (prompt,), 8)
        own = _sizes(process.joinpath("smaps_rollup").read_text())["Anonymous"]
        return Resident(own, _read_of(process, path))
    finally:
        await engine.close()


async def _reply(engine: Engine, segments: tuple[Segment, ...], tokens: int) -> None:
    async for _event in engine.generate(measuring(segments, tokens)):
        pass


def _read_of(process: Path, path: Path) -> int:
    """Bytes of a mapped file that were read since the marks were cleared."""
    total, ours = 0, False
    for line in process.joinpath("smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.endswith(path.resolve().name)
        elif ours and line.startswith("Referenced:"):
            total += int(line.split()[1]) << 10
    return total


def _sizes(text: str) -> dict[str, int]:
    return {name: int(size) << 10 for name, size in _KIB.findall(text)}


def planned(
    case: Case, path: Path, machine: Machine, catalogue: Catalogue
) -> tuple[DeviceMemory, int]:
    """What localr1 says, from the file's own header, and the bytes of the embedding."""
    choice = catalogue.from_file(path)
    if choice.variant is None:
        raise ValueError(f"{path} is no model")
    headers = FileHeaders(Directories.standard().cache)
    model, variant = headers.of_file(choice.variant, path).applied(choice.model, choice.variant)
    embedding = next(t.size_bytes for t in variant.tensors if t.name == "token_embd.weight")
    return variant_memory(model.architecture, variant, case.settings, machine)[0], embedding


async def run(shapes: list[str], cache: Path, logs: Path) -> int:
    """Measure all cases and print the table."""
    machine = await examine_machine(Directories.standard())
    catalogue, kept = load(), True
    print(f"- {machine.cpu.name}, {platform.platform()}, Python {platform.python_version()}\n")
    print(
        "| case, MiB | file | must stay: plan | worker's own | off"
        " | with pages of the file: plan | measured | off |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for case in cases(shapes):
        path = random_model.ensure(cache, case.shape, case.quantization)
        said, embedding = planned(case, path, machine, catalogue)
        found = await measured(case, path, logs)
        # Of the embedding a few rows are read, not the whole.
        pairs = (
            (said.resident_bytes, found.own_bytes),
            (said.total_bytes - embedding, found.own_bytes + found.read_bytes),
        )
        plan, real = pairs[1]
        kept &= abs(plan / real - 1) <= BOUND
        cells = (
            f"{plan / _MIB:,.0f} | {real / _MIB:,.0f} | {plan / real - 1:+.1%}"
            for plan, real in pairs
        )
        size = path.stat().st_size / _MIB
        print(f"| {case} | {size:,.0f} | {' | '.join(cells)} |", flush=True)
    print(f"\nbound: {BOUND:.0%} of the last column: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default="1.5b,7b", help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of models")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="localr1-benchmark-") as folder:
        return asyncio.run(run(given.shapes.split(","), given.cache, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
