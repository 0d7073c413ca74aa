"""How fast processors read weights and compute: the constants of the speed estimate.

Measured figures named here are user reports collected with the R1 models: `tests/` holds
them and checks that the estimate's interval contains each. What nobody measured is marked
as assumed and gets a wide interval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from localr1.fit.types import Interval
from localr1.machine.types import Device, Machine

GPU_EFFICIENCY = 0.70
"""Share of nominal bandwidth that token generation reaches on desktop NVIDIA and AMD cards.

tok/s times bytes read over bandwidth: RTX 5070 0.72, RTX 2080 0.75, RTX 3080 0.69, RTX 3090
0.56 to 0.60 (with 32k context), RX 7900 XT 0.67 to 0.75, RX 7800 XT 0.77.
"""
APPLE_EFFICIENCY = 0.75
"""M4 Pro 0.79."""
OLD_APPLE_EFFICIENCY = 0.55
"""M1 Max 0.53; taken for Max and Ultra of the first two generations."""
INTEGRATED_EFFICIENCY = 0.62
"""Radeon 890M 0.64."""
INTEL_EFFICIENCY = 0.45
"""Assumed: no report for Arc cards that surely ran on the card."""
CPU_EFFICIENCY = 0.75
"""Of *measured* read bandwidth: 1.5B Q4_K_M generates 36 tokens/s with 2 threads where 47 GB/s
were measured. (Of nominal bandwidth it is 0.62: Ryzen AI 9 HX 370 0.63 to 0.67.)"""
LOW_EFFICIENCY, HIGH_EFFICIENCY = 0.78, 1.20
"""Spread around the efficiencies, of cards in the list above."""

TOKEN_SECONDS = Interval(0.0003, 0.001, 0.003)
"""Time per token that no bandwidth explains: kernel launches, sampling. Assumed; 1.5B models on
fast cards show it."""

PROMPT_TOKEN_SECONDS = 20e-6
"""Time per prompt token that no computing explains; only tiny models show it. Assumed."""

GPU_BANDWIDTH = Interval(80e9, 250e9, 900e9)
"""A GPU in no table: from an entry-level card to a fast one."""
CPU_BANDWIDTH = Interval(18e9, 32e9, 75e9)
"""Main memory that nobody measured: one channel of DDR4, two, or two of DDR5, as read."""
SERVER_BANDWIDTH = Interval(40e9, 110e9, 350e9)
"""The same with `SERVER_CORES` cores and more: four to twelve channels."""
SERVER_CORES = 24
DISK_BYTES_PER_SECOND = 2e9
"""Reading pages of a mapped file back from an NVMe disk; assumed."""
PCIE_BYTES_PER_SECOND = 12e9
"""Sending weights to a GPU for long prompts; PCIe 4.0 with 8 lanes, assumed."""

_CORE_READ_RATES = (("AVX512", 18e9), ("AVX2", 12e9), ("DOTPROD", 10e9), ("NEON", 6e9))
_SLOW_CORE_READ_RATE = 2e9
# Points per second on one core, as multiply-adds times two. Reports: HX 370 62e9 (12 threads,
# AVX512), Snapdragon 8 Elite 100e9 (MATMUL_INT8), 8 Gen 2 70e9; AVX2 and below assumed.
_CORE_FLOPS = (
    ("AVX512", 60e9),
    ("MATMUL_INT8", 75e9),
    ("AVX2", 45e9),
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
# Prompt processing per byte of bandwidth. Reports: Radeon 7800 XT 48, 890M 12; others assumed.
_FLOPS_PER_BYTE = {
    "nvidia": Interval(40, 85, 180),
    "amd": Interval(20, 45, 80),
    "apple": Interval(13, 20, 30),
    "intel": Interval(10, 25, 60),
}
_INTEGRATED_FLOPS_PER_BYTE = Interval(6, 11, 25)
_OTHER_FLOPS_PER_BYTE = Interval(8, 25, 80)
PROMPT_LOW, PROMPT_HIGH = 0.5, 2.0
"""Spread of the CPU's prompt speed."""


