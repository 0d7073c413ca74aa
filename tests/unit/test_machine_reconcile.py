from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from recorded_host import RecordedHost

from localr1.machine.reconcile import backend_of, distinct_memory_bytes, reconcile
from localr1.machine.system import detect
from localr1.machine.types import (
    Cpu,
    EngineDevice,
    EngineInfo,
    Memory,
    Power,
    System,
    SystemGpu,
)

GIB = 1 << 30
Vendor = Literal["nvidia", "amd", "intel", "apple", "unknown"]
CPU = EngineDevice("CPU", "Some CPU", "cpu", 64 * GIB, 64 * GIB)


def gpu(name: str, vendor: Vendor, gib: float | None, *, unified: bool = False) -> SystemGpu:
    size = None if gib is None else int(gib * GIB)
    return SystemGpu(name, vendor, size, size, unified, None, "test")


def system(*gpus: SystemGpu, ram: int = 64 * GIB, available: int = 48 * GIB) -> System:
    return System(
        "Linux", Cpu("CPU", 8, 16, 8, ()), Memory(ram, available, 5e10), gpus, Power(None, None)
    )


def engine(*devices: EngineDevice, backends: tuple[str, ...] = ()) -> EngineInfo:
    return EngineInfo("0.3.36", ("CPU", *backends), (CPU, *devices))


def cuda(index: int, name: str, gib: float) -> EngineDevice:
    return EngineDevice(f"CUDA{index}", name, "gpu", int(gib * GIB), int(gib * GIB) - GIB)


def test_the_cpu_comes_first_with_the_systems_memory() -> None:
    machine = reconcile(system(), engine())

    (device,) = machine.devices
    assert (device.name, device.kind, device.backend) == ("CPU", "cpu", "CPU")
    assert (device.total_bytes, device.free_bytes) == (64 * GIB, 48 * GIB)
    assert device.usable_by_engine
    assert machine.gpus == ()


def test_engine_gpu_takes_what_the_system_knows_and_keeps_its_own_memory() -> None:
    h100 = detect(RecordedHost.load("linux-h100"))
    # A card of this kind as llama.cpp lists it: `CUDA0: NVIDIA H100 80GB HBM3`.
    listed = cuda(0, "NVIDIA H100 80GB HBM3", 79.1)
    machine = reconcile(h100, engine(listed, backends=("CUDA",)))

    assert [d.name for d in machine.devices] == ["CPU", "CUDA0"]
    device = machine.devices[1]
    assert (device.vendor, device.backend) == ("nvidia", "CUDA")
    assert (device.total_bytes, device.free_bytes) == (listed.total_bytes, listed.free_bytes)
    assert device.bandwidth_bytes_per_second == h100.gpus[0].bandwidth_bytes_per_second


def test_cpu_only_build_says_so_for_the_card_it_cannot_use() -> None:
    machine = reconcile(detect(RecordedHost.load("linux-h100")), engine())

    device = machine.devices[1]
    assert device.name == "NVIDIA H100 80GB HBM3"
    assert not device.usable_by_engine
    assert device.reason == "llama.cpp was built without GPU support"
    assert (device.backend, device.total_bytes) == ("", 85520809984)
    assert machine.gpus == ()


def test_cuda_build_says_why_it_leaves_an_amd_card() -> None:
    machine = reconcile(detect(RecordedHost.load("linux-amd")), engine(backends=("CUDA", "BLAS")))

    assert {d.reason for d in machine.devices[1:]} == {
        "llama.cpp was built for CUDA, which does not use AMD GPUs"
    }


def test_vulkan_build_names_itself_when_it_does_not_list_a_card() -> None:
    machine = reconcile(detect(RecordedHost.load("linux-amd")), engine(backends=("Vulkan",)))

    assert machine.devices[1].reason == "llama.cpp (Vulkan) does not list it"


