"""Fetching the beginning of files, as much of it as their headers need."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from localr1.errors import GgufError
from localr1.gguf import header
from localr1.gguf.types import Header
from localr1.models.hub import RemoteFile, saved_token
from localr1.models.patience import Patience
from localr1.models.transfer import RetryError, Source, http_client

_FIRST_BYTES: Final = 1 << 16
_SECOND_BYTES: Final = 1 << 20
_MOST_BYTES: Final = 64 << 20
"""More than any header has: the largest vocabularies take a quarter of it."""
_CONNECTIONS: Final = 4
_TRIES: Final = 3


async def fetched(
    files: Sequence[RemoteFile], token: str | None, patience: Patience
) -> list[Header]:
    """The headers of files, in their order.

    Args:
        files: From the hub's listing.
        token: As for `download`.
        patience: Time limits; three tries in a row without progress are enough here.

    Raises:
        LocalR1Error: The server's refusal, or what is wrong with a header.
    """
    secret = saved_token() if token is None else token
    async with http_client(_CONNECTIONS, patience) as client:
        queue = asyncio.Semaphore(_CONNECTIONS)

        async def one(file: RemoteFile) -> Header:
            async with queue:
                return await _header(Source(client, file, secret, ""), patience)

        return list(await asyncio.gather(*(one(file) for file in files)))


class _Prefix:
    """The beginning of a file, as a stream."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0
        self.ended = False
        """Whether more was asked for than is here."""

    def seek(self, offset: int, /) -> None:
        self._position = offset

    def read(self, size: int, /) -> bytes:
        data = self._data[self._position : self._position + size]
        self._position += len(data)
        self.ended = self.ended or len(data) < size
        return data


async def _header(source: Source, patience: Patience) -> Header:
    size = source.file.size_bytes
    label = f"{source.file.repository}/{source.file.path}"
    data, wanted, failures = bytearray(), min(_FIRST_BYTES, size), 0
    while True:
        try:
            while len(data) < wanted:
                await _extend(data, source, wanted)
                failures = 0
        except RetryError as error:
            failures += 1
            if failures >= _TRIES:
                raise error.error from error
            await asyncio.sleep(patience.wait_seconds(failures, error.wait_seconds))
            continue
        stream = _Prefix(bytes(data))
        try:
            return await asyncio.to_thread(
                header.read_stream, stream, size, label=label, header_only=True
            )
        except GgufError:
            # More of it may mend that, if it is a GGUF file at all.
            longest = min(_MOST_BYTES, size)
            if not (stream.ended and data.startswith(b"GGUF") and len(data) < longest):
                raise
            wanted = min(max(2 * len(data), _SECOND_BYTES), longest)


async def _extend(data: bytearray, source: Source, wanted: int) -> None:
    """Fetch more of the beginning, as much as one answer gives."""
    async with source.open(len(data), wanted) as reply:
        if not reply.ranged:
            data.clear()
        before = len(data)
        async for chunk in reply.chunks:
            data += chunk[: wanted - len(data)]
            if len(data) >= wanted:
                return
        if len(data) == before or not reply.ranged:
            raise source.short(reply, wanted - len(data))
