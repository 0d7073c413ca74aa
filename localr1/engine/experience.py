"""What was found out on this computer and is worth knowing at the next start.

Two small files in the cache folder: which settings a file loaded with after its plan had not,
and how many threads were the fastest. Both are only ever a better first guess, so a file that is
damaged, foreign or cannot be written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from localr1.config import ensure, write_atomically
from localr1.errors import FileError
from localr1.fit.memory import GIB
from localr1.fit.types import Settings
from localr1.machine.types import Machine
from localr1.models.types import LocalModel

LOADS_NAME: Final = "loads.json"
THREADS_NAME: Final = "threads.json"

FORGET_SECONDS: Final = 14 * 24 * 3600.0
"""Longer ago than this, the full plan is tried again."""
GROWTH_SHARE: Final = 0.1
"""So much more free memory than then is worth another try of the full plan."""
_KEPT_LOADS: Final = 50
# Upper ends of the size classes: models within one share their best number of threads.
_SIZE_CLASSES: Final = (64 << 20, 2 << 30, 8 << 30, 32 << 30)


@dataclass(frozen=True)
class Load:
    """A load that only worked further down the ladder."""

    machine: str
    """`machine_key` of the computer."""
    settings: Settings
    """What worked."""
    free_bytes: Mapping[str, int]
    """What was free then, by memory."""
    at_seconds: float
    """When, in seconds since 1970."""

    def holds(self, machine: Machine, now_seconds: float) -> bool:
        """Whether the full plan would probably fail again.

        Args:
            machine: The computer as it is now.
            now_seconds: Seconds since 1970.
        """
        if self.machine != machine_key(machine):
            return False
        if not 0 <= now_seconds - self.at_seconds < FORGET_SECONDS:
            return False
        now = free_bytes(machine)
        return all(
            now.get(name, 0) <= then * (1 + GROWTH_SHARE) for name, then in self.free_bytes.items()
        )


def machine_key(machine: Machine) -> str:
    """A computer and its engine; another build, card or amount of memory gives another key."""
    facts = [
        machine.cpu.name,
        machine.cpu.physical_cores,
        machine.cpu.logical_cores,
        machine.cpu.performance_cores,
        # Systems count the same memory a little differently from one start to the next.
        round(machine.memory.total_bytes / GIB),
        [(gpu.name, gpu.description, round(gpu.total_bytes / GIB)) for gpu in machine.gpus],
        machine.engine.version,
        machine.engine.backends,
        machine.engine.system_info,
    ]
    return digest(facts)


def free_bytes(machine: Machine) -> dict[str, int]:
    """What is free now, by memory: `CPU` and the GPUs."""
    own = {gpu.name: gpu.free_bytes for gpu in machine.gpus if not gpu.unified}
    return {"CPU": machine.memory.available_bytes, **own}


def recall_load(cache: Path, local: LocalModel, asked: Settings) -> Load | None:
    """What worked for this file when these settings did not.

    Args:
        cache: The cache folder.
        local: The file.
        asked: What was planned.
    """
    entry: Any = read_entries(cache / LOADS_NAME).get(_load_key(local, asked))
    try:
        return Load(
            machine=str(entry["machine"]),
            settings=_settings(entry["settings"]),
            free_bytes={str(name): int(size) for name, size in entry["free_bytes"].items()},
            at_seconds=float(entry["at_seconds"]),
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def remember_load(cache: Path, local: LocalModel, asked: Settings, load: Load) -> None:
    """Keep what worked; the oldest of many entries are dropped."""
    entries = read_entries(cache / LOADS_NAME)
    entries.pop(_load_key(local, asked), None)
    entries[_load_key(local, asked)] = asdict(load)
    kept = list(entries.items())[-_KEPT_LOADS:]
    write_entries(cache / LOADS_NAME, dict(kept))


def forget_load(cache: Path, local: LocalModel, asked: Settings) -> None:
    """Drop what is known about a file: it loads as planned."""
    entries = read_entries(cache / LOADS_NAME)
    if entries.pop(_load_key(local, asked), None) is not None:
        write_entries(cache / LOADS_NAME, entries)


def recall_threads(cache: Path, machine: Machine, size_bytes: int, settings: Settings) -> int:
    """The measured best number of threads for models of such a size; 0 where none was measured.

    Args:
        cache: The cache folder.
        machine: The computer.
        size_bytes: Of the model's files.
        settings: How the model is placed: GPUs change what the threads have to do.
    """
    value = read_entries(cache / THREADS_NAME).get(_threads_key(machine, size_bytes, settings))
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= machine.cpu.logical_cores else 0


def remember_threads(
    cache: Path, machine: Machine, size_bytes: int, settings: Settings, threads: int
) -> None:
    """Keep a measured number of threads.

    Raises:
        FileError: The cache cannot be written.
    """
    entries = read_entries(cache / THREADS_NAME)
    entries[_threads_key(machine, size_bytes, settings)] = threads
    ensure(cache)
    write_atomically(cache / THREADS_NAME, json.dumps(entries, indent=1) + "\n")


def _load_key(local: LocalModel, asked: Settings) -> str:
    try:
        facts = local.path.stat()
        identity = [facts.st_size, facts.st_mtime_ns]
    except OSError:
        identity = []
    return digest([str(local.path), *identity, asdict(asked)])


def _threads_key(machine: Machine, size_bytes: int, settings: Settings) -> str:
    size_class = sum(size_bytes >= end for end in _SIZE_CLASSES)
    on_gpus = settings.device_names if settings.gpu_layers else ()
    return digest([machine_key(machine), size_class, on_gpus, settings.cpu_expert_layers > 0])


def _settings(values: Mapping[str, Any]) -> Settings:
    known: dict[str, Any] = {}
    for field in fields(Settings):
        value = values[field.name]
        known[field.name] = tuple(value) if isinstance(value, list) else value
        if type(known[field.name]) is not type(getattr(Settings(1), field.name)):
            raise TypeError(f"{field.name} is {value!r}")
    return Settings(**known)


def digest(facts: object) -> str:
    """A short name for facts: other facts give another name."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_entries(path: Path) -> dict[str, Any]:
    """The entries of a file; none where there is no sound one."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def write_entries(path: Path, entries: Mapping[str, Any]) -> None:
    """Replace a file's entries."""
    # A cache that cannot be written is no error: the next start finds out again.
    with contextlib.suppress(FileError):
        ensure(path.parent)
        write_atomically(path, json.dumps(entries, indent=1) + "\n")
