"""Models in a folder, say of a USB disk, on the way to a computer without a network.

`DIR/localr1-bundle` holds the model files, the catalogue's and the settings' own files, and
`manifest.json`, which names every file with its sha256. A model is in the manifest only once all
of it is there and was read back. Files larger than FAT32 allows are split into parts. A model that
cannot be carried does not keep the others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from localr1 import __version__
from localr1.config import write_atomically
from localr1.errors import FileError, LocalR1Error
from localr1.gguf.file import shard_paths
from localr1.models import upkeep
from localr1.models.acquire import LOCAL_OWNER
from localr1.models.copying import OnBytes, Span, check_room, copy, copy_errors, file_sha256
from localr1.models.downloaded import Unit
from localr1.models.library import Library
from localr1.models.manifest import (
    FOLDER_NAME,
    PART_BYTES,
    BundledFile,
    BundledModel,
    Manifest,
    Part,
    check_part,
    check_plain,
    read_manifest,
    refusing,
    write_manifest,
    write_readable,
)
from localr1.models.place import read_sidecar, target_path
from localr1.models.types import LocalModel

_PROGRESS_NAME: Final = "progress.json"


@dataclass
class Exported:
    """What an export has done."""

    manifest: Manifest
    verified: list[BundledModel] = field(default_factory=list)
    """Those that are in the bundle and were read there."""
    refused: list[LocalR1Error] = field(default_factory=list)
    """Why others are not, or are damaged in the bundle."""


def export_size(locals_here: Sequence[LocalModel], folder: Path | None = None) -> int:
    """How many bytes `export` will count: each is read, written, and read back.

    Args:
        locals_here: What to put in.
        folder: Where to; what else its bundle holds is read too.
    """
    held = read_manifest(folder) if folder is not None else None
    names = {_name(local) for local in locals_here}
    others = [model for model in held.models if model.name not in names] if held else []
    return sum(3 * local.size_bytes for local in locals_here) + sum(m.size_bytes for m in others)


def export(  # noqa: PLR0913 - what is not plain is by keyword
    locals_here: Sequence[LocalModel],
    library: Library,
    folder: Path,
    extras: dict[str, str],
    on_bytes: OnBytes,
    *,
    part_bytes: int = PART_BYTES,
) -> Exported:
    """Put models into a bundle; what it has is read, and written again where it is damaged.

    Args:
        locals_here: What to put in.
        library: Where the models were found.
        folder: Where to, for example a USB disk.
        extras: Texts to take along, by name.
        on_bytes: Told of bytes dealt with; see `export_size`.
        part_bytes: The largest file to write.

    Raises:
        DiskFull: There is no room.
        FileError: The bundle's own files cannot be read or written.
    """
    root = folder / FOLDER_NAME
    with copy_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    held = Exported(read_manifest(folder) or Manifest())
    progress = _Progress(root)
    known = {(model.name, model.size_bytes) for model in held.manifest.models}
    missing = [one for one in locals_here if (_name(one), one.size_bytes) not in known]
    there = sum(f.stat().st_size for f in root.rglob("*") if f.is_file())
    kept = sum(model.size_bytes for model in held.manifest.models)
    check_room(root, sum(one.size_bytes for one in missing) - max(0, there - kept))
    for local in locals_here:
        with refusing(held.refused):
            model = _export_model(local, library, root, held, progress, on_bytes, part_bytes)
            held.verified.append(model)
    for model in held.manifest.models:
        if model not in held.verified:
            with refusing(held.refused):
                for part in model.parts:
                    check_part(part, root / part.name, on_bytes)
                held.verified.append(model)
    held.verified = [model for model in held.manifest.models if model in held.verified]
    texts = tuple(_write_extra(root, name, text) for name, text in sorted(extras.items()))
    held.manifest = replace(held.manifest, extras=texts)
    write_manifest(root, held.manifest)
    if not held.refused:
        progress.drop()
    return held


class _Progress:
    """Which parts of unfinished models are complete."""

    def __init__(self, root: Path) -> None:
        self._path = root / _PROGRESS_NAME
        self._done: dict[str, list[Any]] = {}
        with suppress(OSError, ValueError):
            known = json.loads(self._path.read_bytes()) if self._path.is_file() else None
            self._done = known if isinstance(known, dict) else {}

    def done(self, root: Path, name: str, stamp: list[int]) -> Part | None:
        """A part that an earlier run finished, of a source that has not changed since."""
        entry = self._done.get(name)
        match entry:
            case [int(size), str(sha256), known] if known == stamp:
                with suppress(FileError):
                    check_plain(root / name, size)
                    return Part(name, size, sha256)
        return None

    def note(self, part: Part, stamp: list[int]) -> None:
        self._done[part.name] = [part.size_bytes, part.sha256, stamp]
        write_atomically(self._path, json.dumps(self._done) + "\n")

    def drop(self) -> None:
        with copy_errors(self._path):
            self._path.unlink(missing_ok=True)


def _export_model(  # noqa: PLR0913, PLR0917 - one call site
    local: LocalModel,
    library: Library,
    root: Path,
    held: Exported,
    progress: _Progress,
    on_bytes: OnBytes,
    part_bytes: int,
) -> BundledModel:
    paths = shard_paths(local.path)
    stamps = []
    for path in paths:
        with copy_errors(path):
            facts = path.stat()
        stamps.append([facts.st_size, facts.st_mtime_ns])
    digests = _source_digests(local, library, on_bytes)
    unit = library.unit(local)
    repository, names, old = _identity(local, unit, digests, held.manifest)
    gone = [
        model
        for model in held.manifest.models
        if (model.repository, model.files[0].path) == (repository, names[0])
        or (model.digests == digests and model.repository.startswith(f"{LOCAL_OWNER}/"))
    ]
    others = tuple(model for model in held.manifest.models if model not in gone)
    taken = {part.name.casefold() for model in others for part in model.parts}
    known = {part.name: part for part in old.parts} if old is not None else {}
    files = []
    for path, name, stamp, whole in zip(paths, names, stamps, digests, strict=True):
        size = stamp[0]
        plain = target_path(Path(), repository, name)
        count = max(1, -(-size // part_bytes))
        base = f"{plain.parent.name}--{plain.name}"
        wanted = [_part_name(base, index, count) for index in range(count)]
        if any(one.casefold() in taken for one in wanted):
            wanted = [_part_name(f"{whole[:12]}--{base}", index, count) for index in range(count)]
        parts = []
        for index, part_name in enumerate(wanted):
            start = index * part_bytes
            span = Span(path, start, min(part_bytes, size - start))
            part = known.get(part_name) or progress.done(root, part_name, stamp)
            if part is None or not _is_sound(part, span, root, on_bytes):
                digest = copy([span], root / part_name, on_bytes)
                part = Part(part_name, span.size_bytes, digest)
                progress.note(part, stamp)
            parts.append(part)
        note = read_sidecar(path) if unit is not None else None
        revision = note.revision if note is not None else ""
        files.append(BundledFile(name, size, whole, revision, tuple(parts)))
        taken |= {part.name.casefold() for part in parts}
    model = BundledModel(old.name if old is not None else _name(local), repository, tuple(files))
    held.manifest = replace(held.manifest, models=(*others, model), version=__version__)
    write_manifest(root, held.manifest)
    _drop_parts(gone, held.manifest, root)
    return model


def _source_digests(local: LocalModel, library: Library, on_bytes: OnBytes) -> list[str]:
    """The sha256 of a model's files, which are as `verify` would have them."""
    counted = 0

    def tell(_: Path, done_bytes: int, __: int) -> None:
        nonlocal counted
        on_bytes(done_bytes - counted)
        counted = done_bytes

    verdicts = upkeep.verify(local, library, tell)
    for verdict in verdicts:
        if verdict.outcome == "altered":
            raise FileError(
                f"{_name(local)} is not exported: {verdict.path} is damaged.",
                f"Its sha256 is {verdict.sha256} instead of {verdict.expected_sha256}.",
                "Delete it with `localr1 rm` and get it again.",
            )
    return [verdict.sha256 for verdict in verdicts]


