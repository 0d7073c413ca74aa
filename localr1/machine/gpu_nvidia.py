"""NVIDIA cards, through NVML, the management library of NVIDIA's driver."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from localr1.machine import gpu_users
from localr1.machine.cgroup import in_container
from localr1.machine.findings import Findings
from localr1.machine.gpu_table import bandwidth_of, find_cards
from localr1.machine.host import ProbeError
from localr1.machine.pci import NVIDIA, PciGpu, ProductNames, list_gpus
from localr1.machine.types import SystemGpu

if TYPE_CHECKING:
    from localr1.machine.host import Host

NO_ANSWER: Final = "NVIDIA's management library (NVML) does not answer."
_NO_CARD: Final = (
    "NVIDIA's driver runs, but lists no card. A container gets cards with --gpus all; elsewhere the"
    " card is switched off, removed, or not found by the driver."
)


def probe(host: Host) -> Findings:
    """Return NVIDIA's cards; a card whose driver does not work carries the driver's words."""
    if host.system == "Darwin":
        return Findings()
    if host.system == "Linux" and not _driver_or_card(host):
        return Findings()
    try:
        nvml = host.nvml()
    except ProbeError as error:
        gpus = _silent_cards(host, list_gpus(host, NVIDIA), str(error))
        return Findings(gpus, () if gpus else (str(error),))
    try:
        gpus, slots = _from_nvml(host, nvml)
    except ProbeError as error:
        gpus = _silent_cards(host, list_gpus(host, NVIDIA), str(error))
        return Findings(gpus, () if gpus else _without_card(host, str(error)))
    missing = _missing(host, slots)
    gpus += _silent_cards(host, missing)
    return Findings(gpus, () if gpus else (_NO_CARD,))


def _missing(host: Host, slots: tuple[str, ...]) -> tuple[PciGpu, ...]:
    """Return the cards on the PCI bus that NVML does not list.

    Args:
        host: The computer.
        slots: The addresses of those that it lists, empty for one that does not tell.
    """
    cards = [card for card in list_gpus(host, NVIDIA) if card.slot not in slots]
    # A container sees all cards on the bus, and in the driver only those that it was given.
    if "" in slots or (slots and in_container(host)):
        cards = [card for card in cards if card.driver != "nvidia"]
    return tuple(cards)


def _without_card(host: Host, words: str) -> tuple[str, ...]:
    """Return what is wrong where NVML does not start and no card is seen.

    Without a sign of NVIDIA's driver there is nothing to tell.
    """
    if "Not Found" not in words:
        return (f"NVIDIA's driver does not answer: {words}",)
    devices = host.list_directory("/dev")
    if "nvidiactl" in devices:
        return (
            "NVIDIA's driver runs (/dev/nvidiactl), but its library libnvidia-ml.so.1 is not found."
            " A container gets it with --gpus all (NVIDIA Container Toolkit); elsewhere install"
            " the driver again.",
        )
    # The folders of Windows' drivers are named after their files: `nv_dispi.inf_amd64_...`.
    drivers = host.list_directory("/usr/lib/wsl/drivers")
    if "dxg" in devices and (not drivers or any(name.startswith("nv") for name in drivers)):
        return (
            "Windows lends its graphics (/dev/dxg), but NVIDIA's library libnvidia-ml.so.1 is not"
            " found. A card of NVIDIA needs its driver in Windows, none in WSL, and `wsl --update`.",
        )
    return ()


def _driver_or_card(host: Host) -> bool:
    """Whether there is a reason to ask NVML (Linux): its driver, Windows' below WSL, or a card."""
    devices = host.list_directory("/dev")
    return bool({"nvidiactl", "dxg"} & set(devices) or list_gpus(host, NVIDIA))


def _from_nvml(
    host: Host,
    nvml: Any,  # noqa: ANN401  # pynvml has no types
) -> tuple[tuple[SystemGpu, ...], tuple[str, ...]]:
    """Ask NVML for every card, and for the PCI addresses, empty where it does not tell.

    Raises:
        ProbeError: NVML does not start; the text is NVML's own.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise ProbeError(_words(error)) from error
    try:
        count = nvml.nvmlDeviceGetCount()
        gpus = tuple(gpu for index in range(count) for gpu in _cards(host, nvml, index))
        return gpus, tuple(_slot(nvml, index) for index in range(count))
    except nvml.NVMLError as error:
        raise ProbeError(_words(error)) from error
    finally:
        nvml.nvmlShutdown()


def _cards(host: Host, nvml: Any, index: int) -> tuple[SystemGpu, ...]:  # noqa: ANN401
    """Return one card, or the parts that it is divided into (MIG): only those can be used."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        parts = _parts(nvml, handle)
        return tuple(_card(host, nvml, each) for each in parts or [handle])
    except nvml.NVMLError as error:
        # One lost card must not hide the others.
        name = f"NVIDIA GPU {index}"
        return (SystemGpu(name, "nvidia", None, None, False, None, "NVML", _words(error)),)


def _slot(nvml: Any, index: int) -> str:  # noqa: ANN401
    """Return a card's address as Linux writes it: `0000:01:00.0`."""
    try:
        info = nvml.nvmlDeviceGetPciInfo(nvml.nvmlDeviceGetHandleByIndex(index))
    except nvml.NVMLError:
        return ""
    return f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"


