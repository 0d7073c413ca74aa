"""Whether a machine that somebody wrote down can exist; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from localr1.machine.types import Machine

_MOST_BYTES: Final = 1 << 50
_MOST_CORES: Final = 1 << 16
_MOST_BYTES_PER_SECOND: Final = 1e15


def nonsense(machine: Machine) -> tuple[str, str] | None:
    """Return the first key of a profile that cannot be true, and why; None where all can.

    What llama.cpp says of its own devices is left as it is: it is only shown, and at times wrong.
    """
    return next(_found(machine), None)


def _found(machine: Machine) -> Iterator[tuple[str, str]]:
    cpu, memory = machine.cpu, machine.memory
    if not 1 <= cpu.physical_cores <= _MOST_CORES:
        yield "cpu.physical_cores", f"is {cpu.physical_cores}, which no processor has"
    if not cpu.physical_cores <= cpu.logical_cores <= _MOST_CORES:
        yield "cpu.logical_cores", f"is {cpu.logical_cores}, with {cpu.physical_cores} cores"
    if not 1 <= cpu.performance_cores <= cpu.physical_cores:
        yield "cpu.performance_cores", f"is {cpu.performance_cores} of {cpu.physical_cores} cores"
    yield from _memory("memory", memory.total_bytes, memory.available_bytes, "available_bytes")
    yield from _speed("memory", memory.bandwidth_bytes_per_second)
    for index, device in enumerate(machine.devices):
        key = f"devices[{index}]"
        yield from _memory(key, device.total_bytes, device.free_bytes, "free_bytes")
        yield from _speed(key, device.bandwidth_bytes_per_second)
        if device.unified and device.total_bytes > memory.total_bytes:
            yield f"{key}.total_bytes", "is more than the main memory that it is part of"


def _memory(key: str, total_bytes: int, free_bytes: int, free: str) -> Iterator[tuple[str, str]]:
    if total_bytes > _MOST_BYTES:
        yield f"{key}.total_bytes", f"is {total_bytes:,} bytes, more than any computer has"
    if free_bytes > total_bytes:
        yield f"{key}.{free}", f"is {free_bytes:,}, more than the {total_bytes:,} bytes there are"


def _speed(key: str, bytes_per_second: float | None) -> Iterator[tuple[str, str]]:
    if bytes_per_second is not None and not 0 < bytes_per_second <= _MOST_BYTES_PER_SECOND:
        yield (
            f"{key}.bandwidth_bytes_per_second",
            f"is {bytes_per_second:g}, which no memory has; leave out what is not known",
        )
