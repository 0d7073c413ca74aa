"""`localr1 estimate`: what one model takes, by device and component, and how fast it runs."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

from rich.table import Table

from localr1 import exact, track_record, workflow
from localr1.cli import columns, opening, output
from localr1.cli.machine import machine_for
from localr1.config import expanded
from localr1.errors import UsageError
from localr1.fit import advisor, explain, placement, report, time_words
from localr1.fit.types import DeviceMemory, Interval, Plan
from localr1.fit.weights import origin
from localr1.home import look
from localr1.machine.types import Machine
from localr1.models import acquire
from localr1.models.types import Model, Variant

_HUB_FILE = re.compile(r"[\w][\w.-]*/[\w][\w.-]*/.+\.gguf", re.IGNORECASE)
_REMOTE = re.compile(r"hf:|https?://", re.IGNORECASE)
_ORIGINS = {
    "header": "from the file's own header",
    "recipe": "by llama.cpp's recipe for {quantization}, which gives the file's size",
    "size": "approximately: the file was mixed in another way than llama.cpp does",
}


def run(arguments: argparse.Namespace) -> int:
    """Print the estimate."""
    home = opening.home(arguments)
    machine = machine_for(arguments, home)
    model, variant, path = _meant(home, machine, arguments.model, ask_hub=arguments.exact)
    (model,) = track_record.as_used_here(home.directories, (model,))
    plan = placement.place(
        model,
        variant,
        machine,
        context_window=arguments.context,
        kv_cache_type=arguments.kv,
        gpu_layers=arguments.gpu_layers,
    )
    words = ""
    if arguments.exact:
        elsewhere = any((arguments.profile, arguments.gpu, arguments.gpu_memory))
        here = asyncio.run(look(home.directories)) if elsewhere else machine
        workflow.check_devices(plan, here)
        confirmed = asyncio.run(exact.confirmed(plan, machine, home.directories, path=path))
        plan, words = confirmed.plan, confirmed.words
    if arguments.json:
        described = report.estimate_to_json(plan, exact=arguments.exact)
        output.print_json({**described, "differences": words})
    else:
        _print(plan, machine, words, asked=arguments.exact)
    return 0


def _meant(
    home: workflow.Home, machine: Machine, text: str, *, ask_hub: bool
) -> tuple[Model, Variant, Path | None]:
    """Model, variant, and the file if it is here; as exactly as its header says.

    The hub is asked for the header of a file that it names; for one of the catalogue's only when
    that was asked for, and never again once it is known.

    Raises:
        LocalR1Error: Nothing answers to the text, or it cannot be read.
    """
    remote = _HUB_FILE.fullmatch(text) and not expanded(text).exists()
    if remote or _REMOTE.match(text):
        reference = acquire.parse_reference(f"hf:{text}" if remote else text)
        if not isinstance(reference, Path):
            found = exact.from_reference(
                reference, home.catalogue, home.directories, offline=home.offline
            )
            return *asyncio.run(found), None
    choice = home.catalogue.resolve(text)
    model, variant = choice.model, choice.variant
    if variant is None:
        variant = _suitable(home, machine, model)
    local = home.library.find(choice if choice.variant else type(choice)(model, variant))
    path = local.path if local is not None else variant.path
    if path is not None:
        return *exact.from_file(model, variant, path, home.directories), path
    offline = home.offline or not ask_hub
    asked = exact.from_hub(model, variant, home.directories, offline=offline, say=_say)
    return *asyncio.run(asked), None


def _suitable(home: workflow.Home, machine: Machine, model: Model) -> Variant:
    """The variant that suits the machine best, or lacks least."""
    if not model.variants:
        raise UsageError(f"{model.id} has no files.", "", "See `localr1 models --all`.")
    advice = advisor.advise(
        machine, (model,), home.preferences.goal, quantization_loss=home.catalogue.quantization_loss
    )
    variant = advice.plans[0].variant
    if len(model.variants) > 1:
        _say(f"{variant.quantization} suits this computer best.")
    return variant


def _print(plan: Plan, machine: Machine, words: str, *, asked: bool) -> None:
    console = output.console()
    variant, settings = plan.variant, plan.settings
    console.print(f"{plan.model.name} {variant.quantization}, {explain.gib(variant.size_bytes)}")
    console.print(
        f"Context {settings.context_window:,} tokens, KV cache {settings.kv_cache_type},"
        f" {_placed(plan)}"
    )
    console.print()
    console.print(_table(plan, machine))
    console.print()
    for line in _remarks(plan, asked=asked):
        console.print(line)
    console.print(_speeds(plan))
    output.print_lines(columns.wrapped(_times(plan), columns.width()))
    if words:
        console.print(words)
    verdict = ("It fits.",) if plan.fits else plan.reasons[:1]
    for line in (*verdict, *plan.reasons[1:]):
        console.print(line)
    for change in plan.would_fit_if:
        console.print(f"  fits if {change}")


def _placed(plan: Plan) -> str:
    settings, layers = plan.settings, plan.model.architecture.layers + 1
    if not settings.device_names or not settings.gpu_layers:
        return "all on the CPU"
    on_gpu = min(settings.gpu_layers, layers)
    where = explain.together(settings.device_names)
    experts = ", experts on the CPU" if settings.cpu_expert_layers else ""
    return f"{on_gpu} of {layers} layers on {where}{experts}"


def _table(plan: Plan, machine: Machine) -> Table:
    free = {"CPU": machine.memory.available_bytes}
    free |= {gpu.name: gpu.free_bytes for gpu in machine.gpus}
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for name in ("weights", "KV cache", "compute", "other", "total", "must stay", "free"):
        table.add_column(name, justify="right", no_wrap=True)
    for device in plan.devices:
        table.add_row(
            device.name,
            *(explain.gib(size) if size else "-" for size in _components(device)),
            explain.gib(free[device.name]) if device.name in free else "?",
        )
    return table


def _components(device: DeviceMemory) -> tuple[int, ...]:
    return (
        device.weights_bytes,
        device.kv_cache_bytes,
        device.compute_buffer_bytes,
        device.output_bytes + device.overhead_bytes,
        device.total_bytes,
        device.resident_bytes,
    )


def _remarks(plan: Plan, *, asked: bool) -> list[str]:
    """What the table does not say: where the figures come from, and what weights are made of."""
    told = _ORIGINS[origin(plan.model.architecture, plan.variant)]
    lines = [f"Tensors: {told.format(quantization=plan.variant.quantization)}."]
    if asked:
        lines.append("Memory: as llama.cpp itself reckons it.")
    elif plan.upper_bound:
        lines.append("The compute buffer is at most this.")
    cpu = plan.devices[0]
    if cpu.mapped_bytes:
        lines.append(
            f"{explain.gib(cpu.mapped_bytes)} of the CPU's weights are pages of the file, which"
            " need not stay."
        )
    if cpu.repack_bytes:
        lines.append(
            f"{explain.gib(cpu.repack_bytes)} of them are copies that the CPU reads faster."
        )
    return lines


def _speeds(plan: Plan) -> str:
    return (
        f"Speed: prompts {_range(plan.prompt_tps)}, replies {_range(plan.generation_tps)} tokens/s."
    )


def _times(plan: Plan) -> str:
    times = plan.time_to_answer
    kinds = (
        ("typical", times.typical, times.assumed),
        (f"hard{', cut short,' if times.hard_cut_short else ''}", times.hard, times.hard_assumed),
        ("on a long document", times.long_document, times.assumed),
    )
    told = ", ".join(
        f"{kind} {time_words.time_range(time)}{'*' if assumed and not plan.model.demo else ''}"
        for kind, time, assumed in kinds
    )
    note = " (* assumed)" if "*" in told else ""
    return f"Answers: {told}{note}."


def _range(interval: Interval) -> str:
    middle, low, high = (
        explain.tps(Interval(one, one, one)).removesuffix(" tokens/s")
        for one in (interval.expected, interval.low, interval.high)
    )
    return f"{middle} ({low} to {high})"


def _say(text: str) -> None:
    output.note(f"localr1: {text}")
