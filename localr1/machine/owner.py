"""Whose computer it is, only to take that out of texts that go to others.

`anonymous` is pure; `here` asks the system.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STANDARD_HOMES: Final = re.compile(
    # A folder's name on Windows may have blanks; what goes on after it then tells where it ends.
    r"(?:/home|/Users|[A-Za-z]:[\\/]+Users)[\\/]+"
    r"(?:[^\\/:*?\"<>|'\r\n]+(?=[\\/])|[^\\/\s:*?\"<>|']+)"
    r"|/root(?=[\\/])",
    re.IGNORECASE,
)
# As NVIDIA's driver writes a card's or a part's own number.
_CARD_NUMBERS: Final = re.compile(
    r"\b(GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
# Accounts that tell nobody's name.
_NOBODYS: Final = frozenset(
    (
        *("root", "user", "users", "admin", "administrator", "home", "nobody", "guest"),
        *("localhost", "ubuntu", "debian", "fedora", "linux", "windows", "runner"),
        *("nvidia", "amd", "intel"),
    )
)
_SHORTEST_WORD: Final = 3


@dataclass(frozen=True)
class Owner:
    """What could tell who a computer belongs to."""

    homes: tuple[str, ...] = ()
    """Paths of the user's home directory, by all the names it has."""
    names: tuple[str, ...] = ()
    """Of the user's account."""
    computer: str = ""
    """Its name in the network."""


def here() -> Owner:
    """Return whose computer this is, by the system and by the environment."""
    homes, names = [], []
    with suppress(RuntimeError, OSError):  # an account without a home has none to hide
        homes += [str(Path.home()), str(Path.home().resolve())]
    with suppress(KeyError, OSError, ImportError):  # an account that is only a number
        names.append(getpass.getuser())
    homes += [os.environ.get(name, "") for name in ("HOME", "USERPROFILE")]
    names += [os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME")]
    return Owner(_distinct(homes), _distinct(names), platform.node())


def anonymous(text: str, owner: Owner) -> str:
    """Return a text without its owner: home directories are `~`, names `USER` and `COMPUTER`.

    Homes are also found where systems usually have them, whoever's they are. Numbers by which
    NVIDIA's driver tells one card from all others go, too.
    """
    for home in sorted(owner.homes, key=len, reverse=True):
        # A home that is the root of everything tells nothing.
        if parts := [re.escape(part) for part in re.split(r"[\\/]+", home) if part]:
            start = r"[\\/]+" if home.startswith(("/", "\\")) else ""
            whole = start + r"[\\/]+".join(parts) + r"(?![\w.-])"
            text = re.sub(whole, "~", text, flags=re.IGNORECASE)
    text = _STANDARD_HOMES.sub("~", text)
    for name in owner.names:
        text = _without(text, name, "USER")
    for name in (owner.computer, owner.computer.partition(".")[0]):
        text = _without(text, name, "COMPUTER")
    return _CARD_NUMBERS.sub(r"\1-…", text)


def _without(text: str, name: str, instead: str) -> str:
    if not name or name.lower() in _NOBODYS:
        return text
    found = re.escape(name)
    # A name of one or two letters is only one where a path has it.
    sides = r"(?<=[\\/])%s(?=[\\/])" if len(name) < _SHORTEST_WORD else r"(?<!\w)%s(?!\w)"
    return re.sub(sides % found, instead, text, flags=re.IGNORECASE)


def _distinct(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
