from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded_host import MACHINES, RecordedHost, RecordedNvml

from localr1.cli.machine import describe
from localr1.machine import cpu, gpu_amd, gpu_apple, gpu_intel, gpu_nvidia, memory, power
from localr1.machine.bandwidth import (
    Reading,
    cached_bandwidth,
    measure_bandwidth,
    measured_enough,
    remember_bandwidth,
)
from localr1.machine.cgroup import cpu_quota
from localr1.machine.findings import Findings
from localr1.machine.host import Host, ProbeError, SlowProgramError, parse_cpu_list
from localr1.machine.profile import to_json
from localr1.machine.reconcile import reconcile
from localr1.machine.system import detect
from localr1.machine.types import EngineDevice, EngineInfo, GpuUser

GIB = 1 << 30


def linux(**recording: Any) -> RecordedHost:
    base = {"system": "Linux", "architecture": "x86_64", "cpu_counts": [4, 4]}
    return RecordedHost({**base, "memory": [64 * GIB, 60 * GIB], **recording})


def changed(name: str, **changes: Any) -> RecordedHost:
    recording = json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8"))
    return RecordedHost({**recording, **changes})


def pci(slot: str, **files: str) -> dict[str, str]:
    return {
        f"/sys/bus/pci/devices/{slot}/{name.strip('_')}": f"{text}\n"
        for name, text in files.items()
    }


def test_every_recording_names_its_source() -> None:
    for path in MACHINES.glob("*.json"):
        assert len(json.loads(path.read_text(encoding="utf-8"))["source"]) > 40, path


def test_h100_recording_is_read_in_full() -> None:
    system = detect(RecordedHost.load("linux-h100"))

    assert system.operating_system == "Linux 6.18.44 x86_64"
    assert system.problems == ()
    assert system.cpu.name == "Intel(R) Xeon(R) Processor"
    assert (system.cpu.physical_cores, system.cpu.logical_cores) == (16, 16)
    assert {"AVX2", "AVX512", "AVX512_VNNI", "AMX_INT8", "FMA", "F16C"} <= set(system.cpu.features)
    (gpu,) = system.gpus
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert (gpu.vendor, gpu.source, gpu.unified, gpu.problem) == ("nvidia", "NVML", False, "")
    assert gpu.total_bytes == 85520809984
    # 2619 MHz x 5120 bit, twice a clock: the 3.35 TB/s of NVIDIA's data sheet.
    assert gpu.bandwidth_bytes_per_second == pytest.approx(3352.32e9)


def test_mac_recording_is_read_in_full() -> None:
    system = detect(RecordedHost.load("mac-m1-pro"))

    assert system.problems == ()
    assert system.cpu.name == "Apple M1 Pro"
    assert (system.cpu.physical_cores, system.cpu.performance_cores) == (10, 8)
    assert system.cpu.features == ("NEON", "FP16_VA", "DOTPROD")
    (gpu,) = system.gpus
    assert (gpu.name, gpu.vendor, gpu.unified) == ("Apple M1 Pro", "apple", True)
    # llama.cpp reports 11453.25 MB for this chip with 16 GiB.
    assert gpu.total_bytes == pytest.approx(11453.25e6, rel=1e-6)
    assert gpu.bandwidth_bytes_per_second == 200e9
    assert system.power.on_battery is False
    assert system.power.percent == 80


def test_windows_recording_is_read_in_full() -> None:
    system = detect(RecordedHost.load("windows-7900xtx"))

    assert system.problems == ()
    assert system.cpu.name == "AMD Ryzen 9 7950X 16-Core Processor"
    assert system.cpu.features == ("SSE3", "SSSE3", "AVX", "AVX2", "AVX512")
    assert system.cpu.performance_cores == 2
    card, integrated = system.gpus
    assert card.name == "AMD Radeon RX 7900 XTX"
    assert (card.total_bytes, card.unified) == (24 * GIB, False)
    assert card.bandwidth_bytes_per_second == 960e9
    assert integrated.unified
    assert integrated.total_bytes is None


def windows_nvidia(nvml: dict[str, Any]) -> RecordedHost:
    host = changed("windows-7900xtx", nvml=nvml)
    for values in host._r["registry"].values():
        if values.get("DriverDesc") == "AMD Radeon RX 7900 XTX":
            values["DriverDesc"] = "NVIDIA GeForce RTX 3090"
    return host


