"""The KV cache of conversations on disk: which files there are, and when another one pays.

A file lets a conversation go on without its history being computed again. It is only a cache:
it may go at any time, and whatever is wrong with one costs nothing but that computation.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from localr1.config import ensure, write_atomically
from localr1.errors import FileError

_SUFFIX: Final = ".kv"
_RATES: Final = "rates.json"
# Checking and copying included; an assumption until a file was written or read here.
_ASSUMED_BYTES_PER_SECOND: Final = 300e6
# Opening and checking even a small file takes about this long.
_RESTORE_SECONDS: Final = 0.05
# Smaller files say more about the clock than about the disk.
_MEASURED_BYTES: Final = 16 << 20
# What a cache must leave free on anybody's disk.
_SPARE_BYTES: Final = 1 << 30
# What a worker that was killed while writing leaves behind.
_ABANDONED_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class StateFile:
    """A conversation's KV cache on disk."""

    path: Path
    size_bytes: int
    used_at: float
    """When it was written or last read; seconds since the epoch."""


@dataclass(frozen=True)
class DiskRates:
    """How fast states are written and read here, checking included."""

    write_bytes_per_second: float = _ASSUMED_BYTES_PER_SECOND
    read_bytes_per_second: float = _ASSUMED_BYTES_PER_SECOND


@dataclass(frozen=True)
class Offer:
    """A KV cache that might be kept."""

    useful_tokens: int
    """Those that the conversation's next prompt begins with."""
    size_bytes: int
    prompt_tps: float
    """How fast this machine computes them again; 0 where it is not known."""


def pays(
    offer: Offer,
    rates: DiskRates,
    *,
    limit_bytes: int,
    free_bytes: int,
    within_seconds: float | None = None,
) -> bool:
    """Whether keeping a KV cache is worth it: reading must beat computing.

    Args:
        offer: What would be kept.
        rates: Of the disk.
        limit_bytes: Disk space for all files together.
        free_bytes: On that disk.
        within_seconds: The longest that writing may take; None for no limit.
    """
    if offer.useful_tokens <= 0 or offer.prompt_tps <= 0:
        return False
    if offer.size_bytes > min(limit_bytes, free_bytes - _SPARE_BYTES):
        return False
    write_seconds = offer.size_bytes / rates.write_bytes_per_second
    if within_seconds is not None and write_seconds > within_seconds:
        return False
    read_seconds = offer.size_bytes / rates.read_bytes_per_second + _RESTORE_SECONDS
    return read_seconds < offer.useful_tokens / offer.prompt_tps


def to_remove(files: Iterable[StateFile], limit_bytes: int) -> tuple[StateFile, ...]:
    """The files that must go to keep within a limit: the longest unused first."""
    oldest_first = sorted(files, key=lambda file: (file.used_at, file.path.name))
    excess = sum(file.size_bytes for file in oldest_first) - limit_bytes
    removed = []
    for file in oldest_first:
        if excess <= 0:
            break
        removed.append(file)
        excess -= file.size_bytes
    return tuple(removed)


class KvStates:
    """The files, one for each conversation.

    Args:
        directory: Where they lie; made when needed.
        limit_bytes: Disk space for all of them; 0 keeps none.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self.limit_bytes = limit_bytes

    def path(self, conversation_id: int) -> Path:
        """The file of a conversation, there or not."""
        return self._directory / f"{conversation_id}{_SUFFIX}"

    def size_bytes(self, conversation_id: int) -> int | None:
        """The size of a conversation's file; None where there is none."""
        try:
            return self.path(conversation_id).stat().st_size
        except OSError:
            return None

    def worth(self, offer: Offer, within_seconds: float | None = None) -> bool:
        """Whether a KV cache is worth keeping here and now; see `pays`."""
        if self.limit_bytes <= 0:
            return False
        try:
            free_bytes = shutil.disk_usage(ensure(self._directory)).free
        except (OSError, FileError):
            return False  # a cache that cannot be kept is none
        return pays(
            offer,
            self.rates(),
            limit_bytes=self.limit_bytes,
            free_bytes=free_bytes,
            within_seconds=within_seconds,
        )

    def tidy(self, coming_bytes: int = 0) -> None:
        """Remove the longest unused files beyond the limit, and what was never finished.

        Args:
            coming_bytes: Room to make for a file that is about to be written.
        """
        for file in to_remove(self._files(), max(0, self.limit_bytes - coming_bytes)):
            _remove(file.path)
        now = time.time()
        for path in self._listed(f".*{_SUFFIX}.*"):
            with suppress(OSError):
                if now - path.stat().st_mtime > _ABANDONED_SECONDS:
                    _remove(path)

    def forget(self, conversation_id: int) -> None:
        """Remove a conversation's file, if there is one."""
        _remove(self.path(conversation_id))

    def written(self, size_bytes: int, seconds: float) -> None:
        """Remember how fast a file was written."""
        self._measured("write_bytes_per_second", size_bytes, seconds)

    def read(self, conversation_id: int, size_bytes: int, seconds: float) -> None:
        """Remember how fast a file was read, and that it was used."""
        with suppress(OSError):  # only the order of removal depends on it
            os.utime(self.path(conversation_id))
        self._measured("read_bytes_per_second", size_bytes, seconds)

    def rates(self) -> DiskRates:
        """As last measured here, else assumed."""
        try:
            values = json.loads((self._directory / _RATES).read_bytes())
            rates = DiskRates(**{name: float(value) for name, value in values.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return DiskRates()
        sound = all(math.isfinite(value) and value > 0 for value in asdict(rates).values())
        return rates if sound else DiskRates()

    def _measured(self, name: str, size_bytes: int, seconds: float) -> None:
        if size_bytes < _MEASURED_BYTES or seconds <= 0:
            return
        rates = asdict(replace(self.rates(), **{name: size_bytes / seconds}))
        with suppress(FileError):  # measured again next time
            write_atomically(self._directory / _RATES, json.dumps(rates) + "\n")

    def _files(self) -> list[StateFile]:
        found = []
        for path in self._listed(f"*{_SUFFIX}"):
            with suppress(OSError):  # another localr1 removed it
                status = path.stat()
                found.append(StateFile(path, status.st_size, status.st_mtime))
        return found

    def _listed(self, pattern: str) -> list[Path]:
        try:
            return list(self._directory.glob(pattern))
        except OSError:
            return []  # no folder, no files


def _remove(path: Path) -> None:
    with suppress(OSError):  # gone already, or read by another localr1 (Windows): next time
        path.unlink()
