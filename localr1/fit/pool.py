"""How much of each memory a plan may take, and how much a plan lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localr1.fit.memory import CPU, GIB, MIB
from localr1.fit.types import DeviceMemory
from localr1.machine.types import Device, Machine, Memory

GPU_HEADROOM_BYTES = 512 * MIB
GPU_HEADROOM_SHARE = 0.04
"""Room left on a GPU: cuBLAS workspaces, growing pools and CUDA graphs are in no buffer, and
running out of memory while decoding kills the worker."""
DESKTOP_HEADROOM_BYTES = GIB
"""Room left on a GPU that may draw a desktop, whose windows come and go."""
DESKTOP_USED_BYTES = 768 * MIB
"""A GPU with more than this in use may draw a desktop; the probe's own context takes less."""
RAM_HEADROOM_BYTES = GIB
RAM_HEADROOM_SHARE = 0.08
"""Room left of main memory for other programs, as a share of the total; at most as much as
the plan itself needs, so that a small model does not have to leave much more than it takes."""


@dataclass(frozen=True)
class Pool:
    """A memory of its own: main memory, or that of one GPU."""

    name: str
    """`CPU` for main memory, else the GPU's device name."""
    free_bytes: int
    headroom_bytes: int

    @property
    def budget_bytes(self) -> int:
        """What a plan may take."""
        return max(0, self.free_bytes - self.headroom_bytes)


@dataclass(frozen=True)
class Shortage:
    """What a plan lacks in one pool."""

    pool: str
    bytes_short: int


def main_memory(machine: Machine, need_bytes: int | None = None) -> Pool:
    """The pool of main memory, which unified GPUs share.

    Args:
        machine: The computer.
        need_bytes: What a plan needs of it; the full headroom where left out.
    """
    return memory_pool(machine.memory, need_bytes)


def memory_pool(memory: Memory, need_bytes: int | None = None) -> Pool:
    """The same, where nothing else of the computer is known."""
    headroom = max(RAM_HEADROOM_BYTES, int(memory.total_bytes * RAM_HEADROOM_SHARE))
    if need_bytes is not None:
        headroom = min(headroom, need_bytes)
    return Pool(CPU, memory.available_bytes, headroom)


def gpu_pool(device: Device, machine: Machine) -> Pool:
    """The pool of one GPU; of a unified one, how much of main memory it may hold."""
    headroom = max(GPU_HEADROOM_BYTES, int(device.total_bytes * GPU_HEADROOM_SHARE))
    used = device.total_bytes - device.free_bytes
    windows = machine.operating_system.startswith("Windows") and device == machine.gpus[0]
    if not device.unified and used and (used > DESKTOP_USED_BYTES or windows):
        headroom = max(headroom, DESKTOP_HEADROOM_BYTES)
    return Pool(device.name, device.free_bytes, headroom)


def gpu_pools(machine: Machine) -> dict[str, Pool]:
    """The pools of all GPUs that the engine can use, by device name."""
    return {device.name: gpu_pool(device, machine) for device in machine.gpus}


def shortages(devices: Sequence[DeviceMemory], machine: Machine) -> tuple[Shortage, ...]:
    """What the devices need beyond what their pools may give; empty where everything fits.

    Pages of a mapped file count too: a model that has to be read from disk again for
    every token is not said to fit. A unified GPU's share counts once, in main memory, and
    must also be within what the system lends to the GPU.
    """
    pools = gpu_pools(machine)
    unified = {device.name for device in machine.gpus if device.unified}
    needs = pool_needs(devices, machine)
    result = []
    for device in devices:
        pool = pools.get(device.name)
        if pool is not None and device.total_bytes > pool.budget_bytes:
            short = device.total_bytes + pool.headroom_bytes - pool.free_bytes
            result.append(Shortage(pool.name, short))
    ram = main_memory(machine, needs[CPU])
    short = needs[CPU] + ram.headroom_bytes - ram.free_bytes
    if short > 0:
        # Main memory is the tighter of the two limits of a unified GPU: say it once.
        result = [lack for lack in result if lack.pool not in unified]
        result.append(Shortage(CPU, short))
    return tuple(result)


def pool_needs(devices: Sequence[DeviceMemory], machine: Machine) -> Mapping[str, int]:
    """Bytes needed from each pool, `CPU` first; a unified GPU needs main memory."""
    own = {device.name for device in machine.gpus if not device.unified}
    needs = {CPU: 0}
    for device in devices:
        name = device.name if device.name in own else CPU
        needs[name] = needs.get(name, 0) + device.total_bytes
    return needs
