"""Models that other programs of this computer have already downloaded.

They are used where they lie: nothing here moves or changes a file. What a file is, its header
says; its name is never trusted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from localr1.gguf.types import GgufFile
from localr1.models.headers import HeaderCache, State
from localr1.models.places import IMPORTED, Place
from localr1.models.walk import Listed, Listing, listing


@dataclass(frozen=True)
class Found:
    """A complete model file, with its shards."""

    tool: str
    """The program in whose folder it lies."""
    gguf: GgufFile
    name: str
    """What the program calls it; empty where that is the file's name."""
    r1: bool
    """Whether it is of the R1 family."""
    digest: str
    copies: tuple[Found, ...] = ()
    """The same file in other places."""
    named_by: Path | None = None
    """The copy whose name counts, where that is not this one."""

    @property
    def path(self) -> Path:
        """The first or only file."""
        return self.gguf.path


@dataclass(frozen=True)
class Unusable:
    """A model file that cannot be used as it is."""

    tool: str
    path: Path
    state: State
    why: str
    r1: bool
    """Whether it is of the R1 family, as far as its header, or else its name, says."""


@dataclass(frozen=True)
class Discovery:
    """What was found."""

    found: tuple[Found, ...]
    """The preferred place first."""
    unusable: tuple[Unusable, ...]
    cut_short: tuple[Path, ...]
    """Folders with more in them than is looked at."""


def discover(places: Iterable[Place], imported: Iterable[Path], cache: HeaderCache) -> Discovery:
    """Look through every place.

    Of several copies of one file, the one in the first place counts; the others are told with it.

    Args:
        places: Where to look, the preferred first.
        imported: Single files that the user imported where they lie.
        cache: Headers that were read before; what is new is kept.
    """
    listings = [(place, listing(place)) for place in places]
    single = Place(IMPORTED, Path())
    listings.append((single, Listing([Listed(single, path) for path in imported])))
    found: list[Found] = []
    unusable: list[Unusable] = []
    cut: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for place, listed in listings:
        if listed.cut_short:
            cut.append(place.folder)
        for item in listed.files:
            # Links, and places within places, lead to one file several times.
            identity = _identity(item.path)
            if identity is not None and identity in seen:
                continue
            if identity is not None:
                seen.add(identity)
            outcome = _judge(item, cache)
            if isinstance(outcome, Unusable):
                unusable.append(outcome)
            else:
                found.append(outcome)
    cache.save()
    return Discovery(together(found), tuple(unusable), tuple(cut))


def together(found: Iterable[Found]) -> tuple[Found, ...]:
    """Each file once, as the first of its copies, which has the others with it."""
    groups: dict[str, list[Found]] = {}
    for one in found:
        groups.setdefault(one.digest, []).append(one)
    return tuple(replace(first, copies=tuple(rest)) for first, *rest in groups.values())


def _judge(item: Listed, cache: HeaderCache) -> Found | Unusable:
    tool = item.place.tool
    named = "r1" in f"{item.name} {item.path.name}".lower()
    if item.unfinished:
        why = f"{item.name}: {item.unfinished}" if item.name else item.unfinished
        return Unusable(tool, item.path, "incomplete", why, named)
    reading = cache.read(item.path, item.name)
    if reading.state != "complete" or reading.gguf is None:
        of_family = reading.r1 if reading.gguf is not None else named
        return Unusable(tool, item.path, reading.state, reading.why, of_family)
    return Found(tool, reading.gguf, item.name, reading.r1, reading.digest)


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        facts = os.stat(path)  # noqa: PTH116 - thousands of them
        if facts.st_ino:
            return facts.st_dev, facts.st_ino
    return None
