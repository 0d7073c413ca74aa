"""How fast processors read weights and compute: the constants of the speed estimate.

What was measured on this computer comes first: llama.cpp's own kernels on its processor
(`Machine.engine.kernels`). Where nobody measured, and for GPUs, constants serve that were worked
out from user reports collected with the R1 models (`tests/` holds them, and checks that the
estimate's interval contains each) and from our own runs on an H100 (docs/benchmarks.md). What
nobody measured is marked as assumed and gets a wide interval.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from localr1.fit.mix import Kind, Mix
from localr1.fit.types import Interval
from localr1.machine.types import Device, Machine

GPU_EFFICIENCY = 0.82
"""Share of nominal bandwidth that weights are read with on desktop NVIDIA and AMD cards, the
time that `GPU_LAYER_SECONDS` explains taken off.

Bytes read over bandwidth and what is left of the time per token, 7B to 32B: RTX 5070 0.84 and
0.82, RTX 2080 0.84, RTX 3080 0.85, RTX 3090 0.66 and 0.71 (with 32k context), RX 7900 XT 0.80 to
0.83, RX 7800 XT 0.87 to 0.91.
"""
HBM_EFFICIENCY = 0.545
"""The same of cards with stacked memory. H100: 1.5B, 7B and 32B within 3 %."""
APPLE_EFFICIENCY = 0.82
"""M4 Pro 0.85, M5 Max 0.78."""
OLD_APPLE_EFFICIENCY = 0.55
"""M1 Max 0.57 and 0.45; taken for Max and Ultra of the first two generations."""
INTEGRATED_EFFICIENCY = 0.64
"""Radeon 890M 0.55 (1.5B) and 0.65 to 0.67."""
INTEL_EFFICIENCY = 0.45
"""Assumed: no report for Arc cards that surely ran on the card."""
CPU_EFFICIENCY = 0.75
"""Of *measured* read bandwidth, where no kernels were measured. (Of nominal bandwidth it is 0.62:
Ryzen AI 9 HX 370 0.63 to 0.67.)"""
LOW_EFFICIENCY, HIGH_EFFICIENCY = 0.78, 1.20
"""Spread around the efficiencies, of cards in the list above."""

GPU_LAYER_SECONDS = Interval(20e-6, 44e-6, 90e-6)
"""What a layer takes on a GPU however few bytes it has: about 25 kernels are started one after
the other. H100, llama-bench at depth 512: 547.9, 267.1 and 75.7 tokens/s for 1.5B, 7B and 32B are
1.23 ms for 28 layers plus the bytes at 0.545 of the bandwidth. Taken for all GPUs."""
GPU_TOKEN_SECONDS = Interval(0.0001, 0.00011, 0.0006)
"""Sampling, and the worker around it, where a GPU computes. H100: 0.11 ms for 1.5B to 32B."""
CPU_LAYER_SECONDS = Interval(30e-6, 150e-6, 400e-6)
"""The same on a processor: its threads wait for each other after every step. Two cores of an EPYC:
0.15 ms."""
CPU_TOKEN_SECONDS = Interval(0.0002, 0.0003, 0.0008)
"""Two cores of an EPYC: 0.18 ms for the sampler chain, 0.1 ms for the worker."""
GPU_CACHE_SHARE = 0.4
"""How fast a GPU with stacked memory reads the KV cache, against weights. H100 between depth 512
and about 8,000: 0.3 to 0.6. Others read both alike: an RTX 4090 still reaches 0.88 of its
bandwidth at depth 32,768 with an 8B (ggml-org/llama.cpp, pull request 17505)."""

PROMPT_TOKEN_SECONDS = 20e-6
"""Time per prompt token that no computing explains; only tiny models show it. Assumed."""

GPU_BANDWIDTH = Interval(80e9, 250e9, 900e9)
"""A GPU in no table: from an entry-level card to a fast one."""
LENT_BANDWIDTH = Interval(15e9, 40e9, 400e9)
"""Memory of another computer that does not say how fast it is: from a laptop's to a card's."""
CPU_BANDWIDTH = Interval(18e9, 32e9, 75e9)
"""Main memory that nobody measured: one channel of DDR4, two, or two of DDR5, as read."""
SERVER_BANDWIDTH = Interval(40e9, 110e9, 350e9)
"""The same with `SERVER_CORES` cores and more: four to twelve channels."""
SERVER_CORES = 24
DISK_BYTES_PER_SECOND = 2e9
"""Reading pages of a mapped file back from an NVMe disk; assumed."""
PCIE_BYTES_PER_SECOND = 12e9
"""Sending weights to a GPU for long prompts; PCIe 4.0 with 8 lanes, assumed."""

KERNEL_LOW, KERNEL_HIGH = 0.8, 1.1
"""Spread around measured kernels: their best runs were timed, and models meet no such luck."""

_CORE_READ_RATES = (("AVX512", 18e9), ("AVX2", 12e9), ("DOTPROD", 10e9), ("NEON", 6e9))
_SLOW_CORE_READ_RATE = 2e9
# Points per second on one core, as multiply-adds times two. Reports: HX 370 62e9 (12 threads,
# AVX512), one core of a new EPYC 230e9, Snapdragon 8 Elite 100e9 (MATMUL_INT8), 8 Gen 2 70e9; AVX2
# and below assumed.
_CORE_FLOPS = (
    ("AVX512", 110e9),
    ("MATMUL_INT8", 75e9),
    ("AVX2", 55e9),
    ("DOTPROD", 40e9),
    ("NEON", 15e9),
)
_SLOW_CORE_FLOPS = 4e9
# Bytes per second that a core multiplies, against Q4_K; a phone's CPU gave 0.25 for IQ2_M, 0.45
# for Q2_K and 0.57 for Q3_K. The rest is assumed between them.
_KERNEL_SPEED = {
    "IQ1_S": 0.25,
    "IQ1_M": 0.25,
    "IQ2_XXS": 0.25,
    "IQ2_XS": 0.25,
    "IQ2_S": 0.25,
    "IQ3_XXS": 0.35,
    "IQ3_S": 0.35,
    "IQ4_XS": 0.8,
    "Q2_K": 0.45,
    "Q3_K": 0.57,
    "TQ1_0": 0.4,
}
_ATTENTION_SHARE = 0.07
"""Attention on a processor, in points per second against the kernels of prompts. Two cores of an
EPYC 0.07."""
# Prompt processing per byte of bandwidth. Reports: Radeon 7800 XT 48, 890M 12; RTX 3090 57, RTX 4090
# 110 to 135, P40 36 (7B and 8B, ggml-org/llama.cpp, pull requests 4766, 7860 and 7921); others
# assumed.
_FLOPS_PER_BYTE = {
    "nvidia": Interval(35, 80, 150),
    "amd": Interval(20, 45, 80),
    "apple": Interval(13, 20, 30),
    "intel": Interval(10, 25, 60),
    # A processor that is lent, per byte that its kernels read: six cores of a laptop 8. Assumed.
    "cpu": Interval(2, 8, 25),
}
_INTEGRATED_FLOPS_PER_BYTE = Interval(6, 11, 25)
_HBM_FLOPS_PER_BYTE = Interval(25, 43, 70)
"""H100: 4,096 tokens at 28,305, 9,880 and 2,399 tokens/s with 1.5B, 7B and 32B: 28, 43 and 46."""
_OTHER_FLOPS_PER_BYTE = Interval(8, 25, 80)
_GPU_ATTENTION_SHARE = 0.5
"""Attention within prompts on a GPU, against the products with weights. Assumed."""
PROMPT_LOW, PROMPT_HIGH = 0.5, 2.3
"""Spread of the CPU's prompt speed where no kernels were measured."""
_HBM = re.compile(
    r"\b(A100|A30|A800|H100|H200|H20|H800|GH200|GB200|B100|B200|B300|V100|P100|MI\d{2,3}[A-Z]?)\b"
)


