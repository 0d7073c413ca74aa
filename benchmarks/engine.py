"""The engine's speed against llama.cpp's own programs, as a table.

    python benchmarks/engine.py [--shape 1.5b] [--json FILE] [--quick]

Everything runs on one machine, in one go, on a model of an R1 distill's true shape with random
weights: llama-bench (and llama-server) are built from the sources of the installed
llama-cpp-python, or taken from a ready build with `--llama-cpp`. Ours and theirs alternate, so that
what slows the whole machine meets both. Exit code 0: every bound is kept; 1: one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import figures
import llama_cpp_build
import random_model
import speculating
from comparison import Comparison, Extent
from llama_tools import RunSettings, ToolError
from our_engine import OurEngine, gpu_names

from localr1.errors import LocalR1Error
from localr1.fit import placement
from localr1.fit.types import Settings
from localr1.machine import cpu, memory
from localr1.machine.host import Host

PARTS: Final = ("prompt", "generation", "turn", "server", "speculation")
CACHE: Final = Path(__file__).resolve().parent.parent / ".benchmarks"
_QUICK: Final = Extent(pairs=3, window=32, prompt=256, depths=(128, 512), turn_trials=2, answer=100)
_USUAL: Final = Extent(
    pairs=15, window=64, prompt=1024, depths=(512, 8000), turn_trials=5, starts=5
)
# A window must be long beside the 33 ms for which text is held back.
_USUAL_ON_GPU: Final = Extent(pairs=15, window=256, prompt=4096, depths=(512, 8000), turn_trials=7)
_FEWEST_PAIRS: Final = 7


@dataclass(frozen=True)
class Options:
    """The command line."""

    shape: str
    gpu_layers: int
    threads: int
    ubatch: int
    extent: Extent
    parts: tuple[str, ...]
    draft_tokens: int
    llama_cpp: Path | None
    cache: Path
    json: Path | None


def options(arguments: list[str]) -> Options:
    """Read the command line; ends the program when it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=random_model.SHAPES, default="1.5b")
    parser.add_argument("--gpu-layers", type=int, default=0, help="99: all of them (default: 0)")
    parser.add_argument("--threads", type=int, default=0, help="default: what localr1 would use")
    parser.add_argument("--ubatch", type=int, default=512)
    parser.add_argument("--pairs", type=int, help="runs of each kind (default: 15)")
    parser.add_argument(
        "--window", type=int, help="tokens timed in one run (default: 64, on GPUs 256)"
    )
    parser.add_argument(
        "--prompt", type=int, help="tokens of the prompt (default: 1024, on GPUs 4096)"
    )
    parser.add_argument("--depths", help="default: 512,8000; the last one within one reply")
    parser.add_argument("--turn-trials", type=int, help="default: 5, on GPUs 7")
    parser.add_argument(
        "--starts", type=int, help="both programs anew so often (default: 5, on GPUs 1)"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="default: all of %(default)s")
    parser.add_argument("--draft-tokens", type=int, default=8)
    parser.add_argument("--llama-cpp", type=Path, help="a build with llama-bench, llama-server")
    parser.add_argument("--cache", type=Path, default=CACHE, help="of builds and models")
    parser.add_argument("--json", type=Path, help="write everything to this file too")
    parser.add_argument("--quick", action="store_true", help="to try it: small, says nothing")
    given = parser.parse_args(arguments)
    usual = _USUAL if not given.gpu_layers else _USUAL_ON_GPU
    usual = _QUICK if given.quick else usual
    parts = tuple(given.parts.split(","))
    try:
        depths = tuple(sorted(map(int, given.depths.split(",")))) if given.depths else usual.depths
    except ValueError:
        parser.error("--depths takes numbers, with commas between them")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {unknown.pop()}; there are {', '.join(PARTS)}")
    if min(depths) < 32:  # room for the tokens that are let pass
        parser.error("a depth is at least 32 tokens")
    extent = Extent(
        pairs=given.pairs or usual.pairs,
        window=given.window or usual.window,
        prompt=given.prompt or usual.prompt,
        depths=depths,
        turn_trials=given.turn_trials or usual.turn_trials,
        starts=given.starts or usual.starts,
        answer=usual.answer,
    )
    return Options(
        given.shape, given.gpu_layers, given.threads, given.ubatch, extent, parts,
        given.draft_tokens, given.llama_cpp, given.cache, given.json,
    )  # fmt: skip