@dataclass(frozen=True)
class Rate:
    """How fast one device works."""

    read: Interval
    """Bytes of weights and KV cache per second while generating."""
    flops: Interval
    """Multiplications and additions per second while processing a prompt."""
    known: bool
    """Whether the bandwidth was measured or looked up, not assumed."""


def cpu_rate(machine: Machine, tensor_type: str) -> Rate:
    """Speed of the processor with weights of a type.

    Reading is bound by memory, or by the cores where they are few or the type is slow to
    unpack.
    """
    cpu = machine.cpu
    cores = max(1, cpu.performance_cores)
    kernel = _KERNEL_SPEED.get(tensor_type, 1.0)
    core_read = next((r for f, r in _CORE_READ_RATES if f in cpu.features), _SLOW_CORE_READ_RATE)
    core_flops = next((r for f, r in _CORE_FLOPS if f in cpu.features), _SLOW_CORE_FLOPS)
    bound = cores * core_read * kernel
    bandwidth, known = _cpu_bandwidth(machine)
    read = Interval(
        min(bandwidth.low * LOW_EFFICIENCY, bound * PROMPT_LOW),
        min(bandwidth.expected, bound),
        min(bandwidth.high * HIGH_EFFICIENCY, bound * PROMPT_HIGH),
    )
    flops = cores * core_flops * max(kernel, 0.4)
    return Rate(read, Interval(flops * PROMPT_LOW, flops, flops * PROMPT_HIGH), known)


def gpu_rate(device: Device) -> Rate:
    """Speed of a GPU, from its bandwidth."""
    known = device.bandwidth_bytes_per_second is not None
    bandwidth = GPU_BANDWIDTH
    if device.bandwidth_bytes_per_second is not None:
        bandwidth = _same(device.bandwidth_bytes_per_second)
    efficiency = _efficiency(device)
    per_byte = _FLOPS_PER_BYTE.get(device.vendor, _OTHER_FLOPS_PER_BYTE)
    if device.unified and device.vendor != "apple":
        per_byte = _INTEGRATED_FLOPS_PER_BYTE
    return Rate(
        Interval(
            bandwidth.low * efficiency * LOW_EFFICIENCY,
            bandwidth.expected * efficiency,
            bandwidth.high * efficiency * HIGH_EFFICIENCY,
        ),
        Interval(
            bandwidth.low * per_byte.low,
            bandwidth.expected * per_byte.expected,
            bandwidth.high * per_byte.high,
        ),
        known,
    )


def _cpu_bandwidth(machine: Machine) -> tuple[Interval, bool]:
    """Bytes per second that weights are read with from main memory, and whether it is known."""
    measured = machine.memory.bandwidth_bytes_per_second
    if measured is not None:
        return _same(measured * CPU_EFFICIENCY), True
    shared = [d.bandwidth_bytes_per_second for d in machine.gpus if d.unified]
    nominal = max((value for value in shared if value is not None), default=None)
    if nominal is not None:
        return _same(nominal * INTEGRATED_EFFICIENCY), True
    large = machine.cpu.physical_cores >= SERVER_CORES
    assumed = SERVER_BANDWIDTH if large else CPU_BANDWIDTH
    return (
        Interval(
            assumed.low * CPU_EFFICIENCY,
            assumed.expected * CPU_EFFICIENCY,
            assumed.high * CPU_EFFICIENCY,
        ),
        False,
    )


def _efficiency(device: Device) -> float:
    if device.vendor == "apple":
        old = re.search(r"\bM[12] (Max|Ultra)\b", device.description)
        return OLD_APPLE_EFFICIENCY if old else APPLE_EFFICIENCY
    if device.unified:
        return INTEGRATED_EFFICIENCY
    return INTEL_EFFICIENCY if device.vendor == "intel" else GPU_EFFICIENCY


def _same(value: float) -> Interval:
    return Interval(value, value, value)
