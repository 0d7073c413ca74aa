"""What a download tells while it runs, and its speed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localr1.errors import LocalR1Error

_RATE_WINDOW_SECONDS = 5.0
_MOST_SECONDS_LEFT = 30 * 86_400.0
"""Nobody waits so long: at such a rate a connection is stuck, and says nothing of the whole."""


@dataclass(frozen=True)
class DownloadProgress:
    """Bytes are coming; sent four times a second, also while nothing comes."""

    done_bytes: int
    """Of all files together, what earlier runs fetched included."""
    total_bytes: int
    bytes_per_second: float
    """Over the last seconds."""
    seconds_left: float | None
    """None while there is no telling."""
    file_name: str


@dataclass(frozen=True)
class Verifying:
    """All bytes of a file are here; the rest of its hash is being computed."""

    file_name: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class DownloadNotice:
    """Something the user should know: a wait, a new try, a clean start."""

    text: str


@dataclass(frozen=True)
class DownloadRemark:
    """Something about what is downloaded that the user should know; said before it begins."""

    text: str


@dataclass(frozen=True)
class DownloadPaused:
    """Nothing comes until something changes: the disk is full, say."""

    error: LocalR1Error
    """What must change."""


@dataclass(frozen=True)
class DownloadDone:
    """Everything is here and verified."""

    path: Path
    """The first file."""


DownloadEvent = (
    DownloadProgress | Verifying | DownloadNotice | DownloadRemark | DownloadPaused | DownloadDone
)


def seconds_left(missing_bytes: int, bytes_per_second: float) -> float | None:
    """How long the rest takes at this rate; None where the rate is that of a connection stuck."""
    left = missing_bytes / bytes_per_second if bytes_per_second > 0 else _MOST_SECONDS_LEFT
    return left if left < _MOST_SECONDS_LEFT else None


class RateMeter:
    """Bytes per second over a sliding window.

    Args:
        clock: Seconds, only ever growing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, done_bytes: int) -> float:
        """Note how far it is.

        Returns:
            Bytes per second.
        """
        now = self._clock()
        self._samples.append((now, done_bytes))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _RATE_WINDOW_SECONDS:
            self._samples.popleft()
        seconds = now - self._samples[0][0]
        return max(0.0, (done_bytes - self._samples[0][1]) / seconds) if seconds > 0 else 0.0
