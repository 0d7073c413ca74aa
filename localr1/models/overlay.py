"""Checking a whole models.toml, and laying a user's own over the built-in one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import cast

from localr1.models.document import Context, Document, Raw
from localr1.models.schema import MODEL, TOP, UNVERIFIED
from localr1.models.toml_line import KeyPath


def checked(document: Document, folder: Path, *, below: Raw | None = None) -> Raw:
    """Check a document and make its file paths absolute.

    Args:
        document: As read.
        folder: What `path` keys are relative to.
        below: What the document is laid over: its sources may be used, and entries for its
            models need only hold what they change.

    Raises:
        CatalogueError: Names the file, the line and the key.
    """
    raw = document.raw
    inherited: Raw = below or {}
    sources = {UNVERIFIED, *_keys(raw, "sources"), *_keys(inherited, "sources")}
    context = Context(document, sources)
    TOP.check(context, (), raw)
    quantizations = {
        name.upper() for name in (*_keys(raw, "quantization"), *_keys(inherited, "quantization"))
    }
    for name, entry in cast("dict[str, Raw]", raw.get("quantization", {})).items():
        _check_quantization(document, name, entry, quantizations)
    known = {str(model["id"]): model for model in cast("list[Raw]", inherited.get("model", []))}
    entries = cast("list[Raw]", raw.get("model", []))
    for index, entry in enumerate(entries):
        model = known.get(str(entry.get("id")))
        MODEL.check(Context(document, sources, model is not None), ("model", index), entry)
        files = {**_table(model or {}, "files"), **_table(entry, "files")}
        variants = cast("list[Raw]", _table(entry, "files").get("variants", []))
        path: KeyPath = ("model", index, "files", "variants")
        _unique(document, path, variants, "quantization")
        for position, variant in enumerate(variants):
            _check_variant(document, (*path, position), variant, files)
            if "path" in variant:
                variant["path"] = str(folder / str(variant["path"]))
    _unique(document, ("model",), entries, "id")
    return raw


def laid_over(base: Raw, top: Raw) -> Raw:
    """The built-in catalogue with a user's changes; both checked.

    Keys and tables of a model with the same id are replaced key by key, its variants by
    quantization; models with another id are added.
    """
    merged = {**base, **top}
    for key in ("sources", "quantization"):
        merged[key] = {**_table(base, key), **_table(top, key)}
    models = {m["id"]: m for m in cast("list[Raw]", base.get("model", []))}
    for change in cast("list[Raw]", top.get("model", [])):
        known = models.get(change["id"])
        models[change["id"]] = change if known is None else _changed(known, change)
    merged["model"] = list(models.values())
    return merged


def _changed(model: Raw, change: Raw) -> Raw:
    result = {**model, **change}
    for key in ("architecture", "sampling", "thinking_tokens", "benchmarks", "files"):
        result[key] = {**_table(model, key), **_table(change, key)}
    files = cast("Raw", result["files"])
    rows = [
        row
        for table in (_table(model, "files"), _table(change, "files"))
        for row in cast("list[Raw]", table.get("variants", []))
    ]
    files["variants"] = list({str(row["quantization"]).upper(): row for row in rows}.values())
    return result


def _check_quantization(document: Document, name: str, entry: Raw, names: Collection[str]) -> None:
    path: KeyPath = ("quantization", name)
    given = [key for key in ("kld", "points_lost", "same_as") if key in entry]
    if len(given) != 1:
        document.fail(path, "must have exactly one of kld, points_lost and same_as")
    if given == ["same_as"]:
        if str(entry["same_as"]).upper() not in names:
            document.fail((*path, "same_as"), f"there is no quantization {entry['same_as']!r}")
    elif "source" not in entry:
        document.fail((*path, "source"), "missing")


def _check_variant(document: Document, path: KeyPath, variant: Raw, files: Raw) -> None:
    """What a row needs from its table: somewhere to come from, and a hash per file."""
    if "path" not in variant:
        if "repository" not in variant and "repository" not in files:
            document.fail((*path, "repository"), "missing here and in model.files")
        if "files" not in variant and "pattern" not in files:
            document.fail((*path, "files"), "missing, and model.files has no pattern")
    names = cast("list[str]", variant.get("files", [""]))
    if not names:
        document.fail((*path, "files"), "must name at least one file")
    hashes = cast("list[str]", variant.get("sha256", []))
    if hashes and "sha256_source" not in variant:
        document.fail((*path, "sha256_source"), "missing")
    if hashes and len(hashes) != len(names):
        document.fail((*path, "sha256"), f"{len(hashes)} hashes for {len(names)} files")


def _unique(document: Document, path: KeyPath, rows: list[Raw], key: str) -> None:
    seen: set[str] = set()
    for index, row in enumerate(rows):
        name = str(row[key])
        if name.upper() in seen:
            document.fail((*path, index, key), f"{name!r} is there twice")
        seen.add(name.upper())


def _table(raw: Raw, key: str) -> Raw:
    return cast("Raw", raw.get(key, {}))


def _keys(raw: Raw, key: str) -> Collection[str]:
    table = raw.get(key, {})
    return table.keys() if isinstance(table, dict) else ()
