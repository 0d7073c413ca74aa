"""How much memory a model needs on each device, from its shape and its file's size.

Weights by layer come from `weights`; the KV cache from the architecture; the compute
buffer from a closed form that agrees with llama.cpp's own dry run within 0.03 % over 108
combinations of dense qwen2 and llama models, micro-batch, context and outputs, on a single
backend with flash attention (llama.cpp of llama-cpp-python 0.3.36). Everywhere else the
figure is meant as an upper bound: `compute_is_upper_bound` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localr1.fit.mix import repacked_types
from localr1.fit.types import DeviceMemory, Settings
from localr1.fit.weights import Weights, spread
from localr1.gguf.types import Architecture
from localr1.machine.types import Device, Machine

MIB = 1 << 20
GIB = 1 << 30
CPU = "CPU"

CUDA_LIBRARIES_BYTES = 300 * MIB
"""What the CUDA runtime adds to the worker's main memory: 280 to 350 MiB measured on an H100."""

CONTEXT_STEP = 256
"""llama.cpp pads the KV cache to a multiple of this many tokens (with flash attention)."""

WORKER_BYTES = 150 * MIB
"""The worker process beside the buffers: interpreter, libraries, vocabulary.

Measured on Linux: 41 MB after importing llama.cpp, 118 MB with a 70B model's header and
vocabulary and no weights; the rest is a margin for sampling and messages.
"""

DRIVER_BYTES: Mapping[str, int] = {
    # Reports put CUDA context and cuBLAS at 300 to 600 MiB; the engine's own reading of free
    # memory is taken inside a context already, so the lower end.
    "CUDA": 300 * MIB,
    # About 0.4 GiB according to one report.
    "ROCm": 400 * MIB,
    # The rest is assumed.
    "SYCL": 300 * MIB,
    "Vulkan": 150 * MIB,
    "Metal": 100 * MIB,
    "RPC": 0,
}
"""Memory that a GPU's driver takes for a process, outside any buffer, by backend."""
OTHER_DRIVER_BYTES = 300 * MIB

# Backends without pinned host buffers, so that llama.cpp repacks CPU layers beside them; with
# the others its list of buffer types for CPU layers has the host's first.
_NO_HOST_BUFFER = frozenset(("Metal", "RPC"))
_EXACT_ARCHITECTURES = frozenset(("qwen2", "llama"))
# GGML_SCHED_MAX_COPIES: inputs are kept this often with several GPUs in a pipeline.
_PIPELINE_COPIES = 4
# Width of DeepSeek's compressed value rows (kv_lora_rank), which `Architecture` has no field for.
_MLA_VALUE_LENGTH = 512


@dataclass(frozen=True)
class Share:
    """What one device gets of a model."""

    device: str
    start: int
    """First layer on the device."""
    stop: int
    """One past the last layer."""
    output: bool
    """Whether the output layer is here."""


