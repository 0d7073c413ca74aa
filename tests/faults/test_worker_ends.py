"""Workers that are killed, held, or give up: each end is told in words, and nothing waits on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from faults import PHASES, QUICK, SLOW, holding, linux_only, sabotage, strike
from talking import ask, demo_engine, demo_model, question

from localr1.chat.session import ChatSession
from localr1.chat.store import Store
from localr1.chat.types import AnswerDelta, Failed, ThinkingDelta
from localr1.engine import protocol
from localr1.engine.client import Engine, probe
from localr1.engine.process import WorkerProcess
from localr1.engine.watch import Limits
from localr1.errors import EngineDied, EngineMissing
from localr1.fit.types import Settings
from localr1.models.library import DEMO_PATH


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def oom_score(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/oom_score_adj").read_text(encoding="ascii"))


def stored(store: Store, session: ChatSession) -> str:
    assert session.conversation_id is not None
    reply = store.conversation(session.conversation_id).messages[1]
    return reply.thinking + reply.text


async def until_stored(store: Store, session: ChatSession, said: str) -> None:
    """Wait for words to be on the disk, though no more come after them; usually a second."""
    deadline = time.monotonic() + 10
    while stored(store, session) != said:
        assert time.monotonic() < deadline, "the last words are never stored"
        await asyncio.sleep(0.05)


async def test_a_kill_in_any_phase_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch, tmp_path / "code", SLOW)
    errors = await asyncio.gather(
        *(strike(phase, tmp_path / phase, psutil.Process.kill) for phase in PHASES)
    )
    for phase, error in zip(PHASES, errors, strict=True):
        assert isinstance(error, EngineDied), phase
        assert error.what.startswith("The engine stopped"), phase
        assert error.todo, phase
        if os.name != "nt":
            assert "killed" in error.what, phase
            assert str(tmp_path / phase) in error.why, phase


@holding
async def test_a_held_worker_is_noticed_and_ended_in_any_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, tmp_path / "code", SLOW)
    held: list[psutil.Process] = []

    def hold(process: psutil.Process) -> None:
        process.suspend()
        held.append(process)

    errors = await asyncio.gather(*(strike(phase, tmp_path / phase, hold) for phase in PHASES))
    for phase, error in zip(PHASES, errors, strict=True):
        assert isinstance(error, EngineDied), phase
        assert error.what == "The engine did not answer for 2 seconds.", phase
        assert str(tmp_path / phase) in error.why, phase
        assert "everything written so far is kept" in error.todo, phase
    assert len(held) == len(PHASES)
    assert all(gone(process) for process in held)


@holding
async def test_one_held_at_its_start_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, tmp_path / "code", "os.kill(os.getpid(), signal.SIGSTOP)")
    limits = Limits(start_seconds=1)
    with pytest.raises(EngineMissing) as caught:
        await WorkerProcess.start(tmp_path, limits)
    assert caught.value.what == "The engine did not start."
    assert "1 second" in caught.value.why
    assert "doctor" in caught.value.todo
    info = await probe(tmp_path, limits)
    assert "1 second" in info.problem
    assert not psutil.Process().children()


@holding
async def test_an_app_that_was_held_as_well_starts_counting_anew(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, limits=QUICK) as engine:
        worker = psutil.Process(engine.process_id)
        worker.suspend()
        # As with a laptop that sleeps, or Ctrl+Z: this loop stands still meanwhile.
        time.sleep(QUICK.silence_seconds * 1.5)  # noqa: ASYNC251
        worker.resume()
        assert await engine.count_tokens([[protocol.Segment("1 + 1")]])
        assert engine.alive


async def test_one_long_computation_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A call into C that takes longer than the limit, as a big batch or a slow disk does.
    sleep = (
        "ctypes.windll.kernel32.Sleep(3000)"
        if sys.platform == "win32"
        else "ctypes.CDLL(None).usleep(3000000)"
    )
    code = f"""
@on_import("llama_cpp.llama_cpp")
def stall(api):
    decode, calls = api.llama_decode, []
    def long_decode(context, batch):
        calls.append(batch.n_tokens)
        if len(calls) == 5:
            {sleep}
        return decode(context, batch)
    api.llama_decode = long_decode
