from __future__ import annotations

import contextlib
import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_host import RecordedHost

from localr1.amount import parse_size
from localr1.errors import ProfileError, UsageError
from localr1.machine.gpu_table import (
    CARDS,
    bandwidth_of,
    find_cards,
    meant_cards,
    nearest_names,
    normalize,
    shown_name,
    vendor_of,
)
from localr1.machine.owner import Owner, anonymous
from localr1.machine.profile import from_json, load_profile, to_json, what_if
from localr1.machine.reconcile import reconcile
from localr1.machine.system import detect
from localr1.machine.types import (
    Cpu,
    Device,
    EngineDevice,
    EngineInfo,
    Machine,
    Memory,
    Power,
)

GIB = 1 << 30
HAND_WRITTEN: dict[str, Any] = {
    "schema": 1,
    "cpu": {"name": "Ryzen 7", "physical_cores": 8},
    "memory": {"total_bytes": 32 * GIB},
    "devices": [],
}


def mac() -> Machine:
    listed = EngineDevice("MTL0", "Apple M1 Pro", "gpu", 11453250560, 11453250560)
    return reconcile(
        detect(RecordedHost.load("mac-m1-pro")), EngineInfo("0.3.36", ("CPU", "Metal"), (listed,))
    )


def h100() -> Machine:
    return reconcile(detect(RecordedHost.load("linux-h100")), EngineInfo("0.3.36", ("CPU",), ()))


# --- JSON


def test_json_has_the_contracts_keys() -> None:
    obj = json.loads(json.dumps(to_json(h100())))

    assert obj["schema"] == 1
    # Keys may be added, never renamed.
    assert {
        "name",
        "physical_cores",
        "logical_cores",
        "performance_cores",
        "features",
    } <= set(obj["cpu"])
    assert {
        "total_bytes",
        "available_bytes",
        "bandwidth_bytes_per_second",
    } <= set(obj["memory"])
    assert {
        "name",
        "kind",
        "vendor",
        "backend",
        "total_bytes",
        "free_bytes",
        "unified",
        "bandwidth_bytes_per_second",
        "usable_by_engine",
        "reason",
    } <= set(obj["devices"][0])
    assert {"version", "backends", "devices"} <= set(obj["engine"])
    assert set(obj["power"]) == {"on_battery", "percent", "watts"}


