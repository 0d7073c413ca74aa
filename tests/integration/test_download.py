"""A download from a real HTTP server: whole, resumed, stopped, shared."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from downloading import (
    NAME,
    QUICK,
    REPOSITORY,
    Events,
    assert_whole,
    content,
    fetch,
    fetch_until,
    listed,
)
from loopback_hub import LoopbackHub

from localr1.errors import OfflineError
from localr1.models import journal
from localr1.models.download import DownloadDone, Verifying, download
from localr1.models.place import (
    journal_path,
    part_path,
    read_sidecar,
    sidecar_path,
    target_path,
)
from localr1.models.ranges import Ranges

MIB = 1 << 20

# What a second process runs; arguments: endpoint, directory, file.
SCRIPT = """
import asyncio, sys
from pathlib import Path
from localr1.models.download import download
from localr1.models.hub import list_files
from localr1.models.types import Variant

variant = Variant("Q4_K_M", "owner/model-GGUF", (sys.argv[3],), 0, False)
files = list_files(variant, endpoint=sys.argv[1], token="")
print(asyncio.run(download(files, Path(sys.argv[2]), on_event=lambda event: None, token="")))
"""


def in_process(hub: LoopbackHub, directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, hub.endpoint, str(directory), NAME],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def test_a_file_arrives_whole_over_several_connections(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(9 * MIB + 12345)
    hub.add(REPOSITORY, {NAME: data})
    events = Events()
    path = await fetch(listed(hub), tmp_path, events)
    assert path == tmp_path / "owner--model-GGUF" / NAME
    assert_whole(path, data)
    assert len(hub.requests("cdn")) >= 4
    assert hub.bytes_sent == len(data)
    assert events.all[-1] == DownloadDone(path)
    assert events.progress[-1].done_bytes == events.progress[-1].total_bytes == len(data)
    assert any(isinstance(event, Verifying) for event in events.all)
    note = read_sidecar(path)
    assert note is not None
    assert (note.repository, note.path, note.size_bytes) == (REPOSITORY, NAME, len(data))
    assert note.revision == hub.repositories[REPOSITORY].commit


async def test_a_complete_file_needs_no_request_and_no_network(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.add(REPOSITORY, {NAME: content(MIB)})
    files = listed(hub)
    path = await fetch(files, tmp_path)
    hub.reset_counts()
    events = Events()
    again = await download(files, tmp_path, on_event=events, offline=True)
    assert again == path
    assert hub.seen == []
    assert events.all == [DownloadDone(path)]


async def test_progress_never_goes_back_and_ends_at_the_total(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.add(REPOSITORY, {NAME: content(6 * MIB)})
    hub.bytes_per_second = 2 * MIB
    events = Events()
    await fetch(listed(hub), tmp_path, events)
    done = [event.done_bytes for event in events.progress]
    assert done == sorted(done)
    assert len(done) >= 3
    assert any(event.bytes_per_second > 0 for event in events.progress)
    assert any(event.seconds_left is not None for event in events.progress)


async def test_shards_are_one_download(hub: LoopbackHub, tmp_path: Path) -> None:
    names = [f"UD-IQ1_S/big-UD-IQ1_S-{n:05}-of-00003.gguf" for n in (1, 2, 3)]
    shards = {name: content(MIB + n, seed=n) for n, name in enumerate(names)}
    hub.add(REPOSITORY, {"README.md": b"# x", **shards})
    files = listed(hub, "UD-IQ1_S/*.gguf")
    assert [file.path for file in files] == names
    events = Events()
    first = await fetch(files, tmp_path, events)
    assert first.name == "UD-IQ1_S--big-UD-IQ1_S-00001-of-00003.gguf"
    for name in names:
        assert_whole(target_path(tmp_path, REPOSITORY, name), shards[name])
    assert {event.total_bytes for event in events.progress} == {3 * MIB + 3}
    assert events.progress[-1].done_bytes == 3 * MIB + 3


async def test_cancelling_keeps_what_came_and_the_next_call_goes_on(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(12 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = 2 * MIB
    files = listed(hub)
    await fetch_until(files, tmp_path, 4 * MIB)
    target = target_path(tmp_path, REPOSITORY, NAME)
    assert part_path(target).exists()
    assert not target.exists()
    before = hub.bytes_sent
    hub.reset_counts()
    hub.bytes_per_second = 0
    again = Events()
    assert_whole(await fetch(files, tmp_path, again), data)
    assert again.progress[0].done_bytes >= 4 * MIB
    # Socket buffers on the way are all that may have been sent in vain.
    assert hub.bytes_sent < len(data) - 4 * MIB + MIB
    assert before + hub.bytes_sent >= len(data)


async def test_kill_costs_at_most_16_mib(hub: LoopbackHub, tmp_path: Path) -> None:
    data = content(48 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = 8 * MIB
    process = in_process(hub, tmp_path)
    try:
        await asyncio.to_thread(hub.wait_for_bytes, 34 * MIB)
        assert process.poll() is None, process.communicate()
    finally:
        process.kill()
        process.communicate()
    await asyncio.sleep(0.2)
    sent_before = hub.bytes_sent
    assert 34 * MIB <= sent_before < len(data)
    hub.reset_counts()
    hub.bytes_per_second = 0
    assert_whole(await fetch(listed(hub), tmp_path), data)
    assert sent_before + hub.bytes_sent <= len(data) + 16 * MIB


async def test_two_processes_share_one_download(hub: LoopbackHub, tmp_path: Path) -> None:
    data = content(8 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = 2 * MIB
    processes = [in_process(hub, tmp_path) for _ in range(2)]
    results = await asyncio.gather(*(asyncio.to_thread(p.communicate) for p in processes))
    assert [process.returncode for process in processes] == [0, 0], results
    target = target_path(tmp_path, REPOSITORY, NAME)
    assert {Path(out.decode().strip()) for out, _ in results} == {target}
    assert_whole(target, data)
    assert hub.bytes_sent == len(data)


async def test_waiting_for_another_download_is_said(hub: LoopbackHub, tmp_path: Path) -> None:
    data = content(3 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = MIB
    files = listed(hub)
    events = Events(), Events()
    await asyncio.gather(*(fetch(files, tmp_path, each) for each in events))
    assert "waiting for it" in events[0].notices + events[1].notices
    assert hub.bytes_sent == len(data)


async def test_a_file_changed_on_the_hub_starts_clean(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, {NAME: content(8 * MIB, seed=1)})
    hub.bytes_per_second = 2 * MIB
    await fetch_until(listed(hub), tmp_path, 3 * MIB)
    new = content(8 * MIB, seed=2)
    hub.replace(REPOSITORY, NAME, new)
    hub.reset_counts()
    hub.bytes_per_second = 0
    events = Events()
    assert_whole(await fetch(listed(hub), tmp_path, events), new)
    assert "has changed on the hub" in events.notices
    assert hub.bytes_sent == len(new)


async def test_a_new_commit_with_the_same_bytes_goes_on(hub: LoopbackHub, tmp_path: Path) -> None:
    data = content(8 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = 2 * MIB
    await fetch_until(listed(hub), tmp_path, 3 * MIB)
    hub.replace(REPOSITORY, NAME, data)
    hub.reset_counts()
    assert_whole(await fetch(listed(hub), tmp_path), data)
    assert hub.bytes_sent < 6 * MIB


async def test_a_new_version_replaces_the_old_file(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, {NAME: content(MIB, seed=1)})
    await fetch(listed(hub), tmp_path)
    new = content(MIB, seed=2)
    hub.replace(REPOSITORY, NAME, new)
    assert_whole(await fetch(listed(hub), tmp_path), new)


async def test_a_whole_file_without_its_note_is_checked_not_fetched(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(2 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    path = await fetch(listed(hub), tmp_path)
    sidecar_path(path).unlink()
    hub.reset_counts()
    assert await fetch(listed(hub), tmp_path) == path
    assert hub.bytes_sent == 0
    assert read_sidecar(path) is not None


async def test_a_damaged_file_without_its_note_is_fetched_again(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(2 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    path = await fetch(listed(hub), tmp_path)
    sidecar_path(path).unlink()
    path.write_bytes(content(2 * MIB, seed=99))
    assert_whole(await fetch(listed(hub), tmp_path), data)


async def test_a_damaged_journal_line_costs_only_its_range(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(12 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = 2 * MIB
    files = listed(hub)
    await fetch_until(files, tmp_path, 9 * MIB)
    path = journal_path(target_path(tmp_path, REPOSITORY, NAME))
    whole = journal.read(path)
    assert whole is not None
    lines = path.read_bytes().split(b"\n")
    numbers = [n for n, line in enumerate(lines) if b"[" in line and b"{" not in line]
    lines[numbers[0]] = lines[numbers[0]].replace(b"[", b"[9")
    path.write_bytes(b"\n".join(lines)[:-9])
    damaged = journal.read(path)
    assert damaged is not None
    assert len(damaged.ranges) == len(whole.ranges) - 2
    missing = len(data) - Ranges((r.start, r.end) for r in damaged.ranges).total_bytes
    hub.reset_counts()
    hub.bytes_per_second = 0
    assert_whole(await fetch(files, tmp_path), data)
    assert hub.bytes_sent == missing


async def test_bytes_that_rotted_in_the_part_file_are_fetched_again(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(12 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = 2 * MIB
    files = listed(hub)
    await fetch_until(files, tmp_path, 9 * MIB)
    with part_path(target_path(tmp_path, REPOSITORY, NAME)).open("r+b") as file:
        file.seek(100)
        file.write(b"rotten")
    hub.bytes_per_second = 0
    hub.reset_counts()
    events = Events()
    assert_whole(await fetch(files, tmp_path, events), data)
    assert "changed on this disk" in events.notices
    assert hub.bytes_sent < len(data)


async def test_a_part_file_cut_short_is_not_trusted_beyond_its_end(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(8 * MIB)
    hub.add(REPOSITORY, {NAME: data})
    hub.bytes_per_second = 2 * MIB
    files = listed(hub)
    await fetch_until(files, tmp_path, 5 * MIB)
    os.truncate(part_path(target_path(tmp_path, REPOSITORY, NAME)), MIB)
    hub.bytes_per_second = 0
    assert_whole(await fetch(files, tmp_path), data)


@pytest.mark.parametrize("how", ["flag", "variable"])
async def test_offline_asks_nobody(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    hub.add(REPOSITORY, {NAME: content(MIB)})
    files = listed(hub)
    hub.reset_counts()
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError) as caught:
        await download(files, tmp_path, on_event=Events(), offline=how == "flag", patience=QUICK)
    assert caught.value.exit_code == 4
    assert hub.seen == []


async def test_the_token_reaches_the_hub_and_never_the_storage_host(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.add(REPOSITORY, {NAME: content(4 * MIB)}, gated=True)
    await fetch(listed(hub, token=hub.token), tmp_path, token=hub.token)
    asked = [item for item in hub.seen if item.host == "hub"]
    assert asked
    assert {item.authorization for item in asked} == {f"Bearer {hub.token}"}
    assert {item.authorization for item in hub.requests("cdn")} == {""}


async def test_the_users_own_token_is_taken_from_the_environment(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.add(REPOSITORY, {NAME: content(MIB)}, gated=True)
    await download(listed(hub, token=hub.token), tmp_path, on_event=Events(), patience=QUICK)
    assert f"Bearer {hub.token}" in {item.authorization for item in hub.requests("hub", "HEAD")}


async def test_a_file_stored_on_the_hub_itself_needs_no_link(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    data = content(3 * MIB)
    hub.add(REPOSITORY, {NAME: data}, lfs=False)
    files = listed(hub)
    assert files[0].sha256 is None
    assert_whole(await fetch(files, tmp_path), data)
    assert hub.requests("cdn") == []
