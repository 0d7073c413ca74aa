"""Models in a folder, say of a USB disk, on the way to a computer without a network.

`DIR/localr1-bundle` holds the model files, the catalogue's and the settings' own files, and
`manifest.json`, which names every file with its sha256. A model is in the manifest only once all
of it is there and was read back. Files larger than FAT32 allows are split into parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from localr1 import __version__
from localr1.config import write_atomically
from localr1.errors import FileError
from localr1.gguf.file import shard_paths
from localr1.models.acquire import LOCAL_OWNER
from localr1.models.copying import OnBytes, Span, check_room, copy, file_sha256
from localr1.models.downloaded import unit_at
from localr1.models.library import Library
from localr1.models.manifest import (
    FOLDER_NAME,
    PART_BYTES,
    BundledFile,
    BundledModel,
    Manifest,
    Part,
    damaged,
    read_manifest,
    write_manifest,
)
from localr1.models.place import Sidecar, disk_errors, read_sidecar, target_path, write_sidecar
from localr1.models.types import LocalModel

_PROGRESS_NAME: Final = "progress.json"
_MOST_EXTRA_BYTES: Final = 4 << 20


def export_size(locals_here: Sequence[LocalModel]) -> int:
    """How many bytes `export` will count for these models: each is read, written, read back."""
    return sum(3 * local.size_bytes for local in locals_here)


def export(  # noqa: PLR0913 - what is not plain is by keyword
    locals_here: Sequence[LocalModel],
    library: Library,
    folder: Path,
    extras: dict[str, str],
    on_bytes: OnBytes,
    *,
    part_bytes: int = PART_BYTES,
) -> Manifest:
    """Put models into a bundle; those that it has stay, and what was begun goes on.

    Args:
        locals_here: What to put in.
        library: Where the models were found.
        folder: Where to, for example a USB disk.
        extras: Texts to take along, by name.
        on_bytes: Told of bytes dealt with; see `export_size`.
        part_bytes: The largest file to write.

    Raises:
        DiskFull: There is no room.
        FileError: A model is damaged, or something cannot be read or written.
    """
    root = folder / FOLDER_NAME
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder) or Manifest()
    progress = _Progress(root)
    needed = sum(local.size_bytes for local in locals_here if not _has(manifest, local, library))
    there = sum(f.stat().st_size for f in root.rglob("*") if f.is_file())
    kept = sum(model.size_bytes for model in manifest.models)
    check_room(root, needed - max(0, there - kept))
    for local in locals_here:
        if _has(manifest, local, library):
            on_bytes(3 * local.size_bytes)
            continue
        model = _export_model(local, library, root, progress, on_bytes, part_bytes)
        others = tuple(one for one in manifest.models if one.name != model.name)
        manifest = replace(manifest, models=(*others, model), version=__version__)
        write_manifest(root, manifest)
    texts = tuple(_write_extra(root, name, text) for name, text in sorted(extras.items()))
    manifest = replace(manifest, extras=texts)
    write_manifest(root, manifest)
    progress.drop()
    return manifest


def import_size(manifest: Manifest) -> int:
    """How many bytes `take_in` will count: each is read, and read back."""
    return sum(2 * model.size_bytes for model in manifest.models)


def take_in(
    manifest: Manifest, folder: Path, library: Library, on_bytes: OnBytes
) -> tuple[tuple[BundledModel, Path], ...]:
    """Copy every model of a bundle into the folder of downloads.

    Args:
        manifest: Of the bundle.
        folder: The folder that the user named.
        library: Where to.
        on_bytes: Told of bytes dealt with; see `import_size`.

    Returns:
        Each model with its first file; those that were here already among them.

    Raises:
        DiskFull: There is no room.
        FileError: A part is missing or damaged, or something cannot be read or written.
    """
    root = folder / FOLDER_NAME
    missing = [model for model in manifest.models if _installed(model, library) is None]
    check_room(library.directory, sum(model.size_bytes for model in missing))
    taken = []
    for model in manifest.models:
        path = _installed(model, library)
        if path is None:
            path = _install(model, root, library, on_bytes)
        else:
            on_bytes(2 * model.size_bytes)
        taken.append((model, path))
    return tuple(taken)


def read_extras(manifest: Manifest, folder: Path) -> dict[str, str]:
    """The texts of a bundle, by name.

    Raises:
        FileError: One is missing or damaged.
    """
    texts = {}
    for part in manifest.extras:
        path = folder / FOLDER_NAME / part.name
        if part.size_bytes > _MOST_EXTRA_BYTES or file_sha256(path, lambda _: None) != part.sha256:
            raise damaged(path, "Its checksum is wrong.")
        with disk_errors(path):
            texts[part.name] = path.read_bytes().decode("utf-8", errors="replace")
    return texts


class _Progress:
    """Which parts of unfinished models are complete."""

    def __init__(self, root: Path) -> None:
        self._path = root / _PROGRESS_NAME
        self._done: dict[str, list[Any]] = {}
        with suppress(OSError, ValueError):
            known = json.loads(self._path.read_bytes())
            self._done = known if isinstance(known, dict) else {}

    def done(self, root: Path, name: str, stamp: list[int]) -> Part | None:
        """A part that an earlier run finished, of a source that has not changed since."""
        entry = self._done.get(name)
        match entry:
            case [int(size), str(sha256), known] if known == stamp:
                with suppress(OSError):
                    if (root / name).stat().st_size == size:
                        return Part(name, size, sha256)
        return None

    def note(self, part: Part, stamp: list[int]) -> None:
        self._done[part.name] = [part.size_bytes, part.sha256, stamp]
        write_atomically(self._path, json.dumps(self._done) + "\n")

    def drop(self) -> None:
        with disk_errors(self._path):
            self._path.unlink(missing_ok=True)


def _export_model(  # noqa: PLR0913, PLR0917 - one call site
    local: LocalModel,
    library: Library,
    root: Path,
    progress: _Progress,
    on_bytes: OnBytes,
    part_bytes: int,
) -> BundledModel:
    repository, names = _identity(local, library)
    files = []
    for path, name in zip(shard_paths(local.path), names, strict=True):
        with disk_errors(path):
            facts = path.stat()
        stamp = [facts.st_size, facts.st_mtime_ns]
        whole = file_sha256(path, on_bytes)
        note = read_sidecar(path) if library.unit(local) is not None else None
        if note is not None and note.sha256 and note.sha256 != whole:
            raise FileError(
                f"{path} is damaged.",
                f"Its sha256 is {whole} instead of {note.sha256}.",
                "Delete it with `localr1 rm` and download it again.",
            )
        count = max(1, -(-facts.st_size // part_bytes))
        plain = target_path(Path(), repository, name)
        parts = []
        for index in range(count):
            ending = f".{index + 1:03d}of{count:03d}" if count > 1 else ""
            part_name = _plain(f"{plain.parent.name}--{plain.name}{ending}")
            start = index * part_bytes
            span = Span(path, start, min(part_bytes, facts.st_size - start))
            part = progress.done(root, part_name, stamp)
            if part is None:
                digest = copy([span], root / part_name, on_bytes)
                part = Part(part_name, span.size_bytes, digest)
                progress.note(part, stamp)
            else:
                on_bytes(2 * part.size_bytes)
            parts.append(part)
        revision = note.revision if note is not None else ""
        files.append(BundledFile(name, facts.st_size, whole, revision, tuple(parts)))
    return BundledModel(_name(local), repository, tuple(files))


def _identity(local: LocalModel, library: Library) -> tuple[str, list[str]]:
    """Repository and names of a model's files: its own, or made up for a file from elsewhere."""
    unit = library.unit(local)
    if unit is not None:
        return unit.sidecar.repository, [name for name, _ in unit.sidecar.unit]
    names = [path.name for path in shard_paths(local.path)]
    if local.path.suffix.lower() != ".gguf":
        # Ollama's blobs: only a name that says GGUF is recognised elsewhere.
        names = [f"{_plain(local.model.id)}-{local.variant.quantization}.gguf"]
    return f"{LOCAL_OWNER}/{_plain(Path(names[0]).stem)}", names


