"""Computers with a card that something is wrong with: from the files to doctor's words."""

from __future__ import annotations

from typing import Any

import pytest
from recorded_host import RecordedHost

from localr1 import doctor
from localr1.install import look
from localr1.machine.gpu_windows import CLASS_KEY
from localr1.machine.reconcile import reconcile
from localr1.machine.system import detect
from localr1.machine.types import EngineInfo, Machine

GIB = 1 << 30
CPU_BUILD = EngineInfo("0.3.36", ("CPU",), (), "AVX2 = 1", compiled=("CPU",))
LAPTOP_4070 = {
    "name": "NVIDIA GeForce RTX 4070 Laptop GPU",
    "memory": [8 * GIB, 7 * GIB],
    "capability": [8, 9],
}


def pci(slot: str, vendor: str, device: str, driver: str, **more: str) -> dict[str, str]:
    """The files that the kernel keeps of a display controller; device numbers are of pci.ids."""
    files = {
        "vendor": vendor,
        "device": device,
        "class": "0x030000",
        "revision": "0x00",
        "uevent": f"DRIVER={driver}" if driver else "PCI_CLASS=30000",
        **more,
    }
    return {f"/sys/bus/pci/devices/{slot}/{key}": f"{text}\n" for key, text in files.items()}


def a_host(**recording: Any) -> RecordedHost:
    plain = {
        "system": "Linux",
        "release": "6.12",
        "architecture": "x86_64",
        "cpu_counts": [8, 8],
        "memory": [64 * GIB, 50 * GIB],
        "battery": None,
    }
    return RecordedHost({**plain, **recording})


def seen(host: RecordedHost, engine: EngineInfo = CPU_BUILD) -> Machine:
    return reconcile(detect(host), engine)


def said(machine: Machine) -> list[doctor.Finding]:
    return [*doctor.engine(machine, look.bench_of(machine)), *doctor.unseen(machine)]


# --- a card and the processor's graphics


def hybrid_linux() -> RecordedHost:
    return a_host(
        files={
            **pci("0000:00:02.0", "0x8086", "0xa7a0", "i915"),
            **pci("0000:01:00.0", "0x10de", "0x2820", "nvidia"),
        },
        nvml={"cuda": 12040, "cards": [LAPTOP_4070]},
    )


def hybrid_windows() -> RecordedHost:
    names = {"Intel(R) Iris(R) Xe Graphics": 128 << 20, LAPTOP_4070["name"]: 8585740288}
    return a_host(
        system="Windows",
        release="11",
        architecture="AMD64",
        registry={
            rf"{CLASS_KEY}\{number:04}": {
                "DriverDesc": name,
                "HardwareInformation.qwMemorySize": size,
            }
            for number, (name, size) in enumerate(names.items())
        },
        nvml={"cuda": 12040, "cards": [LAPTOP_4070]},
    )


@pytest.mark.parametrize("host", [hybrid_linux(), hybrid_windows()], ids=["linux", "windows"])
def test_beside_a_card_the_processors_graphics_rest(host: RecordedHost) -> None:
    machine = seen(host)
    found = said(machine)
    (wrong,) = [one for one in found if one.status != "ok"]
    assert wrong.what == "NVIDIA GeForce RTX 4070 Laptop GPU is not used."
    assert "cu124" in wrong.command
    (resting,) = [one for one in found if "rests" in one.what]
    assert resting.what.startswith("Intel")
    assert doctor.ways(machine, look.bench_of(machine))[0].backend == "cuda"


def test_graphics_beside_a_card_whose_driver_fails_are_all_there_is() -> None:
    machine = seen(
        a_host(
            files={
                **pci("0000:00:02.0", "0x8086", "0xa7a0", "i915"),
                **pci("0000:01:00.0", "0x10de", "0x2820", "nouveau"),
            }
        )
    )
    card, graphics = [one for one in said(machine) if one.status != "ok"]
    assert "driver" in card.todo
    assert not card.command
    assert "VULKAN" in graphics.command.upper()


def two_makers(radeon_gib: int) -> Machine:
    files = {
        **pci("0000:01:00.0", "0x10de", "0x2820", "nvidia"),
        **pci(
            *("0000:03:00.0", "0x1002", "0x744c", "amdgpu"),
            mem_info_vram_total=str(radeon_gib * GIB),
            mem_info_vram_used="0",
            mem_info_vram_vendor="samsung",
            product_name="AMD Radeon RX 7900 XTX" if radeon_gib == 24 else "AMD Radeon RX 6400",
        ),
    }
    return seen(a_host(files=files, nvml={"cuda": 12040, "cards": [LAPTOP_4070]}))


def test_one_build_is_advised_for_cards_of_two_makers() -> None:
    commands = {one.command for one in said(two_makers(24)) if one.status != "ok"}
    assert len(commands) == 1
    assert "VULKAN" in commands.pop().upper()
    found = {one.what: one for one in said(two_makers(4)) if one.status != "ok"}
    assert "cu124" in found[f"{LAPTOP_4070['name']} is not used."].command
    other = found["AMD Radeon RX 6400 is not used."]
    assert not other.command
    assert "doctor --fix vulkan" in other.todo
