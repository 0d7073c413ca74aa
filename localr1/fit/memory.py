"""How much memory a model needs on each device, from its shape and its tensors.

Weights by layer come from `weights`, the KV cache from the architecture, the compute buffers from
`compute`. All of them agree with llama.cpp's own dry run (benchmarks/memory.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localr1.fit.backends import DEVICE_TOP_K, backend
from localr1.fit.batch import Batch, Place
from localr1.fit.compute import KNOWN, compute_bytes
from localr1.fit.mix import repacked_types
from localr1.fit.types import DeviceMemory, Settings
from localr1.fit.weights import Weights, of_variant, spread
from localr1.gguf.types import Architecture
from localr1.machine.types import Device, Machine
from localr1.models.types import Variant

MIB = 1 << 20
GIB = 1 << 30
CPU = "CPU"

CUDA_LIBRARIES_BYTES = 300 * MIB
"""What the CUDA runtime adds to the worker's main memory: 280 to 350 MiB measured on an H100."""

CONTEXT_STEP = 256
"""llama.cpp pads the KV cache to a multiple of this many tokens (with flash attention)."""

WORKER_BYTES = 28 * MIB
"""The worker process beside the buffers: interpreter, libraries, messages.

Measured on Linux with a model of no size. (A process monitor shows some 20 MB more: pages of
libraries, which all processes share.)
"""
VOCABULARY_ENTRY_BYTES = 280
"""What a token takes there with its merge.

160 bytes a token and 115 a merge, measured with made-up vocabularies of the sizes of Qwen's (as
many merges as tokens) and Llama's (twice as many).
"""
WORK_BYTES_PER_ELEMENT = 292 / 256
"""What the CPU's kernels turn a number into that they multiply with quantized ones: Q8_K."""

SMALLEST_CONTEXT = 256
"""The engine makes no smaller one."""


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


def cache_tokens(settings: Settings) -> int:
    """The same for all sequences together: each has a window of its own."""
    return settings.sequences * padded_context(settings.context_window)


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
    repacked = repacked_types(machine.used_features)
    weights = spread(architecture, file_bytes, quantization, repacked)
    return memory_of(architecture, weights, settings, machine)


def variant_memory(
    architecture: Architecture, variant: Variant, settings: Settings, machine: Machine
) -> tuple[DeviceMemory, ...]:
    """As `estimate_memory`, from the variant's own tensors where they were read."""
    repacked = repacked_types(machine.used_features)
    weights = of_variant(architecture, variant, repacked)
    return memory_of(architecture, weights, settings, machine)


def memory_of(
    architecture: Architecture, weights: Weights, settings: Settings, machine: Machine
) -> tuple[DeviceMemory, ...]:
    """As `estimate_memory`, with weights that are already spread or read from a header."""
    gpus = {device.name: device for device in machine.gpus}
    placed = shares(architecture.layers, settings)
    per_token = architecture.kv_cache_bytes_per_token(settings.kv_cache_type)
    kv_per_layer = per_token // architecture.layers * cache_tokens(settings)
    backends = {
        share.device: backend(gpus[share.device].backend if share.device in gpus else "")
        for share in placed[1:]
    }
    repacks = not any(one.host_buffer for one in backends.values())
    picks_best = _picks_best(architecture, settings, placed, machine)
    compute = _compute(architecture, weights, settings, placed, machine)
    result = []
    for share in placed:
        part = weights.between(share.start, share.stop)
        layers = share.stop - share.start
        output = weights.output_bytes if share.output else 0
        logits = 0
        if share.device == CPU:
            kept = sum(_experts_kept_on_cpu(weights, x, settings) for x in placed[1:])
            bytes_here = weights.embedding_bytes + part.total_bytes + output + kept
            repack = part.repack_bytes + (weights.output_repack_bytes if share.output else 0)
            repack = repack if repacks else 0
            # With experts overridden to the CPU the file is read, not mapped: llama.cpp
            # itself warns that mapping is slower then.
            mapped = 0 if kept else bytes_here - repack
            logits = settings.sequences * logits_bytes(architecture, picks_best=picks_best)
            uses_cuda = any(gpu.backend == "CUDA" for gpu in gpus.values())
            overhead = worker_bytes(architecture, settings)
            overhead += CUDA_LIBRARIES_BYTES if uses_cuda else 0
        else:
            output = weights.head_bytes if share.output else 0
            on_cpu = _experts_kept_on_cpu(weights, share, settings)
            bytes_here, repack, mapped = part.total_bytes - on_cpu + output, 0, 0
            used = layers > 0 or share.output
            overhead = backends[share.device].driver_bytes if used else 0
        result.append(
            DeviceMemory(
                name=share.device,
                weights_bytes=bytes_here,
                repack_bytes=repack,
                mapped_bytes=mapped,
                kv_cache_bytes=layers * kv_per_layer,
                compute_buffer_bytes=compute[share.device],
                output_bytes=logits,
                overhead_bytes=overhead,
            )
        )
    return tuple(result)


