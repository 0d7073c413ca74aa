"""What gives way, and in which order, when a plan does not load or memory has become short.

Each rung changes one thing of the rung above. In this order: how many replies run at once, the
micro-batch, the context window, the KV cache's type where that does not harm the model, experts
on the GPUs, layers on the GPUs. Pure functions: trying a rung is the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from localr1.fit.memory import CPU, cache_tokens, variant_memory
from localr1.fit.pool import Shortage, pool_needs, shortages
from localr1.fit.search import CONTEXT_WINDOWS
from localr1.fit.types import DeviceMemory, Settings
from localr1.gguf.types import Architecture
from localr1.machine.types import Machine
from localr1.models.types import Model, Variant

SMALLEST_UBATCH = 256
"""Below this prompts are read much more slowly, and hardly any memory is gained."""
SMALLEST_CONTEXT = CONTEXT_WINDOWS[-1]
"""With less R1 cannot think an ordinary question through."""
STEP_SHARE = 0.1
"""Share of a model's layers that leave the GPUs in one step."""
SWAP_TOLERANCE_SHARE = 0.02
"""Share of main memory by which a need may exceed what is free before it is sure to swap, as
systems count what they could free at once with caution; at most a quarter of the need."""

# Types that may follow each other, the largest first.
_CACHE_TYPES = ("f16", "q8_0", "q4_0")
# Elements in a block of a quantized cache: the rows must be whole blocks (ggml-common.h).
_BLOCK_ELEMENTS = 32


@dataclass(frozen=True)
class Rung:
    """Settings one step down, and what changed."""

    settings: Settings
    words: str
    """What changed, for people, as the middle of a sentence."""


@dataclass(frozen=True)
class Need:
    """What settings need of a computer as it is now."""

    lacks: tuple[Shortage, ...]
    """What is missing of the memory that must stay, headroom included."""
    must_stay_bytes: int
    """Main memory that the system cannot take back."""
    paged_bytes: int
    """Of a mapped file, what main memory has no room for: read again and again from disk."""
    swaps: bool
    """Whether it is sure to swap, or to be killed in a container."""


@dataclass(frozen=True)
class Descent:
    """How far down the estimate says one has to go."""

    settings: Settings
    """Where it ends."""
    rungs: tuple[Rung, ...]
    """The steps that lead there; empty where nothing has to change."""
    planned: Need
    result: Need


def next_rung(settings: Settings, model: Model) -> Rung | None:
    """One step down, or None at the foot of the ladder.

    Args:
        settings: Where one stands.
        model: For its layers, experts, and the KV cache types that do not harm it.
    """
    change = (
        _fewer_sequences(settings)
        or _smaller_batch(settings)
        or _shorter_context(settings)
        or _smaller_cache(settings, model)
        or _more_experts_on_cpu(settings, model.architecture)
        or _fewer_gpu_layers(settings, model.architecture)
    )
    if change is None:
        return None
    return Rung(change, " and ".join(_differences(settings, change, model.architecture)))


def rungs(settings: Settings, model: Model) -> tuple[Rung, ...]:
    """All steps down, the first one first."""
    return tuple(_steps(settings, model))


def described(before: Settings, after: Settings, model: Model) -> str:
    """What differs between two rungs, as the middle of a sentence."""
    return ", ".join(_differences(before, after, model.architecture))


def need(model: Model, variant: Variant, settings: Settings, machine: Machine) -> Need:
    """What settings need; only memory that must stay counts, mapped pages may be dropped.

    Args:
        model: The model.
        variant: The file.
        settings: How it is to be run.
        machine: The computer as it is now.
    """
    return need_of(variant_memory(model.architecture, variant, settings, machine), machine)


