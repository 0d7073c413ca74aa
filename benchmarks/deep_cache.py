"""Fills a KV cache to any depth without computing a prompt: what was computed is repeated.

Speed does not depend on what a cache holds. An engine saves the cache of a short prompt; the same
rows, over and over, make the file of a long one, which the engine then restores. The layout is
llama.cpp's (`llama_kv_cache::state_write` in src/llama-kv-cache.cpp), with one sequence and flash
attention.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_MAGIC: Final = b"localr1 KV 1\n"
_LENGTHS: Final = struct.Struct("<II")
_HEAD: Final = struct.Struct("<IiII")
"""Magic number, sequence, streams, cells."""
_CELL: Final = struct.Struct("<iIi")
"""Position, number of sequences, the sequence."""
_DATA: Final = struct.Struct("<II")
"""Whether values are transposed, layers."""
_ROWS: Final = struct.Struct("<iQ")
"""Type, bytes for each cell."""
_DIGEST_BYTES: Final = 32


def deepen(saved: Path, tokens: Sequence[int]) -> None:
    """Make a saved cache one of these tokens.

    Args:
        saved: As the engine saved it, of at least one token; replaced.
        tokens: What is to be cached; at least as many as the file holds.

    Raises:
        ValueError: The file has another layout.
    """
    data = saved.read_bytes()[:-_DIGEST_BYTES]
    start = len(_MAGIC) + _LENGTHS.size
    about_bytes, token_bytes = _LENGTHS.unpack_from(data, len(_MAGIC))
    about = data[start : start + about_bytes]
    state = _deeper(data[start + about_bytes + token_bytes :], len(tokens))
    listed = struct.pack(f"<{len(tokens)}i", *tokens)
    body = b"".join((_MAGIC, _LENGTHS.pack(len(about), len(listed)), about, listed, state))
    saved.write_bytes(body + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest())


def _deeper(state: bytes, cells: int) -> bytes:
    magic, sequence, streams, count = _HEAD.unpack_from(state)
    at = _HEAD.size
    found = [_CELL.unpack_from(state, at + n * _CELL.size) for n in range(count)]
    if streams != 1 or found != [(n, 1, sequence) for n in range(count)] or cells < count:
        raise ValueError("the saved cache has another layout")
    at += count * _CELL.size
    transposed, layers = _DATA.unpack_from(state, at)
    if transposed:
        raise ValueError("the saved cache has transposed values")
    parts = [
        _HEAD.pack(magic, sequence, streams, cells),
        *(_CELL.pack(n, 1, sequence) for n in range(cells)),
        _DATA.pack(transposed, layers),
    ]
    at += _DATA.size
    while at < len(state):
        _, row_bytes = _ROWS.unpack_from(state, at)
        rows = state[at + _ROWS.size : at + _ROWS.size + count * row_bytes]
        parts += [
            state[at : at + _ROWS.size],
            rows * (cells // count),
            rows[: cells % count * row_bytes],
        ]
        at += _ROWS.size + count * row_bytes
    if at != len(state):
        raise ValueError("the saved cache has another layout")
    return b"".join(parts)