_count = st.integers(0, 1 << 50)
_speed = st.none() | st.floats(1, 1e13, allow_nan=False)
_text = st.text(max_size=20).filter(lambda t: "home" not in t)
_kind = st.sampled_from(["cpu", "gpu", "igpu", "accelerator"])
_engine_device = st.builds(EngineDevice, _text, _text, _kind, _count, _count)
_machine = st.builds(
    Machine,
    operating_system=_text,
    cpu=st.builds(
        Cpu,
        _text,
        *(st.integers(1, 1 << 16), st.integers(1, 1 << 16), st.integers(1, 1 << 16)),
        st.lists(_text).map(tuple),
    ),
    memory=st.builds(Memory, _count, _count, _speed),
    devices=st.lists(
        st.builds(
            Device,
            name=_text,
            description=_text,
            kind=_kind,
            vendor=_text,
            backend=_text,
            total_bytes=_count,
            free_bytes=_count,
            unified=st.booleans(),
            bandwidth_bytes_per_second=_speed,
            usable_by_engine=st.booleans(),
            reason=st.just("why"),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    engine=st.builds(
        EngineInfo,
        _text,
        st.lists(_text).map(tuple),
        st.lists(_engine_device, max_size=2).map(tuple),
        _text,
        st.just("it broke"),
    ),
    power=st.builds(Power, st.none() | st.booleans(), st.none() | st.floats(0, 100)),
    problems=st.just(("one thing",)),
)


def possible(machine: Machine) -> Machine:
    """The machine with its figures in an order that can be."""
    cpu, memory = machine.cpu, machine.memory
    fast, cores, threads = sorted((cpu.physical_cores, cpu.logical_cores, cpu.performance_cores))
    total = max(memory.total_bytes, memory.available_bytes)
    first, *others = (
        replace(
            one,
            total_bytes=min(total, one.total_bytes) if one.unified else one.total_bytes,
            free_bytes=min(total, one.free_bytes, one.total_bytes),
        )
        for one in machine.devices
    )
    return replace(
        machine,
        cpu=replace(cpu, physical_cores=cores, logical_cores=threads, performance_cores=fast),
        memory=replace(memory, total_bytes=total, available_bytes=min(total, memory.total_bytes)),
        devices=(replace(first, kind="cpu"), *others),
    )


@given(_machine.map(possible))
def test_json_and_back_is_the_same_machine(machine: Machine) -> None:
    assert from_json(json.loads(json.dumps(to_json(machine)))) == machine


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"memory": {"total_bytes": 8, "available_bytes": 80}}, "memory.available_bytes"),
        ({"memory": {"total_bytes": 10**30}}, "memory.total_bytes"),
        (
            {"memory": {"total_bytes": 8, "bandwidth_bytes_per_second": 0}},
            "memory.bandwidth_bytes_per_second",
        ),
        ({"cpu": {"name": "x", "physical_cores": 0}}, "cpu.physical_cores"),
        ({"cpu": {"name": "x", "physical_cores": 10**9}}, "cpu.physical_cores"),
        ({"cpu": {"name": "x", "physical_cores": 8, "logical_cores": 4}}, "cpu.logical_cores"),
        (
            {"cpu": {"name": "x", "physical_cores": 8, "performance_cores": 9}},
            "cpu.performance_cores",
        ),
        (
            {"devices": [{"name": "A", "kind": "gpu", "total_bytes": 8, "free_bytes": 80}]},
            "devices[0].free_bytes",
        ),
        (
            {"devices": [{"name": "A", "kind": "igpu", "total_bytes": 33 * GIB, "unified": True}]},
            "devices[0].total_bytes",
        ),
    ],
)
def test_a_profile_of_what_cannot_be_is_refused(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ProfileError) as caught:
        from_json({**HAND_WRITTEN, **change})
    assert f"`{key}`" in caught.value.why


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_profile_that_any_shell_wrote_is_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes((json.dumps(to_json(mac()), indent=2) + "\r\n").encode(encoding))
    assert load_profile(path) == mac()


def test_a_graphics_card_alone_has_main_memory_beside_it() -> None:
    card = {"name": "CUDA0", "kind": "gpu", "total_bytes": 8 * GIB}
    devices = from_json({**HAND_WRITTEN, "devices": [card]}).devices
    assert [one.name for one in devices] == ["CPU", "CUDA0"]


@pytest.mark.parametrize(
    "path",
    [
        "/home/ada/.venv/lib/libggml.so",
        "/Users/ada/lib/libggml.dylib",
        r"C:\Users\ada\AppData\ggml.dll",
        r"C:\Users\Ada Lovelace\AppData\ggml.dll",
        r"C:\\Users\\Ada Lovelace\\AppData\\ggml.dll",
        "c:/users/ada lovelace/ggml.dll",
        # Where only the account itself tells that it is a home.
        "/srv/people/ada/lib/libggml.so",
        r"D:\\Profiles\\Ada\\ggml.dll",
        "/data/ada",
    ],
)
def test_json_names_no_user(path: str) -> None:
    machine = h100()
    words = f"cannot open {path}: no; ada@engine2.example.org"
    machine = replace(
        machine,
        engine=replace(machine.engine, problem=words, words=words),
        devices=tuple(replace(one, reason=words) for one in machine.devices),
        problems=(words,),
    )
    owner = Owner(("/srv/people/ada", r"D:\Profiles\Ada"), ("ada",), "engine2.example.org")
    text = json.dumps(to_json(machine, owner)).lower()

    assert "cannot open" in text
    for name in ("ada", "lovelace", "engine2"):
        assert name not in text


def test_json_names_not_the_one_who_runs_this(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "mrs somerville"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "mrs somerville"))
    monkeypatch.setenv("USERNAME", "Mary Somerville")
    words = f"no {tmp_path}/mrs somerville/lib.so, says Mary Somerville at {platform.node()}"
    text = to_json(replace(h100(), problems=(words,)))["problems"][0]

    assert text.startswith("no ~/lib.so, says USER at ")


