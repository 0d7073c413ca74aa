"""Writes a model of an R1 distill's true shape and size, with random weights.

Speed does not depend on what the weights are, only on how many there are and in which types.
So the benchmark needs no download: every matrix gets the type that llama.cpp's Q4_K_M gives it,
filled with valid blocks of random values of the size that trained weights have.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import gguf
import numpy as np
import numpy.typing as npt

from localr1.fit.mix import Mix, layer_kind
from localr1.fit.mix import Role as MatrixRole
from localr1.gguf.types import Architecture
from localr1.models import catalog

SHAPES: Final = {
    "1.5b": "r1-distill-qwen-1.5b",
    "7b": "r1-distill-qwen-7b",
    "14b": "r1-distill-qwen-14b",
    "32b": "r1-distill-qwen-32b",
}
"""Names on the command line, and the catalogue's model of that shape."""
QUANTIZATION: Final = "Q4_K_M"

# R1-Distill-Qwen's ids; what lies between is ordinary words here.
_FIRST_SPECIAL: Final = 151_643
_SPECIAL: Final = (
    *("<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>"),
    *("<|EOT|>", "<think>", "</think>"),
)
_CONTROL, _USER_DEFINED, _NORMAL, _UNUSED = 3, 4, 1, 5
_END, _BEGIN = 0, 3
NEWLINE_ID: Final = ord("\n")
"""Byte tokens come first."""

_BLOCK: Final = 256
"""Weights in a block of any K quantization (QK_K in ggml-common.h)."""
_POOL_BLOCKS: Final = 160_001
"""Blocks made per type; prime and above any vocabulary, so that no two rows of a matrix are the
same although the blocks repeat."""
_LOGIT_SPREAD: Final = 2.5
_ALIGNMENT: Final = 32
_Blocks = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    """Slowest dimension first, as numpy has it."""
    kind: str
    """`F32`, `Q4_K` or `Q6_K`."""
    spread: float = 0.0
    """Standard deviation of the weights; for F32 the value of all of them."""

    @property
    def size_bytes(self) -> int:
        elements = math.prod(self.shape)
        return elements * 4 if self.kind == "F32" else elements // _BLOCK * _BLOCK_BYTES[self.kind]


def architecture_of(shape: str) -> Architecture:
    """The true shape behind a name of `SHAPES`."""
    return catalog.load().model(SHAPES[shape]).architecture


def published_bytes(shape: str) -> int:
    """How long the real file is."""
    variants = catalog.load().model(SHAPES[shape]).variants
    return next(v.size_bytes for v in variants if v.quantization == QUANTIZATION)


def special_ids() -> tuple[int, ...]:
    """End of sentence, User, Assistant, beginning of sentence, EOT, `<think>`, `</think>`."""
    return tuple(range(_FIRST_SPECIAL, _FIRST_SPECIAL + len(_SPECIAL)))


def ensure(folder: Path, shape: str) -> Path:
    """The model file in the folder, written now if it is not there yet."""
    path = folder / f"{shape}-q4_k_m-random.gguf"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        write(unfinished, architecture_of(shape))
        unfinished.rename(path)
    return path


def write(path: Path, architecture: Architecture, seed: int = 0) -> None:
    """Write a qwen2 model with random Q4_K_M weights.

    Args:
        path: Where to.
        architecture: The shape; rows must be whole blocks of 256 weights.
        seed: Of the weights.
    """
    tensors = tuple(_tensors(architecture))
    _write_header(path, architecture, tensors)
    random = np.random.default_rng(seed)
    pools = {kind: _random_blocks(kind, random) for kind in _BLOCK_BYTES}
    with path.open("r+b") as file:
        file.seek(0, 2)
        _pad(file)
        for number, tensor in enumerate(tensors):
            if tensor.kind == "F32":
                file.write(np.full(tensor.shape, tensor.spread, np.float32).tobytes())
            else:
                _set_spread(tensor.kind, pools[tensor.kind], tensor.spread)
                _write_blocks(file, pools[tensor.kind], tensor.size_bytes, start=number * 7919)
            _pad(file)


def _write_blocks(file: IO[bytes], pool: _Blocks, size_bytes: int, start: int) -> None:
    """Go round the pool from block `start` until the tensor is full."""
    data = memoryview(pool.reshape(-1)).cast("B")  # type: ignore[arg-type] # numpy arrays are buffers
    position = start % len(pool) * pool.shape[1]
    while size_bytes:
        part = data[position : position + size_bytes]
        file.write(part)
        size_bytes -= len(part)
        position = 0


def _pad(file: IO[bytes]) -> None:
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))


def _random_blocks(kind: str, random: np.random.Generator) -> _Blocks:
    blocks = random.integers(0, 256, (_POOL_BLOCKS, _BLOCK_BYTES[kind]), np.uint8)
    if kind == "Q4_K":
        # Bytes 4 to 15 are eight scales and eight minimums of six bits (get_scale_min_k4 in
        # ggml-quants.c). Making each minimum equal its scale centres the weights on zero, for
        # `_set_spread` gives the minimums 7.5 times the scales' factor.
        blocks[:, 8:12] = blocks[:, 4:8]
        low = blocks[:, 12:16] & 15
        blocks[:, 12:16] = low | (low << 4)
    return blocks


