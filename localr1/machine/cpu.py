"""The processor: its name, its cores, and the instruction sets that llama.cpp uses."""

from __future__ import annotations

import platform
import struct
from typing import TYPE_CHECKING

from localr1.machine.cgroup import cpu_quota
from localr1.machine.host import ProbeError, parse_cpu_list, read_int
from localr1.machine.types import Cpu

if TYPE_CHECKING:
    from localr1.machine.host import Host

# Linux' word in /proc/cpuinfo -> llama.cpp's spelling (its system-info line).
_LINUX_FEATURES = {
    "pni": "SSE3",
    "ssse3": "SSSE3",
    "avx": "AVX",
    "avx2": "AVX2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "fma": "FMA",
    "f16c": "F16C",
    "bmi2": "BMI2",
    "asimd": "NEON",
    "asimdhp": "FP16_VA",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
    "sme": "SME",
}
# macOS: a sysctl that is 1, or a word of machdep.cpu.(leaf7_)features on Intel Macs.
_MACOS_FEATURES = {
    "hw.optional.neon": "NEON",
    "hw.optional.AdvSIMD": "NEON",
    "hw.optional.arm.FEAT_FP16": "FP16_VA",
    "hw.optional.arm.FEAT_DotProd": "DOTPROD",
    "hw.optional.arm.FEAT_I8MM": "MATMUL_INT8",
    "hw.optional.arm.FEAT_SME": "SME",
    "hw.optional.sse3": "SSE3",
    "hw.optional.supplementalsse3": "SSSE3",
    "hw.optional.avx1_0": "AVX",
    "hw.optional.avx2_0": "AVX2",
    "hw.optional.avx512f": "AVX512",
    "hw.optional.fma": "FMA",
    "hw.optional.f16c": "F16C",
    "hw.optional.bmi2": "BMI2",
}
# Numbers of IsProcessorFeaturePresent, from its page in Microsoft's documentation. Windows
# has none for FMA, F16C and BMI2.
_WINDOWS_FEATURES = {
    13: "SSE3",
    36: "SSSE3",
    39: "AVX",
    40: "AVX2",
    41: "AVX512",
    43: "DOTPROD",
    46: "SVE",
}
# Linux has no marketing names for Arm cores; the part numbers are those of Arm's and
# the vendors' technical reference manuals (as in util-linux' lscpu).
_ARM_PARTS = {
    ("0x41", "0xd08"): "Arm Cortex-A72",
    ("0x41", "0xd0b"): "Arm Cortex-A76",
    ("0x41", "0xd0c"): "Arm Neoverse N1",
    ("0x41", "0xd40"): "Arm Neoverse V1",
    ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd4f"): "Arm Neoverse V2",
    ("0x41", "0xd85"): "Arm Cortex-X925",
    ("0x61", "0x022"): "Apple M1",
    ("0x61", "0x023"): "Apple M1",
    ("0xc0", "0xac3"): "Ampere-1",
}
# Turbo bins of equal Intel cores differ by a few percent, efficiency cores by a quarter or
# more. Arm's middle cores have about 0.7 of the fastest core's capacity, its little ones 0.5.
_FAST_FREQUENCY_SHARE = 0.85
_FAST_CAPACITY_SHARE = 0.6
_CPU = "/sys/devices/system/cpu"
_WINDOWS_CPU_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"


def probe(host: Host) -> Cpu:
    """Return the processor of a Linux, macOS or Windows computer.

    Core counts are those this process may use: CPU affinity and a container's quota count.

    Raises:
        ProbeError: A program that macOS always has does not answer.
    """
    if host.system == "Linux":
        return _linux(host)
    if host.system == "Darwin":
        return _macos(host)
    return _other(host)


def fallback(host: Host) -> Cpu:
    """Return the little that is known without looking: used when the probe fails."""
    import os  # noqa: PLC0415  # only here

    cores = os.cpu_count() or 1
    return Cpu(platform.processor() or host.architecture or "CPU", cores, cores, cores, ())


def _linux(host: Host) -> Cpu:
    fields = _cpuinfo(host.read_text("/proc/cpuinfo") or "")
    words = set((fields.get("flags") or fields.get("Features") or "").split())
    logical, physical, fast = _linux_cores(host, fields)
    quota = cpu_quota(host)
    if quota is not None:
        share = max(1, int(quota))
        logical, physical, fast = min(logical, share), min(physical, share), min(fast, share)
    name = fields.get("model name") or _arm_name(host, fields) or host.architecture or "CPU"
    features = tuple(label for word, label in _LINUX_FEATURES.items() if word in words)
    return Cpu(" ".join(name.split()), physical, logical, fast, features, _numa_nodes(host))


def _numa_nodes(host: Host) -> int:
    names = host.list_directory("/sys/devices/system/node")
    return max(1, sum(name.startswith("node") and name[4:].isdigit() for name in names))


def _cpuinfo(text: str) -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _arm_name(host: Host, fields: dict[str, str]) -> str:
    part = (fields.get("CPU implementer", ""), fields.get("CPU part", ""))
    board = (host.read_text("/proc/device-tree/model") or "").strip("\0 \n")
    return _ARM_PARTS.get(part, "") or board


