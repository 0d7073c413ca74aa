"""The journal of a partial download: which bytes of the part file can be trusted.

A text file, one record a line: the CRC-32 of the record in hexadecimal, a space, the record
in JSON. The first record says what is being fetched, an `etag` record which version the
server is sending, and each range record `[start, end, crc32]` that those bytes are on the
disk (they were synced before the record was written). A line whose CRC does not match, such
as one cut short by a crash, is skipped: its bytes are fetched again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from localr1.models.place import read_whole

_SCHEMA = 1


@dataclass(frozen=True)
class Content:
    """What a part file is to become."""

    repository: str
    path: str
    """Inside the repository."""
    revision: str
    """The commit it was first asked at."""
    size_bytes: int
    sha256: str | None
    unit: tuple[tuple[str, int], ...]
    """Every file of the variant: path in the repository and size."""

    def same_bytes(self, other: Content) -> bool:
        """Whether both are the same bytes: by hash, else by commit and path."""
        if self.size_bytes != other.size_bytes:
            return False
        if self.sha256 is not None and other.sha256 is not None:
            return self.sha256 == other.sha256
        return (self.repository, self.path, self.revision) == (
            other.repository,
            other.path,
            other.revision,
        )


@dataclass(frozen=True)
class WrittenRange:
    """Bytes `[start, end)` that are on the disk."""

    start: int
    end: int
    crc32: int


@dataclass(frozen=True)
class Journal:
    """Everything readable in a journal."""

    content: Content
    etag: str
    """The entity tag of the server's version; empty where unknown."""
    ranges: tuple[WrittenRange, ...]


def record(value: object) -> bytes:
    """One line of a journal."""
    text = json.dumps(value, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def content_record(content: Content) -> bytes:
    """The first line."""
    return record({"schema": _SCHEMA, **asdict(content)})


def etag_record(etag: str) -> bytes:
    """The line that names the server's version."""
    return record({"etag": etag})


def range_records(ranges: Sequence[WrittenRange]) -> bytes:
    """The lines for ranges that have reached the disk."""
    return b"".join(record([item.start, item.end, item.crc32]) for item in ranges)


def read(path: Path) -> Journal | None:
    """Read a journal; damaged lines are skipped.

    Returns:
        None where the file is missing or does not say what it is for.

    Raises:
        OSError: The file exists but cannot be read.
    """
    try:
        lines = read_whole(path).split(b"\n")
    except FileNotFoundError:
        return None
    content: Content | None = None
    etag = ""
    ranges: list[WrittenRange] = []
    for line in lines:
        value = _value(line)
        if isinstance(value, list):
            item = _range(value)
            if item is not None and content is not None and item.end <= content.size_bytes:
                ranges.append(item)
        elif isinstance(value, dict) and isinstance(value.get("etag"), str):
            etag = value["etag"]
        elif isinstance(value, dict):
            content = _content(value) or content
    return Journal(content, etag, tuple(ranges)) if content is not None else None


def _value(line: bytes) -> object:
    crc, _, text = line.partition(b" ")
    if crc != b"%08x" % zlib.crc32(text):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _range(value: list[object]) -> WrittenRange | None:
    match value:
        case [int(start), int(end), int(crc32)] if 0 <= start < end:
            return WrittenRange(start, end, crc32)
    return None


def _content(value: dict[str, object]) -> Content | None:
    match value:
        case {
            "schema": 1,
            "repository": str(repository),
            "path": str(path),
            "revision": str(revision),
            "size_bytes": int(size_bytes),
            "sha256": str() | None as sha256,
            "unit": list(unit),
        }:
            pairs = tuple((str(name), int(size)) for name, size in unit)
            return Content(repository, path, revision, size_bytes, sha256, pairs)
    return None
