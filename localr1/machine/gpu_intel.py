"""Intel graphics on Linux, through the files of the i915 and xe drivers in sysfs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localr1.machine import gpu_users
from localr1.machine.findings import Findings
from localr1.machine.gpu_table import bandwidth_of, find_cards
from localr1.machine.host import read_int
from localr1.machine.pci import INTEL, PciGpu, ProductNames, list_gpus
from localr1.machine.types import SystemGpu

if TYPE_CHECKING:
    from localr1.machine.host import Host

# Intel's processors always have their graphics at device 2 of the first bus.
_INTEGRATED_SLOT = "0000:00:02.0"


def probe(host: Host) -> Findings:
    """Return Intel's cards and the graphics of Intel's processors."""
    if host.system != "Linux":
        return Findings()
    names = ProductNames(host)
    found = {card.slot: _gpu(host, card, names) for card in list_gpus(host, INTEL)}
    return Findings(gpu_users.with_users(host, found))


def _gpu(host: Host, card: PciGpu, names: ProductNames) -> SystemGpu:
    found = names.of(card)
    name = found or f"GPU {card.device_id}"
    name = name if name.startswith("Intel") else f"Intel {name}"
    unified = card.slot == _INTEGRATED_SLOT
    total_bytes = None
    if not unified:
        total_bytes = _dedicated_bytes(host, card) or _known_bytes(host, card, name)
    problem = card.kept_for_guest or ("" if card.driver else "No driver runs it.")
    return SystemGpu(
        name,
        "intel",
        total_bytes,
        None,
        unified,
        bandwidth_of(name, total_bytes),
        "sysfs" if card.driver else "PCI bus",
        problem,
        out_of_reach=bool(card.kept_for_guest),
    )


def _dedicated_bytes(host: Host, card: PciGpu) -> int | None:
    """Return a card's memory: xe lists it by tile, i915 (Intel's own build) by card."""
    tiles = [name for name in host.list_directory(card.folder) if name.startswith("tile")]
    sizes = [
        read_int(host, f"{card.folder}/{tile}/physical_vram_size_bytes") or 0 for tile in tiles
    ]
    sizes += [
        read_int(host, f"{card.folder}/drm/{name}/lmem_total_bytes") or 0
        for name in host.list_directory(f"{card.folder}/drm")
        if name.startswith("card")
    ]
    return sum(sizes) or None


def _known_bytes(host: Host, card: PciGpu, name: str) -> int | None:
    """Return the memory of a card that the table knows; the kernel's i915 does not say it.

    Of cards sold with two sizes it is the one that the processor sees whole (the sizes of
    `resource`, with a resizable BAR), else the smaller.
    """
    sizes = [one.memory_bytes for one in find_cards(name) if one.memory_bytes]
    rows = (line.split() for line in (host.read_text(f"{card.folder}/resource") or "").splitlines())
    bars = {int(row[1], 16) - int(row[0], 16) + 1 for row in rows if len(row) == 3}
    return next((size for size in sizes if size in bars), min(sizes, default=None))
