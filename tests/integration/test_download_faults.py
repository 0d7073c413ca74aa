"""Everything that goes wrong on the way: the bytes are right in the end, or the error is clear."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from downloading import (
    NAME,
    QUICK,
    REPOSITORY,
    Events,
    assert_whole,
    content,
    disk_of,
    fetch,
    fetch_until,
    listed,
    mounted,
    names_in,
    size_of,
)
from loopback_hub import Fault, LoopbackHub

from localr1.errors import (
    ChecksumMismatch,
    DiskFull,
    DownloadError,
    FileError,
    HubDenied,
    HubNotFound,
    HubUnreachable,
)
from localr1.models.download import download
from localr1.models.part import PartFile
from localr1.models.place import journal_path, lock_path, part_path, target_path

MIB = 1 << 20
HANG_SECONDS = 60.0
DATA = content(6 * MIB + 321)


@pytest.fixture
def hub(hub: LoopbackHub) -> LoopbackHub:
    hub.add(REPOSITORY, {NAME: DATA})
    return hub


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return target_path(tmp_path, REPOSITORY, NAME)


PASSING = {
    "reset at once": Fault("drop", times=3),
    "reset in the middle": Fault("drop", after_bytes=700_000, times=3),
    "cut short": Fault("truncate", after_bytes=300_000, times=3),
    "stall at once": Fault("stall"),
    "stall in the middle": Fault("stall", after_bytes=500_000),
    "429 with a wait": Fault("status", status=429, headers={"Retry-After": "1"}),
    "500": Fault("status", status=500, times=3),
    "503": Fault("status", status=503, times=3),
    "403 from the storage host": Fault("status", status=403, times=2),
    "short answers": Fault("short", after_bytes=400_000, times=3),
    "empty answers": Fault("short", times=2),
    "other range": Fault("wrong-range", times=2),
    "no range for once": Fault("no-range", skip=1),
    "encoded by a proxy": Fault("gzip"),
    "hub 503": Fault("status", host="hub", method="HEAD", status=503, times=2),
    "hub 429": Fault("status", host="hub", method="HEAD", status=429, headers={"Retry-After": "0"}),
}


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("name", PASSING)
async def test_a_passing_trouble_passes(
    hub: LoopbackHub, tmp_path: Path, name: str, connections: int
) -> None:
    fault = PASSING[name]
    files = listed(hub)
    hub.inject(Fault(**vars(fault)))
    assert_whole(await fetch(files, tmp_path, connections=connections), DATA)
    # What was sent twice is what the faults threw away, and no more than a piece for each.
    wasted = len(DATA) if fault.kind == "no-range" else fault.times * 2 * MIB
    assert hub.bytes_sent <= len(DATA) + wasted


async def test_links_that_expire_are_asked_for_again(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.bytes_per_second = 2 * MIB
    files = listed(hub)
    task = asyncio.create_task(fetch(files, tmp_path))
    await asyncio.to_thread(hub.wait_for_bytes, 2 * MIB)
    hub.expire_links()
    hub.bytes_per_second = 0
    assert_whole(await task, DATA)
    assert len(hub.requests("hub", "HEAD")) >= 2


async def test_a_server_without_ranges_sends_one_stream(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.ranges = False
    assert_whole(await fetch(listed(hub), tmp_path), DATA)
    assert len(hub.requests("cdn")) == 1


async def test_one_stream_that_breaks_starts_over_and_ends(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.ranges = False
    hub.inject(Fault("drop", after_bytes=3 * MIB, times=2))
    events = Events()
    assert_whole(await fetch(listed(hub), tmp_path, events), DATA)
    done = [event.done_bytes for event in events.progress]
    assert done == sorted(done)


async def test_a_trouble_that_stays_is_reported_and_the_bytes_are_kept(
    hub: LoopbackHub, tmp_path: Path, target: Path
) -> None:
    files = listed(hub)
    hub.inject(Fault("status", status=503, times=10_000, skip=2))
    events = Events()
    with pytest.raises(HubUnreachable) as caught:
        await fetch(files, tmp_path, events, connections=2)
    assert caught.value.todo
    assert "Trying again" in events.notices
    assert NAME not in names_in(target.parent)
    assert size_of(part_path(target)) > 0
    hub.clear_faults()
    hub.reset_counts()
    assert_whole(await fetch(files, tmp_path), DATA)
    assert hub.bytes_sent < len(DATA)


async def test_empty_answers_are_no_progress(hub: LoopbackHub, tmp_path: Path) -> None:
    files = listed(hub)
    hub.inject(Fault("short", times=10_000))
    with pytest.raises(HubUnreachable, match="than asked for") as caught:
        await fetch(files, tmp_path, connections=4)
    assert urlsplit(hub.address("cdn")).netloc in caught.value.what
    assert len(hub.requests("cdn")) <= 4 * QUICK.attempts


async def test_answers_of_a_few_bytes_are_waited_after_ever_longer(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    files = listed(hub)
    hub.inject(Fault("short", after_bytes=10, times=10_000))
    task = asyncio.create_task(fetch(files, tmp_path, connections=1))
    await asyncio.sleep(1.0)
    assert not task.done()
    # 0.01 s, 0.02 s, 0.04 s and so on: six or seven requests in a second.
    assert len(hub.requests("cdn")) <= 8
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hub.clear_faults()
    assert_whole(await fetch(files, tmp_path), DATA)


async def test_a_storage_host_that_always_refuses_is_not_called_gated(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    files = listed(hub)
    hub.inject(Fault("status", status=403, times=10_000))
    with pytest.raises(HubUnreachable, match="storage host"):
        await fetch(files, tmp_path)


async def test_wrong_bytes_are_refused_and_dropped(
    hub: LoopbackHub, tmp_path: Path, target: Path
) -> None:
    files = listed(hub)
    hub.inject(Fault("wrong-bytes", after_bytes=1000))
    with pytest.raises(ChecksumMismatch, match="sha256"):
        await fetch(files, tmp_path)
    assert names_in(target.parent) == []
    assert_whole(await fetch(files, tmp_path), DATA)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://storage.example/x"])
async def test_a_link_that_leads_off_the_web_is_not_followed(
    hub: LoopbackHub, tmp_path: Path, address: str
) -> None:
    files = listed(hub)
    hub.inject(Fault("status", status=302, headers={"Location": address}, times=100))
    with pytest.raises(HubUnreachable) as caught:
        await fetch(files, tmp_path)
    assert hub.endpoint in caught.value.what
    assert "does not follow" in caught.value.what
    assert "protocol" in caught.value.why


async def test_a_captive_portal_is_named(hub: LoopbackHub, tmp_path: Path, target: Path) -> None:
    files = listed(hub)
    hub.inject(Fault("page", times=100))
    with pytest.raises(HubUnreachable) as caught:
        await fetch(files, tmp_path)
    assert "browser" in caught.value.todo
    assert NAME not in names_in(target.parent)


@pytest.mark.parametrize("status", [200, 206])
async def test_a_captive_portals_page_is_known_by_label_or_by_its_first_bytes(
    hub: LoopbackHub, tmp_path: Path, status: int
) -> None:
    files = listed(hub)
    # The whole page is labelled in the one, and in the other not at all.
    headers = {"Content-Range": f"bytes 0-62/{len(DATA)}", "Content-Type": "text/html"}
    unlabelled = {"X-Portal": "hotel"}
    wrong = headers if status == 206 else unlabelled
    hub.inject(Fault("page", status=status, headers=wrong, times=100))
    with pytest.raises(HubUnreachable, match="Something else answers") as caught:
        await fetch(files, tmp_path)
    assert "browser" in caught.value.todo


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=500, times=1000),
        Fault("status", status=429, times=1000),
        Fault("page", times=1000),
        Fault("drop", times=1000),
        Fault("truncate", times=1000),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
async def test_trouble_at_the_storage_host_names_it(
    hub: LoopbackHub, tmp_path: Path, fault: Fault
) -> None:
    files = listed(hub)
    hub.inject(Fault(**vars(fault)))
    with pytest.raises(HubUnreachable) as caught:
        await fetch(files, tmp_path, connections=1)
    assert urlsplit(hub.address("cdn")).netloc in caught.value.what


async def test_one_outage_is_told_once_and_not_by_each_connection(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.bytes_per_second = MIB
    files = listed(hub)
    hub.inject(Fault("status", status=429, headers={"Retry-After": "1"}, times=3, skip=1))
    events = Events()
    assert_whole(await fetch(files, tmp_path, events), DATA)
    assert events.notices.count("Trying again") == 1


async def test_without_a_token_it_is_said_that_none_is_set(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    files = listed(hub)
    hub.inject(Fault("status", host="hub", method="HEAD", status=401, times=1000))
    with pytest.raises(HubDenied) as caught:
        await fetch(files, tmp_path, token="")
    assert caught.value.todo.startswith("No token is set")


@pytest.mark.parametrize("named_by", ["tag", "date", "nothing"])
async def test_a_version_that_changes_under_way_starts_from_zero(
    hub: LoopbackHub, tmp_path: Path, named_by: str
) -> None:
    """Where no hash is known; a stop, another file of the same size, and on."""
    hub.repositories[REPOSITORY].lfs = False
    hub.date = "Tue, 24 Nov 2026 10:00:00 GMT" if named_by == "date" else ""
    hub.nameless = named_by == "nothing"
    files = listed(hub)
    assert files[0].sha256 is None
    hub.bytes_per_second = 2 * MIB
    await fetch_until(files, tmp_path, 3 * MIB)
    other = hub.repositories[REPOSITORY].files[NAME] = content(len(DATA), seed=2)
    if hub.date:
        hub.date = "Tue, 24 Nov 2026 11:00:00 GMT"
    hub.bytes_per_second = 0
    events = Events()
    assert_whole(await fetch(files, tmp_path, events), other)
    assert "starts from zero" in events.notices


async def test_with_a_hash_it_does_not_matter_what_a_host_calls_the_version(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    files = listed(hub)
    hub.bytes_per_second = 2 * MIB
    await fetch_until(files, tmp_path, 3 * MIB)
    hub.etag_suffix = "-2"
    hub.bytes_per_second = 0
    events = Events()
    assert_whole(await fetch(files, tmp_path, events), DATA)
    assert "changed" not in events.notices
    assert hub.bytes_sent < len(DATA) + 2 * MIB


async def test_a_connection_that_drips_is_opened_anew(hub: LoopbackHub, tmp_path: Path) -> None:
    files = listed(hub)
    hub.bytes_per_second = MIB
    hub.inject(Fault("drip", host="cdn", after_bytes=1000, seconds=HANG_SECONDS))
    async with asyncio.timeout(HANG_SECONDS):
        assert_whole(await fetch(files, tmp_path), DATA)


async def test_a_commit_that_is_gone_is_said(hub: LoopbackHub, tmp_path: Path) -> None:
    files = listed(hub)
    hub.replace(REPOSITORY, NAME, content(MIB))
    with pytest.raises(HubNotFound, match="revision"):
        await fetch(files, tmp_path)


async def test_another_size_on_the_storage_host_is_said(hub: LoopbackHub, tmp_path: Path) -> None:
    repository = hub.repositories[REPOSITORY]
    files = listed(hub)
    repository.files[NAME] = DATA + b"more"
    with pytest.raises(DownloadError, match="has changed on the hub"):
        await fetch(files, tmp_path)


@pytest.mark.parametrize("token", ["", "hf_wrong"])
async def test_gated_is_the_hubs_own_word(hub: LoopbackHub, tmp_path: Path, token: str) -> None:
    hub.repositories[REPOSITORY].gated = True
    files = listed(hub)
    with pytest.raises(HubDenied) as caught:
        await fetch(files, tmp_path, token=token)
    assert "HF_TOKEN" in caught.value.todo
    assert hub.requests("cdn") == []


async def test_no_room_is_known_before_the_first_byte(
    hub: LoopbackHub, tmp_path: Path, target: Path
) -> None:
    files = listed(hub)
    with pytest.raises(DiskFull) as caught:
        await download(
            files,
            tmp_path,
            on_event=Events(),
            token="",
            patience=QUICK,
            free=lambda _: 3_000_000,
        )
    assert "6 MB more are needed and 3 MB are free" in caught.value.why
    assert hub.bytes_sent == 0
    assert not target.parent.exists()


async def test_room_is_counted_without_what_is_already_here(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    files = listed(hub)
    hub.bytes_per_second = MIB // 2
    await fetch_until(files, tmp_path, 2 * MIB)
    with pytest.raises(DiskFull) as caught:
        await download(
            files, tmp_path, on_event=Events(), token="", patience=QUICK, free=lambda _: 0
        )
    told = int(caught.value.why.split(" MB more are needed")[0])
    assert 1 <= told <= 4


async def test_a_disk_that_fills_up_keeps_what_came(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write fails as the system reports it; a real full disk is tested below."""
    files = listed(hub)
    written = 0
    whole = PartFile._write

    def limited(self: PartFile, offset: int, data: bytes | bytearray) -> None:
        nonlocal written
        written += len(data)
        if written > 3 * MIB:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(self, offset, data)

    monkeypatch.setattr(PartFile, "_write", limited)
    with pytest.raises(DiskFull) as caught:
        await fetch(files, tmp_path)
    assert "more are needed" in caught.value.why
    monkeypatch.setattr(PartFile, "_write", whole)
    hub.reset_counts()
    assert_whole(await fetch(files, tmp_path), DATA)
    assert hub.bytes_sent <= len(DATA) - 2 * MIB


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of(4 * MIB, tmp_path) as place:
        yield place


