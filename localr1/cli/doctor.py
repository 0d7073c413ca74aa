"""`localr1 doctor`: every check, with its remedy."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from dataclasses import asdict

from localr1 import doctor
from localr1.cli import output
from localr1.config import Directories, load_preferences, network_allowed
from localr1.errors import SettingsError
from localr1.home import examine_machine
from localr1.printable import printable

SCHEMA = 1


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 1 when something failed."""
    offline = not network_allowed(getattr(arguments, "offline", False))
    directories = Directories.standard()
    with suppress(SettingsError):  # `doctor.settings` reports it
        directories = directories.preferring(load_preferences(directories))
    machine = asyncio.run(examine_machine(directories))
    findings = [
        *doctor.engine(machine),
        *doctor.gpus(machine),
        *doctor.disk(directories),
        *doctor.settings(directories),
        *doctor.terminal(),
        *doctor.hub(offline=offline),
    ]
    worst = doctor.worst(findings)
    if arguments.json:
        output.print_json(
            {"schema": SCHEMA, "status": worst, "checks": [asdict(item) for item in findings]}
        )
    else:
        console = output.console()
        for finding in findings:
            console.print(f"{finding.status:<8} {printable(finding.what)}")
            for part in (finding.why, finding.todo):
                if part:
                    console.print(f"{'':<8} {printable(part)}")
    return 1 if worst == "failed" else 0
