"""Loads that do not go as planned: memory gone, refused, crashed; real workers throughout."""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import frail_worker
import pytest
import synthetic
from commands import begun, localr1
from fit_machines import machine
from talking import demo_model

from localr1 import workflow
from localr1.engine import experience
from localr1.engine.client import Engine
from localr1.errors import EngineDied, LoadFailed, NothingFits
from localr1.fit import ladder
from localr1.fit.ladder import SMALLEST_CONTEXT
from localr1.fit.types import Asked, Plan
from localr1.gguf.types import Architecture
from localr1.machine.host import Host
from localr1.models.library import DEMO_PATH
from localr1.models.types import LocalModel

MIB, GIB = 1 << 20, 1 << 30
WINDOW = 32768
ROOM = 230 * MIB
"""For half of that, and the compute buffer."""
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose KV cache takes 8 KiB a token: 256 MiB for `WINDOW`."""
    path = tmp_path_factory.mktemp("models") / "wide.gguf"
    synthetic.write_tiny(
        path,
        layers=8,
        embedding_length=256,
        head_count=4,
        head_count_kv=4,
        feed_forward_length=512,
        context_length=WINDOW,
        vocabulary_size=600,
    )
    return path


class Walk:
    """One user's home, and what is told while a model is loaded."""

    def __init__(self, path: Path) -> None:
        self.home = workflow.open_home(offline=True)
        local = self.home.library.find(self.home.catalogue.resolve(str(path)))
        assert local is not None
        self.local: LocalModel = local
        self.plan: Plan = workflow.plan_for(self.home, machine(15.5, 11), local, Asked(WINDOW))
        self.told: list[str] = []

    async def start(self) -> Engine:
        self.told.clear()
        return await workflow.start_engine(
            self.home, self.local, self.plan, on_step=self.told.append
        )

    async def window(self) -> int:
        """Start, check that it runs, close; the context window that it came to."""
        engine = await self.start()
        try:
            assert await engine.count_tokens([]) == ()
            return engine.context_window
        finally:
            await engine.close()

    @property
    def remembered(self) -> Path:
        return self.home.directories.cache / experience.LOADS_NAME


@pytest.fixture
def walk(wide: Path) -> Walk:
    return Walk(wide)


def frail(monkeypatch: pytest.MonkeyPatch, parent: Path, **how: object) -> None:
    for name, value in frail_worker.environment(parent, **how).items():  # type: ignore[arg-type]
        monkeypatch.setenv(name, value)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    # Below the memory of any computer that runs the tests, whose own limits count as well.
    monkeypatch.setattr(Host, "virtual_memory", lambda _host: (2 * GIB, free_bytes))


async def test_what_fits_is_loaded_as_planned_and_nothing_is_said(walk: Walk) -> None:
    assert await walk.window() == WINDOW
    assert walk.told == []
    assert not walk.remembered.exists()


