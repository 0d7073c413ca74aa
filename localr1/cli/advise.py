"""`localr1 advise`: what fits, ranked."""

from __future__ import annotations

import argparse

from rich.table import Table

from localr1 import workflow
from localr1.cli import output
from localr1.cli.machine import machine_for
from localr1.errors import NothingFits
from localr1.fit import explain, report
from localr1.fit.types import Advice, Plan
from localr1.machine import profile
from localr1.machine.types import Machine

# Narrower terminals lose the reason first, then the time, then the memory.
_WIDE, _MEDIUM, _NARROW = 100, 76, 60


def run(arguments: argparse.Namespace) -> int:
    """Print ranked advice; exit code 3 when no R1 model fits."""
    home = workflow.open_home(offline=getattr(arguments, "offline", False))
    machine = machine_for(arguments, home)
    advice = workflow.advise(home, machine, goal=arguments.goal, context_window=arguments.context)
    fits = any(plan.fits and not plan.model.demo for plan in advice.plans)
    if arguments.json:
        output.print_json(report.advice_to_json(advice, profile.to_json(machine)))
    else:
        _print(advice, machine, every_variant=arguments.all)
    return 0 if fits else NothingFits.exit_code


def shown(advice: Advice, *, every_variant: bool) -> list[Plan]:
    """The plans to list: every one, or the first of each model."""
    seen: set[str] = set()
    plans = []
    for plan in advice.plans:
        if every_variant or plan.model.id not in seen:
            seen.add(plan.model.id)
            plans.append(plan)
    return plans


def _print(advice: Advice, machine: Machine, *, every_variant: bool) -> None:
    console = output.console()
    width = console.width
    memory = explain.gib(machine.memory.available_bytes)
    gpus = ", ".join(f"{d.description} {explain.gib(d.free_bytes)}" for d in machine.gpus)
    console.print(f"Free: {memory} memory" + (f"; {gpus}" if gpus else "; no usable GPU"))
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("model", overflow="fold")
    table.add_column("variant", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    if width >= _NARROW:
        table.add_column("needs", justify="right", no_wrap=True)
    table.add_column("tok/s", justify="right", no_wrap=True)
    if width >= _MEDIUM:
        table.add_column("typical answer", justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("why", overflow="fold", ratio=1)
    for plan in shown(advice, every_variant=every_variant):
        table.add_row(*_cells(plan, width))
    console.print(table)
    best = next((p for p in advice.plans if p.fits and not p.model.demo), None)
    if best is None:
        console.print("\nNo R1 model fits this computer. The nearest ones:")
        for plan in [p for p in shown(advice, every_variant=False) if not p.fits][:3]:
            console.print(f"  {plan.model.name} {plan.variant.quantization}: {plan.reasons[0]}")
            for change in plan.would_fit_if:
                console.print(f"    fits if {change}")
        console.print("The demo model runs everywhere: localr1 chat demo")
        return
    console.print(f"\nBest here ({advice.goal}): {best.model.name} {best.variant.quantization}")
    for reason in best.reasons:
        console.print(f"  {reason}")
    console.print(f"Get it: localr1 pull {best.model.id}:{best.variant.quantization}")


def _cells(plan: Plan, width: int) -> list[str]:
    name = plan.model.name.removeprefix("DeepSeek-")
    cells = [name, plan.variant.quantization, "yes" if plan.fits else "no"]
    if width >= _NARROW:
        cells.append(explain.gib(plan.total_bytes))
    cells.append(_tps(plan))
    if width >= _MEDIUM:
        cells.append(
            f"about {explain.duration(plan.time_to_answer.typical.expected)}" if plan.fits else ""
        )
    if width >= _WIDE:
        cells.append(explain.brief(plan))
    return cells


def _tps(plan: Plan) -> str:
    return explain.tps(plan.generation_tps).removesuffix(" tokens/s") if plan.fits else ""