def _has(manifest: Manifest, local: LocalModel, library: Library) -> bool:
    """Whether a bundle holds a model already, by what is known without reading it."""
    for model in manifest.models:
        if model.name != _name(local) or model.size_bytes != local.size_bytes:
            continue
        unit = library.unit(local)
        if unit is None:
            record = library.records.read().of(local.path)
            return bool(record.sha256) and record.sha256 == model.files[0].sha256
        notes = [read_sidecar(path) for path in unit.paths]
        return [note.sha256 if note else "" for note in notes] == [f.sha256 for f in model.files]
    return False


def _installed(model: BundledModel, library: Library) -> Path | None:
    """The first file of a model that is here, complete and the same."""
    for folder in library.folders:
        targets = [target_path(folder, model.repository, file.path) for file in model.files]
        if unit_at(folder, targets[0]) is None:
            continue
        notes = [read_sidecar(target) for target in targets]
        if [n.sha256 if n else "" for n in notes] == [file.sha256 for file in model.files]:
            return targets[0]
    return None


def _install(model: BundledModel, root: Path, library: Library, on_bytes: OnBytes) -> Path:
    unit = tuple((file.path, file.size_bytes) for file in model.files)
    targets = [target_path(library.directory, model.repository, name) for name, _ in unit]
    for file, target in zip(model.files, targets, strict=True):
        spans = [Span(root / part.name, 0, part.size_bytes) for part in file.parts]
        for part, span in zip(file.parts, spans, strict=True):
            with disk_errors(span.path):
                if span.path.stat().st_size != part.size_bytes:
                    raise damaged(span.path, "It is cut short.")
        try:
            digest = copy(spans, target, on_bytes, expected_sha256=file.sha256)
        except FileError as error:
            raise _named(error, file, root) from error
        with disk_errors(target):
            modified_ns = target.stat().st_mtime_ns
        note = Sidecar(
            model.repository, file.path, file.revision, file.size_bytes, digest, modified_ns, unit
        )
        write_sidecar(target, note)
    return targets[0]


def _named(error: FileError, file: BundledFile, root: Path) -> FileError:
    """The part that is damaged, where it is one."""
    for part in file.parts:
        path = root / part.name
        with suppress(FileError):
            if file_sha256(path, lambda _: None) != part.sha256:
                return damaged(path, "Its checksum is wrong.")
    return error


def _write_extra(root: Path, name: str, text: str) -> Part:
    path = root / name
    write_atomically(path, text)
    return Part(name, path.stat().st_size, file_sha256(path, lambda _: None))


def _name(local: LocalModel) -> str:
    return f"{local.model.id}:{local.variant.quantization}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.()+-]+", "_", name).lstrip(".-+()") or "model"
