"""Recognising a model file on disk, with all its shards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from localr1.errors import GgufError
from localr1.gguf import architecture, header
from localr1.gguf.quantization import file_type_name
from localr1.gguf.types import ChatFormat, GgufFile, Header, TensorInfo

# llama.cpp's own naming (`llama_split_path` in llama.cpp); shards are found by nothing else.
_SHARD_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_MAX_SHARDS = 1000
_TOKENS = "tokenizer.ggml.tokens"
# Vocabularies that begin every text with a token unless the file says otherwise
# (llama-vocab.cpp of llama.cpp: by tokenizer, and by pre-tokenizer of byte-pair ones).
_BEGINNING_TOKENIZERS = frozenset({"llama", "bert"})
_BEGINNING_PRE_TOKENIZERS = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}
    | {"tekken", "chameleon"}
)


def shard_paths(path: Path) -> tuple[Path, ...]:
    """All shards that `path` is one of, by name alone; just `path` where it is a whole file."""
    match = _SHARD_NAME.fullmatch(path.name)
    count = int(match["count"]) if match else 0
    if match is None or not 1 <= count <= _MAX_SHARDS:
        return (path,)
    return tuple(
        path.with_name(f"{match['stem']}-{number:05d}-of-{count:05d}{path.suffix}")
        for number in range(1, count + 1)
    )


def model_stem(path: Path) -> str:
    """The file's name without `.gguf` and without the shard's number."""
    match = _SHARD_NAME.fullmatch(path.name)
    return match["stem"] if match else path.stem


def recognise(path: Path, *, header_only: bool = False) -> GgufFile:
    """Say what model a GGUF file holds, and that it is complete.

    Args:
        path: The file; of a model in shards any one of them.
        header_only: Accept files whose tensor data is missing or cut short.

    Raises:
        FileError: A file is missing or cannot be read.
        GgufError: It is not GGUF, damaged, cut short, or a shard is missing.
        UnsupportedArchitecture: localr1 does not run this kind of model.
    """
    paths = shard_paths(path)
    if paths[0] != path and not path.exists():
        # Name what the user asked for before its siblings.
        header.read(path, header_only=True)
    headers = _read_shards(paths, header_only=header_only)
    first = headers[0]
    count = _split_count(first)
    if count != len(paths):
        raise GgufError(
            f"{paths[0]} is one of {count} shards.",
            "Its name does not say which, so the others cannot be found."
            if len(paths) == 1
            else f"Its name says {len(paths)}.",
            f"Rename the shards to NAME-00001-of-{count:05d}.gguf and so on.",
        )
    tensors = tuple(t for h in headers for t in h.tensors)
    _check_shards(headers, tensors, paths[0])
    return GgufFile(
        path=paths[0],
        name=_text(first, "general.name") or model_stem(path),
        architecture=architecture.from_header(first, tensors, label=str(path)),
        quantization=_quantization(first, tensors),
        size_bytes=sum(h.file_bytes for h in headers),
        shards=len(paths),
        chat_template=_text(first, "tokenizer.chat_template"),
    )


def chat_format(gguf: GgufFile, ask: Collection[str] = ()) -> ChatFormat:
    """How conversations with a model are written, as its file says.

    Args:
        gguf: The file, recognised.
        ask: Tokens to look for in the vocabulary.

    Raises:
        FileError: The file cannot be read any more.
    """
    try:
        status = gguf.path.stat()
        state = (status.st_size, status.st_mtime_ns)
    except OSError:
        state = (0, 0)  # reading it says why
    return _chat_format(gguf.path, gguf.chat_template, frozenset(ask), state)


@lru_cache(maxsize=64)
def _chat_format(
    path: Path, template: str, ask: frozenset[str], _state: tuple[int, int]
) -> ChatFormat:
    """Remembered, since reading a whole vocabulary takes half a second."""
    first = header.read(path, keep=(_TOKENS,), header_only=True)
    kept = first.metadata.get(_TOKENS)
    tokens = kept if isinstance(kept, tuple) else ()

    def token(name: str) -> str:
        number = first.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(number, int) and 0 <= number < len(tokens):
            return str(tokens[number])
        return ""

    adds = first.metadata.get("tokenizer.ggml.add_bos_token")
    if not isinstance(adds, bool):
        adds = (
            _text(first, "tokenizer.ggml.model") in _BEGINNING_TOKENIZERS
            or _text(first, "tokenizer.ggml.pre") in _BEGINNING_PRE_TOKENIZERS
        )
    return ChatFormat(
        template=template,
        begin=token("bos"),
        end=token("eos"),
        adds_begin=adds,
        tokens=ask & frozenset(tokens),
    )


def _read_shards(paths: tuple[Path, ...], *, header_only: bool) -> list[Header]:
    headers: list[Header] = []
    for shard in paths:
        read = _read_shard(shard, paths, header_only=header_only)
        # Only the first one's metadata counts; a thousand hostile ones would fill the memory.
        headers.append(replace(read, metadata={}) if headers else read)
        if sum(len(h.tensors) for h in headers) > header.MAX_TENSORS:
            raise GgufError(
                f"The shards of {model_stem(paths[0])} are not usable.",
                f"Together they announce more than {header.MAX_TENSORS} tensors.",
                "Download all shards again from one revision.",
            )
    return headers


def _read_shard(shard: Path, shards: tuple[Path, ...], *, header_only: bool) -> Header:
    if len(shards) > 1 and not shard.exists():
        raise GgufError(
            f"{shards[0].parent} lacks a shard of {model_stem(shard)}.",
            f"{shard.name} is missing; the model needs all {len(shards)}.",
            "Download or copy the missing shard into the same folder.",
        )
    return header.read(shard, header_only=header_only)


def _check_shards(headers: list[Header], tensors: tuple[TensorInfo, ...], first: Path) -> None:
    """Check that the shards were split from one file."""
    why = ""
    announced = headers[0].metadata.get("split.tensors.count", len(tensors))
    if len(headers) > 1 and announced != len(tensors):
        why = f"They have {len(tensors)} tensors; the first says {announced!r:.20}."
    if len({t.name for t in tensors}) != len(tensors):
        why = "Two of them hold the same tensor."
    if why:
        raise GgufError(
            f"The shards of {model_stem(first)} do not belong together.",
            why,
            "Download all shards again from one revision.",
        )


def _split_count(first: Header) -> int:
    count = first.metadata.get("split.count", 1)
    # Some writers put 0 into files that are not split.
    return count if isinstance(count, int) and count > 1 else 1


def _text(first: Header, key: str) -> str:
    value = first.metadata.get(key)
    return value if isinstance(value, str) else ""


def _quantization(first: Header, tensors: tuple[TensorInfo, ...]) -> str:
    """The file's own word for its mix, else the type that holds most of its bytes."""
    file_type = first.metadata.get("general.file_type")
    if isinstance(file_type, int) and (name := file_type_name(file_type)):
        return name
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.quantization] += tensor.size_bytes
    return sizes.most_common(1)[0][0]
