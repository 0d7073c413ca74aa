"""Workers that say what they should not, too much, or too fast; and workers that do not listen."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil
import pytest
from faults import LONG_QUESTION, QUICK, sabotage
from talking import demo_engine, question

from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.engine.process import WorkerProcess
from localr1.errors import EngineDied, EngineMissing


async def answer_of(engine: Engine, text: str) -> str:
    said = ""
    async for event in engine.generate(question(text)):
        if isinstance(event, protocol.Text) and event.part == "answer":
            said += event.text
    return said


# What the worker's real stdout was, before the worker moved it; and what comes out there.
_JUNK = """
pipe = os.dup(1)
os.write(1, b"Welcome to Python! ")

def chatter(every_seconds, *pieces):
    def run():
        while True:
            for piece in pieces:
                os.write(pipe, piece)
                time.sleep(every_seconds)
    threading.Thread(target=run, daemon=True).start()
"""
_NOISE = {
    "bytes without a line break": "chatter(0.001, bytes(b for b in range(256) if b != 10))",
    "lines": r'chatter(0.001, b"hello\n", b"\n\n\n", b"\xff\xfe\n", b"null\n[]\n{}\n")',
    "deep nesting": r"""chatter(0.05, b'{"message":"Text","text":' + b"[" * 100_000 + b"\n")""",
    "almost messages": r"""chatter(0.001, *(line + b"\n" for line in (
        b'{"message":"Nope","request_id":2}',
        b'{"message":"Text","request_id":2}',
        b'{"message":"Text","request_id":[2],"part":"answer","text":"!","tokens":1,"seconds":0}',
        b'{"message":"Generated"',
        b'{"message":"Ready","protocol_version":2,"request_id":0,"more":1}')))""",
    "messages for nobody": r"""chatter(0.001, *(line + b"\n" for line in (
        b'{"message":"Text","request_id":99,"part":"answer","text":"!","tokens":1,"seconds":0}',
        b'{"message":"Failure","request_id":98,"kind":"engine","what":"no"}',
        b'{"message":"Shutdown","request_id":0}',
        b'{"message":"Alive","request_id":-1}')))""",
}


@pytest.mark.parametrize("noise", _NOISE.values(), ids=_NOISE)
async def test_noise_on_the_pipe_changes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: str
) -> None:
    sabotage(monkeypatch, tmp_path / "code", _JUNK + noise)
    async with demo_engine(tmp_path) as engine:
        assert await answer_of(engine, "What is 347 + 589?") == "347 + 589 = 936"
        assert await answer_of(engine, "5 - 7") == "5 - 7 = -2"


async def test_a_line_of_a_hundred_megabytes_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = _JUNK + "chatter(3600, b'x' * 100_000_000)"
    sabotage(monkeypatch, tmp_path / "code", code)
    before = psutil.Process().memory_info().rss
    async with demo_engine(tmp_path) as engine:
        for _ in range(3):
            assert await answer_of(engine, "What is 347 + 589?") == "347 + 589 = 936"
        assert psutil.Process().memory_info().rss - before < 30_000_000


async def test_what_native_code_prints_goes_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
@on_import("llama_cpp.llama_cpp")
def talk(api):
    decode = api.llama_decode
    def loud_decode(context, batch):
        print("python says")
        os.write(1, b"native says {")
        return decode(context, batch)
    api.llama_decode = loud_decode
"""
    sabotage(monkeypatch, tmp_path / "code", code)
    async with demo_engine(tmp_path / "logs") as engine:
        assert await answer_of(engine, "What is 347 + 589?") == "347 + 589 = 936"
    (log,) = (tmp_path / "logs").iterdir()
    text = log.read_text(encoding="utf-8", errors="replace")
    assert text.count("native says {") > 100
    assert "python says" in text


async def test_a_worker_of_another_release_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
@on_import("localr1.engine.protocol")
def change(protocol):
    protocol.PROTOCOL_VERSION = 1
"""
    sabotage(monkeypatch, tmp_path / "code", code)
    with pytest.raises(EngineMissing) as caught:
        await WorkerProcess.start(tmp_path)
    assert "another release" in caught.value.what
    assert "version 1" in caught.value.why
    assert f"version {protocol.PROTOCOL_VERSION}" in caught.value.why
    assert "install it again" in caught.value.todo


async def test_a_full_pipe_holds_the_worker_up_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo_engine(tmp_path) as engine:
        plain = await replied(engine)
    # Every token an event, through the smallest pipe that there is.
    code = """
try:
    import fcntl
    fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 4096)
except (ImportError, AttributeError):
    pass

@on_import("localr1.engine.generation")
def hurry(generation):
    generation._DELTA_SECONDS = 0.0
"""
    sabotage(monkeypatch, tmp_path / "code", code)
    async with demo_engine(tmp_path, limits=QUICK) as engine:
        assert await replied(engine, pause_seconds=1.0) == plain


async def replied(engine: Engine, pause_seconds: float = 0.0) -> tuple[str, int]:
    """A long reply and its length; nobody reads for a while at its beginning."""
    said, end = "", None
    asked = question("Write", temperature=5.0, top_k=500, top_p=1.0, max_tokens=600)
    async for event in engine.generate(asked):
        if isinstance(event, protocol.Text):
            if not said:
                time.sleep(pause_seconds)  # noqa: ASYNC251 - the whole app stands still
                await asyncio.sleep(pause_seconds)  # and then only the one who asked
            said += event.text
        if isinstance(event, protocol.Generated):
            end = event
    assert end is not None
    return said, end.thinking_tokens + end.answer_tokens


async def test_a_worker_that_does_not_listen_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own threads go on, signs of life and all, but after the load it reads no request.
    code = """
@on_import("localr1.engine.mailbox")
def deafen(mailbox):
    decode = mailbox.codec.decode
    def decode_and_stop(line):
        message = decode(line)
        if type(message).__name__ == "CountTokens":
            time.sleep(3600)
        return message
    mailbox.codec.decode = decode_and_stop
"""
    sabotage(monkeypatch, tmp_path / "code", code)
    async with demo_engine(tmp_path, limits=QUICK) as engine:
        longest_pause = 0.0

        async def watch_the_loop() -> None:
            nonlocal longest_pause
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest_pause = max(longest_pause, time.monotonic() - before)

        pulse = asyncio.create_task(watch_the_loop())
        # Twice: the first fills the pipe, the second must not wait for it either.
        large = [protocol.Segment(LONG_QUESTION * 1000)]
        errors = await asyncio.wait_for(
            asyncio.gather(
                engine.count_tokens([large]),
                engine.count_tokens([large]),
                replied(engine),
                return_exceptions=True,
            ),
            60,
        )
        pulse.cancel()
        for error in errors:
            assert isinstance(error, EngineDied)
            assert error.what == "The engine took no message for 2 seconds."
        assert longest_pause < QUICK.silence_seconds
        assert not engine.alive
