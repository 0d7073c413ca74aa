"""What the computer says of itself right now: how busy, how warm, how much memory is in use.

Cheap enough for once a second, and free while nobody looks. What the system does not say is None.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from localr1.machine import memory, power
from localr1.machine.host import Host, ProbeError, read_int
from localr1.machine.pci import AMD, INTEL, PciGpu, list_gpus
from localr1.machine.types import Memory, Power, SystemGpu

# Which sensor is the processor's: names of the kernel's drivers (Documentation/hwmon), and of
# what it calls thermal zones.
_CPU_CHIPS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")
_CPU_ZONES: Final = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal", "cpuss-thermal")
_HWMON: Final = "/sys/class/hwmon"
_ZONES: Final = "/sys/class/thermal"
# Sensors that are absent say 0 or absurd figures.
_COLDEST, _HOTTEST = 1.0, 150.0
_T = TypeVar("_T")


@dataclass(frozen=True)
class GpuNow:
    """One graphics processor at one moment."""

    gpu: SystemGpu
    """Which, with what of its memory is free now."""
    busy_share: float | None = None
    """Of the time, 0 to 1."""
    celsius: float | None = None
    watts: float | None = None


@dataclass(frozen=True)
class Now:
    """The computer at one moment."""

    memory: Memory
    power: Power
    cpu_share: float | None = None
    """Of all logical cores since the look before, 0 to 1."""
    cpu_celsius: float | None = None
    engine_bytes: int | None = None
    """Of main memory, what the engine's process holds, file pages among it."""
    gpus: tuple[GpuNow, ...] = ()


_NO_GPUS: Final[tuple[GpuNow, ...]] = ()


class Gauges:
    """Looks at one computer again and again.

    Args:
        host: Which; this one by default.
    """

    def __init__(self, host: Host | None = None) -> None:
        self._host = host or Host()
        self._looked = False
        self._nvml: Any = None
        self._cards: tuple[PciGpu, ...] | None = None

    def look(self, process_id: int | None = None) -> Now:
        """What the computer says now. Not for the event loop: a driver may take a while.

        Args:
            process_id: The engine's.
        """
        host = self._host
        share = _asked(host.cpu_share, None)
        first, self._looked = not self._looked, True
        return Now(
            memory=_asked(lambda: memory.probe(host), Memory(0, 0)),
            power=_asked(lambda: power.probe(host), Power(None, None)),
            # The first figure has nothing before it that it could be a share of.
            cpu_share=None if first else share,
            cpu_celsius=_asked(lambda: _cpu_celsius(host), None),
            engine_bytes=None
            if process_id is None
            else _asked(lambda: host.resident_bytes(process_id), None),
            gpus=(
                *_asked(self._nvidia, _NO_GPUS),
                *_asked(self._on_the_bus, _NO_GPUS),
                *_asked(lambda: _apple(host), _NO_GPUS),
            ),
        )

    def close(self) -> None:
        """Let the driver's library go."""
        if self._nvml is not None:
            nvml, self._nvml = self._nvml, None
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _nvidia(self) -> tuple[GpuNow, ...]:
        if self._host.system == "Darwin":
            return ()
        if self._host.system == "Linux" and not (
            {"nvidiactl", "dxg"} & set(self._host.list_directory("/dev"))
        ):
            return ()
        try:
            nvml = self._nvml or self._host.nvml()
        except ProbeError:
            return ()
        try:
            if self._nvml is None:
                nvml.nvmlInit()
                self._nvml = nvml
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError:
            return ()  # told where the machine is examined
        found = []
        for index in range(count):
            with suppress(nvml.NVMLError):  # one lost card must not hide the others
                found.append(_nvidia_card(nvml, nvml.nvmlDeviceGetHandleByIndex(index)))
        return tuple(found)

    def _on_the_bus(self) -> tuple[GpuNow, ...]:
        """AMD's and Intel's cards on Linux."""
        host = self._host
        if host.system != "Linux":
            return ()
        if self._cards is None:
            self._cards = (*list_gpus(host, AMD), *list_gpus(host, INTEL))
        return tuple(_card(host, card) for card in self._cards if card.driver)


