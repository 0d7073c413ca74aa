"""GGUF files for tests, written here and now: no model is downloaded or checked in.

`write_header_only` writes a real header of any R1 shape, followed by a hole as long as the
tensor data: a sparse file that takes a few KiB of disk and has the length of the true one.
`write_random` writes a model of any shape with random weights that llama.cpp runs, and
`write_tiny` a small qwen2 one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as GgmlType

from localr1.gguf.types import Architecture

BEGIN, END = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
USER, ASSISTANT = "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"
SPECIAL_TOKENS = (END, USER, ASSISTANT, BEGIN, "<|EOT|>", "<think>", "</think>")
"""In the order of the Qwen distills, so their ids follow each other."""

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    + USER
    + "{{ m.content }}{% elif m.role == 'assistant' %}"
    + ASSISTANT
    + "{{ m.content }}{{ eos_token }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}"
    + ASSISTANT
    + "<think>\n{% endif %}"
)

_FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q2_K": 10, "Q4_K_M": 15, "Q6_K": 18}
_SMALLER_BLOCKS = {
    GgmlType.Q2_K: GgmlType.Q4_0,
    GgmlType.Q4_K: GgmlType.Q5_0,
    GgmlType.Q6_K: GgmlType.Q8_0,
}
_UNK_PAD_TYPE, _NORMAL, _CONTROL, _USER_DEFINED = 5, 1, 3, 4
_ALIGNMENT = 32

Mix = Callable[[str, int, Architecture], GgmlType]
"""The type of a matrix: by its name without number, its layer, and the model."""


SMALL_DENSE = Architecture(
    name="qwen2",
    layers=6,
    embedding_length=512,
    feed_forward_length=1536,
    head_count=8,
    head_count_kv=2,
    key_length=64,
    value_length=64,
    vocabulary_size=4096,
    context_length=8192,
    parameters=20_000_000,
)
SMALL_MOE = Architecture(
    name="deepseek2",
    layers=4,
    embedding_length=256,
    feed_forward_length=768,
    head_count=4,
    head_count_kv=1,
    key_length=96,
    value_length=0,
    vocabulary_size=1024,
    context_length=8192,
    parameters=7_000_000,
    expert_count=8,
    expert_used_count=2,
    expert_feed_forward_length=256,
    expert_shared_count=1,
    leading_dense_layers=1,
    mla=True,
    q_lora_rank=128,
    kv_lora_rank=64,
    rope_length=32,
    head_key_length=64,
    head_value_length=32,
)
"""The full R1 in small."""


def uniform(quantization: str) -> Mix:
    """One type for every matrix."""
    return lambda _name, _layer, _architecture: GgmlType[quantization]


def q4_k_m(name: str, layer: int, architecture: Architecture) -> GgmlType:
    """llama.cpp's Q4_K_M for dense models: `llama_tensor_get_type` in llama-quant.cpp."""
    if name == "output":
        return GgmlType.Q6_K
    eighth = architecture.layers // 8
    finer = layer < eighth or layer >= 7 * architecture.layers // 8 or (layer - eighth) % 3 == 2
    if name in {"attn_v", "ffn_down"} and finer:
        return GgmlType.Q6_K
    # In the 70B one V head serves 8 heads, so it is cheap to keep it finer.
    if name == "attn_v" and architecture.layers == 80:
        return GgmlType.Q5_K
    return GgmlType.Q4_K


MIXES: dict[str, Mix] = {
    "Q4_K_M": q4_k_m,
    **{name: uniform(name) for name in ("F16", "Q8_0", "Q6_K", "Q4_0", "Q2_K")},
}


