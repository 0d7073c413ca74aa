"""A cable between two programs of one computer: so slow, so long, and it can be pulled.

For TCP, with threads: not every kernel can delay packets (netem). Run as a program it is one end of
a long line: `python cable.py TO DELAY_SECONDS HOST`; it says where it begins.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE_BYTES = 16 << 10
_SHORT_SECONDS = 0.0005
"""A sleep may take so much longer than it should: many small ones in a row would add up."""


class Cable:
    """Passes on what comes in at `endpoint`.

    Args:
        to: Where it leads: `host:port`.
        delay_seconds: One way.
        bytes_per_second: Each way, for each connection; None for as fast as it goes.
        host: The address to listen at.
    """

    def __init__(
        self,
        to: str,
        delay_seconds: float = 0.0,
        bytes_per_second: float | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        name, _, port = to.rpartition(":")
        self._to = (name, int(port))
        self._delay = delay_seconds
        self._rate = bytes_per_second
        self._pulled = threading.Event()
        self._listener = socket.create_server((host, 0))
        self._ends: list[socket.socket] = []
        self.endpoint = f"{host}:{self._listener.getsockname()[1]}"
        self.passed_bytes = [0, 0]
        """There, and back."""
        threading.Thread(target=self._serve, daemon=True).start()

    def pull(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self._pulled.set()

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or the thread that accepts keeps it open
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            self._ends.append(one)
            if self._pulled.is_set():
                continue  # it hangs
            try:
                other = socket.create_connection(self._to)
            except OSError:
                one.close()
                continue
            self._ends.append(other)
            for end in (one, other):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._lay(one, other, 0)
            self._lay(other, one, 1)

    def _lay(self, source: socket.socket, sink: socket.socket, way: int) -> None:
        pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(maxsize=1024)
        for work in (self._take, self._give):
            threading.Thread(target=work, args=(source, sink, pieces, way), daemon=True).start()

    def _take(
        self,
        source: socket.socket,
        _sink: socket.socket,
        pieces: queue.Queue[tuple[float, bytes]],
        _way: int,
    ) -> None:
        free = 0.0
        piece = b"-"
        while piece:
            try:
                piece = source.recv(_PIECE_BYTES)
            except OSError:
                piece = b""
            free = max(free, time.monotonic()) + (len(piece) / self._rate if self._rate else 0)
            pieces.put((free + self._delay, piece))

    def _give(
        self,
        _source: socket.socket,
        sink: socket.socket,
        pieces: queue.Queue[tuple[float, bytes]],
        way: int,
    ) -> None:
        while True:
            due, piece = pieces.get()
            if (left := due - time.monotonic()) > _SHORT_SECONDS:
                time.sleep(left)
            if self._pulled.is_set():
                continue
            self.passed_bytes[way] += len(piece)
            with suppress(OSError):
                if piece:
                    sink.sendall(piece)
                else:
                    sink.shutdown(socket.SHUT_RDWR)
            if not piece:
                return


@contextmanager
def cable(
    to: str, delay_seconds: float = 0.0, bytes_per_second: float | None = None
) -> Iterator[Cable]:
    """Lay a cable for the time of a block."""
    laid = Cable(to, delay_seconds, bytes_per_second)
    try:
        yield laid
    finally:
        laid.close()


if __name__ == "__main__":
    sys.stdout.write(Cable(sys.argv[1], float(sys.argv[2]), host=sys.argv[3]).endpoint + "\n")
    sys.stdout.flush()
    threading.Event().wait()
