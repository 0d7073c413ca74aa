"""Computers with a card that something is wrong with: from the files to doctor's words."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded_host import RecordedHost

from localr1 import doctor
from localr1.cli.machine import describe
from localr1.cli.main import main
from localr1.install import look
from localr1.install.prospect import prospect
from localr1.machine.gpu_windows import CLASS_KEY
from localr1.machine.profile import to_json
from localr1.machine.reconcile import distinct_memory_bytes, reconcile
from localr1.machine.system import detect
from localr1.machine.types import EngineDevice, EngineInfo, Machine

GIB = 1 << 30
CPU_BUILD = EngineInfo("0.3.36", ("CPU",), (), "AVX2 = 1", compiled=("CPU",))
RTX_4090 = {"name": "NVIDIA GeForce RTX 4090", "memory": [24 * GIB, 23 * GIB], "capability": [8, 9]}
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


@pytest.mark.parametrize("backend", ["CPU", "CUDA"])
def test_beside_a_card_whose_driver_fails_the_card_is_to_be_mended(backend: str) -> None:
    host = a_host(
        files={
            **pci("0000:00:02.0", "0x8086", "0xa7a0", "i915"),
            **pci("0000:01:00.0", "0x10de", "0x2820", "nvidia"),
        },
        nvml={"error": "Driver/library version mismatch"},
    )
    machine = seen(host, replace(CPU_BUILD, compiled=("CPU", backend)))
    bench = look.bench_of(machine)
    (card,) = [one for one in doctor.engine(machine, bench) if one.status != "ok"]
    assert "Driver/library version mismatch" in card.why
    assert doctor.ways(machine, bench) == ()
    found = prospect(machine, bench)
    assert found is not None
    assert found.words.endswith("its driver fails.")
    assert found.machine is None


def used_4090(*others: dict[str, Any], **recording: Any) -> Machine:
    """An RTX 4090 at work in a CUDA build, beside other cards."""
    engine = EngineInfo(
        "0.3.36",
        ("CUDA", "CPU"),
        (EngineDevice("CUDA0", "NVIDIA GeForce RTX 4090", "gpu", 24 * GIB, 23 * GIB),),
        "AVX2 = 1",
        compiled=("CUDA", "CPU"),
    )
    return seen(a_host(nvml={"cuda": 12040, "cards": [RTX_4090, *others]}, **recording), engine)


def radeon(name: str, gib: int) -> dict[str, str]:
    return pci(
        *("0000:03:00.0", "0x1002", "0x744c", "amdgpu"),
        mem_info_vram_total=str(gib * GIB),
        mem_info_vram_used="0",
        mem_info_vram_vendor="samsung",
        product_name=name,
    )


@pytest.mark.parametrize(
    ("name", "gib"), [("AMD Radeon RX 550", 2), ("AMD Radeon RX 7900 XTX", 24)]
)
def test_a_working_build_is_not_given_up_for_another_makers_card(name: str, gib: int) -> None:
    machine = used_4090(files=radeon(name, gib))
    bench = look.bench_of(machine)
    found = doctor.engine(machine, bench)
    assert doctor.worst(found) == "ok"
    assert any(one.what.startswith(f"{name} rests: NVIDIA GeForce RTX 4090") for one in found)
    assert doctor.ways(machine, bench) == ()
    assert prospect(machine, bench) is None


def test_a_build_gives_way_to_the_one_for_a_much_larger_card() -> None:
    machine = used_4090(files=radeon("AMD Radeon AI PRO", 48))
    (way, *_) = doctor.ways(machine, look.bench_of(machine))
    assert way.backend == "vulkan"


def test_a_card_too_old_for_the_cuda_build_has_no_broken_driver() -> None:
    old = {"name": "NVIDIA GeForce GTX 970", "memory": [4 * GIB, 4 * GIB], "capability": [5, 2]}
    machine = used_4090(old)
    found = doctor.engine(machine, look.bench_of(machine))
    assert doctor.worst(found) == "ok"
    assert any("GTX 970 rests" in one.what for one in found)


def two_makers(radeon_gib: int) -> Machine:
    files = {
        **pci("0000:01:00.0", "0x10de", "0x2820", "nvidia"),
        **radeon(
            "AMD Radeon RX 7900 XTX" if radeon_gib == 24 else "AMD Radeon RX 6400", radeon_gib
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


# --- a card of two is missing; a card without its driver


TWO_SLOTS = ("0000:01:00.0", "0000:02:00.0")


def two_cards(driver: str, slot: str | None, **more: Any) -> RecordedHost:
    """An RTX 4090 that NVML lists, and a GTX 1080 Ti, which NVIDIA's driver 590 left behind."""
    first, second = TWO_SLOTS
    listed = {**RTX_4090, **({"slot": slot} if slot else {})}
    files = {
        **pci(first, "0x10de", "0x2684", "nvidia"),
        **pci(second, "0x10de", "0x1b06", driver),
        **more.pop("files", {}),
    }
    return a_host(files=files, nvml={"cuda": 13010, "cards": [listed]}, **more)