def test_broken_driver_is_the_reason() -> None:
    broken = SystemGpu(
        "RTX 4090", "nvidia", None, None, False, None, "PCI bus", "Driver Not Loaded."
    )
    machine = reconcile(system(broken), engine(backends=("CUDA",)))

    assert machine.devices[1].reason == "the driver does not work: Driver Not Loaded."
    # An engine that does not start either must not hide that.
    dead = EngineInfo("", (), (), problem="libcudart.so.12: cannot open")
    assert reconcile(system(broken), dead).devices[1].reason == machine.devices[1].reason
    assert machine.devices[1].total_bytes == 0


def test_engine_that_does_not_start_uses_nothing() -> None:
    dead = EngineInfo("", (), (CPU, cuda(0, "RTX 4090", 24)), "", "No module named 'llama_cpp'")
    machine = reconcile(system(gpu("RTX 4090", "nvidia", 24)), dead)

    assert [d.name for d in machine.devices] == ["CPU", "RTX 4090"]
    for device in machine.devices:
        assert not device.usable_by_engine
        assert "No module named 'llama_cpp'" in device.reason


def test_processor_graphics_and_card_of_one_vendor_are_not_swapped() -> None:
    found = detect(RecordedHost.load("linux-amd"))
    # Names as the RADV driver gives them to Vulkan.
    devices = (
        EngineDevice("Vulkan0", "AMD Radeon Graphics (RADV GFX1036)", "igpu", 16 * GIB, 15 * GIB),
        EngineDevice("Vulkan1", "AMD Radeon RX 9070 XT (RADV GFX1201)", "gpu", 16 * GIB, 15 * GIB),
    )
    machine = reconcile(found, engine(*devices, backends=("Vulkan",)))

    assert [(d.name, d.unified, d.kind) for d in machine.devices] == [
        ("CPU", False, "cpu"),
        ("Vulkan0", True, "igpu"),
        ("Vulkan1", False, "gpu"),
    ]
    assert machine.devices[2].bandwidth_bytes_per_second == 640e9
    assert machine.devices[1].bandwidth_bytes_per_second is None
    assert distinct_memory_bytes(machine) == found.memory.total_bytes + 16 * GIB


def test_mac_gpu_is_main_memory_and_capped_by_what_is_available() -> None:
    found = detect(RecordedHost.load("mac-m1-pro"))
    listed = EngineDevice("MTL0", "Apple M1 Pro", "gpu", 11453250560, 11453250560)
    blas = EngineDevice("BLAS", "Accelerate", "accelerator", 0, 0)
    machine = reconcile(found, engine(listed, blas, backends=("Metal", "BLAS")))

    assert [d.name for d in machine.devices] == ["CPU", "MTL0"]
    device = machine.devices[1]
    assert (device.backend, device.unified, device.kind) == ("Metal", True, "igpu")
    assert device.free_bytes == found.memory.available_bytes
    assert distinct_memory_bytes(machine) == found.memory.total_bytes


def test_one_card_through_two_backends_is_used_once() -> None:
    devices = (
        cuda(0, "NVIDIA GeForce RTX 4090", 23.5),
        EngineDevice("Vulkan0", "NVIDIA GeForce RTX 4090", "gpu", 24 * GIB, 23 * GIB),
    )
    card = gpu("NVIDIA GeForce RTX 4090", "nvidia", 23.99)
    machine = reconcile(system(card), engine(*devices, backends=("CUDA", "Vulkan")))

    assert [(d.name, d.usable_by_engine) for d in machine.devices[1:]] == [
        ("CUDA0", True),
        ("Vulkan0", False),
    ]
    assert "the same card as CUDA0" in machine.devices[2].reason


def test_two_equal_cards_are_matched_once_each() -> None:
    card = gpu("NVIDIA GeForce RTX 3090", "nvidia", 24)
    name = "NVIDIA GeForce RTX 3090"
    machine = reconcile(system(card, card), engine(cuda(0, name, 23.6), cuda(1, name, 23.6)))
    assert [d.name for d in machine.devices] == ["CPU", "CUDA0", "CUDA1"]

    machine = reconcile(system(card, card), engine())
    assert [d.name for d in machine.devices] == ["CPU", name, f"{name} #2"]


