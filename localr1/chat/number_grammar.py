"""Numbers between bounds as a grammar of llama.cpp's: digit by digit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_DIGITS: Final = 16
"""No longer whole numbers are written: a float holds them exactly."""
_LARGEST: Final = 10**_DIGITS - 1
WHOLE: Final = f'("0" | [1-9] [0-9]{{0,{_DIGITS - 1}}})'
FRACTION: Final = f'("." [0-9]{{1,{_DIGITS}}})'
EXPONENT: Final = "([eE] [-+]? [0-9]{1,2})"
_SOME_FRACTION: Final = '("." [0-9]{0,14} [1-9])'


def between(schema: Mapping[str, Any], *, whole: bool) -> str:
    """What stands for a number in a rule; empty where the schema sets no bounds.

    Args:
        schema: With `minimum` and its like; with fractions the bounds must be whole numbers.
        whole: Whether only whole numbers count.

    Raises:
        ValueError: What cannot be promised.
    """
    if schema.get("multipleOf", 1) != 1 or (not whole and "multipleOf" in schema):
        raise ValueError("no grammar can promise `multipleOf`")
    if not any(name in schema for name in BOUNDS):
        return ""
    for name in BOUNDS:
        value = schema.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"`{name}` is a number")  # noqa: TRY004 - of the schema
        if not whole and value != int(value):
            raise ValueError(f"`{name}` must be a whole number, or the type `integer`")
    low, above = _tighter(schema, "minimum", "exclusiveMinimum", -_LARGEST, max)
    high, below = _tighter(schema, "maximum", "exclusiveMaximum", _LARGEST, min)
    if whole:
        least = math.floor(low) + 1 if above else math.ceil(low)
        most = math.ceil(high) - 1 if below else math.floor(high)
        parts = _signed(least, most)
    else:
        parts = _real(int(low), int(high), above=above, below=below)
    if not parts:
        raise ValueError("no number lies between the bounds")
    return f"({' | '.join(parts)})"


def _tighter(
    schema: Mapping[str, Any],
    inner: str,
    outer: str,
    default: int,
    pick: Callable[[float, float], float],
) -> tuple[float, bool]:
    """The bound that counts, and whether it is left out itself."""
    limit = schema.get(inner, default)
    if outer not in schema:
        return limit, False
    strict = pick(limit, schema[outer]) == schema[outer]
    return pick(limit, schema[outer]), bool(strict)


def _signed(low: int, high: int) -> list[str]:
    parts = []
    if high >= 0 and low <= high:
        parts.append(_range(max(low, 0), high))
    if low < 0 and low <= high:
        parts.append(f'"-" {_range(max(1, -high), -low)}')
    return parts


def _real(low: int, high: int, *, above: bool, below: bool) -> list[str]:
    """Numbers with fractions between whole bounds."""
    parts = []
    if high >= 0 and low <= high:
        start = max(low, 0)
        parts += _magnitudes(start, high, above=above and start == low, below=below)
    if low < 0 and low <= high:
        start = max(-high, 0)
        parts += [
            f'"-" {part}'
            for part in _magnitudes(start, -low, above=below and start == -high, below=above)
        ]
    return parts


def _magnitudes(low: int, high: int, *, above: bool, below: bool) -> list[str]:
    parts = []
    first = low + 1 if above else low
    if first <= high - 1:
        parts.append(f"({_range(first, high - 1)}) {FRACTION}?")
    if above and low < high:
        parts.append(f'"{low}" {_SOME_FRACTION}')
    if not below and (low < high or not above):
        parts.append(f'"{high}" ("." "0"{{1,4}})?')
    return parts


def _range(low: int, high: int) -> str:
    """Whole numbers from `low` to `high`, neither below 0."""
    parts = []
    for length in range(len(str(low)), min(len(str(high)), _DIGITS) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = min(high, 10**length - 1)
        parts.append(_same_length(str(first), str(last)))
    return f"({' | '.join(parts)})"


def _same_length(low: str, high: str) -> str:
    if not low:
        return ""
    rest = len(low) - 1
    if low[0] == high[0]:
        return f'"{low[0]}" {_same_length(low[1:], high[1:])}'.rstrip()
    if set(low[1:]) <= {"0"} and set(high[1:]) <= {"9"}:
        return f"[{low[0]}-{high[0]}] {_any(rest)}".rstrip()
    parts = [f'"{low[0]}" ({_same_length(low[1:], "9" * rest)})']
    if int(high[0]) - int(low[0]) > 1:
        parts.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}] {_any(rest)}")
    parts.append(f'"{high[0]}" ({_same_length("0" * rest, high[1:])})')
    return f"({' | '.join(parts)})"


def _any(digits: int) -> str:
    return f"[0-9]{{{digits}}}" if digits else ""
