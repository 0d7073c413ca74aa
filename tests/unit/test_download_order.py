"""The order of downloads, its file, and the speed limit: pure, but for the file."""

from __future__ import annotations

import struct
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.amount import parse_rate
from localr1.errors import FileError, UsageError
from localr1.models.limit import SpeedLimit
from localr1.models.queue import Item, Queue, QueueFile

NAMES = st.sampled_from("abcdef")
CHANGES = st.one_of(
    st.tuples(st.just("add"), NAMES, st.booleans()),
    st.tuples(st.just("remove"), NAMES, st.none()),
    st.tuples(st.just("move"), NAMES, st.integers(-3, 3)),
    st.tuples(st.just("pause"), NAMES, st.none()),
    st.tuples(st.just("resume"), NAMES, st.none()),
    st.tuples(st.just("stop"), NAMES, st.none()),
)


def changed(queue: Queue, kind: str, name: str, value: object) -> Queue:
    match kind, value:
        case "add", bool(first):
            return queue.add(Item(name, 1), first=first)
        case "move", int(by):
            return queue.move(name, by)
        case "stop", _:
            return queue.stop(name, "gated")
        case "remove", _:
            return queue.remove(name)
        case "pause", _:
            return queue.pause(name)
        case _:
            return queue.resume(name)


@given(st.lists(CHANGES, max_size=30))
def test_any_change_keeps_each_item_once_and_the_first_ready_one_runs(
    changes: list[tuple[str, str, object]],
) -> None:
    queue = Queue(limit_bytes_per_second=5)
    for kind, name, value in changes:
        before = {item.name for item in queue.items}
        queue = changed(queue, kind, name, value)
        names = [item.name for item in queue.items]
        assert len(set(names)) == len(names)
        expected = {"add": before | {name}, "remove": before - {name}}.get(kind, before)
        assert set(names) == expected
        assert queue.limit_bytes_per_second == 5
        ready = [item for item in queue.items if not item.paused and not item.problem]
        assert queue.next == (ready[0] if ready else None)


def test_moving_goes_as_far_as_there_are_places() -> None:
    queue = Queue((Item("a", 1), Item("b", 1), Item("c", 1)))

    def order(changed: Queue) -> str:
        return "".join(item.name for item in changed.items)

    assert order(queue.move("c", -1)) == "acb"
    assert order(queue.move("c", -9)) == "cab"
    assert order(queue.move("a", 1)) == "bac"
    assert order(queue.move("a", 9)) == "bca"
    assert order(queue.move("x", 1)) == "abc"
    assert order(queue.add(Item("c", 1), first=True)) == "cab"


def test_adding_again_goes_on_in_place() -> None:
    queue = Queue((Item("a", 1, paused=True), Item("b", 1))).add(Item("a", 1))
    assert queue.items == (Item("a", 1), Item("b", 1))


def test_the_file_gives_back_what_was_put_in(tmp_path: Path) -> None:
    file = QueueFile(tmp_path / "data" / "downloads.json")
    assert file.read() == Queue()
    queue = Queue((Item("a:Q4", 5, paused=True), Item("b:Q8", 6, problem="gated")), 7)
    assert file.change(lambda _: queue) == queue
    assert file.read() == queue
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["downloads.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"schema": 2}',
        '{"schema": 1, "items": 3, "limit_bytes_per_second": 0}',
        '{"schema": 1, "items": [], "limit_bytes_per_second": "x"}',
    ],
)
def test_a_damaged_file_is_an_empty_queue(tmp_path: Path, text: str) -> None:
    path = tmp_path / "downloads.json"
    path.write_text(text)
    file = QueueFile(path)
    assert file.read() == Queue()
    assert file.change(lambda now: now.add(Item("a", 1))).items == (Item("a", 1),)
    assert file.read().items == (Item("a", 1),)


