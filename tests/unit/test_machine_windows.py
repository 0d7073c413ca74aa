"""Windows: which of the registry's adapters are there, and which lack their driver."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_host import RecordedHost
from test_install_diagnosis import BENCH

from localr1 import doctor
from localr1.machine import gpu_windows
from localr1.machine.findings import Findings
from localr1.machine.gpu_windows import CLASS_ID, CLASS_KEY, ENUM_KEY, Listed, decide
from localr1.machine.reconcile import reconcile
from localr1.machine.system import detect
from localr1.machine.types import EngineInfo

GIB = 1 << 30
# The adapters of oshi/oshi 2521 (an RTX 4090 beside an i9's graphics), and the key of a card that
# was removed, as SillyTavern/SillyTavern-Launcher 62 had one.
UHD, RTX, OLD = (
    ("0000", "Intel(R) UHD Graphics 770", GIB),
    ("0001", "NVIDIA GeForce RTX 4090", 25756696576),
    ("0002", "AMD Radeon RX 580 Series", 8 * GIB),
)
BASIC = ("0003", "Microsoft Basic Display Adapter", None)
UHD_ID = r"PCI\VEN_8086&DEV_A780&SUBSYS_7D251462&REV_04\3&11583659&0&10"
RTX_ID = r"PCI\VEN_10DE&DEV_2684&SUBSYS_51031462&REV_A1\4&2283F625&0&0008"
ENGINE = EngineInfo("0.3.36", ("CPU",), (), compiled=("CPU",))


def windows(
    *adapters: tuple[str, str, int | None], present: dict[str, str] | None = None, **more: Any
) -> RecordedHost:
    registry: dict[str, dict[str, Any]] = {
        f"{CLASS_KEY}\\{key}": {"DriverDesc": name, "HardwareInformation.qwMemorySize": size}
        for key, name, size in adapters
    }
    for instance, key in (present or {}).items():
        registry[f"{ENUM_KEY}\\{instance}"] = {"Driver": f"{CLASS_ID}\\{key}"}
    recording = {
        "system": "Windows",
        "release": "11",
        "architecture": "AMD64",
        "cpu_counts": [32, 24],
        "memory": [64 * GIB, 50 * GIB],
        "registry": registry,
        **more,
    }
    if present is not None:
        recording["present"] = {CLASS_ID: list(present)}
    return RecordedHost(recording)


def test_the_key_of_a_card_that_was_removed_is_no_card() -> None:
    host = windows(UHD, RTX, OLD, present={UHD_ID: "0000", RTX_ID: "0001"})
    assert [gpu.name for gpu in gpu_windows.probe(host).gpus] == [UHD[1], RTX[1]]
    # Where Windows does not say what is there, all of them count.
    assert len(gpu_windows.probe(windows(UHD, RTX, OLD)).gpus) == 3
    host = windows(UHD, RTX, OLD, present={UHD_ID: "0000"})
    del host._r["registry"][f"{ENUM_KEY}\\{UHD_ID}"]
    assert len(gpu_windows.probe(host).gpus) == 3


def test_a_card_that_windows_runs_with_its_basic_driver_is_said() -> None:
    host = windows(UHD, BASIC, present={UHD_ID: "0000", RTX_ID: "0003"})
    system = detect(host)
    card, graphics = system.gpus
    assert (card.name, card.vendor) == ("NVIDIA GPU 0x2684", "nvidia")
    assert "Microsoft Basic Display Adapter" in card.problem
    assert graphics.problem == ""
    found = doctor.engine(reconcile(system, ENGINE), BENCH)
    (said,) = [one for one in found if one.what.startswith("NVIDIA GPU")]
    assert said.status == "warning"
    assert said.todo.startswith("Install or repair NVIDIA's driver")


def test_it_is_said_also_where_windows_does_not_tell_which_card() -> None:
    system = detect(windows(BASIC))
    assert system.gpus == ()
    assert "basic driver" in system.problems[0]
    (found,) = doctor.unseen(reconcile(system, ENGINE))
    assert "install the driver of the card's maker" in found.what


@pytest.mark.parametrize(
    "instance",
    [
        r"PCI\VEN_15AD&DEV_0405&SUBSYS_040515AD&REV_00\3&18D45AA6&0&78",  # VMware's
        r"ROOT\BASICDISPLAY\0000",
    ],
)
def test_a_stand_in_for_no_card_is_nothing(instance: str) -> None:
    host = windows(BASIC, present={instance: "0003"})
    assert gpu_windows.probe(host) == Findings()


def test_a_card_of_nvidia_without_its_library_is_said() -> None:
    (card,) = detect(windows(RTX, present={RTX_ID: "0001"})).gpus
    assert card.problem == "NVIDIA's management library (NVML) does not answer."
    # One that works does not hide one that lacks its driver.
    nvml = {"cards": [{"name": RTX[1], "memory": [25756696576, 24000000000]}]}
    other = r"PCI\VEN_10DE&DEV_1B80&SUBSYS_85AA1043&REV_A1\4&1A2B3C4D&0&0010"
    host = windows(RTX, BASIC, present={RTX_ID: "0001", other: "0003"}, nvml=nvml)
    assert [gpu.source for gpu in detect(host).gpus] == ["NVML", "registry"]


_keys = st.sampled_from(["0000", "0001", "0002", "0003"])
_names = st.sampled_from([UHD[1], RTX[1], OLD[1], BASIC[1], "Parsec Virtual Display Adapter"])
_listed = st.dictionaries(_keys, st.builds(Listed, _names, st.none() | st.integers(1, 1 << 40)))


@given(_listed, st.dictionaries(_keys, st.sampled_from([UHD_ID, RTX_ID, "ROOT\\X\\0"])))
def test_what_is_not_there_never_counts(listed: dict[str, Listed], present: dict[str, str]) -> None:
    there = {key: one for key, one in listed.items() if key in present}
    assert decide(listed, present) == decide(there, present)
    assert len(decide(listed, present).gpus) <= len(there)
    assert decide(listed, present).problems == ()
