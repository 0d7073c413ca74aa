"""`localr1 doctor`: every check, with its remedy, and the engine replaced by a better build."""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from localr1 import doctor, home
from localr1.cli import columns, output
from localr1.cli.building import Building
from localr1.config import Directories, expanded, load_preferences, network_allowed
from localr1.errors import SettingsError, UsageError
from localr1.install import look, mend
from localr1.install.types import TESTED_ENGINE, Bench
from localr1.machine import terminal
from localr1.machine.profile import load_profile
from localr1.machine.types import Machine

SCHEMA = 1
_LABEL_CELLS = 9


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 1 when one of them needs the user.

    Raises:
        UsageError: The source does not exist, or is given without `--fix`; or another computer
            is to be mended.
        ProfileError: The profile cannot be used.
        BuildFailed: The engine was not mended; the old one is in place.
    """
    offline = not network_allowed(getattr(arguments, "offline", False))
    directories = Directories.standard()
    with suppress(SettingsError):  # `doctor.settings` reports it
        directories = directories.preferring(load_preferences(directories))
    if arguments.profile is not None:
        return _run_elsewhere(arguments, offline=offline)
    if mend.repair():
        output.note("A change of the engine that was cut short has been put right.")
    bench = look.bench(_source(arguments), offline=offline)
    machine = asyncio.run(home.look(directories))
    if arguments.fix is not None and not _fix(arguments.fix, machine, bench, directories):
        output.note("Nothing is to mend: this is the engine for this computer.")
    elif arguments.fix is not None:
        machine = asyncio.run(home.look(directories))
    findings = [
        *doctor.engine(machine, bench),
        *doctor.unseen(machine),
        *doctor.disk(directories),
        *doctor.settings(directories),
        *doctor.cache(directories),
        *doctor.terminal(terminal.look()),
        *doctor.clock(time.time()),
    ]
    if arguments.hub:
        findings += doctor.hub(offline=offline)
    return _tell(findings, as_json=arguments.json)


def _run_elsewhere(arguments: argparse.Namespace, *, offline: bool) -> int:
    """What a profile shows of another computer: its engine and its GPUs."""
    if arguments.fix is not None:
        raise UsageError(
            "--fix and --profile do not go together.",
            "Only the engine of this computer can be replaced.",
            "Run it there: localr1 doctor --fix",
        )
    machine = load_profile(expanded(arguments.profile))
    output.note(
        "localr1: this is about the profile's computer. Its disk, settings and terminal are not"
        " in it, and its commands are for pip."
    )
    findings = [*doctor.engine(machine, look.bench_of(machine)), *doctor.unseen(machine)]
    if arguments.hub:
        findings += doctor.hub(offline=offline)
    return _tell(findings, as_json=arguments.json)


def _tell(findings: list[doctor.Finding], *, as_json: bool) -> int:
    worst = doctor.worst(findings)
    if as_json:
        output.print_json(
            {"schema": SCHEMA, "status": worst, "checks": [asdict(item) for item in findings]}
        )
    else:
        for finding in findings:
            _print(finding)
    return 0 if worst == "ok" else 1


def _fix(wanted: str, machine: Machine, bench: Bench, directories: Directories) -> bool:
    """Replace the engine; False where there is no reason to.

    Raises:
        UsageError: There is no such build for this system.
        BuildFailed: It was not replaced.
    """
    mac = bench.place.system == "Darwin"
    if wanted in (("cuda", "rocm") if mac else ("metal",)):
        raise UsageError(
            f"There is no {wanted} build for {'macOS' if mac else bench.place.system}.",
            "Metal is Apple's; CUDA and ROCm are not made for Macs.",
            "Let the computer decide: localr1 doctor --fix",
        )
    builds = doctor.ways(machine, bench, None if wanted == "best" else wanted)  # type: ignore[arg-type]  # the parser's choices
    if not builds:
        return False
    with Building() as shown:
        mended = asyncio.run(
            mend.mend(
                builds,
                machine=machine,
                bench=bench,
                logs=directories.logs,
                on_event=shown.show,
            )
        )
    ran = f"The demonstration model ran on {mended.offloaded}."
    output.note(f"Done: {mended.build.about}. {ran}")
    return True


def _source(arguments: argparse.Namespace) -> str:
    if arguments.source is None:
        return ""
    if arguments.fix is None:
        raise UsageError("--source is for --fix.", "", "localr1 doctor --fix --source PATH")
    path: Path = expanded(arguments.source).absolute()
    if not path.exists():
        raise UsageError(
            f"{path} does not exist.",
            "",
            "Get it elsewhere: pip download --no-deps --no-binary :all: "
            f"llama-cpp-python=={TESTED_ENGINE}",
        )
    return str(path)


def _print(finding: doctor.Finding) -> None:
    width = columns.width()
    for label, part in ((finding.status, finding.what), ("", finding.why), ("", finding.todo)):
        if part:
            output.print_lines(columns.wrapped(part, width, mark=f"{label:<{_LABEL_CELLS}}"))
    if finding.command:
        # Whole, however wide: it is to be copied.
        output.print_lines([" " * _LABEL_CELLS + finding.command])
