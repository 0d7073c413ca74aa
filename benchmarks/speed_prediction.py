"""What the advisor predicts beside what the engine then does, on this computer's processor.

    python benchmarks/speed_prediction.py [--shapes 1.5b,7b,8b,14b] [--quantizations Q4_K_M,Q8_0]
        [--depths 0,4096] [--folder DIR] [--patience MINUTES] [--save FILE | --from FILE]

Each model has the true shape and random weights; it is written, measured and removed again. For
each depth a prompt of 256 tokens is computed after that many others, whose cache is filled without
computing it, and replies of a few tokens after that. A measurement during which other programs used
a fifth of the processor is made again, a few times; `--patience` waits before each for a calm
second. Predictions come from the kernels and the bandwidth that localr1 measured on this computer in about
a second, as at its first start. They are shown plain, and corrected by the rows of all other
models, as a user's earlier runs would correct them. Beside every row stands what memory did in a
simple read right before and after it, so that a busy neighbour can be told from a wrong model.

`--save` keeps what was measured; `--from` makes the table of such a file again, with the
prediction of today's code.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import deep_cache
import random_model
from our_engine import OurEngine, measuring, random_tokens

from localr1.engine import kernel_cache
from localr1.engine.client import probe
from localr1.engine.protocol import Segment
from localr1.fit import calibration, placement
from localr1.fit.calibration import Run
from localr1.fit.mix import Mix
from localr1.fit.types import Plan
from localr1.machine import profile
from localr1.machine.bandwidth import measure_bandwidth
from localr1.machine.busy import BUSY_SHARE, clock, others_share, used_share
from localr1.machine.reconcile import reconcile
from localr1.machine.system import detect
from localr1.machine.types import Machine
from localr1.models import catalog
from localr1.track_record import Measured, run_of

PLAIN_BOUND, CORRECTED_BOUND = 0.20, 0.10
"""Of the median error."""
_PROMPT: Final = 256
_SAVED: Final = 64
"""Tokens that are really computed to fill a cache."""
_WINDOW: Final = 4096 + 512
_GENERATED: Final = 32
_REPEATS: Final = 5
_TRIES: Final = 4
_SEED: Final = 1000
_CALM_SHARE: Final = 0.05


@dataclass(frozen=True)
class Row:
    """One model at one depth, as measured: medians of several prompts and replies."""

    shape: str
    quantization: str
    depth: int
    """Tokens in the cache before the prompt."""
    prompt_tps: float
    generation_tps: float
    bandwidth: float
    """Bytes per second that memory was read with before and after, the mean of both."""
    busy_share: float
    """Of the processor, by other programs: the median over what was measured."""


def plan_of(shape: str, quantization: str, machine: Machine) -> Plan:
    """How localr1 would run the model on the processor, with a window for the deepest row."""
    model = catalog.load().model(random_model.SHAPES[shape])
    variant = next(v for v in model.variants if v.quantization == quantization)
    plan = placement.place(
        model, variant, machine, context_window=_WINDOW, kv_cache_type="f16", gpu_layers=0
    )
    threads = placement.thread_count(variant.size_bytes, machine.cpu)
    return replace(plan, settings=replace(plan.settings, threads=threads))


async def measure(
    shape: str, plan: Plan, model: Path, folder: Path, given: argparse.Namespace
) -> list[Row]:
    """All depths of one model."""
    rows = []
    engine = await OurEngine.start(model, plan.settings, folder)
    try:
        for depth in map(int, given.depths.split(",")):
            before = measure_bandwidth().bytes_per_second
            start = await _filled(engine, depth, folder / "cache")
            found = [await _calm(engine, start, seed, given.patience) for seed in range(_REPEATS)]
            prompts, replies, shares = zip(*found, strict=True)
            rows.append(
                Row(
                    shape,
                    plan.variant.quantization,
                    depth,
                    statistics.median(prompts),
                    statistics.median(replies),
                    (before + measure_bandwidth().bytes_per_second) / 2,
                    statistics.median(shares),
                )
            )
    finally:
        await engine.close()
    return rows


async def _filled(engine: OurEngine, depth: int, path: Path) -> tuple[int, ...]:
    """Tokens that are in the cache now."""
    tokens = random_tokens(depth, _SEED)
    if depth:
        first = (Segment(tokens=tokens[:_SAVED]),)
        await engine.finish(measuring(first, 1))
        await engine.engine.save_state(path)
        deep_cache.deepen(path, tokens)
        await engine.engine.restore_state(path)
        await asyncio.to_thread(path.unlink)
    return tokens


async def _calm(
    engine: OurEngine, start: tuple[int, ...], seed: int, patience: float
) -> tuple[float, float, float]:
    """Tokens per second of a prompt and a reply, and what others used meanwhile."""
    found: list[tuple[float, float, float]] = []
    until = time.monotonic() + 60 * patience
    for turn in range(_TRIES):
        while time.monotonic() < until and used_share(1.0) > _CALM_SHARE:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(1)
        prompt = (Segment(tokens=start + random_tokens(_PROMPT, 1 + seed + turn * _REPEATS)),)
        before = clock()
        reply, _ = await engine.finish(measuring(prompt, _GENERATED, seed=seed))
        share = others_share(before, clock())
        computed = reply.prompt_tokens - reply.cached_tokens
        assert computed <= _PROMPT  # noqa: S101 - or the cache was not filled
        steps = reply.thinking_tokens + reply.answer_tokens - 1
        found.append((computed / reply.prompt_seconds, steps / reply.generation_seconds, share))
        if share < BUSY_SHARE:
            break
    return min(found, key=lambda one: one[2])


async def examined(logs: Path, cache: Path) -> Machine:
    """This computer, with its kernels and bandwidth measured now."""
    system = await asyncio.to_thread(detect, measure=True, cache_dir=cache)
    machine = reconcile(system, await probe(logs))
    kernels = await kernel_cache.kernels(cache, logs, machine)
    return replace(machine, engine=replace(machine.engine, kernels=kernels))


async def measure_all(given: argparse.Namespace, folder: Path) -> tuple[Machine, list[Row]]:
    """Write, measure and remove one model after the other."""
    machine = await examined(folder, folder)
    rows: list[Row] = []
    for shape in given.shapes.split(","):
        for quantization in given.quantizations.split(","):
            model = random_model.ensure(given.folder or folder, shape, quantization)
            try:
                plan = plan_of(shape, quantization, machine)
                for row in await measure(shape, plan, model, folder, given):
                    rows.append(row)
                    print(f"{row}", file=sys.stderr, flush=True)
            finally:
                model.unlink()
    return machine, rows


def runs_of(machine: Machine, rows: Sequence[Row]) -> list[Run]:
    """The rows as records, with the plain prediction of today's code."""
    found = []
    for row in rows:
        measured = Measured(
            "bench",
            prompt_tokens=_PROMPT,
            prompt_tps=row.prompt_tps,
            cached_tokens=row.depth,
            generated_tokens=_GENERATED,
            generation_tps=row.generation_tps,
            depth_tokens=row.depth + _PROMPT + _GENERATED // 2,
        )
        found.append(run_of(plan_of(row.shape, row.quantization, machine), machine, measured))
    return found


