"""Kernels are timed once, replies and benchmarks leave records, and both come back in estimates."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from talking import ask, demo_engine, demo_model

from localr1 import track_record, workflow
from localr1.chat.session import ChatSession
from localr1.chat.store import Store
from localr1.chat.types import ReplyStats
from localr1.cli import bench
from localr1.cli.ask import choose
from localr1.engine import kernel_cache, process, runs
from localr1.engine.bench import Bench
from localr1.errors import EngineMissing
from localr1.fit import calibration
from localr1.fit.calibration import Rates, Run
from localr1.machine.busy import clock, others_share
from localr1.machine.types import Machine
from localr1.track_record import Measured, Watch


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """This one, kernels timed."""
    folder = tmp_path_factory.mktemp("computer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALR1_HOME", str(folder))
        return asyncio.run(workflow.examine(workflow.open_home()))


def test_every_type_of_the_family_is_timed(computer: Machine) -> None:
    found = {kernel.kind: kernel for kernel in computer.engine.kernels}
    assert {"Q4_K", "Q6_K", "Q8_0", "attention F16"} <= set(found)
    for kernel in found.values():
        assert 1e6 < kernel.one < 1e13
        assert 1e6 < kernel.many < 1e15


async def test_timed_kernels_are_kept(
    computer: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, logs = tmp_path / "cache", tmp_path / "logs"
    monkeypatch.setattr(kernel_cache, "_MOST_TRIES", 1)
    bare = replace(computer, engine=replace(computer.engine, kernels=()))
    first = await kernel_cache.kernels(cache, logs, bare)
    assert first

    async def start(*_: object) -> None:
        raise AssertionError("timed a second time")

    monkeypatch.setattr(process.WorkerProcess, "start", start)
    assert await kernel_cache.kernels(cache, logs, bare) == first
    other = replace(bare, engine=replace(bare.engine, version="0.0.1"))
    with pytest.raises(AssertionError, match="second time"):
        await kernel_cache.kernels(cache, logs, other)
    broken = replace(bare, engine=replace(bare.engine, problem="does not start"))
    assert await kernel_cache.kernels(cache, logs, broken) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"KEY": 3}',
        '{"KEY": {"tries": 9}}',
        '{"KEY": {"tries": 9, "kernels": [{"kind": "Q4_K", "one": -1, "many": 2}]}}',
        '{"KEY": {"tries": 9, "kernels": [{"kind": "Q4_K"}]}}',
        '{"KEY": {"tries": 9, "kernels": [{"kind": "Q4_K", "one": NaN, "many": 2}]}}',
    ],
)
async def test_a_damaged_cache_is_none(
    computer: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    key = f"{runs.build_key(computer)}-{kernel_cache._FORMAT}"
    (tmp_path / kernel_cache.KERNELS_NAME).write_text(text.replace("KEY", key))
    asked = 0

    async def start(*_: object) -> None:
        nonlocal asked
        asked += 1
        raise EngineMissing("not now")

    monkeypatch.setattr(process.WorkerProcess, "start", start)
    for _ in range(kernel_cache._MOST_TRIES + 3):
        assert await kernel_cache.kernels(tmp_path, tmp_path, computer) == ()
    # What never works is not tried for ever.
    assert asked == kernel_cache._MOST_TRIES


async def test_a_reply_leaves_a_record(computer: Machine, tmp_path: Path) -> None:
    home = workflow.open_home()
    plan = workflow.plan_for(home, computer, choose(home, "demo"))
    async with demo_engine(tmp_path) as engine:
        loaded = replace(plan, settings=engine.settings)
        watch = Watch(home.directories, loaded, computer)
        session = ChatSession(engine, None, demo_model(), look_ahead=False)
        heard = await ask(session, "What is 4086 + 3579?")
        assert heard.stats is not None
        made = watch.record(Measured.reply(heard.stats))
    assert made is not None
    assert runs.read(home.directories.cache) == (made,)
    assert (made.source, made.devices, made.model) == ("chat", "CPU", "demo")
    assert made.generation is not None
    assert made.generation.measured_tps == heard.stats.generation_tps
    assert made.generation.plain_tps == made.generation.said_tps > 0
    assert made.prompt is None  # too short to say anything


def test_what_says_nothing_leaves_no_record(computer: Machine) -> None:
    home = workflow.open_home()
    watch = Watch(
        home.directories, workflow.plan_for(home, computer, choose(home, "demo")), computer
    )
    whole = ReplyStats(
        finish_reason="stop",
        prompt_tokens=20,
        thinking_tokens=80,
        answer_tokens=20,
        prompt_tps=100.0,
        generation_tps=50.0,
        context_used=119,
    )
    assert Measured.reply(whole) is not None
    # Of an answer that filled the window, the figures are of several requests.
    assert Measured.reply(replace(whole, context_used=60)) is None
    guessed = Measured.reply(replace(whole, drafted_tokens=40))
    short = Measured.reply(replace(whole, thinking_tokens=0, context_used=39))
    for nothing in (None, guessed, short):
        assert watch.record(nothing) is None
    assert runs.read(home.directories.cache) == ()


async def test_records_come_back_in_the_next_estimate(computer: Machine) -> None:
    home = workflow.open_home()
    local = choose(home, "demo")
    plain = workflow.plan_for(home, replace(computer, corrections=()), local)
    measured = Measured("bench", 300, 5000.0, 0, 100, plain.generation_tps.expected / 2, 700)
    # As often as it takes to be believed; the depth is another one, so about half.
    for _ in range(8):
        run = track_record.run_of(plain, replace(computer, corrections=()), measured)
        runs.add(home.directories.cache, run)
    again = await track_record.with_experience(
        replace(home.directories, cache=home.directories.cache), computer
    )
    assert again.corrections
    corrected = workflow.plan_for(home, again, local)
    ratio = corrected.generation_tps.expected / plain.generation_tps.expected
    assert 0.3 < ratio < 0.75
    assert corrected.time_to_answer.typical.expected > plain.time_to_answer.typical.expected
    line = track_record.record_line(home.directories, again)
    assert line.startswith("Last 8 runs here: median error ")


def test_a_benchmark_leaves_a_record_and_tells_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Bench.__init__, "__kwdefaults__", {"limit_seconds": 1.0})
    monkeypatch.setattr(bench, "used_share", lambda: 0.01)
    assert bench.run(argparse.Namespace(model="demo", json=False)) == 0
    assert "The last run here: error " in capsys.readouterr().out
    (found,) = runs.read(workflow.open_home().directories.cache)
    assert found.source == "bench"
    assert found.telling
    assert found.prompt is not None
    assert found.generation is not None


def test_a_users_replies_say_how_long_a_model_thinks(computer: Machine) -> None:
    home = workflow.open_home()
    local = choose(home, "demo")
    before = workflow.plan_for(home, computer, local)
    assert before.time_to_answer.assumed
    store = Store(home.directories.database)
    conversation = store.create("What is 1 + 1?", "demo")
    parent = None
    finished = ReplyStats(finish_reason="stop", thinking_tokens=500, model_id="demo")
    for stats in (
        *[finished] * 5,
        # What a user or the window ended says nothing, nor does another model.
        replace(finished, finish_reason="length", thinking_tokens=9000),
        replace(finished, finish_reason="cancelled", thinking_tokens=9000),
        replace(finished, forced_tokens=12, thinking_tokens=9000),
        replace(finished, thinking_tokens=0),
        replace(finished, model_id="r1-distill-qwen-7b", thinking_tokens=9000),
    ):
        _, reply = store.add_exchange(conversation, parent, "What is 1 + 1?")
        store.update(reply.id, "2", "one and one", stats)
        parent = reply.id
    assert store.thinking_counts() == {"demo": (500,) * 5, "r1-distill-qwen-7b": (9000,)}
    store.close()
    after = workflow.plan_for(home, computer, local)
    assert after.model.thinking_tokens.typical == 500
    assert not after.time_to_answer.assumed
    assert after.time_to_answer.typical.expected > before.time_to_answer.typical.expected
    advice = workflow.advise(home, computer)
    demo = next(plan for plan in advice.plans if plan.model.demo)
    assert demo.model.thinking_tokens.source == "your last 5 replies"


def test_how_much_others_use(computer: Machine) -> None:
    before = clock()
    sum(range(200_000))
    assert 0 <= others_share(before, clock()) <= 1
    assert others_share(before, before) == 0
    run = Run(
        *("here", "CPU", "F16", "demo", "F16", "chat", 0.0, 100, 100),
        prompt=None,
        generation=Rates(10.0, 10.0, 10.0),
        busy_share=0.9,
    )
    assert not run.telling
    assert calibration.corrections([run], "here", on_battery=False) == ()
    assert computer.cpu.performance_cores >= 1
