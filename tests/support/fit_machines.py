"""Machines that the fit tests place models on, and the real catalogue."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from localr1.fit.placement import place
from localr1.machine.types import Cpu, Device, EngineInfo, Link, Machine, Memory, Power
from localr1.models import catalog
from localr1.models.types import Model, Variant

GIB = 1 << 30
AVX2 = ("AVX", "AVX2", "FMA", "F16C")
AVX512 = (*AVX2, "AVX512")
ARM = ("NEON", "DOTPROD", "MATMUL_INT8")


@cache
def catalogue() -> catalog.Catalogue:
    """The catalogue that localr1 comes with."""
    return catalog.load()


def model(model_id: str) -> Model:
    """A model of the catalogue."""
    return catalogue().model(model_id)


def variant(model_id: str, quantization: str) -> Variant:
    """A variant of a model of the catalogue."""
    return next(v for v in model(model_id).variants if v.quantization == quantization)


def machine(  # noqa: PLR0913 - a machine has that many sides
    total_gib: float,
    available_gib: float,
    *gpus: Device,
    cores: int = 8,
    features: tuple[str, ...] = AVX2,
    bandwidth_gb: float | None = None,
    system: str = "Linux 6.1 x86_64",
) -> Machine:
    """A computer with so much main memory and these GPUs."""
    memory = Memory(
        int(total_gib * GIB),
        int(available_gib * GIB),
        None if bandwidth_gb is None else bandwidth_gb * 1e9,
    )
    cpu = Device(
        name="CPU",
        description="a processor",
        kind="cpu",
        vendor="",
        backend="CPU",
        total_bytes=memory.total_bytes,
        free_bytes=memory.available_bytes,
        unified=False,
        bandwidth_bytes_per_second=memory.bandwidth_bytes_per_second,
        usable_by_engine=True,
        reason="main memory",
    )
    return Machine(
        operating_system=system,
        cpu=Cpu("a processor", cores, 2 * cores, cores, features),
        memory=memory,
        devices=(cpu, *gpus),
        engine=EngineInfo("0.3.36", ("CPU",), ()),
        power=Power(None, None),
    )


def cuda(
    index: int, name: str, total_gib: float, free_gib: float, bandwidth_gb: float | None
) -> Device:
    """An NVIDIA card."""
    return Device(
        name=f"CUDA{index}",
        description=f"NVIDIA GeForce {name}",
        kind="gpu",
        vendor="nvidia",
        backend="CUDA",
        total_bytes=int(total_gib * GIB),
        free_bytes=int(free_gib * GIB),
        unified=False,
        bandwidth_bytes_per_second=None if bandwidth_gb is None else bandwidth_gb * 1e9,
        usable_by_engine=True,
        reason="CUDA",
    )


def metal(name: str, lent_gib: float, free_gib: float, bandwidth_gb: float) -> Device:
    """The GPU of an Apple chip, which shares main memory."""
    return Device(
        name="Metal",
        description=f"Apple {name}",
        kind="igpu",
        vendor="apple",
        backend="Metal",
        total_bytes=int(lent_gib * GIB),
        free_bytes=int(free_gib * GIB),
        unified=True,
        bandwidth_bytes_per_second=bandwidth_gb * 1e9,
        usable_by_engine=True,
        reason="Metal, shares main memory",
    )


LAPTOP_8 = machine(7.6, 4.6, cores=4)
LAPTOP_16 = machine(15.5, 11.2, cores=6, bandwidth_gb=38)
RTX_3060 = machine(31.2, 25, cuda(0, "RTX 3060", 12, 11.2, 360), bandwidth_gb=42)
LAPTOP_4060 = machine(62.5, 55, cuda(0, "RTX 4060 Laptop GPU", 8, 7.4, None))
M2_16 = machine(
    16, 10.5, metal("M2", 10.7, 10.5, 100), cores=4, features=ARM, system="macOS 15 arm64"
)
M3_MAX_64 = machine(
    64, 52, metal("M3 Max", 48, 48, 400), cores=12, features=ARM, system="macOS 15 arm64"
)
RTX_4090 = machine(62.5, 56, cuda(0, "RTX 4090", 24, 23.2, 1008), cores=16, bandwidth_gb=60)
TWO_3090 = machine(
    125,
    115,
    cuda(0, "RTX 3090", 24, 23.5, 936),
    cuda(1, "RTX 3090", 24, 23.5, 936),
    cores=16,
    bandwidth_gb=60,
)
SERVER_512 = machine(503, 490, cores=64, features=AVX512, bandwidth_gb=250)
SERVER_512_4090 = machine(503, 490, cuda(0, "RTX 4090", 24, 23.5, 1008), cores=64, features=AVX512)
TINY = machine(1, 0.4, cores=2)

ALL = {
    "8 GB laptop": LAPTOP_8,
    "16 GB laptop": LAPTOP_16,
    "RTX 3060": RTX_3060,
    "RTX 4060 laptop": LAPTOP_4060,
    "M2 16 GB": M2_16,
    "M3 Max 64 GB": M3_MAX_64,
    "RTX 4090": RTX_4090,
    "two RTX 3090": TWO_3090,
    "512 GB server": SERVER_512,
    "512 GB server with a GPU": SERVER_512_4090,
    "1 GB": TINY,
}


def memory_for_demo(*lent_bytes: int) -> int:
    """So much free memory here that the demo has room with all of these computers, not with one less.

    Half of it stays free: that is how much more than the need a small model has to leave.
    """
    nothing = replace(LAPTOP_16, memory=replace(LAPTOP_16.memory, available_bytes=1))
    demo = model("demo")

    def need(lent: tuple[int, ...]) -> int:
        devices = tuple(
            Device(
                *(f"RPC{number}", "", "gpu", "cpu", "RPC", 8 * GIB, size, False, 5e10, True, ""),
                link=Link(f"h:{number}", 0.02, 1e8, 1e8),
            )
            for number, size in enumerate(lent)
        )
        machine = replace(nothing, devices=(*nothing.devices, *devices))
        return place(demo, demo.variants[0], machine).devices[0].total_bytes

    return need(lent_bytes) + need(lent_bytes[1:])