def compute_is_upper_bound(architecture: Architecture) -> bool:
    """Whether the compute buffer is an upper bound, since its graph is not known."""
    return architecture.name not in KNOWN


def worker_bytes(architecture: Architecture, settings: Settings) -> int:
    """What the worker takes of main memory outside llama.cpp's buffers.

    Besides the process and the vocabulary, room for the widest rows of one micro-batch in the
    form that the CPU multiplies.
    """
    widest = max(architecture.feed_forward_length, architecture.embedding_length)
    work = int(settings.ubatch * widest * WORK_BYTES_PER_ELEMENT)
    return WORKER_BYTES + VOCABULARY_ENTRY_BYTES * architecture.vocabulary_size + work


def logits_bytes(architecture: Architecture, *, picks_best: bool) -> int:
    """Where the logits of one token arrive in main memory.

    Args:
        architecture: For the size of the vocabulary.
        picks_best: Whether a device picks the best ones: then there is room for those, their
            tokens and their probabilities as well, as if all were picked.
    """
    vocabulary = architecture.vocabulary_size
    return 4 * vocabulary + (4 * (3 * vocabulary + 1) if picks_best else 0)


def _picks_best(
    architecture: Architecture, settings: Settings, placed: Sequence[Share], machine: Machine
) -> bool:
    """Whether the device of the output layer picks the best logits itself (`engine.loading`)."""
    gpus = {device.name: device for device in machine.gpus}
    last = gpus.get(placed[-1].device)
    whole = settings.gpu_layers > architecture.layers
    return (
        whole
        and not settings.draft_tokens
        and settings.sequences == 1
        and last is not None
        and backend(last.backend).picks_best
    )


def _compute(
    architecture: Architecture,
    weights: Weights,
    settings: Settings,
    placed: Sequence[Share],
    machine: Machine,
) -> dict[str, int]:
    """Bytes of compute buffer by device."""
    gpus = {device.name: device for device in machine.gpus}
    names = [share.device for share in placed[1:]]
    backends = [backend(gpus[name].backend if name in gpus else "") for name in names]
    tokens = _batch_tokens(settings)
    batch = Batch(
        tokens=tokens,
        context=cache_tokens(settings),
        kv_cache_type=settings.kv_cache_type,
        flash_attention=settings.flash_attention,
        outputs=min(tokens, settings.sequences * (1 + settings.draft_tokens)),
        top_k=DEVICE_TOP_K if _picks_best(architecture, settings, placed, machine) else 0,
    )
    cpu = len(names)
    sizes: tuple[tuple[str, int], ...] = ()
    if backends and backends[0].takes_over != "nothing":
        # What is repacked, only the CPU can read.
        repacks = not any(one.host_buffer for one in backends)
        largest = weights.largest_matrices
        sizes = tuple(
            (name, size) for name, size, repacked in largest if not (repacked and repacks)
        )
    places: list[Place] = []
    # Most layers are alike, and looked at together.
    known: dict[tuple[int, int, bool], Place] = {}
    output = cpu
    for index, share in zip((cpu, *range(cpu)), placed, strict=True):
        output = index if share.output else output
        for number in range(share.start, share.stop):
            sparse = weights.layers[number].expert_bytes > 0
            experts = cpu if sparse and number < settings.cpu_expert_layers else index
            place = known.get((index, experts, sparse))
            if place is None:
                place = Place(index, experts, sparse, sizes if cpu in (index, experts) else ())
                known[index, experts, sparse] = place
            places.append(place)
    found = compute_bytes(architecture, batch, places, output, backends)
    return dict(zip((*names, CPU), found, strict=True))


def _batch_tokens(settings: Settings) -> int:
    """Tokens of the largest micro-batch that llama.cpp reserves memory for.

    With several sequences it has as many of each (`graph_reserve` in llama-context.cpp), and the
    engine pads the window of each (`engine.loading`).
    """
    count = settings.sequences
    if count == 1:
        return min(settings.ubatch, max(settings.context_window, SMALLEST_CONTEXT))
    return -(-min(settings.ubatch, cache_tokens(settings)) // count) * count


def _experts_kept_on_cpu(weights: Weights, share: Share, settings: Settings) -> int:
    """Bytes of a GPU's experts that stay on the CPU."""
    if share.device == CPU or settings.cpu_expert_layers <= share.start:
        return 0
    stop = min(share.stop, settings.cpu_expert_layers)
    return weights.between(share.start, stop).expert_bytes


def _ceil(value: float) -> int:
    # A running sum may be off by a rounding error just above a whole number.
    return -int(-value // 1) if abs(value - round(value)) > 1e-6 else round(value)