def table(machine: Machine, rows: Sequence[Row]) -> tuple[list[str], bool]:
    """The table, and whether both bounds are kept."""
    plain = runs_of(machine, rows)
    corrected = []
    for row in rows:
        others = [
            run
            for other, run in zip(rows, plain, strict=True)
            if (other.shape, other.quantization) != (row.shape, row.quantization)
        ]
        known = calibration.corrections(others, plain[0].machine, on_battery=False)
        corrected += runs_of(replace(machine, corrections=known), [row])
    lines = [
        "| model | depth | generation | plain | corrected | prompt | plain | corrected | to bandwidth"
        " | others |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    errors: dict[str, list[float]] = {"plain": [], "corrected": []}
    for row, before, after in zip(rows, plain, corrected, strict=True):
        cells = []
        pairs = ((before.generation, after.generation), (before.prompt, after.prompt))
        for one, two in pairs:
            if one is None or two is None:
                raise RuntimeError("a figure that is no speed")
            cells.append(f"{one.measured_tps:.3g}")
            for name, said in (("plain", one.plain_tps), ("corrected", two.said_tps)):
                error = said / one.measured_tps - 1
                errors[name].append(abs(error))
                cells.append(f"{said:.3g} ({error:+.0%})".replace("%)", " %)"))
        plan = plan_of(row.shape, row.quantization, machine)
        kinds = Mix(row.quantization, plan.model.architecture).kinds
        read = sum(kind.size_bytes for kind in kinds) * row.generation_tps / row.bandwidth
        name = f"{row.shape.upper()} {row.quantization}"
        lines.append(
            f"| {name} | {row.depth:,} | {' | '.join(cells)} | {read:.2f} "
            f"| {row.busy_share:.0%} |".replace("% |", " % |")
        )
    medians = {name: statistics.median(values) for name, values in errors.items()}
    kept = medians["plain"] <= PLAIN_BOUND and medians["corrected"] <= CORRECTED_BOUND
    lines += [
        "",
        f"Median error: plain {medians['plain']:.1%} (bound {PLAIN_BOUND:.0%}), corrected by the "
        f"other models' rows {medians['corrected']:.1%} (bound {CORRECTED_BOUND:.0%}).",
    ]
    return lines, kept


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default="1.5b,7b,8b,14b", help="default: %(default)s")
    parser.add_argument("--quantizations", default="Q4_K_M,Q8_0", help="default: %(default)s")
    parser.add_argument("--depths", default="0,4096", help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="for models; 16 GB at a time")
    parser.add_argument(
        "--patience", type=float, default=0.0, help="minutes to wait for calm; default: none"
    )
    parser.add_argument("--save", type=Path, help="keep what was measured in this file")
    parser.add_argument("--from", dest="source", type=Path, help="a file of --save")
    given = parser.parse_args()
    if given.source:
        saved = json.loads(given.source.read_text(encoding="utf-8"))
        machine = profile.from_json(saved["machine"])
        rows = [Row(**row) for row in saved["rows"]]
    else:
        with tempfile.TemporaryDirectory(prefix="localr1-benchmark-") as folder:
            machine, rows = asyncio.run(measure_all(given, Path(folder)))
    if given.save:
        saved = {"machine": profile.to_json(machine), "rows": [asdict(row) for row in rows]}
        given.save.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")
    print(
        f"- {machine.cpu.name}, {machine.cpu.performance_cores} cores, load {os.getloadavg()[0]:.1f}\n"
        f"- Python {platform.python_version()}, llama-cpp-python {machine.engine.version}\n"
    )
    lines, kept = table(machine, rows)
    print("\n".join(lines))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
