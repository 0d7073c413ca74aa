"""Reading an untrusted binary file forward, in windows, each step checked against its length."""

from __future__ import annotations

import struct
from typing import NoReturn, Protocol

from localr1.errors import GgufError

# Limits against hostile files, so that a header takes less than a second and 200 MB: a 671B model
# has 130 thousand tokens and 10 MB of header, the largest vocabularies 800 thousand strings.
MAX_TEXT_BYTES = 16 * 2**20
"""All the text that is kept from one header; in memory it may take four times as much."""
MAX_KEPT_ELEMENTS = 2**19
"""All the elements of arrays that are kept from one header."""
_MAX_ARRAY_STRINGS = 2**21
_WINDOW_BYTES = 2**20

LENGTH = struct.Struct("<Q")
"""How lengths and counts are stored."""
_NUMBER = struct.Struct("<I")


class ByteSource(Protocol):
    """What a header can be read from: a file, or ranges of one over the network."""

    def seek(self, offset: int, /) -> object:
        """Go to `offset` bytes from the start."""

    def read(self, size: int, /) -> bytes | None:
        """Up to `size` bytes from there; empty at the end."""


class Reader:
    """Reads forward through a stream.

    Args:
        stream: Positioned anywhere; only `seek` and `read` are used.
        file_bytes: The true length of what the stream reads.
        label: How errors call the file.
    """

    def __init__(self, stream: ByteSource, file_bytes: int, label: str) -> None:
        self._stream = stream
        self._file_bytes = file_bytes
        self._label = label
        self._window = b""
        self._window_start = 0
        self._text_left = MAX_TEXT_BYTES
        self._strings_left = _MAX_ARRAY_STRINGS
        self._elements_left = MAX_KEPT_ELEMENTS
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes from here to the end of the file."""
        return self._file_bytes - self.position

    def fail(self, why: str) -> NoReturn:
        """Raise `GgufError` with the reason."""
        raise GgufError(
            f"{self._label} is not a usable GGUF file.",
            f"The file is damaged or cut short: {why}.",
            "Download it again, or choose another file.",
        )

    def take(self, count: int, part: str) -> bytes:
        """The next `count` bytes."""
        start = self._reach(count, part)
        self.position += count
        return self._window[start : start + count]

    def skip(self, count: int, part: str) -> None:
        """Pass over `count` bytes without reading them."""
        if count > self.left:
            self._ends_inside(part)
        self.position += count

    def number(self, part: str) -> int:
        """An unsigned 32-bit number."""
        return int(_NUMBER.unpack(self.take(4, part))[0])

    def length(self, part: str) -> int:
        """An unsigned 64-bit number."""
        return int(LENGTH.unpack(self.take(8, part))[0])

    def text(self, part: str, longest: int = MAX_TEXT_BYTES) -> str:
        """A string; bytes that are not UTF-8 become the replacement character."""
        size = self.length(part)
        if size > self.left:
            self._ends_inside(part)
        if size > longest or size > self._text_left:
            self.fail(f"{part} is {size} bytes long")
        self._text_left -= size
        return self.take(size, part).decode("utf-8", errors="replace")

    def spend_strings(self, count: int, part: str) -> None:
        """Count `count` array strings against the limit for one file."""
        self._strings_left -= count
        if self._strings_left < 0:
            self.fail(f"{part} has {count} strings, more than any vocabulary")

    def spend_elements(self, count: int, part: str) -> None:
        """Count `count` kept array elements against the limit for one file."""
        self._elements_left -= count
        if self._elements_left < 0:
            self.fail(f"{part} has {count} elements, and with the others too many to keep")

    def skip_strings(self, count: int, part: str) -> None:
        """Pass over `count` strings; 150 thousand tokens take some 30 ms."""
        unpack = LENGTH.unpack_from
        at = self.position - self._window_start
        for _ in range(count):
            if at < 0 or at + 8 > len(self._window):
                self.position = self._window_start + at
                at = self._reach(8, part)
            at += 8 + unpack(self._window, at)[0]
        self.position = self._window_start + at
        if self.left < 0:
            self.position = self._file_bytes
            self._ends_inside(part)

    def _reach(self, count: int, part: str) -> int:
        """Make the next `count` bytes part of the window; where in it they start."""
        if count > self.left:
            self._ends_inside(part)
        start = self.position - self._window_start
        if start < 0 or start + count > len(self._window):
            self._stream.seek(self.position)
            wanted = min(max(count, _WINDOW_BYTES), self.left)
            chunks = []
            # An unbuffered stream may give less than asked for.
            while wanted > 0 and (chunk := self._stream.read(wanted)):
                chunks.append(chunk)
                wanted -= len(chunk)
            self._window = b"".join(chunks)
            self._window_start, start = self.position, 0
            if len(self._window) < count:
                self._ends_inside(part)
        return start

    def _ends_inside(self, part: str) -> NoReturn:
        self.fail(f"it ends after {self._file_bytes} bytes, inside {part}")
