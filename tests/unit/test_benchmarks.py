"""The benchmarks' own parts: table, model with random weights, programs that stand still."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
import sys
from pathlib import Path

import comparison
import engine as benchmark
import figures
import gguf
import llama_cpp_build
import numpy as np
import psutil
import pytest
import random_model
import turns
from figures import Bound, Row
from llama_tools import LlamaBench, RunSettings, ToolError
from our_engine import OurEngine, measuring, own_seconds_per_token, random_tokens
from talking import ask, demo_engine, demo_model

from localr1.chat.session import ChatSession
from localr1.engine.protocol import Segment
from localr1.fit.types import Settings
from localr1.gguf import file, header
from localr1.gguf.types import Architecture

TINY = Architecture(
    name="qwen2",
    layers=2,
    embedding_length=256,
    feed_forward_length=512,
    head_count=4,
    head_count_kv=2,
    key_length=64,
    value_length=64,
    vocabulary_size=1024,
    context_length=4096,
    parameters=3_000_000,
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("random") / "tiny.gguf"
    random_model.write(path, TINY)
    return path


def test_bounds_are_kept_by_medians_not_by_single_runs() -> None:
    row = Row("speed", "ratio", (0.5, 1.0, 1.0, 1.0, 9.0), Bound("at least", 0.99))
    assert row.median == 1.0
    assert row.spread == (1.0, 1.0)
    assert row.passed is True
    assert dataclasses.replace(row, bound=Bound("at most", 0.99)).passed is False
    assert dataclasses.replace(row, bound=None).passed is None


def test_a_table_without_a_bound_keeps_none() -> None:
    row = Row("speed", "tokens/s", (30.0,))
    assert not figures.all_kept([row])
    kept = dataclasses.replace(row, bound=Bound("at least", 20.0))
    missed = dataclasses.replace(row, bound=Bound("at least", 40.0))
    assert figures.all_kept([row, kept])
    assert not figures.all_kept([kept, missed])
    table = figures.markdown([kept, missed])
    assert table.count("\n") == 3
    assert table.count("**missed**") == 1
    assert "30.0 tokens/s" in table


def test_what_slows_both_of_a_pair_does_not_show() -> None:
    assert figures.ratios([0.02, 0.2, 2.0], [0.01, 0.1, 1.0]) == pytest.approx((2, 2, 2))
    with pytest.raises(ValueError, match="zip"):
        figures.ratios([1.0], [1.0, 2.0])


def test_sampling_counts_for_the_program_that_does_not_sample() -> None:
    their, our = [0.010, 0.010], [0.011, 0.011]
    raw = figures.ratios(their, our)
    fair = figures.ratios(figures.with_sampling(their, 0.001), our)
    assert raw == pytest.approx((10 / 11, 10 / 11))
    assert fair == pytest.approx((1, 1))


@pytest.mark.parametrize("pairs", [1, 3, 7, 15])
def test_llama_bench_measures_at_the_depth_of_the_middle_window(pairs: int) -> None:
    starts = [8000 + 8 + number * (8 + 64) for number in range(pairs)]
    assert figures.middle_of_windows(8000, 8, 64, pairs) == statistics.median(starts)


def test_everything_is_written_as_json() -> None:
    row = Row("speed", "ratio", (1.0, 2.0), Bound("at least", 1.0))
    written = json.loads(figures.as_json({"cpu": "x"}, [row]))
    assert written["machine"] == {"cpu": "x"}
    assert written["rows"][0]["samples"] == [1.0, 2.0]
    assert written["rows"][0]["passed"] is True


def test_growth_begins_after_the_warm_up() -> None:
    warm = [100 + number for number in range(20)]
    assert turns.growth_percent(warm + [119] * 180) == 0
    assert turns.growth_percent([*range(100, 300)]) == pytest.approx(100 * (294.5 / 124.5 - 1))
    assert turns.growth_percent([100] * 100 + [103] * 100) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="too few"):
        turns.growth_percent([1] * 19)


def test_the_context_holds_the_longest_measurement() -> None:
    extent = comparison.Extent(15, 64, 1024, (512, 8000), 5)
    assert extent.context_window > 8000 + 32 + 15 * (8 + 64)


def test_a_build_folder_is_found_or_named(tmp_path: Path) -> None:
    with pytest.raises(llama_cpp_build.BuildError, match="llama-bench"):
        llama_cpp_build.find(tmp_path)
    suffix = ".exe" if sys.platform == "win32" else ""
    for name in llama_cpp_build.PROGRAMS:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / (name + suffix)).write_bytes(b"")
    assert set(llama_cpp_build.find(tmp_path)) == set(llama_cpp_build.PROGRAMS)


def test_only_backends_of_the_wheel_are_built() -> None:
    assert llama_cpp_build._has_backend("cpu")
    assert llama_cpp_build.is_library("libggml-cuda.so", "cuda")
    assert llama_cpp_build.is_library("ggml-vulkan.dll", "vulkan")
    assert not llama_cpp_build.is_library("ggml-metal.h", "metal")
    assert not llama_cpp_build.is_library("libggml-cpu.so", "cuda")


def test_wrong_options_are_refused() -> None:
    assert benchmark.options(["--quick"]).extent.pairs == 3
    assert benchmark.options(["--depths", "8000,512"]).extent.depths == (512, 8000)
    for wrong in (["--shape", "3b"], ["--depths", "many"], ["--parts", "all"], ["--depths", "4"]):
        with pytest.raises(SystemExit) as ended:
            benchmark.options(wrong)
        assert ended.value.code == 2


@pytest.mark.parametrize("shape", random_model.SHAPES)
def test_shapes_have_the_length_of_the_real_files(shape: str) -> None:
    architecture = random_model.architecture_of(shape)
    written = sum(tensor.size_bytes for tensor in random_model._tensors(architecture))
    # The real files carry six more megabytes, mostly merges of the vocabulary.
    assert written == pytest.approx(random_model.published_bytes(shape), abs=8_000_000)


def test_special_tokens_have_their_true_ids() -> None:
    tokens, types, end, begin = random_model._vocabulary(151_936)
    assert len(tokens) == len(types) == len(set(tokens)) == 151_936
    assert (end, begin) == (151_643, 151_646)
    ids = random_model.special_ids()
    assert tokens[ids[5]] == "<think>"
    assert tokens[ids[6]] == "</think>"


def test_the_model_is_a_valid_file(tiny: Path) -> None:
    known = file.recognise(tiny)
    assert known.architecture.layers == TINY.layers
    assert known.architecture.vocabulary_size == TINY.vocabulary_size
    kinds = {t.name: t.quantization for t in header.read(tiny).tensors}
    assert kinds["token_embd.weight"] == "Q4_K"
    assert kinds["output.weight"] == "Q6_K"


def test_weights_are_centred_and_of_the_size_asked_for(tiny: Path) -> None:
    for tensor in gguf.GGUFReader(tiny).tensors:
        if tensor.name.endswith("weight") and "norm" not in tensor.name:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            wanted = {t.name: t.spread for t in random_model._tensors(TINY)}[tensor.name]
            assert np.isfinite(values).all()
            assert float(values.std()) == pytest.approx(wanted, rel=0.1)
            assert abs(float(values.mean())) < wanted / 10
            assert len(np.unique(values, axis=0)) == len(values)


async def until_stopped(process_id: int) -> None:
    """Wait for a signal to arrive; fails when it does not within a hundred times its usual time."""
    process = psutil.Process(process_id)
    async with asyncio.timeout(5):
        while process.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_the_engine_runs_it_and_is_timed(tiny: Path, tmp_path: Path) -> None:
    our = await OurEngine.start(tiny, Settings(8192, threads=1), tmp_path)
    try:
        prompt = [Segment(tokens=random_tokens(40, 1, range(300, 1000)))]
        reply = our.reply(measuring(prompt, 8000))
        first = await reply.window(8, 64)
        our.hold()
        await until_stopped(our.engine.process_id)
        our.go_on()
        second = await reply.window(8, 64)
        ended = await reply.stop()
    finally:
        await our.close()
    assert ended.finish_reason == "cancelled"
    assert 0 < first.seconds_per_token < 1
    assert second.first_token >= first.first_token + first.tokens + 8
    assert 0 < own_seconds_per_token(ended) * ended.answer_tokens < ended.generation_seconds


_STAND_IN = """
import json, sys, time
tests = sys.argv[sys.argv.index("-n") + 1].split(",")
for number, tokens in enumerate(tests):
    time.sleep(0.02)
    result = {"avg_ns": int(tokens) * 1000 * (number + 1), "build_commit": "c", "build_number": 7}
    print(json.dumps(result), flush=True)
    time.sleep(0.2)
