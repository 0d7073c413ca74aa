"""llama.cpp's dry run: what it says against real loads, its own figures, and our estimate."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dry_runs
import fit_machines
import lender
import memory
import pytest
import synthetic

from localr1.engine.client import Engine, measure
from localr1.engine.types import DeviceBuffers
from localr1.errors import LoadFailed
from localr1.fit.memory import estimate_memory
from localr1.fit.types import Settings
from localr1.gguf.types import Architecture
from localr1.models import catalog
from localr1.models.library import DEMO_PATH

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
LOG_BYTES = memory.UNKNOWN_BYTES
CELLS = list(memory.cells(lent=False))
LENT = list(memory.cells(lent=True))
FULL = ("r1-671b", "r1-0528-671b")


def header(folder: Path, model_id: str) -> Path:
    """A header of the true shape, vocabulary and all, and a hole of the true length."""
    path = folder / f"{model_id}.gguf"
    architecture = catalog.load().model(model_id).architecture
    synthetic.write_header_only(path, architecture, full_vocabulary=True)
    return path


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headers")


def some(cells: list[memory.Cell], count: int) -> list[memory.Cell]:
    """A few cells of the grid, some of the full R1 among them; or all of it."""
    full = [cell for cell in cells if cell.model_id in FULL]
    chosen = random.Random(3).sample(cells, count) + random.Random(4).sample(full, count // 5)
    return cells if SOAK else chosen


@pytest.mark.parametrize("quantization", ["F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize(
    "shape", [synthetic.SMALL_DENSE, synthetic.SMALL_MOE], ids=["qwen2", "moe"]
)
async def test_it_says_what_a_real_load_takes(
    shape: Architecture, quantization: str, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    synthetic.write_random(model, shape, quantization)
    settings = Settings(3000, kv_cache_type="q8_0", ubatch=256, threads=1)
    said = await measure(model, settings, log_directory=tmp_path)
    engine = await Engine.start(model, settings, log_directory=tmp_path)
    try:
        (expected,), (found,) = said.buffers, engine.buffers
        assert found.device == expected.device == "CPU"
        assert found.weights_bytes == pytest.approx(expected.weights_bytes, abs=2 * LOG_BYTES)
        assert replace(found, weights_bytes=0) == replace(expected, weights_bytes=0)
        assert found.weights_bytes == pytest.approx(model.stat().st_size, rel=0.05)
        assert engine.context_window == said.context_window == 3072
    finally:
        await engine.close()


async def test_a_batch_with_guesses_is_measured_as_it_is_loaded(tmp_path: Path) -> None:
    settings = Settings(1024, threads=1, draft_tokens=8, ubatch=64)
    said = await measure(DEMO_PATH, settings, log_directory=tmp_path)
    engine = await Engine.start(DEMO_PATH, settings, log_directory=tmp_path)
    buffers = engine.buffers
    await engine.close()
    assert [replace(b, weights_bytes=0) for b in buffers] == [
        replace(b, weights_bytes=0) for b in said.buffers
    ]


def test_the_estimate_is_what_llama_cpp_reckons(tmp_path: Path) -> None:
    cells = some(CELLS, 80)
    with dry_runs.asking() as ask:
        results, refused = memory.compare(cells, ask, memory.Headers(tmp_path))
    assert refused == sum(cell.refused for cell in cells) > 0
    check(results)


@pytest.mark.skipif(lender.library_folder() is None, reason="NOT TESTED: GPUs, see `make rpc`")
def test_the_estimate_is_what_llama_cpp_reckons_with_a_device(tmp_path: Path) -> None:
    library = lender.library_folder()
    assert library is not None
    with (
        lender.lent(library, 1 << 40, tmp_path / "lender.log") as lent,
        dry_runs.asking([lent.endpoint], library) as ask,
    ):
        results, _ = memory.compare(some(LENT, 40), ask, memory.Headers(tmp_path))
    check(results)
    assert {d.device for d in results} == {"CPU", memory.LENT}


def test_the_estimate_is_what_llama_cpp_reckons_for_several_replies(tmp_path: Path) -> None:
    dice = random.Random(5)
    cells = [
        replace(
            cell,
            settings=replace(
                cell.settings,
                sequences=dice.choice((2, 3, 4, 8)),
                context_window=dice.choice((1000, 4096, 16_384)),
            ),
        )
        for cell in some(CELLS, 30)
        if not cell.refused
    ]
    with dry_runs.asking() as ask:
        results, _ = memory.compare(cells, ask, memory.Headers(tmp_path))
    check(results)


def check(results: list[memory.Difference]) -> None:
    """Whether the whole memory of each device is as near as is promised, and each part too."""
    assert memory.within_bounds(results)
    worst = max(results, key=lambda d: abs(d.share))
    assert abs(worst.share) < memory.MEDIAN, worst


@pytest.mark.parametrize(
    ("model_id", "settings"),
    [
        ("r1-distill-qwen-7b", Settings(256, kv_cache_type="q4_0", ubatch=128, threads=1)),
        ("r1-distill-llama-8b", Settings(1000, ubatch=2048, threads=1)),
        ("r1-0528-qwen3-8b", Settings(4096, draft_tokens=8, ubatch=64, threads=1)),
        ("r1-0528-671b", Settings(8192, threads=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_odd_settings_and_whole_headers_are_no_exception(
    model_id: str, settings: Settings, headers: Path, tmp_path: Path
) -> None:
    path = header(headers, model_id)
    assert path.stat().st_blocks * 512 < 50e6
    measured = await measure(path, settings, log_directory=tmp_path)
    architecture = catalog.load().model(model_id).architecture
    (estimate,) = estimate_memory(
        architecture, path.stat().st_size, "Q4_K_M", settings, fit_machines.LAPTOP_16
    )
    (found,) = measured.buffers
    assert found.weights_bytes == pytest.approx(estimate.weights_bytes, rel=0.001)
    assert found.kv_cache_bytes == pytest.approx(estimate.kv_cache_bytes, abs=LOG_BYTES)
    assert found.compute_buffer_bytes == pytest.approx(estimate.compute_buffer_bytes, abs=LOG_BYTES)
    assert found.output_bytes == pytest.approx(estimate.output_bytes, abs=LOG_BYTES)


_BREAKDOWN = """
import ctypes, json, sys
from dataclasses import asdict
from localr1.engine import loading, native
from localr1.engine.protocol import Load
from llama_cpp import llama_cpp as api

