"""`localr1 bench`: how fast a model really is here, and with how many threads."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass, replace
from typing import Any

from localr1 import workflow
from localr1.cli import opening, output
from localr1.cli.ask import choose
from localr1.engine import experience
from localr1.engine.bench import LIMIT_SECONDS, Bench, Measurement
from localr1.fit import placement
from localr1.fit.search import speed_of
from localr1.fit.speed import TYPICAL
from localr1.fit.threads import WIN_SHARE, ThreadSpeed, candidates
from localr1.fit.threads import choose as choose_threads
from localr1.fit.types import Interval, Plan
from localr1.machine.busy import BUSY_SHARE, used_share
from localr1.machine.types import Machine
from localr1.models.types import LocalModel
from localr1.track_record import Measured, record_line

SCHEMA = 1


@dataclass(frozen=True)
class Outcome:
    """A measurement, and what follows from it."""

    local: LocalModel
    plan: Plan
    """As it was loaded in the end."""
    measured: Measurement
    default_threads: int
    threads: int
    """The fastest; used from now on, if the measurement can be trusted."""
    predicted_prompt_tps: Interval
    predicted_generation_tps: Interval
    """At the depth of the measurement."""
    used_share: float
    """Of the processor, by other programs, before or after the measurement."""
    for_profile: bool
    """Whether the plan and the prediction are those of a profile; it was measured here."""
    record: str
    """How well the last runs were predicted, this one included."""

    @property
    def trusted(self) -> bool:
        """Whether the measurement says something about the computer as it is used."""
        return self.used_share < BUSY_SHARE and not self.for_profile

    @property
    def best(self) -> ThreadSpeed:
        """The measurements with the chosen count."""
        return next(s for s in self.measured.speeds if s.threads == self.threads)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and remember the fastest number of threads."""
    home = opening.home(arguments)
    local = choose(home, arguments.model)
    machine, outcome = asyncio.run(_measure(home, local))
    if outcome.trusted:
        experience.remember_threads(
            *(home.directories.cache, machine, local.size_bytes, outcome.plan.settings),
            outcome.threads,
        )
    if arguments.json:
        output.print_json(_as_json(outcome, machine))
    else:
        _print(outcome)
    return 0


async def _measure(home: workflow.Home, local: LocalModel) -> tuple[Machine, Outcome]:
    machine = await workflow.examine(home)
    plan = workflow.plan_for(home, machine, local)
    default = placement.thread_count(local.size_bytes, machine.cpu)
    counts = candidates(machine.cpu, default)
    plan = replace(plan, settings=replace(plan.settings, threads=default, draft_tokens=0))
    output.note(
        f"localr1: measuring {local.model.name} with {_listed(counts)}"
        f" thread{'' if counts == (1,) else 's'}, in up to about {LIMIT_SECONDS:.0f} s. Whatever"
        " else runs meanwhile falsifies it."
    )
    if home.profile is not None:
        output.note(
            "localr1: the plan and the prediction are those of the profile; what is measured is"
            " this computer, and nothing of it is remembered."
        )
    if machine.power.on_battery:
        output.note("localr1: the computer runs on its battery and may be slower than on mains.")
    used = await asyncio.to_thread(used_share)
    engine = await workflow.start_engine(
        home, local, plan, on_step=lambda words: output.note(f"localr1: {words}")
    )
    watch = workflow.watch(home, replace(plan, settings=engine.settings), machine)
    try:
        measured = await Bench(engine, local.model).run(counts, default, _show_round)
    finally:
        await asyncio.shield(engine.close())
    used = max(used, await asyncio.to_thread(used_share))
    plan = replace(plan, settings=engine.settings)
    speed = speed_of(plan, machine)
    answer = local.model.thinking_tokens.typical + TYPICAL.answer_tokens
    chosen = choose_threads(measured.speeds, default, TYPICAL.prompt_tokens, answer)
    best = next(one for one in measured.speeds if one.threads == chosen)
    watch.record(
        Measured(
            "bench",
            prompt_tokens=measured.prompt_tokens,
            prompt_tps=best.prompt_tps.expected,
            cached_tokens=0,
            generated_tokens=measured.generated_tokens,
            generation_tps=best.generation_tps.expected,
            depth_tokens=measured.depth_tokens,
        ),
        busy_share=used,
    )
    return machine, Outcome(
        local,
        plan,
        measured,
        default,
        chosen,
        speed.prompt_tps(measured.prompt_tokens),
        speed.generation_tps(measured.depth_tokens),
        used,
        home.profile is not None,
        record_line(home.directories, machine),
    )


