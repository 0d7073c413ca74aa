"""`localr1 pull` as a process of its own, against a real HTTP server."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
from commands import begun
from loopback_hub import LoopbackHub

from localr1.models.library import DEMO_PATH
from localr1.models.place import free_bytes
from localr1.models.queue import Queue, QueueFile
from localr1.models.types import Variant
from localr1.workflow import Home, open_home, queue_file, queue_item

NAMES = ("r1-distill-qwen-1.5b:Q4_K_M", "r1-distill-qwen-7b:Q4_K_M")
# The hub hands out this small file under the names of the real ones.
DATA = DEMO_PATH.read_bytes()


@pytest.fixture
def hub(hub: LoopbackHub) -> LoopbackHub:
    home = open_home()
    for name in NAMES:
        wanted = variant_of(home, name)
        hub.add(wanted.repository, {file_of(wanted): DATA})
    return hub


def variant_of(home: Home, name: str) -> Variant:
    variant = home.catalogue.resolve(name).variant
    assert variant is not None
    return variant


def file_of(variant: Variant) -> str:
    return re.sub(r"\*", "DeepSeek", variant.files[0])


def started(*arguments: str) -> subprocess.Popen[str]:
    return begun("pull", *arguments)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def found(home: Home) -> list[bytes]:
    return [path.read_bytes() for path in sorted(home.directories.models.rglob("*.gguf"))]


def waiting(file: QueueFile) -> list[tuple[str, bool, str]]:
    return [(item.name, item.paused, item.problem) for item in file.read().items]


def test_several_models_with_a_limit(hub: LoopbackHub) -> None:
    began = time.monotonic()
    code, out, err = ended(started(*NAMES, "--limit", "10MB/s"))
    seconds = time.monotonic() - began
    assert code == 0, err
    assert "1 of 2" in err
    assert "2 of 2" in err
    assert out.count("is here") == 2
    assert err.count("The hub's file has") == 2  # not the gigabytes that the catalogue says
    home = open_home()
    assert found(home) == [DATA, DATA]
    assert waiting(queue_file(home)) == []
    assert 2 * len(DATA) <= 10_000_000 * (seconds + 0.2)
    # All is here: nothing is asked again.
    hub.reset_counts()
    code, out, _ = ended(started(*NAMES))
    assert (code, out.count("is here"), hub.seen) == (0, 2, [])


def test_one_that_fails_does_not_keep_the_others(hub: LoopbackHub) -> None:
    home = open_home()
    hub.repositories[variant_of(home, NAMES[0]).repository].gated = True
    code, out, err = ended(started(*NAMES))
    assert code == 1
    assert "gated" in err
    assert out.count("is here") == 1
    ((name, paused, problem),) = waiting(queue_file(home))
    assert (name, paused) == (NAMES[0], False)
    assert "gated" in problem


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C as a signal")
def test_stopped_or_killed_it_goes_on_without_a_name(hub: LoopbackHub) -> None:
    hub.bytes_per_second = 1_000_000
    home = open_home()
    for how in (signal.SIGINT, signal.SIGKILL):
        hub.reset_counts()
        process = started(*(NAMES if how == signal.SIGINT else ()))
        hub.wait_for_bytes(1_000_000)
        process.send_signal(how)
        code, _, err = ended(process)
        assert code == (130 if how == signal.SIGINT else -signal.SIGKILL), err
        stopped = how == signal.SIGINT
        assert waiting(queue_file(home)) == [(name, stopped, "") for name in NAMES]
        assert found(home) == []
    hub.bytes_per_second = 0
    code, out, err = ended(started())
    assert code == 0, err
    assert out.count("is here") == 2
    assert found(home) == [DATA, DATA]
    assert waiting(queue_file(home)) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C as a signal")
def test_parts_in_no_queue_are_gone_on_with(hub: LoopbackHub) -> None:
    hub.bytes_per_second = 1_000_000
    home = open_home()
    process = started(NAMES[0])
    hub.wait_for_bytes(1_000_000, 90.0)
    process.send_signal(signal.SIGINT)
    ended(process)
    queue_file(home).change(lambda _: Queue())
    hub.bytes_per_second = 0
    code, out, err = ended(started())
    assert code == 0, err
    assert out.count("is here") == 1
    assert found(home) == [DATA]


def test_the_limit_of_the_queue_holds_without_another(hub: LoopbackHub) -> None:
    home = open_home()
    queue_file(home).change(lambda _: Queue((), 1_000_000))
    began = time.monotonic()
    code, _, err = ended(started(NAMES[0]))
    assert code == 0, err
    assert len(DATA) <= 1_000_000 * (time.monotonic() - began + 0.2)
    # Before a download the beginning of the file is read.
    assert len(DATA) <= hub.bytes_sent <= len(DATA) + (1 << 16)


def test_room_is_counted_with_what_is_in_the_queue(hub: LoopbackHub) -> None:
    home = open_home()
    free = free_bytes(home.directories.models)
    pairs = [(model, variant) for model in home.catalogue.models for variant in model.variants]
    huge = max(pairs, key=lambda pair: pair[1].size_bytes)
    if huge[1].size_bytes < free:
        pytest.skip("this disk has room for every model")
    queue_file(home).change(lambda now: now.add(queue_item(*huge)))
    code, _, err = ended(started(NAMES[0]))
    assert code == 1
    assert "Not enough room" in err
    assert hub.requests("cdn") == []
    # What rests takes no room.
    queue_file(home).change(lambda now: now.pause(queue_item(*huge).name))
    code, _, err = ended(started(NAMES[0]))
    assert code == 0, err


def test_nothing_waits(hub: LoopbackHub) -> None:
    code, _, err = ended(started())
    assert code == 2
    assert "localr1 pull 7b" in err
    assert hub.seen == []


def test_a_speed_that_is_none(hub: LoopbackHub) -> None:
    code, _, err = ended(started(NAMES[0], "--limit", "quick"))
    assert code == 2
    assert "5MB/s" in err
    assert hub.seen == []