class Map(ctypes.Structure):  # libstdc++'s std::map
    _fields_ = [("raw", ctypes.c_uint64 * 6)]

api.llama_backend_init()
log, abort, keep = native.Log(), native.AbortFlag(), []
load = Load(1, sys.argv[1], 8192, "q8_0", 0, 0, (), (), True, 512, 1, measure_only=True)
with log.recording() as lines:
    model = loading.open_model(load, log, keep)
    context = loading.open_context(model, load, log, abort, keep)
breakdown = getattr(api._lib, "_Z26llama_get_memory_breakdownPK13llama_context")
breakdown.argtypes, breakdown.restype = [ctypes.c_void_p], Map
sums = [0, 0, 0]

def walk(node):
    if node:
        # Colour, parent, left, right, buffer type, then weights, KV cache and compute bytes.
        fields = (ctypes.c_uint64 * 8).from_address(node)
        for index in range(3):
            sums[index] += fields[5 + index]
        walk(fields[2])
        walk(fields[3])

walk(breakdown(ctypes.cast(context, ctypes.c_void_p)).raw[2])
print(json.dumps([sums, [asdict(b) for b in loading.buffers_of(load, lines)]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs libstdc++'s layout of std::map")
@pytest.mark.parametrize("model_id", ["r1-distill-qwen-7b", "r1-distill-llama-8b"])
def test_the_log_says_what_llama_cpps_own_breakdown_says(model_id: str, headers: Path) -> None:
    path = headers / f"{model_id}.gguf"
    path = path if path.exists() else header(headers, model_id)
    done = subprocess.run(
        [sys.executable, "-c", _BREAKDOWN, str(path)], capture_output=True, text=True, check=True
    )
    (weights, kv_cache, compute), buffers = json.loads(done.stdout)
    (found,) = (DeviceBuffers(**buffer) for buffer in buffers)
    # The breakdown counts each tensor's padding.
    assert found.weights_bytes == pytest.approx(weights, rel=1e-5)
    assert found.kv_cache_bytes == pytest.approx(kv_cache, abs=LOG_BYTES)
    assert found.compute_buffer_bytes == pytest.approx(compute, abs=LOG_BYTES)


async def test_refusals_carry_llama_cpps_own_words(tmp_path: Path) -> None:
    def settings(**changes: object) -> Settings:
        return replace(Settings(1024, threads=1), **changes)  # type: ignore[arg-type]

    with pytest.raises(LoadFailed, match="requires flash_attn"):
        await measure(
            DEMO_PATH,
            settings(flash_attention=False, kv_cache_type="q8_0"),
            log_directory=tmp_path,
        )
    with pytest.raises(LoadFailed, match="no device CUDA7"):
        await measure(
            DEMO_PATH, settings(device_names=("CUDA7",), gpu_layers=1), log_directory=tmp_path
        )
    with pytest.raises(LoadFailed, match="there is no file"):
        await measure(tmp_path / "none.gguf", settings(), log_directory=tmp_path)
    short = tmp_path / "short.gguf"
    short.write_bytes(DEMO_PATH.read_bytes()[:-1000])
    with pytest.raises(LoadFailed, match="corrupted or incomplete"):
        await measure(short, settings(), log_directory=tmp_path)
