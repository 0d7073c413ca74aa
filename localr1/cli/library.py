"""`localr1 models` and `rm`: what is on this disk, and what can be deleted."""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from localr1 import exact, workflow
from localr1.cli import chosen, opening, output
from localr1.cli.bytes_done import counting
from localr1.config import expanded, network_allowed
from localr1.fit.explain import duration
from localr1.fit.weights import origin
from localr1.models import inventory
from localr1.models.inventory import Row
from localr1.models.library import Survey
from localr1.models.place import part_path, size_text, target_path
from localr1.models.types import LocalModel, Model, Variant

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA: Final = 1
_DAY_SECONDS: Final = 86_400
_SAMENESS: Final = {
    True: "the same file is also at",
    False: "a file that only looks the same, with other contents, is at",
    None: "what looks like the same file (not compared) is at",
}


def run_models(arguments: argparse.Namespace) -> int:
    """Print the catalogue and what is here."""
    home = opening.home(arguments)
    if arguments.refresh:
        from localr1.cli import refresh  # noqa: PLC0415 - the hub client is heavy

        return refresh.run(home, arguments)
    survey = home.library.survey(home.catalogue)
    known = inventory.rows(home.library, survey)
    if arguments.unused:
        with counting("comparing copies", inventory.uncompared_bytes(known)) as on_bytes:
            inventory.compare(home.library, known, on_bytes)
        known = inventory.rows(home.library, survey)
        return _print_unused(home, known, as_json=arguments.json)
    if arguments.json:
        output.print_json(_json(home, survey, known))
        return 0
    console = output.console()
    console.print(_table(home, known, every=arguments.all))
    told = _print_stopped(home)
    _print_absent(home)
    for path in home.library.stopped_copies():
        output.say(
            f"Stopped while it was copied: {path}, {size_text(path.stat().st_size)}. The same"
            f" command goes on with it; without it: localr1 rm {shlex.quote(str(path))}"
        )
    unusable = tuple(one for one in survey.discovery.unusable if one.path not in told)
    survey = replace(survey, discovery=replace(survey.discovery, unusable=unusable))
    for line in _remarks(survey, known, every=arguments.all):
        console.print(output.line(line))
    if not arguments.all:
        console.print("Every variant: localr1 models --all. What fits here: localr1 advise.")
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Delete a downloaded variant, or forget an imported file."""
    home = opening.home(arguments, offline=True)
    if arguments.stopped:
        return _remove_stopped(home, arguments.model)
    left = expanded(arguments.model).absolute()
    if left in home.library.absent:
        home.library.records.drop_folder(left)
        output.say(f"{left} is no longer looked for.")
        return 0
    if left in home.library.stopped_copies():
        freed = left.stat().st_size
        left.unlink()
        output.say(f"Removed a copy that was stopped: {size_text(freed)} free again.")
        return 0
    if left.is_file() and (freed := home.library.remove_left(left)):
        output.say(
            f"Removed {left.name}, which was no usable model: {size_text(freed)} free again."
        )
        return 0
    local = chosen.local_model(
        home, arguments.model, offline=not network_allowed(getattr(arguments, "offline", False))
    )
    imported = home.library.unit(local) is None
    freed = home.library.remove(local)
    if imported:
        output.say(f"{local.path} is no longer listed; the file itself stays.")
    else:
        output.say(f"Removed {local.path.name}: {size_text(freed)} free again.")
    return 0


def _remove_stopped(home: workflow.Home, wanted: str) -> int:
    partials = home.library.partials()
    matching = [one for one in partials if one.name == wanted or wanted in one.files]
    if len(matching) != 1:
        raise chosen.missing(f"A stopped download {wanted}")
    freed = home.library.remove_partial(matching[0])
    output.say(f"Removed what had come of {wanted}: {size_text(freed)} free again.")
    return 0


def _print_stopped(home: workflow.Home) -> set[Path]:
    """Tell of stopped downloads; gives the files that are a part of one."""
    console = output.console()
    told = set()
    for partial in home.library.partials():
        share = partial.done_bytes / max(1, partial.total_bytes)
        todo = chosen.unlisted(home, partial)
        how = ", which is in no list of models." if todo else "; `localr1 pull` goes on with it."
        output.say(f"Stopped at {share:.0%}: {partial.repository} {partial.files[0]}{how}")
        for line in todo:
            console.print(line, soft_wrap=True)  # so that it can be copied
        for name in partial.files:
            told.add(part_path(target_path(home.directories.models, partial.repository, name)))
    return told


def _table(home: workflow.Home, known: tuple[Row, ...], *, every: bool) -> Table:
    from rich.table import Table  # noqa: PLC0415 - only when a table is printed

    here = {(row.local.model.id, row.local.variant.quantization): row for row in known}
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("id", "variant", "size", "place", "last used", "verified", "tok/s"):
        right = heading in {"size", "tok/s"}
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for model in home.catalogue.models:
        listed = {v.quantization for v in model.variants}
        variants = [
            *model.variants,
            *(
                r.local.variant
                for r in known
                if r.local.model.id == model.id and r.local.variant.quantization not in listed
            ),
        ]
        for variant in variants:
            row = here.pop((model.id, variant.quantization), None)
            if row is not None:
                table.add_row(*_cells(row))
            elif every or (variant is _usual(model) and not model.demo):
                table.add_row(model.id, variant.quantization, size_text(variant.size_bytes))
    for row in here.values():
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> tuple[str, ...]:
    local = row.local
    return (
        output.line(local.model.id),
        output.line(local.variant.quantization),
        size_text(local.size_bytes),
        local.place,
        _ago(row.last_used_seconds),
        "ALTERED" if local.altered else _ago(row.verified_seconds),
        f"{row.generation_tps:.1f}" if row.generation_tps else "",
    )


def _sameness(row: Row, path: Path) -> str:
    return "an ALTERED copy is at" if path in row.altered else _SAMENESS[row.equal.get(path)]


def _remarks(survey: Survey, known: tuple[Row, ...], *, every: bool) -> list[str]:
    """What else was found: copies, files of no use, and models of other families."""
    lines = [
        f"{row.name}: {_sameness(row, path)} {path} ({tool}); {row.local.place}'s is used."
        for row in known
        for tool, path in row.copies
    ]
    lines += [
        f"Not usable, {one.state}: {one.path} ({one.tool}). {one.why}"
        for one in survey.discovery.unusable
        if one.r1 or every
    ]
    shown = {row.local.path for row in known}
    others = [one for one in survey.discovery.found if one.path not in shown]
    foreign = [one for one in others if not one.r1]
    lines += [
        f"Another file of a variant that is listed: {one.path} ({one.tool})."
        for one in others
        if one.r1
    ]
    if every:
        lines += [f"Not of the R1 family: {one.path} ({one.tool})." for one in foreign]
    elif foreign:
        lines.append(
            f"{len(foreign)} models of other families are on this disk (localr1 models --all);"
            " `localr1 import FILE` lets you chat with one."
        )
    lines += [
        f"{folder} holds more files than were looked at; name those you want with"
        " `localr1 import FILE`."
        for folder in survey.discovery.cut_short
    ]
    return lines


def _print_absent(home: workflow.Home) -> None:
    if absence := home.library.absence:
        output.say(absence)
    for folder in home.library.absent:
        output.say(f"Should {folder} not come back: localr1 rm {shlex.quote(str(folder))}")


def _print_unused(home: workflow.Home, known: tuple[Row, ...], *, as_json: bool) -> int:
    def quality(local: LocalModel) -> float:
        if local.model.quality <= 0:
            return 0.0
        parameters = local.model.architecture.parameters
        lost = home.catalogue.quantization_loss(local.variant.quantization, parameters)
        return local.model.quality - lost

    partials = home.library.partials()
    found = inventory.deletable(known, partials, time.time(), quality)
    if as_json:
        unused = [
            {
                "name": one.name,
                "size_bytes": one.size_bytes,
                "reasons": list(one.reasons),
                "command": one.command,
            }
            for one in found
        ]
        output.print_json({"schema": SCHEMA, "unused": unused})
        return 0
    console = output.console()
    for one in found:
        console.print(
            output.line(f"{one.name}, {size_text(one.size_bytes)}: {'; '.join(one.reasons)}.")
        )
        console.print(output.line(f"  {one.command}"))
    total = sum(one.size_bytes for one in found)
    console.print(
        f"Together {size_text(total)}."
        if found
        else "Nothing that localr1 downloaded is superfluous."
    )
    return 0


def _usual(model: Model) -> Variant | None:
    """The variant most people take: Q4_K_M, or the first."""
    usual = next((v for v in model.variants if v.quantization == "Q4_K_M"), None)
    return usual or next(iter(model.variants), None)


def _ago(at_seconds: float) -> str:
    if not at_seconds:
        return ""
    seconds = max(0.0, time.time() - at_seconds)
    if seconds < _DAY_SECONDS:
        return f"{duration(seconds)} ago" if seconds >= 60 else "just now"
    days = int(seconds // _DAY_SECONDS)
    return "yesterday" if days == 1 else f"{days} days ago"


def _json(home: workflow.Home, survey: Survey, known: tuple[Row, ...]) -> dict[str, Any]:
    here = {(row.local.model.id, row.local.variant.quantization): row for row in known}
    known_headers = exact.with_known_headers(home.catalogue.models, home.directories)
    models = {model.id: model for model in known_headers}
    models |= {
        row.local.model.id: row.local.model for row in known if row.local.model.id not in models
    }
    return {
        "schema": SCHEMA,
        "models": [_model_json(model, here) for model in models.values()],
        "unusable": [
            {"path": str(one.path), "place": one.tool, "state": one.state, "why": one.why}
            for one in survey.discovery.unusable
        ],
        "other_families": [
            {"path": str(one.path), "place": one.tool}
            for one in survey.discovery.found
            if not one.r1 and (one.path not in {row.local.path for row in known})
        ],
        "stopped": [
            {
                "name": partial.name,
                "repository": partial.repository,
                "files": list(partial.files),
                "done_bytes": partial.done_bytes,
                "total_bytes": partial.total_bytes,
                "listed": workflow.listed_variant(home, partial) is not None,
            }
            for partial in home.library.partials()
        ],
    }


def _model_json(model: Model, here: dict[tuple[str, str], Row]) -> dict[str, object]:
    listed = {variant.quantization: variant for variant in model.variants}
    listed |= {
        quantization: row.local.variant
        for (identifier, quantization), row in here.items()
        if identifier == model.id and quantization not in listed
    }
    return {
        "model": model.id,
        "name": model.name,
        "license": model.license,
        "parameters": model.architecture.parameters,
        "context_length": model.architecture.context_length,
        "demo": model.demo,
        "r1_family": model.own_format is None,
        "variants": [
            _variant_json(model, variant, here.get((model.id, variant.quantization)))
            for variant in listed.values()
        ],
    }


def _variant_json(model: Model, variant: Variant, row: Row | None) -> dict[str, object]:
    return {
        "variant": variant.quantization,
        "repository": variant.repository,
        "size_bytes": row.local.size_bytes if row else variant.size_bytes,
        "size_is_exact": row is not None or variant.size_is_exact,
        # Where the list of tensors is from, which memory is computed with.
        "tensors": "header" if row else origin(model.architecture, variant),
        "here": row is not None,
        "path": str(row.local.path) if row else None,
        "place": row.local.place if row else None,
        "ours": row.ours if row else False,
        "imported": row.imported if row else False,
        "last_used_seconds": row.last_used_seconds if row and row.last_used_seconds else None,
        "verified_seconds": row.verified_seconds if row and row.verified_seconds else None,
        "altered": row.local.altered if row else False,
        "generation_tps": row.generation_tps if row and row.generation_tps else None,
        "copies": [{"place": tool, "path": str(path)} for tool, path in row.copies] if row else [],
    }
