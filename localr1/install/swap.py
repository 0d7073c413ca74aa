"""One build in the place of another, so that a crash at any moment leaves one of them whole.

The new build is installed into a folder of its own beside the old one. Then a list of all files
that change is written, the old files are moved away, and the new ones in. As long as that list is
there the old build can be put back, also by a later start; taking it away is what makes the new
one stay.
"""

from __future__ import annotations

import csv
import json
import shutil
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Final

from localr1.errors import FileError
from localr1.models.place import disk_errors

FOLDER: Final = ".localr1-engine"
"""In the folder of packages, as long as a build is being put in place."""
_PACKAGE: Final = "llama-cpp-python"
_OWN_FOLDER: Final = "llama_cpp"
"""Nothing but the engine is in there, whatever its list of files says."""


@dataclass(frozen=True)
class Site:
    """A folder of installed packages."""

    folder: Path

    @classmethod
    def current(cls) -> Site:
        """Where the engine is, or would be."""
        try:
            found = metadata.distribution(_PACKAGE)
        except metadata.PackageNotFoundError:
            return cls(Path(sysconfig.get_path("platlib")))
        return cls(Path(str(found.locate_file(""))))

    @property
    def work(self) -> Path:
        """Our folder in it."""
        return self.folder / FOLDER

    @property
    def new(self) -> Path:
        """Where the new build is installed first."""
        return self.work / "new"

    @property
    def _old(self) -> Path:
        return self.work / "old"

    @property
    def _list(self) -> Path:
        return self.work / "files.json"

    def prepare(self) -> None:
        """Make room for a new build; one that was left half done is put right before.

        Raises:
            FileError: The folder of packages cannot be written.
        """
        self.recover()
        with disk_errors(self.work):
            self.new.mkdir(parents=True)

    def recover(self) -> bool:
        """Put right what an interrupted change left; tell whether there was one.

        Raises:
            FileError: The folder of packages cannot be written.
        """
        if not self.work.is_dir():
            return False
        with disk_errors(self.work):
            self._put_back()
            shutil.rmtree(self.work)
        return True

    def put_in(self) -> None:
        """Move the old build away and the new one in; `keep` or `recover` ends it.

        Raises:
            FileError: Something cannot be moved; the old build is back in its place.
        """
        names = _distributions(self.new)
        new = {file for name in names for file in _installed(self.new, name)}
        old = {file for name in names for file in _installed(self.folder, name)}
        with disk_errors(self.work):
            _write(self._list, {"new": sorted(new), "old": sorted(old)})
        try:
            with _moving(self.folder):
                for file in sorted(old):
                    _move(self.folder / file, self._old / file)
                for file in sorted(new):
                    _move(self.new / file, self.folder / file)
        except FileError:
            self.recover()
            raise

    def keep(self) -> None:
        """The new build stays; what is left of the old one goes.

        Raises:
            FileError: The folder cannot be written.
        """
        with disk_errors(self.work):
            self._list.unlink()
            old = [self.folder / file for file in _files(self._old)]
            shutil.rmtree(self.work)
            _remove_empty(self.folder, old)

    def _put_back(self) -> None:
        try:
            listed = json.loads(self._list.read_text(encoding="utf-8"))
            new, old = set(listed["new"]), set(listed["old"])
        except FileNotFoundError:
            return
        moved_away = _files(self._old)
        # A new file is in place unless the old one of its name still is.
        mine = [self.folder / file for file in new if file not in old or file in moved_away]
        for path in mine:
            path.unlink(missing_ok=True)
        for file in sorted(moved_away):
            _move(self._old / file, self.folder / file)
        self._list.unlink()
        _remove_empty(self.folder, mine)


@contextmanager
def _moving(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"The engine in {folder} cannot be replaced.",
            error.strerror or str(error),
            "Close every other localr1, and try again.",
        ) from error


def _distributions(folder: Path) -> list[str]:
    return [one.name for one in metadata.distributions(path=[str(folder)])]


def _installed(folder: Path, name: str) -> set[str]:
    """Return the files of an installed package, relative to its folder; empty for none."""
    files: set[str] = set()
    for found in metadata.distributions(name=name, path=[str(folder)]):
        for row in csv.reader((found.read_text("RECORD") or "").splitlines()):
            if row and not PurePosixPath(row[0]).is_absolute() and ".." not in row[0].split("/"):
                files.add(row[0])
        about = f"{found.name.replace('-', '_')}-{found.version}.dist-info"
        files |= {f"{about}/{file}" for file in _files(folder / about)}
    if name.replace("_", "-").lower() == _PACKAGE:
        files |= {f"{_OWN_FOLDER}/{file}" for file in _files(folder / _OWN_FOLDER)}
    return {file for file in files if (folder / file).is_file()}


def _files(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in paths}


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _write(path: Path, value: object) -> None:
    half = path.with_suffix(".part")
    half.write_text(json.dumps(value), encoding="utf-8")
    half.replace(path)


def _remove_empty(folder: Path, files: Iterable[Path]) -> None:
    """Remove the folders that held files, as far as they are empty now."""
    parents = {parent for path in files for parent in path.parents if folder in parent.parents}
    for parent in sorted(parents, key=lambda path: -len(path.parts)):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
