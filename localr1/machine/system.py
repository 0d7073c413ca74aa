"""Looking at the computer: every probe in a thread of its own, with a time limit."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from localr1.machine import (
    cpu,
    gpu_amd,
    gpu_apple,
    gpu_intel,
    gpu_nvidia,
    gpu_windows,
    memory,
    power,
)
from localr1.machine.bandwidth import (
    cached_bandwidth,
    measure_bandwidth,
    measured_enough,
    remember_bandwidth,
)
from localr1.machine.busy import BUSY_LOAD, load_share
from localr1.machine.cgroup import in_container
from localr1.machine.findings import Findings
from localr1.machine.host import Host
from localr1.machine.types import Cpu, Memory, Power, System, SystemGpu

LIMIT_SECONDS = 3.0
"""How long all probes together may take; one that hangs is left behind and named."""

_GPU_PROBES: dict[str, Callable[[Host], Findings]] = {
    "NVIDIA cards": gpu_nvidia.probe,
    "AMD graphics": gpu_amd.probe,
    "Intel graphics": gpu_intel.probe,
    "Apple graphics": gpu_apple.probe,
    "Windows' display adapters": gpu_windows.probe,
}
_T = TypeVar("_T")


def detect(
    host: Host | None = None,
    *,
    measure: bool = False,
    cache_dir: Path | None = None,
    limit_seconds: float = LIMIT_SECONDS,
) -> System:
    """Return what the operating system says about the computer.

    No probe can raise or hang it: what one could not find out is a sentence in `problems`.

    Args:
        host: The computer; this one by default.
        measure: Measure the memory's bandwidth until the cache has five figures from when the
            computer was calm, of which the best counts (about 0.6 s each time).
        cache_dir: Where that figure is kept between runs.
        limit_seconds: How long the probes may take together; measuring comes on top.
    """
    host = host or Host()
    probes: dict[str, Callable[[Host], object]] = {
        "the processor": cpu.probe,
        "main memory": memory.probe,
        "the battery": power.probe,
        **_GPU_PROBES,
    }
    found, problems = _run_all(probes, host, limit_seconds)
    processor = _typed(found.get("the processor"), Cpu, cpu.fallback(host))
    ram = _typed(found.get("main memory"), Memory, Memory(0, 0))
    state = _typed(found.get("the battery"), Power, Power(None, None))
    findings = {name: _typed(found.get(name), Findings, Findings()) for name in _GPU_PROBES}
    if measure or cache_dir is not None:
        ram, problem = _with_bandwidth(ram, processor, measure=measure, cache_dir=cache_dir)
        problems += problem
    return System(
        operating_system=_named(host),
        cpu=processor,
        memory=ram,
        gpus=_merged(findings),
        power=state,
        problems=(*problems, *(text for one in findings.values() for text in one.problems)),
    )


def _named(host: Host) -> str:
    """Return the system's name for people, and whether it is a container or Windows' Linux."""
    words = [host.system, host.release, host.architecture]
    if in_container(host):
        words.append("(container)")
    elif "microsoft" in host.release.lower() or "dxg" in host.list_directory("/dev"):
        words.append("(WSL)")
    return " ".join(filter(None, words))


def _run_all(
    probes: dict[str, Callable[[Host], object]], host: Host, limit_seconds: float
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Run probes side by side; return what they found, and a sentence for each that failed."""
    answers: queue.SimpleQueue[tuple[str, object, str]] = queue.SimpleQueue()

    def work(name: str, probe: Callable[[Host], object]) -> None:
        try:
            answers.put((name, probe(host), ""))
        except Exception as error:  # noqa: BLE001  # whatever one probe meets, the others go on
            words = str(error).strip() or type(error).__name__
            answers.put((name, None, words if words.endswith(".") else f"{words}."))

    for name, probe in probes.items():
        # Daemon threads: one that hangs in a driver must not keep the program from ending.
        threading.Thread(target=work, args=(name, probe), name=name, daemon=True).start()
    deadline = time.monotonic() + limit_seconds
    found: dict[str, object] = {}
    failures: dict[str, str] = {}
    while len(found) + len(failures) < len(probes):
        try:
            name, value, failure = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if failure:
            failures[name] = f"Looking at {name} failed: {failure}"
        else:
            found[name] = value
    for name in probes:
        if name not in found and name not in failures:
            failures[name] = f"Looking at {name} did not end within {limit_seconds:g} s."
    return found, tuple(failures[name] for name in probes if name in failures)


def _typed(value: object, kind: type[_T], otherwise: _T) -> _T:
    return value if isinstance(value, kind) else otherwise


def _merged(findings: dict[str, Findings]) -> tuple[SystemGpu, ...]:
    """Join the vendors' cards with Windows' list, which names most of them again."""
    named = [
        gpu
        for name, one in findings.items()
        if name != "Windows' display adapters"
        for gpu in one.gpus
    ]
    listed = list(findings["Windows' display adapters"].gpus)
    if any(gpu.vendor == "nvidia" for gpu in named):
        listed = [gpu for gpu in listed if gpu.vendor != "nvidia" or gpu.problem]
    else:
        trouble = " ".join(findings["NVIDIA cards"].problems) or gpu_nvidia.NO_ANSWER
        listed = [
            replace(gpu, problem=gpu.problem or trouble) if gpu.vendor == "nvidia" else gpu
            for gpu in listed
        ]
    # Cards before the graphics of processors, each kind in the order the system gives.
    return tuple(sorted([*named, *listed], key=lambda gpu: gpu.unified))


def _with_bandwidth(
    ram: Memory, processor: Cpu, *, measure: bool, cache_dir: Path | None
) -> tuple[Memory, tuple[str, ...]]:
    name = processor.name
    busy = load_share() >= BUSY_LOAD
    enough = cache_dir is not None and measured_enough(cache_dir, name, busy=busy)
    if measure and not enough:
        try:
            # A sixteenth of what is free: measuring must not push anything out.
            measured = measure_bandwidth(
                threads=min(16, processor.logical_cores), memory_bytes=ram.available_bytes // 16
            )
        except (MemoryError, OSError, RuntimeError) as error:
            words = str(error) or type(error).__name__
            return ram, (f"The memory's bandwidth was not measured: {words}.",)
        if cache_dir is None:
            return replace(ram, bandwidth_bytes_per_second=measured.likely), ()
        remember_bandwidth(cache_dir, name, measured)
        ram = replace(ram, bandwidth_bytes_per_second=measured.likely)
    best = cached_bandwidth(cache_dir, name) if cache_dir is not None else None
    return replace(ram, bandwidth_bytes_per_second=best or ram.bandwidth_bytes_per_second), ()
