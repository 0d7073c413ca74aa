"""The side panel's lines: speeds, context, memory against the plan, and how the computer is.

Pure functions. What is not known has no line.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from textual.content import Content

from localr1.chat.budget import answer_reserve
from localr1.fit.memory import CPU
from localr1.fit.usage import PoolUse, pool_uses
from localr1.machine.gauges import GpuNow, Now
from localr1.machine.reconcile import matched
from localr1.machine.types import Machine
from localr1.printable import printable
from localr1.tui import memory_bar, wording
from localr1.tui.runner import Running
from localr1.tui.widgets.status_line import Status, gauge_content

_NOW_SECONDS: Final = 3.0
"""What "now" means of a speed: long enough that it does not jump, short enough to tell."""
_HOT_CELSIUS: Final = 90.0


class Pace:
    """How fast a count has grown in the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, at_seconds: float, count: int) -> float | None:
        """Take the count as it is now.

        Args:
            at_seconds: Of a clock that only goes forward.
            count: One that shrinks begins anew.

        Returns:
            Per second; None until there is something to compare with.
        """
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((at_seconds, count))
        while len(self._seen) > 2 and at_seconds - self._seen[1][0] >= _NOW_SECONDS:
            self._seen.popleft()
        begin_seconds, begin_count = self._seen[0]
        passed = at_seconds - begin_seconds
        return (count - begin_count) / passed if passed > 0 else None

    def forget(self) -> None:
        """Nothing runs any more."""
        self._seen.clear()


@dataclass(frozen=True)
class Speeds:
    """Tokens per second; None where they are not known."""

    now: float | None = None
    average: float | None = None
    reading: float | None = None
    expected: float | None = None
    """What the plan promised."""


def panel_lines(  # noqa: PLR0913, PLR0917 - what is known, each from another place
    status: Status,
    speeds: Speeds,
    running: Running | None,
    machine: Machine | None,
    now: Now | None,
    width: int,
) -> list[Content]:
    """All lines of the panel.

    Args:
        status: What the status line knows.
        speeds: Of the reply that is being written, or the last one.
        running: The loaded model; None where there is none.
        machine: As it was examined; None where the model runs elsewhere.
        now: The computer's figures; None until they are there.
        width: Cells of a line.
    """
    groups = [
        ("Speed, tokens/s", _speed_lines(speeds, width)),
        (_context_title(status), _context_lines(status, width)),
    ]
    if machine is not None and now is not None:
        uses = pool_uses(running.plan, machine) if running is not None else ()
        gpus = gpus_by_device(machine, now)
        groups += [
            ("Memory, GiB", _memory_lines(uses, now, gpus, width)),
            ("This computer", _computer_lines(now, gpus, width)),
        ]
    lines: list[Content] = []
    for title, found in groups:
        if found:
            lines += [Content.styled(title, "bold $accent"), *found, Content("")]
    return [line.truncate(width, ellipsis=True) for line in lines[:-1]]


def gpus_by_device(machine: Machine, now: Now) -> dict[str, GpuNow]:
    """What is known of the graphics processors that compute, by the engine's names for them."""
    usable = {device.name for device in machine.gpus}
    listed = tuple(device for device in machine.engine.devices if device.name in usable)
    places = matched(listed, tuple(each.gpu for each in now.gpus))
    return {name: now.gpus[place] for name, place in places.items()}


def _row(label: str, value: str, width: int, style: str = "") -> Content:
    room = max(1, width - 1 - len(label) - len(value))
    return Content.assemble((f" {label}", "dim"), " " * room, (value, style))


def _speed_lines(speeds: Speeds, width: int) -> list[Content]:
    rows = (
        ("now", speeds.now, "bold"),
        ("average", speeds.average, ""),
        ("expected", speeds.expected, "dim"),
        ("reading", speeds.reading, ""),
    )
    return [
        _row(label, wording.speed(value), width, style)
        for label, value, style in rows
        if value is not None and value > 0
    ]


def _context_title(status: Status) -> str:
    used, window = (wording.short_count(n) for n in (status.context_used, status.context_window))
    return f"Context, {used} of {window}"


def _context_lines(status: Status, width: int) -> list[Content]:
    window = status.context_window
    if not window:
        return []
    reply = status.thinking_tokens + status.answer_tokens
    kept = max(0, min(answer_reserve(window), window - status.context_used))
    rows = [
        ("━ history", status.context_used - reply, True),
        ("╍ thinking", status.thinking_tokens, False),
        ("━ answer", status.answer_tokens, False),
        ("╌ kept for answer", kept, True),
    ]
    return [
        Content.assemble(" ", gauge_content(status, max(4, width - 1))),
        *(
            _row(label, wording.count(tokens), width)
            for label, tokens, always in rows
            if always or tokens
        ),
    ]


def _memory_lines(
    uses: tuple[PoolUse, ...], now: Now, gpus: dict[str, GpuNow], width: int
) -> list[Content]:
    lines: list[Content] = []
    for use in uses:
        if use.name == CPU and now.memory.total_bytes:
            total, free = now.memory.total_bytes, now.memory.available_bytes
            held = now.engine_bytes
        else:
            found = gpus.get(use.name)
            if found is None or not found.gpu.total_bytes or found.gpu.free_bytes is None:
                continue
            total, free, held = found.gpu.total_bytes, found.gpu.free_bytes, None
        in_use = f"{memory_bar.figure(max(0, total - free))} of {memory_bar.figure(total)}"
        name = "main memory" if use.name == CPU else printable(memory_bar.pool_name(use))
        lines.append(_row(name, in_use, width, "bold"))
        planned = memory_bar.figure(use.need_bytes)
        if held is not None:
            lines.append(_row("  by the model", memory_bar.figure(held), width))
        lines.append(_row("  planned for it", planned, width))
    return lines


def _computer_lines(now: Now, gpus: dict[str, GpuNow], width: int) -> list[Content]:
    lines = _heat_lines("Processor", now.cpu_share, now.cpu_celsius, None, width)
    for name, each in gpus.items():
        label = "Graphics" if len(gpus) == 1 else printable(name)
        lines += _heat_lines(label, each.busy_share, each.celsius, each.watts, width)
    power = now.power
    if power.percent is not None:
        drawn = f"{power.watts:.0f} W, " if power.watts else ""
        value = f"{drawn}{power.percent:.0f} %"
        plugged = "Battery" if power.on_battery else "Battery, on mains"
        style = "$warning" if power.on_battery and power.percent < 20 else ""
        lines.append(
            _row(
                plugged if len(plugged) + len(value) + 2 <= width else "Battery",
                value,
                width,
                style,
            )
        )
    return lines


def _heat_lines(
    label: str, share: float | None, celsius: float | None, watts: float | None, width: int
) -> list[Content]:
    parts = [
        "" if share is None else f"{100 * share:.0f} %",
        "" if celsius is None else f"{celsius:.0f} °C",
        "" if watts is None else f"{watts:.0f} W",
    ]
    value = "  ".join(part for part in parts if part)
    hot = celsius is not None and celsius >= _HOT_CELSIUS
    return [_row(label, value, width, "$warning" if hot else "")] if value else []
