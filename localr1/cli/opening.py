"""Settings and the list of models, as commands open them."""

from __future__ import annotations

import argparse
from dataclasses import replace

from localr1.cli import output
from localr1.config import expanded
from localr1.engine import peers
from localr1.errors import OfflineError, UsageError
from localr1.home import Home, open_home


def home(arguments: argparse.Namespace, *, offline: bool = False) -> Home:
    """Where things are; settings and a refreshed list of models that cannot be used are told.

    Args:
        arguments: Of the command; `--offline` counts.
        offline: Whether the command needs no network at all.

    Raises:
        CatalogueError: The user's models.toml is wrong.
        ProfileError: The profile cannot be used.
        FileError: One of them cannot be read.
    """
    opened = open_home(offline=offline or getattr(arguments, "offline", False))
    if (broken := opened.broken_settings) is not None:
        output.note(f"localr1: {broken.what} {broken.why}. The default is used.")
    opened = as_asked(opened, arguments)
    if opened.unused_list:
        output.note(f"localr1: {opened.unused_list}")
    return opened


def as_asked(home: Home, arguments: argparse.Namespace) -> Home:
    """The same with what `--pool` and `--profile` say.

    Raises:
        OfflineError: The user asked to stay offline, and for a pool.
        ProfileError: The profile cannot be used.
        UsageError: Both were given, or one of the pool is no address that may be used.
    """
    pool, profile = (getattr(arguments, name, None) for name in ("pool", "profile"))
    if pool and profile:
        raise UsageError(
            "--pool and --profile do not go together.",
            "A profile says all there is to plan with.",
            "Leave one of them out.",
        )
    if profile is not None:
        from localr1.machine.profile import load_profile  # noqa: PLC0415 - few starts have one

        return replace(home, profile=load_profile(expanded(profile)))
    if not pool:
        return home
    home = with_pool(home, pool)
    if arguments.command != "advise":  # which sends nothing
        output.note(f"localr1: {peers.leaves_to(home.pool)}")
    return home


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
