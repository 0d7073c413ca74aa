"""The catalogue: the R1 family as models.toml describes it, and what a user means by MODEL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import localr1
from localr1.config import expanded
from localr1.errors import CatalogueError, FileError, LocalR1Error, UnknownModel
from localr1.gguf.file import recognise
from localr1.gguf.types import Architecture
from localr1.models import choice
from localr1.models.document import read_document
from localr1.models.overlay import checked, laid_over
from localr1.models.quality import QuantizationLoss, points_lost, quality
from localr1.models.types import Choice, Model, Sampling, Sourced, ThinkingTokens, Variant

PACKAGE_FOLDER = Path(localr1.__file__).parent
"""Where localr1 is installed; the demo's path is relative to it."""
REFRESHED_NAME = "models-refreshed.toml"
"""The file in the settings folder that `localr1 models --refresh` writes."""


@dataclass(frozen=True)
class Catalogue:
    """Every model that localr1 knows."""

    models: tuple[Model, ...]
    """In the order of models.toml, the user's own last."""
    sources: Mapping[str, str] = field(hash=False)
    """What the source names of facts stand for."""
    quantizations: Mapping[str, QuantizationLoss] = field(hash=False)
    """By upper-case name."""
    quality_benchmarks: tuple[str, ...]
    """The scores that `Model.quality` is the mean of."""
    ignored: str = ""
    """Why the refreshed catalogue is not used; empty where it is, or where there is none."""
    others: Callable[[], tuple[Model, ...]] = field(default=tuple, compare=False, repr=False)
    """Models on this disk that are not in the catalogue: looked up only when a name needs it."""

    def with_others(self, others: Callable[[], tuple[Model, ...]]) -> Catalogue:
        """The same catalogue, in which names may also mean these models."""
        return replace(self, others=others)

    def model(self, model_id: str) -> Model:
        """The model with exactly this id.

        Raises:
            UnknownModel: There is none.
        """
        for model in self.models:
            if model.id == model_id:
                return model
        raise choice.unknown(self.models, model_id)

    def resolve(self, text: str) -> Choice:
        """What a user means by MODEL[:VARIANT].

        MODEL is an id, a full name, a repository, an unambiguous part of one of these, or
        a path to a GGUF file. Case does not matter. The whole id of a file on this computer
        comes before a part of a name.

        Raises:
            UnknownModel: Nothing or several things are meant; names the closest.
            FileError: The path cannot be read.
            GgufError: The file is not a model that localr1 runs.
        """
        if choice.is_gguf_path(text):
            return self.from_file(expanded(text))
        named = choice.exact(self.models, text)
        if named is None:
            named = choice.exact(self.others(), text, ids_only=True)
        if named is not None:
            return named
        try:
            return choice.match(self.models, text)
        except UnknownModel:
            path = expanded(text)
            if _is_file(path):
                return self.from_file(path)
            if others := self.others():
                with suppress(UnknownModel):
                    return choice.match(others, text)
            raise

    def from_file(self, path: Path) -> Choice:
        """A model made from a GGUF file's own header.

        Flags, sampling and scores come from the catalogue's model of the same shape.

        Raises:
            FileError: The path cannot be read.
            GgufError: The file is not a model that localr1 runs.
        """
        return choice.from_file(recognise(path), self.models, tuple(self.quantizations))

    def quantization_loss(self, name: str, parameters: int | None = None) -> float:
        """Points of `Model.quality` that a quantization is expected to cost.

        Args:
            name: `Q4_K_M`, in any case; unknown names count by the bits in them.
            parameters: Of the model: small ones lose more. A 7B where left out.
        """
        return points_lost(self.quantizations, name, parameters)


def built_in_path() -> Path:
    """The models.toml that came with localr1.

    A wheel has it inside the package; a checkout, and so an editable install, beside it.

    Raises:
        CatalogueError: It is in neither place.
    """
    places = (PACKAGE_FOLDER / "models.toml", PACKAGE_FOLDER.parent / "models.toml")
    for place in places:
        if _is_file(place):
            return place
    raise CatalogueError(
        "localr1's list of models is missing.",
        f"models.toml is neither at {places[0]} nor at {places[1]}.",
        "Install localr1 again.",
    )


def load(user_file: Path | None = None, refreshed_file: Path | None = None) -> Catalogue:
    """Read the catalogue.

    Args:
        user_file: A user's own models.toml, laid over everything else; need not exist.
        refreshed_file: What the hub said later than the built-in catalogue; need not exist.

    Raises:
        CatalogueError: A file has a mistake; names the line and the key.
        FileError: A file cannot be read.
    """
    raw = checked(read_document(built_in_path()), PACKAGE_FOLDER)
    for file in (refreshed_file, user_file):
        if file is not None and _is_file(file):
            raw = laid_over(raw, checked(read_document(file), file.parent, below=raw))
    return _build(raw)


