"""What headers said, kept in the cache folder: a file is read again only when it has changed.

A header of a current model takes some 50 ms to read, a hundred of them five seconds; looked up
by path, size and modification time they take a few milliseconds together.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from localr1 import __version__
from localr1.config import ensure, write_atomically
from localr1.errors import FileError, GgufError, LocalR1Error, UnsupportedArchitecture
from localr1.gguf import header
from localr1.gguf.file import recognise, shard_paths
from localr1.gguf.types import Architecture, GgufFile
from localr1.models import choice
from localr1.models.place import opened, read_whole

CACHE_NAME: Final = "headers.json"
# Another release may judge a header in another way.
_SCHEMA: Final = f"2 {__version__}"
_KEPT: Final = 2_000
_LONGEST_TEMPLATE: Final = 1 << 18
"""A file with a longer one is read each time: the cache must stay small."""

# Two fine-tunes may share a header and a size, but hardly a weight.
_SAMPLES: Final = 8
_SAMPLE_BYTES: Final = 4096

State = Literal["complete", "incomplete", "damaged", "unsupported"]


@dataclass(frozen=True)
class Reading:
    """What one file, with its shards, turned out to be."""

    path: Path
    state: State
    gguf: GgufFile | None = None
    """None where the header is of no use."""
    r1: bool = False
    """Whether it is of the R1 family, by its header."""
    digest: str = ""
    """Of the header's bytes, the size and some samples: equal for copies of one file."""
    why: str = ""
    """What is wrong with it, in one sentence; empty for a complete file."""
    name: str = ""
    """What another program calls it; empty where that is the file's name."""


class HeaderCache:
    """Readings by path; `save` keeps what is new.

    Args:
        folder: The cache folder; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / CACHE_NAME if folder is not None else None
        self._entries: dict[str, dict[str, Any]] | None = None
        self._changed = False

    def read(self, path: Path, name: str = "") -> Reading:
        """What a file is; never raises for what is wrong with the file itself.

        Args:
            path: The file, or its first shard.
            name: What the program that has it calls it.
        """
        key = str(path)
        stamp = _stamp(path)
        known = self._known.get(key)
        if known is not None and stamp is not None and known.get("stamp") == stamp:
            reading = _from_entry(path, known)
            if reading is not None and name in {"", reading.name}:
                return reading
        reading = replace(examine(path), name=name)
        long = reading.gguf is not None and len(reading.gguf.chat_template) > _LONGEST_TEMPLATE
        if stamp is not None and not long:
            self._known.pop(key, None)
            self._known[key] = {"stamp": stamp, **_entry(reading)}
            self._changed = True
        return reading

    def recall(self) -> tuple[Reading, ...]:
        """Every reading of a file that is still as it was when it was read."""
        readings = []
        for key, entry in self._known.items():
            path = Path(key)
            if entry.get("state") == "complete" and _stamp(path) == entry.get("stamp"):
                reading = _from_entry(path, entry)
                if reading is not None:
                    readings.append(reading)
        return tuple(readings)

    def save(self) -> None:
        """Keep what is new; a cache that cannot be written is no error."""
        if self._path is None or not self._changed:
            return
        kept = dict(list(self._known.items())[-_KEPT:])
        with contextlib.suppress(FileError):
            ensure(self._path.parent)
            text = json.dumps({"schema": _SCHEMA, "files": kept}, separators=(",", ":"))
            write_atomically(self._path, text + "\n")
            self._changed = False

    @property
    def _known(self) -> dict[str, dict[str, Any]]:
        if self._entries is None:
            self._entries = self._load()
        return self._entries

    def _load(self) -> dict[str, dict[str, Any]]:
        if self._path is None:
            return {}
        try:
            data = json.loads(read_whole(self._path))
            if data["schema"] != _SCHEMA:
                return {}
            return {str(key): dict(entry) for key, entry in data["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


def examine(path: Path) -> Reading:
    """Read a file's header, and its shards', from the disk."""
    try:
        gguf = recognise(path)
    except UnsupportedArchitecture as error:
        return Reading(path, "unsupported", why=error.why)
    except LocalR1Error as error:
        return _unusable(path, error)
    try:
        r1 = choice.from_file(gguf, (), ()).model.own_format is None
        return Reading(path, "complete", gguf, r1, _digest(gguf))
    except LocalR1Error as error:
        return _unusable(path, error)


def _unusable(path: Path, error: LocalR1Error) -> Reading:
    """Damaged, or only incomplete: then its header, where it is whole, says of what."""
    why = f"{error.what} {error.why}".strip()
    try:
        gguf = recognise(path, header_only=True)
        r1 = choice.from_file(gguf, (), ()).model.own_format is None
    except GgufError:
        missing = any(not shard.exists() for shard in shard_paths(path))
        return Reading(path, "incomplete" if missing else "damaged", why=why)
    except LocalR1Error:
        return Reading(path, "incomplete", why=why)
    return Reading(path, "incomplete", gguf, r1, why=why)


def _digest(gguf: GgufFile) -> str:
    size = header.read(gguf.path, header_only=True).data_offset_bytes
    try:
        with opened(gguf.path, "r") as file:
            digest = hashlib.sha256(file.read(min(size, gguf.size_bytes)))
        for path in shard_paths(gguf.path):
            with opened(path, "r") as file:
                last = max(0, os.fstat(file.fileno()).st_size - _SAMPLE_BYTES)
                for number in range(_SAMPLES):
                    file.seek(last * number // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise FileError(f"{gguf.path} cannot be read.", error.strerror or str(error)) from error
    digest.update(str(gguf.size_bytes).encode())
    return digest.hexdigest()


def _stamp(path: Path) -> list[list[int]] | None:
    """Size and time of every shard; None where one is missing."""
    stamp = []
    try:
        for shard in shard_paths(path):
            facts = shard.stat()
            stamp.append([facts.st_size, facts.st_mtime_ns])
    except (OSError, ValueError):
        return None
    return stamp


def _entry(reading: Reading) -> dict[str, Any]:
    gguf = reading.gguf
    entry: dict[str, Any] = {
        "state": reading.state,
        "r1": reading.r1,
        "digest": reading.digest,
        "why": reading.why,
        "name": reading.name,
    }
    if gguf is not None:
        entry["gguf"] = {**asdict(gguf), "path": str(gguf.path)}
    return entry


def _from_entry(path: Path, entry: Mapping[str, Any]) -> Reading | None:
    """A kept reading; None where the cache is damaged or of another release."""
    try:
        gguf = None
        if "gguf" in entry:
            values = dict(entry["gguf"])
            shape = Architecture(**values.pop("architecture"))
            gguf = GgufFile(architecture=shape, **{**values, "path": Path(values["path"])})
            texts = (gguf.name, gguf.quantization, gguf.chat_template)
            if not all(isinstance(text, str) for text in texts) or not all(
                isinstance(getattr(shape, f.name), int | str) for f in fields(shape)
            ):
                return None
        state = entry["state"]
        if state not in get_args(State) or (state == "complete" and gguf is None):
            return None
        return Reading(
            path,
            state,
            gguf,
            bool(entry["r1"]),
            str(entry["digest"]),
            str(entry["why"]),
            str(entry["name"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
