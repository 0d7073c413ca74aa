"""Where downloads lie on the disk, and the note kept beside each finished file.

A file `folder/name.gguf` of `owner/repository` becomes
`<models>/owner--repository/folder--name.gguf`. Shards of one variant stay in one folder, as
llama.cpp wants them. Beside it: `.json` once it is complete (`Sidecar`), and while it is
being fetched `.part`, `.part.journal` and `.part.lock`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from localr1.config import write_atomically
from localr1.errors import DiskFull, DownloadError, FileError

_SCHEMA = 1
# Characters that some file system refuses in a name; Windows has the longest list.
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_REFUSED = re.compile(r'[<>:"\\|?*\x00-\x1f]')
_NO_SPACE = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
# ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL, should Python not have mapped them to ENOSPC.
_NO_SPACE_WINDOWS = frozenset({39, 112})
_NO_FILE = "It is a pipe, a device or a folder, not a file."


@dataclass(frozen=True)
class Sidecar:
    """What is known about a finished file; `<file>.json` beside it."""

    repository: str
    path: str
    """Inside the repository."""
    revision: str
    """The commit it came from."""
    size_bytes: int
    sha256: str
    """Of the bytes on the disk, as verified when the download finished."""
    modified_ns: int
    """The file's modification time when it was last known to be sound; 0 for never."""
    unit: tuple[tuple[str, int], ...]
    """Every file of the variant, shards in order: path in the repository and size."""


def target_path(directory: Path, repository: str, path: str) -> Path:
    """Where a file of a repository belongs.

    Args:
        directory: The folder of downloads.
        repository: `owner/name`.
        path: Inside the repository, with `/`.

    Raises:
        DownloadError: The names cannot be used as a file name.
    """
    folder = _REFUSED.sub("_", repository.replace("/", "--"))
    name = _REFUSED.sub("_", path.replace("/", "--"))
    if not folder.strip(". ") or not name.strip(". "):
        raise DownloadError(
            f"{repository}/{path} cannot be stored.", "The name is not usable as a file name."
        )
    return directory / folder / name


def part_path(target: Path) -> Path:
    """The file being filled."""
    return target.with_name(target.name + ".part")


def journal_path(target: Path) -> Path:
    """The record of what the part file holds."""
    return target.with_name(target.name + ".part.journal")


def lock_path(target: Path) -> Path:
    """The lock of whoever fetches the file."""
    return target.with_name(target.name + ".part.lock")


def sidecar_path(target: Path) -> Path:
    """The note beside a finished file."""
    return target.with_name(target.name + ".json")


def read_sidecar(target: Path) -> Sidecar | None:
    """The note beside a file; None where there is none or it is damaged."""
    try:
        data = json.loads(read_whole(sidecar_path(target)))
        if data["schema"] != _SCHEMA:
            return None
        return Sidecar(
            repository=str(data["repository"]),
            path=str(data["path"]),
            revision=str(data["revision"]),
            size_bytes=int(data["size_bytes"]),
            sha256=str(data["sha256"]),
            modified_ns=int(data["modified_ns"]),
            unit=tuple((str(path), int(size)) for path, size in data["unit"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_sidecar(target: Path, sidecar: Sidecar) -> None:
    """Write the note beside a finished file.

    Raises:
        FileError: It cannot be written.
    """
    data = {"schema": _SCHEMA, **asdict(sidecar)}
    write_atomically(sidecar_path(target), json.dumps(data, indent=1) + "\n")


def opened(path: Path, mode: str) -> FileIO:
    """Open a file, unbuffered; what is none, such as a pipe, is refused and never waited for.

    Args:
        path: The file.
        mode: As of `open`.

    Raises:
        OSError: It cannot be opened, or is no file.
    """
    return FileIO(path, mode, opener=_file_only)


def read_whole(path: Path) -> bytes:
    """All bytes of a small file.

    Raises:
        OSError: It cannot be read, or is no file.
    """
    with opened(path, "r") as file:
        return file.readall()


def write_all(file: FileIO, data: bytes | bytearray | memoryview) -> None:
    """Write every byte, however many the system takes at once.

    Raises:
        OSError: The disk refuses.
    """
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _file_only(path: str, flags: int) -> int:
    # Only pipes and devices know the difference; the system's own errors are better otherwise.
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise OSError(errno.EINVAL, _NO_FILE, path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, _NO_FILE, path)
    return descriptor


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network and FUSE file systems cannot, and say so.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Room left on the disk that holds a path, which need not exist yet.

    Raises:
        FileError: The system does not say.
    """
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError as error:
        raise FileError(
            f"The free space of {place} cannot be read.", error.strerror or str(error)
        ) from error


def size_text(size_bytes: int) -> str:
    """A size for people: `4.7 GB` (10^9 bytes), `310 MB`, `12 kB`."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    if size_bytes >= 1e6:
        return f"{size_bytes / 1e6:.0f} MB"
    return f"{size_bytes / 1e3:.0f} kB" if size_bytes >= 1e3 else f"{size_bytes} bytes"


@dataclass(frozen=True)
class Advice:
    """What to do where a disk refuses; it depends on what was being written."""

    full: str
    refused: str


DOWNLOADING: Final = Advice(
    "Free some space, or set `models_directory` in settings.toml to another disk; "
    "what has been downloaded stays, and the download goes on from there.",
    "Check the folder's permissions, or set `models_directory` in settings.toml.",
)
COPYING: Final = Advice(
    "Free some space there, or choose another disk; the same command goes on with what it has"
    " copied.",
    "Check the permissions of this file and of its folder, or choose another folder.",
)


def disk_full(
    directory: Path,
    needed_bytes: int,
    available_bytes: int,
    spare_bytes: int = 0,
    advice: Advice = DOWNLOADING,
) -> DiskFull:
    """The error for a disk without room, with the numbers."""
    spare = f"; {size_text(spare_bytes)} must stay free besides" if spare_bytes else ""
    return DiskFull(
        f"Not enough room on the disk of {directory}.",
        f"{size_text(needed_bytes)} more are needed and {size_text(available_bytes)} are free{spare}.",
        advice.full,
    )


@contextmanager
def disk_errors(path: Path, needed_bytes: int = 0, advice: Advice = DOWNLOADING) -> Iterator[None]:
    """Translate the system's file errors.

    Args:
        path: The file being worked on.
        needed_bytes: What is still to be written to it.
        advice: What to do where the disk refuses.

    Raises:
        DiskFull: There is no room left, or the user's quota is used up.
        FileError: Anything else: permissions, a read-only disk, a file too large for it.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        windows = getattr(error, "winerror", None)
        if error.errno in _NO_SPACE or windows in _NO_SPACE_WINDOWS:
            try:
                available = free_bytes(path.parent)
            except FileError:
                available = 0
            raise disk_full(path.parent, needed_bytes, available, advice=advice) from error
        if error.errno == errno.EFBIG:
            raise FileError(
                f"{path} is too large for this disk.",
                reason,
                "FAT32 ends at 4 GiB a file: use a disk formatted as exFAT, NTFS, APFS or ext4.",
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise FileError(
                f"{path.name} is too long a name for this disk.",
                reason,
                "Give the file a shorter name, then try again.",
            ) from error
        if reason == _NO_FILE:
            named = error.filename or path
            raise FileError(
                f"{named} cannot be used.", reason, "Remove it, then try again."
            ) from error
        raise FileError(
            f"{path} cannot be read or written.",
            reason,
            advice.refused,
        ) from error
