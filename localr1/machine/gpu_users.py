"""Who holds a graphics processor's memory: programs by name, largest first.

On Linux the drivers of AMD and Intel say so in every process' `fdinfo` (the kernel's
Documentation/gpu/drm-usage-stats.rst); only what belongs to the same user can be read there.
NVIDIA's driver says it through NVML.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from localr1.machine.types import GpuUser

if TYPE_CHECKING:
    from localr1.machine.host import Host

SMALLEST_BYTES = 32 << 20
"""Whoever holds less is not worth naming."""

_FIELD = re.compile(r"^(drm-[\w-]+):\s*(\S+)\s*(KiB|MiB)?", re.MULTILINE)
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
# amdgpu's, xe's and i915's words for it; older kernels say `memory` instead of `resident`.
_VRAM = ("drm-resident-vram0", "drm-resident-vram", "drm-memory-vram", "drm-resident-local0")


def named(host: Host, held: Mapping[int, int]) -> tuple[GpuUser, ...]:
    """Return programs by name; several processes of one name count together.

    Args:
        host: For the names. Processes that localr1 started itself are left out.
        held: Bytes by the process' number.
    """
    sums: defaultdict[str, int] = defaultdict(int)
    for number, held_bytes in held.items():
        name = host.process_name(number) if held_bytes else None
        if name:
            sums[name] += held_bytes
    users = [GpuUser(name, size) for name, size in sums.items() if size >= SMALLEST_BYTES]
    return tuple(sorted(users, key=lambda user: -user.held_bytes))


def of_card(host: Host, slot: str) -> tuple[GpuUser, ...]:
    """Return the programs that hold memory of the card at a PCI address (Linux).

    Args:
        host: The computer.
        slot: `0000:03:00.0`.
    """
    return named(host, _held(host, slot))


def _held(host: Host, slot: str) -> dict[int, int]:
    held: dict[int, int] = {}
    for number in host.list_directory("/proc"):
        if not number.isdigit():
            continue
        # A process may open the card more than once; each client counts once.
        clients: dict[str, int] = {}
        for descriptor in host.list_directory(f"/proc/{number}/fdinfo"):
            text = host.read_text(f"/proc/{number}/fdinfo/{descriptor}") or ""
            if "drm-pdev" not in text:
                continue
            fields = {name: (value, unit) for name, value, unit in _FIELD.findall(text)}
            if fields["drm-pdev"][0] != slot:
                continue
            known = (fields[name] for name in _VRAM if name in fields)
            value, unit = next(known, ("0", ""))
            if value.isdigit():
                client = fields.get("drm-client-id", (descriptor, ""))[0]
                clients[client] = int(value) * _UNITS[unit]
        if clients:
            held[int(number)] = sum(clients.values())
    return held
