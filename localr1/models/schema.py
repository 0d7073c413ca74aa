"""What models.toml may hold."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from localr1.gguf.architecture import SUPPORTED
from localr1.models.document import Complain, Listing, Names, Scalar, Spec, Table, shown

SCHEMA = 1
"""The version of models.toml that this code reads."""
UNVERIFIED = "unverified"
"""Source of facts for which no page has been seen."""
KV_CACHE_TYPES = ("f16", "q8_0", "q4_0")


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else f"must be text in quotes, not {shown(value)}"


def _filled_text(value: object) -> str | None:
    return _text(value) or (None if value else "must not be empty")


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else f"must be true or false, not {shown(value)}"


def _whole(least: int) -> Complain:
    def complain(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be a whole number, not {shown(value)}"
        return None if value >= least else f"must be at least {least}, not {value}"

    return complain


def _number(least: float, most: float) -> Complain:
    def complain(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, not {shown(value)}"
        return None if least <= value <= most else f"must be from {least} to {most}, not {value}"

    return complain


def _one_of(*names: str | int) -> Complain:
    def complain(value: object) -> str | None:
        good = not isinstance(value, bool) and value in names
        return None if good else f"must be {' or '.join(map(str, names))}, not {shown(value)}"

    return complain


def _matching(pattern: str, meaning: str) -> Complain:
    expression = re.compile(pattern)

    def complain(value: object) -> str | None:
        good = isinstance(value, str) and expression.fullmatch(value)
        return None if good else f"must be {meaning}, not {shown(value)}"

    return complain


def path_complaint(value: object) -> str | None:
    """What is wrong with a path inside a repository; None where nothing is.

    It becomes a path on the disk, so it must stay below its folder.
    """
    if not isinstance(value, str) or not value:
        return _filled_text(value)
    parts = value.split("/")
    if PurePosixPath(value).is_absolute() or ".." in parts or "\\" in value or ":" in value:
        return f"must be a path inside the repository, not {shown(value)}"
    return None if value.count("*") <= 1 else "may hold one * only"


def _pattern(value: object) -> str | None:
    complaint = path_complaint(value)
    if complaint is None and "{quantization}" not in str(value):
        return "must hold {quantization}"
    return complaint


_TEXT = Scalar(_text)
_FILLED = Scalar(_filled_text)
_FLAG = Scalar(_flag)
_COUNT = Scalar(_whole(0))
_SIZE = Scalar(_whole(1))
_SOURCE = Scalar(_filled_text, is_source=True)
_REPOSITORY = Scalar(_matching(r"[\w.-]+/[\w.-]+", "owner/name of a repository"))


def _fact(value: Spec) -> Table:
    return Table({"value": value, "source": _SOURCE}, always_whole=True)


_ARCHITECTURE = Table(
    {
        "name": Scalar(_one_of(*SUPPORTED)),
        "layers": _SIZE,
        "embedding_length": _SIZE,
        "feed_forward_length": _SIZE,
        "head_count": _SIZE,
        "head_count_kv": _SIZE,
        "key_length": _SIZE,
        "value_length": _COUNT,
        "vocabulary_size": _SIZE,
        "context_length": _SIZE,
        "parameters": _SIZE,
        "source": _SOURCE,
        "active_parameters": _SIZE,
        "tied_embeddings": _FLAG,
        "expert_count": _COUNT,
        "expert_used_count": _COUNT,
        "expert_feed_forward_length": _COUNT,
        "expert_shared_count": _COUNT,
        "leading_dense_layers": _COUNT,
        "mla": _FLAG,
        "q_lora_rank": _COUNT,
        "kv_lora_rank": _COUNT,
        "rope_length": _COUNT,
        "head_key_length": _COUNT,
        "head_value_length": _COUNT,
        "unverified": Listing(_FILLED),
    },
    optional={
        "active_parameters",
        "tied_embeddings",
        "expert_count",
        "expert_used_count",
        "expert_feed_forward_length",
        "expert_shared_count",
        "leading_dense_layers",
        "mla",
        "q_lora_rank",
        "kv_lora_rank",
        "rope_length",
        "head_key_length",
        "head_value_length",
        "unverified",
    },
)

_VARIANT = Table(
    {
        "quantization": Scalar(_matching(r"[\w.-]+", "a quantization's name")),
        "size_bytes": _SIZE,
        "size_is_exact": _FLAG,
        "source": _SOURCE,
        "repository": _REPOSITORY,
        "revision": _FILLED,
        "files": Listing(Scalar(path_complaint)),
        "shards": _COUNT,
        "sha256": Listing(Scalar(_matching(r"[0-9a-f]{64}", "64 lower-case hex digits"))),
        "sha256_source": _SOURCE,
        "path": _FILLED,
    },
    optional={"repository", "revision", "files", "shards", "sha256", "sha256_source", "path"},
    always_whole=True,
)

MODEL = Table(
    {
        "id": Scalar(_matching(r"[a-z0-9][a-z0-9._-]*", "lower-case letters, digits, - . or _")),
        "name": _FILLED,
        "source": _FILLED,
        "released": _fact(Scalar(_matching(r"(\d{4}-\d{2}-\d{2})?", 'a date, "2025-01-20"'))),
        "license": _fact(_FILLED),
        "base_license": _fact(_TEXT),
        "force_think": _fact(_FLAG),
        "system_prompt": _fact(_FLAG),
        "system_join": _fact(Scalar(_one_of("last", "paragraphs"))),
        "kv_cache_types": _fact(Listing(Scalar(_one_of(*KV_CACHE_TYPES)))),
        "kv_cache_reserve": _fact(Listing(Scalar(_one_of(*KV_CACHE_TYPES)))),
        "architecture": _ARCHITECTURE,
        "sampling": Table(
            {
                "temperature": Scalar(_number(0.0, 5.0)),
                "top_p": Scalar(_number(0.0, 1.0)),
                "source": _SOURCE,
                "top_k": _COUNT,
                "min_p": Scalar(_number(0.0, 1.0)),
            },
            optional={"top_k", "min_p"},
        ),
        "thinking_tokens": Table(
            {
                "typical": _SIZE,
                "hard": _SIZE,
                "assumed": Listing(Scalar(_one_of("typical", "hard"))),
                "source": _SOURCE,
            }
        ),
        "benchmarks": Names(_fact(Scalar(_number(0, 10_000)))),
        "files": Table(
            {
                "source": _SOURCE,
                "variants": Listing(_VARIANT),
                "repository": _REPOSITORY,
                "pattern": Scalar(_pattern),
                "revision": _FILLED,
            },
            optional={"repository", "pattern", "revision"},
        ),
        "demo": _FLAG,
        "notes": Listing(_FILLED),
    },
    optional={"demo", "notes", "system_join", "kv_cache_reserve"},
)

QUANTIZATION = Table(
    {
        "bits_per_weight": Scalar(_number(0.5, 64)),
        "kld": Scalar(_number(0, 100)),
        "points_lost": Scalar(_number(0, 100)),
        "same_as": _FILLED,
        "source": _SOURCE,
    },
    optional={"bits_per_weight", "kld", "points_lost", "same_as", "source"},
)

TOP = Table(
    {
        "schema": Scalar(_one_of(SCHEMA)),
        "quality_benchmarks": Listing(_FILLED),
        "sources": Names(_FILLED),
        "quantization": Names(QUANTIZATION),
        # Each model is checked by itself: whether it may be partial depends on its id.
        "model": Listing(Names(Scalar(lambda _: None))),
    },
    optional={"quality_benchmarks", "sources", "quantization", "model"},
)
