"""`localr1 advise`: what fits, ranked."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence

from localr1.cli import columns, opening, output
from localr1.cli.columns import Column
from localr1.cli.machine import machine_for
from localr1.engine import runs
from localr1.errors import NothingFits
from localr1.fit import explain, time_words
from localr1.fit.types import Advice, Asked, Plan
from localr1.home import Home, advise
from localr1.machine.types import Machine

# Narrower terminals lose the reason first, then the time, then the memory.
_WIDE, _MEDIUM, _NARROW = 100, 72, 60
_MOST_CHANGES = 3


def run(arguments: argparse.Namespace) -> int:
    """Print ranked advice; exit code 3 when no R1 model fits."""
    home = opening.home(arguments)
    machine = machine_for(arguments, home)
    every = arguments.json or arguments.all
    advice = advise(
        home,
        machine,
        goal=arguments.goal,
        asked=Asked(arguments.context),
        every_variant=every,
    )
    fits = any(plan.fits and not plan.model.demo for plan in advice.plans)
    record = runs.record_line(home.directories.cache, machine)
    idle, mended = _after_fix(arguments, home, machine)
    if arguments.json:
        from localr1.fit import report  # noqa: PLC0415 - a table needs neither
        from localr1.machine import profile  # noqa: PLC0415

        told = report.advice_to_json(advice, profile.to_json(machine))
        after = report.plan_to_json(mended, 1) if mended is not None else None
        output.print_json({**told, "record": record, "idle_gpu": idle or None, "after_fix": after})
    else:
        lines = _lines(advice, machine, columns.width(), every_variant=arguments.all)
        if (arguments.ram or arguments.gpu) and not arguments.profile:
            chip = any(device.unified and device.reason == "what if" for device in machine.gpus)
            processor = (
                "the chip's own processor" if chip else f"this one's processor ({machine.cpu.name})"
            )
            output.print_lines(
                columns.wrapped(f"Another machine, with {processor}.", columns.width())
            )
        output.print_lines([*lines, *([record] if record else [])])
        output.print_lines(_idle_lines(idle, mended, columns.width()))
    return 0 if fits else NothingFits.exit_code


def _after_fix(
    arguments: argparse.Namespace, home: Home, machine: Machine
) -> tuple[str, Plan | None]:
    """What lies idle in a computer, and what would run best with it; empty where nothing does."""
    described = any((arguments.ram, arguments.gpu, arguments.gpu_memory))
    if described or all(device.usable_by_engine for device in machine.devices):
        return "", None
    from localr1.install import look  # noqa: PLC0415 - most computers have nothing idle
    from localr1.install.prospect import prospect  # noqa: PLC0415 - as above

    here = home.profile is None
    found = prospect(machine, look.bench() if here else look.bench_of(machine))
    if found is None:
        return "", None
    if found.machine is None:
        asked = "localr1 doctor" if here else "localr1 doctor with this profile"
        return f"{found.words} {asked} says more.", None
    mended = advise(
        home,
        found.machine,
        goal=arguments.goal,
        asked=Asked(arguments.context),
        every_variant=False,
    )
    best = next((p for p in mended.plans if p.fits and not p.model.demo), None)
    there = "localr1 doctor --fix mends that" + ("." if here else ", run there.")
    return f"{found.words} {there}", best


def _idle_lines(idle: str, mended: Plan | None, width: int) -> Iterator[str]:
    if idle:
        yield ""
        yield from columns.wrapped(idle, width)
    if mended is not None:
        name = f"{mended.model.name} {mended.variant.quantization}"
        yield from columns.wrapped(f"After the fix: {name}, {_speed(mended)}.", width)


def _speed(plan: Plan) -> str:
    seconds = plan.time_to_answer.typical.expected
    return f"{explain.tps(plan.generation_tps)}, a typical answer in {explain.duration(seconds)}"


def shown(advice: Advice, *, every_variant: bool) -> list[Plan]:
    """The plans to list: every one, or the first of each model."""
    seen: set[str] = set()
    plans = []
    for plan in advice.plans:
        if every_variant or plan.model.id not in seen:
            seen.add(plan.model.id)
            plans.append(plan)
    return plans


def _lines(advice: Advice, machine: Machine, width: int, *, every_variant: bool) -> Iterator[str]:
    yield from columns.wrapped(_free(machine), width)
    yield ""
    plans = shown(advice, every_variant=every_variant)
    yield from columns.table(_columns(width), [_cells(plan, width) for plan in plans], width)
    yield ""
    best = next((p for p in advice.plans if p.fits and not p.model.demo), None)
    if best is None:
        yield from _nothing(shown(advice, every_variant=False), width)
    else:
        yield f"Best here ({advice.goal}): {best.model.name} {best.variant.quantization}"
        for line in _times(best):
            yield from columns.wrapped(line, width, mark="- ", indent=1)
        for reason in best.reasons:
            yield from columns.wrapped(reason, width, mark="- ", indent=1)
        yield f"Get it: localr1 pull {best.model.id}:{best.variant.quantization}"
        yield from _almost(shown(advice, every_variant=False), width)
    if advice.full_r1 is not None:
        yield ""
        yield from columns.wrapped(f"The full R1: {advice.full_r1.words}.", width)


def _free(machine: Machine) -> str:
    memory = explain.gib(machine.memory.available_bytes)
    cards = Counter(f"{gpu.description} {explain.gib(gpu.free_bytes)}" for gpu in machine.gpus)
    gpus = ", ".join(f"{count} x {card}" if count > 1 else card for card, count in cards.items())
    return f"Free: {memory} memory" + (f"; {gpus}" if gpus else "; no usable GPU")


def _nothing(plans: Sequence[Plan], width: int) -> Iterator[str]:
    yield "No R1 model fits this computer. The nearest ones:"
    for plan in [p for p in plans if not p.fits][:3]:
        text = f"{plan.model.name} {plan.variant.quantization}: {plan.reasons[0]}"
        yield from columns.wrapped(text, width, mark="- ", indent=1)
        for change in plan.would_fit_if:
            yield from columns.wrapped(f"fits if {change}", width, indent=3)
    yield "The demo model runs everywhere: localr1 chat demo"


def _almost(plans: Sequence[Plan], width: int) -> Iterator[str]:
    """What would make the distills fit that do not."""
    for plan in plans:
        if plan.fits or not plan.would_fit_if or plan.model.architecture.expert_count:
            continue
        changes = ", or if ".join(plan.would_fit_if[:_MOST_CHANGES])
        yield ""
        yield from columns.wrapped(
            f"{plan.model.name} {plan.variant.quantization} would fit if {changes}.", width
        )


def _columns(width: int) -> list[Column]:
    titles = [Column("model"), Column("variant"), Column("answer in")]
    if width >= _NARROW:
        titles.append(Column("needs", right=True))
    if width >= _MEDIUM:
        titles.append(Column("tok/s", right=True))
    if width >= _WIDE:
        titles.append(Column("why"))
    return titles


def _cells(plan: Plan, width: int) -> list[str]:
    name = "demo" if plan.model.demo else plan.model.name.removeprefix("DeepSeek-")
    times = plan.time_to_answer
    time = f"{time_words.short_time_range(times.typical)}{_star(plan, times.assumed)}"
    cells = [name, plan.variant.quantization, time if plan.fits else explain.lacking(plan)]
    if width >= _NARROW:
        cells.append(explain.gib(plan.total_bytes))
    if width >= _MEDIUM:
        cells.append(_tps(plan))
    if width >= _WIDE:
        cells.append(explain.brief(plan))
    return [output.line(cell) for cell in cells]


def _star(plan: Plan, assumed: bool) -> str:
    return "*" if assumed and not plan.model.demo else ""


def _cut(plan: Plan) -> str:
    return ", cut short," if plan.time_to_answer.hard_cut_short else ""


def _times(plan: Plan) -> Iterator[str]:
    """How long the kinds of question take."""
    times = plan.time_to_answer
    kinds = (
        ("A typical answer in", times.typical, times.assumed),
        (f"a hard one{_cut(plan)} in", times.hard, times.hard_assumed),
        ("one about a long document in", times.long_document, times.assumed),
    )
    yield (
        ", ".join(
            f"{kind} {time_words.time_range(time)}{_star(plan, assumed)}"
            for kind, time, assumed in kinds
        )
    )
    if times.assumed or times.hard_assumed:
        yield "The length of its thinking is assumed (*)"


def _tps(plan: Plan) -> str:
    return explain.tps(plan.generation_tps).removesuffix(" tokens/s") if plan.fits else ""