class Watcher:
    """Looks every so often in a thread of its own, which never keeps the program from ending.

    Args:
        gauges: What looks.
        process_id: Says which process is the engine's; None where there is none.
        tell: Called in that thread with what was seen.
        every_seconds: Between two looks.
    """

    def __init__(
        self,
        gauges: Gauges,
        process_id: Callable[[], int | None],
        tell: Callable[[Now], None],
        every_seconds: float = 1.0,
    ) -> None:
        self._gauges = gauges
        self._process_id = process_id
        self._tell = tell
        self._every_seconds = every_seconds
        self._end = threading.Event()
        # A driver that hangs hangs this thread alone.
        self._thread = threading.Thread(target=self._work, name="gauges", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; nothing is told from now on."""
        self._end.set()

    def _work(self) -> None:
        try:
            while not self._end.is_set():
                seen = self._gauges.look(self._process_id())
                if not self._end.is_set():
                    self._tell(seen)
                self._end.wait(self._every_seconds)
        finally:
            self._gauges.close()


def _asked(ask: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return ask()
    except Exception:  # noqa: BLE001  # what one sensor meets leaves the others alone
        return otherwise


def _nvidia_card(nvml: Any, handle: Any) -> GpuNow:  # noqa: ANN401  # pynvml has no types
    def asked(ask: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            return ask()
        except nvml.NVMLError:
            return None  # many chips keep some figures to themselves

    name = nvml.nvmlDeviceGetName(handle)
    size = asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = asked(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    celsius = asked(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    milliwatts = asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    gpu = SystemGpu(
        name.decode(errors="replace") if isinstance(name, bytes) else name,
        "nvidia",
        int(size.total) if size else None,
        int(size.free) if size else None,
        size is None,
        None,
        "NVML",
    )
    return GpuNow(
        gpu,
        rates.gpu / 100 if rates else None,
        _sound(celsius),
        milliwatts / 1000 if milliwatts else None,
    )


def _card(host: Host, card: PciGpu) -> GpuNow:
    """A card of AMD's or Intel's, by its driver's files; Intel's say least."""
    folder = card.folder
    total = read_int(host, f"{folder}/mem_info_vram_total")
    used = read_int(host, f"{folder}/mem_info_vram_used")
    busy = read_int(host, f"{folder}/gpu_busy_percent")
    celsius = watts = None
    for chip in host.list_directory(f"{folder}/hwmon"):
        place = f"{folder}/hwmon/{chip}"
        celsius = celsius or _thousandths(host, f"{place}/temp1_input")
        microwatts = read_int(host, f"{place}/power1_average")
        watts = watts or (microwatts / 1e6 if microwatts else None)
    vendor = "amd" if card.vendor_id == AMD else "intel"
    free = total - used if total is not None and used is not None else None
    gpu = SystemGpu(
        (host.read_text(f"{folder}/product_name") or "").strip() or vendor.upper(),
        "amd" if card.vendor_id == AMD else "intel",
        total,
        free,
        total is None,
        None,
        "sysfs",
    )
    return GpuNow(gpu, busy / 100 if busy is not None else None, celsius, watts)


def _apple(host: Host) -> tuple[GpuNow, ...]:
    """Apple's chips: what `ioreg` prints of the accelerator's own statistics."""
    if host.system != "Darwin" or host.architecture != "arm64":
        return ()
    try:
        text = host.run("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
    except ProbeError:
        return ()
    busy = re.search(r'"Device Utilization %"=(\d+)', text)
    model = re.search(r'"model" = "([^"]+)"', text)
    if busy is None:
        return ()
    gpu = SystemGpu(model.group(1) if model else "GPU", "apple", None, None, True, None, "ioreg")
    return (GpuNow(gpu, int(busy.group(1)) / 100),)


def _cpu_celsius(host: Host) -> float | None:
    """The processor's temperature on Linux; elsewhere only administrators may read it."""
    if host.system != "Linux":
        return None
    found: list[float] = []
    for chip in host.list_directory(_HWMON):
        if (host.read_text(f"{_HWMON}/{chip}/name") or "").strip() in _CPU_CHIPS:
            value = _thousandths(host, f"{_HWMON}/{chip}/temp1_input")
            found += [] if value is None else [value]
    if not found:
        for zone in host.list_directory(_ZONES):
            if (host.read_text(f"{_ZONES}/{zone}/type") or "").strip() in _CPU_ZONES:
                value = _thousandths(host, f"{_ZONES}/{zone}/temp")
                found += [] if value is None else [value]
    return max(found, default=None)


def _thousandths(host: Host, path: str) -> float | None:
    value = read_int(host, path)
    return None if value is None else _sound(value / 1000)


def _sound(celsius: float | None) -> float | None:
    return celsius if celsius is not None and _COLDEST <= celsius <= _HOTTEST else None
