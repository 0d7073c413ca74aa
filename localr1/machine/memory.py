"""Main memory: what the system says, under the limits of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localr1.machine.cgroup import memory_limit, swap_limit
from localr1.machine.types import Memory

if TYPE_CHECKING:
    from localr1.machine.host import Host


def probe(host: Host) -> Memory:
    """Return total and available main memory.

    A container with 8 GiB on a computer with 64 has 8: the limits of the control group
    count, and what is available is the less of what the computer and the group have left.
    """
    total_bytes, available_bytes = host.virtual_memory()
    limit = memory_limit(host) if host.system == "Linux" else None
    if limit is None:
        return Memory(total_bytes, min(total_bytes, available_bytes), swap_bytes=_swap(host))
    return Memory(
        min(total_bytes, limit.limit_bytes),
        min(total_bytes, available_bytes, limit.available_bytes),
        swap_bytes=_swap(host),
    )


def _swap(host: Host) -> int:
    try:
        swap_bytes = host.swap_bytes()
    except (OSError, RuntimeError):
        return 0  # psutil cannot read it everywhere; nothing depends on it
    limit = swap_limit(host) if host.system == "Linux" else None
    return swap_bytes if limit is None else min(swap_bytes, limit)