@linux
async def test_a_plan_that_does_not_load_steps_down_and_is_remembered(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frail(monkeypatch, tmp_path, memory_bytes=ROOM)
    assert await walk.window() == WINDOW // 2
    assert walk.told == [
        "It did not load, memory was short. Trying again: prompts are read 256 tokens at a time"
        " instead of 512.",
        "It did not load, memory was short. Trying again: the context window goes from 32,768 to"
        " 16,384 tokens.",
    ]
    # The next time begins there.
    assert await walk.window() == WINDOW // 2
    assert len(walk.told) == 1
    assert walk.told[0].startswith("As last time, when more did not load: ")
    assert "from 32,768 to 16,384 tokens" in walk.told[0]

    # Much more is free than then: the full plan gets another chance, and is kept when it works.
    (key,) = (entries := json.loads(walk.remembered.read_text()))
    entries[key]["free_bytes"]["CPU"] //= 2
    walk.remembered.write_text(json.dumps(entries))
    monkeypatch.setenv("FRAIL_MEMORY_BYTES", "0")
    assert await walk.window() == WINDOW
    assert walk.told == []
    assert json.loads(walk.remembered.read_text()) == {}


@linux
async def test_what_is_remembered_may_be_damaged_or_of_another_day(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frail(monkeypatch, tmp_path, memory_bytes=ROOM)
    assert await walk.window() == WINDOW // 2
    sound = json.loads(walk.remembered.read_text())
    (key,) = sound
    monkeypatch.setenv("FRAIL_MEMORY_BYTES", "0")
    for damage in (
        json.dumps(sound)[:-9],
        json.dumps({key: {**sound[key], "at_seconds": time.time() - 30 * 86400}}),
    ):
        walk.remembered.write_text(damage)
        assert await walk.window() == WINDOW
        assert walk.told == []


@linux
async def test_the_foot_of_the_ladder_is_a_clear_error(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frail(monkeypatch, tmp_path, context_window=1, signal_name="SIGKILL")
    with pytest.raises(LoadFailed) as caught:
        await walk.window()
    assert len(walk.told) == len(ladder.rungs(walk.plan.settings, walk.local.model)) > 3
    assert "SIGKILL" in caught.value.why
    assert "Close other programs" in caught.value.todo
    assert not walk.remembered.exists()


@linux
@pytest.mark.parametrize("name", ["SIGABRT", "SIGKILL"])
async def test_a_crash_while_loading_is_tried_again_in_a_fresh_worker(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    frail(monkeypatch, tmp_path, context_window=WINDOW // 2, signal_name=name)
    assert await walk.window() == WINDOW // 2
    assert len(walk.told) == 2
    word = "crashed" if name == "SIGABRT" else "memory was short"
    assert all(word in told for told in walk.told)


@linux
async def test_a_file_that_always_crashes_does_not_walk_the_whole_ladder(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frail(monkeypatch, tmp_path, context_window=1, signal_name="SIGSEGV")
    with pytest.raises(EngineDied, match="SIGSEGV"):
        await walk.window()
    assert len(walk.told) == 2


def with_a_wrong_estimate(walk: Walk) -> None:
    """A plan that thinks the KV cache a quarter as large as it is: 64 MiB instead of 256."""
    plan, (cpu,) = walk.plan, walk.plan.devices
    shape = replace(plan.model.architecture, head_count_kv=1)
    less = replace(cpu, kv_cache_bytes=cpu.kv_cache_bytes // 4)
    walk.plan = replace(plan, model=replace(plan.model, architecture=shape), devices=(less,))


async def test_what_llama_cpp_reckons_otherwise_is_told(walk: Walk) -> None:
    with_a_wrong_estimate(walk)
    assert await walk.window() == WINDOW
    (told,) = walk.told
    assert told.startswith("llama.cpp needs 0.3 GiB of main memory, not 0.1 GiB as planned")
    assert not walk.remembered.exists()


async def test_what_llama_cpp_reckons_and_is_not_there_is_not_loaded(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_wrong_estimate(walk)
    # Enough for the plan, headroom included, and not for what is true.
    (cpu,) = walk.plan.devices
    short_of_memory(monkeypatch, 2 * cpu.total_bytes + 4 * MIB)
    window = await walk.window()
    assert SMALLEST_CONTEXT <= window < WINDOW
    assert walk.told[0].startswith("llama.cpp needs 0.3 GiB of main memory, not 0.1 GiB as")
    assert "Trying again: " in walk.told[0]
    assert walk.remembered.exists()


async def test_a_damaged_file_is_refused_at_once(tmp_path: Path) -> None:
    walk = Walk(DEMO_PATH)
    cut = tmp_path / "cut.gguf"
    data = DEMO_PATH.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    walk.local = LocalModel(demo_model(), walk.local.variant, cut, cut.stat().st_size)
    with pytest.raises(LoadFailed):
        await walk.window()
    assert walk.told == []


async def test_memory_is_looked_at_just_before_the_load(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Planned with 11 GiB free; now there is less.
    short_of_memory(monkeypatch, 500 * MIB)
    window = await walk.window()
    assert 4096 <= window < WINDOW
    assert walk.told[0] == (
        "Only 0.5 GiB of memory are free now: prompts are read 256 tokens at a time instead of 512."
    )
    assert walk.told[1] == "The context window goes from 32,768 to 16,384 tokens."
    # Nothing failed, so nothing is remembered: with the memory back all is as planned.
    monkeypatch.undo()
    assert not walk.remembered.exists()


async def test_what_is_sure_to_swap_is_not_begun(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, 16 * MIB)
    monkeypatch.setattr(Engine, "start", None)
    with pytest.raises(NothingFits) as caught:
        await walk.start()
    assert "16 MiB are free" in caught.value.why
    assert "Close other programs" in caught.value.todo


@linux
def test_ask_tells_each_step(wide: Path, tmp_path: Path) -> None:
    environment = frail_worker.environment(tmp_path, memory_bytes=ROOM)
    command = ["ask", "hi", "--model", str(wide), "--context", str(WINDOW), "--max-tokens", "3"]
    done = localr1(*command, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "localr1: It did not load, memory was short. Trying again: " in done.stderr
    assert "32,768 to 16,384 tokens" in done.stderr


@linux
def test_ctrl_c_ends_a_long_load(tmp_path: Path) -> None:
    """A file of 2 GiB, none of it on the disk, that llama.cpp copies while it loads."""
    architecture = Architecture(
        name="qwen2",
        layers=24,
        embedding_length=2048,
        feed_forward_length=22016,
        head_count=16,
        head_count_kv=4,
        key_length=128,
        value_length=128,
        vocabulary_size=600,
        context_length=4096,
        parameters=0,
    )
    path = tmp_path / "big.gguf"
    size = synthetic.write_header_only(path, architecture, "Q4_0", full_vocabulary=True)
    assert size > 1.5 * GIB
    process = begun("ask", "hi", "--model", str(path))
    time.sleep(2)
    assert process.poll() is None
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    took = time.monotonic() - sent
    assert process.returncode == 130, errors
    assert took < 10
