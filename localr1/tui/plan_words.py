"""A plan told: in a few lines under the list, and whole. Pure functions; all text is cleaned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from textual.content import Content

from localr1.fit import time_words
from localr1.fit.explain import brief, held_by
from localr1.fit.full_r1 import FEWEST_PARAMETERS
from localr1.fit.memory import CPU
from localr1.fit.types import FullR1, Plan
from localr1.fit.usage import PoolUse, pool_uses
from localr1.machine.types import Machine
from localr1.printable import one_line, printable
from localr1.tui import wording
from localr1.tui.advice_row import AdviceRow
from localr1.tui.memory_bar import memory_lines, pool_name
from localr1.tui.scenario import Scenario

DEMO_WORDS = (
    "A demonstration, not an R1 model: it only adds, subtracts and compares numbers of up to "
    "four digits. It is part of localr1 and needs no download."
)
ASSUMED = "*"
"""Marks a time that rests on an assumed number of thinking tokens."""
_LIKELY_FROM_CELLS = 60


@dataclass(frozen=True)
class View:
    """What a plan is told against."""

    machine: Machine
    """The one that the plan is for, there or not."""
    scenario: Scenario
    full_r1: FullR1 | None
    hub: str
    """The host of downloads."""
    online: bool
    """Whether downloads are allowed."""
    record: str = ""
    """How good earlier predictions were; empty where there were none."""


def short(row: AdviceRow, view: View, width: int) -> Content:
    """The text under the list: what the key does, the time to an answer, memory, the reasons."""
    return Content("\n").join(_short(row, view, width))


@dataclass(frozen=True)
class Section:
    """A part of everything that is known of a plan."""

    title: str
    body: Content


def sections(row: AdviceRow, view: View, width: int) -> tuple[Section, ...]:
    """Everything that is known of a plan, beside its heading.

    Args:
        row: The plan.
        view: What it is told against.
        width: Cells of a body.
    """
    plan, model = row.plan, row.model
    uses = pool_uses(plan, view.machine)
    notes = _memory_notes(plan, uses, view.machine)
    full = [printable(view.full_r1.words)] if view.full_r1 is not None and not model.demo else []
    parts: tuple[tuple[str, Iterable[Content]], ...] = (
        ("", [Content(DEMO_WORDS)] if model.demo else []),
        ("Time to an answer", _all_times(plan, view, width)),
        ("Memory", [*memory_lines(uses, width), *_points(notes, width)]),
        ("Why" if plan.fits else "Why not", _points(plan.reasons, width)),
        ("It would fit if", _points(plan.would_fit_if, width)),
        ("How it is run", [Content(_settings(plan))]),
        ("The full R1", _points(full, width)),
        ("The model", _points([*model.notes, _file(row)], width)),
    )
    told = ((title, list(lines)) for title, lines in parts)
    return tuple(Section(title, Content("\n").join(lines)) for title, lines in told if lines)


def heading(row: AdviceRow, view: View) -> Content:
    """The model, and what choosing it does."""
    name = printable(row.model.name) if row.model.demo else wording.short_name(row.model.name)
    return Content.assemble(
        (f"{one_line(name, 60)} ", "bold"),
        (one_line(row.variant.quantization, 20), ""),
        *_do(row, view),
    )


def full_r1_words(full: FullR1) -> Content:
    """The honest line about the full R1."""
    return Content.assemble(("The full R1  ", "bold"), printable(full.words), ".")


def star(plan: Plan, *, hard: bool = False) -> str:
    """`ASSUMED` where a time rests on an assumed length of thinking; the demo's is known."""
    times = plan.time_to_answer
    is_assumed = times.hard_assumed if hard else times.assumed
    return ASSUMED if is_assumed and not plan.model.demo else ""


def _do(row: AdviceRow, view: View) -> list[tuple[str, str]]:
    if view.scenario.elsewhere:
        return [
            ("  what if: not this machine; ", "$warning"),
            ("t", "$primary"),
            (" goes back", ""),
        ]
    if row.local is not None:
        return [("  Enter ", "$primary"), ("loads it; it is on this disk", "")]
    size = wording.size(row.variant.size_bytes)
    about = "" if row.variant.size_is_exact else "~"
    if not view.online:
        return [(f"  offline: {about}{size} would have to be downloaded", "$warning")]
    return [("  Enter ", "$primary"), (f"downloads {about}{size} from {printable(view.hub)}", "")]


def _short(row: AdviceRow, view: View, width: int) -> Iterator[Content]:
    plan = row.plan
    yield heading(row, view)
    if row.model.demo:
        yield Content(DEMO_WORDS)
        return
    first, *others = [printable(reason) for reason in plan.reasons] or [""]
    if plan.fits:
        yield _times(plan)
        yield Content.styled(_short_facts(plan), "dim")
        if view.record:
            yield Content.styled(printable(view.record), "dim")
        first = brief(plan)
        first = first[:1].upper() + first[1:]
    elif _is_full(plan) and view.full_r1 is not None:
        yield full_r1_words(view.full_r1)
    else:
        yield Content(_sentence(first))
        first = ""
    yield from _would_fit(plan)
    yield from memory_lines(pool_uses(plan, view.machine), width)
    if told := " ".join(_sentence(reason) for reason in (first, *others) if reason):
        yield Content(printable(told))


