"""What this computer has and what llama.cpp can use of it."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.widgets import Static

from localr1.machine.types import Device, Machine, Power
from localr1.printable import printable
from localr1.tui import wording

_LABEL_CELLS = 11
# What tells apart how fast a CPU computes; any name after the colon makes the first redundant.
_FEATURES: dict[str, tuple[str, ...]] = {
    "AMX": (),
    "AVX512": (),
    "AVX2": (),
    "AVX": ("AVX2", "AVX512"),
    "SSE3": ("AVX", "AVX2", "AVX512"),
    "FMA": (),
    "F16C": (),
    "SVE": (),
    "NEON": (),
    "DOTPROD": (),
}
_MOST_PROBLEMS = 2


def machine_lines(machine: Machine | None, width: int) -> list[Content]:
    """The panel's lines.

    Args:
        machine: None while it is being examined.
        width: Cells of a line; longer lines are cut.
    """
    if machine is None:
        rows = [("CPU", "examining…"), ("Memory", "…"), ("Graphics", "…"), ("llama.cpp", "…")]
        return [_row(label, Content.styled(text, "dim"), width) for label, text in rows]
    lines = [
        _row("CPU", _cpu(machine), width),
        _row("Memory", _memory(machine), width),
        *_graphics(machine, width),
        _row("llama.cpp", _engine(machine), width),
    ]
    if machine.power.on_battery:
        lines.append(_row("Power", _battery(machine.power), width))
    problems = [p for p in (*machine.problems, *_engine_problem(machine)) if p]
    for problem in problems[:_MOST_PROBLEMS]:
        lines.extend(_problem(problem, width))
    if (more := len(problems) - _MOST_PROBLEMS) > 0:
        lines.extend(_problem(f"{more} more: run `localr1 doctor`.", width))
    return lines


def _row(label: str, text: Content, width: int) -> Content:
    line = Content.assemble((label.ljust(_LABEL_CELLS), "dim"), text)
    return line.truncate(width, ellipsis=True)


def _cpu(machine: Machine) -> Content:
    cpu = machine.cpu
    cores = wording.plural(cpu.physical_cores, "core")
    if cpu.performance_cores != cpu.physical_cores:
        cores += f" ({cpu.performance_cores} fast)"
    has = {name for name in _FEATURES for feature in cpu.features if _is(name, feature)}
    features = " ".join(n for n, by in _FEATURES.items() if n in has and has.isdisjoint(by))
    parts = [(printable(cpu.name) or "unknown", "bold"), (f" · {cores}", "")]
    if features:
        parts.append((f" · {features}", "dim"))
    return Content.assemble(*parts)


def _is(wanted: str, feature: str) -> bool:
    name = feature.upper().replace("_", "")
    return name == wanted or (wanted == "AMX" and name.startswith("AMX"))


def _memory(machine: Machine) -> Content:
    memory = machine.memory
    return Content.assemble(
        (f"{wording.size(memory.available_bytes)} free", "bold"),
        f" of {wording.size(memory.total_bytes)}",
        (_bandwidth(memory.bandwidth_bytes_per_second), "dim"),
    )


def _bandwidth(bytes_per_second: float | None) -> str:
    return f" · {bytes_per_second / 1e9:,.0f} GB/s" if bytes_per_second else ""


def _graphics(machine: Machine, width: int) -> list[Content]:
    cards = [device for device in machine.devices if device.kind != "cpu"]
    if not cards:
        return [_row("Graphics", Content.styled("none found; the CPU does the work", "dim"), width)]
    lines = []
    for number, card in enumerate(cards):
        lines.append(_row("Graphics" if number == 0 else "", _card(card), width))
        if card.users:
            lines.append(_row("", Content.styled(_users(card), "dim"), width))
    return lines


def _users(card: Device) -> str:
    """Who holds its memory."""
    return ", ".join(
        f"{printable(user.name)} holds {wording.size(user.held_bytes)}" for user in card.users
    )


def _card(card: Device) -> Content:
    name = printable(card.description) or printable(card.name)
    if not card.usable_by_engine:
        return Content.assemble((name, ""), (f" · not used: {printable(card.reason)}", "$warning"))
    parts = [(name, "bold")]
    if card.unified:
        parts.append((" · shares main memory", ""))
    elif card.total_bytes:
        parts.append(
            (f" · {wording.size(card.free_bytes)} free of {wording.size(card.total_bytes)}", "")
        )
    parts.append((f" · {printable(card.name)}", "dim"))
    return Content.assemble(*parts)


def _battery(power: Power) -> Content:
    parts = ["on battery"]
    if power.percent is not None:
        parts.append(f"{power.percent:.0f} %")
    if power.watts:
        parts.append(f"drawing {power.watts:.0f} W")
    return Content.styled(" · ".join(parts), "$warning")


def _engine(machine: Machine) -> Content:
    engine = machine.engine
    if engine.problem or not engine.version:
        return Content.styled("does not start", "$error")
    devices = ", ".join(printable(device.name) for device in engine.devices) or "CPU"
    backends = ", ".join(printable(backend) for backend in engine.backends) or "CPU"
    return Content.assemble(
        (f"{printable(engine.version)}", "bold"),
        f" · computes on {devices}",
        ("" if backends == devices else f" · built for {backends}", "dim"),
    )


def _engine_problem(machine: Machine) -> tuple[str, ...]:
    engine = machine.engine
    if engine.problem or not engine.version:
        return (engine.problem or "llama-cpp-python is not installed; run `localr1 doctor`.",)
    return ()


def _problem(text: str, width: int) -> list[Content]:
    wrapped = Content(printable(text)).wrap(max(20, width - 2))[:2]
    return [
        Content.assemble(("! " if number == 0 else "  ", "$warning bold"), line)
        for number, line in enumerate(wrapped)
    ]


class MachinePanel(Static):
    """The computer at a glance; it fills in when the machine has been examined.

    Args:
        title: What it is.
    """

    DEFAULT_CSS = """
    MachinePanel {
        height: auto;
        padding: 0 1;
        margin: 0 1;
        border: round $border-blurred;
        border-title-color: $text-muted;
        border-title-background: $background;
    }
    MachinePanel.-elsewhere { border: round $warning; border-title-color: $warning; }
    """

    def __init__(self, title: str = "This machine") -> None:
        super().__init__("", markup=False, id="machine")
        self._title = title
        self._machine: Machine | None = None
        self._elsewhere = False

    def show(self, machine: Machine | None, *, elsewhere: bool = False) -> None:
        """Draw a machine, or that it is being examined.

        Args:
            machine: None while it is being examined.
            elsewhere: Whether it is another than the one that is planned for.
        """
        self._machine = machine
        self._elsewhere = elsewhere
        self.border_title = "What if: not this machine" if elsewhere else self._title
        self.set_class(elsewhere, "-elsewhere")
        self._draw()

    def _draw(self) -> None:
        width = max(20, self.content_size.width or self.app.size.width - 6)
        self.update(Content("\n").join(machine_lines(self._machine, width)))

    def on_mount(self) -> None:
        """Something is there from the first frame on."""
        self.show(self._machine, elsewhere=self._elsewhere)

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the lines to the new width, when it has been laid out."""
        self.call_after_refresh(self._draw)
