"""What a plan makes of each memory: what is in use already, what the plan takes, what is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from localr1.fit.memory import CPU
from localr1.fit.pool import gpu_pools, main_memory, pool_needs
from localr1.fit.types import DeviceMemory, Plan
from localr1.machine.types import Device, GpuUser, Machine


@dataclass(frozen=True)
class PoolUse:
    """One memory, in bytes."""

    name: str
    """`CPU` for main memory, which unified GPUs share; else the GPU's device name."""
    total_bytes: int
    used_bytes: int
    """In use by other programs."""
    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    """Compute and output buffers, and what the runtime itself takes."""
    short_bytes: int
    """What is missing so that the headroom stays free; 0 where the plan fits."""
    users: tuple[GpuUser, ...] = ()
    """Who holds what is in use, where the driver says."""

    @property
    def need_bytes(self) -> int:
        """What the plan takes."""
        return self.weights_bytes + self.kv_cache_bytes + self.compute_bytes

    @property
    def left_bytes(self) -> int:
        """What stays free; 0 where nothing does."""
        return max(0, self.total_bytes - self.used_bytes - self.need_bytes)


def pool_uses(plan: Plan, machine: Machine) -> tuple[PoolUse, ...]:
    """Every memory that a plan takes something of, GPUs first.

    Args:
        plan: What is to run.
        machine: On what.
    """
    parts: defaultdict[str, list[DeviceMemory]] = defaultdict(list)
    own = {gpu.name: gpu for gpu in machine.gpus if not gpu.unified}
    for device in plan.devices:
        parts[device.name if device.name in own else CPU].append(device)
    needs = pool_needs(plan.devices, machine)
    uses = [_of_gpu(own[name], parts[name], machine) for name in own if needs.get(name)]
    if needs[CPU]:
        uses.append(_of_main_memory(parts[CPU], machine, needs[CPU]))
    return tuple(uses)


def _of_gpu(gpu: Device, parts: list[DeviceMemory], machine: Machine) -> PoolUse:
    pool = gpu_pools(machine)[gpu.name]
    return _use(gpu.name, parts, gpu.total_bytes, gpu.free_bytes, pool.headroom_bytes, gpu.users)


def _of_main_memory(parts: list[DeviceMemory], machine: Machine, need_bytes: int) -> PoolUse:
    pool, memory = main_memory(machine, need_bytes), machine.memory
    return _use(CPU, parts, memory.total_bytes, memory.available_bytes, pool.headroom_bytes, ())


def _use(  # noqa: PLR0913, PLR0917 - what is known of one memory
    name: str,
    parts: list[DeviceMemory],
    total_bytes: int,
    free_bytes: int,
    headroom_bytes: int,
    users: tuple[GpuUser, ...],
) -> PoolUse:
    need_bytes = sum(part.total_bytes for part in parts)
    return PoolUse(
        name=name,
        # A backend that does not know the total says 0.
        total_bytes=max(total_bytes, free_bytes),
        used_bytes=max(0, total_bytes - free_bytes),
        weights_bytes=sum(part.weights_bytes for part in parts),
        kv_cache_bytes=sum(part.kv_cache_bytes for part in parts),
        compute_bytes=sum(
            part.compute_buffer_bytes + part.output_bytes + part.overhead_bytes for part in parts
        ),
        short_bytes=max(0, need_bytes + headroom_bytes - free_bytes),
        users=users,
    )


def without(machine: Machine, devices: tuple[DeviceMemory, ...]) -> Machine:
    """The machine once a running plan has given its memory back.

    File pages that the system may drop count as free already.

    Args:
        machine: As it is while the plan runs.
        devices: What the plan holds.
    """
    held = {device.name: device.resident_bytes for device in devices}
    unified = sum(held.get(gpu.name, 0) for gpu in machine.gpus if gpu.unified)
    main_bytes = held.get(CPU, 0) + unified
    memory = machine.memory
    available = min(memory.total_bytes, memory.available_bytes + main_bytes)
    return replace(
        machine,
        memory=replace(memory, available_bytes=available),
        devices=tuple(_freed(device, held, available) for device in machine.devices),
    )


def _freed(device: Device, held: Mapping[str, int], available_bytes: int) -> Device:
    if device.kind == "cpu":
        return replace(device, free_bytes=available_bytes)
    freed = min(device.total_bytes, device.free_bytes + held.get(device.name, 0))
    return replace(device, free_bytes=max(device.free_bytes, freed))
