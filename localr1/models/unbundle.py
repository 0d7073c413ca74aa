"""Taking in a bundle's models: every one that is sound, and none over another that is here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from localr1.errors import FileError, LocalR1Error
from localr1.gguf.file import recognise
from localr1.gguf.types import GgufFile
from localr1.models.copying import OnBytes, Span, check_room, copy, copy_errors, file_sha256
from localr1.models.downloaded import unit_at
from localr1.models.identify import same_shape
from localr1.models.library import Library, Models
from localr1.models.manifest import (
    FOLDER_NAME,
    BundledFile,
    BundledModel,
    Manifest,
    check_part,
    check_plain,
    damaged,
    refusing,
)
from localr1.models.place import (
    Sidecar,
    read_sidecar,
    sidecar_path,
    target_path,
    write_sidecar,
)

_MOST_EXTRA_BYTES: Final = 4 << 20
_SIZE_TOLERANCE: Final = 0.05
"""Between two releases of one quantization of one model."""


@dataclass
class TakenIn:
    """What an import has done."""

    models: list[tuple[BundledModel, Path]] = field(default_factory=list)
    """Each model that is here now with its first file, read and compared."""
    refused: list[LocalR1Error] = field(default_factory=list)
    """Why others are not."""


def import_size(manifest: Manifest) -> int:
    """How many bytes `take_in` will count: each is read, and read back."""
    return sum(2 * model.size_bytes for model in manifest.models)


def take_in(
    manifest: Manifest, folder: Path, library: Library, catalogue: Models, on_bytes: OnBytes
) -> TakenIn:
    """Copy every model of a bundle into the folder of downloads; none that is here is replaced.

    Args:
        manifest: Of the bundle.
        folder: The folder that the user named.
        library: Where to.
        catalogue: What says what the files of its variants are.
        on_bytes: Told of bytes dealt with; see `import_size`.

    Raises:
        DiskFull: There is no room.
    """
    root = folder / FOLDER_NAME
    missing = [model for model in manifest.models if not _lies(model, library)]
    check_room(library.directory, sum(model.size_bytes for model in missing))
    taken = TakenIn()
    for model in manifest.models:
        with refusing(taken.refused, f"{model.name} was not taken in: "):
            path = _install(model, root, library, catalogue, on_bytes)
            taken.models.append((model, path))
    return taken


def read_extras(manifest: Manifest, folder: Path) -> tuple[dict[str, str], list[LocalR1Error]]:
    """The texts of a bundle, by name, and what is wrong with others."""
    texts: dict[str, str] = {}
    refused: list[LocalR1Error] = []
    for part in manifest.extras:
        path = folder / FOLDER_NAME / part.name
        with refusing(refused):
            if part.size_bytes > _MOST_EXTRA_BYTES:
                raise damaged(path, "It is too long.")
            check_part(part, path, lambda _: None)
            with copy_errors(path):
                texts[part.name] = path.read_bytes().decode("utf-8", errors="replace")
    return texts, refused


def _installed(model: BundledModel, library: Library) -> Path | None:
    """Our folder where a model lies, complete and the same by its notes."""
    for folder in library.folders:
        targets = [target_path(folder, model.repository, file.path) for file in model.files]
        if unit_at(folder, targets[0]) is None:
            continue
        notes = [read_sidecar(target) for target in targets]
        if [note.sha256 if note else "" for note in notes] == model.digests:
            return folder
    return None


def _lies(model: BundledModel, library: Library) -> bool:
    """Whether something is where a model would be put."""
    with suppress(LocalR1Error):
        folder = _installed(model, library) or library.directory
        return any(target_path(folder, model.repository, f.path).exists() for f in model.files)
    return False


def _folder_for(model: BundledModel, library: Library) -> Path:
    """Our folder where a model lies or will; an error where another has its place in any."""
    if folder := _installed(model, library):
        return folder
    for other in library.folders:
        first = target_path(other, model.repository, model.files[0].path)
        if other != library.directory and unit_at(other, first) is not None:
            raise _occupied(first)
    return library.directory


def _install(
    model: BundledModel, root: Path, library: Library, catalogue: Models, on_bytes: OnBytes
) -> Path:
    folder = _folder_for(model, library)
    unit = tuple((file.path, file.size_bytes) for file in model.files)
    targets = [target_path(folder, model.repository, name) for name, _ in unit]
    here = [
        _is_here(file, target, on_bytes) for file, target in zip(model.files, targets, strict=True)
    ]
    came: list[Path] = []
    for file, target, is_here in zip(model.files, targets, here, strict=True):
        if not is_here:
            spans = [Span(root / part.name, 0, part.size_bytes) for part in file.parts]
            for part, span in zip(file.parts, spans, strict=True):
                check_plain(span.path, part.size_bytes)
            try:
                copy(spans, target, on_bytes, expected_sha256=file.sha256)
            except FileError as error:
                raise _named(error, file, root) from error
            came.append(target)
    try:
        # A checksum says that the bundle is undamaged, not that it holds what its names say.
        _check_claim(model, recognise(targets[0]), catalogue)
    except LocalR1Error:
        for target in came:
            with copy_errors(target):
                sidecar_path(target).unlink(missing_ok=True)
                target.unlink(missing_ok=True)
        raise
    for file, target in zip(model.files, targets, strict=True):
        with copy_errors(target):
            modified_ns = target.stat().st_mtime_ns
        if target in came or read_sidecar(target) is None:
            library.records.note(target, authority="the bundle")
            note = Sidecar(
                model.repository,
                file.path,
                file.revision,
                file.size_bytes,
                file.sha256,
                modified_ns,
                unit,
            )
            write_sidecar(target, note)
    return targets[0]


def _check_claim(model: BundledModel, gguf: GgufFile, catalogue: Models) -> None:
    """Make sure that files with the names of a listed variant can be that variant.

    A newer release of a file may be longer than the catalogue says, but it is the same network.

    Raises:
        FileError: They are something else.
    """
    names = [file.path for file in model.files]
    for listed in catalogue.models:
        for variant in listed.variants:
            if (
                variant.path is not None
                or listed.demo
                or not variant.is_of(model.repository, names)
            ):
                continue
            # A file of the same length is the same file, or has been tampered with.
            same_length = bool(variant.sha256) and model.size_bytes == variant.size_bytes
            if same_length and list(variant.sha256) != model.digests:
                raise FileError(
                    f"its file is not the one of {listed.name} {variant.quantization}.",
                    "It has the same length, but not the sha256 that the catalogue knows.",
                    "Nothing was taken in. Make the bundle again where the model was downloaded.",
                )
            near = (
                abs(model.size_bytes - variant.size_bytes) <= _SIZE_TOLERANCE * variant.size_bytes
            )
            if not near or not same_shape(listed, gguf):
                raise FileError(
                    f"the bundle says that it is {listed.name} {variant.quantization}, and it is not.",
                    f"It holds {model.size_bytes:,} bytes of {gguf.architecture.layers} layers;"
                    f" that file has about {variant.size_bytes:,} bytes of"
                    f" {listed.architecture.layers} layers.",
                    "Nothing was taken in. Make the bundle again where the model was downloaded.",
                )


def _is_here(file: BundledFile, target: Path, on_bytes: OnBytes) -> bool:
    """Whether a file is here already, by its bytes; a damaged copy of the same is none.

    Raises:
        FileError: Another file is in its place.
    """
    note = read_sidecar(target)
    if not target.exists() and note is None:
        return False
    with copy_errors(target):
        as_long = target.is_file() and target.stat().st_size == file.size_bytes
    # Stopped before its note was written, it has none.
    if as_long and file_sha256(target, on_bytes) == file.sha256:
        on_bytes(file.size_bytes)
        return True
    if not target.exists() or (note is not None and note.sha256 == file.sha256):
        return False
    raise _occupied(target)


def _occupied(target: Path) -> FileError:
    return FileError(
        f"another file is here in its place, {target}.",
        "What is here is never replaced.",
        "Delete it first, with `localr1 rm` where it was downloaded; then import again.",
    )


def _named(error: FileError, file: BundledFile, root: Path) -> FileError:
    """The part that is damaged, where it is one."""
    for part in file.parts:
        path = root / part.name
        try:
            check_part(part, path, lambda _: None)
        except FileError as bad:
            return bad
    return error
