"""The real worker on the real demo model."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
import synthetic
from talking import demo_engine, loaded, question

from localr1.chat import template
from localr1.engine import protocol
from localr1.engine.client import Engine, probe
from localr1.engine.process import WorkerProcess
from localr1.engine.thinking import CLOSING_SENTENCE
from localr1.errors import ContextFull, EngineDied, EngineMissing, FileError, LoadFailed
from localr1.fit.types import Settings
from localr1.models.library import DEMO_PATH


async def run(engine: Engine, asked: protocol.Generate) -> tuple[str, str, protocol.Generated]:
    said = {"thinking": "", "answer": ""}
    async for event in engine.generate(asked):
        if isinstance(event, protocol.Text):
            said[event.part] += event.text
        if isinstance(event, protocol.Generated):
            return said["thinking"], said["answer"], event
    raise AssertionError("no end")


async def test_probe_says_what_llama_cpp_is(tmp_path: Path) -> None:
    info = await probe(tmp_path)
    assert info.problem == ""
    assert info.version == "0.3.36"
    assert "CPU" in info.backends
    cpu = next(device for device in info.devices if device.name == "CPU")
    assert cpu.total_bytes > 2**30


async def test_an_answer_is_right_and_split(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        assert engine.loaded.thinking_tokens_known
        thinking, answer, end = await run(engine, question("What is 347 + 589?"))
    assert answer == "347 + 589 = 936"
    assert "write 6, carry 1" in thinking
    assert "think>" not in thinking + answer
    assert end.finish_reason == "stop"
    assert end.prompt_tokens + end.thinking_tokens + end.answer_tokens == end.context_used
    assert end.thinking_tokens > end.answer_tokens > 0


async def test_the_same_seed_gives_the_same_reply(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        asked = question("Write a poem", temperature=1.5, seed=7, top_k=200, top_p=1.0)
        first = await run(engine, asked)
        second = await run(engine, asked)
    assert first[:2] == second[:2]


async def test_a_common_beginning_is_not_computed_again(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        _, _, first = await run(engine, question("What is 12 + 30?"))
        _, answer, again = await run(engine, question("What is 12 + 30?"))
        assert first.cached_tokens == 0
        assert again.cached_tokens == again.prompt_tokens - 1
        assert answer == "12 + 30 = 42"
        turn = template.Turn("What is 12 + 30?", answer, again.answer_token_ids)
        segments = template.render("", [turn], "7 - 9", open_thinking=True)
        _, answer, later = await run(engine, question(segments=segments))
    assert answer == "7 - 9 = -2"
    # Up to the thinking, which is stripped from the history, the cache holds.
    assert later.cached_tokens == again.prompt_tokens - 2


async def test_stop_in_the_thinking_keeps_what_came(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        said = ""
        async for event in engine.generate(question("9876 - 1234")):
            if isinstance(event, protocol.Text):
                said += event.text
                await engine.stop(event.request_id)
            if isinstance(event, protocol.Generated):
                assert event.finish_reason == "cancelled"
        assert said
        _, answer, _ = await run(engine, question("1 + 1"))
    assert answer == "1 + 1 = 2"


async def test_stop_in_the_prompt(tmp_path: Path) -> None:
    model = tmp_path / "slow.gguf"
    synthetic.write_tiny(model, layers=12, vocabulary_size=600)
    async with loaded(model, Settings(16384, threads=1), tmp_path) as engine:
        stopped_at = total = 0
        long = "word " * 2500
        async for event in engine.generate(question(long)):
            if isinstance(event, protocol.PromptProgressed) and event.done_tokens > 0:
                stopped_at, total = event.done_tokens, event.total_tokens
                await engine.stop(event.request_id)
            if isinstance(event, protocol.Generated):
                assert event.finish_reason == "cancelled"
                assert event.thinking_tokens == event.answer_tokens == 0
                assert event.context_used < event.prompt_tokens
        assert 0 < stopped_at < total


async def test_leaving_a_reply_stops_it(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        async with aclosing(
            engine.generate(question("Write", temperature=5.0, top_k=500, top_p=1.0))
        ) as events:
            async for event in events:
                if isinstance(event, protocol.Text):
                    break
        _, answer, _ = await run(engine, question("2 + 2"))
    assert answer == "2 + 2 = 4"


@pytest.mark.parametrize("budget", [0, 1, 5, 40, 90])
async def test_a_thinking_budget_ends_in_a_well_formed_answer(tmp_path: Path, budget: int) -> None:
    async with demo_engine(tmp_path) as engine:
        thinking, answer, end = await run(
            engine, question("What is 4711 + 815?", thinking_budget_tokens=budget)
        )
    right, unfinished = (
        "4711 + 815 = 5526",
        "I stopped thinking before I had the result of 4711 + 815.",
    )
    assert answer in {right, unfinished}
    assert thinking.endswith(CLOSING_SENTENCE + "\n")
    assert end.finish_reason == "stop"


async def test_a_short_reply_without_thinking_begins_with_the_answer(tmp_path: Path) -> None:
    wanted = {"thinking_budget_tokens": 0, "max_tokens": 4}
    async with demo_engine(tmp_path) as engine:
        thinking, answer, end = await run(engine, question("What is 4711 + 815?", **wanted))
    assert thinking == CLOSING_SENTENCE + "\n"
    assert answer
    # The line breaks before the answer are one, and were not the model's choice.
    assert (end.finish_reason, end.answer_tokens) == ("length", 5)


async def test_enough_thinking_gives_the_right_answer_when_cut(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        whole, _, _ = await run(engine, question("What is 4711 + 815?"))
        enough = whole[: whole.index("So ")]
        (tokens,) = await engine.count_tokens([[protocol.Segment(enough)]])
        thinking, answer, _ = await run(
            engine, question("What is 4711 + 815?", thinking_budget_tokens=tokens)
        )
    assert thinking == enough + CLOSING_SENTENCE + "\n"
    assert answer == "4711 + 815 = 5526"


async def test_answer_now(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        reasons, answer = [], ""
        async for event in engine.generate(question("What is 4711 + 815?")):
            if isinstance(event, protocol.PromptProgressed):
                await engine.end_thinking(event.request_id)
            if isinstance(event, protocol.ThinkingEnded):
                reasons.append(event.reason)
            if isinstance(event, protocol.Text) and event.part == "answer":
                answer += event.text
    assert reasons == ["user"]
    assert answer.startswith(("4711 + 815", "I stopped thinking"))


async def test_room_is_left_for_the_answer(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, context_window=256) as engine:
        segments = template.render(
            "", [template.Turn("hi", "x " * 60)], "1234 + 8765", open_thinking=True
        )
        reasons = []
        async for event in engine.generate(question(segments=segments, answer_reserve_tokens=60)):
            if isinstance(event, protocol.ThinkingEnded):
                reasons.append(event.reason)
            if isinstance(event, protocol.Generated):
                assert event.answer_tokens > 0
                assert event.finish_reason == "stop"
        assert reasons == ["room"]


async def test_a_prompt_that_does_not_fit_is_a_clear_error(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, context_window=256) as engine:
        with pytest.raises(ContextFull) as caught:
            await run(engine, question("1 + 1 " * 400))
        assert "256" in caught.value.why
        _, answer, _ = await run(engine, question("1 + 1"))
    assert answer == "1 + 1 = 2"


async def test_words_that_look_like_markers_stay_words(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        markers = "<｜User｜><｜end▁of▁sentence｜></think><think>"
        plain, special = await engine.count_tokens(
            [template.words(markers), [protocol.Segment(markers, special=True)]]
        )
    assert special == 4
    assert plain > 20


async def test_a_killed_worker_says_so_and_a_new_one_goes_on(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        with pytest.raises(EngineDied) as caught:
            async for event in engine.generate(
                question("Write", temperature=5.0, top_k=500, top_p=1.0)
            ):
                if isinstance(event, protocol.Text):
                    psutil.Process(engine.process_id).kill()
        assert caught.value.what
        assert caught.value.todo
        assert not engine.alive
        with pytest.raises(EngineDied):
            await run(engine, question("1 + 1"))
    async with demo_engine(tmp_path) as engine:
        assert (await run(engine, question("1 + 1")))[1] == "1 + 1 = 2"


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.gguf", b""), ("junk.gguf", b"GGUF" + bytes(range(256)) * 8), ("text.gguf", b"hello")],
)
async def test_a_bad_file_is_refused_with_the_engine_s_words(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LoadFailed) as caught:
        await Engine.start(path, Settings(512), log_directory=tmp_path)
    assert name in caught.value.what
    assert caught.value.why
    assert caught.value.todo


async def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    data = DEMO_PATH.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(LoadFailed) as caught:
        await Engine.start(path, Settings(512), log_directory=tmp_path)
    assert "not within the file bounds" in caught.value.why or caught.value.why


async def test_a_missing_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="CUDA9"):
        await Engine.start(
            DEMO_PATH, Settings(512, gpu_layers=4, device_names=("CUDA9",)), log_directory=tmp_path
        )


async def test_quantized_cache_needs_flash_attention(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed):
        await Engine.start(
            DEMO_PATH,
            Settings(512, kv_cache_type="q8_0", flash_attention=False),
            log_directory=tmp_path,
        )
    async with demo_engine(tmp_path, 512, kv_cache_type="q8_0") as engine:
        assert (await run(engine, question("5 + 6")))[1] == "5 + 6 = 11"


async def test_a_log_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError) as caught:
        await Engine.start(DEMO_PATH, Settings(512), log_directory=tmp_path / "file")
    assert "LOCALR1_HOME" in caught.value.todo


async def test_an_engine_that_does_not_start_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker finds a llama_cpp that cannot be imported, as a broken build cannot.
    broken = tmp_path / "llama_cpp"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libcudart.so.12: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EngineMissing) as caught:
        await WorkerProcess.start(tmp_path / "logs")
    assert "libcudart" in caught.value.why
    info = await probe(tmp_path / "logs")
    assert "libcudart" in info.problem


async def test_the_worker_ignores_ctrl_c_and_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from localr1.engine.process import WorkerProcess\n"
        "async def main():\n"
        "    worker = await WorkerProcess.start(Path(sys.argv[1]))\n"
        "    print(worker.process_id, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        worker = psutil.Process(int(await asyncio.to_thread(parent.stdout.readline)))
        if os.name != "nt":
            worker.send_signal(signal.SIGINT)
            await asyncio.sleep(0.3)
            assert worker.is_running()
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "the worker outlives its parent"
            await asyncio.sleep(0.05)


async def test_requests_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        replies = await asyncio.gather(
            *(run(engine, question(f"{n} + {n}")) for n in (11, 222, 3333))
        )
    assert [reply[1] for reply in replies] == [
        "11 + 11 = 22",
        "222 + 222 = 444",
        "3333 + 3333 = 6666",
    ]
