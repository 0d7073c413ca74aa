"""Graphics of a Mac: Apple's chips, and the cards of Intel Macs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from localr1.machine.findings import Findings
from localr1.machine.gpu_table import bandwidth_of, vendor_of
from localr1.machine.host import ProbeError
from localr1.machine.types import SystemGpu

if TYPE_CHECKING:
    from localr1.machine.host import Host

_MIB = 1 << 20
_GIB = 1 << 30


def probe(host: Host) -> Findings:
    """Return the graphics that system_profiler lists."""
    if host.system != "Darwin":
        return Findings()
    problems: tuple[str, ...] = ()
    displays: list[dict[str, Any]] = []
    try:
        displays = _displays(host.run("system_profiler", "-json", "SPDisplaysDataType"))
    except ProbeError as error:
        problems = (str(error),)
    if host.architecture != "arm64":
        return Findings(tuple(_card(display) for display in displays), problems)
    try:
        return Findings((_chip(host, displays),), problems)
    except ProbeError as error:
        return Findings(problems=(*problems, str(error)))


def _chip(host: Host, displays: list[dict[str, Any]]) -> SystemGpu:
    """Describe an Apple chip; its name comes from sysctl where system_profiler is silent."""
    first = next((d for d in displays if "apple" in str(d.get("spdisplays_vendor")).lower()), {})
    name = str(first.get("sppci_model") or host.run("sysctl", "-n", "machdep.cpu.brand_string"))
    cores = str(first.get("sppci_cores", ""))
    ram_bytes, _ = host.virtual_memory()
    return SystemGpu(
        name.strip(),
        "apple",
        working_set_bytes(ram_bytes, _wired_limit_bytes(host)),
        None,
        True,
        bandwidth_of(name, gpu_cores=int(cores) if cores.isdigit() else None),
        "system_profiler" if first else "sysctl",
    )


def working_set_bytes(ram_bytes: int, wired_limit_bytes: int = 0) -> int:
    """Return how much main memory macOS lets the GPU use.

    The limit that its owner set counts (`sysctl iogpu.wired_limit_mb`; 0 is the default).
    The default is what Metal reports as recommendedMaxWorkingSetSize: in llama.cpp's logs
    2/3 of 16 GiB (11453.25 MB) and 3/4 from 36 GiB on (28991.03 MB of 36 GiB); some releases of macOS allow more.
    """
    if 0 < wired_limit_bytes <= ram_bytes:
        return wired_limit_bytes
    return ram_bytes * 3 // 4 if ram_bytes >= 36 * _GIB else ram_bytes * 2 // 3


def _wired_limit_bytes(host: Host) -> int:
    try:
        text = host.run("sysctl", "-n", "iogpu.wired_limit_mb").strip()
    except ProbeError:
        # Releases before macOS 14 have no such setting.
        return 0
    return int(text) * _MIB if text.isdigit() else 0


def _displays(text: str) -> list[dict[str, Any]]:
    try:
        listed = json.loads(text)["SPDisplaysDataType"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeError("system_profiler's answer about displays cannot be read.") from error
    return [entry for entry in listed if isinstance(entry, dict)]


def _card(display: dict[str, Any]) -> SystemGpu:
    """Describe a GPU of an Intel Mac; memory is text such as `8 GB` or `1536 MB`."""
    name = str(display.get("sppci_model") or display.get("_name") or "GPU")
    shared = display.get("spdisplays_vram_shared")
    text = str(shared or display.get("spdisplays_vram") or display.get("_spdisplays_vram") or "")
    size = re.match(r"(\d+) (MB|GB)", text)
    total = int(size.group(1)) * (_GIB if size.group(2) == "GB" else _MIB) if size else None
    vendor = vendor_of(f"{name} {display.get('spdisplays_vendor', '')}".replace("_", " "))
    bandwidth = bandwidth_of(name, total)
    return SystemGpu(name, vendor, total, None, shared is not None, bandwidth, "system_profiler")
