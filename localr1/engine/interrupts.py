"""When a computation ends before it is done, since somebody wants something else. Worker side."""

from __future__ import annotations

import threading

from localr1.engine import protocol
from localr1.engine.mailbox import Mailbox
from localr1.engine.native import AbortFlag


class Interrupts:
    """Raises the abort flag when a message wants it, and only for what is in work.

    Args:
        mailbox: Where messages are noted.
        flag: Ends the computation that runs.
    """

    def __init__(self, mailbox: Mailbox, flag: AbortFlag) -> None:
        self.flag = flag
        self._mailbox = mailbox
        self._changing = threading.Lock()
        self._in_work: frozenset[int] = frozenset()
        self._idle = False
        """Whether what is in work gives way to any request."""

    def heard(self, message: protocol.Request) -> None:
        """Take note of a message; in the mailbox's thread."""
        with self._changing:
            match message:
                case protocol.EndThinking():
                    wanted = False
                case protocol.Stop():
                    wanted = message.target_id in self._in_work
                case protocol.Shutdown():
                    wanted = True
                case _:
                    wanted = self._idle
            if wanted:
                self.flag.raise_()

    def begin(self, *request_ids: int, idle: bool = False) -> None:
        """Say what the next computations are for.

        Args:
            request_ids: The requests that they serve.
            idle: Whether they give way to any other.
        """
        with self._changing:  # or a stop for the one before would end this one
            self._in_work, self._idle = frozenset(request_ids), idle
            self.flag.lower()
        # What was heard just before has raised nothing.
        if any(map(self._mailbox.stopped, request_ids)) or (idle and self._mailbox.waiting()):
            self.flag.raise_()

    def end_idle(self) -> None:
        """What follows gives way to nothing."""
        self._idle = False
