"""Numbers as people read them: sizes, speeds, times. Pure functions."""

from __future__ import annotations

GIB = 1 << 30
MIB = 1 << 20


def size(size_bytes: float) -> str:
    """Bytes in binary units: `4.4 GiB`, `350 MiB`, `12 KiB`."""
    if size_bytes >= 100 * GIB:
        return f"{size_bytes / GIB:.0f} GiB"
    if size_bytes >= 0.95 * GIB:
        return f"{size_bytes / GIB:.1f} GiB"
    if size_bytes >= 10 * MIB:
        return f"{size_bytes / MIB:.0f} MiB"
    if size_bytes >= MIB:
        return f"{size_bytes / MIB:.1f} MiB"
    return f"{size_bytes / 1024:.0f} KiB"


def count(number: int) -> str:
    """A whole number with separators: `1,830`."""
    return f"{number:,}"


def short_count(number: int) -> str:
    """A number of tokens in little room, thousands as 1,024: `950`, `1.2k`, `32k`."""
    if number < 1000:
        return str(number)
    thousands = number / 1024
    text = f"{thousands:.1f}" if thousands < 9.95 else f"{thousands:.0f}"
    return text.removesuffix(".0") + "k"


def duration(seconds: float) -> str:
    """A time in the two largest units that matter: `0.8 s`, `12 s`, `1 m 42 s`, `2 h 5 m`."""
    if seconds < 0.1:
        return "<0.1 s"
    if seconds < 0.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // 86400} days"


def of_seconds(spent: float, most: float) -> str:
    """A time and its limit, in one unit where that is short: `12 of 60 s`."""
    if most < 100:
        return f"{round(spent)} of {most:g} s"
    return f"{duration(spent)} of {duration(most)}"


def speed(tokens_per_second: float) -> str:
    """Tokens per second as a bare number: `0.4`, `6.2`, `18`."""
    if tokens_per_second < 9.95:
        return f"{tokens_per_second:.1f}"
    return f"{tokens_per_second:,.0f}"


def plural(number: int, noun: str) -> str:
    """`1 message`, `3 messages`."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def short_name(name: str) -> str:
    """A model's name without its maker: `R1-Distill-Qwen-7B`."""
    return name.removeprefix("DeepSeek-")


def gauge(fraction: float, cells: int) -> tuple[str, str]:
    """A bar in two parts, filled and empty, `cells` long together."""
    bounded = min(1.0, max(0.0, fraction))
    filled = round(bounded * cells)
    if bounded > 0 and filled == 0 and cells:
        filled = 1
    return "━" * filled, "─" * (cells - filled)
