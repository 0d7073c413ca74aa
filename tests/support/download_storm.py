"""Everything that can go wrong with a download, each as a function of a seed.

`STORMS` names them. A storm happens to one download of one file; afterwards the file must be
whole, or what was said must be clear and the next try must make it whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from downloading import NAME, REPOSITORY, content, mounted, variant
from loopback_hub import Fault, LoopbackHub

from localr1.errors import (
    ChecksumMismatch,
    DiskFull,
    HubDenied,
    HubNotFound,
    HubUnreachable,
    LocalR1Error,
)
from localr1.models import journal
from localr1.models.download import download
from localr1.models.hub import list_files
from localr1.models.obtain import download_variant
from localr1.models.patience import Patience
from localr1.models.place import journal_path, part_path, target_path
from localr1.models.progress import DownloadEvent, DownloadNotice
from localr1.models.ranges import Ranges

MIB: Final = 1 << 20
KIB: Final = 1 << 10
PATIENCE: Final = Patience(connect_seconds=5.0, stall_seconds=0.4, attempts=9, backoff_seconds=0.02)
_RATE: Final = 40 * MIB
"""Of each connection, where a storm must come in the middle."""
LOST_BY_A_KILL: Final = 16 * MIB

# A process of its own; arguments: endpoint, folder, connections.
_SCRIPT: Final = f"""
import asyncio, signal, sys
from pathlib import Path
from localr1.models.download import download
from localr1.models.hub import list_files
from localr1.models.patience import Patience
from localr1.models.types import Variant

# Whoever runs the tests in the background has Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
variant = Variant("Q4_K_M", "{REPOSITORY}", ("{NAME}",), 0, False)
files = list_files(variant, endpoint=sys.argv[1], token="")
patience = {PATIENCE!r}
asyncio.run(download(files, Path(sys.argv[2]), on_event=lambda event: None, token="",
                     connections=int(sys.argv[3]), patience=patience))
