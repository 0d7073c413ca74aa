"""AMD graphics on Linux, through the amdgpu driver's files in sysfs.

`mem_info_vram_*` and `mem_info_gtt_*` are described in the kernel's
Documentation/gpu/amdgpu. GTT is main memory that the GPU may use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from localr1.machine import gpu_users, rocm
from localr1.machine.findings import Findings
from localr1.machine.gpu_table import bandwidth_of, find_cards
from localr1.machine.host import read_int
from localr1.machine.pci import AMD, PciGpu, ProductNames, list_gpus
from localr1.machine.types import SystemGpu

if TYPE_CHECKING:
    from localr1.machine.host import Host

_DRIVER = "amdgpu"
# Graphics of a processor have at most this much of their own, where nobody changed it.
_CARVE_OUT_BYTES = 2 << 30
_NODES = "/sys/class/kfd/kfd/topology/nodes"
# The names of AMD's cards by device and revision, kept by libdrm.
# Device numbers of Southern and Sea Islands, which both drivers know (the kernel's
# include/drm/drm_pciids.h and drivers/gpu/drm/amd/amdgpu/amdgpu_drv.c).
_FIRST_GCN = (
    *(range(0x6600, 0x6670), range(0x6780, 0x67C0), range(0x6800, 0x6840)),
    *(range(0x1304, 0x131E), range(0x9830, 0x9860)),
)
_NAMES = "/usr/share/libdrm/amdgpu.ids"


def probe(host: Host) -> Findings:
    """Return AMD's cards and the graphics of AMD's processors."""
    if host.system != "Linux":
        return Findings()
    names = ProductNames(host)
    cards = {
        card: read_int(host, f"{card.folder}/mem_info_vram_total") for card in list_gpus(host, AMD)
    }
    silent = any(vram is None and card.driver == _DRIVER for card, vram in cards.items())
    told = rocm.by_slot(host) if silent else {}
    found = {}
    for card, vram in cards.items():
        if vram is not None:
            found[card.slot] = _gpu(host, card, names, vram)
        elif card.driver == _DRIVER and card.slot in told:
            found[card.slot] = _told(host, card, names, told[card.slot])
        else:
            found[card.slot] = _silent(host, card, names)
    return Findings(gpu_users.with_users(host, found))


def _silent(host: Host, card: PciGpu, names: ProductNames) -> SystemGpu:
    """Describe a card of whose memory nobody says anything."""
    why = "No driver runs it."
    if card.driver == _DRIVER:
        why = "Its driver, amdgpu, does not say how much memory it has."
    elif card.kept_for_guest:
        why = card.kept_for_guest
    elif card.driver == "radeon" and not _is_amdgpus(card):
        why = "It is run by radeon, the driver of AMD's old cards, which computes nothing."
    elif card.driver == "radeon":
        why = (
            "It is run by radeon, not by amdgpu. These parameters of the kernel change that:"
            " radeon.si_support=0 radeon.cik_support=0 amdgpu.si_support=1 amdgpu.cik_support=1."
        )
    elif card.driver:
        why = f"It is run by {card.driver}, not by amdgpu."
    name = _name(host, card, names, None)
    lost = bool(card.kept_for_guest) or (card.driver == "radeon" and not _is_amdgpus(card))
    return SystemGpu(name, "amd", None, None, False, None, "PCI bus", why, out_of_reach=lost)


def _is_amdgpus(card: PciGpu) -> bool:
    """Whether amdgpu knows a card that radeon runs: the first two generations of GCN."""
    number = int(card.device_id or "0", 16)
    return any(number in numbers for numbers in _FIRST_GCN)


def _told(host: Host, card: PciGpu, names: ProductNames, told: rocm.Told) -> SystemGpu:
    """Describe a card by what ROCm's programs say of it."""
    total_bytes = told.total_bytes
    name = told.name or _name(host, card, names, total_bytes)
    unified = total_bytes <= _CARVE_OUT_BYTES and not find_cards(name, total_bytes)
    return SystemGpu(
        name if name.startswith("AMD") else f"AMD {name}",
        "amd",
        None if unified else total_bytes,
        None if unified else max(0, total_bytes - told.used_bytes),
        unified,
        bandwidth_of(name, None if unified else total_bytes),
        told.source,
        capability=_target(host, card.slot),
    )


