"""Settings and the list of models, as commands open them."""

from __future__ import annotations

import argparse
from dataclasses import replace

from localr1.cli import output
from localr1.engine import peers
from localr1.errors import OfflineError
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
    if text := getattr(arguments, "pool", None):
        opened = with_pool(opened, text)
        if arguments.command != "advise":  # which sends nothing of either
            note_pool(opened)
    if opened.unused_list:
        output.note(f"localr1: {opened.unused_list}")
    return opened


def with_pool(home: Home, text: str) -> Home:
    """The same with other computers' memory.

    Args:
        home: Where things are.
        text: `HOST:PORT[,HOST:PORT...]`.

    Raises:
        OfflineError: The user asked to stay offline.
        UsageError: One is no address, or one that may not be used.
    """
    if home.offline:
        raise OfflineError(
            "The other computers are not used: localr1 is offline.",
            "--offline or HF_HUB_OFFLINE is set.",
            "Run it again without them, or without --pool.",
        )
    return replace(home, pool=peers.parse(text))


def note_pool(home: Home) -> None:
    """Say where parts of the model and of the conversation go."""
    output.note(
        "localr1: parts of the model and of what you write go to"
        f" {', '.join(home.pool)}, unencrypted but for a tunnel."
    )
