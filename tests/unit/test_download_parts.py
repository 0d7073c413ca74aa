"""The pure parts of a download: ranges, pieces, journal, names, waits, rates."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.errors import DownloadError
from localr1.models import journal
from localr1.models.fetch import Segments
from localr1.models.journal import Content, WrittenRange
from localr1.models.patience import Patience
from localr1.models.place import size_text, target_path
from localr1.models.progress import RateMeter, seconds_left
from localr1.models.ranges import Ranges

SIZE = 200
PAIRS = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: tuple(sorted(pair)))
)


@given(PAIRS)
def test_ranges_are_the_set_of_their_bytes(pairs: list[tuple[int, int]]) -> None:
    ranges = Ranges(pairs)
    expected = {byte for start, end in pairs for byte in range(start, end)}
    assert {byte for start, end in ranges for byte in range(start, end)} == expected
    assert ranges.total_bytes == len(expected)
    assert ranges.prefix_bytes == next(n for n in range(SIZE + 1) if n not in expected)
    missing = {byte for start, end in ranges.missing(SIZE) for byte in range(start, end)}
    assert missing == set(range(SIZE)) - expected
    ends = [edge for pair in ranges for edge in pair]
    assert ends == sorted(set(ends)), "disjoint, sorted, and merged where they touch"


@given(PAIRS, st.integers(1, 8), st.data())
def test_pieces_cover_what_is_missing_once(
    pairs: list[tuple[int, int]], connections: int, data: st.DataObject
) -> None:
    mib = 1 << 20
    done = Ranges((start * mib, end * mib) for start, end in pairs)
    segments = Segments(done.missing(SIZE * mib), connections)
    fetched = Ranges(done)
    while (piece := segments.take()) is not None:
        start, end = piece
        stop = data.draw(st.sampled_from([end, end, (start + end) // 2]))
        before = fetched.total_bytes
        fetched.add(start, stop)
        assert fetched.total_bytes == before + stop - start, "nothing is handed out twice"
        segments.give_back(stop, end)
        if end - start <= 2:
            break
    else:
        assert fetched.missing(SIZE * mib) == []


def content(**changes: object) -> Content:
    values: dict[str, object] = {
        "repository": "o/m",
        "path": "m.gguf",
        "revision": "c" * 40,
        "size_bytes": SIZE,
        "sha256": "a" * 64,
        "unit": (("m.gguf", SIZE),),
    }
    return Content(**(values | changes))  # type: ignore[arg-type]  # the keys are right


RANGES = st.lists(
    st.builds(WrittenRange, st.integers(0, 99), st.integers(100, SIZE), st.integers(0, 2**32 - 1))
)


@given(RANGES, st.text())
def test_a_journal_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[WrittenRange], etag: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "whole.journal"
    path.write_bytes(
        journal.content_record(content())
        + journal.etag_record(etag)
        + journal.range_records(ranges)
    )
    read = journal.read(path)
    assert read == journal.Journal(content(), etag, tuple(ranges))


@given(RANGES, st.data())
def test_a_damaged_journal_never_promises_more(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[WrittenRange], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.journal"
    raw = bytearray(journal.content_record(content()) + journal.range_records(ranges))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    read = journal.read(path)
    if read is not None:
        assert read.content == content()
        assert set(read.ranges) <= set(ranges)


def test_no_journal_is_none(tmp_path: Path) -> None:
    assert journal.read(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (content(revision="d" * 40, path="renamed.gguf"), True),
        (content(sha256="b" * 64), False),
        (content(size_bytes=SIZE + 1), False),
        (content(sha256=None), True),
        (content(sha256=None, revision="d" * 40), False),
    ],
)
def test_the_same_bytes_are_known_by_hash_else_by_commit(other: Content, same: bool) -> None:
    assert content().same_bytes(other) is same


def test_waits_double_up_to_a_limit_and_obey_the_server_within_reason() -> None:
    patience = Patience(backoff_seconds=1, backoff_limit_seconds=5, retry_after_limit_seconds=60)
    assert [patience.wait_seconds(n) for n in (1, 2, 3, 4, 99)] == [1, 2, 4, 5, 5]
    assert patience.wait_seconds(1, asked_seconds=20) == 20
    assert patience.wait_seconds(9, asked_seconds=0) == 5, "asked again at once is not for ever"
    assert patience.wait_seconds(1, asked_seconds=86_400) == 60


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = 0.0
    meter = RateMeter(clock=lambda: now)
    assert meter.sample(1000) == 0
    for second in range(1, 11):
        now = float(second)
        rate = meter.sample(1000 + second * 100)
    assert rate == pytest.approx(100)
    for second in range(11, 20):
        now = float(second)
        rate = meter.sample(2000)
    assert rate == 0


def test_a_stuck_connection_says_nothing_of_the_time_left() -> None:
    assert seconds_left(700 * 10**9, 1e6) == 700_000
    assert seconds_left(4 * 10**9, 5.0) is None
    assert seconds_left(4 * 10**9, 0.0) is None
    assert seconds_left(0, 5.0) == 0


def test_a_file_lies_in_its_repositorys_folder(tmp_path: Path) -> None:
    assert target_path(tmp_path, "o/m-GGUF", "m.gguf") == tmp_path / "o--m-GGUF" / "m.gguf"
    assert target_path(tmp_path, "o/m", "Q4/m.gguf") == tmp_path / "o--m" / "Q4--m.gguf"


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_name_leads_out_of_the_folder(repository: str, path: str) -> None:
    directory = Path("models").absolute()
    try:
        target = target_path(directory, repository, path)
    except DownloadError:
        return
    assert target.parent.parent == directory
    assert ".." not in target.parts


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (12_000, "12 kB"),
        (310_000_000, "310 MB"),
        (4_683_073_184, "4.7 GB"),
        (1_340_000_000_000, "1.3 TB"),
    ],
)
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text
