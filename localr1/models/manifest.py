"""What a bundle holds, as its manifest says; read from a disk that anybody may have written to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from localr1 import __version__
from localr1.config import write_atomically
from localr1.errors import DiskFull, FileError, LocalR1Error
from localr1.models.copying import OnBytes, copy_errors, file_sha256

FOLDER_NAME: Final = "localr1-bundle"
MANIFEST_NAME: Final = "manifest.json"
PART_BYTES: Final = (4 << 30) - (1 << 20)
"""The largest file in a bundle: FAT32 ends one byte below 4 GiB."""

_SCHEMA: Final = 1
_MOST_MANIFEST_BYTES: Final = 16 << 20
_MOST_BYTES: Final = 1 << 60
# Names that every file system takes, and that lead nowhere else.
_NAME: Final = re.compile(r"[\w(-][\w.()+ -]*(?<! )")
_REPOSITORY: Final = re.compile(r"\w[\w.+-]*/\w[\w.+() -]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Part:
    """A file in the bundle."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class BundledFile:
    """A model file, in one part or several."""

    path: str
    """In its repository."""
    size_bytes: int
    sha256: str
    revision: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class BundledModel:
    """A model in the bundle."""

    name: str
    """For people: `r1-distill-qwen-7b:Q4_K_M`."""
    repository: str
    files: tuple[BundledFile, ...]

    @property
    def size_bytes(self) -> int:
        """All its files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def digests(self) -> list[str]:
        """The sha256 of each file."""
        return [file.sha256 for file in self.files]

    @property
    def parts(self) -> list[Part]:
        """Of all its files."""
        return [part for file in self.files for part in file.parts]


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds."""

    models: tuple[BundledModel, ...] = ()
    extras: tuple[Part, ...] = ()
    """Texts: settings and catalogue files."""
    split_bytes: int = PART_BYTES
    version: str = field(default=__version__)


def read_manifest(folder: Path) -> Manifest | None:
    """What a bundle holds; None where there is no bundle.

    Args:
        folder: The folder that the user named.

    Raises:
        FileError: It cannot be read, or is damaged.
    """
    path = folder / FOLDER_NAME / MANIFEST_NAME
    advice = "Delete this file, then run `localr1 bundle export` to that disk again."
    with copy_errors(path):
        if not path.is_file():
            return None
        if path.stat().st_size > _MOST_MANIFEST_BYTES:
            raise damaged(path, "It is too long.", advice)
        text = path.read_bytes()
    try:
        return _parsed(json.loads(text))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}"[:200], advice) from error


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest of a bundle, in one step.

    Raises:
        FileError: It cannot be written.
    """
    data = {"schema": _SCHEMA, **asdict(manifest)}
    write_readable(root / MANIFEST_NAME, json.dumps(data, indent=1) + "\n")


def write_readable(path: Path, text: str) -> None:
    """Write a file of a bundle, in one step; others may read it, as they may the models.

    Raises:
        FileError: It cannot be written.
    """
    write_atomically(path, text)
    if os.name != "nt":
        mask = os.umask(0o022)
        os.umask(mask)
        # FAT has no such rights, and some systems say so.
        with suppress(OSError):
            path.chmod(0o644 & ~mask)


def damaged(
    path: Path, why: str, advice: str = "Run `localr1 bundle export` to that disk again."
) -> FileError:
    """The error for a bundle's file that is not what it was."""
    return FileError(f"{path} is damaged.", why, advice)


def check_plain(path: Path, size_bytes: int) -> None:
    """Make sure that a file of a bundle is there, is a plain one, and has its length.

    Raises:
        FileError: It is not so.
    """
    if not path.exists():
        raise damaged(path, "It is missing.")
    if not path.is_file():
        raise damaged(path, "It is not a plain file.")
    with copy_errors(path):
        size = path.stat().st_size
    if size != size_bytes:
        raise damaged(path, "It is cut short." if size < size_bytes else "It is too long.")


def check_part(part: Part, path: Path, on_bytes: OnBytes) -> None:
    """Make sure, by reading it, that a file of a bundle is what its manifest says.

    Raises:
        FileError: It is not.
    """
    check_plain(path, part.size_bytes)
    if file_sha256(path, on_bytes) != part.sha256:
        raise damaged(path, "Its checksum is wrong.")


@contextmanager
def refusing(refused: list[LocalR1Error], before: str = "") -> Iterator[None]:
    """Let one model fail alone; a full disk is the same for all."""
    try:
        yield
    except DiskFull:
        raise
    except LocalR1Error as error:
        refused.append(type(error)(before + error.what, error.why, error.todo))


def _parsed(data: dict[str, Any]) -> Manifest:
    if data["schema"] != _SCHEMA:
        raise ValueError(f"schema {data['schema']!r:.20} is not known")
    return Manifest(
        models=tuple(_model(entry) for entry in data["models"]),
        extras=tuple(_part(entry) for entry in data["extras"]),
        split_bytes=_bytes(data["split_bytes"]),
        version=str(data["version"]),
    )


def _model(entry: dict[str, Any]) -> BundledModel:
    files = tuple(_file(one) for one in entry["files"])
    repository = str(entry["repository"])
    if not files or not _REPOSITORY.fullmatch(repository):
        raise ValueError(f"{repository!r:.60} is no repository")
    return BundledModel(str(entry["name"]), repository, files)


def _file(entry: dict[str, Any]) -> BundledFile:
    parts = tuple(_part(one) for one in entry["parts"])
    path, size = str(entry["path"]), _bytes(entry["size_bytes"])
    if ".." in path.split("/") or not path.lower().endswith(".gguf"):
        raise ValueError(f"{path!r:.60} is no model file")
    if sum(part.size_bytes for part in parts) != size:
        raise ValueError(f"the parts of {path!r:.60} are not as long as it is")
    return BundledFile(path, size, _sha256(entry), str(entry["revision"]), parts)


def _part(entry: dict[str, Any]) -> Part:
    name, size = str(entry["name"]), _bytes(entry["size_bytes"])
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r:.60} is no file of a bundle")
    return Part(name, size, _sha256(entry))


def _bytes(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_BYTES:
        raise ValueError(f"{str(value)[:40]} is no number of bytes")
    return value


def _sha256(entry: dict[str, Any]) -> str:
    value = str(entry["sha256"])
    if not _SHA256.fullmatch(value):
        raise ValueError(f"{value!r:.60} is no sha256")
    return value
