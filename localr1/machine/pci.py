"""Graphics processors on Linux' PCI bus, whether or not a driver works."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localr1.machine.host import ProbeError, SlowProgramError

if TYPE_CHECKING:
    from localr1.machine.host import Host

BUS = "/sys/bus/pci/devices"
NVIDIA, AMD, INTEL = "0x10de", "0x1002", "0x8086"
_DISPLAYS = ("0x03",)
# The drivers that hold a device for a virtual machine (KVM's and Xen's).
_GUESTS = ("vfio-pci", "pci-stub", "xen-pciback")
# AMD's Instinct cards from MI300 on are processing accelerators; Intel's of that class are no GPUs.
_CLASSES = {AMD: ("0x03", "0x12")}


@dataclass(frozen=True)
class PciGpu:
    """One display controller or accelerator of the PCI bus."""

    slot: str
    """Its address: `0000:03:00.0`."""
    vendor_id: str
    """`0x10de`."""
    device_id: str
    revision: str
    driver: str
    """Kernel driver in charge; empty for none."""

    @property
    def kept_for_guest(self) -> str:
        """That its owner gives it to a virtual machine, in words; empty where it is not so."""
        return (
            f"It is kept for a virtual machine ({self.driver})." if self.driver in _GUESTS else ""
        )

    @property
    def folder(self) -> str:
        """Its folder in sysfs."""
        return f"{BUS}/{self.slot}"


def list_gpus(host: Host, vendor_id: str) -> tuple[PciGpu, ...]:
    """Return a vendor's display controllers (PCI class 03; of AMD also 12), in the bus' order."""
    found: list[PciGpu] = []
    for slot in host.list_directory(BUS):
        folder = f"{BUS}/{slot}"
        if (host.read_text(f"{folder}/vendor") or "").strip() != vendor_id:
            continue
        if not (host.read_text(f"{folder}/class") or "").startswith(
            _CLASSES.get(vendor_id, _DISPLAYS)
        ):
            continue
        driver = re.search(r"^DRIVER=(.+)$", host.read_text(f"{folder}/uevent") or "", re.MULTILINE)
        found.append(
            PciGpu(
                slot,
                vendor_id,
                (host.read_text(f"{folder}/device") or "").strip(),
                (host.read_text(f"{folder}/revision") or "").strip(),
                driver.group(1).strip() if driver else "",
            )
        )
    return tuple(found)


class ProductNames:
    """The names that lspci has for devices; it is not asked again once it did not answer in time.

    Args:
        host: The computer.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._hangs = False

    def of(self, gpu: PciGpu) -> str:
        """Return a device's name; empty where lspci has none.

        `lspci -vmm` prints one field a line: `Device:<tab>Navi 31 [Radeon RX 7900 XTX]`. The
        marketing name is the one in brackets.
        """
        if self._hangs:
            return ""
        try:
            text = self._host.run("lspci", "-vmm", "-s", gpu.slot, limit_seconds=0.9)
        except SlowProgramError:
            self._hangs = True
            return ""
        except ProbeError:
            return ""
        line = re.search(r"^Device:\s*(.+)$", text, re.MULTILINE)
        if line is None:
            return ""
        bracketed = re.search(r"\[(.+)\]", line.group(1))
        return (bracketed.group(1) if bracketed else line.group(1)).strip()
