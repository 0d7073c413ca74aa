"""One list of devices from two: what the system has, and what llama.cpp lists.

Pure functions. The engine's list decides what can be used; the system's list adds what
the engine does not say (vendor, bandwidth, whether memory is shared) and the graphics
processors that the engine cannot use, each with the reason.
"""

from __future__ import annotations

import re

from localr1.machine.gpu_table import bandwidth_of, vendor_of, words_of
from localr1.machine.types import Device, EngineDevice, EngineInfo, Machine, System, SystemGpu

# The vendor whose cards a backend drives; other backends (Vulkan, OpenCL) drive several.
_BACKEND_VENDORS = {
    "CUDA": "nvidia",
    "ROCm": "amd",
    "HIP": "amd",
    "SYCL": "intel",
    "Metal": "apple",
}
# Spellings in device names and build lists -> one name for people.
_BACKEND_NAMES = {"mtl": "Metal", "metal": "Metal", "cuda": "CUDA", "rocm": "ROCm", "hip": "ROCm"}
# These compute in main memory or on another computer; none of them drives a GPU here.
_NOT_GPU_BACKENDS = frozenset(("CPU", "BLAS", "RPC", "AMX", "Accelerate"))
_VENDOR_NAMES = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "apple": "Apple"}
_SAME_MEMORY_SHARE = 0.1
OUT_OF_REACH = "out of reach"
"""How the reason of a device begins for which nothing can or should be done."""


def reconcile(system: System, engine: EngineInfo) -> Machine:
    """Return the computer as its system and llama.cpp describe it together.

    The CPU's device comes first, then the engine's GPUs in its own order, then the GPUs
    that the engine cannot use. A GPU that two backends list is usable through the first.
    An engine that does not start uses nothing: every device carries its reason.
    """
    listed = () if engine.problem else tuple(d for d in engine.devices if _is_gpu(d))
    matches = matched(listed, system.gpus)
    devices = [_cpu_device(system, engine)]
    owners: dict[int, str] = {}
    for device in listed:
        index = matches.get(device.name)
        twin = "" if index is None else owners.setdefault(index, device.name)
        gpu = None if index is None else system.gpus[index]
        devices.append(_engine_device(system, device, gpu, twin))
    for index, gpu in enumerate(system.gpus):
        if index not in owners:
            devices.append(_unusable_device(system, gpu, engine, devices))
    return Machine(
        operating_system=system.operating_system,
        cpu=system.cpu,
        memory=system.memory,
        devices=tuple(devices),
        engine=engine,
        power=system.power,
        problems=system.problems,
    )


def distinct_memory_bytes(machine: Machine) -> int:
    """Return the memory that models can live in, each byte counted once.

    Main memory, and the own memory of every GPU that the engine can use: what a GPU
    shares with the processor is main memory already.
    """
    dedicated = sum(device.total_bytes for device in machine.gpus if not device.unified)
    return machine.memory.total_bytes + dedicated


def backend_of(name: str) -> str:
    """Return the backend of an engine device: `CUDA` of `CUDA0`, `Metal` of `MTL0`."""
    stem = re.sub(r"[\d:]+.*$", "", name) or name
    return _BACKEND_NAMES.get(stem.lower(), stem)


def gpu_backends(engine: EngineInfo) -> tuple[str, ...]:
    """Return the backends for GPUs that a build has, whether or not they found one."""
    names = dict.fromkeys(backend_of(name) for name in (*engine.backends, *engine.compiled))
    return tuple(name for name in names if name not in _NOT_GPU_BACKENDS)


def drives(backend: str, vendor: str) -> bool:
    """Whether a backend can use a vendor's GPUs at all."""
    return _BACKEND_VENDORS.get(backend, vendor) == vendor


def _is_gpu(device: EngineDevice) -> bool:
    # Accelerators (BLAS, AMX) have no memory of their own: they work in the CPU's.
    return device.kind in ("gpu", "igpu")


def _cpu_device(system: System, engine: EngineInfo) -> Device:
    return Device(
        name="CPU",
        description=system.cpu.name,
        kind="cpu",
        vendor="",
        backend="" if engine.problem else "CPU",
        total_bytes=system.memory.total_bytes,
        free_bytes=system.memory.available_bytes,
        unified=False,
        bandwidth_bytes_per_second=system.memory.bandwidth_bytes_per_second,
        usable_by_engine=not engine.problem,
        reason=_engine_problem(engine) if engine.problem else "main memory",
    )


