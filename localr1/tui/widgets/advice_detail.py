"""Why a model is recommended or does not fit, and what choosing it does."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from localr1.fit.types import DeviceMemory, Plan
from localr1.machine.types import Machine
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.advice_row import AdviceRow

DEMO_WORDS = (
    "A demonstration, not an R1 model: it only adds, subtracts and compares numbers of up to "
    "four digits. It is part of localr1 and needs no download."
)


def detail_content(row: AdviceRow, machine: Machine, *, hub: str, online: bool) -> Content:
    """The text under the list.

    Args:
        row: The row under the cursor.
        machine: For the free memory.
        hub: The host of downloads.
        online: Whether downloads are allowed.
    """
    plan = row.plan
    lines = [
        Content.assemble((printable(row.model.name), "bold"), *_do(row, hub=hub, online=online))
    ]
    if row.model.demo:
        return Content("\n").join([*lines, Content(DEMO_WORDS)])
    first, *others = [printable(reason) for reason in plan.reasons] or [""]
    lines.append(Content(f"{first}."))
    if plan.fits:
        lines.append(Content.styled(_spread(plan), "dim"))
    elif len(plan.devices) > 1:
        lines.append(Content.styled(_memory(plan, machine), "dim"))
    lines.extend(
        Content.assemble(("Would fit ", "$accent"), printable(way)) for way in plan.would_fit_if
    )
    if others:
        lines.append(Content(". ".join(others) + "."))
    lines.extend(Content.styled(printable(note), "dim") for note in row.model.notes)
    return Content("\n").join(lines)


def _do(row: AdviceRow, *, hub: str, online: bool) -> list[tuple[str, str]]:
    if row.local is not None:
        return [("  Enter ", "$primary"), ("loads it; it is on this disk", "")]
    size = wording.size(row.variant.size_bytes)
    about = "" if row.variant.size_is_exact else "about "
    if not online:
        return [(f"  offline: {about}{size} would have to be downloaded", "$warning")]
    return [("  Enter ", "$primary"), (f"downloads {about}{size} from {printable(hub)}", "")]


def _spread(plan: Plan) -> str:
    times, tps = plan.time_to_answer, plan.generation_tps
    return (
        f"Estimates: {wording.speed(tps.low)} to {wording.speed(tps.high)} tokens/s · "
        f"an answer {wording.time_range(times.typical)} · "
        f"a hard one {wording.time_range(times.hard)} · "
        f"context {wording.count(plan.settings.context_window)} tokens"
    )


def _memory(plan: Plan, machine: Machine) -> str:
    free = {device.name: device.free_bytes for device in machine.devices}
    places = "; ".join(_place(device, free.get(device.name)) for device in plan.devices)
    bound = " at most" if plan.upper_bound else ""
    return f"Needs{bound} {places}."


def _place(device: DeviceMemory, free_bytes: int | None) -> str:
    known = f" of {wording.size(free_bytes)} free" if free_bytes is not None else ""
    return f"{wording.size(device.total_bytes)}{known} on {printable(device.name)}"


class AdviceDetail(Static):
    """The text under the list."""

    DEFAULT_CSS = """
    AdviceDetail {
        height: auto;
        min-height: 5;
        max-height: 40%;
        overflow-y: auto;
        margin: 0 1;
        padding: 0 1;
        border-top: solid $border-blurred;
        scrollbar-size-vertical: 1;
    }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="detail")