async def test_a_really_full_disk(hub: LoopbackHub, tiny_disk: Path) -> None:
    try_it = partial(
        download,
        listed(hub),
        tiny_disk,
        on_event=Events(),
        token="",
        patience=QUICK,
        free=lambda _: 10**12,
    )
    with pytest.raises(DiskFull) as caught:
        await try_it()
    assert "are free" in caught.value.why
    target = target_path(tiny_disk, REPOSITORY, NAME)
    assert size_of(part_path(target)) > MIB
    assert await asyncio.to_thread(mounted, "-o", "remount,size=64m", str(tiny_disk))
    hub.reset_counts()
    assert_whole(await try_it(), DATA)
    assert hub.bytes_sent < len(DATA) - MIB


async def test_a_file_in_the_place_of_the_folder(hub: LoopbackHub, tmp_path: Path) -> None:
    blocked = tmp_path / "models"
    blocked.write_text("not a folder")
    with pytest.raises(FileError) as caught:
        await fetch(listed(hub), blocked)
    assert caught.value.todo


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
async def test_a_folder_that_may_not_be_written(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o500)
    try:
        (folder / "probe").mkdir()
    except PermissionError:
        with pytest.raises(FileError, match="Permission"):
            await fetch(listed(hub), folder)
    else:
        pytest.skip("root may write anywhere")


