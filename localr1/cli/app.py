"""`localr1` and `localr1 chat`: open the app."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from localr1 import workflow
from localr1.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    """Open the app; the engine's worker ends with it."""
    if getattr(arguments, "plain", False):
        from localr1.cli import plain  # noqa: PLC0415 - not for the app

        return plain.run(arguments)
    if not _has_screen():
        raise UsageError(
            "The app needs a terminal.",
            "Standard input or output is a pipe or a file, or the terminal is a dumb one.",
            'Use `localr1 chat --plain`, or `localr1 ask "..."` for pipes and scripts.',
        )
    home = workflow.open_home(offline=getattr(arguments, "offline", False))
    if getattr(arguments, "pool", None) or getattr(arguments, "profile", None):
        from localr1.cli import opening  # noqa: PLC0415 - most starts have neither

        home = opening.as_asked(home, arguments)
    wanted = getattr(arguments, "model", None)
    if getattr(arguments, "endpoint", None):
        return _run_elsewhere(home, arguments.endpoint, arguments.named or wanted)
    wanted = wanted or getattr(arguments, "named", None)
    choice = home.catalogue.resolve(wanted) if wanted else None
    from localr1.tui.app import LocalR1App  # noqa: PLC0415 - textual, only for the app

    app = LocalR1App(home, choice=choice)
    app.run()
    return app.return_code or 0


def _run_elsewhere(home: workflow.Home, url: str, wanted: str | None) -> int:
    """Open the app on a server's model; what is wrong with the server is told before."""
    from localr1.cli import elsewhere  # noqa: PLC0415 - as below

    served, key = asyncio.run(elsewhere.found(elsewhere.allowed(home, url), wanted))
    from localr1.tui.app import LocalR1App  # noqa: PLC0415 - textual, only for the app
    from localr1.tui.elsewhere import RemoteServices  # noqa: PLC0415 - as above

    app = LocalR1App(home, services=RemoteServices(home, served, key))
    app.run()
    return app.return_code or 0


def _has_screen() -> bool:
    """Whether something draws the app: a terminal, or the driver that `textual serve` names."""
    if os.environ.get("TEXTUAL_DRIVER"):
        return True
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