def write_header_only(  # noqa: PLR0913 - each is a choice that some test makes
    path: Path,
    architecture: Architecture,
    quantization: str = "Q4_K_M",
    *,
    name: str = "synthetic",
    full_vocabulary: bool = False,
    tensor_data: bool = True,
) -> int:
    """Write a sparse GGUF of the true length.

    Args:
        path: Where to.
        architecture: Of the model.
        quantization: A key of `MIXES`.
        name: `general.name`.
        full_vocabulary: Write every token, as llama.cpp wants; else a few hundred.
        tensor_data: Whether to make the file as long as its tensors need.

    Returns:
        Bytes of tensor data, padding included.
    """
    writer = gguf.GGUFWriter(path, architecture.name)
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[quantization])
    _add_hyperparameters(writer, architecture)
    _add_vocabulary(writer, architecture.vocabulary_size if full_vocabulary else 0)
    total = 0
    for tensor, dimensions, tensor_type in _tensors(architecture, MIXES[quantization]):
        elements, block_bytes = gguf.GGML_QUANT_SIZES[tensor_type]
        size = math.prod(dimensions) // elements * block_bytes
        # The writer takes the length of a row in bytes for quantized types.
        row = dimensions[-1] // elements * block_bytes
        stored = dimensions if elements == 1 else (*dimensions[:-1], row)
        kinds = {GgmlType.F32: np.float32, GgmlType.F16: np.float16}
        dtype = np.dtype(kinds.get(tensor_type, np.uint8))
        writer.add_tensor_info(tensor, stored, dtype, size, raw_dtype=tensor_type)
        total += -(-size // _ALIGNMENT) * _ALIGNMENT
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    if tensor_data:
        start = -(-path.stat().st_size // _ALIGNMENT) * _ALIGNMENT
        os.truncate(path, start + total)
    return total


def write_tiny(  # noqa: PLR0913 - each is a choice that some test makes
    path: Path,
    *,
    layers: int = 2,
    embedding_length: int = 64,
    head_count: int = 4,
    head_count_kv: int = 2,
    feed_forward_length: int = 128,
    context_length: int = 1024,
    vocabulary_size: int = 0,
    seed: int = 0,
    name: str = "tiny R1",
    shard_tensors: int = 0,
) -> None:
    """Write a qwen2 model with random F16 weights that llama.cpp loads and runs.

    Args:
        path: Where to; with `shard_tensors` the stem of the shards' names.
        layers: As in the header, and so on for the next five.
        embedding_length: A multiple of `head_count`.
        head_count: Of attention.
        head_count_kv: A divisor of `head_count`.
        feed_forward_length: Of one layer.
        context_length: That the header claims.
        vocabulary_size: Padded to this; 0 for bytes and special tokens only.
        seed: Of the weights.
        name: `general.name`.
        shard_tensors: Tensors per shard; 0 for one file.
    """
    key_length = embedding_length // head_count
    tokens = max(vocabulary_size, 256 + len(SPECIAL_TOKENS))
    architecture = Architecture(
        name="qwen2",
        layers=layers,
        embedding_length=embedding_length,
        feed_forward_length=feed_forward_length,
        head_count=head_count,
        head_count_kv=head_count_kv,
        key_length=key_length,
        value_length=key_length,
        vocabulary_size=tokens,
        context_length=context_length,
        parameters=0,
    )
    write_random(path, architecture, seed=seed, name=name, shard_tensors=shard_tensors)


def write_random(  # noqa: PLR0913 - each is a choice that some test makes
    path: Path,
    architecture: Architecture,
    quantization: str = "F16",
    *,
    seed: int = 0,
    name: str = "random R1",
    shard_tensors: int = 0,
) -> None:
    """Write a model with random weights that llama.cpp loads and runs.

    Args:
        path: Where to; with `shard_tensors` the stem of the shards' names.
        architecture: Of the model.
        quantization: Of every matrix: `F16`, `Q8_0` or `Q4_0`.
        seed: Of the weights.
        name: `general.name`.
        shard_tensors: Tensors per shard; 0 for one file.
    """
    writer = gguf.GGUFWriter(path, architecture.name, split_max_tensors=shard_tensors)
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[quantization])
    _add_hyperparameters(writer, architecture)
    _add_vocabulary(writer, architecture.vocabulary_size)
    random = np.random.default_rng(seed)
    for tensor, dimensions, tensor_type in _tensors(architecture, uniform(quantization)):
        if "norm" in tensor:
            writer.add_tensor(tensor, np.ones(dimensions, np.float32))
            continue
        if tensor_type == GgmlType.F32 and len(dimensions) == 1:
            writer.add_tensor(tensor, np.zeros(dimensions, np.float32))
            continue
        data = random.standard_normal(dimensions, np.float32) * np.float32(0.05)
        packed = gguf.quants.quantize(data, tensor_type)
        writer.add_tensor(tensor, packed, raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(size: int = 0) -> tuple[list[str], list[int]]:
    """Byte-level tokens, R1's special tokens, and padding up to `size`; with their types."""
    tokens = [_byte_token(value) for value in range(256)]
    types = [_NORMAL] * 256
    tokens += SPECIAL_TOKENS
    types += [_USER_DEFINED if t not in {BEGIN, END} else _CONTROL for t in SPECIAL_TOKENS]
    padding = max(size - len(tokens), 0)
    tokens += [f"[PAD{number}]" for number in range(padding)]
    return tokens, types + [_UNK_PAD_TYPE] * padding


def _byte_token(value: int) -> str:
    """GPT-2's printable stand-in for a byte: itself, or the next free character from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if value in plain:
        return chr(value)
    return chr(256 + [b for b in range(256) if b not in plain].index(value))


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    tokens, types = vocabulary(size)
    end, begin = tokens.index(END), tokens.index(BEGIN)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-r1-qwen")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # llama.cpp wants at least one merge; this one joins nothing that a test looks at.
    writer.add_token_merges([f"{_byte_token(0)} {_byte_token(0)}"])
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE)


def _add_hyperparameters(writer: gguf.GGUFWriter, a: Architecture) -> None:
    writer.add_block_count(a.layers)
    writer.add_context_length(a.context_length)
    writer.add_embedding_length(a.embedding_length)
    writer.add_feed_forward_length(a.feed_forward_length)
    writer.add_head_count(a.head_count)
    writer.add_head_count_kv(a.head_count_kv)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    if a.name == "deepseek2":
        _add_deepseek2(writer, a)
        return
    if a.name == "qwen3":
        writer.add_key_length(a.key_length)
        writer.add_value_length(a.value_length)
    if a.name == "llama":
        writer.add_vocab_size(a.vocabulary_size)
        writer.add_rope_dimension_count(a.key_length)


def _add_deepseek2(writer: gguf.GGUFWriter, a: Architecture) -> None:
    writer.add_vocab_size(a.vocabulary_size)
    writer.add_rope_dimension_count(a.rope_length)
    writer.add_q_lora_rank(a.q_lora_rank)
    writer.add_kv_lora_rank(a.kv_lora_rank)
    if a.mla:
        writer.add_key_length(a.kv_lora_rank + a.rope_length)
        writer.add_value_length(a.kv_lora_rank)
        writer.add_key_length_mla(a.head_key_length)
        writer.add_value_length_mla(a.head_value_length)
    else:
        writer.add_key_length(a.key_length)
        writer.add_value_length(a.value_length)
    writer.add_leading_dense_block_count(a.leading_dense_layers)
    writer.add_expert_count(a.expert_count)
    writer.add_expert_used_count(a.expert_used_count)
    writer.add_expert_shared_count(a.expert_shared_count)
    writer.add_expert_feed_forward_length(a.expert_feed_forward_length)
    writer.add_expert_weights_scale(2.5)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)


def _tensors(a: Architecture, mix: Mix) -> Iterator[tuple[str, tuple[int, ...], GgmlType]]:
    """Name, dimensions (slowest first, as numpy has them) and type of every tensor."""
    yield (
        "token_embd.weight",
        (a.vocabulary_size, a.embedding_length),
        mix("token_embd", -1, a),
    )
    yield "output_norm.weight", (a.embedding_length,), GgmlType.F32
    yield "output.weight", (a.vocabulary_size, a.embedding_length), mix("output", -1, a)
    if a.name == "llama":
        yield "rope_freqs.weight", (a.key_length // 2,), GgmlType.F32
    for layer in range(a.layers):
        for name, dimensions in _layer(a, layer):
            # llama.cpp leaves vectors and the router in F32.
            single = len(dimensions) == 1 or name == "ffn_gate_inp.weight"
            kind = GgmlType.F32 if single else mix(name.removesuffix(".weight"), layer, a)
            # Rows must be whole blocks: llama-quant.cpp takes a type with smaller ones then.
            if dimensions[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
                kind = _SMALLER_BLOCKS[kind]
            yield f"blk.{layer}.{name}", dimensions, kind


def _layer(a: Architecture, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "attn_norm.weight", (a.embedding_length,)
    yield "ffn_norm.weight", (a.embedding_length,)
    yield from _compressed_attention(a) if a.name == "deepseek2" else _attention(a)
    if a.expert_count and layer >= a.leading_dense_layers:
        yield from _experts(a)
        return
    yield "ffn_gate.weight", (a.feed_forward_length, a.embedding_length)
    yield "ffn_up.weight", (a.feed_forward_length, a.embedding_length)
    yield "ffn_down.weight", (a.embedding_length, a.feed_forward_length)


def _attention(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    rows = {
        "attn_q": a.head_count * a.key_length,
        "attn_k": a.head_count_kv * a.key_length,
        "attn_v": a.head_count_kv * a.value_length,
    }
    for name, length in rows.items():
        yield f"{name}.weight", (length, a.embedding_length)
        if a.name == "qwen2":
            yield f"{name}.bias", (length,)
    yield "attn_output.weight", (a.embedding_length, a.head_count * a.value_length)
    if a.name == "qwen3":
        yield "attn_q_norm.weight", (a.key_length,)
        yield "attn_k_norm.weight", (a.key_length,)


def _compressed_attention(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    heads = a.head_count
    plain_length = a.head_key_length - a.rope_length
    yield "attn_q_a.weight", (a.q_lora_rank, a.embedding_length)
    yield "attn_q_a_norm.weight", (a.q_lora_rank,)
    yield "attn_q_b.weight", (heads * a.head_key_length, a.q_lora_rank)
    yield "attn_kv_a_mqa.weight", (a.kv_lora_rank + a.rope_length, a.embedding_length)
    yield "attn_kv_a_norm.weight", (a.kv_lora_rank,)
    if a.mla:
        yield "attn_k_b.weight", (heads, a.kv_lora_rank, plain_length)
        yield "attn_v_b.weight", (heads, a.head_value_length, a.kv_lora_rank)
    else:
        rows = heads * (plain_length + a.head_value_length)
        yield "attn_kv_b.weight", (rows, a.kv_lora_rank)
    yield "attn_output.weight", (a.embedding_length, heads * a.head_value_length)


def _experts(a: Architecture) -> Iterator[tuple[str, tuple[int, ...]]]:
    wide = a.expert_feed_forward_length
    shared = wide * a.expert_shared_count
    yield "ffn_gate_inp.weight", (a.expert_count, a.embedding_length)
    yield "exp_probs_b.bias", (a.expert_count,)
    yield "ffn_gate_exps.weight", (a.expert_count, wide, a.embedding_length)
    yield "ffn_up_exps.weight", (a.expert_count, wide, a.embedding_length)
    yield "ffn_down_exps.weight", (a.expert_count, a.embedding_length, wide)
    yield "ffn_gate_shexp.weight", (shared, a.embedding_length)
    yield "ffn_up_shexp.weight", (shared, a.embedding_length)
    yield "ffn_down_shexp.weight", (a.embedding_length, shared)