def _parts(nvml: Any, handle: Any) -> list[Any]:  # noqa: ANN401
    try:
        divided, _ = nvml.nvmlDeviceGetMigMode(handle)
        most = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if divided else 0
    except nvml.NVMLError:
        return []  # most cards cannot be divided
    parts = []
    for number in range(most):
        with suppress(nvml.NVMLError):  # not all of the places need be taken
            parts.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
    return parts


def _card(host: Host, nvml: Any, handle: Any) -> SystemGpu:  # noqa: ANN401
    name = _text(nvml.nvmlDeviceGetName(handle))
    # Some releases of the driver count main memory as the card's own on chips that share it.
    unified, problem = _shares_memory(name), ""
    total_bytes: int | None = None
    free_bytes: int | None = None
    try:
        if not unified:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            total_bytes, free_bytes = int(memory.total), int(memory.free)
    except nvml.NVMLError_NotSupported:
        # Chips that share main memory (GB10, Jetson) have no memory of their own to report.
        unified = True
    except nvml.NVMLError as error:
        problem = _words(error)
    bandwidth = _bandwidth(nvml, handle) or bandwidth_of(name, total_bytes)
    users = () if unified else gpu_users.named(host, _held(nvml, handle))
    return SystemGpu(
        name,
        "nvidia",
        total_bytes,
        free_bytes,
        unified,
        bandwidth,
        "NVML",
        problem,
        users,
        capability=_capability(nvml, handle),
        runtime=_runtime(nvml),
    )


def _shares_memory(name: str) -> bool:
    """Whether the table knows a chip that uses main memory, or the driver calls it one of Tegra's."""
    cards = find_cards(name)
    return "(nvgpu)" in name or (bool(cards) and all(card.memory_gib is None for card in cards))


def _capability(nvml: Any, handle: Any) -> str:  # noqa: ANN401
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return ""
    return f"{major}.{minor}"


def _runtime(nvml: Any) -> str:  # noqa: ANN401
    """Return the newest CUDA that the driver can run; NVML says 12040 for 12.4."""
    try:
        number = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    except nvml.NVMLError:
        return ""
    return f"CUDA {number // 1000}.{number % 1000 // 10}"


def _held(nvml: Any, handle: Any) -> dict[int, int]:  # noqa: ANN401
    """Return the bytes that each process holds, by its number.

    Windows' usual driver model keeps them to itself: NVML then gives no figure.
    """
    held: dict[int, int] = {}
    for ask in (
        nvml.nvmlDeviceGetComputeRunningProcesses,
        nvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        try:
            processes = ask(handle)
        except nvml.NVMLError:
            continue
        for process in processes:
            # A process that draws and computes is in both lists, with all it holds.
            held[process.pid] = max(held.get(process.pid, 0), process.usedGpuMemory or 0)
    return held


def _bandwidth(nvml: Any, handle: Any) -> float | None:  # noqa: ANN401
    """Return bus width x memory clock x 2 transfers a clock, in bytes per second.

    The factor 2 is that of CUDA's deviceQuery sample; NVML reports the clock of GDDR and
    HBM memory so that it holds for both (RTX 4090: 10,501 MHz x 384 bit = 1008 GB/s).
    """
    try:
        bits = nvml.nvmlDeviceGetMemoryBusWidth(handle)
        megahertz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
    except nvml.NVMLError:
        return None
    return 2.0 * megahertz * 1e6 * bits / 8 or None


def _silent_cards(host: Host, cards: tuple[PciGpu, ...], why: str = "") -> tuple[SystemGpu, ...]:
    """Return cards of Linux' PCI bus, each with the reason why it does not work.

    Args:
        host: The computer.
        cards: Those that NVML says nothing of.
        why: What it says instead; empty where it works and leaves them out.
    """
    names = ProductNames(host)
    return tuple(_silent_card(host, card, names, why) for card in cards)


def _silent_card(host: Host, card: PciGpu, names: ProductNames, why: str) -> SystemGpu:
    model = re.search(
        r"^Model:\s*(.+)$",
        host.read_text(f"/proc/driver/nvidia/gpus/{card.slot}/information") or "",
        re.MULTILINE,
    )
    found = model.group(1).strip() if model else names.of(card)
    name = found or f"NVIDIA GPU {card.device_id}"
    loaded = "nvidiactl" in host.list_directory("/dev")
    if card.kept_for_guest:
        why = card.kept_for_guest
    elif card.driver and card.driver != "nvidia":
        why = f"It is run by {card.driver}, not by NVIDIA's driver."
    elif not card.driver and not loaded:
        why = "No driver runs it."
    elif not card.driver and not why:
        why = (
            "No driver runs it. NVIDIA's driver is there and leaves it out, as releases after 580"
            " do with cards older than the RTX 20 and GTX 16."
        )
    why = why or "NVIDIA's driver does not list the card."
    guest = bool(card.kept_for_guest)
    return SystemGpu(name, "nvidia", None, None, False, None, "PCI bus", why, out_of_reach=guest)


def _words(error: Exception) -> str:
    text = str(error).strip()
    return text if text.endswith(".") else f"{text}."


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