def _identity(
    local: LocalModel, unit: Unit | None, digests: list[str], manifest: Manifest
) -> tuple[str, list[str], BundledModel | None]:
    """Repository and names of a model's files, and what the bundle has of them already.

    A file from elsewhere gets a place by its name and its content: many are called alike.
    """
    shared = [part.name for model in manifest.models for part in model.parts]
    same = [
        model
        for model in manifest.models
        if model.digests == digests and all(shared.count(p.name) == 1 for p in model.parts)
    ]
    if unit is not None:
        names = [name for name, _ in unit.sidecar.unit]
        repository = unit.sidecar.repository
    else:
        names = [path.name for path in shard_paths(local.path)]
        if local.path.suffix.lower() != ".gguf":
            # Ollama's blobs: only a name that says GGUF is recognised elsewhere.
            names = [f"{_plain(local.model.id)}-{local.variant.quantization}.gguf"]
        repository = f"{LOCAL_OWNER}/{_plain(Path(names[0]).stem)}"
    if unit is None or repository.startswith(f"{LOCAL_OWNER}/"):
        if same:
            return same[0].repository, [file.path for file in same[0].files], same[0]
        place = {(m.repository, m.files[0].path) for m in manifest.models}
        if unit is None or (repository, names[0]) in place:
            content = hashlib.sha256("".join(digests).encode()).hexdigest()
            repository = f"{repository}-{content[:12]}"
    old = next((m for m in same if (m.repository, m.files[0].path) == (repository, names[0])), None)
    return repository, names, old


def _part_name(base: str, index: int, count: int) -> str:
    return _plain(f"{base}.{index + 1:03d}of{count:03d}" if count > 1 else base)


def _is_sound(part: Part, span: Span, root: Path, on_bytes: OnBytes) -> bool:
    """Whether a part that should be in the bundle is there as it should be; it is read."""
    if part.size_bytes != span.size_bytes:
        return False
    with suppress(FileError):
        check_part(part, root / part.name, on_bytes)
        on_bytes(part.size_bytes)
        return True
    return False


def _drop_parts(gone: Sequence[BundledModel], manifest: Manifest, root: Path) -> None:
    """Delete what nothing in the bundle needs any more."""
    needed = {part.name.casefold() for model in manifest.models for part in model.parts}
    for part in (part for model in gone for part in model.parts):
        if part.name.casefold() not in needed:
            with suppress(OSError):
                (root / part.name).unlink(missing_ok=True)


def _write_extra(root: Path, name: str, text: str) -> Part:
    path = root / name
    write_readable(path, text)
    return Part(name, path.stat().st_size, file_sha256(path, lambda _: None))


def _name(local: LocalModel) -> str:
    return f"{local.model.id}:{local.variant.quantization}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.()+-]+", "_", name).lstrip(".-+()") or "model"