def need_of(devices: tuple[DeviceMemory, ...], machine: Machine) -> Need:
    """The same, of what is already known by device."""
    memory = machine.memory
    staying = must_stay(devices)
    resident = pool_needs(staying, machine)[CPU]
    tolerance = min(int(memory.total_bytes * SWAP_TOLERANCE_SHARE), resident // 4)
    return Need(
        lacks=shortages(staying, machine),
        must_stay_bytes=resident,
        paged_bytes=max(0, pool_needs(devices, machine)[CPU] - memory.available_bytes),
        swaps=resident > memory.available_bytes + tolerance,
    )


def descend(model: Model, variant: Variant, settings: Settings, machine: Machine) -> Descent:
    """The first rung whose needs fit in what is free now; else the one that lacks least."""
    planned = need(model, variant, settings, machine)
    best = Descent(settings, (), planned, planned)
    taken: list[Rung] = []
    for rung in _steps(settings, model):
        if not best.result.lacks:
            break
        taken.append(rung)
        needed = need(model, variant, rung.settings, machine)
        if _short_bytes(needed) < _short_bytes(best.result):
            best = Descent(rung.settings, tuple(taken), planned, needed)
    return best


def must_stay(devices: tuple[DeviceMemory, ...]) -> tuple[DeviceMemory, ...]:
    """The same needs without file pages that the system may drop."""
    return tuple(
        replace(device, weights_bytes=device.weights_bytes - device.mapped_bytes, mapped_bytes=0)
        for device in devices
    )


def _steps(settings: Settings, model: Model) -> Iterator[Rung]:
    rung = next_rung(settings, model)
    while rung is not None:
        yield rung
        rung = next_rung(rung.settings, model)


def _short_bytes(needed: Need) -> int:
    return sum(lack.bytes_short for lack in needed.lacks)


def _fewer_sequences(settings: Settings) -> Settings | None:
    if settings.sequences == 1:
        return None
    return replace(settings, sequences=settings.sequences // 2)


def _smaller_batch(settings: Settings) -> Settings | None:
    ubatch = min(settings.ubatch, cache_tokens(settings))
    if ubatch <= SMALLEST_UBATCH:
        return None
    return replace(settings, ubatch=max(SMALLEST_UBATCH, ubatch // 2))


def _shorter_context(settings: Settings) -> Settings | None:
    if settings.context_window <= SMALLEST_CONTEXT:
        return None
    half = settings.context_window // 2
    return replace(settings, context_window=max(SMALLEST_CONTEXT, half))


def _smaller_cache(settings: Settings, model: Model) -> Settings | None:
    """A KV cache with fewer bits, of a type that does not harm the model.

    Quantized values need flash attention (llama-context.cpp), and rows of whole blocks.
    """
    a = model.architecture
    if not settings.flash_attention or a.key_length % _BLOCK_ELEMENTS:
        return None
    if a.value_length % _BLOCK_ELEMENTS or settings.kv_cache_type not in _CACHE_TYPES:
        return None
    smaller = _CACHE_TYPES[_CACHE_TYPES.index(settings.kv_cache_type) + 1 :]
    # What is only for want of memory comes after everything that keeps the type.
    reserve = () if _uses_gpus(settings) else model.kv_cache_reserve
    known = (*model.kv_cache_types, *reserve)
    harmless = [name for name in smaller if name in known]
    return replace(settings, kv_cache_type=harmless[0]) if harmless else None


def _more_experts_on_cpu(settings: Settings, architecture: Architecture) -> Settings | None:
    a = architecture
    if not a.expert_count or not _uses_gpus(settings):
        return None
    first_on_gpu = a.layers + 1 - min(settings.gpu_layers, a.layers + 1)
    kept = max(settings.cpu_expert_layers, a.leading_dense_layers, first_on_gpu)
    if kept >= a.layers:
        return None
    return replace(settings, cpu_expert_layers=min(a.layers, kept + _step(a)))


def _fewer_gpu_layers(settings: Settings, architecture: Architecture) -> Settings | None:
    if not _uses_gpus(settings):
        return None
    left = min(settings.gpu_layers, architecture.layers + 1) - _step(architecture)
    if left > 0:
        return replace(settings, gpu_layers=left)
    # Without layers no device must be named, or its driver takes memory all the same.
    return replace(settings, gpu_layers=0, device_names=(), tensor_split=(), cpu_expert_layers=0)


def _uses_gpus(settings: Settings) -> bool:
    return settings.gpu_layers > 0 and bool(settings.device_names)


def _step(architecture: Architecture) -> int:
    return -(-(architecture.layers + 1) // round(1 / STEP_SHARE))


def _differences(before: Settings, after: Settings, architecture: Architecture) -> Iterator[str]:
    if after.sequences != before.sequences:
        many = f"{after.sequences} replies run" if after.sequences > 1 else "one reply runs"
        yield f"{many} at a time instead of {before.sequences}"
    if after.ubatch != before.ubatch:
        yield f"prompts are read {after.ubatch} tokens at a time instead of {before.ubatch}"
    if after.context_window != before.context_window:
        yield (
            f"the context window goes from {before.context_window:,} to"
            f" {after.context_window:,} tokens"
        )
    if after.kv_cache_type != before.kv_cache_type:
        yield f"the KV cache is kept in {after.kv_cache_type} instead of {before.kv_cache_type}"
    if not _uses_gpus(after):
        if _uses_gpus(before):
            yield "no layer is on the GPU any more, the CPU computes alone"
        return
    if after.cpu_expert_layers != before.cpu_expert_layers:
        yield (
            f"the experts of {after.cpu_expert_layers} of {architecture.layers} layers stay in"
            f" main memory instead of {before.cpu_expert_layers}"
        )
    if after.gpu_layers != before.gpu_layers:
        most = architecture.layers + 1
        yield (
            f"{after.gpu_layers} of {most} layers are on {' and '.join(after.device_names)}"
            f" instead of {min(before.gpu_layers, most)}"
        )
