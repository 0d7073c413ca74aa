"""A machine that is not there: the flags `--ram`, `--gpu` and `--gpu-memory`."""

from __future__ import annotations

import re
from dataclasses import replace

from localr1.errors import ProfileError
from localr1.machine.gpu_apple import working_set_bytes
from localr1.machine.gpu_table import (
    find_cards,
    is_laptop,
    meant_cards,
    nearest_names,
    shown_name,
    vendor_of,
)
from localr1.machine.types import Device, Machine, Memory

_COUNTED = re.compile(r"(.*?)\s*(?:\s[x\N{MULTIPLICATION SIGN}]\s*(\d+))?", re.IGNORECASE)
_COUNT_FIRST = re.compile(r"(\d+)\s*[x\N{MULTIPLICATION SIGN}]\s+(.*)", re.IGNORECASE)
_MOST_GPUS = 16
# Intel's graphics within a processor; those that the table has (Arc 140V) are known by it.
_INTEGRATED_INTEL = re.compile(
    r"\b(u?hd graphics|uhd|iris( plus| pro| xe)?( graphics)?|intel( \(r\)|\(r\))? graphics)\b(?!.*\bmax\b)",
    re.IGNORECASE,
)
# The backend that serves a vendor's cards best with one build of llama.cpp.
_BACKENDS = {"nvidia": "CUDA", "apple": "Metal"}
_OTHER_BACKEND = "Vulkan"


def what_if(
    machine: Machine,
    ram_bytes: int | None = None,
    gpu: str | None = None,
    gpu_memory_bytes: int | None = None,
) -> Machine:
    """Return the machine with other memory or other GPUs, of the same form.

    Args:
        machine: What was detected, or a profile.
        ram_bytes: Main memory; what is in use stays in use, at most a quarter of it.
        gpu: `RTX 4090`, `RTX 4090 x2`, `RTX 3060 8GB`, `RTX 4070 Laptop`, `M3 Max`, or
            `none`; it replaces every GPU and is taken as usable by the engine.
        gpu_memory_bytes: Memory of each GPU, named or detected.

    Raises:
        ProfileError: The GPU is not in the table and its memory is not given, or there is
            no GPU for the given memory.
    """
    if ram_bytes is not None:
        machine = _with_ram(machine, ram_bytes)
    if gpu is not None:
        return _with_gpus(machine, gpu, gpu_memory_bytes)
    if gpu_memory_bytes is not None:
        return _with_gpu_memory(machine, gpu_memory_bytes)
    return machine