def test_what_names_nobody_stays() -> None:
    words = "open failed: /usr/lib/x86_64-linux-gnu/libcudart.so.12 (root), max 3 of canada's"
    owner = Owner(("/",), ("root", "ada", "x"), "localhost")
    assert anonymous(words, owner) == words
    card = "GPU-8f6d0c5e-1c6b-4d6e-9f0a-0123456789ab is lost"
    assert anonymous(card, Owner()) == "GPU-… is lost"


def test_profile_can_be_written_by_hand() -> None:
    machine = from_json(HAND_WRITTEN)

    assert machine.cpu.performance_cores == 8
    assert machine.memory.available_bytes == 32 * GIB
    assert [d.name for d in machine.devices] == ["CPU"]
    assert machine.devices[0].usable_by_engine


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"schema": 2}, "schema"),
        ({"schema": None}, "schema"),
        ({"cpu": None}, "cpu"),
        ({"cpu": []}, "cpu"),
        ({"cpu": {"name": "x", "physical_cores": 1.5}}, "cpu.physical_cores"),
        ({"cpu": {"name": "x", "physical_cores": True}}, "cpu.physical_cores"),
        ({"memory": {}}, "memory.total_bytes"),
        ({"memory": {"total_bytes": -1}}, "memory.total_bytes"),
        (
            {"memory": {"total_bytes": 1, "bandwidth_bytes_per_second": float("nan")}},
            "memory.bandwidth_bytes_per_second",
        ),
        ({"devices": "CPU"}, "devices"),
        ({"devices": [{"name": "CPU", "kind": "tpu", "total_bytes": 1}]}, "devices[0].kind"),
        ({"devices": [{"name": "CPU", "kind": "cpu"}]}, "devices[0].total_bytes"),
        (
            {"devices": [{"name": "A", "kind": "gpu", "total_bytes": 1, "unified": "no"}]},
            "devices[0].unified",
        ),
        ({"power": {"on_battery": 1}}, "power.on_battery"),
        ({"problems": [1]}, "problems"),
        ({"engine": {"devices": [{}]}}, "engine.devices[0].name"),
    ],
)
def test_wrong_profile_names_the_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(ProfileError) as caught:
        from_json({**HAND_WRITTEN, **change})
    assert f"`{key}`" in caught.value.why


def test_profile_without_devices_is_refused() -> None:
    with pytest.raises(ProfileError, match="`devices` is missing"):
        from_json({key: value for key, value in HAND_WRITTEN.items() if key != "devices"})


def test_profile_file_round_trip_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(to_json(mac())), encoding="utf-8")
    assert load_profile(path) == mac()

    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "none.json")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ProfileError, match="is not JSON"):
        load_profile(path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ProfileError, match="`profile` is not an object"):
        load_profile(path)


