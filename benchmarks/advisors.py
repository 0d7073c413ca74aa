"""localr1's estimates beside those of llmfit and ggufit, on the same inputs, and what asking costs.

    python benchmarks/advisors.py [--peers DIR] [--runs N] [--speeds FILE]

`--peers` is the `bin` folder of an environment with both (`pip install llmfit ggufit`); without it
they are looked for on the path. Memory: the distills and the full R1 in Q4_K_M and Q8_0, at 8,192
and 32,768 tokens with a cache in F16, in main memory, against the buffers of llama.cpp's own dry run
of a file that is all header. Each tool's figure is the whole of what it says is needed, so with
what it takes for the process beside them; both peers' gigabytes are taken as GiB, the unit in which
they show this computer's memory. Speed: with `--speeds`, a file that
`benchmarks/speed_prediction.py --save` wrote on this computer. Time: each tool's command that ranks
models, in turn, after one run of each that does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, Final

import random_model
from dry_runs import Ask, asking
from memory import MACHINE
from speed_prediction import Row, runs_of

from localr1.fit.memory import variant_memory
from localr1.fit.types import Settings
from localr1.gguf import recipe, writer
from localr1.machine import profile
from localr1.models import catalog

GIB: Final = 1 << 30
QUANTIZATIONS: Final = ("Q4_K_M", "Q8_0")
CONTEXTS: Final = (8192, 32_768)
PEERS: Final = ("llmfit", "ggufit")
# By localr1's ids; ggufit has no R1-0528 distill.
GGUFIT_NAMES: Final = {
    "r1-distill-qwen-1.5b": "deepseek-r1-1.5b",
    "r1-distill-qwen-7b": "deepseek-r1-7b",
    "r1-distill-llama-8b": "deepseek-r1-8b",
    "r1-distill-qwen-14b": "deepseek-r1-14b",
    "r1-distill-qwen-32b": "deepseek-r1-32b",
    "r1-distill-llama-70b": "deepseek-r1-70b",
    "r1-0528-671b": "deepseek-r1-671b",
}
GGUFIT_QUANTIZATIONS: Final = {"Q4_K_M": "q4", "Q8_0": "q8"}
COMMANDS: Final = {
    "localr1": [sys.executable, "-m", "localr1", "advise"],
    "llmfit": ["llmfit", "recommend"],
    "ggufit": ["ggufit", "scan", "--offline"],
}


@dataclass(frozen=True)
class Cell:
    """One way to run one file."""

    model_id: str
    quantization: str
    context: int

    def __str__(self) -> str:
        return f"{self.model_id} {self.quantization}, {self.context:,}"


@dataclass(frozen=True)
class Said:
    """What a tool says of a cell; None where it does not know it."""

    need_bytes: float | None
    generation_tps: float | None


class Peers:
    """The other tools.

    Args:
        folder: Of their programs; None for the path.
        home: Where they keep what they keep.
    """

    def __init__(self, folder: Path | None, home: Path) -> None:
        self._environment = {**os.environ, "HOME": str(home), "COLUMNS": "120"}
        found = {name: shutil.which(name, path=str(folder) if folder else None) for name in PEERS}
        self.programs = {name: path for name, path in found.items() if path}

    def run(self, *command: str) -> str:
        """What a tool prints; nothing where it fails."""
        program = self.programs.get(command[0])
        if program is None:
            return ""
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=120,
            check=False,
        )
        return done.stdout

    def version(self, name: str) -> str:
        """Of one tool."""
        return self.run(name, "--version").strip().splitlines()[0] if name in self.programs else ""

    def llmfit(self, cell: Cell) -> Said:
        """What `llmfit plan` says."""
        source = catalog.load().model(cell.model_id).source
        command = ["llmfit", "plan", source, "--context", str(cell.context), "--json"]
        text = self.run(*command, "--quant", cell.quantization)
        try:
            plan: Any = json.loads(text[text.index("{") :])
        except ValueError:
            return Said(None, None)
        path = next(one for one in plan["run_paths"] if one["path"] == "cpu_only")
        return Said(plan["minimum"]["vram_gb"] * GIB, path["estimated_tps"])

    def ggufit(self, cell: Cell) -> Said:
        """What ggufit's page on a model says."""
        name = GGUFIT_NAMES.get(cell.model_id)
        if name is None:
            return Said(None, None)
        quantization = GGUFIT_QUANTIZATIONS[cell.quantization]
        options = ("--quant", quantization, "--context", str(cell.context), "--no-gpu")
        text = self.run("ggufit", name, "--offline", "--tokens-per-sec", *options)
        need = re.search(r"needs ([\d.,]+) GB", text)
        speed = re.search(r"~([\d.]+)\D([\d.]+) tok/s", text)
        return Said(
            float(need[1].replace(",", "")) * GIB if need else None,
            (float(speed[1]) + float(speed[2])) / 2 if speed else None,
        )