def _show_round(number: int, rounds: int) -> None:
    """A line that rewrites itself, where someone watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Kround {number} of at most {rounds}")
        sys.stderr.flush()


def _print(outcome: Outcome) -> None:
    from rich.table import Table  # noqa: PLC0415 - heavy

    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    measured, settings = outcome.measured, outcome.plan.settings
    console = output.console()
    layers = f", {settings.gpu_layers} layers on the GPU" if settings.gpu_layers else ""
    output.say(
        f"{outcome.local.model.name} {outcome.local.variant.quantization}, context"
        f" {settings.context_window:,}, KV cache {settings.kv_cache_type}{layers}"
    )
    console.print(
        f"Medians of {measured.rounds} rounds, {measured.prompt_tokens} prompt and"
        f" {measured.generated_tokens} generated tokens each:\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("threads", justify="right")
    for name in ("prompt tok/s", "spread", "generation tok/s", "spread"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for speed in measured.speeds:
        table.add_row(
            str(speed.threads),
            _figure(speed.prompt_tps.expected),
            _spread(speed.prompt_tps),
            _figure(speed.generation_tps.expected),
            _spread(speed.generation_tps),
            _remark(outcome, speed),
        )
    console.print(table)
    best = outcome.best
    console.print()
    for what, predicted, found in (
        ("Prompts", outcome.predicted_prompt_tps, best.prompt_tps),
        ("Generation", outcome.predicted_generation_tps, best.generation_tps),
    ):
        console.print(
            f"{what}: predicted {_figure(predicted.low)} to {_figure(predicted.high)} tok/s,"
            f" measured {_figure(found.expected)}."
        )
    if outcome.record:
        console.print(outcome.record)
    count = outcome.threads
    if outcome.for_profile:
        console.print("Measured on this computer, planned for the profile's: nothing changes.")
    elif not outcome.trusted:
        console.print(
            f"Other programs used {outcome.used_share:.0%} of the processor, so the number of"
            " threads stays as it was. Run it again when they are done."
        )
    elif count == outcome.default_threads:
        console.print(
            f"It stays at {count} thread{'' if count == 1 else 's'}: no other number was faster by"
            f" more than {WIN_SHARE:.0%}."
        )
    else:
        console.print(
            f"From now on {count} thread{'' if count == 1 else 's'} for models of about this size"
            " on this computer."
        )


def _remark(outcome: Outcome, speed: ThreadSpeed) -> str:
    if speed.threads == outcome.threads:
        if not outcome.trusted:
            return "fastest"
        return "used" if speed.threads == outcome.default_threads else "used from now on"
    if len(speed.samples) < outcome.measured.rounds:
        return "far slower"
    return "default" if speed.threads == outcome.default_threads else ""


def _listed(counts: tuple[int, ...]) -> str:
    words = [str(count) for count in counts]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _figure(tps: float) -> str:
    digits = 0 if tps >= 100 else 1 if tps >= 10 else 2
    return f"{tps:,.{digits}f}"


def _spread(interval: Interval) -> str:
    return f"{_figure(interval.low)}–{_figure(interval.high)}"


def _as_json(outcome: Outcome, machine: Machine) -> dict[str, Any]:
    measured, settings = outcome.measured, outcome.plan.settings

    def spread(interval: Interval, middle: str) -> dict[str, float]:
        return {"low": interval.low, middle: interval.expected, "high": interval.high}

    return {
        "schema": SCHEMA,
        "model": outcome.local.model.id,
        "variant": outcome.local.variant.quantization,
        "engine": machine.engine.version,
        "context_window": settings.context_window,
        "kv_cache_type": settings.kv_cache_type,
        "gpu_layers": settings.gpu_layers,
        "cpu_expert_layers": settings.cpu_expert_layers,
        "ubatch": settings.ubatch,
        "flash_attention": settings.flash_attention,
        "rounds": measured.rounds,
        "prompt_tokens": measured.prompt_tokens,
        "generated_tokens": measured.generated_tokens,
        "depth_tokens": measured.depth_tokens,
        "seconds": measured.seconds,
        "default_threads": outcome.default_threads,
        "threads": outcome.threads,
        "remembered": outcome.trusted,
        "for_profile": outcome.for_profile,
        "used_by_others_share": outcome.used_share,
        "record": outcome.record,
        "results": [
            {
                "threads": speed.threads,
                "prompt_tps": spread(speed.prompt_tps, "median"),
                "generation_tps": spread(speed.generation_tps, "median"),
                "samples": [
                    {"prompt_tps": s.prompt_tps, "generation_tps": s.generation_tps}
                    for s in speed.samples
                ],
            }
            for speed in measured.speeds
        ],
        "predicted": {
            "prompt_tps": spread(outcome.predicted_prompt_tps, "expected"),
            "generation_tps": spread(outcome.predicted_generation_tps, "expected"),
        },
    }
