"""Writing a model file that is all header: what llama.cpp's dry run needs of one that is not here.

llama.cpp checks the length of the file, so a hole stands for the tensor data: it takes no room on
disk where the file system knows holes. There is no vocabulary, only its size.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from localr1.errors import FileError
from localr1.gguf.quantization import BLOCK_SIZES
from localr1.gguf.recipe import ALIGNMENT_BYTES
from localr1.gguf.types import Architecture, TensorInfo

Scalar = int | float | bool | str
Value = Scalar | tuple[int | float | bool, ...]

_VERSION: Final = 3
_NO_VOCABULARY: Final = "none"
_SIGMOID: Final = 2
"""How DeepSeek V3 and R1 weigh experts: llama_expert_gating_func_type in llama-hparams.h."""


def write_header(
    path: Path,
    architecture: Architecture,
    tensors: Sequence[TensorInfo],
    *,
    metadata: Mapping[str, Value] | None = None,
    file_bytes: int = 0,
) -> None:
    """Write a header, and a hole as long as the tensors or the whole file.

    Args:
        path: Where to; what is there is replaced.
        architecture: Shape of the model.
        tensors: With their offsets.
        metadata: What the true file says of its architecture, where that is known.
        file_bytes: Length of the true file, where that is known.

    Raises:
        FileError: It cannot be written, or the file system has no room or no such long files.
    """
    content = header_bytes(architecture, tensors, metadata)
    start = -(-len(content) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    end = max((t.offset_bytes + t.size_bytes for t in tensors), default=0)
    try:
        path.write_bytes(content)
        os.truncate(path, max(start + end, file_bytes))
    except OSError as error:
        raise FileError(
            f"{path} cannot be written.", error.strerror or str(error), "Check the disk."
        ) from error


def header_bytes(
    architecture: Architecture,
    tensors: Sequence[TensorInfo],
    metadata: Mapping[str, Value] | None = None,
) -> bytes:
    """A header without a vocabulary; arguments as for `write_header`."""
    facts = dict(hyperparameters(architecture) if metadata is None else metadata)
    facts["general.architecture"] = architecture.name
    facts["tokenizer.ggml.model"] = _NO_VOCABULARY
    facts[f"{architecture.name}.vocab_size"] = architecture.vocabulary_size
    parts = [b"GGUF", struct.pack("<IQQ", _VERSION, len(tensors), len(facts))]
    parts += [_text(key) + _value(value) for key, value in facts.items()]
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        kind = BLOCK_SIZES[tensor.quantization].type_id
        parts.append(_text(tensor.name) + shape + struct.pack("<IQ", kind, tensor.offset_bytes))
    return b"".join(parts)


def packed(tensors: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
    """Tensors of several files as those of one: with offsets that follow each other."""
    result, offset = [], 0
    for tensor in tensors:
        result.append(replace(tensor, offset_bytes=offset))
        offset += -(-tensor.size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return tuple(result)


def hyperparameters(architecture: Architecture) -> dict[str, Value]:
    """What a header says of an architecture, as far as memory depends on it."""
    a = architecture
    facts: dict[str, Value] = {
        "block_count": a.layers,
        "context_length": a.context_length,
        "embedding_length": a.embedding_length,
        "feed_forward_length": a.feed_forward_length,
        "attention.head_count": a.head_count,
        "attention.head_count_kv": a.head_count_kv,
        "attention.key_length": a.key_length,
        "attention.value_length": a.value_length or a.kv_lora_rank,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": a.rope_length or a.key_length,
    }
    if a.kv_lora_rank:
        facts["attention.kv_lora_rank"] = a.kv_lora_rank
        if a.q_lora_rank:
            facts["attention.q_lora_rank"] = a.q_lora_rank
    if a.mla:
        facts["attention.key_length_mla"] = a.head_key_length
        facts["attention.value_length_mla"] = a.head_value_length
    if a.expert_count:
        facts |= {
            "leading_dense_block_count": a.leading_dense_layers,
            "expert_count": a.expert_count,
            "expert_used_count": a.expert_used_count,
            "expert_shared_count": a.expert_shared_count,
            "expert_feed_forward_length": a.expert_feed_forward_length,
            "expert_weights_scale": 2.5,
            "expert_weights_norm": True,
            "expert_gating_func": _SIGMOID,
        }
    return {f"{a.name}.{key}": value for key, value in facts.items()}


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    kind, form = _form(value if isinstance(value, tuple) else (value,))
    if not isinstance(value, tuple):
        return struct.pack(f"<I{form}", kind, value)
    return struct.pack(f"<IIQ{len(value)}{form}", 9, kind, len(value), *value)


def _form(values: Sequence[Scalar]) -> tuple[int, str]:
    """The number of a type that holds all values (gguf_type in gguf.h), and how it is packed."""
    if all(isinstance(value, bool) for value in values):
        return 7, "?"
    if any(isinstance(value, float) for value in values):
        return 6, "f"
    numbers = [int(value) for value in values]
    if min(numbers, default=0) < 0:
        return 11, "q"
    return (4, "I") if max(numbers, default=0) < 1 << 32 else (10, "Q")