async def test_a_journal_of_nonsense_starts_clean(
    hub: LoopbackHub, tmp_path: Path, target: Path
) -> None:
    target.parent.mkdir(parents=True)
    part_path(target).write_bytes(b"x" * 5000)
    journal_path(target).write_bytes(b"\xff\x00 nonsense\n00000000 {}\n[1,2,3]\n")
    assert_whole(await fetch(listed(hub), tmp_path), DATA)


async def test_a_callback_that_fails_stops_the_download(hub: LoopbackHub, tmp_path: Path) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("drawing failed")

    with pytest.raises(RuntimeError, match="drawing failed"):
        await download(listed(hub), tmp_path, on_event=broken, token="", patience=QUICK)


@pytest.mark.parametrize("calls", [1, 2, 3])
async def test_a_stop_while_it_stops_leaves_no_file_open(
    hub: LoopbackHub, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    plain = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.1)
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    hub.bytes_per_second = MIB
    task = asyncio.create_task(fetch(listed(hub), tmp_path))
    await asyncio.to_thread(hub.wait_for_bytes, MIB)
    for _ in range(calls):
        task.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await task
    hub.bytes_per_second = 0
    assert not lock_path(target).exists()
    open_files = {Path(file.path).name for file in psutil.Process().open_files()}
    assert not open_files & {part_path(target).name, journal_path(target).name}
    assert_whole(await fetch(listed(hub), tmp_path), DATA)
