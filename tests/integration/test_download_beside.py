"""Downloads of several processes, imports and leftovers: one speed, one disk, nothing forgotten."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from commands import begun
from downloading import fetch_until
from loopback_hub import LoopbackHub

from localr1.cli.main import main
from localr1.models.hub import RemoteFile, list_repository
from localr1.models.library import DEMO_PATH
from localr1.models.place import free_bytes, part_path
from localr1.models.queue import Item, Queue
from localr1.workflow import open_home, queue_file, queue_item

DATA = DEMO_PATH.read_bytes()
NAMES = ("r1-distill-qwen-1.5b:Q4_K_M", "r1-distill-qwen-7b:Q4_K_M")
OTHER, FILE = "owner/other-GGUF", "other-R1-Q4_K_M.gguf"
RATE = 4_000_000


@pytest.fixture
def hub(hub: LoopbackHub) -> LoopbackHub:
    home = open_home()
    for name in NAMES:
        variant = home.catalogue.resolve(name).variant
        assert variant is not None
        hub.add(variant.repository, {variant.files[0].replace("*", "DeepSeek"): DATA})
    hub.add(OTHER, {FILE: DATA})
    return hub


def models() -> Path:
    return open_home().directories.models


def sent_besides_headers(hub: LoopbackHub) -> int:
    """What a download takes of the hub; before one, the file's beginning is read."""
    beginnings = [seen for seen in hub.requests("cdn") if seen.range.startswith("bytes=0-65535")]
    return hub.bytes_sent - len(beginnings) * (1 << 16)


def stopped_import(hub: LoopbackHub) -> tuple[RemoteFile, ...]:
    """Files of a repository that no list has, stopped half-way."""
    files = list_repository(OTHER)
    hub.bytes_per_second = 1 << 20
    asyncio.run(fetch_until(files, models(), 1 << 20))
    hub.bytes_per_second = 0
    hub.reset_counts()
    return files


def test_one_limit_holds_for_all_processes_and_for_imports(hub: LoopbackHub) -> None:
    queue_file(open_home()).change(lambda _: Queue((), RATE))
    began = time.monotonic()
    both = [begun("pull", NAMES[0]), begun("import", f"hf:{OTHER}")]
    said = [process.communicate(timeout=60)[1] for process in both]
    seconds = time.monotonic() - began
    assert [process.returncode for process in both] == [0, 0], said
    assert sent_besides_headers(hub) == 2 * len(DATA)
    assert 2 * len(DATA) <= RATE * (seconds + 0.3)


def test_a_limit_that_another_process_lifts_is_lifted(hub: LoopbackHub) -> None:
    queue = queue_file(open_home())
    queue.change(lambda _: Queue((), 100_000))
    process = begun("import", f"hf:{OTHER}")
    hub.wait_for_bytes(200_000)
    queue.change(lambda now: replace(now, limit_bytes_per_second=0))
    _, err = process.communicate(timeout=20)  # half a minute at the old speed
    assert process.returncode == 0, err


def test_an_import_is_counted_with_what_is_in_the_queue(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    home = open_home()
    pairs = [(model, variant) for model in home.catalogue.models for variant in model.variants]
    huge = max(pairs, key=lambda pair: pair[1].size_bytes)
    if huge[1].size_bytes < free_bytes(home.directories.models):
        pytest.skip("this disk has room for every model")
    queue_file(home).change(lambda now: now.add(queue_item(*huge)))
    assert main(["import", f"hf:{OTHER}"]) == 1
    assert "Not enough room" in capsys.readouterr().err
    assert hub.requests("cdn") == []
    queue_file(home).change(lambda now: now.pause(queue_item(*huge).name))
    assert main(["import", f"hf:{OTHER}"]) == 0


def test_what_is_in_no_list_and_was_stopped_is_told_and_goes_on(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_import(hub)
    again = f"localr1 import hf:{OTHER}/{FILE}"
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert again in said
    assert f"localr1 rm --stopped {OTHER}/{FILE}" in said
    assert main(["pull"]) == 2
    assert again in capsys.readouterr().err
    assert main(again.split()[1:]) == 0
    assert 0 < hub.bytes_sent < len(DATA)
    assert "Stopped at" not in capsys.readouterr().out
    assert main(["models"]) == 0
    assert "Stopped at" not in capsys.readouterr().out


def test_what_is_in_no_list_and_was_stopped_can_be_deleted(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = stopped_import(hub)
    assert main(["rm", "--stopped", f"{OTHER}/{FILE}"]) == 0
    assert "free again" in capsys.readouterr().out
    assert list(models().rglob("*.part*")) == []
    assert not part_path(models() / file.path).exists()


def test_what_is_refused_before_a_byte_came_leaves_nothing(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories[OTHER].gated = True
    assert main(["import", f"hf:{OTHER}"]) == 1
    assert "gated" in capsys.readouterr().err
    assert [path for path in models().rglob("*") if path.is_file()] == []


def test_a_name_that_no_list_has_any_more_does_not_keep_the_others(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = queue_file(open_home())
    queue.change(lambda now: now.add(Item("gone:Q4_K_M", 1)).add(Item(NAMES[0], len(DATA))))
    assert main(["pull"]) == 2
    said = capsys.readouterr()
    assert "gone:Q4_K_M waits, but is in no list" in said.err
    assert said.out.count("is here") == 1
    assert [item.name for item in queue.read().items] == ["gone:Q4_K_M"]
    assert sent_besides_headers(hub) == len(DATA)


def test_offline_is_no_reason_to_stop_what_waits(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = queue_file(open_home())
    queue.change(lambda now: now.add(Item(NAMES[0], len(DATA))))
    assert main(["--offline", "pull"]) == 4
    assert "offline" in capsys.readouterr().err
    assert queue.read().next == Item(NAMES[0], len(DATA))
    assert hub.seen == []
