"""Several connections fetching the missing ranges of one file."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from localr1.models.limit import SpeedLimit
from localr1.models.part import PartFile
from localr1.models.patience import Patience
from localr1.models.transfer import RetryError, Source

# One connection keeps at most this much in memory: with 8 of them, and what `part` may not
# have recorded yet, a kill costs less than 16 MiB.
BLOCK_BYTES = 256 << 10
_MIN_SEGMENT_BYTES = 1 << 20
_MAX_SEGMENT_BYTES = 64 << 20
# On a slow line a block is written before it is full, so that little is lost and the progress
# moves.
_BLOCK_SECONDS = 1.0
# A connection that gets less than this share of what each had so far is opened anew: one host of
# many may drip, and would hold the last piece for ever.
_DRIPPING_SHARE = 1 / 50
# An answer that ends early with less than this is waited after, longer each time: a server that
# sends a few bytes at a time would be asked thousands of times a second.
_LITTLE_BYTES = 256 << 10


class Segments:
    """The ranges still to fetch, handed out from the front in pieces.

    Pieces are large at first, so that few requests are made, and small at the end, so that
    all connections finish together.

    Args:
        missing: Half-open ranges.
        connections: How many connections share them.
    """

    def __init__(self, missing: list[tuple[int, int]], connections: int) -> None:
        self._heap = list(missing)
        heapq.heapify(self._heap)
        self._connections = connections

    def take(self) -> tuple[int, int] | None:
        """The next piece; None when all are handed out."""
        if not self._heap:
            return None
        left = sum(end - start for start, end in self._heap)
        wanted = left // (4 * self._connections)
        size = min(max(wanted, _MIN_SEGMENT_BYTES), _MAX_SEGMENT_BYTES)
        start, end = heapq.heappop(self._heap)
        if end - start > size:
            heapq.heappush(self._heap, (start + size, end))
            end = start + size
        return start, end

    def give_back(self, start: int, end: int) -> None:
        """Return a piece, or the rest of one, that was not fetched."""
        if start < end:
            heapq.heappush(self._heap, (start, end))

    def clear(self) -> None:
        """Hand out nothing more."""
        self._heap.clear()


class Fetch:
    """Fills a part file.

    Args:
        source: Where the bytes come from.
        part: Where they go.
        connections: How many at once, if the server knows ranges.
        patience: Retries.
        on_notice: Called with a sentence when a try failed and another follows.
        limit: The speed of all connections together.
    """

    def __init__(  # noqa: PLR0913  # all of it is needed, once
        self,
        source: Source,
        part: PartFile,
        connections: int,
        patience: Patience,
        *,
        on_notice: Callable[[str], None],
        limit: SpeedLimit,
    ) -> None:
        self._source = source
        self._part = part
        self._connections = connections
        self._patience = patience
        self._on_notice = on_notice
        self._limit = limit
        self._size = part.content.size_bytes
        self._segments = Segments(part.done.missing(self._size), connections)
        self._answered = asyncio.Event()
        self._received_bytes = 0
        self._began = asyncio.get_running_loop().time()
        self._rest_until = 0.0
        """A server that asks to be left alone means every connection."""
        self._told_until = 0.0
        """One trouble is told once, not once by each connection."""

    async def run(self) -> None:
        """Fetch everything that is missing.

        Raises:
            ChangedError: The server has another version now.
            LocalR1Error: It cannot be done, or not any more.
        """
        workers = [asyncio.create_task(self._worker(n)) for n in range(self._connections)]
        try:
            left = set(workers)
            while left:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                for worker in done:
                    worker.result()
                if self._part.done.total_bytes >= self._size:
                    break  # the others only wait before another try
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _worker(self, number: int) -> None:
        if number > 0:
            # The first answer tells whether the server knows ranges at all.
            await self._answered.wait()
            if not self._source.ranged:
                return
        failures = 0  # in a row, without a byte on any connection
        poor = 0  # in a row, with few bytes on this one
        received = -1
        while (segment := self._segments.take()) is not None:
            gained = 0

            def gain(count: int) -> None:
                nonlocal gained
                gained += count
                self._received_bytes += count

            try:
                await self._rest()
                await self._fetch(*segment, gain)
                failures = poor = 0
            except RetryError as error:
                # What any connection receives is progress: a server may serve only a few.
                failures = failures + 1 if self._received_bytes == received else 1
                received = self._received_bytes
                poor = poor + 1 if gained < _LITTLE_BYTES else 1
                if failures >= self._patience.attempts:
                    raise error.error from error
                seconds = self._patience.wait_seconds(max(failures, poor), error.wait_seconds)
                until = asyncio.get_running_loop().time() + seconds
                if poor > 1 or error.wait_seconds:
                    self._tell(error, seconds, until)
                if error.wait_seconds:
                    self._rest_until = max(self._rest_until, until)
                else:
                    await asyncio.sleep(seconds)
        self._answered.set()

    def _drips(self, received_bytes: int, seconds: float) -> bool:
        """Whether a connection is far slower than this download's connections were so far."""
        if self._limit.bytes_per_second or seconds < self._patience.stall_seconds:
            return False
        elapsed = asyncio.get_running_loop().time() - self._began
        fair = self._received_bytes / elapsed / self._connections
        return received_bytes / seconds < _DRIPPING_SHARE * fair

    def _tell(self, error: RetryError, seconds: float, until: float) -> None:
        if until - seconds >= self._told_until:
            self._told_until = until
            self._on_notice(f"{error.error.what} Trying again in {seconds:.0f} s.")

    async def _rest(self) -> None:
        """Wait for as long as the server asked for."""
        clock = asyncio.get_running_loop().time
        while (seconds := self._rest_until - clock()) > 0:  # noqa: ASYNC110  # it may grow
            await asyncio.sleep(seconds)

    async def _fetch(self, start: int, end: int, gain: Callable[[int], None]) -> None:
        """Fetch one piece; what is missing of it afterwards goes back.

        Args:
            start: Of the piece.
            end: Of the piece.
            gain: Called with the number of bytes that came and were not here.

        Raises:
            RetryError: As `Source.open`, and for an answer that ends early.
        """
        position = start
        buffer = bytearray()
        clock = asyncio.get_running_loop().time
        written_at = looked_at = clock()
        looked_bytes = 0
        try:
            async with self._source.open(start, end) as reply:
                if not reply.ranged:
                    self._segments.clear()
                position, end = reply.start, reply.end
                # A stream from the start first repeats what is here.
                known = 0 if reply.ranged else self._part.done.prefix_bytes
                await self._part.remember_etag(self._source.version)
                self._answered.set()
                async for chunk in reply.chunks:
                    data = chunk[: end - position - len(buffer)]
                    buffer += data
                    gain(max(0, min(len(data), position + len(buffer) - known)))
                    if len(buffer) >= BLOCK_BYTES or clock() - written_at >= _BLOCK_SECONDS:
                        await self._part.write(position, buffer)
                        position += len(buffer)
                        buffer = bytearray()
                        written_at = clock()
                    await self._limit.passing(len(data))
                    looked_bytes += len(data)
                    if self._drips(looked_bytes, clock() - looked_at):
                        raise self._source.slow(reply)
                    if clock() - looked_at >= self._patience.stall_seconds:
                        looked_at, looked_bytes = clock(), 0
                if position + len(buffer) < end:
                    raise self._source.short(reply, end - position - len(buffer))
        finally:
            try:
                if buffer:
                    await self._part.write(position, buffer)
                    position += len(buffer)
            finally:
                self._segments.give_back(position, end)