def _set_spread(kind: str, blocks: _Blocks, spread: float) -> None:
    """Set the blocks' factors so that the weights have this standard deviation."""
    levels = np.arange(16) - 7.5 if kind == "Q4_K" else np.arange(64) - 32.0
    scales = np.arange(64.0) if kind == "Q4_K" else np.arange(-128.0, 128.0)
    factor = spread / math.sqrt(float((levels**2).mean() * (scales**2).mean()))
    if kind == "Q4_K":
        blocks[:, :4] = np.array([factor, 7.5 * factor], np.float16).view(np.uint8)
    else:
        blocks[:, -2:] = np.array([factor], np.float16).view(np.uint8)


_BLOCK_BYTES: Final = {"Q4_K": 144, "Q6_K": 210}


def _tensors(a: Architecture) -> Iterator[_Tensor]:
    mix = Mix(QUANTIZATION, a)
    width = a.embedding_length
    ends = (a.vocabulary_size, width)
    yield _Tensor("token_embd.weight", ends, mix.embedding, 0.02)
    yield _Tensor("output_norm.weight", (width,), "F32", 1.0)
    yield _Tensor("output.weight", ends, mix.output, _LOGIT_SPREAD / math.sqrt(width))
    heads, shared = a.head_count * a.key_length, a.head_count_kv * a.key_length
    matrices: tuple[tuple[str, MatrixRole, tuple[int, int]], ...] = (
        ("attn_q", "q", (heads, width)),
        ("attn_k", "k", (shared, width)),
        ("attn_v", "v", (shared, width)),
        ("attn_output", "o", (width, heads)),
        ("ffn_gate", "gate", (a.feed_forward_length, width)),
        ("ffn_up", "up", (a.feed_forward_length, width)),
        ("ffn_down", "down", (width, a.feed_forward_length)),
    )
    for layer in range(a.layers):
        for name in ("attn_norm", "ffn_norm"):
            yield _Tensor(f"blk.{layer}.{name}.weight", (width,), "F32", 1.0)
        for name, length in (("attn_q", heads), ("attn_k", shared), ("attn_v", shared)):
            yield _Tensor(f"blk.{layer}.{name}.bias", (length,), "F32", 0.0)
        kind = layer_kind(layer, a.layers)
        for name, role, shape in matrices:
            yield _Tensor(f"blk.{layer}.{name}.weight", shape, mix.of(role, kind), shape[1] ** -0.5)


def _write_header(path: Path, a: Architecture, tensors: tuple[_Tensor, ...]) -> None:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name(f"random weights, {a.parameters / 1e9:.1f} billion")
    writer.add_file_type(15)  # LLAMA_FTYPE_MOSTLY_Q4_K_M
    writer.add_block_count(a.layers)
    writer.add_context_length(a.context_length)
    writer.add_embedding_length(a.embedding_length)
    writer.add_feed_forward_length(a.feed_forward_length)
    writer.add_head_count(a.head_count)
    writer.add_head_count_kv(a.head_count_kv)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    tokens, types, end, begin = _vocabulary(a.vocabulary_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-r1-qwen")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # llama.cpp wants at least one merge.
    writer.add_token_merges([f"{tokens[0]} {tokens[0]}"])
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(True)
    for tensor in tensors:
        if tensor.kind == "F32":
            writer.add_tensor_info(
                tensor.name, tensor.shape, np.dtype(np.float32), tensor.size_bytes
            )
            continue
        # For quantized types the writer takes the length of a row in bytes.
        row = tensor.shape[-1] // _BLOCK * _BLOCK_BYTES[tensor.kind]
        writer.add_tensor_info(
            tensor.name,
            (*tensor.shape[:-1], row),
            np.dtype(np.uint8),
            tensor.size_bytes,
            raw_dtype=gguf.GGMLQuantizationType[tensor.kind],
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _vocabulary(size: int) -> tuple[list[str], list[int], int, int]:
    """Tokens, their types, and the ids of end and beginning of sentence.

    Byte tokens, made-up words of about the length that Qwen's tokens have, and R1's special
    tokens: at their true ids where the vocabulary is as long as Qwen's.
    """
    first = min(_FIRST_SPECIAL, size - len(_SPECIAL))
    tokens = [_byte_token(value) for value in range(256)]
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ("Ġ" + "".join(word) for word in itertools.product(letters, repeat=4))
    tokens += itertools.islice(words, first - len(tokens))
    types = [_NORMAL] * first
    tokens += _SPECIAL
    types += [_USER_DEFINED if "think" in token else _CONTROL for token in _SPECIAL]
    tokens += [f"[PAD{number}]" for number in range(len(tokens), size)]
    return tokens, types + [_UNUSED] * (size - len(types)), first + _END, first + _BEGIN


def _byte_token(value: int) -> str:
    """GPT-2's printable stand-in for a byte: itself, or the next free character from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if value in plain:
        return chr(value)
    return chr(256 + [b for b in range(256) if b not in plain].index(value))
