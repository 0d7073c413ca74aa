"""The models on this disk with all that is known of each, and which could be deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from localr1.errors import FileError
from localr1.gguf.file import shard_paths
from localr1.models.copying import OnBytes, file_sha256
from localr1.models.downloaded import Partial
from localr1.models.library import Library, Survey
from localr1.models.place import read_sidecar, sidecar_path
from localr1.models.places import OWN
from localr1.models.records import COPIED, Recorded, real, standing
from localr1.models.types import LocalModel

UNUSED_DAYS: Final = 60
"""A download that nobody used for so long could be deleted."""
STOPPED_DAYS: Final = 14
"""A stopped download that did not go on for so long could be deleted."""
_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True)
class Row:
    """One model file set."""

    local: LocalModel
    ours: bool
    """Whether localr1 downloaded it, and so may delete or move it."""
    imported: bool
    """Whether the user imported it where it lies."""
    since_seconds: float
    """When it came, in seconds since 1970; 0 where that is not known."""
    last_used_seconds: float
    """By localr1; 0 for never."""
    verified_seconds: float
    """When its checksum was last found right, if it has not changed since; 0 for never."""
    generation_tps: float
    """As last measured here; 0 where it never was."""
    copies: tuple[tuple[str, Path], ...] = ()
    """What looks the same in other places, by header and size: program and path."""
    equal: Mapping[Path, bool] = field(default_factory=dict, hash=False)
    """Of the copies, whether the checksums are equal; only those whose checksums are known."""
    altered: frozenset[Path] = frozenset()
    """Of the copies, those that a check found altered."""

    @property
    def name(self) -> str:
        """What commands call it."""
        return f"{self.local.model.id}:{self.local.variant.quantization}"


@dataclass(frozen=True)
class Suggestion:
    """Something that could be deleted, and why."""

    name: str
    """A model with its variant, or the file of a stopped download."""
    size_bytes: int
    reasons: tuple[str, ...]
    command: str
    """What deletes it."""


def rows(library: Library, survey: Survey) -> tuple[Row, ...]:
    """All that is known of every usable model."""
    recorded = library.records.read()
    copies = {
        found.path: tuple((copy.tool, copy.path) for copy in found.copies)
        for found in survey.discovery.found
    }
    result = []
    for local in survey.models:
        record = recorded.of(local.path)
        ours = library.unit(local) is not None
        since = 0.0
        with suppress(OSError):
            since = sidecar_path(local.path).stat().st_mtime if ours else 0.0
        result.append(
            Row(
                local,
                ours,
                record.imported,
                since,
                record.last_used_seconds,
                _verified_seconds(recorded, local, ours=ours),
                record.generation_tps,
                copies.get(local.path, ()),
                _equal(library, local.path, copies.get(local.path, ())),
                frozenset(p for _, p in copies.get(local.path, ()) if library.is_altered(p)),
            )
        )
    return tuple(result)


def _verified_seconds(recorded: Recorded, local: LocalModel, *, ours: bool) -> float:
    """When every file of a model was found right; 0 where one was not, or has changed since."""
    if local.altered:
        return 0.0
    times = []
    for path in shard_paths(local.path):
        seconds = 0.0
        with suppress(OSError):
            facts, checked = path.stat(), recorded.checked(path)
            if standing(checked, facts) == "proven":
                seconds = checked.verified_seconds
            note = read_sidecar(path) if ours else None
            vouched = note is not None and note.sha256 and recorded.of(path).authority != COPIED
            if note is not None and vouched and note.modified_ns == facts.st_mtime_ns:
                seconds = max(seconds, sidecar_path(path).stat().st_mtime)
        times.append(seconds)
    return min(times)


def uncompared_bytes(known: Sequence[Row]) -> int:
    """How much `compare` reads, at most."""
    waiting = [sum(1 for _, path in row.copies if path not in row.equal) for row in known]
    return sum(
        row.local.size_bytes * (1 + count)
        for row, count in zip(known, waiting, strict=True)
        if row.ours and count
    )


def compare(library: Library, known: Sequence[Row], on_bytes: OnBytes) -> None:
    """Find and remember the checksums that tell whether copies of our downloads are the same.

    Args:
        library: Where the models were found.
        known: Every model here.
        on_bytes: Told of every part that was read.
    """
    for row in known:
        waiting = [path for _, path in row.copies if path not in row.equal]
        if not row.ours or not waiting:
            continue
        for first in (row.local.path, *waiting):
            if _checksums(library, first) is not None:
                continue
            for path in shard_paths(first):
                # Not compared is said of a file that cannot be read.
                with suppress(FileError, OSError):
                    facts = path.stat()
                    library.records.note(
                        real(path),
                        sha256=file_sha256(path, on_bytes),
                        size_bytes=facts.st_size,
                        modified_ns=facts.st_mtime_ns,
                        verified_seconds=0.0,
                    )


def _equal(library: Library, path: Path, copies: Sequence[tuple[str, Path]]) -> dict[Path, bool]:
    own = _checksums(library, path) if copies else None
    theirs = {copy: _checksums(library, copy) for _, copy in copies}
    return {copy: own == sums for copy, sums in theirs.items() if own and sums}


def _checksums(library: Library, first: Path) -> tuple[str, ...] | None:
    """Of every file of a model, as computed since it last changed; None where one is missing."""
    recorded = library.records.read()
    sums = []
    for path in shard_paths(first):
        record = recorded.checked(path)
        with suppress(OSError):
            facts = path.stat()
            if (facts.st_size, facts.st_mtime_ns) == (record.size_bytes, record.modified_ns):
                sums.append(record.sha256)
    return tuple(sums) if len(sums) == len(shard_paths(first)) and all(sums) else None


def deletable(
    known: Sequence[Row],
    partials: Sequence[Partial],
    now_seconds: float,
    quality: Callable[[LocalModel], float],
) -> tuple[Suggestion, ...]:
    """What could be deleted, the largest first; only ever what localr1 downloaded.

    The model that was used last is never among it.

    Args:
        known: Every model here.
        partials: Stopped downloads.
        now_seconds: Seconds since 1970.
        quality: Expected quality of a model, in points; 0 where it is not known.
    """
    last = max((row.last_used_seconds for row in known), default=0.0)
    found = []
    for row in known:
        if not row.ours or (last and row.last_used_seconds == last):
            continue
        reasons = tuple(_reasons(row, known, now_seconds, quality))
        if reasons:
            command = f"localr1 rm {row.name}"
            found.append(Suggestion(row.name, row.local.size_bytes, reasons, command))
    for partial in partials:
        days = _days(now_seconds - partial.modified_seconds)
        if days >= STOPPED_DAYS:
            reason = f"a download that was stopped {days} days ago"
            command = f"localr1 rm --stopped {partial.name}"
            found.append(Suggestion(partial.name, partial.done_bytes, (reason,), command))
    return tuple(sorted(found, key=lambda one: -one.size_bytes))


def _reasons(
    row: Row, known: Sequence[Row], now_seconds: float, quality: Callable[[LocalModel], float]
) -> list[str]:
    reasons = []
    touched = row.last_used_seconds or row.since_seconds
    days = _days(now_seconds - touched) if touched else 0
    if days >= UNUSED_DAYS:
        never = not row.last_used_seconds
        reasons.append(f"never used in {days} days" if never else f"not used for {days} days")
    elsewhere = [tool for tool, path in row.copies if tool != OWN and row.equal.get(path)]
    if elsewhere:
        reasons.append(f"the same file is in {elsewhere[0]}'s folder")
    better = _better(row, known, quality)
    if better is not None:
        larger = better.local.size_bytes > row.local.size_bytes
        reasons.append(
            f"{better.name} is here and answers better" + ("" if larger else ", and is no larger")
        )
    return reasons


def _better(row: Row, known: Sequence[Row], quality: Callable[[LocalModel], float]) -> Row | None:
    """A model that makes this one superfluous.

    Either it is better and no larger, so that it runs wherever this one does; or it is a finer
    variant of the same model that has been used since.
    """
    own = quality(row.local)
    if own <= 0:
        return None
    candidates = [
        other
        for other in known
        if quality(other.local) > own
        and (
            other.local.size_bytes <= row.local.size_bytes
            or (
                other.local.model.id == row.local.model.id
                and other.last_used_seconds > row.last_used_seconds
            )
        )
    ]
    return max(candidates, key=lambda other: quality(other.local), default=None)


def _days(seconds: float) -> int:
    return max(0, int(seconds // _DAY_SECONDS))
