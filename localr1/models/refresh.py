"""Bringing the catalogue up to date from the hub: what changed is shown before it is kept.

Only variants are refreshed: new quantizations, sizes, names of files and checksums. What is kept
goes into a file of its own (`catalog.REFRESHED_NAME`), laid between the built-in catalogue and the
user's own models.toml.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from localr1.errors import HubDenied, HubNotFound
from localr1.models.acquire import FileSet, file_sets
from localr1.models.catalog import Catalogue
from localr1.models.hub import RemoteFile
from localr1.models.place import size_text
from localr1.models.schema import path_complaint
from localr1.models.types import Model, Variant

Kind = Literal["new", "changed", "confirmed", "gone"]

_QUANTIZATION: Final = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|BF16|F16|F32|TQ\d_\d|MXFP4(?:_MOE)?))(?=$|[-.])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Change:
    """What the hub says of one variant."""

    model_id: str
    quantization: str
    repository: str
    kind: Kind
    """`confirmed`: what was computed or not known is now exact; nothing that was known differs."""
    told: str
    """The difference, for people."""
    files: tuple[RemoteFile, ...]
    """As listed by the hub; empty where it has none any more."""

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class Refreshed:
    """The outcome of asking the hub."""

    changes: tuple[Change, ...]
    troubles: tuple[str, ...]
    """Repositories that could not be listed, and files that are left out, in sentences."""


def look_up(
    catalogue: Catalogue,
    list_repository: Callable[[str], Sequence[RemoteFile]],
    on_repository: Callable[[str], None],
) -> Refreshed:
    """Ask the hub for every repository of the catalogue.

    Args:
        catalogue: Without the user's own changes.
        list_repository: Asks the hub for the GGUF files of one repository.
        on_repository: Told of each repository before it is asked for.

    Raises:
        OfflineError: The network may not be used.
        HubUnreachable: No answer.
    """
    changes: list[Change] = []
    troubles: list[str] = []
    for model in catalogue.models:
        repositories = dict.fromkeys(v.repository for v in model.variants if v.repository)
        for repository in repositories:
            on_repository(repository)
            try:
                listed = list_repository(repository)
            except (HubNotFound, HubDenied) as error:
                troubles.append(f"{repository}: {error.what} {error.why}".strip())
                continue
            odd = [file for file in listed if path_complaint(file.path)]
            troubles += [
                f"{repository}: one file's name cannot be used, {file.path!r}." for file in odd
            ]
            changes += compare(model, repository, file_sets([f for f in listed if f not in odd]))
    return Refreshed(tuple(changes), tuple(troubles))


def compare(model: Model, repository: str, sets: Sequence[FileSet]) -> list[Change]:
    """What differs between a repository and what the catalogue says of it.

    Args:
        model: Of the catalogue.
        repository: One of its repositories.
        sets: What the hub lists there.
    """
    known = {v.quantization.upper(): v for v in model.variants}
    listed: dict[str, FileSet] = {}
    for one in sets:
        name = quantization_of(one.name)
        if name:
            listed.setdefault(name.upper(), one)
    changes = []
    for upper, one in listed.items():
        variant = known.get(upper)
        name = variant.quantization if variant else quantization_of(one.name)
        if variant is not None and variant.repository != repository:
            continue
        kind, told = ("new", size_text(one.size_bytes)) if variant is None else _told(variant, one)
        if kind is not None:
            changes.append(Change(model.id, name, repository, kind, told, one.files))
    for upper, variant in known.items():
        if variant.repository == repository and upper not in listed:
            changes.append(
                Change(model.id, variant.quantization, repository, "gone", "not on the hub", ())
            )
    return changes


def quantization_of(path: str) -> str:
    """The quantization in a file's name; empty where it names none."""
    stem = path.rsplit("/", 1)[-1].removesuffix(".gguf")
    found = _QUANTIZATION.findall(stem)
    return str(found[-1]).upper() if found else ""


def merged(text: str, changes: Sequence[Change], source: str, described: str) -> str:
    """The refreshed catalogue with changes laid over it.

    Args:
        text: The file as it is; empty where there is none.
        changes: What is to be kept; those without files are not.
        source: A name for where the facts come from: `hub-2026-01-31`.
        described: What that name stands for.

    Returns:
        The new file.
    """
    raw: dict[str, Any] = {}
    with suppress(tomllib.TOMLDecodeError):
        raw = tomllib.loads(text)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    with suppress(KeyError, TypeError, AttributeError):
        for model in raw.get("model", []):
            for row in model["files"]["variants"]:
                rows.setdefault(model["id"], {})[row["quantization"].upper()] = row
    for change in changes:
        if change.files:
            kept = rows.setdefault(change.model_id, {})
            kept[change.quantization.upper()] = _row(change, source)
    sources = {**raw.get("sources", {}), source: described}
    used = {str(row.get("source")) for kept in rows.values() for row in kept.values()}
    lines = [
        "# Written by `localr1 models --refresh`. Delete this file to forget what it says; changes of",
        "# your own belong into models.toml beside it, which is laid over this one.",
        "schema = 1",
        "",
        "[sources]",
        *(f"{_value(name)} = {_value(said)}" for name, said in sources.items() if name in used),
    ]
    for model_id, kept in rows.items():
        lines += ["", "[[model]]", f"id = {_value(model_id)}", "", "[model.files]", "variants = ["]
        lines += [
            "  { " + ", ".join(f"{key} = {_value(value)}" for key, value in row.items()) + " },"
            for row in kept.values()
        ]
        lines.append("]")
    return "\n".join(lines) + "\n"


def _told(variant: Variant, listed: FileSet) -> tuple[Kind | None, str]:
    """How a variant differs from what the hub lists; None where it does not."""
    told = []
    names = tuple(file.path for file in listed.files)
    hashes = tuple(file.sha256 or "" for file in listed.files)
    if variant.size_bytes != listed.size_bytes and variant.size_is_exact:
        told.append(f"{variant.size_bytes} bytes were, {listed.size_bytes} are")
    if variant.sha256 and variant.sha256 != hashes:
        told.append("another checksum")
    if not any("*" in name for name in variant.files) and variant.files != names:
        told.append(f"another file name, {names[0]}")
    if told:
        return "changed", ", ".join(told)
    if not variant.size_is_exact:
        told.append("size now exact")
    if not variant.sha256 and all(hashes):
        told.append("checksum now known")
    return ("confirmed", ", ".join(told)) if told else (None, "")


def _row(change: Change, source: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "quantization": change.quantization,
        "size_bytes": change.size_bytes,
        "size_is_exact": True,
        "source": source,
        "repository": change.repository,
        "files": [file.path for file in change.files],
        "shards": len(change.files),
    }
    if all(file.sha256 for file in change.files):
        row["sha256"] = [file.sha256 for file in change.files]
        row["sha256_source"] = source
    return row


def _value(value: object) -> str:
    """A text, number, flag or list of texts as TOML writes it; for these JSON does the same."""
    return json.dumps(value, ensure_ascii=True)


def read_text(path: Path) -> str:
    """The refreshed catalogue; empty where there is none or it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    return ""
