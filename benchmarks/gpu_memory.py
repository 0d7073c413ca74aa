"""The dry run's figures for a GPU beside what the driver says once the model is loaded.

    python benchmarks/gpu_memory.py [--shapes 1.5b,7b,32b] [--cache DIR]

For each shape, context window and number of layers: what llama.cpp's dry run and localr1's own
estimate say, what the loaded engine reads back, and what the driver has in use after the load and
after a prompt of nine tenths of the window. A bare context of the driver is measured first and
taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pynvml
import random_model
from engine import CACHE
from our_engine import gpu_names, measuring, random_tokens

from localr1.engine import protocol
from localr1.engine.client import Engine, measure
from localr1.engine.process import WorkerProcess
from localr1.engine.protocol import Segment
from localr1.fit.types import Settings

_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Case:
    """One way to load one shape."""

    shape: str
    context_window: int
    gpu_layers: int
    kv_cache_type: str = "f16"


CASES: Final = (
    Case("1.5b", 16_384, 99),
    Case("1.5b", 131_072, 99),
    Case("7b", 16_384, 99),
    Case("7b", 16_384, 99, "q8_0"),
    Case("7b", 8192, 15),
    Case("32b", 16_384, 99),
    Case("32b", 32_768, 40),
)


def used_bytes() -> int:
    """What the driver has in use on the first GPU."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


async def bare_context(logs: Path) -> int:
    """What a worker takes of the GPU that has only looked at it."""
    before = used_bytes()
    worker = await WorkerProcess.start(logs)
    try:
        request_id, inbox = worker.open()
        await worker.send(protocol.Probe(request_id))
        await inbox.get()
        return used_bytes() - before
    finally:
        await worker.close()


async def compare(case: Case, model: Path, device: str, bare: int, logs: Path) -> list[int]:
    """Bytes: dry run, read back after the load, the driver then, and the driver at depth."""
    settings = Settings(
        case.context_window,
        kv_cache_type=case.kv_cache_type,
        gpu_layers=case.gpu_layers,
        device_names=(device,),
        threads=8,
    )
    dry = await measure(model, settings, log_directory=logs)
    before = used_bytes()
    engine = await Engine.start(model, settings, log_directory=logs)
    try:
        loaded = used_bytes() - before - bare
        prompt = Segment(tokens=random_tokens(case.context_window * 9 // 10, 1))
        async for _event in engine.generate(measuring((prompt,), 32)):
            pass
        deep = used_bytes() - before - bare
        back = sum(b.total_bytes for b in engine.buffers if b.device == device)
    finally:
        await engine.close()
    return [sum(b.total_bytes for b in dry.buffers if b.device == device), back, loaded, deep]


async def run(shapes: set[str], cache: Path, logs: Path) -> int:
    """Measure all cases and print the table."""
    devices, descriptions, _ = await gpu_names(logs)
    if not devices:
        print("benchmark: the engine sees no GPU", file=sys.stderr)
        return 1
    bare = await bare_context(logs)
    print(f"- GPU: {descriptions[0]}\n- a bare context: {bare / _MIB:,.0f} MiB\n")
    print("| case, MiB | dry run | read back | driver | driver at depth | driver − dry run |")
    print("|---|--:|--:|--:|--:|--:|")
    for case in CASES:
        if case.shape not in shapes:
            continue
        model = random_model.ensure(cache, case.shape)
        figures = await compare(case, model, devices[0], bare, logs)
        layers = "all" if case.gpu_layers == 99 else str(case.gpu_layers)
        name = f"{case.shape}, {case.context_window:,} {case.kv_cache_type}, layers: {layers}"
        cells = " | ".join(f"{figure / _MIB:,.1f}" for figure in figures)
        difference = figures[3] / figures[0] - 1
        print(f"| {name} | {cells} | {difference:+.2%} |", flush=True)
    return 0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default="1.5b,7b,32b", help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of models")
    given = parser.parse_args()
    pynvml.nvmlInit()
    with tempfile.TemporaryDirectory(prefix="localr1-benchmark-") as folder:
        return asyncio.run(run(set(given.shapes.split(",")), given.cache, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
