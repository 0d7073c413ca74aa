"""How much of the processor is in use, before something is measured on it."""

from __future__ import annotations

BUSY_SHARE = 0.2
"""From here on measured speeds say more about other programs than about the computer."""


def used_share(seconds: float = 0.5) -> float:
    """Watch all logical cores for a while.

    Args:
        seconds: How long.

    Returns:
        The share of their time that was used, 0 to 1.
    """
    import psutil  # noqa: PLC0415  # only commands that look at the machine pay for it

    return psutil.cpu_percent(interval=seconds) / 100