"""


@dataclass
class Scene:
    """A hub with one file, a folder, and what is being measured."""

    hub: LoopbackHub
    folder: Path
    rng: random.Random
    data: bytes = b""
    connections: int = 4
    token: str = ""
    allowed: tuple[type[LocalR1Error], ...] = ()
    """What may be said; nothing: the download must not stop."""
    allowed_waste_bytes: int = 0
    errors: list[LocalR1Error] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    injected: list[tuple[Fault, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connections = self.rng.randint(1, 8)
        self.put(self.rng.randint(3 * MIB, 8 * MIB))

    @property
    def target(self) -> Path:
        return target_path(self.folder, REPOSITORY, NAME)

    @property
    def waste_bytes(self) -> int:
        """What was sent beyond the file itself."""
        return self.hub.bytes_sent - len(self.data)

    def put(self, size_bytes: int) -> None:
        """Set what the hub has."""
        self.data = content(size_bytes, seed=self.rng.getrandbits(30))
        self.hub.add(REPOSITORY, {NAME: self.data}, gated=bool(self.token))

    def inject(self, fault: Fault) -> Fault:
        """Let something go wrong, and remember that it must come to that."""
        self.injected.append((fault, fault.times))
        self.hub.inject(fault)
        return fault

    @property
    def happened(self) -> bool:
        """Whether every injected fault has struck."""
        return all(fault.times < times for fault, times in self.injected)

    def middle(self) -> int:
        """Somewhere in the file, not at its ends."""
        return self.rng.randint(len(self.data) // 8, len(self.data) * 7 // 8)

    async def fetch(self) -> None:
        """One try, looked up anew."""

        def on_event(event: DownloadEvent) -> None:
            if isinstance(event, DownloadNotice):
                self.notices.append(event.text)

        await download_variant(variant(), self.folder, on_event=on_event, patience=PATIENCE)

    async def fetch_whole(self) -> None:
        """Try until it is there, as a user does who reads what is said."""
        for _ in range(3):
            try:
                await self.fetch()
            except LocalR1Error as error:
                self.errors.append(error)
                self.hub.clear_faults()
            else:
                return

    def process(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _SCRIPT, self.hub.endpoint, str(self.folder)]
        return subprocess.Popen(
            [*command, str(self.connections)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def promised(self) -> Ranges:
        """What the journal says is on the disk."""
        with suppress(OSError):
            known = journal.read(journal_path(self.target))
            if known is not None:
                return Ranges((item.start, item.end) for item in known.ranges)
        return Ranges()


Storm = Callable[[Scene], Awaitable[None]]


def _injected(make: Callable[[random.Random, Scene], Fault], waste: int = 0) -> Storm:
    """Faults of single answers; the download must get over them by itself."""

    async def storm(scene: Scene) -> None:
        fault = scene.inject(make(scene.rng, scene))
        lost = (fault.after_bytes + waste) * fault.times
        scene.allowed_waste_bytes = lost
        await scene.fetch_whole()

    return storm


def _spoken(
    make: Callable[[random.Random, Scene], Fault],
    kind: type[LocalR1Error],
    *,
    waste: Callable[[Scene], int] = lambda _: MIB * 4,
) -> Storm:
    """Faults that end the download with a clear word; the next try makes it whole."""

    async def storm(scene: Scene) -> None:
        scene.allowed = (kind,)
        scene.allowed_waste_bytes = waste(scene)
        scene.inject(make(scene.rng, scene))
        await scene.fetch_whole()

    return storm


def _status(
    status: int, most: int = 4, retry_after: str = ""
) -> Callable[[random.Random, Scene], Fault]:
    def make(rng: random.Random, _scene: Scene) -> Fault:
        times, skip = rng.randint(1, most), rng.randint(0, 2)
        headers = {"Retry-After": retry_after} if retry_after else {}
        return Fault("status", status=status, times=times, skip=skip, headers=headers)

    return make


def _at_hub(status: int, method: str = "HEAD", **headers: str) -> Callable[..., Fault]:
    def make(rng: random.Random, _scene: Scene) -> Fault:
        times = rng.randint(1, 2)
        return Fault("status", "hub", method, status=status, times=times, headers=headers)

    return make


def _broken(kind: str, *, times: int = 4, seconds: float = 2.0) -> Callable[..., Fault]:
    def make(rng: random.Random, scene: Scene) -> Fault:
        after = rng.choice([0, 1, rng.randint(0, len(scene.data) // 4)])
        count, skip = rng.randint(1, times), rng.randint(0, 2)
        return Fault(kind, times=count, after_bytes=after, seconds=seconds, skip=skip)

    return make


def _once(kind: str, skip: int = 2, **options: object) -> Callable[..., Fault]:
    def make(rng: random.Random, _scene: Scene) -> Fault:
        return replace(Fault(kind, **options), skip=rng.randint(0, skip))  # type: ignore[arg-type]

    return make


async def _links_expire(scene: Scene) -> None:
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    scene.hub.bytes_per_second = _RATE // 8
    task = asyncio.create_task(scene.fetch_whole())
    for share in sorted(scene.rng.sample(range(1, 8), 3)):
        await asyncio.to_thread(scene.hub.wait_for_bytes, len(scene.data) * share // 10)
        scene.hub.expire_links()
    await task


async def _restart(scene: Scene) -> None:
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    scene.allowed_waste_bytes = 8 * MIB
    scene.hub.bytes_per_second = _RATE // 8
    task = asyncio.create_task(scene.fetch_whole())
    await asyncio.to_thread(scene.hub.wait_for_bytes, scene.middle())
    await asyncio.to_thread(scene.hub.restart, scene.rng.uniform(0.0, 1.0))
    await task


async def _network_changes(scene: Scene) -> None:
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    scene.allowed_waste_bytes = 8 * MIB
    scene.hub.bytes_per_second = _RATE // 8
    task = asyncio.create_task(scene.fetch_whole())
    await asyncio.to_thread(scene.hub.wait_for_bytes, scene.middle())
    scene.hub.cut_connections()
    await task


async def _changes_on_the_hub(scene: Scene) -> None:
    """Another file under the same name, while the first one comes."""
    old = scene.rng.randint(3 * MIB, 6 * MIB)
    scene.put(old)
    scene.hub.bytes_per_second = _RATE // 8
    task = asyncio.create_task(scene.fetch_whole())
    await asyncio.to_thread(scene.hub.wait_for_bytes, scene.middle())
    scene.data = content(old + scene.rng.choice([0, 0, 17]), seed=scene.rng.getrandbits(30))
    scene.hub.replace(REPOSITORY, NAME, scene.data)
    scene.hub.expire_links()
    scene.hub.cut_connections()
    scene.allowed_waste_bytes = old + 8 * MIB
    await task
    assert any("changed" in notice or "asked anew" in notice for notice in scene.notices)


async def _changes_between_runs(scene: Scene) -> None:
    old = scene.rng.randint(3 * MIB, 6 * MIB)
    scene.put(old)
    await _stop_in_the_middle(scene)
    scene.data = content(old, seed=scene.rng.getrandbits(30))
    scene.hub.replace(REPOSITORY, NAME, scene.data)
    scene.allowed_waste_bytes = old + 8 * MIB
    await scene.fetch_whole()
    assert any("changed on the hub" in notice for notice in scene.notices)


async def _other_tag(scene: Scene) -> None:
    """The same bytes under another entity tag: the hash decides, and it goes on."""
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    await _stop_in_the_middle(scene)
    scene.hub.etag_suffix = "-2"
    scene.allowed_waste_bytes = 2 * MIB  # what the stop costs
    await scene.fetch_whole()
    assert not any("changed" in notice for notice in scene.notices)


async def _stop_in_the_middle(scene: Scene, share: float = 0.5) -> None:
    scene.hub.bytes_per_second = _RATE // 8
    task = asyncio.create_task(scene.fetch())
    await asyncio.to_thread(scene.hub.wait_for_bytes, int(len(scene.data) * share))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    scene.hub.bytes_per_second = 0


async def _cancelled_again_and_again(scene: Scene) -> None:
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    shares = sorted(scene.rng.uniform(0.1, 0.9) for _ in range(3))
    for share in shares:
        await _stop_in_the_middle(scene, share)
    scene.allowed_waste_bytes = 3 * 4 * MIB
    await scene.fetch_whole()


async def _rot(scene: Scene) -> None:
    """Bytes that were there change on this disk."""
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    await _stop_in_the_middle(scene)
    there = [pair for pair in scene.promised() if pair[1] - pair[0] > 64]
    scene.allowed_waste_bytes = 12 * MIB
    with part_path(scene.target).open("r+b") as file:
        for start, end in scene.rng.sample(there, 1):
            file.seek(scene.rng.randint(start, end - 64))
            file.write(scene.rng.randbytes(64))
    await scene.fetch_whole()
    assert any("changed on this disk" in notice for notice in scene.notices)


async def _journal_torn(scene: Scene) -> None:
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    await _stop_in_the_middle(scene)
    path = journal_path(scene.target)
    torn = bytearray(path.read_bytes())
    if scene.rng.random() < 0.5:
        del torn[scene.rng.randrange(len(torn)) :]
    else:
        torn[scene.rng.randrange(len(torn))] ^= 1 << scene.rng.randrange(8)
    path.write_bytes(torn)
    scene.allowed_waste_bytes = len(scene.data) + 4 * MIB
    await scene.fetch_whole()


async def _part_cut_short(scene: Scene) -> None:
    scene.put(scene.rng.randint(3 * MIB, 6 * MIB))
    await _stop_in_the_middle(scene)
    path = part_path(scene.target)
    await asyncio.to_thread(os.truncate, path, scene.rng.randint(0, path.stat().st_size))
    scene.allowed_waste_bytes = len(scene.data) + 4 * MIB
    await scene.fetch_whole()


async def _signalled(
    scene: Scene, *, signals: tuple[int, ...], power_loss: bool = False, full_speed: bool = False
) -> None:
    """A real process is ended, once or several times; the next one goes on."""
    scene.put(scene.rng.randint(20 * MIB, 40 * MIB) * (2 if full_speed else 1))
    scene.hub.bytes_per_second = 0 if full_speed else _RATE // scene.connections
    # What a server's own buffer holds back was never on its way.
    scene.hub.send_buffer_bytes = 64 * KIB
    for number in signals:
        process = scene.process()
        try:
            at = scene.hub.bytes_sent + scene.rng.randint(MIB, len(scene.data) // 3)
            await asyncio.to_thread(scene.hub.wait_for_bytes, at)
        finally:
            process.send_signal(number)
            await asyncio.to_thread(process.communicate)
        assert not scene.target.exists()
        if power_loss:
            await asyncio.to_thread(_scramble, scene)
    scene.hub.bytes_per_second = 0
    await asyncio.sleep(0.2)  # answers that were on their way are counted
    scene.allowed_waste_bytes = len(signals) * max(LOST_BY_A_KILL, len(scene.data) // 100)
    await scene.fetch_whole()


def _scramble(scene: Scene) -> None:
    """Leave only what was synced, as a power loss may: anything else is noise or gone."""
    path = part_path(scene.target)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for start, end in scene.promised().missing(size):
            file.seek(start)
            file.write(scene.rng.randbytes(end - start))
        file.truncate(max((end for _, end in scene.promised()), default=0))


async def _killed(scene: Scene) -> None:
    await _signalled(scene, signals=(signal.SIGKILL,))


async def _killed_at_full_speed(scene: Scene) -> None:
    await _signalled(scene, signals=(signal.SIGKILL,), full_speed=True)


async def _killed_twice(scene: Scene) -> None:
    await _signalled(scene, signals=(signal.SIGKILL, signal.SIGKILL))


async def _interrupted(scene: Scene) -> None:
    await _signalled(scene, signals=(signal.SIGINT,))


async def _power_loss(scene: Scene) -> None:
    await _signalled(scene, signals=(signal.SIGKILL,), power_loss=True)


async def _lid_closed(scene: Scene) -> None:
    """The process stands still; when it goes on, its connections are gone."""
    scene.put(scene.rng.randint(8 * MIB, 14 * MIB))
    scene.hub.bytes_per_second = _RATE // 2 // scene.connections
    scene.allowed_waste_bytes = 16 * MIB
    process = scene.process()
    try:
        await asyncio.to_thread(scene.hub.wait_for_bytes, scene.middle() // 2)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(scene.rng.uniform(0.2, 0.8))
        scene.hub.cut_connections()
        scene.hub.expire_links()
        process.send_signal(signal.SIGCONT)
        _, err = await asyncio.to_thread(process.communicate, None, 60)
        assert process.returncode == 0, err
    finally:
        process.kill()


async def _two_and_one_is_killed(scene: Scene) -> None:
    """The second waits for the first, and takes over when it dies."""
    scene.put(scene.rng.randint(8 * MIB, 14 * MIB))
    scene.hub.bytes_per_second = _RATE // 2 // scene.connections
    scene.allowed_waste_bytes = 16 * MIB
    first = scene.process()
    second = None
    try:
        await asyncio.to_thread(scene.hub.wait_for_bytes, MIB)
        second = scene.process()
        await asyncio.to_thread(scene.hub.wait_for_bytes, scene.middle())
        first.kill()
        _, err = await asyncio.to_thread(second.communicate, None, 60)
        assert second.returncode == 0, err
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            await asyncio.to_thread(process.communicate)


async def _disk_full(scene: Scene) -> None:
    """A real file system of a few MiB fills up; there is room later."""
    scene.put(scene.rng.randint(5 * MIB, 8 * MIB))
    scene.allowed = (DiskFull,)
    scene.allowed_waste_bytes = 8 * MIB
    disk = scene.folder / "disk"
    disk.mkdir()
    size = f"size={scene.rng.randint(1, 4)}m"
    if not mounted("-t", "tmpfs", "-o", size, "tmpfs", str(disk)):
        return await _killed(scene)  # where nothing can be mounted
    kept, scene.folder = scene.folder, disk
    try:
        with suppress(DiskFull):
            files = await asyncio.to_thread(list_files, variant(), patience=PATIENCE)
            await download(
                files, disk, on_event=lambda _: None, patience=PATIENCE, free=lambda _: 10**12
            )
            raise AssertionError("the disk is too small for that")
        assert mounted("-o", "remount,size=100m", str(disk))
        await scene.fetch_whole()
        scene.folder = kept
        shutil.copytree(disk, kept, dirs_exist_ok=True)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return None


def _portal(host: str, method: str = "GET") -> Callable[..., Fault]:
    def make(rng: random.Random, _scene: Scene) -> Fault:
        skip = rng.randint(0, 1) if host == "cdn" else 0
        return Fault("page", host, method, times=1, skip=skip)  # type: ignore[arg-type]

    return make


PASSING: Final[dict[str, Storm]] = {
    **{f"cdn {code}": _injected(_status(code)) for code in (400, 401, 403, 404, 408, 410)},
    **{f"cdn {code}": _injected(_status(code)) for code in (500, 502, 503, 504)},
    "cdn 429": _injected(_status(429, 1, "1")),
    "cdn 429 at once": _injected(_status(429, 4, "0")),
    **{f"hub {code}": _injected(_at_hub(code)) for code in (429, 500, 503)},
    "look-up 503": _injected(_at_hub(503, "GET")),
    "look-up reset": _injected(_once("reset", 0, host="hub")),
    "link reset": _injected(_once("reset", 0, host="hub", method="HEAD")),
    "reset": _injected(_broken("drop"), waste=MIB),
    "cut short": _injected(_broken("truncate"), waste=MIB),
    "stall": _injected(_broken("stall", times=2), waste=MIB),
    "other range": _injected(_once("wrong-range", times=2), waste=4 * MIB),
    "no range for once": _injected(_once("no-range", 2), waste=8 * MIB),
    "encoded": _injected(_once("gzip"), waste=4 * MIB),
    "links expire": _links_expire,
    "hub restarts": _restart,
    "network changes": _network_changes,
    "changes on the hub": _changes_on_the_hub,
    "changes between runs": _changes_between_runs,
    "other tag": _other_tag,
    "cancelled": _cancelled_again_and_again,
    "rot": _rot,
    "journal torn": _journal_torn,
    "part cut short": _part_cut_short,
}
SPOKEN: Final[dict[str, Storm]] = {
    "wrong byte": _spoken(
        _once("wrong-bytes", 0, after_bytes=1000),
        ChecksumMismatch,
        waste=lambda scene: len(scene.data),
    ),
    "portal at the look-up": _spoken(_portal("hub"), HubUnreachable),
    "portal at the hub": _spoken(_portal("hub", "HEAD"), HubUnreachable),
    "portal at the storage host": _spoken(_portal("cdn"), HubUnreachable, waste=lambda _: 16 * MIB),
    "log-in wanted": _spoken(_at_hub(511), HubUnreachable),
    "file gone": _spoken(
        lambda _rng, _scene: Fault(
            "status", "hub", "HEAD", 2, status=404, headers={"X-Error-Code": "EntryNotFound"}
        ),
        HubNotFound,
    ),
    "gated": _spoken(_at_hub(403, **{"X-Error-Code": "GatedRepo"}), HubDenied),
    "token not accepted": _spoken(_at_hub(401), HubDenied),
    "disk full": _disk_full,
}
PROCESSES: Final[dict[str, Storm]] = {
    "killed": _killed,
    "killed at full speed": _killed_at_full_speed,
    "killed twice": _killed_twice,
    "interrupted": _interrupted,
    "power loss": _power_loss,
    "lid closed": _lid_closed,
    "two, and one is killed": _two_and_one_is_killed,
}
STORMS: Final = {**PASSING, **SPOKEN, **PROCESSES}


def is_whole(scene: Scene) -> bool:
    """Whether the file is there, right, and nothing of the download beside it."""
    path = scene.target
    there = hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(scene.data).digest()
    return there and not list(path.parent.glob("*.part*"))
