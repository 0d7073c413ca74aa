"""What is on this disk: complete models, partial downloads, and room for more.

Our own downloads are known by the note beside each file (`place.Sidecar`), written only after
its sha256 was verified. A file whose size or time has changed since is looked at again.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import localr1
from localr1.errors import FileError, GgufError
from localr1.gguf import header
from localr1.models import journal
from localr1.models.lock import held
from localr1.models.place import (
    Sidecar,
    disk_errors,
    free_bytes,
    journal_path,
    lock_path,
    part_path,
    read_sidecar,
    sidecar_path,
    target_path,
    write_sidecar,
)
from localr1.models.ranges import Ranges
from localr1.models.types import Choice, LocalModel, Model, Variant

__all__ = ["DEMO_PATH", "Library", "Partial", "free_bytes"]

DEMO_PATH = Path(localr1.__file__).parent / "data" / "demo.gguf"


class Models(Protocol):
    """What the library needs of a catalogue."""

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model."""


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


class Library:
    """The models on this disk.

    Args:
        directory: The folder of downloads; it need not exist.
        demo: The demonstration model's file.
    """

    def __init__(self, directory: Path, demo: Path = DEMO_PATH) -> None:
        self.directory = directory
        self._demo = demo

    def scan(self, catalogue: Models) -> tuple[LocalModel, ...]:
        """Every variant of the catalogue whose files are complete, in the catalogue's order.

        Raises:
            FileError: The folder cannot be read.
        """
        units = self._units()
        return tuple(
            local
            for model in catalogue.models
            for variant in model.variants
            if (local := self._local(model, variant, units)) is not None
        )

    def find(self, choice: Choice) -> LocalModel | None:
        """The file that a choice means, if it is here: the best variant where none was named.

        Raises:
            FileError: The folder cannot be read.
        """
        units = self._units()
        variants = choice.model.variants if choice.variant is None else (choice.variant,)
        found = (self._local(choice.model, variant, units) for variant in variants)
        return next((local for local in found if local is not None), None)

    def partials(self) -> tuple[Partial, ...]:
        """Downloads that were stopped, the latest first.

        Raises:
            FileError: The folder cannot be read.
        """
        units: dict[tuple[str, tuple[tuple[str, int], ...]], float] = {}
        for repository, unit, path in self._traces():
            with suppress(OSError):
                modified = path.stat().st_mtime
                units[repository, unit] = max(modified, units.get((repository, unit), 0.0))
        partials = []
        for (repository, unit), modified in units.items():
            done = sum(self._done_bytes(repository, path, size) for path, size in unit)
            total = sum(size for _, size in unit)
            if done < total:
                names = tuple(path for path, _ in unit)
                partials.append(Partial(repository, names, done, total, modified))
        return tuple(sorted(partials, key=lambda item: -item.modified_seconds))

    def remove(self, local: LocalModel) -> int:
        """Delete a downloaded model.

        Returns:
            How many bytes became free.

        Raises:
            FileError: It is not one of our downloads, or cannot be deleted.
        """
        sidecar = read_sidecar(local.path)
        if sidecar is None or not local.path.is_relative_to(self.directory):
            raise FileError(
                f"{local.path} is not removed.",
                "It was not downloaded by localr1."
                if not local.model.demo
                else "The demo is a part of localr1.",
                "Delete it with the program that put it there." if not local.model.demo else "",
            )
        return self._delete(sidecar.repository, [path for path, _ in sidecar.unit])

    def remove_partial(self, partial: Partial) -> int:
        """Delete what a stopped download has left, finished shards included.

        Returns:
            How many bytes became free.

        Raises:
            FileError: It cannot be deleted.
        """
        return self._delete(partial.repository, partial.files)

    def _local(
        self, model: Model, variant: Variant, units: Sequence[tuple[str, Path, Sidecar]]
    ) -> LocalModel | None:
        if model.demo or variant.path is not None:
            path = variant.path or self._demo
            with suppress(OSError):
                if path.is_file():
                    return LocalModel(model, variant, path, path.stat().st_size)
            return None
        for repository, path, sidecar in units:
            if repository == variant.repository and _matches(variant, sidecar):
                size = sum(size for _, size in sidecar.unit)
                return LocalModel(model, variant, path, size)
        return None

    def _units(self) -> list[tuple[str, Path, Sidecar]]:
        """Every complete file set: repository, path of the first file, its note."""
        found = []
        for path in self._files("*.json"):
            target = path.with_suffix("")
            sidecar = read_sidecar(target)
            if sidecar is None or not sidecar.unit or sidecar.path != sidecar.unit[0][0]:
                continue
            if all(self._sound(sidecar.repository, name, size) for name, size in sidecar.unit):
                found.append((sidecar.repository, target, sidecar))
        return found

    def _sound(self, repository: str, path: str, size_bytes: int) -> bool:
        """Whether a file is complete, and unchanged or still a readable model."""
        target = target_path(self.directory, repository, path)
        sidecar = read_sidecar(target)
        try:
            status = target.stat()
        except OSError:
            return False
        if sidecar is None or status.st_size != size_bytes:
            return False
        if sidecar.modified_ns == status.st_mtime_ns:
            return True
        try:
            header.read(target)
        except (FileError, GgufError):
            return False
        # On a disk that cannot be written the header is simply read each time.
        with suppress(FileError):
            write_sidecar(target, replace(sidecar, modified_ns=status.st_mtime_ns))
        return True

    def _done_bytes(self, repository: str, path: str, size_bytes: int) -> int:
        target = target_path(self.directory, repository, path)
        with suppress(OSError):
            if read_sidecar(target) is not None and target.stat().st_size == size_bytes:
                return size_bytes
        with suppress(OSError):
            known = journal.read(journal_path(target))
            if known is not None and part_path(target).exists():
                return Ranges((item.start, item.end) for item in known.ranges).total_bytes
        return 0

    def _traces(self) -> Iterator[tuple[str, tuple[tuple[str, int], ...], Path]]:
        """Everything that tells of a download: repository, its file set, and the file."""
        for path in self._files("*.part.journal"):
            with suppress(OSError):
                known = journal.read(path)
                if known is not None:
                    yield known.content.repository, known.content.unit, path
        for path in self._files("*.json"):
            sidecar = read_sidecar(path.with_suffix(""))
            if sidecar is not None:
                yield sidecar.repository, sidecar.unit, path

    def _files(self, pattern: str) -> list[Path]:
        with disk_errors(self.directory):
            if not self.directory.is_dir():
                return []
            return sorted(self.directory.glob(f"*/{pattern}"))

    def _delete(self, repository: str, paths: Sequence[str]) -> int:
        targets = [target_path(self.directory, repository, path) for path in paths]
        if busy := next((target for target in targets if held(lock_path(target))), None):
            raise FileError(
                f"{busy.name} is being downloaded.", "", "Stop that download, then try again."
            )
        freed = 0
        for target in targets:
            # The note goes first: a half-deleted model must not look complete.
            for file in (
                sidecar_path(target),
                target,
                part_path(target),
                journal_path(target),
            ):
                with disk_errors(file), suppress(FileNotFoundError):
                    size = file.stat().st_size
                    file.unlink()
                    freed += size
            with suppress(OSError):
                target.parent.rmdir()
        return freed


def _matches(variant: Variant, sidecar: Sidecar) -> bool:
    names = [path for path, _ in sidecar.unit]
    if len(variant.files) > 1:
        return list(variant.files) == names
    return any(fnmatch.fnmatchcase(names[0], pattern) for pattern in variant.files)
