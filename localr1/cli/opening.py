"""Settings and the list of models, as commands open them."""

from __future__ import annotations

import argparse

from localr1.cli import output
from localr1.home import Home, open_home


def home(arguments: argparse.Namespace, *, offline: bool = False) -> Home:
    """Where things are; settings and a refreshed list of models that cannot be used are told.

    Args:
        arguments: Of the command; `--offline` counts.
        offline: Whether the command needs no network at all.

    Raises:
        CatalogueError: The user's models.toml is wrong.
        FileError: One of them cannot be read.
    """
    opened = open_home(offline=offline or getattr(arguments, "offline", False))
    if (broken := opened.broken_settings) is not None:
        output.note(f"localr1: {broken.what} {broken.why}. The default is used.")
    if opened.unused_list:
        output.note(f"localr1: {opened.unused_list}")
    return opened
