"""Writes a model of an R1 distill's true shape and size, with random weights.

Speed does not depend on what the weights are, only on how many there are and in which types.
So the benchmark needs no download: every matrix gets the type that llama.cpp's Q4_K_M (or Q8_0)
gives it, filled with valid blocks of random values of the size that trained weights have.
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

from localr1.gguf import recipe
from localr1.gguf.quantization import BLOCK_SIZES, row_bytes
from localr1.gguf.types import Architecture
from localr1.models import catalog

SHAPES: Final = {
    "1.5b": "r1-distill-qwen-1.5b",
    "7b": "r1-distill-qwen-7b",
    "8b": "r1-distill-llama-8b",
    "14b": "r1-distill-qwen-14b",
    "32b": "r1-distill-qwen-32b",
}
"""Names on the command line, and the catalogue's model of that shape."""
QUANTIZATION: Final = "Q4_K_M"
_FILE_TYPES: Final = {"Q4_K_M": 15, "Q8_0": 7}
"""enum llama_ftype in llama.h."""

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
    """`F32`, `Q4_K`, `Q6_K` or `Q8_0`."""
    spread: float = 0.0
    """Standard deviation of the weights; for F32 the value of all of them."""

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape[:-1]) * row_bytes(self.kind, self.shape[-1])


def architecture_of(shape: str) -> Architecture:
    """The true shape behind a name of `SHAPES`."""
    return catalog.load().model(SHAPES[shape]).architecture


def published_bytes(shape: str, quantization: str = QUANTIZATION) -> int:
    """How long the real file is."""
    variants = catalog.load().model(SHAPES[shape]).variants
    return next(v.size_bytes for v in variants if v.quantization == quantization)


def special_ids() -> tuple[int, ...]:
    """End of sentence, User, Assistant, beginning of sentence, EOT, `<think>`, `</think>`."""
    return tuple(range(_FIRST_SPECIAL, _FIRST_SPECIAL + len(_SPECIAL)))


def ensure(folder: Path, shape: str, quantization: str = QUANTIZATION) -> Path:
    """The model file in the folder, written now if it is not there yet."""
    path = folder / f"{shape}-{quantization.lower()}-random.gguf"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        write(unfinished, architecture_of(shape), quantization=quantization)
        unfinished.rename(path)
    return path


def write(
    path: Path, architecture: Architecture, seed: int = 0, quantization: str = QUANTIZATION
) -> None:
    """Write a qwen2 or llama model with random weights.

    Args:
        path: Where to.
        architecture: The shape; rows must be whole blocks.
        seed: Of the weights.
        quantization: `Q4_K_M` or `Q8_0`.
    """
    tensors = tuple(_tensors(architecture, quantization))
    _write_header(path, architecture, tensors, _FILE_TYPES[quantization])
    random = np.random.default_rng(seed)
    kinds = sorted({tensor.kind for tensor in tensors} - {"F32"})
    pools = {kind: _random_blocks(kind, random) for kind in kinds}
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
    size = BLOCK_SIZES[kind].size_bytes
    blocks = random.integers(0, 256, (_POOL_BLOCKS, size), np.uint8)
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
    signed = np.arange(-128.0, 128.0)
    levels, scales = {
        "Q4_K": (np.arange(16) - 7.5, np.arange(64.0)),
        "Q6_K": (np.arange(64) - 32.0, signed),
        "Q8_0": (signed, np.ones(1)),
    }[kind]
    factor = spread / math.sqrt(float((levels**2).mean() * (scales**2).mean()))
    if kind == "Q4_K":
        blocks[:, :4] = np.array([factor, 7.5 * factor], np.float16).view(np.uint8)
    else:
        place = slice(-2, None) if kind == "Q6_K" else slice(0, 2)
        blocks[:, place] = np.array([factor], np.float16).view(np.uint8)


def _tensors(a: Architecture, quantization: str = QUANTIZATION) -> Iterator[_Tensor]:
    for tensor in recipe.tensors(a, quantization):
        if tensor.name.endswith("_norm.weight") or tensor.name == "rope_freqs.weight":
            spread = 1.0
        elif len(tensor.shape) == 1:
            spread = 0.0
        elif tensor.name == "token_embd.weight":
            spread = 0.02
        else:
            # So that results are about as large as what they are made from.
            spread = tensor.shape[0] ** -0.5
            spread *= _LOGIT_SPREAD if tensor.name == "output.weight" else 1.0
        yield _Tensor(tensor.name, tensor.shape[::-1], tensor.quantization, spread)


def _write_header(
    path: Path, a: Architecture, tensors: tuple[_Tensor, ...], file_type: int
) -> None:
    writer = gguf.GGUFWriter(path, a.name)
    writer.add_name(f"random weights, {a.parameters / 1e9:.1f} billion")
    writer.add_file_type(file_type)
    writer.add_block_count(a.layers)
    writer.add_context_length(a.context_length)
    writer.add_embedding_length(a.embedding_length)
    writer.add_feed_forward_length(a.feed_forward_length)
    writer.add_head_count(a.head_count)
    writer.add_head_count_kv(a.head_count_kv)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(a.key_length)
    writer.add_layer_norm_rms_eps(1e-6)
    tokens, types, end, begin = _vocabulary(a.vocabulary_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe" if a.name == "llama" else "deepseek-r1-qwen")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # One a word, as in a real file: llama.cpp keeps a table of them. And it wants at least one.
    words = [token for token, kind in zip(tokens, types, strict=True) if kind == _NORMAL][256:]
    writer.add_token_merges([f"{w[:-1]} {w[-1]}" for w in words] or [f"{tokens[0]} {tokens[0]}"])
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
        writer.add_tensor_info(
            tensor.name,
            (*tensor.shape[:-1], row_bytes(tensor.kind, tensor.shape[-1])),
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