@pytest.mark.parametrize("slot", [TWO_SLOTS[0], None])
@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("", "No driver runs it. NVIDIA's driver is there and leaves it out"),
        ("nouveau", "It is run by nouveau, not by NVIDIA's driver."),
    ],
)
def test_the_card_that_nvml_does_not_list_is_there(
    driver: str, words: str, slot: str | None
) -> None:
    machine = seen(two_cards(driver, slot))
    assert [one.description for one in machine.devices[1:]] == [
        "NVIDIA GeForce RTX 4090",
        "NVIDIA GPU 0x1b06",
    ]
    (second,) = [one for one in said(machine) if "0x1b06 is not used" in one.what]
    assert second.status == "warning"
    assert words in second.why
    assert not second.command


def test_a_card_of_nvidias_driver_that_it_does_not_list() -> None:
    machine = seen(two_cards("nvidia", TWO_SLOTS[0]))
    assert machine.devices[2].reason.endswith("NVIDIA's driver does not list the card.")
    # Where NVML tells no addresses (and in a container, which has the cards it was given) the
    # one that it does not list cannot be told.
    assert len(seen(two_cards("nvidia", None)).devices) == 2
    given = two_cards("nvidia", TWO_SLOTS[0], files={"/.dockerenv": ""})
    assert len(seen(given).devices) == 2


def test_a_card_for_a_virtual_machine_is_nothing_to_mend() -> None:
    found = said(seen(two_cards("vfio-pci", TWO_SLOTS[0])))
    (second,) = [one for one in found if "0x1b06" in one.what]
    assert second.status == "ok"
    assert second.what.endswith("is not used. It is kept for a virtual machine (vfio-pci).")


def test_every_card_that_nvml_lists_is_there_once() -> None:
    files = {f: t for slot in TWO_SLOTS for f, t in pci(slot, "0x10de", "0x2684", "nvidia").items()}
    cards = [{**RTX_4090, "slot": slot} for slot in TWO_SLOTS]
    machine = seen(a_host(files=files, nvml={"cuda": 13010, "cards": cards}))
    assert len(machine.devices) == 3


def test_a_card_without_any_driver_is_said_to_have_none() -> None:
    machine = seen(a_host(files=pci("0000:01:00.0", "0x10de", "0x2684", "")))
    (wrong,) = [one for one in said(machine) if one.status != "ok"]
    assert wrong.why == "the driver does not work: No driver runs it."
    assert "NVIDIA's driver" in wrong.todo


# --- cards of AMD that the radeon driver runs


def test_a_card_too_old_for_amdgpu_is_nothing_to_mend() -> None:
    machine = seen(a_host(files=pci("0000:01:00.0", "0x1002", "0x6779", "radeon")))  # HD 6450
    found = said(machine)
    assert doctor.worst(found) == "ok"
    assert any("the driver of AMD's old cards" in one.what for one in found)
    assert not any("amdgpu" in one.todo for one in found)


def test_a_card_that_amdgpu_could_run_is_told_how() -> None:
    machine = seen(a_host(files=pci("0000:01:00.0", "0x1002", "0x6798", "radeon")))  # HD 7970
    (wrong,) = [one for one in said(machine) if one.status != "ok"]
    assert "amdgpu.si_support=1" in wrong.why


# --- containers and Windows' Linux


