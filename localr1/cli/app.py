"""`localr1` and `localr1 chat`: open the app."""

from __future__ import annotations

import argparse
import os
import sys

from localr1 import workflow
from localr1.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    """Open the app; the engine's worker ends with it."""
    if getattr(arguments, "plain", False):
        from localr1.cli import plain  # noqa: PLC0415 - not for the app

        return plain.run(arguments)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise UsageError(
            "The app needs a terminal.",
            "Standard input or output is a pipe or a file, or the terminal is a dumb one.",
            'Use `localr1 chat --plain`, or `localr1 ask "..."` for pipes and scripts.',
        )
    home = workflow.open_home(offline=getattr(arguments, "offline", False))
    wanted = getattr(arguments, "model", None)
    choice = home.catalogue.resolve(wanted) if wanted else None
    from localr1.tui.app import LocalR1App  # noqa: PLC0415 - textual, only for the app

    app = LocalR1App(home, choice=choice)
    app.run()
    return app.return_code or 0