def cells() -> Iterator[Cell]:
    """Every model that at least one peer knows."""
    for model in catalog.load().models:
        known = {variant.quantization for variant in model.variants}
        if model.demo or (model.architecture.expert_count and not model.architecture.mla):
            continue
        for quantization, context in product(QUANTIZATIONS, CONTEXTS):
            if quantization in known:
                yield Cell(model.id, quantization, context)


def truth(cell: Cell, ask: Ask, folder: Path) -> tuple[float, float]:
    """Bytes by llama.cpp's dry run, and bytes that localr1 says."""
    model = catalog.load().model(cell.model_id)
    variant = next(v for v in model.variants if v.quantization == cell.quantization)
    path = folder / f"{model.id}-{variant.quantization}.gguf"
    if not path.exists():
        tensors = recipe.tensors(model.architecture, variant.quantization)
        writer.write_header(path, model.architecture, tensors)
    settings = Settings(cell.context, threads=1)
    found = ask(path, settings)
    buffers = () if isinstance(found, str) else found
    if not buffers:
        raise ValueError(f"{cell}: {found}")
    ours = variant_memory(model.architecture, variant, settings, MACHINE)
    return buffers[0].total_bytes, sum(device.total_bytes for device in ours)


def memory_table(peers: Peers, ask: Ask, folder: Path) -> Iterator[str]:
    """Every cell, with the errors; then the medians, and where somebody else is closer."""
    yield "| model, file, context | llama.cpp, GiB | localr1 | llmfit | ggufit |"
    yield "|---|--:|--:|--:|--:|"
    errors: dict[str, list[float]] = {name: [] for name in COMMANDS}
    closer: dict[str, list[str]] = {name: [] for name in PEERS}
    for cell in cells():
        needed, ours = truth(cell, ask, folder)
        said = {
            "localr1": ours,
            "llmfit": peers.llmfit(cell).need_bytes,
            "ggufit": peers.ggufit(cell).need_bytes,
        }
        off = {name: value / needed - 1 for name, value in said.items() if value is not None}
        for name, error in off.items():
            errors[name].append(error)
            if name != "localr1" and abs(error) < abs(off["localr1"]):
                closer[name].append(str(cell))
        shown = [f"{off[name]:+.1%}" if name in off else "" for name in said]
        yield f"| {cell} | {needed / GIB:.2f} | {' | '.join(shown)} |"
    yield ""
    for name, values in errors.items():
        if values:
            sizes = sorted(abs(value) for value in values)
            low = sum(value < 0 for value in values)
            yield (
                f"- {name}: median error {statistics.median(sizes):.1%}, worst {sizes[-1]:.1%};"
                f" too little in {low} of {len(values)}"
            )
    for name, names in closer.items():
        if name in peers.programs:
            yield f"- {name} is closer in: {'; '.join(names) or 'none'}"


