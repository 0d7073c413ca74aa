"""When a worker counts as hung, and where its lines end: pure decisions about a stream.

Nothing here reads a clock or a pipe, so that a sleeping laptop is a test like any other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from localr1.engine import protocol

_SLEPT_LOOKS: Final = 3
_WITHOUT_ANSWER: Final = (protocol.Stop, protocol.EndThinking, protocol.Shutdown)
_ON_THE_WAY: Final = (
    protocol.Ready,
    protocol.Alive,
    protocol.LoadProgress,
    protocol.PromptProgressed,
    protocol.Text,
    protocol.LoopNoticed,
    protocol.ThinkingEnded,
)
"""Events after which their request goes on."""


@dataclass(frozen=True)
class Limits:
    """How long a worker is waited for."""

    start_seconds: float = 60.0
    """From its start until it listens, and for the list of its devices."""
    silence_seconds: float = 30.0
    """Without a sign of life, which a healthy worker gives every second."""
    stop_seconds: float = 5.0
    """The same, once the user wants a reply to end."""
    close_seconds: float = 2.0
    """Until a worker that was told to end is killed."""

    @property
    def look_seconds(self) -> float:
        """Between two looks at the worker."""
        return min(1.0, self.silence_seconds / 8, self.stop_seconds / 4, self.start_seconds / 8)


@dataclass(frozen=True)
class Hang:
    """A worker that no longer does its work."""

    what: str
    why: str


class Watch:
    """Decides from what was sent and received when a worker hangs.

    Time counts only while the watcher itself was awake: a look that comes late (the laptop
    slept, the app was held with Ctrl+Z) starts every count anew.

    Args:
        limits: How long is too long.
        now_seconds: The clock as of now; any clock that never goes back.
    """

    def __init__(self, limits: Limits, now_seconds: float) -> None:
        self._limits = limits
        self._looked_at = now_seconds
        self._ready = False
        self._heard = False
        self._unanswered: dict[int, protocol.Request] = {}
        """In the order sent, which is the order of the worker's work."""
        self._stopped: set[int] = set()
        self._unread_bytes = 0
        self._due: int | None = None
        self._starting = self._silent = self._unread = self._overdue = 0.0

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The numbers of the requests that have no answer yet, in the order sent."""
        return tuple(self._unanswered)

    def sent(self, request: protocol.Request) -> None:
        """Note a request."""
        if isinstance(request, protocol.Stop) and request.target_id in self._unanswered:
            self._stopped.add(request.target_id)
        elif not isinstance(request, _WITHOUT_ANSWER):
            self._unanswered[request.request_id] = request

    def received(self, event: protocol.Event) -> None:
        """Note an event."""
        self._heard = True
        if isinstance(event, protocol.Ready):
            self._ready = True
        if not isinstance(event, _ON_THE_WAY):
            self._unanswered.pop(event.request_id, None)
            self._stopped.discard(event.request_id)

    def look(self, now_seconds: float, unread_bytes: int) -> Hang | None:
        """Whether the worker hangs; to be asked every `Limits.look_seconds`.

        Args:
            now_seconds: The clock as of now.
            unread_bytes: Of the requests, those that the worker has not taken yet.
        """
        elapsed, self._looked_at = now_seconds - self._looked_at, now_seconds
        heard, self._heard = self._heard, False
        due = self._request_due()
        if elapsed > _SLEPT_LOOKS * self._limits.look_seconds:
            self._starting = self._silent = self._unread = self._overdue = 0.0
        else:
            self._starting = 0.0 if self._ready else self._starting + elapsed
            self._silent = 0.0 if heard or not self._ready else self._silent + elapsed
            taken = unread_bytes == 0 or unread_bytes < self._unread_bytes
            self._unread = 0.0 if taken else self._unread + elapsed
            self._overdue = self._overdue + elapsed if due == self._due and due is not None else 0.0
        self._due, self._unread_bytes = due, unread_bytes
        return self._verdict()

    def _request_due(self) -> int | None:
        """The request in work, when it should have ended: stopped, or one that takes no time."""
        first = next(iter(self._unanswered.values()), None)
        if first is None:
            return None
        due = first.request_id in self._stopped or isinstance(first, protocol.Probe)
        return first.request_id if due else None

    def _verdict(self) -> Hang | None:
        limits = self._limits
        if self._starting >= limits.start_seconds:
            return Hang(
                "The engine did not start.", f"It said nothing for {_words(limits.start_seconds)}."
            )
        if self._silent >= limits.silence_seconds:
            return Hang(
                f"The engine did not answer for {_words(limits.silence_seconds)}.",
                "It hung, or the computer was too busy to let it work.",
            )
        if self._unread >= limits.silence_seconds:
            return Hang(
                f"The engine took no message for {_words(limits.silence_seconds)}.", "It hung."
            )
        if self._due in self._stopped:
            # One that still gives signs of life may only be slow, and a large model is slow to
            # load again.
            mute = min(self._overdue, self._silent) >= limits.stop_seconds
            if mute or self._overdue >= limits.silence_seconds:
                return Hang("The engine did not stop when it was told to.", "It hung.")
        elif self._overdue >= limits.start_seconds:
            return Hang(
                f"The engine named no devices for {_words(limits.start_seconds)}.",
                "A driver may hang.",
            )
        return None


class LineSplitter:
    """Cuts a stream of bytes into lines; of those that are too long the end is kept.

    Args:
        limit_bytes: How much of a line is kept for sure, line break not counted. Not much more
            is ever held.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: deque[bytes] = deque()
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that a chunk completes, without their line breaks."""
        lines: list[bytes] = []
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._hold(end)
            lines.append(b"".join(self._parts))
            self._parts.clear()
            self._held_bytes = 0
        self._hold(rest)
        return lines

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        self._parts.append(part)
        self._held_bytes += len(part)
        while self._held_bytes - len(self._parts[0]) >= self._limit_bytes:
            self._held_bytes -= len(self._parts.popleft())


def _words(seconds: float) -> str:
    return "1 second" if seconds == 1 else f"{seconds:g} seconds"