# --- sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24G", 24 * GIB),
        ("24GiB", 24 * GIB),
        ("24GB", 24_000_000_000),
        ("24 gb", 24_000_000_000),
        ("512M", 512 << 20),
        ("1.5G", 3 * GIB // 2),
        ("1T", 1 << 40),
        ("8K", 8192),
        ("4096", 4096),
        ("4096B", 4096),
        ("0", 0),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "G", "-1G", "24X", "1e3", "24Gi", "nan", "9" * 30, "0.1", "\N{ARABIC-INDIC DIGIT THREE}G"],
)
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@given(st.integers(0, 1 << 20), st.sampled_from(["", "K", "M", "G"]))
def test_size_of_binary_units_is_exact(number: int, unit: str) -> None:
    power = {"": 0, "K": 10, "M": 20, "G": 30}[unit]
    assert parse_size(f"{number}{unit}") == number << power
    if unit:
        assert parse_size(f"{number} {unit.lower()}ib") == number << power
        assert parse_size(f"{number}{unit}B") == number * 1000 ** (power // 10)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_size(text) >= 0


# --- what if


def test_two_named_cards_replace_what_was_detected() -> None:
    machine = what_if(h100(), gpu="RTX 4090 x2")

    assert [d.name for d in machine.devices] == ["CPU", "CUDA0", "CUDA1"]
    for device in machine.gpus:
        assert (device.total_bytes, device.free_bytes) == (24 * GIB, 24 * GIB)
        assert (device.vendor, device.backend, device.unified) == ("nvidia", "CUDA", False)
        assert device.bandwidth_bytes_per_second == 1008e9


@pytest.mark.parametrize(
    ("text", "name", "count", "gib", "speed"),
    [
        ("2x RTX 3090", "CUDA0", 2, 24, 936),
        ("NVIDIA GeForce RTX 3080", "CUDA0", 1, 10, 760),
        ("RTX 3080 12GB", "CUDA0", 1, 12, 912),
        ("rtx 3060 8 GB", "CUDA0", 1, 8, 240),
        ("Radeon RX 7900 XTX", "Vulkan0", 1, 24, 960),
        ("Arc A770", "Vulkan0", 1, 16, 560),
        ("H100", "CUDA0", 1, 80, 3350),
        ("A100 40GB \N{MULTIPLICATION SIGN}4", "CUDA0", 4, 40, 1555),
    ],
)
def test_named_gpus(text: str, name: str, count: int, gib: int, speed: float) -> None:
    machine = what_if(h100(), gpu=text)

    assert machine.gpus[0].name == name
    assert len(machine.gpus) == count
    assert machine.gpus[0].total_bytes == gib * GIB
    assert machine.gpus[0].bandwidth_bytes_per_second == speed * 1e9


def test_given_memory_picks_the_twin() -> None:
    device = what_if(h100(), gpu="RTX 3080", gpu_memory_bytes=12 * GIB).gpus[0]
    assert device.bandwidth_bytes_per_second == 912e9


def test_apple_chip_shares_the_ram_given_with_it() -> None:
    machine = what_if(h100(), ram_bytes=64 * GIB, gpu="M3 Max")

    (device,) = machine.gpus
    assert (device.name, device.backend, device.kind) == ("Metal", "Metal", "igpu")
    assert device.unified
    assert device.total_bytes == 48 * GIB
    assert device.free_bytes <= machine.memory.available_bytes
    assert device.bandwidth_bytes_per_second == 400e9


@pytest.mark.parametrize("name", ["RTX 9999", "RTX 4095 Laptop GPU", "Voodoo 2"])
def test_unknown_gpu_asks_for_its_memory(name: str) -> None:
    with pytest.raises(ProfileError) as caught:
        what_if(h100(), gpu=name)
    assert "--gpu-memory" in caught.value.todo

    device = what_if(h100(), gpu=name, gpu_memory_bytes=16 * GIB).gpus[0]
    assert device.total_bytes == 16 * GIB
    assert device.bandwidth_bytes_per_second is None


@pytest.mark.parametrize("text", ["", "x2", "RTX 4090 x0", "RTX 4090 x99", "RTX 4090 x9999"])
def test_gpu_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        what_if(h100(), gpu=text)


def test_no_gpu_at_all() -> None:
    assert [d.kind for d in what_if(mac(), gpu="none").devices] == ["cpu"]
    with pytest.raises(ProfileError):
        what_if(mac(), gpu="none", gpu_memory_bytes=GIB)


def test_more_ram_reaches_the_cpu_and_what_shares_it() -> None:
    machine = what_if(mac(), ram_bytes=64 * GIB)

    assert machine.memory.total_bytes == machine.devices[0].total_bytes == 64 * GIB
    assert machine.devices[0].free_bytes == machine.memory.available_bytes
    assert machine.devices[1].total_bytes == 48 * GIB
    assert what_if(mac()) == mac()


def test_memory_of_the_detected_gpu() -> None:
    machine = what_if(h100(), gpu_memory_bytes=24 * GIB)
    assert machine.devices[1].total_bytes == 24 * GIB

    with pytest.raises(ProfileError, match="needs a GPU"):
        what_if(from_json(HAND_WRITTEN), gpu_memory_bytes=24 * GIB)


@given(st.integers(1, 1 << 42), st.sampled_from([None, "none", "RTX 3090 x2", "M4", "8060S"]))
def test_what_if_machines_keep_the_rules_of_real_ones(ram_bytes: int, gpu: str | None) -> None:
    machine = what_if(from_json(to_json(h100())), ram_bytes=ram_bytes, gpu=gpu)

    assert 0 <= machine.memory.available_bytes <= machine.memory.total_bytes == ram_bytes
    for device in machine.devices:
        assert 0 <= device.free_bytes <= device.total_bytes
        if device.unified:
            assert device.total_bytes <= ram_bytes
    assert from_json(to_json(machine)) == machine


# --- the table


def test_table_names_are_as_they_are_looked_up() -> None:
    for card in CARDS:
        assert normalize(card.name) == card.name
        assert card in find_cards(card.name)
        assert vendor_of(card.name) == card.vendor, card


@pytest.mark.parametrize(
    ("name", "memory_gib", "cores", "speed"),
    [
        ("NVIDIA GeForce RTX 3080", 12, None, 912),
        ("NVIDIA GeForce RTX 3080", 10, None, 760),
        ("NVIDIA GeForce RTX 3080", None, None, None),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 16, None, 672),
        ("NVIDIA GeForce RTX 4070", 12, None, 480),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", 8, None, 256),
        ("NVIDIA GeForce RTX 3050 6GB Laptop GPU", 6, None, 132),
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", 8, None, 352),
        ("NVIDIA RTX 5000 Ada Generation", 32, None, 576),
        ("NVIDIA RTX 5000 Ada Generation Laptop GPU", 16, None, 576),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 95.6, None, 1792),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 95.6, None, 1792),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 95.6, None, 1597),
        ("Quadro RTX 6000", 24, None, 672),
        ("AMD Radeon PRO W7800 48GB", 48, None, 864),
        ("NVIDIA H100 80GB HBM3", 79.65, None, 3350),
        ("NVIDIA H100 PCIe", 80, None, 2039),
        ("NVIDIA A100-SXM4-80GB", 80, None, 2039),
        ("Tesla T4", 15, None, 320),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", 24, None, 960),
        ("AMD Radeon RX 7900M", 16, None, 576),
        ("AMD Radeon 8060S Graphics", None, None, 256),
        ("Intel(R) Arc(TM) A770 Graphics (DG2)", 16, None, 560),
        ("Apple M3 Max", None, 30, 300),
        ("Apple M3 Max", None, 40, 400),
        ("Apple M3 Max", None, None, None),
        ("Apple M4 Max", None, 32, 410),
        ("Apple M3 Ultra", None, 60, 819),
        ("llvmpipe", 32, None, None),
    ],
)
def test_bandwidth_by_name_and_memory(
    name: str, memory_gib: float | None, cores: int | None, speed: float | None
) -> None:
    size = None if memory_gib is None else int(memory_gib * GIB)
    found = bandwidth_of(name, size, cores)
    assert found == (None if speed is None else speed * 1e9)


