"""`localr1 models --refresh`: what the hub has now, shown before it is kept."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
from pathlib import Path

from localr1 import workflow
from localr1.cli import output
from localr1.config import ensure, write_atomically
from localr1.models import catalog, hub, refresh
from localr1.models.place import size_text
from localr1.models.refresh import Change, Refreshed

_SIGNS = {"new": "+", "changed": "~", "confirmed": "=", "gone": "-"}


def run(home: workflow.Home, arguments: argparse.Namespace) -> int:
    """Ask the hub, show the difference, and keep it when the user says so."""
    path = home.directories.settings / catalog.REFRESHED_NAME
    found = refresh.look_up(
        catalog.load_usable(None, path),
        lambda repository: hub.list_repository(repository, offline=home.offline),
        lambda repository: None if home.offline else _asking(repository),
    )
    changes = [change for change in found.changes if change.files]
    if not arguments.json:
        _show(found)
    kept = bool(changes) and (arguments.yes or (not arguments.json and _agreed()))
    if kept:
        _keep(home, path, changes)
    if arguments.json:
        output.print_json(_json(found, kept=kept))
        return 0
    console = output.console()
    if kept:
        output.say(f"Kept in {path}.")
    elif changes:
        console.print("Nothing was kept; `localr1 models --refresh --yes` keeps it.")
    else:
        console.print("The catalogue is up to date.")
    return 0


def _asking(repository: str) -> None:
    output.note(f"localr1: asking {hub.endpoint_url()} for {repository}")


def _show(found: Refreshed) -> None:
    console = output.console()
    model = ""
    for change in found.changes:
        if change.model_id != model:
            model = change.model_id
            output.say(model)
        size = f"{size_text(change.size_bytes):>8}" if change.files else " " * 8
        told = "new" if change.kind == "new" else change.told
        quantization = output.line(change.quantization)
        line = f"  {_SIGNS[change.kind]} {quantization:12} {size}  {output.line(told)}"
        console.print(line)
    for trouble in found.troubles:
        output.say(f"Left out: {trouble}")


def _agreed() -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    sys.stdout.write("Keep this? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _keep(home: workflow.Home, path: Path, changes: list[Change]) -> None:
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    described = f"{hub.endpoint_url()}: listings of the repositories, asked on {today}"
    known = "" if catalog.load_usable(None, path).ignored else refresh.read_text(path)
    text = refresh.merged(known, changes, f"hub-{today}", described)
    # Nothing is kept that the next start would refuse.
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(text, encoding="utf-8")
        catalog.load(home.directories.settings / "models.toml", trial)
    ensure(path.parent)
    write_atomically(path, text)


def _json(found: Refreshed, *, kept: bool) -> dict[str, object]:
    return {
        "schema": 1,
        "changes": [
            {
                "model": change.model_id,
                "variant": change.quantization,
                "repository": change.repository,
                "kind": change.kind,
                "difference": change.told,
                "size_bytes": change.size_bytes if change.files else None,
                "sha256": [file.sha256 for file in change.files],
            }
            for change in found.changes
        ],
        "troubles": list(found.troubles),
        "kept": kept,
    }
