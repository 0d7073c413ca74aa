"""The app is killed: its worker goes with it, and the conversation is on the disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import pytest
from faults import SLOW, linux_only, sabotage
from talking import question

from localr1.chat.store import Store
from localr1.engine import codec, protocol
from localr1.models.library import DEMO_PATH

# Two seconds are the promise. Where the kernel ends the worker it takes some milliseconds;
# elsewhere the end of stdin does, in up to 1.5 seconds on an idle machine.
GONE_SECONDS: Final = 2.0 if sys.platform == "linux" else 15.0

# An app as far as its engine sees: prints the worker's number when it has come to a phase.
_APP = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from faults import LONG_QUESTION, phase_of, worker_of
from talking import question
from localr1.engine.client import Engine
from localr1.fit.types import Settings
from localr1.models.library import DEMO_PATH

logs, wanted = Path(sys.argv[2]), sys.argv[3]

def tell():
    print(worker_of(logs).pid, flush=True)

async def main():
    engine = await Engine.start(
        DEMO_PATH, Settings(2048, threads=1), log_directory=logs,
        on_progress=(lambda share: tell()) if wanted == "load" else None,
    )
    if wanted == "idle":
        tell()
        await asyncio.sleep(60)
    async for event in engine.generate(question(LONG_QUESTION)):
        if phase_of(event) == wanted:
            tell()

asyncio.run(main())
"""

# The same with a conversation: says each second how much of the reply was shown by then.
_TALK = """
import asyncio, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from talking import GREEDY, demo_engine, demo_model
from localr1.chat.session import ChatSession
from localr1.chat.store import Store
from localr1.chat.types import AnswerDelta, ThinkingDelta

async def main():
    folder = Path(sys.argv[2])
    async with demo_engine(folder) as engine:
        session = ChatSession(engine, Store(folder / "c.db"), demo_model())
        shown = ""
        async for event in session.send("What is 3471 + 5892?", GREEDY):
            if isinstance(event, (ThinkingDelta, AnswerDelta)):
                shown += event.text
                print(time.monotonic(), repr(shown), flush=True)

asyncio.run(main())
"""


def app(code: str, *arguments: object) -> subprocess.Popen[str]:
    support = Path(__file__).resolve().parents[1] / "support"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(support), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


async def wait_until_gone(worker: psutil.Process) -> float:
    """How many seconds it took."""
    started = time.monotonic()
    with suppress(psutil.NoSuchProcess):
        # Nobody may have waited for an orphan's end yet: a zombie is as good as gone.
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() - started > GONE_SECONDS:
                worker.kill()
                raise AssertionError("the worker outlives its parent")
            await asyncio.sleep(0.01)
    return time.monotonic() - started


async def kill_in(phase: str, logs: Path, *, held: bool = False) -> None:
    parent = app(_APP, logs, phase)
    assert parent.stdout is not None
    with parent.stdout:
        worker = psutil.Process(int(await asyncio.to_thread(parent.stdout.readline)))
        if held:
            worker.suspend()
        parent.kill()
        parent.wait()
    await wait_until_gone(worker)


async def test_the_worker_goes_with_a_killed_app_whatever_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, tmp_path / "code", SLOW)
    phases = ("idle", "load", "prompt", "thinking")
    await asyncio.gather(*(kill_in(phase, tmp_path / phase) for phase in phases))


@linux_only
async def test_even_a_held_worker_goes_with_a_killed_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, tmp_path / "code", SLOW)
    await kill_in("thinking", tmp_path / "logs", held=True)


@pytest.mark.parametrize("stuck", [False, True], ids=["computing", "stuck in native code"])
async def test_the_end_of_stdin_alone_ends_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    # As on systems whose kernel does not end orphans: this test stays its parent.
    code = """
@on_import("llama_cpp.llama_cpp")
def stall(api):
    decode, calls = api.llama_decode, []
    def long_decode(context, batch):
        calls.append(batch.n_tokens)
        if len(calls) > 10 and batch.n_tokens == 1:
            print("stuck", file=sys.stderr, flush=True)
            time.sleep(3600)
        return decode(context, batch)
    api.llama_decode = long_decode
"""
    sabotage(monkeypatch, tmp_path / "code", code if stuck else SLOW)
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "localr1.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stderr is not None
    with worker.stdin, worker.stdout, worker.stderr:
        load = protocol.Load(1, str(DEMO_PATH), 2048, "f16", 0, 0, (), (), True, 512, 1)
        worker.stdin.write(codec.encode(load))
        worker.stdin.write(codec.encode(question("What is 3471 + 5892?", request_id=2)))
        worker.stdin.flush()
        events = (codec.decode(line) for line in worker.stdout)
        assert any(isinstance(event, protocol.Text) for event in events)
        if stuck:
            assert any(line == b"stuck\n" for line in worker.stderr)
        worker.stdin.close()
        assert await asyncio.to_thread(worker.wait, 15) == 0
        ended = [event for event in events if isinstance(event, protocol.Generated)]
        assert len(ended) == (0 if stuck else 1)


async def test_a_killed_app_has_all_but_the_last_second_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, tmp_path / "code", SLOW)
    parent = app(_TALK, tmp_path)
    assert parent.stdout is not None
    shown: list[tuple[float, str]] = []
    with parent.stdout:
        while not shown or shown[-1][0] - shown[0][0] < 2.2:
            at, text = (await asyncio.to_thread(parent.stdout.readline)).split(" ", 1)
            shown.append((float(at), text))
        parent.kill()
        parent.wait()
        for line in parent.stdout:
            at, text = line.split(" ", 1)
            shown.append((float(at), text))
    store = Store(tmp_path / "c.db")
    try:
        (summary,) = store.summaries()
        asked, reply = store.conversation(summary.id).messages
    finally:
        store.close()
    assert asked.text == "What is 3471 + 5892?"
    kept = reply.thinking + reply.text
    # A second, and as much as a busy disk may take for the writing itself.
    by_then = [text for at, text in shown if at <= shown[-1][0] - 1.5]
    assert len(by_then) > 3
    assert kept.startswith(eval(by_then[-1]))
    assert eval(shown[-1][1]).startswith(kept)
