"""Our own downloads: complete file sets, stopped ones, and deleting them.

A complete file has a note beside it (`place.Sidecar`), written only after its sha256 was
verified. A file whose size or time has changed since is looked at again.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from localr1.errors import FileError, GgufError
from localr1.gguf import header
from localr1.models import journal
from localr1.models.copying import growing_path
from localr1.models.lock import held
from localr1.models.place import (
    Sidecar,
    disk_errors,
    journal_path,
    lock_path,
    part_path,
    read_sidecar,
    sidecar_path,
    target_path,
)
from localr1.models.ranges import Ranges
from localr1.models.types import Variant

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
"""What only a file of the hub has for its revision; other servers have none."""


@dataclass(frozen=True)
class Unit:
    """The complete files of one variant."""

    folder: Path
    """Our folder that it lies in."""
    path: Path
    """The first or only file."""
    sidecar: Sidecar
    """Its note."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file, shards in order."""
        names = (name for name, _ in self.sidecar.unit)
        return tuple(target_path(self.folder, self.sidecar.repository, name) for name in names)

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(size for _, size in self.sidecar.unit)

    def holds(self, variant: Variant) -> bool:
        """Whether these are the files of a variant of the catalogue."""
        return variant.is_of(self.sidecar.repository, [name for name, _ in self.sidecar.unit])


@dataclass(frozen=True)
class Partial:
    """A download that was stopped and can go on."""

    repository: str
    """`owner/name`."""
    files: tuple[str, ...]
    """Paths in the repository, shards in order."""
    done_bytes: int
    """Of all files together."""
    total_bytes: int
    modified_seconds: float
    """When something was last written, in seconds since 1970."""
    revision: str = ""
    """The commit; a server that is no hub has another mark, or none."""

    @property
    def name(self) -> str:
        """What commands call it."""
        return f"{self.repository}/{self.files[0]}"

    def belongs_to(self, variant: Variant) -> bool:
        """Whether it is one of this variant of the catalogue."""
        return self.repository == variant.repository and any(
            fnmatch.fnmatchcase(self.files[0], pattern) for pattern in variant.files
        )

    @property
    def from_hub(self) -> bool:
        """Whether the hub has it; else it came from an address of its own."""
        return COMMIT.fullmatch(self.revision) is not None


def unit_at(folder: Path, path: Path) -> Unit | None:
    """The complete file set that begins with a file; None where it is none of ours."""
    sidecar = read_sidecar(path)
    if sidecar is None or not sidecar.unit or sidecar.path != sidecar.unit[0][0]:
        return None
    if not all(_sound(folder, sidecar.repository, name, size) for name, size in sidecar.unit):
        return None
    return Unit(folder, path, sidecar)


def units(folder: Path) -> list[Unit]:
    """Every complete file set of a folder.

    Raises:
        FileError: The folder cannot be read.
    """
    found = (unit_at(folder, path.with_suffix("")) for path in _files(folder, "*.json"))
    return [unit for unit in found if unit is not None]


def partials(folder: Path) -> tuple[Partial, ...]:
    """Downloads that were stopped, the latest first.

    Raises:
        FileError: The folder cannot be read.
    """
    traces: dict[tuple[str, tuple[tuple[str, int], ...]], tuple[float, str]] = {}
    for repository, unit, revision, path in _traces(folder):
        with suppress(OSError):
            trace = path.stat().st_mtime, revision
            traces[repository, unit] = max(trace, traces.get((repository, unit), trace))
    found = []
    for (repository, unit), (modified, revision) in traces.items():
        done = sum(_done_bytes(folder, repository, path, size) for path, size in unit)
        total = sum(size for _, size in unit)
        if done < total:
            names = tuple(path for path, _ in unit)
            found.append(Partial(repository, names, done, total, modified, revision))
    return tuple(sorted(found, key=lambda item: -item.modified_seconds))


def stopped_copies(folder: Path) -> tuple[Path, ...]:
    """Copies into a folder that did not come to their end.

    Raises:
        FileError: The folder cannot be read.
    """
    return tuple(_files(folder, growing_path(Path("*")).name))


def delete(folder: Path, repository: str, paths: Sequence[str]) -> int:
    """Delete the files of a variant, finished or not, with all that belongs to them.

    Returns:
        How many bytes became free.

    Raises:
        FileError: One is being downloaded, or cannot be deleted.
    """
    targets = [target_path(folder, repository, path) for path in paths]
    if busy := next((target for target in targets if held(lock_path(target))), None):
        raise FileError(
            f"{busy.name} is being downloaded.", "", "Stop that download, then try again."
        )
    freed = 0
    for target in targets:
        # The note goes first: a half-deleted model must not look complete.
        parts = (part_path(target), journal_path(target), growing_path(target))
        for file in (sidecar_path(target), target, *parts):
            with disk_errors(file), suppress(FileNotFoundError):
                size = file.stat().st_size
                file.unlink()
                freed += size
        with suppress(OSError):
            target.parent.rmdir()
    return freed


def _sound(folder: Path, repository: str, path: str, size_bytes: int) -> bool:
    """Whether a file is complete, and unchanged or still a readable model."""
    target = target_path(folder, repository, path)
    sidecar = read_sidecar(target)
    try:
        status = target.stat()
    except OSError:
        return False
    if sidecar is None or status.st_size != size_bytes:
        return False
    if sidecar.modified_ns == status.st_mtime_ns:
        return True
    return _readable(target, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _readable(target: Path, size_bytes: int, modified_ns: int) -> bool:  # noqa: ARG001 - the key
    """Whether a file that was changed is a model still; what its bytes are, only `verify` says.

    A command asks several times, and a header takes 50 ms.
    """
    try:
        header.read(target)
    except (FileError, GgufError):
        return False
    return True


def _done_bytes(folder: Path, repository: str, path: str, size_bytes: int) -> int:
    target = target_path(folder, repository, path)
    with suppress(OSError):
        if read_sidecar(target) is not None and target.stat().st_size == size_bytes:
            return size_bytes
    with suppress(OSError):
        known = journal.read(journal_path(target))
        if known is not None and part_path(target).exists():
            return Ranges((item.start, item.end) for item in known.ranges).total_bytes
    return 0


def _traces(folder: Path) -> Iterator[tuple[str, tuple[tuple[str, int], ...], str, Path]]:
    """Everything that tells of a download: repository, its file set, revision, and the file."""
    for path in _files(folder, "*.part.journal"):
        with suppress(OSError):
            known = journal.read(path)
            if known is not None:
                content = known.content
                yield content.repository, content.unit, content.revision, path
    for path in _files(folder, "*.json"):
        sidecar = read_sidecar(path.with_suffix(""))
        if sidecar is not None:
            yield sidecar.repository, sidecar.unit, sidecar.revision, path


def _files(folder: Path, pattern: str) -> list[Path]:
    with disk_errors(folder):
        if not folder.is_dir():
            return []
        return sorted(folder.glob(f"*/{pattern}"))
