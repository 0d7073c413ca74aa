"""`localr1 models`, `pull` and `rm`: the models on this disk and on the hub."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from localr1 import workflow
from localr1.cli import output
from localr1.errors import FileError, Interrupted, NothingFits, UsageError
from localr1.fit import advisor
from localr1.fit.explain import duration
from localr1.models.place import size_text
from localr1.models.types import LocalModel, Model, Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from localr1.models.download import DownloadEvent

SCHEMA: Final = 1
_LINE_SECONDS: Final = 5.0


def run_models(arguments: argparse.Namespace) -> int:
    """Print the catalogue and what is here."""
    home = workflow.open_home(offline=getattr(arguments, "offline", False))
    here = {
        (local.model.id, local.variant.quantization): local for local in workflow.local_models(home)
    }
    if arguments.json:
        output.print_json(
            {
                "schema": SCHEMA,
                "models": [_model_json(model, here) for model in home.catalogue.models],
            }
        )
        return 0
    from rich.table import Table  # noqa: PLC0415 - only when a table is printed

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("id", "variant", "size", "here"):
        table.add_column(heading, justify="right" if heading == "size" else "left", overflow="fold")
    for model in home.catalogue.models:
        for variant in model.variants:
            local = here.get((model.id, variant.quantization))
            if arguments.all or local is not None or variant is _usual(model):
                table.add_row(
                    model.id,
                    variant.quantization,
                    size_text(variant.size_bytes),
                    "yes" if local else "",
                )
    console = output.console()
    console.print(table)
    for partial in home.library.partials():
        share = partial.done_bytes / max(1, partial.total_bytes)
        console.print(
            f"Stopped at {share:.0%}: {partial.repository} {partial.files[0]};"
            " `localr1 pull` goes on with it."
        )
    if not arguments.all:
        console.print("Every variant: localr1 models --all. What fits here: localr1 advise.")
    return 0


def run_pull(arguments: argparse.Namespace) -> int:
    """Download a variant."""
    home = workflow.open_home(offline=getattr(arguments, "offline", False))
    choice = home.catalogue.resolve(arguments.model)
    model = choice.model
    variant = choice.variant
    local = home.library.find(choice)
    if local is None and variant is None:
        variant = asyncio.run(_suitable(home, model))
    if local is None and variant is not None:
        try:
            local = asyncio.run(_pull(home, model, variant))
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped.", "", "What has come is kept; the same command goes on with it."
            ) from None
    if local is None:
        raise UsageError(f"{model.id} has nothing to download.", "", "See `localr1 models --all`.")
    output.console().print(f"{model.name} {local.variant.quantization} is here: {local.path}")
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Delete a downloaded variant."""
    home = workflow.open_home(offline=True)
    choice = home.catalogue.resolve(arguments.model)
    here = [
        local
        for local in workflow.local_models(home)
        if local.model.id == choice.model.id and choice.variant in {None, local.variant}
    ]
    if len(here) > 1:
        names = ", ".join(f"{local.model.id}:{local.variant.quantization}" for local in here)
        raise UsageError("Several variants are here.", names, "Name one of them.")
    if not here:
        raise FileError(
            f"{arguments.model} is not on this computer.", "", "`localr1 models` shows what is."
        )
    local = here[0]
    freed = home.library.remove(local)
    output.console().print(f"Removed {local.path.name}: {size_text(freed)} free again.")
    return 0


async def _suitable(home: workflow.Home, model: Model) -> Variant:
    """The variant of a model that suits this computer best.

    Raises:
        NothingFits: None does.
    """
    machine = await workflow.examine(home)
    advice = advisor.advise(
        machine, (model,), home.preferences.goal, quantization_loss=home.catalogue.quantization_loss
    )
    if advice.best is None:
        nearest = advice.plans[0]
        raise NothingFits(
            f"No variant of {model.name} fits this computer.",
            nearest.reasons[0],
            f"See `localr1 advise`, or name one to download it all the same: localr1 pull {model.id}:{nearest.variant.quantization}",
        )
    output.note(f"localr1: {advice.best.variant.quantization} suits this computer best.")
    return advice.best.variant


async def _pull(home: workflow.Home, model: Model, variant: Variant) -> LocalModel:
    output.note(
        f"localr1: {model.name} {variant.quantization}, {size_text(variant.size_bytes)}, from"
        f" {variant.repository}"
    )
    if sys.stderr.isatty():
        from localr1.cli.progress import DownloadBar  # noqa: PLC0415 - only on a terminal

        with DownloadBar(variant.size_bytes) as bar:
            return await workflow.fetch(home, model, variant, bar.show)
    return await workflow.fetch(home, model, variant, _lines())


def _lines() -> Callable[[DownloadEvent], None]:
    """Progress as a line every few seconds, for logs."""
    from localr1.models import download  # noqa: PLC0415 - heavy, and only for a download

    said_at = time.monotonic()

    def show(event: DownloadEvent) -> None:
        nonlocal said_at
        match event:
            case download.DownloadNotice():
                output.note(f"localr1: {event.text}")
            case download.DownloadProgress() if time.monotonic() - said_at >= _LINE_SECONDS:
                said_at = time.monotonic()
                left = f", {duration(event.seconds_left)} left" if event.seconds_left else ""
                output.note(
                    f"localr1: {size_text(event.done_bytes)} of {size_text(event.total_bytes)},"
                    f" {size_text(int(event.bytes_per_second))}/s{left}"
                )
            case _:
                pass

    return show


def _usual(model: Model) -> Variant:
    """The variant most people take: Q4_K_M, or the first."""
    return next((v for v in model.variants if v.quantization == "Q4_K_M"), model.variants[0])


def _model_json(model: Model, here: dict[tuple[str, str], LocalModel]) -> dict[str, object]:
    variants = []
    for variant in model.variants:
        local = here.get((model.id, variant.quantization))
        variants.append(
            {
                "variant": variant.quantization,
                "repository": variant.repository,
                "size_bytes": variant.size_bytes,
                "size_is_exact": variant.size_is_exact,
                "here": local is not None,
                "path": str(local.path) if local else None,
            }
        )
    return {
        "model": model.id,
        "name": model.name,
        "license": model.license,
        "parameters": model.architecture.parameters,
        "context_length": model.architecture.context_length,
        "demo": model.demo,
        "variants": variants,
    }
