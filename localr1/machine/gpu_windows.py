"""Graphics on Windows, from what the display drivers write into the registry.

`HardwareInformation.qwMemorySize` is the card's memory in 64 bits; the `AdapterRAM` of
WMI stops at 4 GiB. The class key is that of display adapters in Microsoft's documentation
of system-defined device setup classes. The registry keeps the keys of cards that were removed:
only those count that a device points to which is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from localr1.machine.findings import Findings
from localr1.machine.gpu_table import bandwidth_of, find_cards, vendor_of
from localr1.machine.types import SystemGpu, Vendor

if TYPE_CHECKING:
    from localr1.machine.host import Host

CLASS_ID = "{4d36e968-e325-11ce-bfc1-08002be10318}"
CLASS_KEY = rf"SYSTEM\CurrentControlSet\Control\Class\{CLASS_ID}"
ENUM_KEY = r"SYSTEM\CurrentControlSet\Enum"
# Windows' own stand-ins, remote screens and those of virtual machines, which compute nothing.
_NOT_GPUS = (
    *("microsoft", "remote", "virtual", "parsec", "citrix", "displaylink"),
    *("vmware", "red hat", "qxl", "virtio", "vbox", "parallels", "standard vga"),
)
_STAND_IN = "basic display"
_VENDORS: Final[dict[str, tuple[Vendor, str]]] = {
    "10DE": ("nvidia", "NVIDIA"),
    "1002": ("amd", "AMD"),
    "8086": ("intel", "Intel"),
}
_PCI_ID = re.compile(r"PCI\\VEN_([0-9A-F]{4})&DEV_([0-9A-F]{4})", re.IGNORECASE)
# Graphics of a processor report at most this much as their own, by default.
_CARVE_OUT_BYTES = 2 << 30


@dataclass(frozen=True)
class Listed:
    """What the registry keeps of an adapter, there or removed."""

    name: str
    total_bytes: int | None


def probe(host: Host) -> Findings:
    """Return the display adapters that are there, and those that lack their driver."""
    if host.system != "Windows":
        return Findings()
    listed = {}
    for key in host.registry_keys(CLASS_KEY):
        path = f"{CLASS_KEY}\\{key}"
        name = host.registry_value(path, "DriverDesc")
        if key.isdigit() and isinstance(name, str):
            listed[key] = Listed(name.strip("\0 "), _size(host, path))
    return decide(listed, _present(host))


def decide(listed: Mapping[str, Listed], present: Mapping[str, str] | None) -> Findings:
    """Return the adapters that count; pure.

    Args:
        listed: The registry's, by key; it keeps those of cards that were removed.
        present: The instance ids of those that are there, by key; None where Windows does not say.
    """
    gpus: list[SystemGpu] = []
    stand_ins: list[str] = []
    for key, one in listed.items():
        if present is not None and key not in present:
            continue
        if _STAND_IN in one.name.lower():
            stand_ins.append("" if present is None else present[key])
        elif not any(word in one.name.lower() for word in _NOT_GPUS):
            gpus.append(_adapter(one.name, one.total_bytes))
    lacking = tuple(gpu for instance in stand_ins if (gpu := _without_driver(instance)))
    problems: tuple[str, ...] = ()
    if stand_ins and present is None and not gpus:
        problems = (
            "Windows runs the graphics with its basic driver, so no card can be used: install the"
            " driver of the card's maker (NVIDIA, AMD or Intel), and restart.",
        )
    return Findings((*gpus, *lacking), problems)


def _present(host: Host) -> dict[str, str] | None:
    """Return the instance ids of the adapters that are there, by their keys below the class."""
    instances = host.present_devices(CLASS_ID)
    if instances is None:
        return None
    drivers = ((host.registry_value(f"{ENUM_KEY}\\{one}", "Driver"), one) for one in instances)
    return {str(driver).rpartition("\\")[2]: one for driver, one in drivers if driver} or None


def _without_driver(instance: str) -> SystemGpu | None:
    """Describe a card that Windows runs with its basic driver; None for a virtual machine's."""
    found = _PCI_ID.match(instance)
    known = _VENDORS.get(found[1].upper()) if found else None
    if found is None or known is None:
        return None
    vendor, maker = known
    why = "Windows runs it with its basic driver (Microsoft Basic Display Adapter)."
    name = f"{maker} GPU 0x{found[2].lower()}"
    return SystemGpu(name, vendor, None, None, vendor == "intel", None, "registry", why)


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