async def run(chosen: Options, logs: Path) -> int:
    """Measure everything and print the table."""
    started = time.monotonic()
    if chosen.llama_cpp is None:
        tools = llama_cpp_build.build(chosen.cache)
    else:
        tools = llama_cpp_build.find(chosen.llama_cpp)
    model = random_model.ensure(chosen.cache, chosen.shape)
    processor = cpu.probe(Host())
    threads = chosen.threads or placement.thread_count(model.stat().st_size, processor)
    gpus, descriptions, features = await gpu_names(logs)
    devices = gpus if chosen.gpu_layers else ()
    settings = Settings(
        chosen.extent.context_window,
        gpu_layers=chosen.gpu_layers,
        device_names=devices,
        ubatch=chosen.ubatch,
        threads=threads,
        draft_tokens=chosen.draft_tokens if "speculation" in chosen.parts else 0,
    )
    machine = {
        "cpu": f"{processor.name}, {os.cpu_count()} logical cores",
        "gpu": ", ".join(descriptions) if devices else "none used",
        "memory": f"{memory.probe(Host()).total_bytes / 2**30:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "localr1": importlib.metadata.version("localr1"),
        "llama-cpp-python": llama_cpp_build.installed_version(),
        "CPU features": features,
        "model": f"{chosen.shape} shape, {random_model.QUANTIZATION}, random weights, "
        f"{model.stat().st_size:,} bytes (the real file: "
        f"{random_model.published_bytes(chosen.shape):,})",
        "settings": f"{threads} threads, {chosen.gpu_layers} GPU layers, ubatch {chosen.ubatch}, "
        f"KV cache f16, flash attention auto, context window {settings.context_window:,}",
    }
    compared = Comparison(
        partial(OurEngine.start, model, settings, logs),
        tools,
        RunSettings(model, threads, chosen.gpu_layers, chosen.ubatch),
        chosen.extent,
        logs,
    )
    try:
        await compared.open()
        await _measure(compared, chosen, logs)
    finally:
        await compared.close()
    rows = compared.rows
    machine["llama.cpp"] = compared.llama_cpp or "not asked"
    machine["taken"] = f"{time.monotonic() - started:.0f} s"
    _print(machine, rows, chosen.extent)
    if chosen.json is not None:
        chosen.json.write_text(figures.as_json(machine, rows), encoding="utf-8")
    return 0 if figures.all_kept(rows) else 1


async def _measure(compared: Comparison, chosen: Options, logs: Path) -> None:
    if "prompt" in chosen.parts:
        await compared.prompt_processing()
    if "generation" in chosen.parts:
        await compared.generation()
    if "turn" in chosen.parts:
        await compared.next_turn()
    if "server" in chosen.parts:
        await compared.server()
    if "speculation" in chosen.parts:
        draft, extent = chosen.draft_tokens, chosen.extent
        compared.rows += await speculating.on_the_demo(draft, extent.pairs, logs)
        compared.rows += await speculating.on_repeating_text(
            compared.our, draft, extent.turn_trials, 4 * extent.window
        )


def _print(machine: dict[str, Any], rows: list[figures.Row], extent: Extent) -> None:
    for name, value in machine.items():
        print(f"- {name}: {value}")
    print(f"\n{figures.markdown(rows)}\n")
    if extent.pairs < _FEWEST_PAIRS:
        print(f"Only {extent.pairs} pairs: these figures say nothing.")
    missed = [row.what for row in rows if row.passed is False]
    print(f"Missed: {'; '.join(missed)}" if missed else "Every bound is kept.")


def main() -> int:
    """Run the benchmark."""
    chosen = options(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="localr1-benchmark-") as folder:
        try:
            return asyncio.run(run(chosen, Path(folder)))
        except (llama_cpp_build.BuildError, ToolError) as error:
            print(f"benchmark: {error}", file=sys.stderr)
        except LocalR1Error as error:
            print(f"benchmark: {error.what} {error.why} {error.todo}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