def test_rpc_device_is_nobodys_card() -> None:
    rpc = EngineDevice("RPC0", "127.0.0.1:50052", "gpu", 8 * GIB, 7 * GIB)
    card = gpu("NVIDIA GeForce RTX 3090", "nvidia", 24)
    machine = reconcile(system(card), engine(rpc, backends=("RPC",)))

    assert [(d.name, d.usable_by_engine) for d in machine.devices[1:]] == [
        ("RPC0", True),
        ("NVIDIA GeForce RTX 3090", False),
    ]
    assert machine.devices[1].backend == "RPC"
    assert machine.devices[2].reason == "llama.cpp was built without GPU support"


def test_backend_that_does_not_know_its_memory_takes_the_systems() -> None:
    listed = EngineDevice("SYCL0", "Intel(R) Arc(TM) A770 Graphics", "gpu", 0, 0)
    machine = reconcile(system(gpu("Intel Arc A770", "intel", 16)), engine(listed))

    assert (machine.devices[1].total_bytes, machine.devices[1].free_bytes) == (16 * GIB, 16 * GIB)
    assert machine.devices[1].bandwidth_bytes_per_second == 560e9


def test_backend_names() -> None:
    assert [backend_of(n) for n in ("CUDA0", "MTL0", "Metal", "Vulkan12", "RPC0", "CPU")] == [
        "CUDA",
        "Metal",
        "Metal",
        "Vulkan",
        "RPC",
        "CPU",
    ]


_sizes = st.integers(0, 200 * GIB)
_names = st.sampled_from(["GeForce RTX 4090", "Radeon 780M", "Radeon RX 7600", "Arc A770", "X"])
_vendors: st.SearchStrategy[Vendor] = st.sampled_from(
    ["nvidia", "amd", "intel", "apple", "unknown"]
)
_system_gpus = st.builds(
    SystemGpu,
    name=_names,
    vendor=_vendors,
    total_bytes=st.none() | _sizes,
    free_bytes=st.none() | _sizes,
    unified=st.booleans(),
    bandwidth_bytes_per_second=st.none(),
    source=st.just("test"),
    problem=st.sampled_from(["", "It fell off the bus."]),
)
_engine_gpus = st.builds(
    EngineDevice,
    name=st.sampled_from(["CUDA0", "CUDA1", "Vulkan0", "Vulkan1", "MTL0", "RPC0"]),
    description=_names,
    kind=st.sampled_from(["gpu", "igpu", "accelerator"]),
    total_bytes=_sizes,
    free_bytes=_sizes,
)


@given(
    gpus=st.lists(_system_gpus, max_size=4),
    devices=st.lists(_engine_gpus, max_size=5, unique_by=lambda d: d.name),
    ram=st.integers(GIB, 512 * GIB),
    problem=st.sampled_from(["", "Illegal instruction"]),
)
def test_no_memory_is_counted_twice_and_every_device_has_a_reason(
    gpus: list[SystemGpu], devices: list[EngineDevice], ram: int, problem: str
) -> None:
    info = EngineInfo("1", ("CPU", "CUDA"), (CPU, *devices), "", problem)
    machine = reconcile(system(*gpus, ram=ram, available=ram // 2), info)

    names = [d.name for d in machine.devices]
    assert names[0] == "CPU"
    assert len(set(names)) == len(names)
    assert all(d.reason for d in machine.devices)
    assert all(d.free_bytes <= d.total_bytes for d in machine.devices)
    for device in machine.devices[1:]:
        if device.unified:
            assert device.kind == "igpu"
            assert device.total_bytes <= machine.memory.total_bytes
            assert device.free_bytes <= machine.memory.available_bytes
    dedicated = sum(d.total_bytes for d in machine.gpus if not d.unified)
    assert distinct_memory_bytes(machine) == ram + dedicated
    if problem:
        assert not any(d.usable_by_engine for d in machine.devices)
    # Each of the system's GPUs appears once: as the engine's device or on its own.
    alone = [d for d in machine.devices if not d.backend and d.kind != "cpu"]
    assert len(alone) <= len(gpus)
