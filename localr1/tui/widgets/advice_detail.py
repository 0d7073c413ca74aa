"""Why a model is recommended or does not fit, and what choosing it does."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from localr1.fit.types import DeviceMemory, Plan
from localr1.machine.types import Machine
from localr1.tui import wording
from localr1.tui.advice_row import AdviceRow
from localr1.tui.untrusted import clean

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
    lines = [Content.assemble((clean(row.model.name), "bold"), *_do(row, hub=hub, online=online))]
    if row.model.demo:
        return Content("\n").join([*lines, Content(DEMO_WORDS)])
    if plan.fits:
        lines.append(Content(_figures(plan)))
    lines.append(Content.styled(_memory(plan, machine), "dim"))
    lines.extend(Content(clean(reason)) for reason in plan.reasons)
    lines.extend(
        Content.assemble(("Would fit ", "$accent"), clean(way)) for way in plan.would_fit_if
    )
    lines.extend(Content.styled(clean(note), "dim") for note in row.model.notes)
    return Content("\n").join(lines)


def _do(row: AdviceRow, *, hub: str, online: bool) -> list[tuple[str, str]]:
    if row.local is not None:
        return [("  Enter ", "$primary"), ("loads it; it is on this disk", "")]
    size = wording.size(row.variant.size_bytes)
    about = "" if row.variant.size_is_exact else "about "
    if not online:
        return [(f"  offline: {about}{size} would have to be downloaded", "$warning")]
    return [("  Enter ", "$primary"), (f"downloads {about}{size} from {clean(hub)}", "")]


def _figures(plan: Plan) -> str:
    times = plan.time_to_answer
    assumed = ", assuming usual lengths" if times.assumed else ""
    return (
        f"Estimate: {wording.speed_range(plan.generation_tps)}; an answer takes "
        f"{wording.time_range(times.typical)}, a hard question "
        f"{wording.time_range(times.hard)}{assumed}."
    )


def _memory(plan: Plan, machine: Machine) -> str:
    free = {device.name: device.free_bytes for device in machine.devices}
    places = "; ".join(_place(device, free.get(device.name)) for device in plan.devices)
    bound = " at most" if plan.upper_bound else ""
    window = wording.count(plan.settings.context_window)
    return f"Needs{bound} {places}, with a context window of {window} tokens."


def _place(device: DeviceMemory, free_bytes: int | None) -> str:
    known = f" of {wording.size(free_bytes)} free" if free_bytes is not None else ""
    return f"{wording.size(device.total_bytes)}{known} on {clean(device.name)}"


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
