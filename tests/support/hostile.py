"""GGUF headers gone wrong: every field of a real file can be given a damaged or hostile value.

`fields` walks over a file's header and names each of its parts; `mutant` changes some of them,
the same for the same seed.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import synthetic

from localr1.gguf.types import Architecture

_SCALARS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_TOLD_ELEMENTS: Final = 8

KINDS: Final = (
    *("length", "count", "type", "offset", "string", "dimension", "alignment", "shards"),
    *("value", "cut", "noise"),
)
"""What can be changed."""


@dataclass(frozen=True)
class Field:
    """One part of a header."""

    kind: str
    """One of `KINDS`, but for `cut` and `noise`."""
    start: int
    size: int
    key: str = ""


def fields(raw: bytes) -> list[Field]:
    """Every part of a header that is right; the last one stands for its end."""
    walk = _Walk(raw)
    tensors, pairs = struct.unpack_from("<QQ", raw, 8)
    for _ in range(pairs):
        walk.pair()
    for _ in range(tensors):
        walk.tensor()
    return [*walk.found, Field("end", walk.at, 0)]


class _Walk:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 24
        self.found = [Field("count", 8, 8), Field("count", 16, 8), Field("type", 4, 4)]

    def number(self, kind: str, size: int, key: str = "") -> int:
        value = int.from_bytes(self.raw[self.at : self.at + size], "little")
        self.found.append(Field(kind, self.at, size, key))
        self.at += size
        return value

    def text(self, key: str = "") -> str:
        size = self.number("length", 8, key)
        self.found.append(Field("string", self.at, size, key))
        self.at += size
        return self.raw[self.at - size : self.at].decode("utf-8", "replace")

    def value(self, kind: int, key: str) -> None:
        if kind == _STRING:
            self.text(key)
            return
        named = "alignment" if key == "general.alignment" else "value"
        self.number("shards" if key.startswith("split.") else named, _SCALARS[kind], key)

    def pair(self) -> None:
        key = self.text()
        kind = self.number("type", 4, key)
        if kind != _ARRAY:
            self.value(kind, key)
            return
        inner = self.number("type", 4, key)
        count = self.number("count", 8, key)
        known = len(self.found)
        for index in range(count):
            self.value(inner, key)
            if index >= _TOLD_ELEMENTS:
                del self.found[known + 2 * _TOLD_ELEMENTS :]

    def tensor(self) -> None:
        name = self.text()
        for _ in range(self.number("count", 4, name)):
            self.number("dimension", 8, name)
        self.number("type", 4, name)
        self.number("offset", 8, name)


def mutant(raw: bytes, seed: int) -> tuple[str, bytes]:
    """A file with one to three parts changed.

    Returns:
        What was changed, and the bytes.
    """
    chance = random.Random(seed)
    parts = fields(raw)
    end = parts.pop().start
    changed = bytearray(raw)
    told: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        kind = KINDS[seed % len(KINDS)] if not told else chance.choice(KINDS)
        told.append(kind)
        if kind == "cut":
            del changed[chance.randrange(len(changed)) :]
            continue
        if kind == "noise":
            for _ in range(chance.randint(1, 8)):
                at = chance.randrange(end)
                if at < len(changed):
                    changed[at] = chance.randrange(256)
            continue
        candidates = [part for part in parts if part.kind == kind] or parts
        part = chance.choice(candidates)
        if part.start + part.size > len(changed):
            continue
        told[-1] += f" {part.key}"
        value = (
            _text(part, chance)
            if part.kind == "string"
            else _number(part, bytes(changed[part.start : part.start + part.size]), chance)
        )
        changed[part.start : part.start + part.size] = value
    return "; ".join(told), bytes(changed)


def _number(part: Field, old: bytes, chance: random.Random) -> bytes:
    size, bits = part.size, 8 * part.size
    before = int.from_bytes(old, "little")
    choices: list[Callable[[], int]] = [
        lambda: 0,
        lambda: 1,
        lambda: before + chance.choice((-1, 1, 7, 32)),
        lambda: before * chance.choice((2, 3, 1000)),
        lambda: before // 2,
        lambda: 2 ** chance.randrange(bits),
        lambda: 2**bits - chance.randint(1, 4),
        lambda: 2 ** (bits - 1) - chance.randint(0, 2),
        lambda: chance.getrandbits(bits),
        lambda: chance.randrange(64),
    ]
    value: int = chance.choice(choices)() % (1 << bits)
    return value.to_bytes(size, "little")


def _text(part: Field, chance: random.Random) -> bytes:
    size = part.size
    choices: tuple[bytes, ...] = (
        bytes(size),
        b"\xff" * size,
        chance.randbytes(size),
        b"{% for x in range(10**9) %}x{% endfor %}"[:size].ljust(size),
        b"../" * (size // 3) + b"." * (size % 3),
        b"\x1b[2J\x07"[:size].ljust(size, b"A"),
    )
    return chance.choice(choices)


def bases(folder: Path) -> list[tuple[Path, ...]]:
    """Sound models to begin with: each is a file or a set of shards."""
    folder.mkdir(parents=True, exist_ok=True)
    dense = Architecture("qwen2", 1, 32, 32, 2, 1, 16, 16, 263, 512, 0)
    experts = Architecture(
        name="deepseek2",
        layers=2,
        embedding_length=32,
        feed_forward_length=32,
        head_count=2,
        head_count_kv=1,
        key_length=24,
        value_length=16,
        vocabulary_size=263,
        context_length=512,
        parameters=0,
        expert_count=4,
        expert_used_count=2,
        expert_feed_forward_length=32,
        expert_shared_count=1,
        leading_dense_layers=1,
        mla=True,
        q_lora_rank=16,
        kv_lora_rank=16,
        rope_length=8,
        head_key_length=16,
        head_value_length=16,
    )
    synthetic.write_random(folder / "dense.gguf", dense, name="R1 dense")
    synthetic.write_random(folder / "experts.gguf", experts, name="R1 experts")
    llama = Architecture("llama", 1, 32, 32, 2, 1, 16, 16, 263, 512, 0)
    synthetic.write_random(folder / "llama.gguf", llama, "Q8_0", name="R1 llama")
    synthetic.write_random(folder / "shards.gguf", dense, name="R1 shards", shard_tensors=6)
    shards = tuple(sorted(folder.glob("shards-*.gguf")))
    single = [(folder / f"{name}.gguf",) for name in ("dense", "experts", "llama")]
    return [*single, shards]


def write_mutant(originals: list[tuple[Path, ...]], seed: int, folder: Path) -> tuple[str, Path]:
    """Write one mutant, with its untouched sibling shards.

    Returns:
        What was changed, and the file to import.
    """
    files = originals[seed % len(originals)]
    chance = random.Random(f"which {seed}")
    which = chance.randrange(len(files))
    folder.mkdir(parents=True, exist_ok=True)
    told = ""
    for index, original in enumerate(files):
        raw = original.read_bytes()
        if index == which:
            told, raw = mutant(raw, seed)
        # Now and then a set lacks a shard.
        if index != which and "shards" in told and chance.random() < 0.1:
            continue
        (folder / original.name).write_bytes(raw)
    return f"{files[0].name}: {told}", folder / files[0].name
