"""How much of the processor is in use, before or while something is measured on it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass

BUSY_SHARE = 0.2
"""From here on measured speeds say more about other programs than about the computer."""

BUSY_LOAD = 0.5
"""Programs that wanted to run, for each core: from here on a measurement would meet them."""


def load_share() -> float:
    """Programs that wanted to run within the last minute, for each core; 0 where nobody counts."""
    with suppress(OSError, AttributeError):  # Windows has no such figure
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    return 0.0


def used_share(seconds: float = 0.5) -> float:
    """Watch all logical cores for a while.

    Args:
        seconds: How long.

    Returns:
        The share of their time that was used, 0 to 1.
    """
    import psutil  # noqa: PLC0415  # only commands that look at the machine pay for it

    return psutil.cpu_percent(interval=seconds) / 100


@dataclass(frozen=True)
class Clock:
    """What the processor had done at one moment, in seconds over all logical cores."""

    at_seconds: float
    used_seconds: float
    """By all programs since the computer started."""
    own_seconds: float
    """By this program and those that it started and that still run."""


def clock() -> Clock:
    """The processor's time as of now; takes about a millisecond."""
    import psutil  # noqa: PLC0415  # as above

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guests' time is counted within user time already.
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    own = 0.0
    with suppress(psutil.Error):
        this = psutil.Process()
        for process in (this, *this.children(recursive=True)):
            with suppress(psutil.Error):  # it has ended since
                spent = process.cpu_times()
                own += spent.user + spent.system
    return Clock(time.monotonic(), sum(times) - idle - guests, own)


def others_share(before: Clock, after: Clock) -> float:
    """The share of the processor that other programs used between two moments, 0 to 1.

    In a container these are the whole computer's programs, as far as the system lets one see.
    """
    room = (after.at_seconds - before.at_seconds) * (os.cpu_count() or 1)
    used = (after.used_seconds - before.used_seconds) - (after.own_seconds - before.own_seconds)
    return min(1.0, max(0.0, used / room)) if room > 0 else 0.0
