"""From a header to the shape of the model: what memory and speed depend on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from localr1.errors import GgufError, UnsupportedArchitecture
from localr1.gguf.types import Architecture, Header, TensorInfo

SUPPORTED = ("qwen2", "qwen3", "llama", "deepseek2")
"""GGUF names of the architectures that members of the R1 family have."""

# Others of llama.cpp's (llama-arch.cpp) whose layers all have the same attention over a cache
# and a feed-forward part: what memory and speed are reckoned for. Estimates for them are upper
# bounds where layers look back only so far; the engine's own measure decides before a load.
_ALSO_RUN = frozenset(
    (
        *("qwen2moe", "qwen3moe", "mistral3", "llama4", "granite", "granitemoe", "smollm3"),
        *("gemma", "gemma2", "gemma3", "phi3", "phimoe", "olmo", "olmo2", "olmoe", "starcoder2"),
        *("stablelm", "command-r", "cohere2", "internlm2", "exaone", "exaone4"),
        *("glm4", "minicpm", "baichuan", "orion", "seed_oss", "ernie4_5", "gpt-oss"),
        *("deepseek", "dots1", "glm4moe", "hunyuan-dense", "hunyuan-moe", "bailingmoe", "apertus"),
    )
)

# Computed from the RoPE settings and not trained, so not among a model's parameters.
_CONSTANT_TENSORS = frozenset({"rope_freqs.weight"})
_ROUTED_EXPERT = "_exps.weight"
# llama.cpp itself stops at LLAMA_MAX_LAYERS = 512 layers and LLAMA_MAX_EXPERTS = 512 experts.
_MAX_LAYERS = 512
_MAX_NUMBER = 2**31 - 1


def from_header(
    header: Header, tensors: Sequence[TensorInfo] | None = None, *, label: str = "The file"
) -> Architecture:
    """The architecture that a header describes.

    Parameters are counted from the tensors. `active_parameters` leaves out the routed
    experts that one token does not use. New DeepSeek files compress the cache (MLA): then
    K is one row of `kv_lora_rank` + RoPE elements and there is no V. Old files lack
    `attention.key_length_mla`, and llama.cpp caches all their heads in full.

    Args:
        header: Of the first or only shard.
        tensors: Of all shards; the header's own by default.
        label: How errors call the file.

    Raises:
        UnsupportedArchitecture: localr1 does not run this kind of model.
        GgufError: The header contradicts itself or lacks what a model needs.
    """
    name = header.metadata.get("general.architecture")
    if not isinstance(name, str) or (name not in SUPPORTED and name not in _ALSO_RUN):
        shown = f"{name:.40}" if isinstance(name, str) else "not named"
        raise UnsupportedArchitecture(
            f"{label} is not a model that localr1 runs.",
            f"Its architecture is {shown}; localr1 runs {', '.join(SUPPORTED)} and models like"
            " them, such as gemma3, phi3 or qwen3moe.",
            "Choose a model of the R1 family: localr1 models lists them.",
        )
    facts = _Facts(name, header.metadata, label)
    entries = {t.name: t for t in (header.tensors if tensors is None else tensors)}
    embedding = entries.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        facts.fail("it has no token embedding: a vocabulary or an adapter, not a model")

    layers = facts.number("block_count", most=_MAX_LAYERS)
    heads = facts.number("attention.head_count")
    heads_kv = facts.number("attention.head_count_kv", default=heads)
    embedding_length = facts.number("embedding_length")
    if embedding.shape[0] != embedding_length:
        facts.fail(
            f"its embedding has {embedding.shape[0]} elements, its header says {embedding_length}"
        )
    if heads % heads_kv:
        facts.fail(f"{heads} heads cannot share {heads_kv} KV heads")
    _check_layers(facts, entries, layers)

    key_length = facts.number("attention.key_length", default=max(embedding_length // heads, 1))
    value_length = facts.number("attention.value_length", default=key_length)
    mla = facts.has("attention.key_length_mla")
    rank = facts.number("attention.kv_lora_rank", default=0)
    rope_length = facts.number("rope.dimension_count", default=0)
    head_key_length, head_value_length = (key_length, value_length) if rank else (0, 0)
    if mla:
        head_key_length = facts.number("attention.key_length_mla")
        head_value_length = facts.number("attention.value_length_mla", default=head_key_length)
        key_length = facts.number("attention.kv_lora_rank") + facts.number("rope.dimension_count")
        value_length, heads_kv = 0, 1

    parameters = _elements(t for t in entries.values() if t.name not in _CONSTANT_TENSORS)
    experts = facts.number("expert_count", default=0)
    used = facts.number("expert_used_count", default=0, most=experts)
    routed = _elements(t for t in entries.values() if t.name.endswith(_ROUTED_EXPERT))
    return Architecture(
        name=name,
        layers=layers,
        embedding_length=embedding_length,
        feed_forward_length=facts.number("feed_forward_length"),
        head_count=heads,
        head_count_kv=heads_kv,
        key_length=key_length,
        value_length=value_length,
        vocabulary_size=embedding.shape[1],
        context_length=facts.number("context_length"),
        parameters=parameters,
        tied_embeddings="output.weight" not in entries,
        expert_count=experts,
        expert_used_count=used,
        expert_feed_forward_length=facts.number("expert_feed_forward_length", default=0),
        expert_shared_count=facts.number("expert_shared_count", default=0),
        leading_dense_layers=facts.number("leading_dense_block_count", default=0, most=layers),
        active_parameters=parameters - (routed * (experts - used) // experts if experts else 0),
        mla=mla,
        q_lora_rank=facts.number("attention.q_lora_rank", default=0),
        kv_lora_rank=rank,
        rope_length=rope_length if rank else 0,
        head_key_length=head_key_length,
        head_value_length=head_value_length,
    )


class _Facts:
    """The numbers of one architecture in the metadata, each checked when asked for."""

    def __init__(self, name: str, metadata: Mapping[str, object], label: str) -> None:
        self._name = name
        self._metadata = metadata
        self._label = label

    def fail(self, why: str) -> NoReturn:
        """Raise `GgufError` with the reason."""
        raise GgufError(
            f"{self._label} is not a usable model.",
            f"The header is damaged: {why}.",
            "Download it again, or choose another file.",
        )

    def has(self, key: str) -> bool:
        """Whether the header says anything of `key`."""
        return f"{self._name}.{key}" in self._metadata

    def number(self, key: str, *, default: int | None = None, most: int = _MAX_NUMBER) -> int:
        """A whole number of at least 1 (or the default), at most `most`."""
        full = f"{self._name}.{key}"
        value = self._metadata.get(full, default)
        if isinstance(value, tuple) and value and len(set(value)) == 1:
            # One value per layer, all the same.
            value = value[0]
        if value is None:
            self.fail(f"{full} is missing")
        least = 1 if default is None else min(1, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.fail(f"{full} is {value!r:.80}, not a whole number from {least} to {most}")
        return value


def _check_layers(facts: _Facts, entries: Mapping[str, TensorInfo], layers: int) -> None:
    """Check that every layer that the header announces has tensors."""
    present = {
        int(number)
        for name in entries
        if name.startswith("blk.") and (number := name.split(".")[1]).isdecimal()
    }
    missing = next((layer for layer in range(layers) if layer not in present), None)
    if missing is not None:
        facts.fail(f"layer {missing} of {layers} has no tensors")


def _elements(tensors: Iterable[TensorInfo]) -> int:
    return sum(math.prod(t.shape) for t in tensors)