_FAMILIES = (
    *("gtx 1650", "gtx 1660 ti", "rtx 2060", "rtx 2080 ti", "rtx 3050", "rtx 3090 ti"),
    *("rtx 4060", "rtx 4090", "rtx 5050", "rtx 5090", "titan rtx", "gtx 1660 ti laptop"),
    *("rtx 2060 laptop", "rtx 2080 maxq", "rtx 3050 laptop", "rtx 3080 ti laptop"),
    *("rtx 4050 laptop", "rtx 4090 laptop", "rtx 5050 laptop", "rtx 5090 laptop"),
    *("quadro rtx 4000", "quadro rtx 8000", "rtx a2000", "rtx a6000", "rtx a5000 laptop"),
    *("rtx 2000 ada", "rtx 6000 ada", "rtx 3500 ada laptop", "rtx pro 2000", "rtx pro 6000"),
    *("rtx pro 5000 laptop", "rx 5500 xt", "rx 5700 xt", "rx 6400", "rx 6950 xt", "rx 7600"),
    *("rx 7900 xtx", "rx 9060 xt", "rx 9070 xt", "rx 5600m", "rx 6800m", "rx 7900m"),
    *("pro w5700", "pro w6800", "pro w7900", "ai pro r9700", "8060s", "890m", "780m"),
    *("arc a380", "arc a770", "arc a770m", "arc b570", "arc b580", "arc pro a60", "arc pro b60"),
    *(f"m{number}{kind}" for number in range(1, 6) for kind in ("", " pro", " max")),
    *("m1 ultra", "m2 ultra", "m3 ultra"),
)