K8S = {
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
    "/sys/fs/cgroup/memory.current": f"{GIB}\n",
    "/sys/fs/cgroup/memory.swap.max": "0\n",
}
LXC = {"/run/systemd/container": "lxc\n", "/proc/self/cgroup": "0::/init.scope\n"}
CONTAINERD = {
    "/proc/self/cgroup": "11:memory:/kubepods/besteffort/pod1/cri-containerd-1.scope\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n",
    "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes": f"{9 * GIB}\n",
}


@pytest.mark.parametrize(
    ("files", "swap_gib"), [(K8S, 0), (LXC, 32), (CONTAINERD, 1)], ids=["k8s", "lxc", "containerd"]
)
def test_a_container_is_one_and_has_the_swap_it_may_use(
    files: dict[str, str], swap_gib: int
) -> None:
    system = detect(a_host(files=files, swap=32 * GIB))
    assert system.operating_system.endswith("(container)")
    assert system.memory.swap_bytes == swap_gib * GIB


def test_a_plain_computer_is_no_container() -> None:
    files = {
        "/proc/self/cgroup": "0::/user.slice/user-1000.slice/session-2.scope\n",
        "/run/systemd/container": "",
    }
    system = detect(a_host(files=files, swap=32 * GIB))
    assert "(" not in system.operating_system
    assert system.memory.swap_bytes == 32 * GIB


def test_windows_linux_is_known_without_its_graphics() -> None:
    files = {"/run/systemd/container": "wsl\n", "/proc/self/cgroup": "0::/init.scope\n"}
    host = a_host(release="5.15.153.1-microsoft-standard-WSL2", files=files)
    assert detect(host).operating_system.endswith("(WSL)")


# --- memory that nobody knows, or that is shared


def gpu_lines(machine: Machine) -> list[str]:
    return [text for label, text in describe(machine) if label == "GPU"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dgx-spark", "shares main memory, not usable"),
        ("jetson-orin-nx", "shares main memory, not usable"),
        ("windows-arc-140v", "shares main memory, not usable"),
        ("rtx-4090-lost", "its memory is not known, not usable"),
    ],
)
def test_memory_that_is_shared_or_not_known_is_said_in_words(name: str, words: str) -> None:
    lines = gpu_lines(seen(RecordedHost.load(name)))
    assert any(line.endswith(words) for line in lines)
    assert not any("0 MiB" in line for line in lines)


@pytest.mark.parametrize(
    ("resource", "gib"),
    [
        ("", 8),
        ("0x00000000a0000000 0x00000000a0ffffff 0x0000000000140204", 8),
        ("0x0000006000000000 0x00000063ffffffff 0x000000000014220c", 16),
    ],
    ids=["none", "small-bar", "resizable-bar"],
)
def test_an_arc_whose_driver_does_not_tell_its_memory(resource: str, gib: int) -> None:
    slot = "0000:03:00.0"
    machine = seen(
        a_host(
            files=pci(slot, "0x8086", "0x56a0", "i915", resource=resource),
            commands={f"lspci -vmm -s {slot}": "Slot:\t03:00.0\nDevice:\tDG2 [Arc A770]\n"},
        )
    )
    assert gpu_lines(machine) == [f"Intel Arc A770: {gib}.0 GiB free of {gib}.0 GiB, not usable"]


@pytest.mark.parametrize(("name", "share"), [("dgx-spark", 1.0), ("windows-arc-140v", 0.5)])
def test_after_the_fix_shared_graphics_have_main_memory(name: str, share: float) -> None:
    machine = seen(RecordedHost.load(name))
    found = prospect(machine, look.bench_of(machine))
    assert found is not None
    assert found.machine is not None
    (gpu,) = found.machine.gpus
    assert gpu.total_bytes == int(machine.memory.total_bytes * share)
    assert gpu.unified
    assert 0 < gpu.free_bytes <= machine.memory.available_bytes


def test_one_core_is_one_core() -> None:
    rows = describe(seen(a_host(cpu_counts=[1, 1])))
    assert any(text.endswith("1 core (1 fast, 1 thread)") for _, text in rows)


# --- several GPUs that lack the same


