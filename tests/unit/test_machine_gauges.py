"""Live figures: what the system says, and nothing where it says nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from recorded_host import RecordedHost, RecordedNvml

from localr1.machine.gauges import Gauges, Now, Watcher

GIB = 1 << 30


def a_host(system: str = "Linux", architecture: str = "x86_64", **parts: Any) -> RecordedHost:
    return RecordedHost(
        {
            "system": system,
            "architecture": architecture,
            "cpu_counts": [8, 4],
            "memory": [32 * GIB, 21 * GIB],
            "cpu_share": 0.5,
            **parts,
        }
    )


def a_card(**more: Any) -> dict[str, Any]:
    return {"name": "NVIDIA GeForce RTX 4070", "memory": [12 * GIB, 2 * GIB], **more}


def test_what_the_system_does_not_say_is_left_out() -> None:
    gauges = Gauges(a_host())
    first, second = gauges.look(), gauges.look(4711)
    assert first.cpu_share is None, "it is a share of the time since the look before"
    assert second == Now(second.memory, second.power, 0.5, None, None, ())
    assert (second.memory.total_bytes, second.memory.available_bytes) == (32 * GIB, 21 * GIB)


def test_nvidia_cards_say_how_busy_and_warm_they_are() -> None:
    cards = [
        {"error": "GPU is lost"},
        a_card(busy_percent=97, celsius=71, milliwatts=180_000),
        a_card(),
    ]
    busy, silent = Gauges(a_host(nvml={"cards": cards})).look().gpus
    assert (busy.gpu.total_bytes, busy.gpu.free_bytes) == (12 * GIB, 2 * GIB)
    assert (busy.busy_share, busy.celsius, busy.watts) == (0.97, 71, 180)
    assert (silent.busy_share, silent.celsius, silent.watts) == (None, None, None)


def test_the_drivers_library_stays_open_between_two_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, nvml = a_host(nvml={"cards": [a_card()]}), RecordedNvml({"cards": [a_card()]})
    monkeypatch.setattr(host, "nvml", lambda: nvml)
    gauges = Gauges(host)
    gauges.look()
    gauges.look()
    assert nvml.open == 1
    gauges.close()
    assert nvml.open == 0


@pytest.mark.parametrize("recording", ["linux-amd", "strix-halo-gtt", "hybrid-graphics"])
def test_recorded_computers_are_looked_at_without_surprises(recording: str) -> None:
    seen = Gauges(RecordedHost.load(recording)).look()
    assert seen.memory.total_bytes > 0
    for each in seen.gpus:
        assert each.busy_share is None or 0 <= each.busy_share <= 1


def test_amd_cards_by_their_drivers_files() -> None:
    folder = "/sys/bus/pci/devices/0000:03:00.0"
    files = {
        "vendor": "0x1002\n",
        "class": "0x030000\n",
        "device": "0x744c\n",
        "revision": "0xc8\n",
        "uevent": "DRIVER=amdgpu\n",
        "mem_info_vram_total": str(24 * GIB),
        "mem_info_vram_used": str(10 * GIB),
        "gpu_busy_percent": "88\n",
        "hwmon/hwmon4/temp1_input": "65000\n",
        "hwmon/hwmon4/power1_average": "211000000\n",
    }
    (card,) = Gauges(a_host(files={f"{folder}/{k}": v for k, v in files.items()})).look().gpus
    assert (card.gpu.total_bytes, card.gpu.free_bytes) == (24 * GIB, 14 * GIB)
    assert (card.busy_share, card.celsius, card.watts) == (0.88, 65.0, 211.0)


def test_the_processors_own_sensor_is_found_among_others() -> None:
    files = {
        "/sys/class/hwmon/hwmon0/name": "nvme\n",
        "/sys/class/hwmon/hwmon0/temp1_input": "91000\n",
        "/sys/class/hwmon/hwmon1/name": "k10temp\n",
        "/sys/class/hwmon/hwmon1/temp1_input": "62500\n",
    }
    assert Gauges(a_host(files=files)).look().cpu_celsius == 62.5
    files["/sys/class/hwmon/hwmon1/temp1_input"] = "0\n"  # as of a sensor that is absent
    assert Gauges(a_host(files=files)).look().cpu_celsius is None
    zone = {
        "/sys/class/thermal/thermal_zone0/type": "acpitz\n",
        "/sys/class/thermal/thermal_zone0/temp": "27800\n",
        "/sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
        "/sys/class/thermal/thermal_zone1/temp": "48200\n",
    }
    assert Gauges(a_host(files=zone)).look().cpu_celsius == 48.2


def test_apples_chips_say_how_busy_they_are() -> None:
    command = "ioreg -r -d 1 -w 0 -c IOAccelerator"
    text = '"PerformanceStatistics" = {"Device Utilization %"=42,"Tiler Utilization %"=4}\n'
    host = a_host("Darwin", "arm64", commands={command: f'"model" = "Apple M2 Max"\n{text}'})
    (chip,) = Gauges(host).look().gpus
    assert (chip.gpu.name, chip.gpu.vendor, chip.busy_share) == ("Apple M2 Max", "apple", 0.42)
    assert Gauges(a_host("Darwin", "arm64")).look().gpus == ()


def test_a_watcher_looks_until_it_is_stopped() -> None:
    seen: list[Now] = []
    twice = threading.Event()

    def tell(now: Now) -> None:
        seen.append(now)
        if len(seen) == 2:
            twice.set()

    watcher = Watcher(Gauges(a_host(resident={"7": GIB})), lambda: 7, tell, every_seconds=0.01)
    watcher.start()
    assert twice.wait(10)
    watcher.stop()
    watcher._thread.join(10)
    assert not watcher._thread.is_alive()
    assert seen[0].engine_bytes == GIB
