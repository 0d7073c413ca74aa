"""A computer on file: what one answered to every question, replayed.

`RecordingHost` asks the real computer and keeps the answers; `RecordedHost` gives them
again. Recordings are JSON: `source` says where the answers come from.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from localr1.machine.host import Host, ProbeError

MACHINES = Path(__file__).parents[1] / "data" / "machines"


class NvmlError(Exception):
    """Stands for pynvml.NVMLError."""


class NvmlNotSupportedError(NvmlError):
    """Stands for pynvml.NVMLError_NotSupported."""


class RecordedNvml:
    """The part of pynvml that the probe uses, answering from a recording."""

    NVMLError = NvmlError
    NVMLError_NotSupported = NvmlNotSupportedError
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, recording: dict[str, Any]) -> None:
        self._error: str = recording.get("error", "")
        self._cards: list[dict[str, Any]] = recording.get("cards", [])
        self._cuda: int | None = recording.get("cuda")
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's own names
        if self._error:
            raise NvmlError(self._error)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        card = self._cards[index]
        if "error" in card:
            raise NvmlError(card["error"])
        return card

    def nvmlDeviceGetPciInfo(self, card: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        if "slot" not in card:
            raise NvmlNotSupportedError("Not Supported")
        domain, bus, device = (int(part, 16) for part in card["slot"].partition(".")[0].split(":"))
        return SimpleNamespace(domain=domain, bus=bus, device=device)

    def nvmlDeviceGetName(self, card: dict[str, Any]) -> str:  # noqa: N802
        return str(card["name"])

    def nvmlDeviceGetMemoryInfo(self, card: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        if card["memory"] is None:
            raise NvmlNotSupportedError("Not Supported")
        return SimpleNamespace(total=card["memory"][0], free=card["memory"][1])

    def nvmlDeviceGetMemoryBusWidth(self, card: dict[str, Any]) -> int:  # noqa: N802
        return self._number(card, "bus_width_bits")

    def nvmlDeviceGetMaxClockInfo(self, card: dict[str, Any], kind: int) -> int:  # noqa: N802
        assert kind == self.NVML_CLOCK_MEM
        return self._number(card, "memory_clock_mhz")

    def nvmlDeviceGetComputeRunningProcesses(  # noqa: N802
        self, card: dict[str, Any]
    ) -> list[SimpleNamespace]:
        return self._processes(card, "compute_processes")

    def nvmlDeviceGetGraphicsRunningProcesses(  # noqa: N802
        self, card: dict[str, Any]
    ) -> list[SimpleNamespace]:
        return self._processes(card, "graphics_processes")

    def nvmlDeviceGetUtilizationRates(self, card: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=self._number(card, "busy_percent"))

    def nvmlDeviceGetTemperature(self, card: dict[str, Any], kind: int) -> int:  # noqa: N802
        assert kind == self.NVML_TEMPERATURE_GPU
        return self._number(card, "celsius")

    def nvmlDeviceGetPowerUsage(self, card: dict[str, Any]) -> int:  # noqa: N802
        return self._number(card, "milliwatts")

    def nvmlDeviceGetMigMode(self, card: dict[str, Any]) -> tuple[int, int]:  # noqa: N802
        if "parts" not in card:
            raise NvmlNotSupportedError("Not Supported")
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, card: dict[str, Any]) -> int:  # noqa: N802
        del card
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(  # noqa: N802
        self, card: dict[str, Any], index: int
    ) -> dict[str, Any]:
        if index >= len(card["parts"]):
            raise NvmlError("Not Found")
        part: dict[str, Any] = card["parts"][index]
        return part

    def nvmlDeviceGetCudaComputeCapability(  # noqa: N802
        self, card: dict[str, Any]
    ) -> tuple[int, int]:
        if card.get("capability") is None:
            raise NvmlNotSupportedError("Not Supported")
        major, minor = card["capability"]
        return major, minor

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        if self._cuda is None:
            raise NvmlError("Function Not Found")
        return self._cuda

    def _processes(self, card: dict[str, Any], key: str) -> list[SimpleNamespace]:
        if key not in card:
            raise NvmlNotSupportedError("Not Supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in card[key]]

    def _number(self, card: dict[str, Any], key: str) -> int:
        if card.get(key) is None:
            raise NvmlNotSupportedError("Not Supported")
        return int(card[key])


class RecordedHost(Host):
    """A computer that answers from a recording, or from keywords given by a test."""

    def __init__(self, recording: dict[str, Any]) -> None:
        super().__init__()
        self.system = recording["system"]
        self.release = recording.get("release", "")
        self.architecture = recording["architecture"]
        self._r = recording

    @classmethod
    def load(cls, name: str) -> RecordedHost:
        return cls(json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8")))

    def read_text(self, path: str) -> str | None:
        text: str | None = self._r.get("files", {}).get(path)
        return text

    def list_directory(self, path: str) -> tuple[str, ...]:
        inside = [
            file.removeprefix(f"{path}/").split("/")[0]
            for file in self._r.get("files", {})
            if file.startswith(f"{path}/")
        ]
        listed = self._r.get("directories", {}).get(path, ())
        # The driver that answers through NVML has its device there.
        driver = ("nvidiactl",) if path == "/dev" and "nvml" in self._r else ()
        return tuple(sorted({*inside, *listed, *driver}))

    def run(self, *command: str, limit_seconds: float = 0) -> str:
        del limit_seconds
        text: str | None = self._r.get("commands", {}).get(" ".join(command))
        if text is None:
            raise ProbeError(f"{command[0]} is not installed.")
        return text

    def cpu_affinity(self) -> frozenset[int] | None:
        allowed = self._r.get("affinity")
        return None if allowed is None else frozenset(allowed)

    def cpu_count(self, *, logical: bool) -> int | None:
        counts: list[int] = self._r["cpu_counts"]
        return counts[0] if logical else counts[1]

    def virtual_memory(self) -> tuple[int, int]:
        total, available = self._r["memory"]
        return total, available

    def swap_bytes(self) -> int:
        size: int = self._r.get("swap", 0)
        return size

    def battery(self) -> tuple[bool | None, float] | None:
        state = self._r.get("battery")
        return None if state is None else (state[0], state[1])

    def cpu_share(self) -> float:
        share: float = self._r.get("cpu_share", 0.0)
        return share

    def resident_bytes(self, number: int) -> int | None:
        held: int | None = self._r.get("resident", {}).get(str(number))
        return held

    def process_name(self, number: int) -> str | None:
        name: str | None = self._r.get("processes", {}).get(str(number))
        return name

    def nvml(self) -> Any:
        return RecordedNvml(self._r.get("nvml", {"error": "NVML Shared Library Not Found"}))

    def registry_keys(self, path: str) -> tuple[str, ...]:
        keys = self._r.get("registry", {})
        return tuple(sorted(k.rpartition("\\")[2] for k in keys if k.rpartition("\\")[0] == path))

    def registry_value(self, path: str, name: str) -> str | int | bytes | None:
        value: str | int | None = self._r.get("registry", {}).get(path, {}).get(name)
        return value

    def present_devices(self, class_id: str) -> tuple[str, ...] | None:
        listed = self._r.get("present", {}).get(class_id)
        return None if listed is None else tuple(listed)

    def processor_feature(self, number: int) -> bool:
        return number in self._r.get("processor_features", ())

    def processor_relations(self) -> bytes:
        return bytes.fromhex(self._r.get("processor_relations", ""))


class RecordingHost(Host):
    """The real computer; every answer of its files and programs is kept in `recording`."""

    def __init__(self) -> None:
        super().__init__()
        self.recording: dict[str, Any] = {
            "system": self.system,
            "release": self.release,
            "architecture": self.architecture,
            "files": {},
            "directories": {},
            "commands": {},
        }

    def read_text(self, path: str) -> str | None:
        text = super().read_text(path)
        if text is not None:
            self.recording["files"][path] = text
        return text

    def list_directory(self, path: str) -> tuple[str, ...]:
        names = super().list_directory(path)
        self.recording["directories"][path] = list(names)
        return names

    def run(self, *command: str, limit_seconds: float = 2.5) -> str:
        text = super().run(*command, limit_seconds=limit_seconds)
        self.recording["commands"][" ".join(command)] = text
        return text

    def cpu_affinity(self) -> frozenset[int] | None:
        allowed = super().cpu_affinity()
        self.recording["affinity"] = None if allowed is None else sorted(allowed)
        return allowed

    def virtual_memory(self) -> tuple[int, int]:
        values = super().virtual_memory()
        self.recording["memory"] = list(values)
        return values

    def battery(self) -> tuple[bool | None, float] | None:
        state = super().battery()
        self.recording["battery"] = None if state is None else list(state)
        return state

    def nvml(self) -> Any:
        nvml = super().nvml()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self.recording["nvml"] = {"error": str(error)}
            return nvml
        cards = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            cards.append(
                {
                    "name": nvml.nvmlDeviceGetName(handle),
                    "memory": [memory.total, memory.free],
                    "bus_width_bits": nvml.nvmlDeviceGetMemoryBusWidth(handle),
                    "capability": nvml.nvmlDeviceGetCudaComputeCapability(handle),
                    "memory_clock_mhz": nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM),
                }
            )
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        nvml.nvmlShutdown()
        self.recording["nvml"] = {"cards": cards, "cuda": cuda}
        return nvml
