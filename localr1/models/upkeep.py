"""Checking model files against their checksums, and moving our own to another disk."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from localr1.config import expanded
from localr1.errors import FileError
from localr1.gguf.file import shard_paths
from localr1.models import downloaded
from localr1.models.copying import Span, check_room, copy, copy_errors, file_sha256, growing_path
from localr1.models.library import Library
from localr1.models.lock import held_now
from localr1.models.place import (
    Sidecar,
    read_sidecar,
    target_path,
    write_sidecar,
)
from localr1.models.places import ADDED, IMPORTED, OWN
from localr1.models.records import COPIED, real
from localr1.models.types import LocalModel

Outcome = Literal["sound", "altered", "unchanged", "recorded"]

_EARLIER_CHECK: Final = "at an earlier check"
_OURSELVES: Final = frozenset({_EARLIER_CHECK, COPIED})
"""Authorities that only say what a file was."""

_BLOB_NAME: Final = re.compile(r"(?:sha256-)?([0-9a-f]{64})")

OnProgress = Callable[[Path, int, int], None]
"""Called with the file, bytes done, and bytes in all."""


@dataclass(frozen=True)
class Verdict:
    """What became of checking one file."""

    path: Path
    outcome: Outcome
    """`unchanged`: as it was when we read it before, and nobody else says what it should be.
    `recorded`: nothing was known to compare it with; its checksum is kept for the next time.
    """
    sha256: str
    expected_sha256: str
    """Empty where nothing was known."""
    authority: str
    """Who says what it should be: `the hub`, `the catalogue`, ...; empty where nobody does."""

    @property
    def vouched(self) -> bool:
        """Whether that is somebody else, not only when we read it before."""
        return bool(self.authority) and self.authority not in _OURSELVES


def verify(
    local: LocalModel,
    library: Library,
    on_progress: OnProgress,
    clock: Callable[[], float] = time.time,
) -> tuple[Verdict, ...]:
    """Read every byte of a model and compare its checksums.

    The checksum is the one that the hub announced for a download; for a file of another program
    the one that its place or the catalogue gives; else the one recorded at an earlier check.

    Args:
        local: The model.
        library: Where it was found.
        on_progress: Told how far it is, over all files of the model.
        clock: Seconds since 1970.

    Raises:
        FileError: A file cannot be read.
    """
    paths = shard_paths(local.path)
    ours = library.unit(local) is not None
    verdicts = []
    done = 0
    for path in paths:
        with copy_errors(path):
            before = path.stat()

        def tell(count: int, path: Path = path) -> None:
            nonlocal done
            done += count
            on_progress(path, done, local.size_bytes)

        note = read_sidecar(path) if ours else None
        expected, authority = _expected(path, note, local, library, before.st_size)
        digest = file_sha256(path, tell)
        outcome = _outcome(digest, expected, authority)
        verdicts.append(Verdict(path, outcome, digest, expected, authority))
        if outcome == "altered":
            library.records.note(real(path), verified_seconds=0.0, altered_ns=before.st_mtime_ns)
            continue
        # Only what somebody else vouches for is verified; what it was before says nothing new.
        verified = {"sound": {"verified_seconds": clock()}, "recorded": {"verified_seconds": 0.0}}
        if note is not None and note.modified_ns != before.st_mtime_ns:
            with suppress(FileError):  # on a disk that cannot be written it is looked at each time
                write_sidecar(path, replace(note, modified_ns=before.st_mtime_ns))
        library.records.note(
            real(path),
            sha256=digest,
            size_bytes=before.st_size,
            modified_ns=before.st_mtime_ns,
            altered_ns=0,
            **verified.get(outcome, {}),
        )
    return tuple(verdicts)


def _outcome(digest: str, expected: str, authority: str) -> Outcome:
    if not expected:
        return "recorded"
    if digest != expected:
        return "altered"
    return "unchanged" if authority in _OURSELVES else "sound"


def move(local: LocalModel, library: Library, folder: Path, on_progress: OnProgress) -> Path:
    """Move one of our downloads to another folder, on whatever disk.

    It is copied, read back and compared; then the copy counts, and only then is the old one
    deleted. Stopped at any moment, the model is complete in one place at least, and the same
    call goes on.

    Args:
        local: The model.
        library: Where it was found.
        folder: Where to; from then on it is one of our folders.
        on_progress: Told how far it is; every byte counts twice, for it is read back.

    Returns:
        Its first file in the new place.

    Raises:
        DiskFull: The other disk has no room.
        FileError: It is not one of our downloads, or cannot be copied.
    """
    unit = library.unit(local)
    if unit is None:
        owner = "" if local.place in {OWN, ADDED, IMPORTED} else f" It belongs to {local.place}."
        raise FileError(
            f"{local.path} is not moved.",
            f"It was not downloaded by localr1.{owner}",
            "Move it with the program that put it there; localr1 finds it again.",
        )
    folder = expanded(folder).absolute()
    try:
        # Beside the folders of models, which are removed once they are empty.
        with held_now(library.directory / f"{local.path.name}.moving", limit_seconds=0.0):
            return _moved(unit, library, folder, on_progress)
    except TimeoutError:
        raise FileError(
            f"{local.path} is not moved.", "Another localr1 moves it now.", "Wait for that."
        ) from None


def _moved(unit: downloaded.Unit, library: Library, folder: Path, on_progress: OnProgress) -> Path:
    sidecar = unit.sidecar
    names = [name for name, _ in sidecar.unit]
    targets = [target_path(folder, sidecar.repository, name) for name in names]
    if not _same_folder(folder, unit.folder) and downloaded.unit_at(folder, targets[0]) is None:
        check_room(folder, _missing_bytes(unit.paths, targets))
        _copy_unit(unit, targets, on_progress)
    library.records.add_folder(folder)
    for (_, size), old, new in zip(sidecar.unit, unit.paths, targets, strict=True):
        if old != new:
            library.records.moved(old, new)
        # So that its absence is noticed, should this disk be unplugged.
        library.records.note(new, size_bytes=size)
    # Also what an earlier move, stopped while deleting, has left.
    for other in library.folders:
        if not _same_folder(other, folder):
            downloaded.delete(other, sidecar.repository, names)
    return targets[0]


def _copy_unit(unit: downloaded.Unit, targets: list[Path], on_progress: OnProgress) -> None:
    done = 0
    for (name, size), source, target in zip(unit.sidecar.unit, unit.paths, targets, strict=True):
        note = read_sidecar(source)
        if note is None:
            raise FileError(f"{source} has lost its note.", f"It belongs to {name}.", "Try again.")

        def tell(count: int, path: Path = source) -> None:
            nonlocal done
            done += count
            on_progress(path, min(done, 2 * unit.size_bytes), 2 * unit.size_bytes)

        digest = copy([Span(source, 0, size)], target, tell, expected_sha256=note.sha256)
        with copy_errors(target):
            modified_ns = target.stat().st_mtime_ns
        # The set counts as complete once every file has its note.
        write_sidecar(target, replace(note, sha256=digest, modified_ns=modified_ns))


def _expected(
    path: Path, note: Sidecar | None, local: LocalModel, library: Library, size_bytes: int
) -> tuple[str, str]:
    """What a file's sha256 should be, and who says so; empty where nobody does."""
    recorded = library.records.read()
    copied_from = recorded.of(path).authority
    hashes = local.variant.sha256
    paths = shard_paths(local.path)
    listed = len(hashes) == len(paths) and local.variant.size_bytes == local.size_bytes
    if listed and copied_from == COPIED:
        return hashes[paths.index(path)], "the catalogue"
    if note is not None and note.sha256:
        hub = "the hub" if downloaded.COMMIT.fullmatch(note.revision) else "the download"
        return note.sha256, copied_from or (hub if note.modified_ns else "the download")
    blob = real(path)
    named = _BLOB_NAME.fullmatch(blob.name)
    if named and blob.parent.name == "blobs" and local.place not in {OWN, ADDED, IMPORTED}:
        return named[1], local.place
    if listed:
        return hashes[paths.index(path)], "the catalogue"
    record = recorded.checked(path)
    if record.sha256 and record.size_bytes == size_bytes:
        return record.sha256, _EARLIER_CHECK
    return "", ""


def _missing_bytes(sources: tuple[Path, ...], targets: list[Path]) -> int:
    missing = 0
    for source, target in zip(sources, targets, strict=True):
        there = 0
        with suppress(OSError):
            there = growing_path(target).stat().st_size
        with copy_errors(source):
            missing += max(0, source.stat().st_size - there)
    return missing


def _same_folder(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return one == other
