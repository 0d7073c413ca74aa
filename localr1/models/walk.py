"""Listing model files in folders of other programs: bounded, and nothing is opened but manifests.

Depth and numbers are limited, folders are visited once however links lead to them, and what
cannot be read is passed over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from localr1.models.place import read_whole
from localr1.models.places import Place

MOST_ENTRIES: Final = 50_000
"""Names looked at in one place."""
MOST_FILES: Final = 2_000
"""Model files taken from one place."""
MOST_DEPTH: Final = 10

_MOST_MANIFEST_BYTES: Final = 1 << 20
# What programs append to a name while they download into it.
_UNFINISHED: Final = re.compile(
    r"\.gguf.*\.(part|partial|incomplete|download|downloading|downloadinprogress|aria2|tmp|crdownload)$",
    re.IGNORECASE,
)
_FIRST_OR_WHOLE: Final = re.compile(r"-(\d{5})-of-\d{5}\.gguf$", re.IGNORECASE)
_MODEL_LAYER: Final = "application/vnd.ollama.image.model"
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Listed:
    """One file, as a program's folder names it."""

    place: Place
    path: Path
    """The file, or the first of its shards."""
    name: str = ""
    """What the program calls the model, where that is not the file's name."""
    unfinished: str = ""
    """Why it cannot be complete; empty where it may be."""


@dataclass
class Listing:
    """What one place holds."""

    files: list[Listed] = field(default_factory=list)
    cut_short: bool = False
    """Whether a limit ended the search."""


def listing(place: Place) -> Listing:
    """Every model file of a place; a missing or unreadable folder holds none."""
    found = Listing()
    walks = {"folder": _folder, "hub": _hub, "ollama": _ollama}
    for listed in walks[place.layout](place, found):
        if len(found.files) >= MOST_FILES:
            found.cut_short = True
            break
        found.files.append(listed)
    return found


def _folder(place: Place, found: Listing) -> Iterator[Listed]:
    for path in _walk(place.folder, found):
        if (listed := _listed(place, path)) is not None:
            yield listed


def _hub(place: Place, found: Listing) -> Iterator[Listed]:
    """`models--owner--name/snapshots/COMMIT/FILE`, links to `blobs/SHA256`."""
    for repository in _folders(place.folder):
        if not repository.name.startswith("models--"):
            continue
        seen: set[Path] = set()
        for commit in _newest_first(repository / "snapshots"):
            for path in _walk(commit, found):
                listed = _listed(place, path)
                if listed is not None and (real := path.resolve()) not in seen:
                    seen.add(real)
                    yield listed
        if "gguf" in repository.name.lower():
            for path in _names(repository / "blobs"):
                if path.name.endswith(".incomplete"):
                    name = repository.name.removeprefix("models--").replace("--", "/")
                    yield Listed(place, path, name, unfinished="Its download did not end.")


def _ollama(place: Place, found: Listing) -> Iterator[Listed]:
    """`manifests/REGISTRY/OWNER/NAME/TAG` say which `blobs/sha256-…` is the model."""
    root = place.folder / "manifests"
    seen: set[str] = set()
    for path in _walk(root, found):
        digest = _model_digest(path)
        if not digest or digest in seen:
            continue
        seen.add(digest)
        owner, name, tag = ("", *path.relative_to(root).parts)[-3:]
        title = f"{name}:{tag}" if owner in {"", "library"} else f"{owner}/{name}:{tag}"
        blob = place.folder / "blobs" / f"sha256-{digest}"
        there = _is_file(blob)
        why = "" if there else "Its download did not end, or its blob was removed."
        yield Listed(place, blob, title, why)


def _listed(place: Place, path: Path) -> Listed | None:
    """A file as listed; None for what is no model, and for all shards but the first."""
    if _UNFINISHED.search(path.name):
        return Listed(place, path, unfinished="Its download did not end.")
    if path.suffix.lower() != ".gguf" or "mmproj" in path.name.lower():
        return None
    shard = _FIRST_OR_WHOLE.search(path.name)
    if shard is None or shard[1] == "00001":
        # Jan keeps every model as NAME/model.gguf.
        return Listed(place, path, path.parent.name if path.stem.lower() == "model" else "")
    # A set without its first shard is told by the lowest one that is there.
    first = path.with_name(path.name[: shard.start(1)] + "00001" + path.name[shard.end(1) :])
    before = path.with_name(
        f"{path.name[: shard.start(1)]}{int(shard[1]) - 1:05d}{path.name[shard.end(1) :]}"
    )
    if _is_file(first) or _is_file(before):
        return None
    return Listed(place, path, unfinished="Its first shards are missing.")


def _model_digest(manifest: Path) -> str:
    """The hash of the one model in a manifest; empty where it names none or several."""
    try:
        if manifest.stat().st_size > _MOST_MANIFEST_BYTES:
            return ""
        layers = json.loads(read_whole(manifest))["layers"]
        digests = [str(one["digest"]) for one in layers if one["mediaType"] == _MODEL_LAYER]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    match = _DIGEST.fullmatch(digests[0]) if len(digests) == 1 else None
    return match[1] if match else ""


def _walk(folder: Path, found: Listing) -> Iterator[Path]:
    """Every file below a folder, names in order; links to folders are followed once."""
    visited: set[tuple[int, int]] = set()
    waiting = [(folder, 0)]
    looked_at = 0
    while waiting:
        here, depth = waiting.pop()
        below: list[tuple[Path, int]] = []
        try:
            facts = here.stat()
            if (facts.st_dev, facts.st_ino) in visited:
                continue
            visited.add((facts.st_dev, facts.st_ino))
            with os.scandir(here) as entries:
                names: list[tuple[str, bool]] = []
                for entry in entries:
                    looked_at += 1
                    if looked_at > MOST_ENTRIES:
                        found.cut_short = True
                        break
                    names.append((entry.name, _is_folder(entry)))
        except OSError:
            continue
        for name, is_folder in sorted(names):
            if is_folder and depth + 1 < MOST_DEPTH:
                below.append((here / name, depth + 1))
            elif is_folder:
                found.cut_short = True
            else:
                yield here / name
        waiting += reversed(below)
        if looked_at > MOST_ENTRIES:
            return


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _names(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())[:MOST_ENTRIES]
    return []


def _folders(folder: Path) -> list[Path]:
    return [path for path in _names(folder) if path.is_dir()]


def _newest_first(folder: Path) -> list[Path]:
    def modified(path: Path) -> float:
        with suppress(OSError):
            return path.stat().st_mtime
        return 0.0

    return sorted(_folders(folder), key=modified, reverse=True)


def _is_file(path: Path) -> bool:
    with suppress(OSError):
        return path.is_file()
    return False