def _linux_cores(host: Host, fields: dict[str, str]) -> tuple[int, int, int]:
    """Return logical, physical and fast cores among the CPUs this process may use."""
    allowed = host.cpu_affinity()
    if not allowed:
        logical = host.cpu_count(logical=True) or 1
        allowed = frozenset(range(logical))
    cores: dict[tuple[int, int] | str, list[int]] = {}
    for cpu in sorted(allowed):
        core = read_int(host, f"{_CPU}/cpu{cpu}/topology/core_id")
        package = read_int(host, f"{_CPU}/cpu{cpu}/topology/physical_package_id")
        # On Arm with a device tree the numbers begin anew in every cluster (the kernel's
        # drivers/base/arch_topology.c); who shares a core is listed everywhere.
        siblings = (host.read_text(f"{_CPU}/cpu{cpu}/topology/thread_siblings_list") or "").strip()
        # Without a topology every CPU is its own core.
        key = siblings or ((-1, cpu) if core is None else (package or 0, core))
        cores.setdefault(key, []).append(cpu)
    fast_cpus = _fast_cpus(host, allowed, fields.get("vendor_id", ""))
    fast = sum(any(cpu in fast_cpus for cpu in members) for members in cores.values())
    return len(allowed), len(cores), fast or len(cores)


def _fast_cpus(host: Host, allowed: frozenset[int], vendor: str) -> frozenset[int]:
    """Return the CPUs of performance cores; all of them where there is one kind.

    Three sources, the surest first: the performance-monitoring unit that the kernel
    registers for Intel's P-cores, Arm's capacity (1024 is the fastest core), and on Intel
    the top frequency. AMD's compact cores run the same code at a lower clock and stay in.
    """
    pmu = host.read_text("/sys/devices/cpu_core/cpus")
    if pmu:
        return parse_cpu_list(pmu) & allowed
    path, share = "cpu_capacity", _FAST_CAPACITY_SHARE
    if vendor == "GenuineIntel":
        path, share = "cpufreq/cpuinfo_max_freq", _FAST_FREQUENCY_SHARE
    figures = {cpu: read_int(host, f"{_CPU}/cpu{cpu}/{path}") for cpu in allowed}
    known = {cpu: figure for cpu, figure in figures.items() if figure}
    if len(known) < len(allowed):
        return allowed
    top = max(known.values())
    return frozenset(cpu for cpu, figure in known.items() if figure >= share * top)


def _macos(host: Host) -> Cpu:
    values = _cpuinfo(host.run("sysctl", "-a"))
    physical = _whole(values.get("hw.physicalcpu")) or host.cpu_count(logical=False) or 1
    logical = _whole(values.get("hw.logicalcpu")) or host.cpu_count(logical=True) or physical
    # Level 0 is the fastest kind of core; Intel Macs have no levels.
    fast = _whole(values.get("hw.perflevel0.physicalcpu")) or physical
    words = " ".join(
        values.get(key, "") for key in ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    ).split()
    features = [label for name, label in _MACOS_FEATURES.items() if values.get(name) == "1"] + [
        word for word in ("FMA", "F16C", "BMI2") if word in words
    ]
    name = values.get("machdep.cpu.brand_string") or host.architecture
    return Cpu(name, physical, logical, fast, tuple(dict.fromkeys(features)))


def _other(host: Host) -> Cpu:
    logical = host.cpu_count(logical=True) or 1
    physical = host.cpu_count(logical=False) or logical
    classes = efficiency_classes(host.processor_relations())
    # Windows gives faster cores the higher class; with one kind all are class 0.
    fast = classes.count(max(classes)) if classes else physical
    features = [
        label for number, label in _WINDOWS_FEATURES.items() if host.processor_feature(number)
    ]
    if host.architecture.lower() in ("arm64", "aarch64"):
        features.insert(0, "NEON")
    name = host.registry_value(_WINDOWS_CPU_KEY, "ProcessorNameString")
    text = name.strip("\0 ") if isinstance(name, str) else ""
    return Cpu(text or platform.processor() or "CPU", physical, logical, fast, tuple(features))


def efficiency_classes(relations: bytes) -> tuple[int, ...]:
    """Return each core's efficiency class from `GetLogicalProcessorInformationEx`.

    A record is: relation (4 bytes, 0 is a core), size (4 bytes), flags (1), class (1), ...;
    see SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX in Microsoft's documentation.

    Raises:
        ProbeError: The records are cut short.
    """
    classes: list[int] = []
    offset = 0
    while offset < len(relations):
        if len(relations) - offset < 10:
            raise ProbeError("Windows' list of processor cores is cut short.")
        relation, size = struct.unpack_from("<II", relations, offset)
        if size < 10:
            raise ProbeError("Windows' list of processor cores is damaged.")
        if relation == 0:
            classes.append(relations[offset + 9])
        offset += size
    return tuple(classes)


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
