"""Which GPUs have a flash-attention kernel for which models."""

from __future__ import annotations

from typing import Final

from localr1.gguf.types import Architecture

# llama.cpp of llama-cpp-python 0.3.36, ggml-cuda/fattn.cu, ggml_cuda_get_best_fattn_kernel.
_HEAD_LENGTHS: Final = frozenset({40, 64, 72, 80, 96, 112, 128, 256})
_BACKENDS: Final = frozenset({"CUDA", "ROCm"})


def has_flash_attention(architecture: Architecture, backend: str) -> bool:
    """Whether a backend computes this model's flash attention itself.

    Without it llama.cpp falls back to the CPU for each token's attention, or to score buffers
    that grow with the context: seen on an H100 with R1 671B files that lack latent attention,
    5.6 GiB more than planned with five layers. Backends that were not looked up count as having it.
    """
    if backend not in _BACKENDS:
        return True
    a = architecture
    if a.mla:
        return a.head_count > 1
    if (a.key_length, a.value_length) == (192, 128):
        return (a.head_count // max(1, a.head_count_kv)) % 8 == 0
    return a.key_length == a.value_length and a.key_length in _HEAD_LENGTHS