@dataclass(frozen=True)
class Rate:
    """How fast one device works."""

    read: Interval
    """Bytes of weights per second while generating."""
    flops: Interval
    """Multiplications and additions per second while processing a prompt."""
    cache: Interval
    """Bytes of KV cache per second while generating."""
    attention: Interval
    """Multiplications and additions per second of attention within a prompt."""
    layer_seconds: Interval
    """For each layer and token, or batch of a prompt, however small."""
    known: bool
    """Whether the bandwidth was measured or looked up, not assumed."""


def cpu_rate(machine: Machine, mix: Mix, kv_cache_type: str) -> Rate:
    """Speed of the processor with a mix of weight types and a type of KV cache.

    Args:
        machine: Its measured kernels count, or else its bandwidth and its features.
        mix: Types that are slow to unpack hold a processor up.
        kv_cache_type: `f16`, `q8_0` or `q4_0`.
    """
    cache_bytes = max(1, mix.architecture.kv_cache_bytes_per_token(kv_cache_type))
    per_byte = attention_flops(mix) / cache_bytes
    measured = {kernel.kind: kernel for kernel in machine.engine.kernels}
    attention = measured.get(f"attention {kv_cache_type.upper()}")
    kinds = [kind for kind in mix.kinds if kind.name in measured]
    memory = machine.memory.bandwidth_bytes_per_second
    if attention is None or memory is None or mix.base not in measured or not kinds:
        return _assumed_cpu_rate(machine, mix.kinds, per_byte)
    cores = max(1, machine.cpu.performance_cores)
    read = _harmonic([(k.size_bytes, _both(cores * measured[k.name].one, memory)) for k in kinds])
    flops = cores * _harmonic([(k.layer_parameters, measured[k.name].many) for k in kinds])
    cache = _both(cores * attention.one / per_byte, memory)
    return Rate(
        _around(read, KERNEL_LOW, KERNEL_HIGH),
        _around(flops, KERNEL_LOW, KERNEL_HIGH),
        _around(cache, KERNEL_LOW, KERNEL_HIGH),
        _around(cores * attention.many, KERNEL_LOW, KERNEL_HIGH),
        CPU_LAYER_SECONDS,
        known=True,
    )


