"""Which saved KV caches there are, which go, and when another one pays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.chat.kv_state import DiskRates, KvStates, Offer, StateFile, pays, to_remove

GIB = 1 << 30
FILES = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 100)), max_size=20
).map(
    lambda found: [
        StateFile(Path(f"{number}.kv"), size, float(used))
        for number, (size, used) in enumerate(found)
    ]
)  # fmt: skip


@given(FILES, st.integers(0, 50_000))
def test_the_longest_unused_go_first_and_no_more_than_needed(
    files: list[StateFile], limit: int
) -> None:
    removed = to_remove(files, limit)
    kept = [file for file in files if file not in removed]
    assert sum(file.size_bytes for file in kept) <= limit
    if removed:
        assert max(f.used_at for f in removed) <= min((f.used_at for f in kept), default=101)
        spared = sum(file.size_bytes for file in kept) + removed[-1].size_bytes
        assert spared > limit


def offer(**changes: float) -> Offer:
    values = {"useful_tokens": 4000, "size_bytes": 200_000_000, "prompt_tps": 100.0, **changes}
    return Offer(int(values["useful_tokens"]), int(values["size_bytes"]), values["prompt_tps"])


def test_a_state_is_kept_only_where_reading_beats_computing() -> None:
    rates = DiskRates(500e6, 500e6)
    room = {"limit_bytes": 4 * GIB, "free_bytes": 100 * GIB}
    assert pays(offer(), rates, **room)  # 0.4 s against 40 s
    assert not pays(offer(prompt_tps=20_000.0), rates, **room)  # against 0.2 s
    assert not pays(offer(), DiskRates(500e6, 4e6), **room)  # 50 s against 40 s
    assert not pays(offer(prompt_tps=0.0), rates, **room)  # nobody knows
    assert not pays(offer(useful_tokens=0), rates, **room)


def test_a_state_is_kept_only_where_there_is_room_and_time() -> None:
    rates, free = DiskRates(100e6, 100e6), 100 * GIB
    assert not pays(offer(), rates, limit_bytes=199_999_999, free_bytes=free)
    assert pays(offer(), rates, limit_bytes=200_000_000, free_bytes=free)
    # A GiB of anybody's disk stays free.
    assert not pays(offer(), rates, limit_bytes=free, free_bytes=GIB + 199_999_999)
    assert not pays(offer(), rates, limit_bytes=free, free_bytes=free, within_seconds=1.9)
    assert pays(offer(), rates, limit_bytes=free, free_bytes=free, within_seconds=2.1)


@given(
    st.builds(Offer, st.integers(0, 10**6), st.integers(0, 10**11), st.floats(0, 1e6)),
    st.floats(1e3, 1e11),
    st.integers(0, 10**12),
    st.integers(0, 10**13),
)
def test_what_pays_keeps_the_rules(kept: Offer, rate: float, limit: int, free: int) -> None:
    if pays(kept, DiskRates(rate, rate), limit_bytes=limit, free_bytes=free):
        assert kept.size_bytes <= limit
        assert kept.size_bytes + GIB <= free
        assert kept.size_bytes / rate < kept.useful_tokens / kept.prompt_tps


@pytest.fixture
def states(tmp_path: Path) -> KvStates:
    return KvStates(tmp_path / "kv", limit_bytes=300)


def write(states: KvStates, number: int, size: int, age_seconds: float) -> Path:
    path = states.path(number)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def test_files_beyond_the_limit_go_oldest_first(states: KvStates) -> None:
    oldest, middle, newest = (write(states, n, 100, age) for n, age in ((7, 30), (3, 20), (5, 10)))
    states.tidy()
    assert oldest.exists()
    states.tidy(coming_bytes=150)
    assert not oldest.exists()
    assert not middle.exists()
    assert newest.exists()


def test_reading_makes_a_file_the_newest(states: KvStates) -> None:
    first, second = write(states, 1, 200, 30), write(states, 2, 200, 20)
    states.read(1, 200, 0.1)
    states.tidy()
    assert first.exists()
    assert not second.exists()


def test_no_space_means_no_files(tmp_path: Path) -> None:
    kept = write(KvStates(tmp_path / "kv", 300), 1, 1, 5)
    off = KvStates(tmp_path / "kv", 0)
    assert not off.worth(Offer(10_000, 1, 1.0))
    off.tidy()
    assert not kept.exists()


def test_half_written_files_of_dead_workers_go_in_time(states: KvStates) -> None:
    write(states, 1, 1, 5)
    fresh, abandoned = (states.path(1).with_name(f".1.kv.{n}") for n in (11, 12))
    for path, age in ((fresh, 60), (abandoned, 7200)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    states.tidy()
    assert fresh.exists()
    assert not abandoned.exists()


def test_forgetting_is_for_one_conversation(states: KvStates) -> None:
    write(states, 1, 1, 5)
    write(states, 11, 2, 5)
    states.forget(1)
    states.forget(999)
    assert (states.size_bytes(1), states.size_bytes(11)) == (None, 2)


def test_measured_rates_are_remembered(states: KvStates) -> None:
    assert states.rates() == DiskRates()
    states.written(1 << 30, 2.0)  # no folder yet: nothing to remember it in
    assert states.rates() == DiskRates()
    write(states, 1, 1, 5)
    states.written(1 << 30, 2.0)
    states.read(1, 1 << 30, 0.5)
    states.read(1, 1000, 0.5)  # too small to say anything
    again = KvStates(states.path(1).parent, 300)
    assert again.rates() == DiskRates(float(1 << 29), float(1 << 31))


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"read_bytes_per_second": "fast"}',
        b'{"read_bytes_per_second": -1}',
        b'{"read_bytes_per_second": NaN}',
        b'{"other": 1}',
        b"\xff\xfe",
    ],
)
def test_damaged_rates_are_ignored(states: KvStates, damage: bytes) -> None:
    write(states, 1, 1, 5)
    states.path(1).with_name("rates.json").write_bytes(damage)
    assert states.rates() == DiskRates()


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("in the way")
    states = KvStates(tmp_path / "kv", 4 * GIB)
    assert not states.worth(Offer(10_000, 1, 1.0))
    states.tidy()
    states.forget(1)
    assert states.size_bytes(1) is None