def load_usable(user_file: Path | None, refreshed_file: Path) -> Catalogue:
    """Like `load`, but without the refreshed catalogue where that is of no use.

    It is nobody's own work: `Catalogue.ignored` says what is wrong with it.

    Raises:
        CatalogueError: The user's file has a mistake; names the line and the key.
        FileError: The user's file cannot be read.
    """
    try:
        return load(user_file, refreshed_file)
    except LocalR1Error as error:
        without = load(user_file)
        return replace(without, ignored=f"{error.what} {error.why}".strip())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


# From here on every value has been checked against the schema; Any spares a cast per key.
def _build(raw: dict[str, Any]) -> Catalogue:
    quantizations = {
        name.upper(): QuantizationLoss(
            bits_per_weight=entry.get("bits_per_weight"),
            source=entry.get("source", ""),
            kld=entry.get("kld"),
            points_lost=entry.get("points_lost"),
            same_as=entry.get("same_as"),
        )
        for name, entry in raw.get("quantization", {}).items()
    }
    names = tuple(raw.get("quality_benchmarks", ()))
    return Catalogue(
        models=tuple(_model(entry, names, quantizations) for entry in raw.get("model", [])),
        sources=raw.get("sources", {}),
        quantizations=quantizations,
        quality_benchmarks=names,
    )


def _model(
    entry: dict[str, Any], names: tuple[str, ...], quantizations: Mapping[str, QuantizationLoss]
) -> Model:
    benchmarks = {
        name: Sourced(fact["value"], fact["source"]) for name, fact in entry["benchmarks"].items()
    }
    sampling = {k: v for k, v in entry["sampling"].items() if k != "source"}
    thinking = entry["thinking_tokens"]
    variants = [_variant(row, entry["files"]) for row in entry["files"]["variants"]]
    architecture = _architecture(entry["architecture"])

    def worse_and_smaller(variant: Variant) -> tuple[float, int]:
        lost = points_lost(quantizations, variant.quantization, architecture.parameters)
        return lost, -variant.size_bytes

    variants.sort(key=worse_and_smaller)
    model = Model(
        id=entry["id"],
        name=entry["name"],
        architecture=architecture,
        variants=tuple(variants),
        license=entry["license"]["value"],
        base_license=entry["base_license"]["value"],
        released=entry["released"]["value"],
        source=entry["source"],
        force_think=entry["force_think"]["value"],
        system_prompt=entry["system_prompt"]["value"],
        sampling=Sampling(**sampling),
        kv_cache_types=tuple(entry["kv_cache_types"]["value"]),
        kv_cache_reserve=tuple(entry.get("kv_cache_reserve", {"value": ()})["value"]),
        thinking_tokens=ThinkingTokens(
            thinking["typical"],
            thinking["hard"],
            "typical" in thinking["assumed"],
            thinking["source"],
            "hard" in thinking["assumed"],
        ),
        benchmarks=benchmarks,
        quality=quality(benchmarks, names),
        demo=entry.get("demo", False),
        notes=tuple(entry.get("notes", ())),
        system_join=entry.get("system_join", {"value": "last"})["value"],
    )
    return _demo(model) if model.demo else model


def _architecture(entry: dict[str, Any]) -> Architecture:
    facts = {k: v for k, v in entry.items() if k not in {"source", "unverified"}}
    facts.setdefault("active_parameters", facts["parameters"])
    return Architecture(**facts)


def _variant(row: dict[str, Any], files: dict[str, Any]) -> Variant:
    quantization = row["quantization"]
    path = Path(row["path"]) if "path" in row else None
    if path is not None:
        names: tuple[str, ...] = (path.name,)
    elif "files" in row:
        names = tuple(row["files"])
    else:
        names = (files["pattern"].replace("{quantization}", quantization),)
    listed = any("*" in name for name in names)
    return Variant(
        quantization=quantization,
        repository="" if path else row.get("repository", files.get("repository", "")),
        files=names,
        size_bytes=row["size_bytes"],
        size_is_exact=row["size_is_exact"],
        sha256=tuple(row.get("sha256", ())),
        revision=row.get("revision", files.get("revision", "main")),
        shards=row.get("shards", 0 if listed else len(names)),
        path=path,
    )


def _demo(model: Model) -> Model:
    """The demo as its file says, or without a variant where the file is missing or of no use."""
    problem = "Its file is not part of this installation."
    for variant in model.variants:
        if variant.path is None or not _is_file(variant.path):
            continue
        try:
            gguf = recognise(variant.path)
        except FileError as error:
            problem = f"Its file cannot be used: {error.why}"
            continue
        exact = replace(
            variant,
            quantization=gguf.quantization,
            size_bytes=gguf.size_bytes,
            size_is_exact=True,
            path=gguf.path,
        )
        return replace(model, architecture=gguf.architecture, variants=(exact,))
    return replace(model, variants=(), notes=(*model.notes, problem))