def weights_read(machine: Machine) -> float:
    """Bytes of Q4_K weights that the processor reads per second: what is said of one that is lent."""
    kernel = next((one for one in machine.engine.kernels if one.kind == "Q4_K"), None)
    memory = machine.memory.bandwidth_bytes_per_second
    if kernel is None or memory is None:
        return _cpu_bandwidth(machine)[0].expected
    return _both(max(1, machine.cpu.performance_cores) * kernel.one, memory)


def attention_flops(mix: Mix) -> float:
    """Multiplications and additions of one token's attention to one token before it."""
    a = mix.architecture
    # Compressed caches hold no values of their own: those are a part of the key's row.
    values = a.value_length or a.kv_lora_rank
    return 2.0 * a.layers * a.head_count * (a.key_length + values)


def gpu_rate(device: Device) -> Rate:
    """Speed of a GPU, from its bandwidth."""
    known = device.bandwidth_bytes_per_second is not None
    bandwidth = LENT_BANDWIDTH if device.backend == "RPC" else GPU_BANDWIDTH
    if device.bandwidth_bytes_per_second is not None:
        bandwidth = _around(device.bandwidth_bytes_per_second)
    stacked = _HBM.search(device.description) is not None
    efficiency = HBM_EFFICIENCY if stacked else _efficiency(device)
    per_byte = _FLOPS_PER_BYTE.get(device.vendor, _OTHER_FLOPS_PER_BYTE)
    if stacked:
        per_byte = _HBM_FLOPS_PER_BYTE
    elif device.unified and device.vendor != "apple":
        per_byte = _INTEGRATED_FLOPS_PER_BYTE
    read = Interval(
        bandwidth.low * efficiency * LOW_EFFICIENCY,
        bandwidth.expected * efficiency,
        bandwidth.high * efficiency * HIGH_EFFICIENCY,
    )
    flops = Interval(
        bandwidth.low * per_byte.low,
        bandwidth.expected * per_byte.expected,
        bandwidth.high * per_byte.high,
    )
    return Rate(
        read,
        flops,
        _times(read, GPU_CACHE_SHARE if stacked else 1.0),
        _times(flops, _GPU_ATTENTION_SHARE),
        CPU_LAYER_SECONDS if device.vendor == "cpu" else GPU_LAYER_SECONDS,
        known,
    )


