"""Server-sent events, read from bytes within limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

MOST_LINE_BYTES: Final = 1 << 20
MOST_STREAM_BYTES: Final = 256 << 20
"""More than any reply: a chunk of a few hundred bytes for each of some 100,000 tokens."""


class TooMuch(Exception):
    """The stream does not end, or one line of it does not."""


class EventReader:
    """Collects the data of events (WHATWG HTML, 9.2.6, as far as these servers use it)."""

    def __init__(self) -> None:
        self._rest = b""
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take more bytes; yields the data of each event that is complete.

        Raises:
            TooMuch: There is no end to it.
        """
        self._size_bytes += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._size_bytes > MOST_STREAM_BYTES or len(self._rest) > MOST_LINE_BYTES:
            raise TooMuch
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            if name == b"data":
                yield value.removeprefix(b" ").decode("utf-8", "replace")