def speed_table(peers: Peers, source: Path) -> Iterator[str]:
    """Generation as measured, and as everybody predicts it."""
    saved = json.loads(source.read_text(encoding="utf-8"))
    machine = profile.from_json(saved["machine"])
    rows = [Row(**row) for row in saved["rows"]]
    yield "| model, file, depth | measured, tokens/s | localr1 | llmfit | ggufit |"
    yield "|---|--:|--:|--:|--:|"
    errors: dict[str, list[float]] = {name: [] for name in COMMANDS}
    closer: dict[str, list[str]] = {name: [] for name in PEERS}
    for row, run in zip(rows, runs_of(machine, rows), strict=True):
        cell = Cell(random_model.SHAPES[row.shape], row.quantization, 8192)
        said = {
            "localr1": run.generation.plain_tps if run.generation else None,
            "llmfit": peers.llmfit(cell).generation_tps,
            "ggufit": peers.ggufit(cell).generation_tps,
        }
        off = {
            name: value / row.generation_tps - 1
            for name, value in said.items()
            if value is not None
        }
        name_of_row = f"{cell.model_id} {row.quantization}, {row.depth:,}"
        for name, error in off.items():
            errors[name].append(abs(error))
            if name != "localr1" and abs(error) < abs(off["localr1"]):
                closer[name].append(name_of_row)
        shown = [f"{off[name]:+.0%}" if name in off else "" for name in said]
        yield f"| {name_of_row} | {row.generation_tps:.3g} | {' | '.join(shown)} |"
    yield ""
    for name, values in errors.items():
        if values:
            yield f"- {name}: median error {statistics.median(values):.0%}, worst {max(values):.0%}"
    for name, names in closer.items():
        if name in peers.programs:
            yield f"- {name} is closer in: {'; '.join(names) or 'none'}"


def time_table(peers: Peers, home: Path, runs: int) -> Iterator[str]:
    """Wall time of a ranking, the tools in turn."""
    environment = {**os.environ, "HOME": str(home), "LOCALR1_HOME": str(home / "localr1")}
    commands = {
        name: [peers.programs.get(command[0], command[0]), *command[1:]]
        for name, command in COMMANDS.items()
        if name == "localr1" or name in peers.programs
    }

    def seconds(command: Sequence[str]) -> float:
        started = time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=False, timeout=300)
        return time.perf_counter() - started

    first = {name: seconds(command) for name, command in commands.items()}
    # localr1 measures the computer at its first starts, and keeps what it found.
    for _ in range(5):
        seconds(commands["localr1"])
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            took[name].append(seconds(command))
    yield f"| command | first run, s | fastest of {runs}, s | median, s | to llmfit |"
    yield "|---|--:|--:|--:|--:|"
    for name, values in took.items():
        ratio = ""
        if "llmfit" in took:
            pairs = zip(values, took["llmfit"], strict=True)
            ratio = f"{statistics.median(ours / theirs for ours, theirs in pairs):.2f}"
        line = (
            " ".join([name, *COMMANDS[name][-1:]])
            if name == "localr1"
            else " ".join(COMMANDS[name])
        )
        yield (
            f"| `{line}` | {first[name]:.2f} | {min(values):.2f} |"
            f" {statistics.median(values):.2f} | {ratio} |"
        )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where llmfit and ggufit are")
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="default: %(default)s")
    parser.add_argument("--speeds", type=Path, metavar="FILE", help="of speed_prediction.py --save")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="localr1-benchmark-") as folder, asking() as ask:
        peers = Peers(given.peers, Path(folder))
        for name in PEERS:
            if name not in peers.programs:
                print(f"benchmark: there is no {name}: `pip install {name}`", file=sys.stderr)
        print(
            f"- {platform.platform()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
        )
        print(f"- llama-cpp-python {version('llama-cpp-python')}")
        for name in peers.programs:
            print(f"- {peers.version(name)}")
        sections: list[tuple[str, Callable[[], Iterator[str]]]] = [
            ("Memory", lambda: memory_table(peers, ask, Path(folder))),
            ("Time", lambda: time_table(peers, Path(folder), given.runs)),
        ]
        if given.speeds:
            sections.insert(1, ("Speed", lambda: speed_table(peers, given.speeds)))
        for title, lines in sections:
            print(f"\n## {title}\n")
            for line in lines():
                print(line.replace("%", " %"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