def test_windows_card_that_nvml_lists_is_listed_once() -> None:
    card = {"name": "NVIDIA GeForce RTX 3090", "memory": [25769803776, 24000000000]}
    gpus = detect(windows_nvidia({"cards": [card]})).gpus

    assert [(gpu.name, gpu.source) for gpu in gpus] == [
        ("NVIDIA GeForce RTX 3090", "NVML"),
        ("AMD Radeon(TM) Graphics", "registry"),
    ]


def test_windows_card_whose_driver_is_silent_carries_its_words() -> None:
    system = detect(windows_nvidia({"error": "Driver Not Loaded"}))

    assert system.gpus[0].name == "NVIDIA GeForce RTX 3090"
    assert system.gpus[0].total_bytes == 24 * GIB
    assert "Driver Not Loaded" in system.gpus[0].problem


def test_amd_card_and_processor_graphics_are_told_apart() -> None:
    card, integrated = detect(RecordedHost.load("linux-amd")).gpus

    assert card.name == "AMD Radeon RX 9070 XT"
    assert (card.total_bytes, card.free_bytes) == (17163091968, 17163091968 - 4294967296)
    assert (card.unified, card.bandwidth_bytes_per_second) == (False, 640e9)
    assert integrated.name == "AMD Radeon Graphics"
    assert integrated.unified
    assert integrated.total_bytes == 536870912 + 16638812160


def amd_apu(**memory_files: str) -> RecordedHost:
    files = pci(
        "0000:c5:00.0",
        vendor="0x1002",
        class_="0x038000",
        device="0x1586",
        revision="0xc1",
        uevent="DRIVER=amdgpu",
        **memory_files,
    )
    # The line of Strix Halo in libdrm's amdgpu.ids.
    names = "1586,\tC1,\tAMD Radeon 8060S Graphics\n"
    return linux(files={**files, "/usr/share/libdrm/amdgpu.ids": names})


def test_strix_halo_with_a_small_carve_out_shares_main_memory() -> None:
    # Sizes from a public report of a 128 GB Ryzen AI Max+ 395 (amdgpu.gttsize=117760).
    host = amd_apu(mem_info_vram_total="536870912", mem_info_gtt_total="123480309760")
    (gpu,) = gpu_amd.probe(host).gpus

    assert gpu.name == "AMD Radeon 8060S Graphics"
    assert gpu.unified
    assert gpu.total_bytes == 536870912 + 123480309760
    assert gpu.bandwidth_bytes_per_second == 256e9


def test_strix_halo_with_96_gib_carved_out_has_that_memory_beside_ram() -> None:
    # The system of that machine has only 32 GiB left as main memory.
    host = amd_apu(mem_info_vram_total="103079215104", mem_info_gtt_total="16638812160")
    (gpu,) = gpu_amd.probe(host).gpus

    assert not gpu.unified
    assert gpu.total_bytes == 96 * GIB


def test_pci_name_for_several_cards_is_narrowed_by_memory() -> None:
    slot = "0000:03:00.0"
    files = pci(
        slot,
        vendor="0x1002",
        class_="0x030000",
        device="0x744c",
        revision="0xc8",
        uevent="DRIVER=amdgpu",
        mem_info_vram_total="25753026560",
        mem_info_vram_vendor="hynix",
    )
    text = "Device:\tNavi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]\n"
    (gpu,) = gpu_amd.probe(linux(files=files, commands={f"lspci -vmm -s {slot}": text})).gpus

    assert gpu.name == "AMD Radeon RX 7900 XTX"
    assert gpu.bandwidth_bytes_per_second == 960e9


def test_amd_card_without_its_driver_says_so() -> None:
    files = pci("0000:03:00.0", vendor="0x1002", class_="0x030000", device="0x744c")
    (gpu,) = gpu_amd.probe(linux(files=files)).gpus

    assert gpu.name == "AMD GPU 0x744c"
    assert gpu.total_bytes is None
    assert gpu.problem == "No driver runs it."