def _assumed_cpu_rate(machine: Machine, kinds: tuple[Kind, ...], attention_per_byte: float) -> Rate:
    """From bandwidth and features.

    Reading is bound by memory, or by the cores where they are few or a type is slow to unpack.
    """
    cpu = machine.cpu
    cores = max(1, cpu.performance_cores)
    core_read = next((r for f, r in _CORE_READ_RATES if f in cpu.features), _SLOW_CORE_READ_RATE)
    core_flops = next((r for f, r in _CORE_FLOPS if f in cpu.features), _SLOW_CORE_FLOPS)
    speeds = {kind.name: _KERNEL_SPEED.get(kind.name, 1.0) for kind in kinds}
    bound = _harmonic([(k.size_bytes, cores * core_read * speeds[k.name]) for k in kinds])
    flops = _harmonic(
        [(k.layer_parameters, cores * core_flops * max(speeds[k.name], 0.4)) for k in kinds]
    )
    bandwidth, known = _cpu_bandwidth(machine)
    read = Interval(
        min(bandwidth.low * LOW_EFFICIENCY, bound * PROMPT_LOW),
        min(bandwidth.expected, bound),
        min(bandwidth.high * HIGH_EFFICIENCY, bound * PROMPT_HIGH),
    )
    points = _around(flops, PROMPT_LOW, PROMPT_HIGH)
    attention = _times(points, _ATTENTION_SHARE)
    cache = _times(attention, 1 / attention_per_byte)
    cache = Interval(
        min(cache.low, read.low), min(cache.expected, read.expected), min(cache.high, read.high)
    )
    return Rate(read, points, cache, attention, CPU_LAYER_SECONDS, known)


def _cpu_bandwidth(machine: Machine) -> tuple[Interval, bool]:
    """Bytes per second that weights are read with from main memory, and whether it is known."""
    measured = machine.memory.bandwidth_bytes_per_second
    if measured is not None:
        return _around(measured * CPU_EFFICIENCY), True
    shared = [d.bandwidth_bytes_per_second for d in machine.gpus if d.unified]
    nominal = max((value for value in shared if value is not None), default=None)
    if nominal is not None:
        return _around(nominal * INTEGRATED_EFFICIENCY), True
    large = machine.cpu.physical_cores >= SERVER_CORES
    return _times(SERVER_BANDWIDTH if large else CPU_BANDWIDTH, CPU_EFFICIENCY), False


def _efficiency(device: Device) -> float:
    if device.vendor == "cpu":
        return 1.0  # as `weights_read` has it
    if device.vendor == "apple":
        old = re.search(r"\bM[12] (Max|Ultra)\b", device.description)
        return OLD_APPLE_EFFICIENCY if old else APPLE_EFFICIENCY
    if device.unified:
        return INTEGRATED_EFFICIENCY
    return INTEL_EFFICIENCY if device.vendor == "intel" else GPU_EFFICIENCY


def _both(kernels: float, memory: float) -> float:
    """What is left of two limits that are reached at once: less than the lower one."""
    return 1 / math.hypot(1 / kernels, 1 / memory)


def _harmonic(parts: list[tuple[float, float]]) -> float:
    """The speed of a whole whose parts, by size, have speeds of their own."""
    seconds = sum(size / speed for size, speed in parts)
    return sum(size for size, _ in parts) / max(seconds, 1e-30)


def _around(value: float, low: float = 1.0, high: float = 1.0) -> Interval:
    return Interval(value * low, value, value * high)


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(interval.low * factor, interval.expected * factor, interval.high * factor)
