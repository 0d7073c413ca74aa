"""What a computer has, as immutable values that go to JSON and back.

`System` is what the operating system says; `EngineInfo` is what llama.cpp says about
itself; `Machine` is both reconciled, and the form of `machine --json` and `--profile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DeviceKind = Literal["cpu", "gpu", "igpu", "accelerator"]
Vendor = Literal["nvidia", "amd", "intel", "apple", "unknown"]


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
    numa_nodes: int = 1
    """Groups of cores with memory of their own; with more than one, far memory is slower."""


@dataclass(frozen=True)
class Memory:
    """Main memory, with container limits applied."""

    total_bytes: int
    available_bytes: int
    bandwidth_bytes_per_second: float | None = None
    """Read bandwidth; None where nobody measured it."""
    swap_bytes: int = 0
    """Room on a disk for what does not fit; a model that gets there is a hundred times slower."""


@dataclass(frozen=True)
class GpuUser:
    """A program that holds memory of a graphics processor."""

    name: str
    """Of its process: `firefox`."""
    held_bytes: int


@dataclass(frozen=True)
class SystemGpu:
    """A graphics processor as the operating system or its driver reports it."""

    name: str
    vendor: Vendor
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
    users: tuple[GpuUser, ...] = ()
    """Who holds its memory, where the driver says."""
    capability: str = ""
    """What code it runs, in its maker's words: `8.9` (CUDA), `gfx1100` (ROCm)."""
    runtime: str = ""
    """The newest release that its driver can run: `CUDA 12.4`."""
    out_of_reach: bool = False
    """The problem is how it is meant to be, or nothing can be done: a card that a virtual machine
    is given, or one too old."""


@dataclass(frozen=True)
class Power:
    """Where the electricity comes from."""

    on_battery: bool | None
    """None where there is no way to tell."""
    percent: float | None
    watts: float | None = None
    """What is drawn from the battery; None where it rests or the system does not say."""


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
class Kernel:
    """How fast llama.cpp's CPU code for one type of data is on one core."""

    kind: str
    """A weight type (`Q4_K`), or `attention` and a cache type (`attention F16`)."""
    one: float
    """For a single token: bytes of weights read per second; of attention, multiplications and
    additions per second."""
    many: float
    """For many tokens at once: multiplications and additions per second."""


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
    kernels: tuple[Kernel, ...] = ()
    """Measured on this computer; empty where nobody did."""
    compiled: tuple[str, ...] = ()
    """Backends that the build has, also those that found no device."""
    words: str = ""
    """What it complained of while it looked for devices."""
    build: str = ""
    """Version and commit of its ggml, in its own words; empty where nobody asked."""


@dataclass(frozen=True)
class Link:
    """The network between this computer and another one, as measured just now."""

    endpoint: str
    """The other one: `host:port`."""
    round_trip_seconds: float
    """There and back, for a word."""
    up_bytes_per_second: float
    """From here to there."""
    down_bytes_per_second: float


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
    users: tuple[GpuUser, ...] = ()
    """Who holds its memory, where the driver says. Not part of a profile: what a person runs is
    nobody else's business."""
    capability: str = ""
    """As `SystemGpu.capability`."""
    runtime: str = ""
    """As `SystemGpu.runtime`."""
    link: Link | None = None
    """How it is reached where another computer lends it; None where it is of this one, or nobody
    measured. Not part of a profile: addresses are nobody else's business either."""

    @property
    def lent(self) -> bool:
        """Whether there is a network between it and this computer."""
        return self.link is not None


@dataclass(frozen=True)
class Correction:
    """How recorded runs on a computer compared with the plain estimate: measured over estimated."""

    devices: str
    """What computed: `CPU`, or the products' names."""
    family: str
    """Of weight types, by the one that most matrices have; empty for all of them together."""
    what: Literal["generation", "prompt"]
    low: float
    expected: float
    high: float
    runs: int
    """How many it comes from."""


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
    corrections: tuple[Correction, ...] = ()
    """What its own runs say of the speed estimate; empty where none were recorded."""

    @property
    def gpus(self) -> tuple[Device, ...]:
        """The devices other than the CPU that the engine can use."""
        return tuple(d for d in self.devices if d.kind != "cpu" and d.usable_by_engine)

    @property
    def used_features(self) -> tuple[str, ...]:
        """What of the processor's instructions the installed llama.cpp was built to use.

        None where it was built without the faster layouts of weights that they are for.
        """
        info = self.engine.system_info
        if not info:
            return self.cpu.features
        flags = {part.rpartition(":")[2].strip() for part in info.split("|")}
        if "REPACK = 1" not in flags:
            return ()
        return tuple(name for name in self.cpu.features if f"{name} = 1" in flags)