def test_a_damaged_item_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "downloads.json"
    QueueFile(path).change(lambda now: now.add(Item("a", 1)).add(Item("b", 2)))
    path.write_text(path.read_text().replace('"a"', "17"))
    assert QueueFile(path).read().items == (Item("b", 2),)


def test_changes_by_several_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "downloads.json"

    def add(name: str) -> None:
        for number in range(5):
            QueueFile(path).change(partial(Queue.add, item=Item(f"{name}{number}", 1)))

    threads = [threading.Thread(target=add, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {item.name for item in QueueFile(path).read().items} == {
        f"{name}{number}" for name in "abc" for number in range(5)
    }


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        QueueFile(tmp_path / "file" / "downloads.json").change(lambda now: now.add(Item("a", 1)))


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.floats(0, 5)), min_size=1, max_size=40),
)
def test_a_limit_is_kept_over_any_time(rate: int, steps: list[tuple[int, float]]) -> None:
    now = 100.0
    limit = SpeedLimit(rate, clock=lambda: now)
    passed = 0
    for count, pause in steps:
        limit.note(count)
        passed += count
        now += limit.wait_seconds()
        # A tenth of a second's worth may come at once.
        assert passed <= rate * (now - 100.0 + 0.1) * (1 + 1e-6) + 1
        now += pause


def test_no_limit_never_waits_and_a_new_limit_begins_at_once() -> None:
    now = 0.0
    limit = SpeedLimit(0, clock=lambda: now)
    limit.note(10**9)
    assert limit.wait_seconds() == 0
    limit.bytes_per_second = 100
    assert limit.wait_seconds() == 0, "what came before does not count"
    limit.note(1000)
    assert limit.wait_seconds() == pytest.approx(9.9)
    limit.bytes_per_second = 1000
    assert limit.wait_seconds() == pytest.approx(0.9)
    limit.bytes_per_second = 0
    assert limit.wait_seconds() == 0


@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1 << 20), st.floats(0, 5))),
)
def test_processes_that_share_a_limit_keep_it_together(
    tmp_path_factory: pytest.TempPathFactory,
    rates: list[int],
    steps: list[tuple[int, int, float]],
) -> None:
    now = 100.0
    shared = tmp_path_factory.mktemp("shared") / "speed"
    limits = [SpeedLimit(rate, clock=lambda: now, shared=shared) for rate in rates]
    passed = 0
    # The time of day goes on with the steady clock.
    with mock.patch("localr1.models.limit.time", SimpleNamespace(time=lambda: 1e9 + now)):
        for which, count, pause in steps:
            limit = limits[which % len(limits)]
            limit.note(count)
            passed += count
            now += limit.wait_seconds()
            assert passed <= max(rates) * (now - 100.0 + 0.1) * (1 + 1e-6) + 1
            now += pause


@pytest.mark.parametrize(
    "text", [b"", b"short", b"\xff" * 16, struct.pack("<dd", 1e300, 0.0), struct.pack("<d", 1) * 9]
)
def test_nonsense_in_the_shared_file_makes_nobody_wait(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "speed").write_bytes(text)
    limit = SpeedLimit(1000, shared=tmp_path / "speed")
    limit.note(1000)
    assert limit.wait_seconds() <= 1.0
    other = SpeedLimit(1000, shared=tmp_path / "speed")
    other.note(1000)
    assert 1.0 < other.wait_seconds() <= 2.0


def test_a_limit_that_cannot_be_shared_still_holds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    limit = SpeedLimit(1000, shared=tmp_path / "file" / "speed")
    limit.note(1000)
    assert 0.5 < limit.wait_seconds() <= 1.0


@pytest.mark.parametrize(
    ("text", "expected"), [("5MB/s", 5_000_000), ("500KB/s", 500_000), ("2M", 2 << 20), ("0", 0)]
)
def test_a_speed_as_people_write_it(text: str, expected: int) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize("text", ["fast", "5 MB per second", "-1", "/s"])
def test_no_speed_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="5MB/s"):
        parse_rate(text)
