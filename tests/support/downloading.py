"""What the download tests share: a quick patience, seeded contents, a variant, events."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub

from localr1.models.download import DownloadEvent, DownloadNotice, DownloadProgress, download
from localr1.models.hub import RemoteFile, list_files
from localr1.models.patience import Patience
from localr1.models.place import lock_path, part_path
from localr1.models.types import Variant

REPOSITORY = "owner/model-GGUF"
NAME = "model-Q4_K_M.gguf"
QUICK = Patience(connect_seconds=5.0, stall_seconds=1.0, attempts=4, backoff_seconds=0.01)


# A developer's own settings must not reach these tests.
_VARIABLES = (
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_HUB_OFFLINE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
)


@contextmanager
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A running hub, and an environment that names it and no other."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with LoopbackHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def mounted(*arguments: str) -> bool:
    """Run `mount`; whether it worked, which takes Linux and root."""
    mount = shutil.which("mount")
    if mount is None or not sys.platform.startswith("linux"):
        return False
    return subprocess.run([mount, *arguments], check=False, capture_output=True).returncode == 0


@contextmanager
def disk_of(size_bytes: int, folder: Path) -> Iterator[Path]:
    """A real file system of this size, in a folder; the test is skipped where there can be none."""
    place = folder / "disk"
    place.mkdir()
    if not mounted("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)):
        pytest.skip("mounting a small file system needs Linux and root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def content(size_bytes: int, seed: int = 7) -> bytes:
    """Bytes that no compression or repetition can make look right by chance."""
    return random.Random(seed).randbytes(size_bytes)


def variant(*files: str, repository: str = REPOSITORY, revision: str = "main") -> Variant:
    return Variant(
        quantization="Q4_K_M",
        repository=repository,
        files=files or (NAME,),
        size_bytes=0,
        size_is_exact=False,
        revision=revision,
    )


def listed(hub: LoopbackHub, *files: str, token: str = "") -> tuple[RemoteFile, ...]:
    return list_files(variant(*files), endpoint=hub.endpoint, token=token, patience=QUICK)


@dataclass
class Events:
    """Collects events; calls itself."""

    all: list[DownloadEvent] = field(default_factory=list)

    def __call__(self, event: DownloadEvent) -> None:
        self.all.append(event)

    @property
    def notices(self) -> str:
        return "\n".join(event.text for event in self.all if isinstance(event, DownloadNotice))

    @property
    def progress(self) -> list[DownloadProgress]:
        return [event for event in self.all if isinstance(event, DownloadProgress)]


async def fetch(
    files: tuple[RemoteFile, ...],
    directory: Path,
    events: Callable[[DownloadEvent], None] | None = None,
    *,
    connections: int = 4,
    token: str = "",
) -> Path:
    return await download(
        files,
        directory,
        on_event=events if events is not None else Events(),
        connections=connections,
        token=token,
        patience=QUICK,
    )


async def fetch_until(files: tuple[RemoteFile, ...], directory: Path, done_bytes: int) -> None:
    """Download until so much is here, and stop."""

    def on_event(event: DownloadEvent) -> None:
        enough = isinstance(event, DownloadProgress) and event.done_bytes >= done_bytes
        if enough and not task.cancelling():
            task.cancel()

    task = asyncio.create_task(fetch(files, directory, on_event))
    with pytest.raises(asyncio.CancelledError):
        await task


def size_of(path: Path) -> int:
    return path.stat().st_size


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_whole(path: Path, expected: bytes) -> None:
    """The file is right and nothing of the download is left beside it."""
    assert sha256(path) == hashlib.sha256(expected).hexdigest()
    assert not part_path(path).exists()
    assert not lock_path(path).exists()
    assert not list(path.parent.glob("*.part*"))
