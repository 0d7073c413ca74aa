"""What lies idle, and the computer as it would be once the engine is mended. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from localr1.fit.explain import gib
from localr1.install.diagnosis import backend_for, best, diagnose, driver_fails, is_idle
from localr1.install.types import Backend, Bench, Trouble
from localr1.machine.types import Device, Machine

_NAMES: Final[dict[Backend, str]] = {
    "cuda": "CUDA",
    "rocm": "ROCm",
    "vulkan": "Vulkan",
    "metal": "Metal",
}
_WORDS: Final = {
    "cpu_build": "the engine is a CPU build",
    "other_build": "the engine is a build for other cards",
    "driver": "its driver fails",
}


@dataclass(frozen=True)
class Prospect:
    """A GPU that lies idle."""

    trouble: Trouble
    machine: Machine | None
    """As it would be with the right build; None where no build is the remedy."""

    @property
    def words(self) -> str:
        """One line, such as: RTX 4070 12.0 GiB is not used: the engine is a CPU build."""
        size = f" {gib(self.trouble.idle_bytes)}" if self.trouble.idle_bytes else ""
        return f"{self.trouble.device}{size} is not used: {_WORDS[self.trouble.kind]}."


def prospect(machine: Machine, bench: Bench) -> Prospect | None:
    """Return the largest GPU that lies idle; None where none does, or the engine does not start.

    Args:
        machine: What there is.
        bench: What a build would be made on.
    """
    idle = [one for one in diagnose(machine, bench.place, bench.tools) if one.device]
    if not idle:
        return None
    trouble = max(idle, key=lambda one: (one.backend is not None, one.idle_bytes))
    return Prospect(trouble, _mended(machine, bench) if trouble.backend else None)


def _mended(machine: Machine, bench: Bench) -> Machine:
    """Return the machine with what one build would make usable."""
    wanted = best(machine, bench.tools)
    name = _NAMES.get(wanted)
    devices: list[Device] = []
    count = 0
    for device in machine.devices:
        gained = is_idle(device, machine) and not driver_fails(device)
        # CUDA gives one process one part of divided cards (NVIDIA's MIG User Guide).
        part = " MIG " in device.description
        gained = gained and not (part and any(" MIG " in one.description for one in devices))
        if name and gained and backend_for(device, bench.tools) == wanted:
            used = name if wanted == "metal" else f"{name}{count}"
            count += 1
            device = replace(  # noqa: PLW2901 - the same device, described anew
                device, name=used, backend=name, usable_by_engine=True, reason="after the fix"
            )
            device = _with_memory(device, machine)  # noqa: PLW2901
        devices.append(device)
    return replace(machine, devices=tuple(devices))


def _with_memory(device: Device, machine: Machine) -> Device:
    """Return a GPU that shares main memory with what it may use of it, where nobody said how much.

    NVIDIA's chips list all of it. For others the systems' common limit is half (Windows' "shared
    GPU memory", TTM's default on Linux).
    """
    if device.total_bytes or not device.unified:
        return device
    share = 1.0 if device.vendor == "nvidia" else 0.5
    total_bytes = int(machine.memory.total_bytes * share)
    free_bytes = min(total_bytes, machine.memory.available_bytes)
    return replace(device, total_bytes=total_bytes, free_bytes=free_bytes)
