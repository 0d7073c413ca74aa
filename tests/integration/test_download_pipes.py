"""A pipe where a file should be is refused, and never waited for."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from downloading import NAME, REPOSITORY, content, fetch, listed
from loopback_hub import LoopbackHub

from localr1.errors import FileError
from localr1.models import downloaded
from localr1.models.copying import Span, copy, growing_path
from localr1.models.headers import CACHE_NAME, HeaderCache
from localr1.models.limit import SpeedLimit
from localr1.models.place import (
    journal_path,
    lock_path,
    part_path,
    read_sidecar,
    sidecar_path,
    target_path,
)
from localr1.models.queue import Queue, QueueFile
from localr1.models.records import RECORDS_NAME, Recorded, Records

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes have no place in a folder")
DATA = content(300_000)
_HANG_SECONDS = 10.0


@pytest.fixture
def hub(hub: LoopbackHub) -> LoopbackHub:
    hub.add(REPOSITORY, {NAME: DATA})
    return hub


@contextmanager
def pipe(path: Path) -> Iterator[None]:
    """A pipe at a path; whoever waits at it is let go after a while, and the test fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    waited = threading.Event()

    def let_go() -> None:
        with suppress(OSError):
            end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            waited.set()
            os.close(end)

    timer = threading.Timer(_HANG_SECONDS, let_go)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    assert not waited.is_set(), "something waited at the pipe"


@pytest.mark.parametrize("name_of", [part_path, journal_path, lock_path])
async def test_in_the_place_of_what_a_download_writes(
    hub: LoopbackHub, tmp_path: Path, name_of: Callable[[Path], Path]
) -> None:
    target = target_path(tmp_path, REPOSITORY, NAME)
    odd = name_of(target)
    with pipe(odd):
        with pytest.raises(FileError, match="not a file") as caught:
            await fetch(listed(hub), tmp_path)
        assert odd.name in str(caught.value)
        assert "Remove it" in caught.value.todo
        downloaded.partials(tmp_path)
        odd.unlink()
        assert (await fetch(listed(hub), tmp_path)).read_bytes() == DATA


async def test_in_the_place_of_a_note(hub: LoopbackHub, tmp_path: Path) -> None:
    target = target_path(tmp_path, REPOSITORY, NAME)
    with pipe(sidecar_path(target)):
        assert read_sidecar(target) is None
        assert downloaded.units(tmp_path) == []
        assert (await fetch(listed(hub), tmp_path)).read_bytes() == DATA
    assert read_sidecar(target) is not None


def test_in_the_place_of_a_copy_and_of_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    spans = [Span(source, 0, len(DATA))]
    with pipe(growing_path(target)), pytest.raises(FileError, match="not a file"):
        copy(spans, target, lambda _: None)
    growing_path(target).unlink()
    source.unlink()
    with pipe(source), pytest.raises(FileError, match="not a file"):
        copy(spans, target, lambda _: None)


def test_in_the_place_of_what_is_remembered(tmp_path: Path) -> None:
    with pipe(tmp_path / "downloads.json"):
        assert QueueFile(tmp_path / "downloads.json").read() == Queue()
    with pipe(tmp_path / RECORDS_NAME):
        assert Records(tmp_path).read() == Recorded()
    with pipe(tmp_path / CACHE_NAME):
        assert HeaderCache(tmp_path).recall() == ()
    with pipe(tmp_path / "speed"):
        limit = SpeedLimit(1000, shared=tmp_path / "speed")
        limit.note(1000)
        assert 0.5 < limit.wait_seconds() <= 1.0