def test_an_accelerator_of_amd_is_a_card_and_one_of_intel_is_none() -> None:
    # AMD's documentation of the MI300X shows lspci's class and name.
    slot, npu = "0000:05:00.0", "0000:00:0b.0"
    files = {
        **pci(
            slot,
            vendor="0x1002",
            class_="0x120000",
            device="0x74a1",
            uevent="DRIVER=amdgpu",
            mem_info_vram_total=str(196592 << 20),
        ),
        **pci(npu, vendor="0x8086", class_="0x120000", device="0x7d1d", uevent="DRIVER=intel_vpu"),
    }
    name = "Device:\tAqua Vanjaram [Instinct MI300X]\n"
    (gpu,) = detect(linux(files=files, commands={f"lspci -vmm -s {slot}": name})).gpus

    assert gpu.name == "AMD Instinct MI300X"
    assert (gpu.total_bytes, gpu.unified) == (196592 << 20, False)
    assert gpu.bandwidth_bytes_per_second == 5300e9


def four_cards(**more: str) -> dict[str, str]:
    return {
        path: text
        for bus in ("03", "43", "83", "c3")
        for path, text in pci(
            f"0000:{bus}:00.0",
            vendor="0x1002",
            class_="0x030000",
            device="0x744c",
            uevent="DRIVER=amdgpu",
            **more,
        ).items()
    }


def test_an_lspci_that_hangs_loses_no_card_that_sysfs_knows() -> None:
    host = linux(files=four_cards(mem_info_vram_total="25753026560"))
    asked = []

    def hang(*command: str, limit_seconds: float = 0) -> str:
        asked.append(command)
        time.sleep(0.1)
        raise SlowProgramError(f"{command[0]} did not answer in {limit_seconds:g} s.")

    host.run = hang  # type: ignore[method-assign]
    system = detect(host)

    assert [gpu.total_bytes for gpu in system.gpus] == [25753026560] * 4
    assert len([command for command in asked if command[0] == "lspci"]) == 1
    assert system.problems == ()


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_program_that_hangs_is_left_behind() -> None:
    began = time.monotonic()
    with pytest.raises(SlowProgramError, match=r"did not answer in 0\.1 s"):
        # Its child keeps the pipe open when it is killed.
        Host().run("sh", "-c", "sleep 3; echo late", limit_seconds=0.1)
    assert time.monotonic() - began < 2


# bacalhau-project/bacalhau's recording of an MI210, at its address; marimo-team/marimo 9237 has
# the same of an RX 7900 XT; amd-smi's forms are those of the documentation.
ROCM_SMI = "rocm-smi --showbus --showproductname --showmeminfo vram --json"
MI210 = (
    "\nWARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status\n\n"
    '{"card0": {"PCI Bus": "0000:E7:00.0", "VRAM Total Memory (B)": "68702699520", '
    '"VRAM Total Used Memory (B)": "10960896", "Card series": "Instinct MI210", '
    '"Card model": "0x0c34"}, "system": {"Driver version": "6.7.0"}}\n'
)
LISTED = '[{"gpu": 0, "bdf": "0000:e7:00.0", "uuid": "c2ff740f-0000-1000-8017-1ff77417f1d6"}]'
USED = (
    '{"gpu": 0, "mem_usage": {"total_vram": {"value": 65520, "unit": "MB"},'
    ' "used_vram": {"value": 10, "unit": "MB"}}}'
)


@pytest.mark.parametrize(
    ("commands", "source", "free_bytes"),
    [
        ({ROCM_SMI: MI210}, "rocm-smi", 68702699520 - 10960896),
        (
            {
                "amd-smi list --json": LISTED,
                "amd-smi metric --mem-usage --json": f"[{USED}]",
                "lspci -vmm -s 0000:e7:00.0": "Device:\tAldebaran/MI200 [Instinct MI210]\n",
            },
            *("amd-smi", 65510 << 20),
        ),
        (
            {
                ROCM_SMI: "ERROR: no such option",
                "amd-smi list --json": LISTED,
                "amd-smi metric --mem-usage --json": f'{{"gpu_data": [{USED}]}}',
                "lspci -vmm -s 0000:e7:00.0": "Device:\tAldebaran/MI200 [Instinct MI210]\n",
            },
            *("amd-smi", 65510 << 20),
        ),
    ],
)
def test_rocms_programs_tell_what_sysfs_does_not(
    commands: dict[str, str], source: str, free_bytes: int
) -> None:
    slot = "0000:e7:00.0"
    files = pci(slot, vendor="0x1002", class_="0x038000", device="0x740f", uevent="DRIVER=amdgpu")
    (gpu,) = gpu_amd.probe(linux(files=files, commands=commands)).gpus

    assert (gpu.name, gpu.source) == ("AMD Instinct MI210", source)
    assert (gpu.total_bytes, gpu.free_bytes) == (65520 << 20, free_bytes)
    assert (gpu.unified, gpu.bandwidth_bytes_per_second) == (False, 1638e9)


