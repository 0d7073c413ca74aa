"""Amounts as people write them: sizes, speeds, and budgets for thinking."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from localr1.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(iB|B)?|B)?", re.IGNORECASE | re.ASCII)
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_MOST_BYTES = 1 << 60
_BUDGET = re.compile(r"(\d{1,9})(s?)", re.ASCII)


def parse_size(text: str) -> int:
    """Return a size in bytes.

    `G` and `GiB` are 2^30, `GB` is 10^9; K, M and T likewise; a plain number is bytes.

    Raises:
        UsageError: The text is no such size.
    """
    match = _SIZE.fullmatch(text.strip())
    size = Decimal(0)
    if match is not None:
        power = _POWERS.get((match.group(2) or "").upper(), 0)
        base = 1000 if (match.group(3) or "").upper() == "B" else 1024
        size = Decimal(match.group(1)) * base**power
    if match is None or size > _MOST_BYTES or (size and size < 1):
        raise UsageError(
            f"{text!r} is not a size.", "", "Write it as 24G or 24GiB (2^30), 24GB (10^9) or 512M."
        )
    return int(size)


def parse_rate(text: str) -> int:
    """Return bytes per second: `5MB/s`, or `5M` for short; 0 for no limit.

    Raises:
        UsageError: The text is no such rate.
    """
    try:
        return parse_size(text.strip().removesuffix("/s"))
    except UsageError as error:
        raise UsageError(
            f"{text!r} is not a speed.", "", "Write it as 5MB/s or 500KB/s; 0 is no limit."
        ) from error


@dataclass(frozen=True)
class ThinkingBudget:
    """How long a model may think; None means no such limit."""

    tokens: int | None = None
    seconds: float | None = None


def parse_thinking_budget(text: str) -> ThinkingBudget:
    """Return a budget: `2000` is tokens, `90s` seconds, nothing no limit.

    Raises:
        UsageError: The text is no such budget.
    """
    if not text.strip():
        return ThinkingBudget()
    match = _BUDGET.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a thinking budget.",
            "",
            "Use a number of tokens (2000) or of seconds (60s).",
        )
    number = int(match[1])
    return ThinkingBudget(seconds=float(number)) if match[2] else ThinkingBudget(tokens=number)