def _with_ram(machine: Machine, ram_bytes: int) -> Machine:
    before = machine.memory
    used = min(max(0, before.total_bytes - before.available_bytes), ram_bytes // 4)
    memory = Memory(ram_bytes, ram_bytes - used, before.bandwidth_bytes_per_second)
    devices: list[Device] = []
    for device in machine.devices:
        if device.kind == "cpu":
            devices.append(
                replace(device, total_bytes=ram_bytes, free_bytes=memory.available_bytes)
            )
        elif device.unified:
            # A GPU that shares main memory keeps its share of it.
            share = device.total_bytes * ram_bytes // max(1, before.total_bytes)
            total = (
                working_set_bytes(ram_bytes) if device.vendor == "apple" else min(share, ram_bytes)
            )
            free = min(total, memory.available_bytes)
            devices.append(replace(device, total_bytes=total, free_bytes=free))
        else:
            devices.append(device)
    return replace(machine, memory=memory, devices=tuple(devices))


def _with_gpus(machine: Machine, text: str, memory_bytes: int | None) -> Machine:
    others = tuple(device for device in machine.devices if device.kind == "cpu")
    if text.strip().lower() in ("none", "no", "0"):
        if memory_bytes is not None:
            raise ProfileError("--gpu none has no memory.", "", "Leave --gpu-memory out.")
        return replace(machine, devices=others)
    name, count = _counted(text)
    device = _named_gpu(machine, name, memory_bytes)
    gpus = tuple(
        replace(device, name=device.backend if device.unified else f"{device.backend}{number}")
        for number in range(count)
    )
    if device.unified:
        machine = _of_chip(machine)
    return replace(machine, devices=(*others, *gpus))


def _of_chip(machine: Machine) -> Machine:
    """The machine with another processor: what was measured with its own does not hold there."""
    memory = replace(machine.memory, bandwidth_bytes_per_second=None)
    engine = replace(machine.engine, kernels=())
    return replace(machine, memory=memory, engine=engine, corrections=())


def _counted(text: str) -> tuple[str, int]:
    """Split `RTX 4090 x2` (or `2x RTX 4090`) into the name and the number of cards."""
    text = " ".join(text.split())
    first = _COUNT_FIRST.fullmatch(text)
    last = _COUNTED.fullmatch(text)
    name, number = text, "1"
    if first is not None:
        number, name = first.group(1), first.group(2)
    elif last is not None:
        name, number = last.group(1), last.group(2) or "1"
    if not name or len(number) > 3 or not 1 <= int(number) <= _MOST_GPUS:
        raise ProfileError(
            f"{text!r} names no GPUs.",
            f"A name is needed, and at most {_MOST_GPUS} of them.",
            'Write it as "RTX 4090" or "RTX 4090 x2".',
        )
    return name, int(number)


def _named_gpu(machine: Machine, name: str, memory_bytes: int | None) -> Device:
    cards = meant_cards(name)
    if not cards and _INTEGRATED_INTEL.search(name):
        raise ProfileError(
            f"{name!r} has no memory of its own: it uses the computer's.",
            "It reads that no faster than the processor does: it holds no larger model, and hardly"
            " writes faster.",
            "Leave --gpu out, or write --gpu none: that advice holds for it.",
        )
    vendor = cards[0].vendor if cards else vendor_of(name)
    shared = bool(cards) and cards[0].memory_gib is None
    if memory_bytes is None and shared:
        memory_bytes = _lent_bytes(vendor, machine.memory.total_bytes)
    if memory_bytes is None:
        memory_bytes = cards[0].memory_bytes if cards else None
    if memory_bytes is None:
        raise _unknown(name)
    free_bytes = min(memory_bytes, machine.memory.available_bytes) if shared else memory_bytes
    # The twin with this memory; another size of a known card is as fast as the common one.
    twins = cards if shared else meant_cards(name, memory_bytes) or cards
    speed = twins[0].bandwidth_bytes_per_second if twins else None
    backend = _BACKENDS.get(vendor, _OTHER_BACKEND)
    return Device(
        name=backend,
        # A name without its series' first word says nothing to those who go by it.
        description=name if find_cards(name) or not cards else shown_name(cards[0].name),
        kind="igpu" if shared else "gpu",
        vendor=vendor,
        backend=backend,
        total_bytes=memory_bytes,
        free_bytes=free_bytes,
        unified=shared,
        bandwidth_bytes_per_second=speed,
        usable_by_engine=True,
        reason="what if",
    )


def _unknown(name: str) -> ProfileError:
    why = "It is not in localr1's table."
    if is_laptop(name):
        why += " A laptop's card has other memory than the desktop's of the same name."
    near = nearest_names(name)
    hint = f" Names like it: {', '.join(near)}." if near else ""
    return ProfileError(
        f"The memory of the GPU {name!r} is not known.", why, f"Give it: --gpu-memory 24G.{hint}"
    )


def _lent_bytes(vendor: str, ram_bytes: int) -> int:
    """Return how much main memory the system lends to a GPU that has none of its own.

    Linux (TTM's default) and Windows lend half; NVIDIA's GB10 uses all of it.
    """
    if vendor == "apple":
        return working_set_bytes(ram_bytes)
    return ram_bytes if vendor == "nvidia" else ram_bytes // 2


def _with_gpu_memory(machine: Machine, memory_bytes: int) -> Machine:
    if all(device.kind == "cpu" for device in machine.devices):
        raise ProfileError(
            "--gpu-memory needs a GPU, and this machine has none.", "", "Name one: --gpu NAME"
        )
    devices: list[Device] = []
    for device in machine.devices:
        total, free = memory_bytes, memory_bytes
        if device.unified:
            total = min(total, machine.memory.total_bytes)
            free = min(free, machine.memory.available_bytes)
        other = replace(device, total_bytes=total, free_bytes=free)
        devices.append(device if device.kind == "cpu" else other)
    return replace(machine, devices=tuple(devices))