def padded_context(context_window: int) -> int:
    """Tokens that the KV cache is made for."""
    return -(-context_window // CONTEXT_STEP) * CONTEXT_STEP


def used_gpus(machine: Machine, settings: Settings) -> tuple[Device, ...]:
    """The GPUs that the settings name, in their order."""
    by_name = {device.name: device for device in machine.gpus}
    return tuple(by_name[name] for name in settings.device_names if name in by_name)


def shares(layers: int, settings: Settings) -> tuple[Share, ...]:
    """Which layers each device gets, the CPU first.

    llama.cpp puts the last `gpu_layers` of `layers + 1` (the output counts as one) on the
    GPUs, spread by the running sum of `tensor_split`.
    """
    names = settings.device_names
    on_gpu = min(settings.gpu_layers, layers + 1) if names else 0
    first = layers + 1 - on_gpu
    result = [Share(CPU, 0, min(first, layers), on_gpu == 0)]
    if not on_gpu:
        return tuple(result)
    split = settings.tensor_split or (1.0,) * len(names)
    total, passed, start = sum(split), 0.0, first
    for index, name in enumerate(names):
        passed += split[index] if index < len(split) else 0.0
        last = index == len(names) - 1
        # Layer i goes to the first device whose running share exceeds (i - first) / on_gpu.
        end = layers + 1 if last else first + _ceil(passed / total * on_gpu)
        end = max(start, min(end, layers + 1))
        result.append(Share(name, min(start, layers), min(end, layers), start < end == layers + 1))
        start = end
    return tuple(result)


def estimate_memory(
    architecture: Architecture,
    file_bytes: int,
    quantization: str,
    settings: Settings,
    machine: Machine,
) -> tuple[DeviceMemory, ...]:
    """Memory by device and component.

    Args:
        architecture: Shape of the model.
        file_bytes: Length of all shards.
        quantization: `Q4_K_M`, ...
        settings: How the model is to be run.
        machine: For CPU features and the GPUs' backends.

    Returns:
        The CPU's share first, then the GPUs' in the order of `settings.device_names`.
    """
    repacked = repacked_types(machine.cpu.features)
    weights = spread(architecture, file_bytes, quantization, repacked)
    return memory_of(architecture, weights, settings, machine)


def memory_of(
    architecture: Architecture, weights: Weights, settings: Settings, machine: Machine
) -> tuple[DeviceMemory, ...]:
    """As `estimate_memory`, with weights that are already spread or read from a header."""
    gpus = {device.name: device for device in machine.gpus}
    placed = shares(architecture.layers, settings)
    per_token = architecture.kv_cache_bytes_per_token(settings.kv_cache_type)
    kv_per_layer = per_token // architecture.layers * padded_context(settings.context_window)
    repacks = all(
        gpus[name].backend in _NO_HOST_BUFFER for name in settings.device_names if name in gpus
    )
    result = []
    for share in placed:
        part = weights.between(share.start, share.stop)
        layers = share.stop - share.start
        on_cpu = _experts_kept_on_cpu(weights, share, settings)
        output = weights.output_bytes if share.output else 0
        if share.device == CPU:
            kept = sum(_experts_kept_on_cpu(weights, x, settings) for x in placed[1:])
            bytes_here = weights.embedding_bytes + part.total_bytes + output + kept
            repack = part.repack_bytes + (weights.output_repack_bytes if share.output else 0)
            repack = repack if repacks else 0
            # With experts overridden to the CPU the file is read, not mapped: llama.cpp
            # itself warns that mapping is slower then.
            mapped = 0 if kept else bytes_here - repack
            uses_cuda = any(gpu.backend == "CUDA" for gpu in gpus.values())
            overhead = WORKER_BYTES + (CUDA_LIBRARIES_BYTES if uses_cuda else 0)
        else:
            if share.output and not weights.output_bytes:
                output = weights.embedding_bytes
            bytes_here, repack, mapped = part.total_bytes - on_cpu + output, 0, 0
            backend = gpus[share.device].backend if share.device in gpus else ""
            overhead = DRIVER_BYTES.get(backend, OTHER_DRIVER_BYTES) if layers or output else 0
        busy = layers > 0 or share.output
        result.append(
            DeviceMemory(
                name=share.device,
                weights_bytes=bytes_here,
                repack_bytes=repack,
                mapped_bytes=mapped,
                kv_cache_bytes=layers * kv_per_layer,
                compute_buffer_bytes=_compute(architecture, weights, settings, placed, share)
                if busy or share.device == CPU
                else 0,
                output_bytes=4 * architecture.vocabulary_size if share.device == CPU else 0,
                overhead_bytes=overhead,
            )
        )
    return tuple(result)


def compute_is_upper_bound(architecture: Architecture, settings: Settings) -> bool:
    """Whether the compute buffer is an upper bound instead of the measured formula."""
    everything = settings.gpu_layers > architecture.layers
    one_backend = not settings.device_names or settings.gpu_layers == 0
    one_gpu = len(settings.device_names) == 1 and everything and not settings.cpu_expert_layers
    return not (
        architecture.name in _EXACT_ARCHITECTURES
        and not architecture.expert_count
        and settings.flash_attention
        and (one_backend or one_gpu)
    )


def compute_buffer_bytes(
    architecture: Architecture, context_window: int, ubatch: int, *, flash_attention: bool = True
) -> int:
    """Compute buffer of one device that runs whole layers, for one output per batch.

    Dense: `ubatch * (4 * (3 * n_ff + 4 * n_embd) + 2 * n_ctx)`, the peak of the FFN and the
    mask in F16. Without flash attention the mask is in F32, and the peak may be in the attention:
    `ubatch * (4 * (5 * n_embd + 2 * n_embd_kv) + 4 * n_ctx * (1 + n_head))`.
    With experts, the peak of the used experts, or of MLA's attention, where that is larger.

    Args:
        architecture: Shape of the model.
        context_window: Tokens; padded as the KV cache is.
        ubatch: Tokens that are computed at once; never more than the context holds.
        flash_attention: Whether it is on.
    """
    a, context = architecture, padded_context(context_window)
    ubatch = min(ubatch, context)
    hidden = 3 * a.feed_forward_length
    if a.expert_count:
        experts = a.expert_used_count * (3 * a.expert_feed_forward_length + 2 * a.embedding_length)
        hidden = max(hidden, experts + a.expert_count)
    attention = 0
    if a.name not in _EXACT_ARCHITECTURES:
        # Queries and results, each before and after a change of layout.
        value = _MLA_VALUE_LENGTH if a.mla else a.value_length
        attention = 2 * a.head_count * (a.key_length + value)
    result = ubatch * (4 * (max(hidden, attention) + 4 * a.embedding_length) + 2 * context)
    if flash_attention:
        return result
    mask_and_scores = 4 * ubatch * context * (1 + a.head_count)
    if a.mla or a.expert_count:
        return result + mask_and_scores
    rows = 5 * a.embedding_length + 2 * a.head_count_kv * a.key_length
    return max(result + 2 * ubatch * context, 4 * ubatch * rows + mask_and_scores)


def _compute(
    architecture: Architecture,
    weights: Weights,
    settings: Settings,
    placed: Sequence[Share],
    share: Share,
) -> int:
    a, context = architecture, padded_context(settings.context_window)
    ubatch = min(settings.ubatch, context)
    on_gpu = len(placed) > 1
    # The looked-up embeddings, a copy of them, and the mask.
    inputs = ubatch * (8 * a.embedding_length + 2 * context)
    experts_on_cpu = settings.cpu_expert_layers > a.leading_dense_layers and a.expert_count > 0
    if share.device == CPU and on_gpu and share.stop == share.start and not experts_on_cpu:
        # The CPU only looks up embeddings and makes the mask.
        return inputs
    result = compute_buffer_bytes(
        a, settings.context_window, ubatch, flash_attention=settings.flash_attention
    )
    if not on_gpu:
        return result
    if len(placed) > 2:
        result += (_PIPELINE_COPIES - 1) * inputs
    cpu_has_layers = placed[0].stop > placed[0].start or experts_on_cpu
    if share.device != CPU and cpu_has_layers:
        # For long prompts the CPU's matrices are sent to the GPU, one at a time.
        result += weights.largest_layer_tensor_bytes + inputs
    return result


def _experts_kept_on_cpu(weights: Weights, share: Share, settings: Settings) -> int:
    """Bytes of a GPU's experts that stay on the CPU."""
    if share.device == CPU or settings.cpu_expert_layers <= share.start:
        return 0
    stop = min(share.stop, settings.cpu_expert_layers)
    return weights.between(share.start, stop).expert_bytes


def _ceil(value: float) -> int:
    # A running sum may be off by a rounding error just above a whole number.
    return -int(-value // 1) if abs(value - round(value)) > 1e-6 else round(value)