def test_a_card_whose_memory_nobody_tells_says_so() -> None:
    (first, *_) = gpu_amd.probe(linux(files=four_cards(), commands={ROCM_SMI: "{}"})).gpus
    assert first.total_bytes is None
    assert first.problem == "Its driver, amdgpu, does not say how much memory it has."


def test_intel_graphics_share_memory_and_cards_do_not() -> None:
    igpu, card = "0000:00:02.0", "0000:03:00.0"
    files = {
        **pci(igpu, vendor="0x8086", class_="0x030000", device="0x46a6", uevent="DRIVER=i915"),
        **pci(card, vendor="0x8086", class_="0x030000", device="0xe20b", uevent="DRIVER=xe"),
        f"/sys/bus/pci/devices/{card}/tile0/physical_vram_size_bytes": "0x2fa000000\n",
    }
    commands = {
        f"lspci -vmm -s {igpu}": "Device:\tAlder Lake-P GT2 [Iris Xe Graphics]\n",
        f"lspci -vmm -s {card}": "Device:\tBattlemage G21 [Arc B580]\n",
    }
    first, second = gpu_intel.probe(linux(files=files, commands=commands)).gpus

    assert (first.name, first.unified, first.total_bytes) == (
        "Intel Iris Xe Graphics",
        True,
        None,
    )
    assert (second.name, second.unified) == ("Intel Arc B580", False)
    assert second.total_bytes == 0x2FA000000
    assert second.bandwidth_bytes_per_second == 456e9


def test_nvidia_chip_that_shares_memory_reports_none_of_its_own() -> None:
    nvml = {"cards": [{"name": "NVIDIA GB10", "memory": None}]}
    (gpu,) = gpu_nvidia.probe(linux(nvml=nvml)).gpus

    assert gpu.unified
    assert gpu.total_bytes is None
    assert gpu.bandwidth_bytes_per_second == 273e9


# The texts are those of nvidia-ml-py for the errors 9 and 18.
@pytest.mark.parametrize(
    "words", ["Driver Not Loaded", "RM has detected an NVML/RM version mismatch."]
)
def test_card_without_working_driver_carries_the_drivers_words(words: str) -> None:
    host = changed("linux-h100", nvml={"error": words})
    host._r["files"].update(pci("0000:00:06.0", class_="0x030200", device="0x2330"))
    system = detect(host)

    (gpu,) = system.gpus
    assert gpu.vendor == "nvidia"
    assert gpu.total_bytes is None
    assert gpu.problem == words.rstrip(".") + "."


def test_card_run_by_nouveau_is_said_to_be() -> None:
    slot = "0000:01:00.0"
    files = pci(slot, vendor="0x10de", class_="0x030000", device="0x2684", uevent="DRIVER=nouveau")
    text = "Device:\tAD102 [GeForce RTX 4090]\n"
    host = linux(files=files, commands={f"lspci -vmm -s {slot}": text})
    (gpu,) = gpu_nvidia.probe(host).gpus

    assert gpu.name == "GeForce RTX 4090"
    assert gpu.problem == "It is run by nouveau, not by NVIDIA's driver."


def test_computer_without_nvidia_has_nothing_to_report() -> None:
    assert gpu_nvidia.probe(linux()) == Findings()


def test_driver_without_card_is_a_problem_in_its_words() -> None:
    findings = gpu_nvidia.probe(linux(nvml={"error": "Driver Not Loaded"}))

    assert findings.gpus == ()
    assert findings.problems == ("NVIDIA's driver does not answer: Driver Not Loaded.",)


