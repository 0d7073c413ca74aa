"""What a computer has, as immutable values that go to JSON and back.

`System` is what the operating system says; `EngineInfo` is what llama.cpp says about
itself; `Machine` is both reconciled, and the form of `machine --json` and `--profile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DeviceKind = Literal["cpu", "gpu", "igpu", "accelerator"]


@dataclass(frozen=True)
class Cpu:
    """The processor."""

    name: str
    """Marketing name, as the system gives it."""
    physical_cores: int
    logical_cores: int
    performance_cores: int
    """Cores worth giving to llama.cpp: the fast ones where there are two kinds, else physical."""
    features: tuple[str, ...]
    """Instruction sets that llama.cpp uses, in its own spelling: `AVX2`, `FMA`, `NEON`, ..."""


@dataclass(frozen=True)
class Memory:
    """Main memory, with container limits applied."""

    total_bytes: int
    available_bytes: int
    bandwidth_bytes_per_second: float | None = None
    """Read bandwidth; None where nobody measured it."""


@dataclass(frozen=True)
class SystemGpu:
    """A graphics processor as the operating system or its driver reports it."""

    name: str
    vendor: Literal["nvidia", "amd", "intel", "apple", "unknown"]
    total_bytes: int | None
    """Dedicated memory; None where the system does not say."""
    free_bytes: int | None
    unified: bool
    """True where the GPU shares main memory."""
    bandwidth_bytes_per_second: float | None
    source: str
    """Who said so: `NVML`, `sysfs`, `system_profiler`, ..."""
    problem: str = ""
    """What is wrong with it, in the driver's words; empty when it works."""


@dataclass(frozen=True)
class Power:
    """Where the electricity comes from."""

    on_battery: bool | None
    """None where there is no way to tell."""
    percent: float | None


@dataclass(frozen=True)
class System:
    """What the operating system says about the computer."""

    operating_system: str
    """Name, release and architecture, for people: `Linux 6.1 x86_64`."""
    cpu: Cpu
    memory: Memory
    gpus: tuple[SystemGpu, ...]
    power: Power
    problems: tuple[str, ...] = ()
    """What a probe could not find out, one sentence each."""


@dataclass(frozen=True)
class EngineDevice:
    """A device in llama.cpp's own list (`ggml_backend_dev_*`)."""

    name: str
    """`CPU`, `CUDA0`, `Metal`, `Vulkan0`, `RPC0`."""
    description: str
    kind: DeviceKind
    total_bytes: int
    """0 where the backend does not know."""
    free_bytes: int


@dataclass(frozen=True)
class EngineInfo:
    """What the installed llama.cpp is and can compute on."""

    version: str
    """Version of llama-cpp-python; empty when it is not installed or does not start."""
    backends: tuple[str, ...]
    """Backends compiled in and working: `CPU`, `CUDA`, ..."""
    devices: tuple[EngineDevice, ...]
    system_info: str = ""
    """llama.cpp's own feature line (`llama_print_system_info`)."""
    problem: str = ""
    """Why the engine does not start, in its own words; empty when it does."""


@dataclass(frozen=True)
class Device:
    """A memory pool that llama.cpp can compute on, or a GPU it cannot use and why."""

    name: str
    """The engine's name where it has one (`CPU`, `CUDA0`), else the system's."""
    description: str
    """The product's name."""
    kind: DeviceKind
    vendor: str
    backend: str
    """`CPU`, `CUDA`, `Metal`, `Vulkan`, ...; empty when the engine cannot use it."""
    total_bytes: int
    free_bytes: int
    unified: bool
    """True where this memory is main memory; it must not be counted twice."""
    bandwidth_bytes_per_second: float | None
    usable_by_engine: bool
    reason: str
    """Why it is or is not usable, in a few words."""


@dataclass(frozen=True)
class Machine:
    """One computer: what it has and what llama.cpp can use of it, at one moment."""

    operating_system: str
    cpu: Cpu
    memory: Memory
    devices: tuple[Device, ...]
    """The CPU's device first, then GPUs."""
    engine: EngineInfo
    power: Power
    problems: tuple[str, ...] = ()

    @property
    def gpus(self) -> tuple[Device, ...]:
        """The devices other than the CPU that the engine can use."""
        return tuple(d for d in self.devices if d.kind != "cpu" and d.usable_by_engine)
