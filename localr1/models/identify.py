"""Which model of the catalogue a file on this disk is, if any."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from localr1.gguf.file import model_stem
from localr1.gguf.types import GgufFile
from localr1.models import choice
from localr1.models.discover import Found
from localr1.models.types import LocalModel, Model, Variant

# What quantizers add to a model's name without changing the model.
_NOISE: Final = frozenset(
    (
        *("deepseek", "ai", "unsloth", "bartowski", "lmstudio", "community", "mlx", "hf"),
        *("gguf", "ggml", "ud", "imat", "imatrix", "i1", "quantized"),
        *("bf16", "f16", "fp16", "f32", "fp32", "fp8"),
    )
)
_QUANTIZATION_PART: Final = re.compile(r"(i|t)?q\d\w*|k|[sml]|x{1,2}[sl]|nl|[01]|\d{5}|of")
# Two names that a shorter one of the family is part of.
_OTHERS: Final = frozenset({"zero", "0528"})


def local_model(found: Found, models: Sequence[Model]) -> LocalModel:
    """A found file as a model that can be used.

    Args:
        found: The file.
        models: Of the catalogue.

    Raises:
        FileError: The file cannot be read any more.
    """
    quantizations = tuple({v.quantization for m in models for v in m.variants})
    gguf = replace(found.gguf, path=found.named_by or found.path)
    made = choice.from_file(gguf, models, quantizations)
    model, variant = made.model, made.variant
    if variant is None:  # a file always has one
        raise AssertionError(made)
    variant = replace(variant, path=found.path)
    model = replace(model, variants=(variant,))
    listed = _catalogue_model(gguf, models) if found.r1 else None
    if listed is not None:
        variant = _listed_variant(listed, variant)
        model = (
            listed
            if listed.architecture == gguf.architecture
            else replace(listed, architecture=gguf.architecture)
        )
    elif found.name:
        identifier = re.sub(r"[^\w.-]+", "-", found.name).strip("-").lower()
        model = replace(model, id=identifier or model.id)
    return LocalModel(model, variant, found.path, gguf.size_bytes, found.tool)


def distinct(
    found: Sequence[tuple[Found, LocalModel]], models: Sequence[Model]
) -> list[LocalModel]:
    """Files as models of which no two different ones have one name.

    The first keeps the name; others get the beginning of their digest after it, which says the
    same wherever they lie.

    Args:
        found: The files, the preferred first.
        models: Of the catalogue; their ids are taken.
    """
    listed = {choice.plain(model.id): model for model in models}
    taken: dict[str, Model] = {}
    digests: dict[tuple[str, str], str] = {}
    told = []
    for one, local in found:
        model = local.model
        name, quantization = choice.plain(model.id), local.variant.quantization.upper()
        twin = listed.get(name)
        if twin is not None and (twin.name, twin.notes) == (model.name, model.notes):
            told.append(local)
            continue
        first = taken.setdefault(name, model)
        same = twin is None and model.name == first.name
        if same and digests.setdefault((name, quantization), one.digest) == one.digest:
            model = replace(model, id=first.id)
        else:
            model = replace(model, id=f"{model.id}-{one.digest[:6]}")
        told.append(replace(local, model=model))
    return told


def _listed_variant(model: Model, variant: Variant) -> Variant:
    """The catalogue's own variant where it is the same size, else the file's."""
    wanted = variant.quantization.upper()
    for listed in model.variants:
        if listed.quantization.upper() == wanted and listed.size_bytes == variant.size_bytes:
            return listed
    return variant


def _catalogue_model(gguf: GgufFile, models: Sequence[Model]) -> Model | None:
    """The model that the file's own names call it, if its shape is that model's too.

    A name with other words in it is a merge or a fine-tune: another model.
    """
    stem = "" if gguf.path.suffix.lower() != ".gguf" else model_stem(gguf.path)
    names = [_words(name) for name in (gguf.name, stem) if name]
    for model in sorted(models, key=lambda m: -len(m.name)):
        if model.demo or not same_shape(model, gguf):
            continue
        wanted = _words(model.name)
        naming = [_rest(name, wanted) for name in names]
        told = [rest for rest in naming if rest is not None]
        if told and all(_is_noise(word) for rest in told for word in rest):
            return model
    return None


def _rest(name: Sequence[str], wanted: Sequence[str]) -> list[str] | None:
    """The words of a name besides the model's; None where the model's are not in it."""
    size = len(wanted)
    for start in range(len(name) - size + 1):
        if list(name[start : start + size]) == list(wanted):
            return [*name[:start], *name[start + size :]]
    return None


def _is_noise(word: str) -> bool:
    if word in _OTHERS:
        return False
    return word in _NOISE or _QUANTIZATION_PART.fullmatch(word) is not None


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def same_shape(model: Model, gguf: GgufFile) -> bool:
    """Whether a file's network is that of a model, as far as layers, width and experts say."""
    ours, theirs = model.architecture, gguf.architecture
    return (ours.name, ours.layers, ours.embedding_length, ours.expert_count) == (
        theirs.name,
        theirs.layers,
        theirs.embedding_length,
        theirs.expert_count,
    )