def _points(texts: Iterable[str], width: int) -> Iterator[Content]:
    for text in texts:
        told = printable(text)
        lines = Content(_sentence(told[:1].upper() + told[1:])).wrap(max(10, width - 2))
        for number, line in enumerate(lines):
            yield Content.assemble(("  " if number else "· ", "dim"), line)


def _times(plan: Plan) -> Content:
    times = plan.time_to_answer
    return Content.assemble(
        "A typical answer in ",
        (f"{time_words.time_range(times.typical)}{star(plan)}", "bold"),
        f", a hard one{', cut short,' if times.hard_cut_short else ''} in ",
        (f"{time_words.time_range(times.hard)}{star(plan, hard=True)}", "bold"),
    )


def _short_facts(plan: Plan) -> str:
    tps, settings = plan.generation_tps, plan.settings
    is_assumed = star(plan) or star(plan, hard=True)
    note = f"{ASSUMED} length of thinking assumed · " if is_assumed else ""
    return (
        f"{note}{wording.speed(tps.low)} to {wording.speed(tps.high)} tokens/s · "
        f"context {wording.count(settings.context_window)} · KV {printable(settings.kv_cache_type)}"
    )


def _all_times(plan: Plan, view: View, width: int) -> Iterator[Content]:
    times = plan.time_to_answer
    rows = [
        (words, f"{time_words.time_range(t)}{mark}", time_words.rough_duration(t.expected), "bold")
        for words, t, mark in (
            ("typical question", times.typical, star(plan)),
            ("hard question", times.hard, star(plan, hard=True)),
            ("long document", times.long_document, star(plan)),
        )
    ]
    rows += [
        (words, f"{wording.speed(tps.low)} to {wording.speed(tps.high)} tokens/s", likely, "")
        for words, tps in (("writes", plan.generation_tps), ("reads", plan.prompt_tps))
        for likely in [wording.speed(tps.expected)]
    ]
    for words, spread, likely, style in rows:
        line = [(words.ljust(18), ""), (spread.ljust(22), style)]
        if width >= _LIKELY_FROM_CELLS:
            line.append((f"most likely {likely}", "dim"))
        yield Content.assemble(*line)
    if not plan.model.demo:
        yield Content.styled(_thinking(plan), "dim")
    if view.record:
        yield Content(printable(view.record))


def _thinking(plan: Plan) -> str:
    thinking = plan.model.thinking_tokens

    def told(tokens: int, mark: str) -> str:
        return wording.count(tokens) + (f" (assumed{mark})" if mark else "")

    typical, hard = told(thinking.typical, star(plan)), told(thinking.hard, star(plan, hard=True))
    text = f"Tokens of thinking: {typical} for a typical question, {hard} for a hard one."
    source = printable(thinking.source)
    return text if source in {"", "assumed"} else f"{text} Source: {_sentence(source)}"


def _would_fit(plan: Plan) -> Iterator[Content]:
    for way in plan.would_fit_if:
        yield Content.assemble(("Would fit if ", "$accent"), printable(way))


def _memory_notes(plan: Plan, uses: Iterable[PoolUse], machine: Machine) -> Iterator[str]:
    for use in uses:
        if held := held_by(machine, use.name):
            yield f"On {pool_name(use)} {held}"
    for device in plan.devices:
        where = "main memory" if device.name == CPU else device.name
        if device.mapped_bytes:
            yield (
                f"Of the weights in {where} {wording.size(device.mapped_bytes)} are pages of the "
                "file, which the system may drop and read again"
            )
        if device.repack_bytes:
            yield (
                f"{wording.size(device.repack_bytes)} of them are a copy in a layout that the "
                "processor reads faster"
            )
    for gpu in machine.gpus:
        if gpu.unified and gpu.name in plan.settings.device_names:
            yield f"{gpu.name} uses main memory; it counts there"
    if plan.upper_bound:
        yield "All of this is at most; it was not measured for such a model"


def _settings(plan: Plan) -> str:
    settings = plan.settings
    names = ", ".join(printable(name) for name in settings.device_names)
    layers = plan.model.architecture.layers + 1
    placed = f"{min(settings.gpu_layers, layers)} of {layers} layers on {names}" if names else "CPU"
    return (
        f"{placed} · context {wording.count(settings.context_window)} tokens · "
        f"KV cache {printable(settings.kv_cache_type)} · "
        f"flash attention {'on' if settings.flash_attention else 'off'} · "
        f"batches of {wording.count(settings.ubatch)}"
    )


def _file(row: AdviceRow) -> str:
    model, variant = row.model, row.variant
    about = "" if variant.size_is_exact else "about "
    parts = [f"{printable(variant.quantization)}, {about}{wording.size(variant.size_bytes)}"]
    if variant.repository:
        parts.append(one_line(variant.repository, 80))
    if row.local is not None:
        parts.append(f"here, in {one_line(str(row.local.path), 200)}")
    if model.license:
        differs = model.base_license and model.base_license != model.license
        base = f", its base {model.base_license}" if differs else ""
        parts.append(printable(f"licence {model.license}{base}"))
    return " · ".join(parts)


def _is_full(plan: Plan) -> bool:
    return plan.model.architecture.parameters >= FEWEST_PARAMETERS


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