def test_what_two_gpus_lack_is_said_once() -> None:
    displays = {
        "SPDisplaysDataType": [
            {
                "sppci_model": "Intel UHD Graphics 630",
                "spdisplays_vendor": "Intel",
                "spdisplays_vram_shared": "1536 MB",
            },
            {
                "sppci_model": "AMD Radeon Pro 5500M",
                "spdisplays_vendor": "sppci_vendor_amd",
                "spdisplays_vram": "8 GB",
            },
        ]
    }
    commands = {"system_profiler -json SPDisplaysDataType": json.dumps(displays)}
    mac = a_host(system="Darwin", release="23.5", cpu_counts=[16, 8], commands=commands)
    machine = seen(mac)
    found = doctor.engine(machine, look.bench_of(machine))
    (wrong,) = [one for one in found if one.status != "ok"]
    assert wrong.what == "AMD Radeon Pro 5500M is not used."

    cards = [{**RTX_4090, "slot": slot} for slot in TWO_SLOTS]
    (wrong,) = [
        one
        for one in said(seen(a_host(nvml={"cuda": 12040, "cards": cards})))
        if one.status != "ok"
    ]
    assert wrong.what == "2 × NVIDIA GeForce RTX 4090 are not used."
    other = {**RTX_4090, "name": "NVIDIA GeForce RTX 3060"}
    (wrong,) = [
        one
        for one in said(seen(a_host(nvml={"cuda": 12040, "cards": [RTX_4090, other]})))
        if one.status != "ok"
    ]
    assert wrong.what == "NVIDIA GeForce RTX 4090 and NVIDIA GeForce RTX 3060 are not used."


# --- a processor's graphics with much memory of their own, once the engine counts what they share


@pytest.mark.parametrize(
    ("own_gib", "visible_gib", "listed_gib", "total_gib", "unified"),
    [(16, 16, 24, 16, False), (96, 32, 112, 96, False), (4, 28, 18, 18, True)],
    ids=["half", "strix-halo", "little"],
)
def test_no_memory_is_counted_twice_with_a_large_carve_out(
    own_gib: int, visible_gib: int, listed_gib: int, total_gib: int, unified: bool
) -> None:
    registry = {
        rf"{CLASS_KEY}\0000": {
            "DriverDesc": "AMD Radeon 780M Graphics",
            "HardwareInformation.qwMemorySize": own_gib * GIB,
        }
    }
    host = a_host(
        system="Windows", registry=registry, memory=[visible_gib * GIB, (visible_gib - 6) * GIB]
    )
    listed = EngineDevice(
        *("Vulkan0", "AMD Radeon 780M Graphics", "igpu", listed_gib * GIB, listed_gib * GIB)
    )
    machine = seen(host, EngineInfo("0.3.36", ("Vulkan", "CPU"), (listed,)))
    (gpu,) = machine.gpus
    assert (gpu.total_bytes, gpu.unified) == (total_gib * GIB, unified)
    assert distinct_memory_bytes(machine) <= (own_gib + visible_gib) * GIB


# --- cores of Arm processors with a device tree


def test_cores_whose_numbers_begin_anew_in_every_cluster_are_all_counted() -> None:
    # RK3588 under Linux 6: clusters of 4, 2 and 2 cores, all in package 0.
    files = {}
    for cpu, core in enumerate((0, 1, 2, 3, 0, 1, 0, 1)):
        folder = f"/sys/devices/system/cpu/cpu{cpu}"
        files[f"{folder}/topology/core_id"] = f"{core}\n"
        files[f"{folder}/topology/physical_package_id"] = "0\n"
        files[f"{folder}/topology/thread_siblings_list"] = f"{cpu}\n"
        files[f"{folder}/cpu_capacity"] = "530\n" if cpu < 4 else "1024\n"
    cpu_seen = detect(a_host(architecture="aarch64", files=files)).cpu
    assert (cpu_seen.logical_cores, cpu_seen.physical_cores) == (8, 8)
    assert cpu_seen.performance_cores == 4


# --- batteries that are not the computer's, or several


def supply(name: str, **files: str) -> dict[str, str]:
    return {f"/sys/class/power_supply/{name}/{key}": f"{text}\n" for key, text in files.items()}


def test_a_mouses_battery_is_not_the_computers() -> None:
    # AdnanHodzic/auto-cpufreq 327: a desktop was taken for a laptop on its battery.
    mouse = supply(
        "hidpp_battery_0", type="Battery", scope="Device", status="Discharging", capacity="55"
    )
    desktop = detect(a_host(files=mouse, battery=[False, 55.0])).power
    assert (desktop.on_battery, desktop.percent) == (False, None)
    laptop = supply("BAT0", type="Battery", status="Charging", energy_now="40", energy_full="50")
    power = detect(a_host(files={**mouse, **laptop}, battery=[False, 55.0])).power
    assert (power.on_battery, power.percent) == (False, 80.0)


