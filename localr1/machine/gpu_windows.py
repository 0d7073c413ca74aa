"""Graphics on Windows, from what the display drivers write into the registry.

`HardwareInformation.qwMemorySize` is the card's memory in 64 bits; the `AdapterRAM` of
WMI stops at 4 GiB. The class key is that of display adapters in Microsoft's documentation
of system-defined device setup classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localr1.machine.findings import Findings
from localr1.machine.gpu_table import bandwidth_of, find_cards, vendor_of
from localr1.machine.types import SystemGpu

if TYPE_CHECKING:
    from localr1.machine.host import Host

CLASS_KEY = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
# Windows' own stand-ins and remote screens, which compute nothing.
_NOT_GPUS = ("microsoft", "remote", "virtual", "parsec", "citrix", "displaylink")
# Graphics of a processor report at most this much as their own, by default.
_CARVE_OUT_BYTES = 2 << 30


def probe(host: Host) -> Findings:
    """Return the display adapters that have a driver."""
    if host.system != "Windows":
        return Findings()
    gpus: list[SystemGpu] = []
    for key in host.registry_keys(CLASS_KEY):
        if not key.isdigit():
            continue
        path = f"{CLASS_KEY}\\{key}"
        name = host.registry_value(path, "DriverDesc")
        if not isinstance(name, str) or any(word in name.lower() for word in _NOT_GPUS):
            continue
        gpus.append(_adapter(name.strip("\0 "), _size(host, path)))
    return Findings(tuple(gpus))


def _adapter(name: str, total_bytes: int | None) -> SystemGpu:
    vendor = vendor_of(name)
    dedicated = bool(total_bytes) and (
        vendor == "nvidia"
        or (total_bytes or 0) > _CARVE_OUT_BYTES
        or any(card.memory_gib for card in find_cards(name, total_bytes))
    )
    return SystemGpu(
        name,
        vendor,
        total_bytes if dedicated else None,
        None,
        not dedicated and vendor != "nvidia",
        bandwidth_of(name, total_bytes if dedicated else None),
        "registry",
    )


def _size(host: Host, path: str) -> int | None:
    for name in ("HardwareInformation.qwMemorySize", "HardwareInformation.MemorySize"):
        value = host.registry_value(path, name)
        if isinstance(value, bytes):
            value = int.from_bytes(value[:8], "little")
        if isinstance(value, int) and value > 0:
            return value
    return None
