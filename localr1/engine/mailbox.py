"""The worker's requests, read in a thread of their own."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Final

from localr1.engine import codec, protocol

# A native call that cannot be interrupted must not keep an orphan alive.
_ORPHAN_SECONDS: Final = 1.5


class Mailbox:
    """Reads requests in a thread: stops and answer-nows are noted at once, the rest queue up.

    Args:
        source: The lines.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._queue: deque[protocol.Request] = deque()
        self._filled = threading.Semaphore(0)
        self._stopped: set[int] = set()
        self._answer_asked: set[int] = set()
        self._closed = False

    def open(self, heard: Callable[[protocol.Request], None]) -> None:
        """Begin to read.

        Args:
            heard: Called in the reading thread after each message was noted or queued.
        """
        threading.Thread(target=self._read, args=(heard,), name="mailbox", daemon=True).start()

    def _read(self, heard: Callable[[protocol.Request], None]) -> None:
        try:
            self._take_in(heard)
        except BaseException:  # noqa: BLE001 - the log has it, and the parent reads the log
            traceback.print_exc()
        finally:
            # The parent is gone, or can no longer be heard.
            self._closed = True
            shutdown = protocol.Shutdown(0)
            self._put(shutdown)
            heard(shutdown)
            time.sleep(_ORPHAN_SECONDS)
            os._exit(0)

    def _take_in(self, heard: Callable[[protocol.Request], None]) -> None:
        for line in self._source:
            try:
                message = codec.decode(line)
            except codec.ProtocolError as error:
                sys.stderr.write(f"worker: {error}\n")
                continue
            if isinstance(message, protocol.Stop):
                self._stopped.add(message.target_id)
            elif isinstance(message, protocol.EndThinking):
                self._answer_asked.add(message.target_id)
            else:
                self._closed |= isinstance(message, protocol.Shutdown)
                self._put(message)  # type: ignore[arg-type]
            heard(message)  # type: ignore[arg-type]

    def _put(self, request: protocol.Request) -> None:
        self._queue.append(request)
        self._filled.release()

    def next(self) -> protocol.Request:
        """The next request; blocks."""
        self._filled.acquire()
        return self._queue.popleft()

    def waiting(self) -> protocol.Request | None:
        """The request that `next` would give, or None where it would block."""
        return self._queue[0] if self._queue else None

    def stopped(self, request_id: int) -> bool:
        """Whether the request was stopped, or nobody wants anything any more."""
        return self._closed or request_id in self._stopped

    def awaits(self, request_id: int) -> protocol.Generate | None:
        """The reply with this number, where it still waits for its turn."""
        waiting = (one for one in self._queue.copy() if isinstance(one, protocol.Generate))
        return next((one for one in waiting if one.request_id == request_id), None)

    def answer_asked(self, request_id: int) -> bool:
        """Whether the user wants the answer of this request now."""
        return request_id in self._answer_asked