@pytest.mark.parametrize("name", _FAMILIES)
def test_every_family_since_2018_is_there(name: str) -> None:
    cards = find_cards(name)
    assert cards
    assert all(card.source and card.bandwidth_gb_per_second > 0 for card in cards)


def test_a_laptops_geforce_is_never_faster_than_its_desktop_namesake() -> None:
    compared = 0
    for card in CARDS:
        stem, _, kind = card.name.rpartition(" ")
        if kind not in {"laptop", "maxq"} or "geforce" not in card.source.lower():
            continue
        (desktop, *_), compared = find_cards(stem) or (None,), compared + 1
        # The 5050's memory is of a newer kind than the desktop's; the 4050 has no namesake.
        if desktop is None or stem == "rtx 5050":
            continue
        assert card.bandwidth_gb_per_second <= desktop.bandwidth_gb_per_second, card
        assert card.memory_gib is not None
        larger = {"rtx 3080 laptop", "rtx 3080 ti laptop"}
        assert card.memory_gib <= (desktop.memory_gib or 0) or card.name in larger, card
    assert compared > 30


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("4090", "rtx 4090"),
        ("rtx4070ti", "rtx 4070 ti"),
        ("Strix Halo", "8060s"),
        ("AMD Ryzen AI Max+ 395", "8060s"),
        ("4070 ti super", "rtx 4070 ti super"),
        ("4060 laptop", "rtx 4060 laptop"),
        ("RTX 4060 Mobile", "rtx 4060 laptop"),
        ("1660 super", "gtx 1660 super"),
        ("7900XTX", "rx 7900 xtx"),
        ("Radeon RX7800XT", "rx 7800 xt"),
        ("B580", "arc b580"),
        ("A770 8GB", "arc a770"),
        ("W7900", "pro w7900"),
        ("R9700", "ai pro r9700"),
        ("A6000", "rtx a6000"),
        ("RTX 8000", "quadro rtx 8000"),
        ("RTX 6000 Ada", "rtx 6000 ada"),
        ("RTX PRO 6000 Blackwell", "rtx pro 6000"),
        ("m4max", "m4 max"),
        ("MI300X", "instinct mi300x"),
    ],
)
def test_people_leave_out_what_goes_without_saying(text: str, name: str) -> None:
    assert {card.name for card in meant_cards(text)} == {name}


def test_a_name_is_shown_as_it_is_written() -> None:
    shown = {shown_name(card.name) for card in CARDS}
    assert {"RTX 4070 Ti Super", "RTX 2080 Super Max-Q", "RX 7900 XTX", "Arc A770"} <= shown
    assert {"Quadro RTX 8000", "Pro W7900", "M3 Max", "8060S"} <= shown
    assert what_if(h100(), gpu="4090").gpus[0].description == "RTX 4090"
    assert what_if(h100(), gpu="GeForce RTX 4090").gpus[0].description == "GeForce RTX 4090"


def test_a_chip_brings_its_own_processor_along() -> None:
    machine = replace(h100(), memory=replace(h100().memory, bandwidth_bytes_per_second=1e10))
    assert what_if(machine, gpu="M3 Max").memory.bandwidth_bytes_per_second is None
    assert what_if(machine, gpu="RTX 4090").memory.bandwidth_bytes_per_second == 1e10


def test_a_drivers_name_must_be_whole() -> None:
    assert find_cards("4090") == ()
    assert find_cards("RTX4090") == ()


def test_twins_are_told_apart_by_memory_and_cores() -> None:
    assert [card.memory_gib for card in meant_cards("3060 8GB")] == [8]
    assert [c.bandwidth_gb_per_second for c in meant_cards("M3 Max 30 cores")] == [300]
    assert what_if(h100(), gpu="m4 max 32-core").gpus[0].bandwidth_bytes_per_second == 410e9
    assert meant_cards("M3 Max 31 cores") == ()


def test_an_unknown_name_is_told_its_neighbours() -> None:
    assert "RTX 4090" in nearest_names("RTX 4092")
    with pytest.raises(ProfileError) as caught:
        what_if(h100(), gpu="RTX 4092")
    assert "RTX 4090" in caught.value.todo
    assert nearest_names("Voodoo 2") == ()