"""
    sabotage(monkeypatch, tmp_path / "code", code)
    async with demo_engine(tmp_path, limits=QUICK) as engine:
        started, answer = time.monotonic(), ""
        async for event in engine.generate(question("What is 12 + 30?")):
            if isinstance(event, protocol.Text) and event.part == "answer":
                answer += event.text
        assert answer == "12 + 30 = 42"
        assert time.monotonic() - started > QUICK.silence_seconds


@holding
async def test_stop_works_on_an_engine_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, tmp_path / "code", SLOW)
    store = Store(tmp_path / "c.db")
    patient = Limits(silence_seconds=600, stop_seconds=1.2)
    async with demo_engine(tmp_path, limits=patient) as engine:
        session = ChatSession(engine, store, demo_model())
        said, failure = "", None
        async for event in session.send("What is 347 + 589?"):
            if isinstance(event, (ThinkingDelta, AnswerDelta)):
                said += event.text
                psutil.Process(engine.process_id).suspend()
                await until_stored(store, session, said)
                await session.stop()
            if isinstance(event, Failed):
                failure = event.error
        assert isinstance(failure, EngineDied)
        assert failure.what == "The engine did not stop when it was told to."
        assert not engine.alive
    assert said
    assert stored(store, session) == said
    monkeypatch.undo()
    async with demo_engine(tmp_path) as engine:
        session.replace_engine(engine)
        assert (await ask(session, "5 - 7")).answer == "5 - 7 = -2"
    store.close()


@holding
async def test_a_held_worker_can_be_closed_at_once(tmp_path: Path) -> None:
    engine = await Engine.start(
        DEMO_PATH, Settings(512, threads=1), log_directory=tmp_path, limits=QUICK
    )
    worker = psutil.Process(engine.process_id)
    worker.suspend()
    # More than a pipe holds: nobody takes it any more, and nobody may wait for that.
    counting = asyncio.create_task(engine.count_tokens([[protocol.Segment("1 + 1 " * 100_000)]]))
    await asyncio.sleep(0.1)
    await asyncio.wait_for(engine.close(), 20)
    assert gone(worker)
    with pytest.raises(EngineDied):
        await asyncio.wait_for(counting, 20)


async def test_an_assertion_of_llama_cpp_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One token more than a batch holds is an assertion in llama_decode, not an error code.
    code = """
@on_import("llama_cpp.llama_cpp")
def overfill(api):
    decode, calls = api.llama_decode, []
    def decode_too_much(context, batch):
        calls.append(batch.n_tokens)
        if len(calls) < 30 or batch.n_tokens > 1:
            return decode(context, batch)
        count = api.llama_n_batch(context) + 1
        tokens = (api.llama_token * count)(*[1] * count)
        return decode(context, api.llama_batch_get_one(tokens, count))
    api.llama_decode = decode_too_much
"""
    sabotage(monkeypatch, tmp_path / "code", code)
    error = await strike("thinking", tmp_path / "logs", lambda _process: None)
    assert isinstance(error, EngineDied)
    assert error.why.startswith("llama-context.cpp:")
    assert "GGML_ASSERT(" in error.why
    assert "n_batch" in error.why
    if os.name != "nt":
        assert "SIGABRT" in error.what


@linux_only
async def test_the_worker_is_the_first_victim_when_memory_runs_out(tmp_path: Path) -> None:
    worker = await WorkerProcess.start(tmp_path)
    try:
        assert oom_score(os.getpid()) < oom_score(worker.process_id) == 800
    finally:
        await worker.close()


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="this system has no such signals")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGBUS", "SIGTERM"])
async def test_every_signal_has_a_name(tmp_path: Path, name: str) -> None:
    worker = await WorkerProcess.start(tmp_path)
    _, inbox = worker.open()
    psutil.Process(worker.process_id).send_signal(getattr(signal, name))
    death = await asyncio.wait_for(inbox.get(), 30)
    await worker.close()
    assert isinstance(death, EngineDied)
    assert name in death.what
