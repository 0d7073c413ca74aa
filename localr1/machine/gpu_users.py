"""Who holds a graphics processor's memory: programs by name, largest first.

On Linux the drivers of AMD and Intel say so in every process' `fdinfo` (the kernel's
Documentation/gpu/drm-usage-stats.rst); only what belongs to the same user can be read there.
NVIDIA's driver says it through NVML.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from localr1.machine.types import GpuUser, SystemGpu

if TYPE_CHECKING:
    from localr1.machine.host import Host

SMALLEST_BYTES = 32 << 20
"""Whoever holds less is not worth naming."""

_LIMIT_SECONDS: Final = 0.6
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


def with_users(host: Host, gpus: Mapping[str, SystemGpu]) -> tuple[SystemGpu, ...]:
    """Return cards with the programs that hold their memory (Linux).

    Looking through all that runs ends after a moment: the cards count, not who uses them.

    Args:
        host: The computer.
        gpus: By PCI address (`0000:03:00.0`); those that share main memory stay as they are.
    """
    slots = {slot for slot, gpu in gpus.items() if not gpu.unified}
    held = _held(host, slots) if slots else {}
    return tuple(
        replace(gpu, users=named(host, held[slot])) if slot in held else gpu
        for slot, gpu in gpus.items()
    )


def _held(host: Host, slots: set[str]) -> dict[str, dict[int, int]]:
    """Return the bytes that processes hold, by card and process."""
    held: defaultdict[str, dict[int, int]] = defaultdict(dict)
    deadline = time.monotonic() + _LIMIT_SECONDS
    for number in host.list_directory("/proc"):
        if not number.isdigit():
            continue
        if time.monotonic() > deadline:
            break
        # A process may open a card more than once; each client counts once.
        clients: dict[tuple[str, str], int] = {}
        for descriptor in host.list_directory(f"/proc/{number}/fdinfo"):
            text = host.read_text(f"/proc/{number}/fdinfo/{descriptor}") or ""
            if "drm-pdev" not in text:
                continue
            fields = {name: (value, unit) for name, value, unit in _FIELD.findall(text)}
            slot = fields["drm-pdev"][0]
            if slot not in slots:
                continue
            known = (fields[name] for name in _VRAM if name in fields)
            value, unit = next(known, ("0", ""))
            if value.isdigit():
                client = fields.get("drm-client-id", (descriptor, ""))[0]
                clients[slot, client] = int(value) * _UNITS[unit]
        for (slot, _), size in clients.items():
            held[slot][int(number)] = held[slot].get(int(number), 0) + size
    return held
