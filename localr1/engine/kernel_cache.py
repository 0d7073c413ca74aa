"""llama.cpp's CPU kernels as timed on this computer: once for each processor and engine build.

A worker times them within a second (`engine.kernels`). What else the computer did meanwhile can
only have made them slower: a measurement on a busy computer is done again at the next start, a few
times at most, and the best figures count. The cache is only a better first guess, so a file that
is damaged or cannot be written is as good as none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from localr1.engine.experience import read_entries, write_entries
from localr1.engine.runs import build_key
from localr1.errors import EngineError
from localr1.machine.busy import BUSY_SHARE, clock, others_share
from localr1.machine.types import Kernel, Machine

KERNELS_NAME: Final = "kernels.json"
_MOST_TRIES: Final = 4
_MEMORY_SHARE: Final = 8
"""Of what is free, one part in so many may be taken: measuring must not push anything out."""
_FORMAT: Final = 1
"""Of the measurement: figures of another one are measured anew."""


async def kernels(cache: Path, log_directory: Path, machine: Machine) -> tuple[Kernel, ...]:
    """The timed kernels, measured now if that is still to be done; empty where it cannot be.

    Args:
        cache: The cache folder.
        log_directory: Where llama.cpp's output goes.
        machine: The computer, with its engine.

    Raises:
        FileError: The log cannot be written.
    """
    known = recall(cache, machine)
    if known is not None:
        return known
    key = _key(machine)
    entry = read_entries(cache / KERNELS_NAME).get(key)
    found, tries = _kernels(entry), _tries(entry)
    before = clock()
    found = _best((*found, *await _measured(log_directory, machine)))
    calm = others_share(before, clock()) < BUSY_SHARE
    entry = {
        "tries": _MOST_TRIES if calm and found else tries + 1,
        "kernels": [asdict(kernel) for kernel in found],
    }
    # Read again: another start may have written meanwhile.
    write_entries(cache / KERNELS_NAME, {**read_entries(cache / KERNELS_NAME), key: entry})
    return found


def recall(cache: Path, machine: Machine) -> tuple[Kernel, ...] | None:
    """The timed kernels; None where they are still to be measured."""
    if machine.engine.problem or not machine.engine.version:
        return ()
    entry = read_entries(cache / KERNELS_NAME).get(_key(machine))
    return _kernels(entry) if _tries(entry) >= _MOST_TRIES else None


def _key(machine: Machine) -> str:
    return f"{build_key(machine)}-{_FORMAT}"


async def _measured(log_directory: Path, machine: Machine) -> tuple[Kernel, ...]:
    # They are heavy, and most starts have nothing to measure.
    from localr1.engine import protocol  # noqa: PLC0415
    from localr1.engine.process import WorkerProcess  # noqa: PLC0415

    try:
        worker = await WorkerProcess.start(log_directory)
    except EngineError:
        return ()  # the probe has told why
    memory_bytes = machine.memory.available_bytes // _MEMORY_SHARE
    event = await worker.ask_and_close(lambda number: protocol.MeasureKernels(number, memory_bytes))
    if isinstance(event, protocol.KernelsMeasured):
        return tuple(Kernel(**kernel) for kernel in event.kernels)
    return ()


def _best(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    best: dict[str, Kernel] = {}
    for new in kernels:
        old = best.get(new.kind, new)
        best[new.kind] = Kernel(new.kind, max(old.one, new.one), max(old.many, new.many))
    return tuple(best.values())


def _kernels(entry: object) -> tuple[Kernel, ...]:
    if not isinstance(entry, dict):
        return ()
    try:
        found = tuple(
            Kernel(str(one["kind"]), float(one["one"]), float(one["many"]))
            for one in entry["kernels"]
        )
    except (TypeError, KeyError, ValueError):
        return ()
    sound = (
        math.isfinite(k.one) and math.isfinite(k.many) and min(k.one, k.many) > 0 for k in found
    )
    return found if all(sound) else ()


def _tries(entry: object) -> int:
    if not isinstance(entry, dict) or (entry.get("kernels") != [] and not _kernels(entry)):
        return 0
    tries = entry.get("tries")
    return tries if isinstance(tries, int) else 0