@pytest.mark.parametrize(
    ("directories", "words"),
    [
        ({"/dev": ["nvidiactl", "nvidia0"]}, "its library libnvidia-ml.so.1 is not found"),
        ({"/dev": ["dxg"]}, "needs its driver in Windows"),
        (
            {"/dev": ["dxg"], "/usr/lib/wsl/drivers": ["nv_dispi.inf_amd64_1a2b"]},
            "needs its driver in Windows",
        ),
    ],
)
def test_a_driver_whose_library_is_missing_is_said(
    directories: dict[str, list[str]], words: str
) -> None:
    system = detect(linux(directories=directories))
    assert system.gpus == ()
    (problem,) = system.problems
    assert words in problem
    machine = reconcile(system, EngineInfo("0.3.36", ("CPU",), (), compiled=("CPU",)))
    assert machine.problems == (problem,)
    assert problem in dict(describe(machine)).values()


def test_a_wsl_without_nvidias_driver_has_nothing_to_tell() -> None:
    drivers = ["u0388365.inf_amd64_8c4b", "iigd_dch.inf_amd64_0f2e"]
    assert (
        gpu_nvidia.probe(linux(directories={"/dev": ["dxg"], "/usr/lib/wsl/drivers": drivers}))
        == Findings()
    )


def test_a_driver_that_lists_no_card_is_said() -> None:
    findings = gpu_nvidia.probe(linux(nvml={"cards": []}))
    assert findings.gpus == ()
    assert "lists no card" in findings.problems[0]
    files = pci(
        "0000:01:00.0",
        vendor="0x10de",
        class_="0x030000",
        device="0x2684",
        uevent="DRIVER=nvidia",
    )
    (gpu,) = gpu_nvidia.probe(linux(nvml={"cards": []}, files=files)).gpus
    assert gpu.problem == "NVIDIA's driver does not list the card."


def test_one_lost_card_does_not_hide_the_other_and_nvml_is_closed() -> None:
    good = {"name": "NVIDIA GeForce RTX 3060", "memory": [12884901888, 12000000000]}
    nvml = RecordedNvml({"cards": [{"error": "GPU is lost"}, good]})
    host = linux(directories={"/dev": ["nvidiactl"]})
    host.nvml = lambda: nvml  # type: ignore[method-assign]
    lost, working = gpu_nvidia.probe(host).gpus

    assert lost.problem == "GPU is lost."
    assert working.bandwidth_bytes_per_second == 360e9
    assert nvml.open == 0


def test_mac_owner_limit_counts_and_default_is_a_share() -> None:
    assert gpu_apple.working_set_bytes(64 * GIB) == 48 * GIB
    assert gpu_apple.working_set_bytes(64 * GIB, 56 * GIB) == 56 * GIB
    assert gpu_apple.working_set_bytes(36 * GIB) == 27 * GIB


def test_mac_without_system_profiler_still_names_its_chip() -> None:
    host = RecordedHost.load("mac-m1-pro")
    del host._r["commands"]["system_profiler -json SPDisplaysDataType"]
    system = detect(host)

    assert [gpu.name for gpu in system.gpus] == ["Apple M1 Pro"]
    assert system.problems == ("system_profiler is not installed.",)


def test_intel_mac_lists_its_card_and_its_shared_graphics() -> None:
    # Names and sizes as public recordings of MacBook Pros have them.
    displays = [
        {"sppci_model": "Intel UHD Graphics 630", "spdisplays_vram_shared": "1536 MB"},
        {"sppci_model": "AMD Radeon Pro 5500M", "spdisplays_vram": "8 GB"},
    ]
    text = json.dumps({"SPDisplaysDataType": displays})
    host = RecordedHost(
        {
            "system": "Darwin",
            "architecture": "x86_64",
            "commands": {"system_profiler -json SPDisplaysDataType": text},
        }
    )
    shared, card = gpu_apple.probe(host).gpus

    assert (shared.vendor, shared.unified, shared.total_bytes) == ("intel", True, 1536 << 20)
    assert (card.vendor, card.unified, card.total_bytes) == ("amd", False, 8 * GIB)


def test_parents_memory_limit_of_a_real_control_group_counts() -> None:
    ram = memory.probe(RecordedHost.load("linux-h100"))

    # The group above ours allows 128 GiB, a little more than the machine has.
    assert ram.total_bytes == 135148564480
    assert ram.available_bytes == 134595342336


