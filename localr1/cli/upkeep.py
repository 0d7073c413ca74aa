"""`localr1 verify` and `move`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from localr1 import workflow
from localr1.cli import chosen, opening, output
from localr1.cli.bytes_done import counting
from localr1.config import network_allowed
from localr1.errors import ChecksumMismatch, FileError, Interrupted, LocalR1Error, UsageError
from localr1.models import downloaded, upkeep
from localr1.models.places import ADDED, IMPORTED
from localr1.models.types import LocalModel
from localr1.models.upkeep import Verdict

_SAID = {
    "sound": "is as {authority} says it should be",
    "altered": "is NOT as {authority} says it should be",
    "unchanged": "is as it was {authority}; nobody else says what it should be",
    "recorded": "has nothing to be compared with; its checksum is kept for the next time",
}


def run_verify(arguments: argparse.Namespace) -> int:
    """Read models from the disk and compare their checksums."""
    home = opening.home(arguments, offline=True)
    if arguments.all == bool(arguments.model):
        raise UsageError("Name a model, or use --all.", "", "`localr1 models` shows what is here.")
    if arguments.all:
        locals_here: Sequence[LocalModel] = home.library.files(home.catalogue)
    else:
        locals_here = [
            chosen.local_model(
                home,
                arguments.model,
                offline=not network_allowed(getattr(arguments, "offline", False)),
            )
        ]
    found: list[tuple[LocalModel, tuple[Verdict, ...]]] = []
    unreadable: list[LocalR1Error] = []
    for local in locals_here:
        name = f"{local.model.id}:{local.variant.quantization}"
        try:
            with counting(f"verifying {name}", local.size_bytes) as on_bytes:
                found.append((local, _verify(local, home, on_bytes)))
            if not arguments.json:
                _print(*found[-1])
        except KeyboardInterrupt:
            raise Interrupted("Stopped.", "", "What was verified is remembered.") from None
        except FileError as error:
            unreadable.append(error)
            output.print_error(error)
    if arguments.json:
        output.print_json(_json(found))
    altered = [(local, v) for local, verdicts in found for v in verdicts if v.outcome == "altered"]
    if altered:
        raise _mismatch(home, altered)
    return 1 if unreadable else 0


def run_move(arguments: argparse.Namespace) -> int:
    """Move a download to another disk."""
    home = opening.home(arguments, offline=True)
    local = chosen.local_model(
        home, arguments.model, offline=not network_allowed(getattr(arguments, "offline", False))
    )
    folder = Path(arguments.directory)
    was_last = workflow.last_used(home)
    try:
        with counting(f"moving {local.path.name}", 2 * local.size_bytes) as on_bytes:
            path = upkeep.move(local, home.library, folder, _stepwise(on_bytes))
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped.", "", "The model is where it was; the same command goes on with the copy."
        ) from None
    if was_last is not None and was_last.path == local.path:
        moved = home.library.at(path, home.catalogue)
        if moved is not None:
            workflow.remember(home, moved)
    output.say(f"{local.path.name} is at {path} now, verified; the old copy is gone.")
    return 0


def _verify(
    local: LocalModel, home: workflow.Home, on_bytes: Callable[[int], None]
) -> tuple[Verdict, ...]:
    return upkeep.verify(local, home.library, _stepwise(on_bytes))


def _stepwise(on_bytes: Callable[[int], None]) -> upkeep.OnProgress:
    """From how far it is to how much came since."""
    before = 0

    def on_progress(_: Path, done: int, __: int) -> None:
        nonlocal before
        on_bytes(done - before)
        before = done

    return on_progress


def _print(local: LocalModel, verdicts: tuple[Verdict, ...]) -> None:
    for verdict in verdicts:
        said = _SAID[verdict.outcome]
        if verdict.outcome == "altered" and not verdict.vouched:
            said = "is NOT as it was {authority}"
        said = said.format(authority=verdict.authority)
        name = f"{local.model.id}:{local.variant.quantization}"
        output.say(f"{name} {said}: {verdict.path}")


def _mismatch(home: workflow.Home, altered: list[tuple[LocalModel, Verdict]]) -> ChecksumMismatch:
    local, verdict = altered[0]
    name = f"{local.model.id}:{local.variant.quantization}"
    more = f" So have {len(altered) - 1} others." if len(altered) > 1 else ""
    should = (
        f"by {verdict.authority} it should be"
        if verdict.vouched
        else (f"{verdict.authority} it was")
    )
    return ChecksumMismatch(
        f"{verdict.path} has changed.",
        f"Its sha256 is {verdict.sha256}; {should} {verdict.expected_sha256}.{more}",
        _way_back(home, local, name),
    )


def _way_back(home: workflow.Home, local: LocalModel, name: str) -> str:
    """How to have an altered model as it should be."""
    unit = home.library.unit(local)
    if unit is None:
        if local.place in {ADDED, IMPORTED}:
            return "Do not use it; get it again from where it came."
        return f"Have {local.place} download it again."
    # By its path: a sound copy of the same name may be what the name means now.
    remove = f"localr1 rm {shlex.quote(str(local.path))}"
    if downloaded.COMMIT.fullmatch(unit.sidecar.revision):
        return f"Do not use it: {remove}, then localr1 pull {name}."
    return f"Do not use it: {remove}, then import it again from where it came."


def _json(found: list[tuple[LocalModel, tuple[Verdict, ...]]]) -> dict[str, object]:
    return {
        "schema": 1,
        "files": [
            {
                "model": local.model.id,
                "variant": local.variant.quantization,
                "path": str(verdict.path),
                "outcome": verdict.outcome,
                "sha256": verdict.sha256,
                "expected_sha256": verdict.expected_sha256 or None,
                "authority": verdict.authority or None,
            }
            for local, verdicts in found
            for verdict in verdicts
        ],
    }
