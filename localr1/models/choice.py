"""What a user means by MODEL[:VARIANT]: matching names, and models made from a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from localr1.errors import UnknownModel
from localr1.gguf.file import chat_format, model_stem
from localr1.gguf.types import Architecture, ChatFormat, GgufFile
from localr1.models.types import Choice, Model, Sampling, ThinkingTokens, Variant
from localr1.printable import printable

# R1's template marks the turns with these, whatever the version (tokenizer_config.json of
# deepseek-ai/DeepSeek-R1).
_R1_TURN = "<\uff5cAssistant\uff5c>"
# DeepSeek's V models write turns like R1 but think differently or not at all.
_NOT_R1 = re.compile(r"deepseek-?v\d")
_MODELS_COMMAND = "localr1 models lists all of them."


def is_gguf_path(text: str) -> bool:
    """Whether `text` can only be a path: it ends in `.gguf`, as no model or variant does."""
    return text.lower().endswith(".gguf")


def match(models: Sequence[Model], text: str) -> Choice:
    """Find the model, and the variant where `text` names one.

    Raises:
        UnknownModel: Nothing or several things match; names the closest.
    """
    # A colon after one letter is a Windows drive, not a variant.
    name, colon, quantization = text.strip().rpartition(":")
    if not colon or len(name) < 2:
        return Choice(_match_model(models, text), None)
    model = _match_model(models, name)
    return Choice(model, _match_variant(models, model, quantization))


def exact(models: Sequence[Model], text: str, *, ids_only: bool = False) -> Choice | None:
    """The model that has exactly this name, and the variant where `text` names one.

    Args:
        models: Where to look.
        text: MODEL[:VARIANT].
        ids_only: Whether only ids count, not full names and repositories.

    Returns:
        None where no model, or several, or no such variant has the name.
    """

    def named(name: str) -> Model | None:
        found = [
            m
            for m in models
            if plain(name) in {plain(n) for n in ((m.id,) if ids_only else _names(m))}
        ]
        return found[0] if len(found) == 1 else None

    if (model := named(text)) is not None:
        return Choice(model, None)
    name, colon, quantization = text.strip().rpartition(":")
    model = named(name) if colon else None
    if model is None:
        return None
    try:
        return Choice(model, _match_variant(models, model, quantization))
    except UnknownModel:
        return None


def unknown(models: Sequence[Model], text: str) -> UnknownModel:
    """The error for a name that no model answers to; its `todo` lists the closest."""
    import difflib  # noqa: PLC0415  # only for names that nobody knows

    by_name = {plain(name): model.id for model in models for name in _names(model)}
    parts = {part: model.id for model in models for part in model.id.split("-")}
    close = [
        ids[found]
        for ids in (by_name, parts)
        for found in difflib.get_close_matches(plain(text), ids, n=4, cutoff=0.5)
    ]
    ids = list(dict.fromkeys(close))[:4]
    hint = f"Did you mean {' or '.join(ids)}? " if ids else ""
    return UnknownModel(
        f"There is no model {text!r}.",
        "It is no id, name or part of a name in the catalogue, and no .gguf file.",
        hint + _MODELS_COMMAND,
    )


def from_file(gguf: GgufFile, models: Sequence[Model], quantizations: Sequence[str]) -> Choice:
    """A model and variant for a file on this disk.

    Flags, sampling and scores are those of the catalogue's model of the same shape, the one
    whose name is in the file where there are several.

    Args:
        gguf: The file, recognised.
        models: Of the catalogue.
        quantizations: Names to look for in the file's name: it knows `UD-Q2_K_XL`, the
            header only the type it is built on.
    """
    stem = model_stem(gguf.path)
    if not printable(stem).strip():
        stem = "model"  # nobody could type its name
    variant = Variant(
        quantization=_quantization_in(stem, quantizations) or gguf.quantization,
        repository="",
        files=(gguf.path.name,),
        size_bytes=gguf.size_bytes,
        size_is_exact=True,
        shards=gguf.shards,
        path=gguf.path,
    )
    twin = _twin(gguf, stem, models)
    own_format = _own_format(gguf, stem)
    if twin is None or own_format is not None:
        return Choice(_stranger(gguf, stem, variant, own_format), variant)
    model = Model(
        id=stem,
        name=gguf.name,
        architecture=gguf.architecture,
        variants=(variant,),
        license=twin.license,
        base_license=twin.base_license,
        released=twin.released,
        source=twin.source,
        force_think=twin.force_think,
        system_prompt=twin.system_prompt,
        sampling=twin.sampling,
        kv_cache_types=twin.kv_cache_types,
        kv_cache_reserve=twin.kv_cache_reserve,
        thinking_tokens=twin.thinking_tokens,
        benchmarks=twin.benchmarks,
        quality=twin.quality,
        demo=twin.demo,
        notes=(f"Taken to be {twin.name}, which has the same shape.",),
        system_join=twin.system_join,
    )
    return Choice(model, variant)


def _match_model(models: Sequence[Model], text: str) -> Model:
    wanted = plain(text)
    if not any(character.isalnum() for character in wanted):
        raise unknown(models, text)
    # From the strictest reading to the loosest; the first that finds anything decides.
    readings = (
        lambda name: name == wanted,
        lambda name: re.search(rf"(^|[-/]){re.escape(wanted)}($|[-/])", name) is not None,
        lambda name: wanted in name,
    )
    for reading in readings:
        found = [m for m in models if any(reading(plain(name)) for name in _names(m))]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(m.id for m in found)
            raise UnknownModel(
                f"{text!r} can mean several models.",
                f"It is part of {ids}.",
                f"Name one of them, for example {found[0].id}.",
            )
    raise unknown(models, text)


def _match_variant(models: Sequence[Model], model: Model, text: str) -> Variant:
    wanted = text.strip().upper()
    for plain in (str, lambda name: name.removeprefix("UD-")):
        found = [v for v in model.variants if plain(v.quantization.upper()) == wanted]
        if len(found) == 1:
            return found[0]
    names = [v.quantization for v in model.variants]
    # Other programs write the model's size after the colon: deepseek-r1:7b.
    others = [m.id for m in models if wanted.lower() in m.id.split("-")]
    hint = f"Did you mean {' or '.join(others)}? " if others else ""
    raise UnknownModel(
        f"{model.id} has no variant {text!r}.",
        f"It has {', '.join(names)}." if names else "It has no files.",
        hint + (f"Write, for example, {model.id}:{names[0]}." if names else _MODELS_COMMAND),
    )


def _names(model: Model) -> tuple[str, ...]:
    repositories = dict.fromkeys(v.repository for v in model.variants if v.repository)
    return (model.id, model.name, model.source, *repositories)


def plain(text: str) -> str:
    """A name as names are compared: case and separators do not matter."""
    return re.sub(r"[\s_]+", "-", text.strip().lower())


def _quantization_in(stem: str, quantizations: Sequence[str]) -> str | None:
    for name in sorted(quantizations, key=len, reverse=True):
        if re.search(rf"(^|[-._]){re.escape(name)}$", stem, re.IGNORECASE):
            return name
    return None


def _shape(architecture: Architecture) -> tuple[object, ...]:
    """What tells the models of the family apart; fine-tunes and cache layouts do not change it."""
    return (
        architecture.name,
        architecture.layers,
        architecture.embedding_length,
        architecture.feed_forward_length,
        architecture.head_count,
        architecture.expert_count,
    )


def _twin(gguf: GgufFile, stem: str, models: Sequence[Model]) -> Model | None:
    same = [m for m in models if _shape(m.architecture) == _shape(gguf.architecture)]
    told = plain(f"{stem} {gguf.name}")
    named = [m for m in same if plain(m.name) in told]
    # The longest name says most: DeepSeek-R1 is also part of DeepSeek-R1-0528.
    return max(named or same[:1], key=lambda m: len(m.name), default=None)


def _own_format(gguf: GgufFile, stem: str) -> ChatFormat | None:
    """The file's own way of writing conversations; None where that is R1's."""
    named = plain(f"{stem}-{gguf.name}")
    template = gguf.chat_template
    if _R1_TURN in template and "think>" in template and not _NOT_R1.search(named):
        return None
    own_format = chat_format(gguf, ask=(_R1_TURN,))
    # A file of R1's whose template was lost or replaced: only with R1's tokens can it be one.
    if own_format.tokens and "r1" in named:
        return None
    return own_format


def _stranger(gguf: GgufFile, stem: str, variant: Variant, own_format: ChatFormat | None) -> Model:
    """A model that the catalogue does not know: cautious settings, no scores."""
    if own_format is None:
        note = "Not in the catalogue: localr1 uses R1's usual settings."
    elif own_format.template:
        note = "Not of the R1 family: localr1 uses the chat template in its file."
    else:
        note = "Not of the R1 family, and its file has no chat template: it cannot chat."
    # Biased keys make a quantized cache risky in qwen2 (arXiv 2504.04823); others are robust.
    biased = gguf.architecture.name == "qwen2"
    return Model(
        id=stem,
        name=gguf.name,
        architecture=gguf.architecture,
        variants=(variant,),
        license="",
        base_license="",
        released="",
        source="",
        force_think=own_format is None and "<think>" in gguf.chat_template,
        system_prompt=own_format is not None,
        sampling=Sampling(),
        kv_cache_types=("f16",) if biased else ("f16", "q8_0"),
        kv_cache_reserve=("q8_0",) if biased else (),
        thinking_tokens=ThinkingTokens(typical=1000, hard=12_000, assumed=True, source="assumed"),
        notes=(note,),
        own_format=own_format,
    )