@pytest.mark.parametrize(
    ("group", "files"),
    [
        (
            "0::/\n",
            {
                "/sys/fs/cgroup/memory.max": "8589934592",
                "/sys/fs/cgroup/memory.current": "3221225472",
                "/sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 1073741824\n",
            },
        ),
        (
            "11:memory:/docker/abc\n",
            {
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "8589934592",
                "/sys/fs/cgroup/memory/memory.usage_in_bytes": "3221225472",
                "/sys/fs/cgroup/memory/memory.stat": "total_inactive_file 1073741824\n",
            },
        ),
    ],
    ids=["v2", "v1"],
)
def test_container_has_what_its_limit_leaves(group: str, files: dict[str, str]) -> None:
    ram = memory.probe(linux(files={"/proc/self/cgroup": group, **files}))

    assert ram.total_bytes == 8 * GIB
    assert ram.available_bytes == 6 * GIB


def test_version_1_no_limit_is_no_limit() -> None:
    files = {
        "/proc/self/cgroup": "4:memory:/user\n",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert memory.probe(linux(files=files)).total_bytes == 64 * GIB


def test_cpu_quota_and_affinity_limit_the_cores() -> None:
    files = {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "150000 100000\n"}
    host = linux(files=files, affinity=[0, 1, 2])

    assert cpu_quota(host) == 1.5
    assert cpu.probe(host).performance_cores == 1
    assert cpu.probe(linux(affinity=[0, 1, 2])).logical_cores == 3


def hybrid(pmu: str | None) -> RecordedHost:
    """An i7-12700H: 6 performance cores with two threads, 8 efficiency cores."""
    root = "/sys/devices/system/cpu"
    files = {"/proc/cpuinfo": "vendor_id\t: GenuineIntel\nmodel name\t: i7-12700H\nflags\t: avx2\n"}
    for number in range(20):
        core = number // 2 if number < 12 else number - 6
        files[f"{root}/cpu{number}/topology/core_id"] = f"{core}\n"
        files[f"{root}/cpu{number}/topology/physical_package_id"] = "0\n"
        speed = 4700000 if number < 12 else 3500000
        files[f"{root}/cpu{number}/cpufreq/cpuinfo_max_freq"] = f"{speed}\n"
    if pmu is not None:
        files["/sys/devices/cpu_core/cpus"] = pmu
    return linux(files=files, affinity=list(range(20)))


@pytest.mark.parametrize("pmu", ["0-11\n", None], ids=["pmu", "frequency"])
def test_hybrid_processor_counts_its_performance_cores(pmu: str | None) -> None:
    found = cpu.probe(hybrid(pmu))

    assert (found.logical_cores, found.physical_cores, found.performance_cores) == (20, 14, 6)


def test_arm_little_cores_are_not_counted_as_fast() -> None:
    # The capacities that the kernel gives an RK3588: four A55 and four A76.
    root = "/sys/devices/system/cpu"
    files = {f"{root}/cpu{n}/cpu_capacity": "530" if n < 4 else "1024" for n in range(8)}
    # The Features line and part number of a Cortex-A76.
    files["/proc/cpuinfo"] = (
        "Features\t: fp asimd evtstrm asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
    )
    found = cpu.probe(linux(files=files, affinity=list(range(8))))

    assert found.name == "Arm Cortex-A76"
    assert found.performance_cores == 4
    assert found.features == ("NEON", "FP16_VA", "DOTPROD")


def test_windows_core_list_cut_short_is_refused() -> None:
    assert cpu.efficiency_classes(b"") == ()
    with pytest.raises(ProbeError):
        cpu.efficiency_classes(bytes(9))
    with pytest.raises(ProbeError):
        cpu.efficiency_classes(bytes(48))


def test_kernel_cpu_list() -> None:
    assert parse_cpu_list("0-3,8\n") == {0, 1, 2, 3, 8}
    assert parse_cpu_list("\n") == set()


def test_battery_states() -> None:
    assert power.probe(linux()).on_battery is None
    assert power.probe(linux(directories={"/sys/class/power_supply": ["AC"]})).on_battery is False
    assert power.probe(linux(battery=[False, 41.0])).on_battery is True
    assert power.probe(linux(battery=[None, 41.0])).on_battery is None


@pytest.mark.parametrize(
    "files",
    [
        {"power_now": "12400000\n"},
        # What counts charge gives current and voltage; some say it as a negative number.
        {"current_now": "-1000000\n", "voltage_now": "12400000\n"},
    ],
)
def test_what_is_drawn_from_the_battery(files: dict[str, str]) -> None:
    folder = "/sys/class/power_supply"
    supply = {f"{folder}/BAT0/type": "Battery\n", f"{folder}/AC/type": "Mains\n"}
    given = {f"{folder}/BAT0/{name}": text for name, text in files.items()}
    state = power.probe(linux(battery=[False, 41.0], files={**supply, **given}))
    assert state.watts == pytest.approx(12.4)
    assert power.probe(linux(battery=[True, 41.0], files={**supply, **given})).watts is None
    assert power.probe(linux(battery=[False, 41.0], files=supply)).watts is None


def test_probe_that_fails_or_hangs_is_named_and_the_others_go_on() -> None:
    host = RecordedHost.load("linux-h100")
    release = threading.Event()

    def hang() -> Any:
        release.wait(30)

    def fail() -> Any:
        raise OSError(5, "Input/output error")

    host.nvml = hang  # type: ignore[method-assign]
    host.battery = fail  # type: ignore[method-assign]
    start = time.monotonic()
    system = detect(host, limit_seconds=0.3)
    took = time.monotonic() - start
    release.set()

    assert took < 5
    assert system.cpu.physical_cores == 16
    assert system.gpus == ()
    assert len(system.problems) == 2
    assert "the battery failed: [Errno 5]" in system.problems[0]
    assert "NVIDIA cards did not end within 0.3 s" in system.problems[1]


def test_this_computer_is_detected_without_problems_of_its_own() -> None:
    system = detect()

    assert system.cpu.name
    assert 1 <= system.cpu.performance_cores <= system.cpu.physical_cores
    assert system.cpu.physical_cores <= system.cpu.logical_cores
    assert 0 < system.memory.available_bytes <= system.memory.total_bytes


def test_real_host_translates_what_programs_do() -> None:
    host = Host()

    assert host.read_text("no/such/file") is None
    assert host.list_directory("no/such/folder") == ()
    with pytest.raises(ProbeError, match="is not installed"):
        host.run("no-such-program-at-all")


def test_bandwidth_is_measured_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    host = RecordedHost.load("mac-m1-pro")
    first = detect(host, measure=True, cache_dir=folder).memory.bandwidth_bytes_per_second
    again = detect(host, cache_dir=folder).memory.bandwidth_bytes_per_second

    assert first is not None
    assert 1e8 < first < 2e12
    assert again == first
    assert detect(host).memory.bandwidth_bytes_per_second is None


def test_little_memory_is_enough_to_measure() -> None:
    reading = measure_bandwidth(0.01, threads=2, memory_bytes=4 << 20)
    assert reading.bytes_per_second > 0
    assert 0 <= reading.running_share < 1.5


def test_what_was_measured_on_a_busy_computer_gives_way(tmp_path: Path) -> None:
    busy = Reading(1e10, 0.25)
    assert not busy.calm
    assert busy.likely == 2e10
    for _ in range(9):
        remember_bandwidth(tmp_path, "cpu", busy)
    assert cached_bandwidth(tmp_path, "cpu") == 2e10
    # As soon as it is calm it is measured again; not while it stays busy.
    assert not measured_enough(tmp_path, "cpu")
    assert measured_enough(tmp_path, "cpu", busy=True)
    assert not measured_enough(tmp_path, "other", busy=True)
    remember_bandwidth(tmp_path, "cpu", Reading(1.5e10, 1.0))
    assert cached_bandwidth(tmp_path, "cpu") == 1.5e10


def test_damaged_bandwidth_cache_is_ignored_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "bandwidth.json").write_text("[1, 2", encoding="utf-8")
    assert cached_bandwidth(tmp_path, "cpu") is None
    remember_bandwidth(tmp_path, "cpu", Reading(5e10, 1.0))
    remember_bandwidth(tmp_path, "other", Reading(6e10, 1.0))
    assert cached_bandwidth(tmp_path, "cpu") == 5e10
    for measured in (4e10, 7e10, 1e10):
        assert not measured_enough(tmp_path, "cpu")
        remember_bandwidth(tmp_path, "cpu", Reading(measured, 1.0))
    assert cached_bandwidth(tmp_path, "cpu") == 7e10
    remember_bandwidth(tmp_path, "cpu", Reading(2e10, 1.0))
    assert measured_enough(tmp_path, "cpu")
    (tmp_path / "bandwidth.json").write_text('{"cpu": "fast", "x": [-1]}', encoding="utf-8")
    assert cached_bandwidth(tmp_path, "cpu") is None
    assert cached_bandwidth(tmp_path, "x") is None


