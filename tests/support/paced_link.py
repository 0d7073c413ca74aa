"""A link of a fixed speed before a loopback server, kept by the system's own pacing (Linux).

The sender needs next to no processor time for it, so that a busy computer does not slow it down.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_MAX_PACING_RATE: Final = 47  # SO_MAX_PACING_RATE of Linux (asm-generic/socket.h)
_LOOK_SECONDS: Final = 0.001


class PacedLink:
    """What connections share equally while they send.

    Args:
        bytes_per_second: Of all of them together.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._bytes_per_second = bytes_per_second
        self._sending: set[socket.socket] = set()
        self._lock = threading.Lock()

    @contextmanager
    def shared(self, connection: socket.socket) -> Iterator[None]:
        """Let a connection send; it counts until the last byte has arrived."""
        self._share(self._sending.add, connection)
        try:
            yield
            while any(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))):
                time.sleep(_LOOK_SECONDS)
        finally:
            self._share(self._sending.discard, connection)

    def _share(self, change: Callable[[socket.socket], None], connection: socket.socket) -> None:
        with self._lock:
            change(connection)
            share = self._bytes_per_second // max(1, len(self._sending))
            for one in self._sending:
                with suppress(OSError):  # it has ended meanwhile
                    one.setsockopt(socket.SOL_SOCKET, _MAX_PACING_RATE, struct.pack("Q", share))
