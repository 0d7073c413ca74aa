"""Several downloads in a row, from a real HTTP server: paused, moved, limited, restarted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from downloading import (
    QUICK,
    REPOSITORY,
    assert_whole,
    content,
    disk_of,
    size_of,
    variant,
)
from loopback_hub import Fault, LoopbackHub

from localr1.errors import DiskFull, HubDenied, LocalR1Error
from localr1.models.downloads import Downloads
from localr1.models.limit import SpeedLimit
from localr1.models.obtain import check_room, download_variant, missing_bytes
from localr1.models.place import part_path, target_path
from localr1.models.progress import DownloadEvent
from localr1.models.queue import Item, Queue, QueueFile

MIB = 1 << 20
FILES = {f"{name}.gguf": content(3 * MIB + n, seed=n) for n, name in enumerate("abc")}


@pytest.fixture
def hub(hub: LoopbackHub) -> LoopbackHub:
    hub.add(REPOSITORY, FILES)
    return hub


@dataclass
class Scene:
    """A runner, and what it told."""

    folder: Path
    ended: list[tuple[str, LocalR1Error | None]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    limit: SpeedLimit = field(default_factory=SpeedLimit)
    wait_for_room: bool = False

    def __post_init__(self) -> None:
        self.file = QueueFile(self.folder / "data" / "downloads.json")
        self.models = self.folder / "models"
        self.downloads = Downloads(
            self.file,
            self._fetch,
            self.limit,
            on_change=self._note,
            on_end=lambda item, error: self.ended.append((item.name, error)),
            retry_seconds=0.3,
        )

    async def _fetch(self, item: Item, on_event: Callable[[DownloadEvent], None]) -> Path:
        return await download_variant(
            variant(item.name),
            self.models,
            on_event=on_event,
            patience=QUICK,
            limit=self.limit,
            wait_for_room=self.wait_for_room,
        )

    def _note(self) -> None:
        status = self.downloads.status
        now = "" if status is None else ("waiting" if status.waiting else status.name)
        if not self.shown or self.shown[-1] != now:
            self.shown.append(now)

    async def add(self, *names: str) -> None:
        for name in names:
            await self.downloads.change(
                partial(Queue.add, item=Item(name, len(FILES.get(name, b""))))
            )

    async def until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.shown, self.downloads.queue, self.ended)
            await asyncio.sleep(0.01)

    def done_bytes(self, name: str) -> int:
        status = self.downloads.status
        return status.done_bytes if status is not None and status.name == name else 0

    def whole(self, *names: str) -> None:
        for name in names:
            assert_whole(target_path(self.models, REPOSITORY, name), FILES[name])


@asynccontextmanager
async def running(folder: Path, *, wait_for_room: bool = False) -> AsyncIterator[Scene]:
    scene = Scene(folder, wait_for_room=wait_for_room)
    await scene.downloads.start()
    try:
        yield scene
    finally:
        await scene.downloads.close()


async def test_one_after_the_other_in_order(hub: LoopbackHub, tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        await scene.add("b.gguf", "a.gguf", "c.gguf")
        await scene.until(lambda: len(scene.ended) == 3)
        assert scene.ended == [("b.gguf", None), ("a.gguf", None), ("c.gguf", None)]
        scene.whole(*FILES)
        await scene.until(lambda: scene.downloads.status is None)
        assert scene.file.read() == Queue()
    assert hub.bytes_sent == sum(map(len, FILES.values()))


async def test_what_is_moved_to_the_front_runs_at_once_and_the_other_goes_on_later(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.bytes_per_second = MIB
    async with running(tmp_path) as scene:
        await scene.add("a.gguf", "b.gguf")
        await scene.until(lambda: scene.done_bytes("a.gguf") >= MIB)
        await scene.downloads.change(partial(Queue.move, name="b.gguf", by=-1))
        await scene.until(lambda: scene.done_bytes("b.gguf") > 0)
        hub.bytes_per_second = 0
        await scene.until(lambda: len(scene.ended) == 2)
        assert [name for name, _ in scene.ended] == ["b.gguf", "a.gguf"]
        scene.whole("a.gguf", "b.gguf")
    # What was on its way at the switch is all that came twice.
    assert hub.bytes_sent <= len(FILES["a.gguf"]) + len(FILES["b.gguf"]) + 2 * MIB


async def test_pausing_keeps_what_came_and_lets_the_next_one_run(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.bytes_per_second = MIB
    async with running(tmp_path) as scene:
        await scene.add("a.gguf", "b.gguf")
        await scene.until(lambda: scene.done_bytes("a.gguf") >= MIB)
        await scene.downloads.change(partial(Queue.pause, name="a.gguf"))
        hub.bytes_per_second = 0
        await scene.until(lambda: scene.ended)
        assert scene.ended == [("b.gguf", None)]
        await scene.until(lambda: scene.downloads.status is None)
        kept = missing_bytes(variant("a.gguf"), scene.models)
        assert 0 < kept < len(FILES["a.gguf"])
        hub.reset_counts()
        await scene.downloads.change(partial(Queue.resume, name="a.gguf"))
        await scene.until(lambda: len(scene.ended) == 2)
        scene.whole("a.gguf")
        assert hub.bytes_sent == kept


async def test_a_restart_goes_on_with_the_queue(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.bytes_per_second = MIB
    async with running(tmp_path) as scene:
        await scene.add("a.gguf", "b.gguf")
        await scene.downloads.change(partial(Queue.pause, name="b.gguf"))
        await scene.until(lambda: scene.done_bytes("a.gguf") >= MIB)
    assert scene.ended == []
    hub.bytes_per_second = 0
    async with running(tmp_path) as again:
        await again.until(lambda: again.ended)
        again.whole("a.gguf")
        assert again.downloads.queue.items == (Item("b.gguf", len(FILES["b.gguf"]), paused=True),)


async def test_what_the_hub_refuses_is_kept_with_its_reason_and_the_next_one_runs(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.repositories[REPOSITORY].gated = True
    async with running(tmp_path) as scene:
        await scene.add("a.gguf")
        await scene.until(lambda: scene.ended)
        assert isinstance(scene.ended[0][1], HubDenied)
        (item,) = scene.file.read().items
        assert "gated" in item.problem
        hub.repositories[REPOSITORY].gated = False
        await scene.downloads.change(partial(Queue.resume, name="a.gguf"))
        await scene.until(lambda: len(scene.ended) == 2)
        scene.whole("a.gguf")


async def test_no_connection_is_waited_for(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.inject(Fault("page", host="hub", times=10_000))
    async with running(tmp_path) as scene:
        await scene.add("a.gguf")
        await scene.until(lambda: "waiting" in scene.shown)
        status = scene.downloads.status
        assert status is not None
        assert "A web page came" in status.waiting
        hub.clear_faults()
        await scene.until(lambda: scene.ended)
        assert scene.ended == [("a.gguf", None)]
        scene.whole("a.gguf")


async def test_a_notice_goes_when_bytes_come(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.bytes_per_second = MIB
    hub.inject(Fault("status", status=429, headers={"Retry-After": "1"}))
    async with running(tmp_path) as scene:

        def notice() -> str:
            status = scene.downloads.status
            return status.notice if status is not None else ""

        await scene.add("a.gguf")
        await scene.until(lambda: "Trying again" in notice())
        await scene.until(lambda: scene.done_bytes("a.gguf"))
        assert notice() == ""


async def test_what_another_process_puts_into_the_queue_is_seen(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    async with running(tmp_path) as scene:
        other = QueueFile(scene.folder / "data" / "downloads.json")
        other.change(lambda now: replace(now.add(Item("a.gguf", 1)), limit_bytes_per_second=10**8))
        await scene.downloads.look()
        assert scene.downloads.queue == other.read() or scene.ended
        assert scene.limit.bytes_per_second == 10**8
        await scene.until(lambda: scene.ended)
        scene.whole("a.gguf")
    assert hub.bytes_sent == len(FILES["a.gguf"])


async def test_the_speed_limit_holds_for_all_connections_and_can_be_lifted(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    assert hub.bytes_per_second == 0
    async with running(tmp_path) as scene:
        await scene.downloads.change(lambda now: Queue(now.items, 500_000))
        await scene.add("a.gguf")
        await scene.until(lambda: scene.done_bytes("a.gguf") > 0)
        began, before = time.monotonic(), scene.done_bytes("a.gguf")
        await asyncio.sleep(1.5)
        seconds = time.monotonic() - began
        came = scene.done_bytes("a.gguf") - before
        # Blocks are counted once they are written, a second after they began to come.
        assert came <= 500_000 * (seconds + 1.5)
        assert not scene.ended
        await scene.downloads.change(lambda now: Queue(now.items, 0))
        await scene.until(lambda: scene.ended, 5.0)
        scene.whole("a.gguf")


async def test_the_room_is_checked_for_all_together(hub: LoopbackHub, tmp_path: Path) -> None:
    sized = [replace(variant(name), size_bytes=3 * MIB) for name in FILES]
    check_room(sized, tmp_path / "models", free=lambda _: 73 * MIB)
    with pytest.raises(DiskFull) as caught:
        check_room(sized, tmp_path / "models", free=lambda _: 72 * MIB)
    assert "9 MB more are needed and 75 MB are free; 67 MB must stay free" in caught.value.why
    # What is here already does not count.
    async with running(tmp_path) as scene:
        hub.bytes_per_second = MIB // 2
        await scene.add("a.gguf")
        await scene.until(lambda: scene.done_bytes("a.gguf") >= MIB)
    assert 0 < missing_bytes(sized[0], tmp_path / "models") <= 2 * MIB
    check_room(sized, tmp_path / "models", free=lambda _: 72 * MIB)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of(80 * MIB, tmp_path) as place:
        yield place


async def test_a_disk_that_fills_up_pauses_and_room_resumes(
    hub: LoopbackHub, small_disk: Path
) -> None:
    hub.bytes_per_second = MIB // 5  # slow: the disk must be full before the file is whole
    ballast = small_disk / "ballast"
    async with running(small_disk, wait_for_room=True) as scene:
        await scene.add("a.gguf")
        await scene.until(lambda: scene.done_bytes("a.gguf") >= MIB)
        # Another program fills the disk until localr1 leaves the rest to others.
        await asyncio.to_thread(ballast.write_bytes, bytes(50 * MIB))
        await scene.until(lambda: "waiting" in scene.shown)
        status = scene.downloads.status
        assert status is not None
        assert "Not enough room" in status.waiting
        part = part_path(target_path(scene.models, REPOSITORY, "a.gguf"))
        kept = size_of(part)
        await asyncio.sleep(0.5)
        assert size_of(part) == kept, "nothing more is written"
        assert not scene.ended
        ballast.unlink()
        hub.bytes_per_second = 0
        await scene.until(lambda: scene.ended)
        assert scene.ended == [("a.gguf", None)]
        scene.whole("a.gguf")
    assert hub.bytes_sent <= len(FILES["a.gguf"]) + 2 * MIB