def _gpu(host: Host, card: PciGpu, names: ProductNames, vram: int) -> SystemGpu:
    name = _name(host, card, names, vram)
    vram_used = read_int(host, f"{card.folder}/mem_info_vram_used") or 0
    gtt = read_int(host, f"{card.folder}/mem_info_gtt_total") or 0
    gtt_used = read_int(host, f"{card.folder}/mem_info_gtt_used") or 0
    integrated = _is_integrated(host, card, name, vram)
    if integrated and not vram > gtt > 0:
        # A small carve-out, and the rest by and by from main memory: the two add up.
        total_bytes, used_bytes, unified = vram + gtt, vram_used + gtt_used, True
    else:
        # A card, or a processor whose owner gave the GPU most of the memory for its own
        # (96 of 128 GiB, say): the system no longer counts that part as main memory.
        total_bytes, used_bytes, unified = vram, vram_used, False
    return SystemGpu(
        name,
        "amd",
        total_bytes,
        max(0, total_bytes - used_bytes),
        unified,
        bandwidth_of(name, None if integrated else vram),
        "sysfs",
        capability=_target(host, card.slot),
    )


def _target(host: Host, slot: str) -> str:
    """Return what ROCm calls a GPU's instruction set, by KFD's list: `110000` is gfx1100.

    The last two digits are the stepping, written in hexadecimal: `90010` is gfx90a. A node's
    `location_id` is bus, device and function as they stand in the PCI address (the kernel's
    drivers/gpu/drm/amd/amdkfd/kfd_topology.c).
    """
    _, bus, rest = slot.split(":")
    device, _, function = rest.partition(".")
    wanted = int(bus, 16) << 8 | int(device, 16) << 3 | int(function)
    for node in host.list_directory(_NODES):
        text = host.read_text(f"{_NODES}/{node}/properties") or ""
        values = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
        version = values.get("gfx_target_version", "0")
        if values.get("location_id") == str(wanted) and version.isdigit() and int(version):
            number = int(version)
            return f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}"
    return ""


def _is_integrated(host: Host, card: PciGpu, name: str, vram: int) -> bool:
    """Tell a processor's graphics from a card.

    A card has memory chips of its own and the driver names their maker; for a processor's
    graphics it says `unknown` or has no such file. A card that the table knows by name and
    memory is one even so.
    """
    maker = (host.read_text(f"{card.folder}/mem_info_vram_vendor") or "").strip()
    if maker not in ("", "unknown"):
        return False
    return not any(known.memory_gib for known in find_cards(name, vram))


def _name(host: Host, card: PciGpu, names: ProductNames, vram: int | None) -> str:
    given = (host.read_text(f"{card.folder}/product_name") or "").strip()
    listed = _listed_name(host.read_text(_NAMES) or "", card)
    name = given or listed or _narrowed(names.of(card), vram)
    if not name:
        return f"AMD GPU {card.device_id}"
    return name if name.startswith("AMD") else f"AMD {name}"


def _listed_name(text: str, card: PciGpu) -> str:
    """Look a device up in amdgpu.ids: `744C,<tab>C8,<tab>AMD Radeon RX 7900 XTX`."""
    wanted = (card.device_id[2:].upper(), card.revision[2:].upper().zfill(2))
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and (fields[0].upper(), fields[1].upper().zfill(2)) == wanted:
            return fields[2]
    return ""


def _narrowed(name: str, vram: int | None) -> str:
    """Pick from a PCI name for several cards the one with this memory.

    `Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M` with 24 GiB is the Radeon RX 7900 XTX.
    """
    first, *others = name.split("/")
    if not others or vram is None:
        return name
    series = re.match(r"(.*?)\s*\d{3,}", first)
    prefix = series.group(1) if series else ""
    options = [first, *(f"{prefix} {other}".strip() for other in others)]
    matching = [option for option in options if find_cards(option, vram)]
    return matching[0] if len(matching) == 1 else name
