"""The records of how fast replies and benchmarks really were; what they say is `fit.calibration`.

One line of JSON for each, in the cache folder. They only make estimates better, so that lines
that cannot be read are left out, and a file that cannot be written is no error.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from localr1.config import ensure, write_atomically
from localr1.engine.experience import digest
from localr1.errors import FileError
from localr1.fit import calibration
from localr1.fit.calibration import Rates, Run
from localr1.machine.types import Machine

RUNS_NAME: Final = "runs.jsonl"
_KEPT_RUNS: Final = 400
_TRIM_BYTES: Final = 400_000
"""Longer than this, all but the last `_KEPT_RUNS` are dropped."""


def machine_key(machine: Machine) -> str:
    """The computer's processor and its engine build, without what its speed does not depend on.

    Whether kernels were timed is a part of it: without them the estimate is another one.
    """
    return digest([build_key(machine), bool(machine.engine.kernels)])


def build_key(machine: Machine) -> str:
    """The computer's processor and its engine build."""
    cpu, engine = machine.cpu, machine.engine
    cores = [cpu.physical_cores, cpu.logical_cores, cpu.performance_cores]
    return digest([cpu.name, cores, engine.version, engine.backends, engine.system_info])


def with_corrections(cache: Path, machine: Machine) -> Machine:
    """The machine with what its own runs say."""
    on_battery = bool(machine.power.on_battery)
    key = machine_key(machine)
    found = calibration.corrections(read(cache), key, on_battery=on_battery)
    return replace(machine, corrections=found)


def record_line(cache: Path, machine: Machine) -> str:
    """How well the last runs were predicted, as a sentence; empty where there were none."""
    return calibration.record_line(read(cache), machine_key(machine))


def read(cache: Path) -> tuple[Run, ...]:
    """All records, the oldest first."""
    try:
        lines = (cache / RUNS_NAME).read_bytes().splitlines()
    except OSError:
        return ()
    found = (_parsed(line) for line in lines)
    return tuple(run for run in found if run is not None)


def add(cache: Path, run: Run) -> None:
    """Keep one more; the oldest of many are dropped."""
    path = cache / RUNS_NAME
    line = json.dumps(asdict(run)) + "\n"
    with contextlib.suppress(OSError, FileError):
        ensure(cache)
        # One short write at the end: two programs do not cut each other's lines.
        with path.open("ab", buffering=0) as file:
            file.write(line.encode())
        if path.stat().st_size > _TRIM_BYTES:
            kept = path.read_bytes().splitlines(keepends=True)[-_KEPT_RUNS:]
            write_atomically(path, b"".join(kept).decode("utf-8", "replace"))


def _parsed(line: bytes) -> Run | None:
    try:
        values: dict[str, Any] = json.loads(line)
        values |= {name: _rates(values[name]) for name in ("prompt", "generation")}
        run = Run(**values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    fine = all(type(getattr(run, name)) in wanted for name, wanted in _TYPES.items())
    return run if fine else None


def _rates(value: dict[str, float] | None) -> Rates | None:
    if value is None:
        return None
    rates = Rates(**{name: float(figure) for name, figure in value.items()})
    figures = (rates.measured_tps, rates.plain_tps, rates.said_tps)
    return rates if all(math.isfinite(figure) and figure > 0 for figure in figures) else None


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("machine", "devices", "family", "model", "quantization", "source"), (str,)),
    **dict.fromkeys(("prompt_tokens", "generated_tokens", "version"), (int,)),
    **dict.fromkeys(("at_seconds", "busy_share"), (int, float)),
    "on_battery": (bool,),
}