sys.exit("no more tests")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
async def test_llama_bench_stands_still_between_tests(tmp_path: Path) -> None:
    program = tmp_path / "llama-bench"
    program.write_text(f"#!{sys.executable}\n{_STAND_IN}")
    program.chmod(0o755)
    settings = RunSettings(tmp_path / "model.gguf", threads=1, gpu_layers=0)
    bench = await LlamaBench.start(program, settings, tmp_path / "log", generate=64, tests=2)
    try:
        assert await bench.next() == pytest.approx(1e-6)
        assert bench.build == "c (build 7)"
        await until_stopped(psutil.Process().children()[0].pid)
        assert await bench.next() == pytest.approx(2e-6)
        with pytest.raises(ToolError, match="no more tests"):
            await bench.next()
    finally:
        await bench.close()


async def test_a_few_turns_are_right_and_sampled(tmp_path: Path) -> None:
    course = await turns.run(40, turns_each=20, window=1024, folder=tmp_path)
    assert sum(course.right) >= 39
    assert len(course.worker_bytes) == len(course.app_bytes) == 40
    assert course.same_when_fresh <= len(course.wrong)
    rows = turns.rows_of(course, seconds=1.0)
    assert {row.what: row.passed for row in rows}["right answers"] is True


async def test_a_fresh_engine_is_asked_with_the_same_history(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, None, demo_model())
        for question in ("What is 12 + 30?", "12 - 30"):
            await ask(session, question)
    fresh = await turns._fresh_answer(session.messages, demo_model(), 1024, tmp_path)
    assert fresh == session.messages[-1].text == "12 - 30 = -18"
