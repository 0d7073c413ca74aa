"""The door of a computer that lends its memory: who calls is heard, and led to llama.cpp or not.

llama.cpp's server stands behind it, on a port of loopback. Its words pass unread; localr1's own
questions (`lent`) are answered here.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from localr1.engine import lent

_MOST_CALLERS: Final = 64
_FIRST_WORD_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 30.0
"""An app that watches says something every two."""
_START_SECONDS: Final = 20.0
_PIECE_BYTES: Final = 1 << 20
_HELLO: Final = b"\x0e"
"""RPC_CMD_HELLO, the first byte of all that llama.cpp says (ggml-rpc.cpp)."""
_LOOKS: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15000}
"""A borrower whose cable was pulled is given up within 15 s, where the system has these."""


class Front:
    """Takes calls.

    Args:
        listener: Where they come in.
        inner: Where llama.cpp's server listens.
        greeting: What this computer says of itself, as of now: `version`, `build`, `devices`.
    """

    def __init__(
        self,
        listener: socket.socket,
        inner: tuple[str, int],
        greeting: Callable[[], dict[str, Any]],
    ) -> None:
        self._listener = listener
        self._inner = inner
        self._greeting = greeting
        self._lending = threading.Lock()
        """Held while somebody borrows."""
        self._watchers: Counter[bytes] = Counter()
        self._changing = threading.Lock()
        self._room = threading.Semaphore(_MOST_CALLERS)

    def serve(self) -> None:
        """Take calls for ever."""
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                time.sleep(0.1)  # of file descriptors, which come back
                continue
            if not self._room.acquire(blocking=False):
                caller.close()
                continue
            threading.Thread(target=self._hear, args=(caller,), daemon=True).start()

    def _hear(self, caller: socket.socket) -> None:
        with caller, suppress(OSError, struct.error):
            try:
                caller.settimeout(_FIRST_WORD_SECONDS)
                caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                first = caller.recv(1, socket.MSG_PEEK)
                if first == _HELLO:
                    self._lend(caller)
                elif first == lent.CALL[:1]:
                    self._talk(caller)
            finally:
                self._room.release()

    def _lend(self, caller: socket.socket) -> None:
        """Lead a borrower to llama.cpp; the next one waits until this one is gone."""
        with self._lending, self._reached() as server:
            caller.settimeout(None)
            _look_after(caller)
            back = threading.Thread(target=_pass_on, args=(server, caller), daemon=True)
            back.start()
            _pass_on(caller, server)
            back.join()

    @contextmanager
    def _reached(self) -> Iterator[socket.socket]:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                server = socket.create_connection(self._inner, _FIRST_WORD_SECONDS)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)  # it begins to listen a little later
        with server:
            server.settimeout(None)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield server

    def _talk(self, caller: socket.socket) -> None:
        line = b""
        while not line.endswith(b"\n"):
            part = caller.recv(1)
            if not part or len(line) > len(lent.CALL) + 64:
                return
            line += part
        if not line.startswith(lent.CALL):
            return
        name = line[len(lent.CALL) :].strip()
        with self._changing:
            taken = self._lending.locked() and not self._watchers[name]
        words = {**self._greeting(), "taken": taken}
        caller.sendall(json.dumps(words).encode() + b"\n")
        caller.settimeout(_SILENCE_SECONDS)
        watched = 0
        try:
            while word := caller.recv(1):
                if word == lent.WATCH:
                    watched += 1
                    with self._changing:
                        self._watchers[name] += 1
                    caller.sendall(word)
                elif not _answer(caller, word):
                    return
        finally:
            with self._changing:
                self._watchers[name] -= watched
                self._watchers += Counter()  # forgets who is not there any more


def _answer(caller: socket.socket, word: bytes) -> bool:
    """One question of a caller; False where it is none."""
    if word == lent.PING:
        caller.sendall(word)
        return True
    if word not in {lent.TAKE, lent.GIVE}:
        return False
    (size,) = lent.SIZE.unpack(b"".join(caller.recv(1) for _ in range(lent.SIZE.size)))
    if size > lent.MOST_BYTES:
        return False
    if word == lent.GIVE:
        caller.sendall(bytes(size))
        return True
    while size:
        got = len(caller.recv(min(size, _PIECE_BYTES)))
        if not got:
            return False
        size -= got
    caller.sendall(word)
    return True


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Everything that one side says to the other, until one of them ends."""
    piece = memoryview(bytearray(_PIECE_BYTES))
    try:
        with suppress(OSError):
            while size := source.recv_into(piece):
                sink.sendall(piece[:size])
    finally:
        for side in (source, sink):
            with suppress(OSError):  # it has ended already
                side.shutdown(socket.SHUT_RDWR)


def _look_after(caller: socket.socket) -> None:
    """Have the system find out when a borrower is gone without a word."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _LOOKS.items():
        option = getattr(socket, name, None)
        if option is not None:
            with suppress(OSError):  # this system has it for others only
                caller.setsockopt(socket.IPPROTO_TCP, option, value)
