"""Computers that others described in public: each is seen as it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from recorded_host import MACHINES, RecordedHost

from localr1.fit.advisor import advise
from localr1.machine.gpu_table import bandwidth_of
from localr1.machine.profile import from_json, to_json
from localr1.machine.reconcile import distinct_memory_bytes, reconcile
from localr1.machine.system import detect
from localr1.machine.types import EngineDevice, EngineInfo, System
from localr1.models import catalog

GIB = 1 << 30
NAMES = sorted(path.stem for path in MACHINES.glob("*.json"))
RECORDED = {
    name: json.loads((MACHINES / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES
}
EXPECTED = [name for name in NAMES if "expected" in RECORDED[name]]


def seen(name: str) -> System:
    return detect(RecordedHost.load(name))


def test_there_are_twenty_and_each_names_where_it_comes_from() -> None:
    assert len(NAMES) >= 20
    for name in EXPECTED:
        source = RECORDED[name]["source"]
        assert "https://github.com/" in source or "public" in source, name


@pytest.mark.parametrize("name", EXPECTED)
def test_seen_as_it_is(name: str) -> None:
    system, expected = seen(name), RECORDED[name]["expected"]
    assert system.problems == ()
    found: dict[str, Any] = {
        **asdict(system.cpu),
        **asdict(system.power),
        "total_bytes": system.memory.total_bytes,
    }
    for key in expected.keys() - {"gpus"}:
        assert found[key] == expected[key], key
    gpus = [asdict(gpu) for gpu in system.gpus]
    assert [
        {key: gpu[key] for key in wanted}
        for gpu, wanted in zip(gpus, expected["gpus"], strict=True)
    ] == expected["gpus"]


@pytest.mark.parametrize("name", NAMES)
def test_no_memory_twice_and_back_again_from_json(name: str) -> None:
    system = seen(name)
    machine = reconcile(system, EngineInfo("0.3.36", ("CPU",), (), compiled=("CPU",)))
    assert distinct_memory_bytes(machine) == system.memory.total_bytes
    for device in machine.devices:
        assert 0 <= device.free_bytes <= device.total_bytes
        assert device.reason
    text = json.dumps(to_json(machine))
    assert from_json(json.loads(text)) == machine


def test_a_container_in_its_hosts_tree_has_no_more() -> None:
    # With --cgroupns host the limit is not at the root: vertti/preflight 226.
    recording = RECORDED["container-512m"]
    group = "/system.slice/docker-0123abcd.scope"
    files = {
        path.replace("/sys/fs/cgroup", f"/sys/fs/cgroup{group}"): text
        for path, text in recording["files"].items()
    }
    files["/proc/self/cgroup"] = f"0::{group}\n"
    system = detect(RecordedHost({**recording, "files": files}))
    assert system.memory.total_bytes == 512 << 20
    assert system.memory.available_bytes <= 512 << 20
    assert system.cpu.physical_cores == 6
    assert system.operating_system.endswith("(container)")


# --- what other programs got wrong; the numbers are of AlexsJones/llmfit unless they say otherwise


@pytest.mark.parametrize(
    ("name", "gib", "speed"),
    [
        ("AMD Radeon AI PRO R9700", 32, 640e9),  # 830: taken for 8 GiB
        ("NVIDIA RTX A4000", 16, 448e9),  # 239: not found
        ("AMD Radeon RX 9060 XT", 16, 320e9),  # 55: not found
        ("NVIDIA GeForce RTX 5060", 8, 448e9),  # substring of another: 256
        ("AMD Radeon RX 9070", 16, 640e9),  # 488
    ],
)
def test_cards_that_others_do_not_know(name: str, gib: int, speed: float) -> None:
    assert bandwidth_of(name, gib * GIB) == speed


def test_a_laptops_card_is_not_its_desktop_namesake() -> None:
    # 919: a laptop's card inherited the desktop card's bandwidth.
    laptop = bandwidth_of("NVIDIA GeForce RTX 4090 Laptop GPU", 16 * GIB)
    desktop = bandwidth_of("NVIDIA GeForce RTX 4090", 24 * GIB)
    assert laptop is not None
    assert desktop is not None
    assert laptop < desktop


def test_old_graphics_of_a_processor_are_no_fast_card() -> None:
    # 840: an HD 4000 was a SYCL card with 800 tokens a second.
    slot = "0000:00:02.0"
    files = {
        f"/sys/bus/pci/devices/{slot}/{key}": f"{text}\n"
        for key, text in {
            "vendor": "0x8086",
            "device": "0x0166",
            "class": "0x030000",
            "uevent": "DRIVER=i915",
        }.items()
    }
    host = RecordedHost(
        {
            "system": "Linux",
            "architecture": "x86_64",
            "cpu_counts": [4, 2],
            "memory": [8 * GIB, 6 * GIB],
            "files": files,
            "commands": {
                f"lspci -vmm -s {slot}": "Device:\t3rd Gen Core processor Graphics Controller\n"
            },
        }
    )
    (gpu,) = detect(host).gpus
    assert gpu.unified
    assert gpu.total_bytes is None
    assert gpu.bandwidth_bytes_per_second is None


def test_free_memory_counts_not_all_of_it() -> None:
    # 835: memory that other programs hold was given away.
    system = seen("windows-2080-ti-x2")
    assert [gpu.free_bytes for gpu in system.gpus] == [10688 << 20, 9112 << 20]


def test_unknown_bandwidth_is_not_a_speed_of_nothing() -> None:
    # whichllm 76, 78: a card without an entry was shown with 0.0 tokens a second.
    device = EngineDevice("CUDA0", "NVIDIA Nobody Knows 9999", "gpu", 12 * GIB, 11 * GIB)
    engine = EngineInfo("0.3.36", ("CUDA", "CPU"), (device,), compiled=("CUDA", "CPU"))
    machine = reconcile(seen("rtx-5090"), engine)
    home = catalog.load()
    models = (home.model("r1-distill-qwen-7b"),)
    (plan, *_) = advise(machine, models, quantization_loss=home.quantization_loss).plans
    assert plan.generation_tps.low > 0


def test_a_card_is_not_taken_for_main_memory() -> None:
    # llama.cpp 17536: 55372 MiB free on a card of 32106 MiB.
    total, free = 32106 << 20, 55372 << 20
    device = EngineDevice("CUDA0", "NVIDIA GeForce RTX 5090", "gpu", total, free)
    engine = EngineInfo("0.3.36", ("CUDA", "CPU"), (device,), compiled=("CUDA", "CPU"))
    (gpu,) = reconcile(seen("rtx-5090"), engine).gpus
    assert gpu.free_bytes <= gpu.total_bytes == total
