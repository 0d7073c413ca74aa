"""What localr1 remembers of model files: imports, checksums, uses, and folders moved to.

One small file in the data folder. A damaged one is set aside; nothing in it is needed to use a
model, but for imports, which can be made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Final, Literal

from localr1.config import ensure, write_atomically
from localr1.errors import FileError
from localr1.models.lock import held_now
from localr1.models.place import read_whole

RECORDS_NAME: Final = "library.json"
_SCHEMA: Final = 1

COPIED: Final = "when it was copied"
"""The authority for a file that we copied from one of which nobody said what it should be."""

Standing = Literal["proven", "unknown", "altered"]


@dataclass(frozen=True)
class FileRecord:
    """One file, by its path."""

    sha256: str = ""
    """As computed here; empty where it never was."""
    size_bytes: int = 0
    """When the checksum was computed."""
    modified_ns: int = 0
    """The file's modification time then."""
    verified_seconds: float = 0.0
    """When it was last found to be what somebody else says it is, in seconds since 1970; 0 for never."""
    altered_ns: int = 0
    """The file's modification time when it was last found not to be; 0 for never."""
    last_used_seconds: float = 0.0
    generation_tps: float = 0.0
    """As last measured here; 0 where it never was."""
    imported: bool = False
    """Whether the user imported it where it lies."""
    authority: str = ""
    """Who said what its checksum is, where that was not the hub; `COPIED` is nobody."""


@dataclass(frozen=True)
class Recorded:
    """Everything in the file."""

    folders: tuple[Path, ...] = ()
    """Folders to which downloads were moved."""
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    def of(self, path: Path) -> FileRecord:
        """What is known of a file by this name."""
        return self.files.get(str(path), FileRecord())

    def checked(self, path: Path) -> FileRecord:
        """What is known of its bytes, which are the same by every name that a link gives it."""
        return self.of(real(path))


def real(path: Path) -> Path:
    """Where the bytes of a file are, through every link."""
    with suppress(OSError, RuntimeError):
        return path.resolve()
    return path


def standing(record: FileRecord, facts: os.stat_result) -> Standing:
    """What a file's last check says of it, as long as the file has not changed since.

    Args:
        record: What is remembered of the file.
        facts: Its size and time now.
    """
    if record.altered_ns and record.altered_ns == facts.st_mtime_ns:
        return "altered"
    same = (facts.st_size, facts.st_mtime_ns) == (record.size_bytes, record.modified_ns)
    return "proven" if record.verified_seconds and same else "unknown"


class Records:
    """Reads and changes what is remembered.

    Args:
        folder: The data folder; None remembers nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / RECORDS_NAME if folder is not None else None
        self._known: tuple[tuple[int, int, int], Recorded] | None = None

    def read(self) -> Recorded:
        """What is remembered now; the file is parsed again only where it is another one."""
        if self._path is None:
            return Recorded()
        try:
            facts = self._path.stat()
            stamp = facts.st_ino, facts.st_mtime_ns, facts.st_size
            if self._known is None or self._known[0] != stamp:
                self._known = stamp, _parsed(json.loads(read_whole(self._path)))
            return self._known[1]
        except OSError:
            return Recorded()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            with suppress(OSError):
                self._path.replace(self._path.with_name(self._path.name + ".damaged"))
            return Recorded()

    def note(self, path: Path, **changes: str | float | bool) -> None:
        """Change what is remembered of a file.

        Args:
            path: The file.
            **changes: Fields of `FileRecord`.

        Raises:
            FileError: It cannot be written.
        """

        def change(known: Recorded) -> Recorded:
            record = replace(known.of(path), **changes)  # type: ignore[arg-type]  # by field
            return replace(known, files={**known.files, str(path): record})

        self._change(change)

    def forget(self, *paths: Path) -> None:
        """Remember nothing of these files any more.

        Raises:
            FileError: It cannot be written.
        """
        gone = {str(path) for path in paths}

        def change(known: Recorded) -> Recorded:
            kept = {name: record for name, record in known.files.items() if name not in gone}
            return replace(known, files=kept)

        if gone & self.read().files.keys():
            self._change(change)

    def moved(self, old: Path, new: Path) -> None:
        """A file lies elsewhere now: what is remembered of it goes with it.

        Raises:
            FileError: It cannot be written.
        """

        def change(known: Recorded) -> Recorded:
            files = dict(known.files)
            if str(old) in files:
                files[str(new)] = files.pop(str(old))
            return replace(known, files=files)

        self._change(change)

    def add_folder(self, folder: Path) -> None:
        """Look for our own downloads in this folder too.

        Raises:
            FileError: It cannot be written.
        """

        def change(known: Recorded) -> Recorded:
            return replace(known, folders=tuple(dict.fromkeys((*known.folders, folder))))

        if folder not in self.read().folders:
            self._change(change)

    def drop_folder(self, folder: Path) -> None:
        """Look there no longer, and remember nothing of the files that were there.

        Raises:
            FileError: It cannot be written.
        """

        def change(known: Recorded) -> Recorded:
            folders = tuple(other for other in known.folders if other != folder)
            inside = {name for name in known.files if Path(name).is_relative_to(folder)}
            files = {name: one for name, one in known.files.items() if name not in inside}
            return replace(known, folders=folders, files=files)

        self._change(change)

    def _change(self, change: Callable[[Recorded], Recorded]) -> None:
        if self._path is None:
            return
        ensure(self._path.parent)
        with _alone(self._path):
            known = change(self.read())
            data = {
                "schema": _SCHEMA,
                "folders": [str(folder) for folder in known.folders],
                "files": {name: asdict(record) for name, record in known.files.items()},
            }
            self._known = None  # clocks of file systems are coarse
            write_atomically(self._path, json.dumps(data, indent=1) + "\n")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file between our reading and writing it."""
    try:
        with held_now(path.with_name(path.name + ".lock")):
            yield
    except TimeoutError as error:
        raise FileError(
            f"{path} cannot be written.",
            "Another localr1 has been holding it for a long time.",
            "Close the other one, then try again.",
        ) from error


def _parsed(data: dict[str, object]) -> Recorded:
    if data["schema"] != _SCHEMA:
        raise ValueError(data["schema"])
    folders, files = data["folders"], data["files"]
    if not isinstance(folders, list) or not isinstance(files, dict):
        raise TypeError("not lists of folders and files")
    return Recorded(
        tuple(Path(str(folder)) for folder in folders),
        {str(name): _record(values) for name, values in files.items()},
    )


def _record(values: Mapping[str, object]) -> FileRecord:
    plain = FileRecord()
    kinds = {one.name: type(getattr(plain, one.name)) for one in fields(FileRecord)}
    known = {name: kinds[name](values[name]) for name in kinds if name in values}
    return FileRecord(**known)
