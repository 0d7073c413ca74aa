"""`localr1 bundle export|import DIR`: models on a disk that is carried to another computer."""

from __future__ import annotations

import argparse
from pathlib import Path

from localr1 import workflow
from localr1.cli import chosen, opening, output
from localr1.cli.bytes_done import counting
from localr1.config import expanded
from localr1.errors import FileError, Interrupted, UsageError
from localr1.models import bundle, luggage, manifest, unbundle
from localr1.models.place import size_text


def run(arguments: argparse.Namespace) -> int:
    """Carry models away, or take them in."""
    home = opening.home(arguments, offline=True)
    folder = expanded(arguments.directory).absolute()
    try:
        if arguments.action == "export":
            return _export(home, folder, arguments.model)
        if arguments.model:
            raise UsageError("--model is for export.", "", "An import takes the whole bundle in.")
        return _import(home, folder)
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped.", "", "What was copied is kept; the same command goes on with it."
        ) from None


def _export(home: workflow.Home, folder: Path, wanted: list[str]) -> int:
    if wanted:
        chosen_ones = [chosen.local_model(home, name) for name in wanted]
    else:
        chosen_ones = [local for local in workflow.local_models(home) if not local.model.demo]
    for local in chosen_ones:
        if local.model.demo and home.library.unit(local) is None:
            raise UsageError(
                "The demo needs no bundle.", "It is a part of localr1.", "Leave it out."
            )
    total = bundle.export_size(chosen_ones, folder)
    split = [one for one in chosen_ones if one.size_bytes > manifest.PART_BYTES]
    if split:
        output.note(
            "localr1: files over 4 GB are split into parts, so that any disk will do (FAT32 too)."
        )
    with counting("exporting", total) as on_bytes:
        held = bundle.export(
            chosen_ones, home.library, folder, luggage.pack(home.directories), on_bytes
        )
    console = output.console()
    for model in held.verified:
        output.say(f"{model.name}, {size_text(model.size_bytes)}, verified")
    for error in held.refused:
        output.print_error(error)
    if not held.manifest.models:
        console.print("No models are here yet; the bundle holds settings and catalogue only.")
    output.say(f"The bundle is at {folder / manifest.FOLDER_NAME}.")
    console.print("On the other computer: localr1 bundle import DIR (this disk's folder).")
    return 1 if held.refused else 0


def _import(home: workflow.Home, folder: Path) -> int:
    if folder.name == manifest.FOLDER_NAME:
        folder = folder.parent
    held = manifest.read_manifest(folder)
    if held is None:
        raise FileError(
            f"{folder} holds no bundle.",
            f"There is no {manifest.FOLDER_NAME}/{manifest.MANIFEST_NAME} in it.",
            "Name the folder that was given to `localr1 bundle export`.",
        )
    texts, refused = unbundle.read_extras(held, folder)
    with counting("importing", unbundle.import_size(held)) as on_bytes:
        taken = unbundle.take_in(held, folder, home.library, home.catalogue, on_bytes)
    console = output.console()
    for model, path in taken.models:
        output.say(f"{model.name} is here, verified: {path}")
    for line in luggage.unpack(home.directories, texts):
        output.say(line)
    if not held.models:
        console.print("The bundle holds no models.")
    refused += taken.refused
    for error in refused:
        output.print_error(error)
    return 1 if refused else 0