def _engine_device(
    system: System, device: EngineDevice, gpu: SystemGpu | None, twin: str
) -> Device:
    """Describe a GPU that the engine lists; `twin` is the name it is already known by."""
    backend = backend_of(device.name)
    total_bytes = device.total_bytes or (gpu.total_bytes if gpu else None) or 0
    free_bytes = device.free_bytes
    if not device.total_bytes:
        free_bytes = total_bytes if gpu is None or gpu.free_bytes is None else gpu.free_bytes
    unified = gpu.unified if gpu else device.kind == "igpu" or backend == "Metal"
    if device.kind == "igpu" and gpu and not unified and gpu.total_bytes:
        # Vulkan counts main memory that a processor's graphics may use to their own: with the larger
        # part shared all of it is taken for main memory, else the own part alone counts.
        unified = total_bytes > 2 * gpu.total_bytes
        total_bytes = total_bytes if unified else min(total_bytes, gpu.total_bytes)
    bandwidth = gpu.bandwidth_bytes_per_second if gpu else None
    if bandwidth is None and backend != "RPC":
        bandwidth = bandwidth_of(device.description, None if unified else total_bytes)
    if unified:
        # The engine does not see what other programs hold of main memory.
        total_bytes = min(total_bytes, system.memory.total_bytes)
        free_bytes = min(free_bytes, system.memory.available_bytes)
        bandwidth = bandwidth or system.memory.bandwidth_bytes_per_second
    usable = twin in ("", device.name)
    return Device(
        name=device.name,
        description=device.description or (gpu.name if gpu else device.name),
        kind="igpu" if unified else device.kind,
        vendor=gpu.vendor if gpu else _vendor(device),
        backend=backend,
        total_bytes=total_bytes,
        free_bytes=min(free_bytes, total_bytes),
        unified=unified,
        bandwidth_bytes_per_second=bandwidth,
        usable_by_engine=usable,
        reason=_usable_reason(backend, unified=unified)
        if usable
        else f"the same card as {twin}, through another backend",
        users=gpu.users if gpu else (),
        capability=gpu.capability if gpu else "",
        runtime=gpu.runtime if gpu else "",
    )


def _usable_reason(backend: str, *, unified: bool) -> str:
    if backend == "RPC":
        return "memory of another llama.cpp, over the network"
    return f"{backend}, shares main memory" if unified else backend


def _unusable_device(
    system: System, gpu: SystemGpu, engine: EngineInfo, known: list[Device]
) -> Device:
    total_bytes = gpu.total_bytes or 0
    if gpu.unified:
        total_bytes = min(total_bytes, system.memory.total_bytes)
    free_bytes = total_bytes if gpu.free_bytes is None else min(gpu.free_bytes, total_bytes)
    if gpu.unified:
        free_bytes = min(free_bytes, system.memory.available_bytes)
    names = {device.name for device in known}
    name, number = gpu.name, 2
    while name in names:
        name, number = f"{gpu.name} #{number}", number + 1
    return Device(
        name=name,
        description=gpu.name,
        kind="igpu" if gpu.unified else "gpu",
        vendor=gpu.vendor,
        backend="",
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        unified=gpu.unified,
        bandwidth_bytes_per_second=gpu.bandwidth_bytes_per_second,
        usable_by_engine=False,
        reason=_unusable_reason(gpu, engine),
        capability=gpu.capability,
        runtime=gpu.runtime,
    )


def _unusable_reason(gpu: SystemGpu, engine: EngineInfo) -> str:
    if gpu.out_of_reach:
        return f"{OUT_OF_REACH}: {gpu.problem}"
    # An engine that is mended does not mend the card's driver.
    if gpu.problem:
        return f"the driver does not work: {gpu.problem}"
    if engine.problem:
        return _engine_problem(engine)
    backends = gpu_backends(engine)
    if not backends:
        return "llama.cpp was built without GPU support"
    if not any(drives(name, gpu.vendor) for name in backends):
        vendor = _VENDOR_NAMES.get(gpu.vendor, "such")
        return f"llama.cpp was built for {', '.join(backends)}, which does not use {vendor} GPUs"
    heard = f": {engine.words}" if engine.words else ""
    return f"llama.cpp ({', '.join(backends)}) does not list it{heard}"


def _engine_problem(engine: EngineInfo) -> str:
    return f"llama.cpp does not start: {engine.problem}"


def matched(listed: tuple[EngineDevice, ...], gpus: tuple[SystemGpu, ...]) -> dict[str, int]:
    """Pair the engine's devices with the system's GPUs, the likeliest pairs first.

    Returns:
        The place of each device's GPU, by the device's name.

    Within one backend a GPU is used once; two backends may list the same GPU.
    """
    pairs = sorted(
        (-score, place, index)
        for place, device in enumerate(listed)
        for index, gpu in enumerate(gpus)
        if (score := _likeness(device, gpu)) > 0
    )
    matches: dict[str, int] = {}
    taken: set[tuple[str, int]] = set()
    for _, place, index in pairs:
        device = listed[place]
        use = (backend_of(device.name), index)
        if device.name not in matches and use not in taken:
            matches[device.name] = index
            taken.add(use)
    return matches


def _likeness(device: EngineDevice, gpu: SystemGpu) -> float:
    """Return how likely both are the same GPU: 0 for not at all.

    The vendor must agree; then shared words of the names, the memory, and whether it is
    shared decide. Scores only rank pairs, their scale has no meaning.
    """
    vendor = _vendor(device)
    if backend_of(device.name) == "RPC":
        return 0.0
    if vendor != gpu.vendor and "unknown" not in (vendor, gpu.vendor):
        return 0.0
    ours, theirs = set(words_of(device.description)), set(words_of(gpu.name))
    score = 0.1 + len(ours & theirs) / max(1, len(ours | theirs))
    if gpu.total_bytes and device.total_bytes:
        difference = abs(gpu.total_bytes - device.total_bytes)
        score += 0.5 if difference <= _SAME_MEMORY_SHARE * gpu.total_bytes else 0.0
    if (device.kind == "igpu") == gpu.unified:
        score += 0.5
    return score


def _vendor(device: EngineDevice) -> str:
    named = vendor_of(device.description)
    if named != "unknown":
        return named
    return _BACKEND_VENDORS.get(backend_of(device.name), "unknown")
