"""What a GGUF file says, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localr1.gguf.quantization import row_bytes

KvCacheType = str
"""`f16`, `q8_0` or `q4_0`."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor's entry in the header."""

    name: str
    shape: tuple[int, ...]
    """As stored: the fastest-running dimension first."""
    quantization: str
    """GGML type name: `F32`, `F16`, `Q4_K`, ..."""
    offset_bytes: int
    """From the start of the data section."""
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """Everything before the tensor data."""

    version: int
    metadata: Mapping[str, object]
    """Keys as in the file. Long token lists are kept as their length only: see `header.read`."""
    tensors: tuple[TensorInfo, ...]
    alignment_bytes: int
    data_offset_bytes: int
    file_bytes: int
    """The true length of the file."""


@dataclass(frozen=True)
class Architecture:
    """The shape of a model: everything that memory and speed depend on."""

    name: str
    """GGUF's name: `qwen2`, `qwen3`, `llama`, `deepseek2`."""
    layers: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    """Elements of one K head as cached; for MLA the compressed row (kv_lora_rank + rope)."""
    value_length: int
    """Elements of one V head as cached; 0 for MLA, which caches K only."""
    vocabulary_size: int
    context_length: int
    """Longest context the model was made for, in tokens."""
    parameters: int
    tied_embeddings: bool = False
    expert_count: int = 0
    expert_used_count: int = 0
    expert_feed_forward_length: int = 0
    expert_shared_count: int = 0
    leading_dense_layers: int = 0
    """Layers before the first one with experts."""
    active_parameters: int = 0
    """Parameters read for one token; equals `parameters` for dense models."""
    mla: bool = False
    """Multi-head latent attention with compressed cache rows (new R1 671B files)."""
    q_lora_rank: int = 0
    """Elements of a compressed query (DeepSeek's attention, in old and new files)."""
    kv_lora_rank: int = 0
    """Elements of a compressed key and value; 0: this model compresses nothing."""
    rope_length: int = 0
    """Elements of a key that are rotated and not compressed."""
    head_key_length: int = 0
    """Elements of one K head before compression."""
    head_value_length: int = 0
    """Elements of one V head before compression."""

    def kv_cache_bytes_per_token(self, kv_cache_type: KvCacheType) -> int:
        """Bytes of KV cache for one token over all layers.

        Args:
            kv_cache_type: `f16`, `q8_0` (34 bytes per 32 elements) or `q4_0` (18 per 32).

        Raises:
            ValueError: For any other type.
        """
        per_layer = row_bytes(kv_cache_type, self.head_count_kv * self.key_length) + row_bytes(
            kv_cache_type, self.head_count_kv * self.value_length
        )
        return self.layers * per_layer


@dataclass(frozen=True)
class GgufFile:
    """A GGUF on disk (all its shards), recognised by its header."""

    path: Path
    """The first or only shard."""
    name: str
    """`general.name`, or the file's stem."""
    architecture: Architecture
    quantization: str
    """`Q4_K_M`, ... from `general.file_type`."""
    size_bytes: int
    """All shards."""
    shards: int
    chat_template: str


@dataclass(frozen=True)
class ChatFormat:
    """How a model file says that conversations are written."""

    template: str
    """A Jinja program, untrusted; empty where the file has none."""
    begin: str
    """The token that begins every text; empty where there is none."""
    end: str
    """The token that ends a reply; empty where there is none."""
    adds_begin: bool
    """Whether prompts begin with `begin` even where the template does not write it."""
    tokens: frozenset[str]
    """Those of the asked-for tokens that the vocabulary has."""