def test_two_batteries_count_together() -> None:
    files = {
        **supply("AC", type="Mains", online="0"),
        **supply("BAT0", type="Battery", status="Unknown", energy_now="0", energy_full="24"),
        **supply("BAT1", type="Battery", status="Discharging", energy_now="72", energy_full="72"),
    }
    power = detect(a_host(files=files, battery=[False, 0.0])).power
    assert (power.on_battery, power.percent) == (True, 75.0)


def test_a_battery_held_at_its_limit_is_on_the_mains() -> None:
    files = {
        **supply("ADP1", type="Mains", online="1"),
        **supply("BAT0", type="Battery", status="Not charging", charge_now="80", charge_full="100"),
    }
    power = detect(a_host(files=files, battery=[None, 80.0])).power
    assert (power.on_battery, power.percent) == (False, 80.0)


# --- what a build is advised for


def test_an_old_card_keeps_no_other_from_the_prebuilt_engine() -> None:
    old = {"name": "NVIDIA GeForce GTX 970", "memory": [4 * GIB, 4 * GIB], "capability": [5, 2]}
    machine = seen(a_host(nvml={"cuda": 12040, "cards": [RTX_4090, old]}))
    found = {one.what: one for one in said(machine) if one.status != "ok"}
    assert "cu124" in found["NVIDIA GeForce RTX 4090 is not used."].command
    assert found["NVIDIA GeForce GTX 970 is not used."].todo.startswith("The CUDA build")


def test_a_lost_card_is_not_promised() -> None:
    machine = seen(RecordedHost.load("rtx-4090-lost"))
    found = prospect(machine, look.bench_of(machine))
    assert found is not None
    assert found.machine is not None
    (gpu,) = found.machine.gpus
    assert (gpu.name, gpu.description) == ("CUDA0", "NVIDIA GeForce RTX 4090")


@pytest.mark.parametrize("name", ["VMware SVGA 3D", "Red Hat QXL controller"])
def test_the_screens_of_virtual_machines_are_no_gpus(name: str) -> None:
    registry = {rf"{CLASS_KEY}\0000": {"DriverDesc": name}}
    assert detect(a_host(system="Windows", registry=registry)).gpus == ()


def test_others_wheels_of_the_tested_release_are_of_that_release() -> None:
    machine = seen(a_host(), replace(CPU_BUILD, version=f"{CPU_BUILD.version}+cu124"))
    assert doctor.worst(doctor.engine(machine, look.bench_of(machine))) == "ok"


def test_main_memory_that_nobody_knows_is_said_in_words() -> None:
    machine = seen(a_host(memory=[0, 0]))
    assert ("Memory", "not known") in describe(machine)


def test_uv_is_let_into_a_python_of_the_system() -> None:
    machine = seen(hybrid_linux())
    bench = look.bench_of(machine)
    system_python = replace(bench, place=replace(bench.place, manager="uv", managed=True))
    (way, *_) = doctor.ways(machine, system_python)
    assert way.command.arguments[0] == "uv"
    assert "--break-system-packages" in way.command.arguments


def test_one_part_of_a_divided_card_is_promised() -> None:
    machine = seen(RecordedHost.load("a100-mig"))
    assert len(machine.devices) == 4
    found = prospect(machine, look.bench_of(machine))
    assert found is not None
    assert found.machine is not None
    assert [gpu.name for gpu in found.machine.gpus] == ["CUDA0"]


def test_advice_for_a_profile_tells_of_its_idle_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "hybrid.json"
    profile.write_text(json.dumps(to_json(seen(hybrid_linux()))), encoding="utf-8")
    assert main(["advise", "--profile", str(profile)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "RTX 4070 Laptop GPU 8.0 GiB is not used: the engine is a CPU build." in told
    assert "After the fix: " in told


@pytest.mark.skipif(sys.platform == "darwin", reason="Macs have Metal")
def test_a_build_that_the_system_does_not_know_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--fix", "metal"]) == 2
    assert "There is no metal build for" in capsys.readouterr().err