# --- who holds a card's memory


def test_nvml_names_who_holds_the_memory_each_once() -> None:
    recording = json.loads((MACHINES / "linux-h100.json").read_text(encoding="utf-8"))
    card = recording["nvml"]["cards"][0]
    card["compute_processes"] = [[10, 3 * GIB], [11, GIB], [12, None]]
    card["graphics_processes"] = [[10, 3 * GIB], [20, 1 << 20], [99, GIB]]
    names = {"10": "python3", "11": "python3", "12": "Xorg", "20": "tiny"}
    (gpu,) = detect(RecordedHost({**recording, "processes": names})).gpus

    # Xorg's share is not told, tiny's is too small, and nobody knows what 99 is.
    assert gpu.users == (GpuUser("python3", 4 * GIB),)
    machine = reconcile(
        replace(detect(RecordedHost.load("linux-h100")), gpus=(gpu,)),
        EngineInfo("1", ("CUDA",), (EngineDevice("CUDA0", gpu.name, "gpu", 80 * GIB, 79 * GIB),)),
    )
    assert machine.gpus[0].users == gpu.users
    assert "python3" not in json.dumps(to_json(machine))


def test_the_kernel_names_who_holds_an_amd_cards_memory() -> None:
    recording = json.loads((MACHINES / "linux-amd.json").read_text(encoding="utf-8"))
    card = next(g for g in detect(RecordedHost(recording)).gpus if not g.unified)
    assert card.users == ()
    slot = next(
        path.split("/")[5] for path in recording["files"] if path.endswith("mem_info_vram_total")
    )
    here = f"drm-driver:\tamdgpu\ndrm-pdev:\t{slot}\n"
    fdinfo = {
        # Two descriptors of one client, one of another, one of another card.
        "/proc/7/fdinfo/3": f"pos:\t0\n{here}drm-client-id:\t1\ndrm-memory-vram:\t1048576 KiB\n",
        "/proc/7/fdinfo/4": f"{here}drm-client-id:\t1\ndrm-memory-vram:\t1048576 KiB\n",
        "/proc/7/fdinfo/5": f"{here}drm-client-id:\t2\ndrm-resident-vram:\t512 MiB\n",
        "/proc/7/fdinfo/6": "drm-pdev:\t0000:ff:00.0\ndrm-client-id:\t3\ndrm-memory-vram:\t9 MiB\n",
        "/proc/8/fdinfo/0": "pos:\t0\nflags:\t02\n",
    }
    with_users = {**recording, "files": {**recording["files"], **fdinfo}}
    with_users["processes"] = {"7": "firefox", "8": "bash"}
    named = next(g for g in detect(RecordedHost(with_users)).gpus if not g.unified)
    assert named.users == (GpuUser("firefox", 3 * GIB // 2),)


def test_our_own_processes_are_not_named() -> None:
    host = Host()
    assert host.process_name(os.getpid()) is None
    assert host.process_name(1 << 30) is None
    assert host.process_name(os.getppid())


def test_where_it_runs_is_part_of_the_systems_name() -> None:
    assert detect(linux(release="6.8")).operating_system == "Linux 6.8 x86_64"
    inside = linux(release="6.8", files={"/.dockerenv": ""})
    assert detect(inside).operating_system == "Linux 6.8 x86_64 (container)"
    below = detect(RecordedHost.load("wsl-rtx-4080"))
    assert below.operating_system.endswith("WSL2 x86_64 (WSL)")


def test_swap_and_groups_of_cores_are_told() -> None:
    nodes = {"/sys/devices/system/node": ["node0", "node1", "possible", "has_cpu"]}
    system = detect(linux(swap=8 * GIB, directories=nodes))
    assert (system.memory.swap_bytes, system.cpu.numa_nodes) == (8 * GIB, 2)
    assert detect(linux()).cpu.numa_nodes == 1
