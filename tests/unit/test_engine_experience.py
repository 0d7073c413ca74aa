"""What is remembered of loads and threads: found again, and only where it still holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fit_machines import LAPTOP_8, RTX_4090, machine, model, variant
from hypothesis import given
from hypothesis import strategies as st

from localr1.engine import experience
from localr1.engine.start import cause_of
from localr1.errors import ContextFull, EngineDied, FileError, LoadFailed
from localr1.fit.types import Settings
from localr1.models.types import LocalModel

ASKED = Settings(16384, gpu_layers=29, device_names=("CUDA0", "CUDA1"), tensor_split=(1.0, 2.5))
WORKED = replace(ASKED, context_window=4096, ubatch=256)
NOW = 1_700_000_000.0


@pytest.fixture
def local(tmp_path: Path) -> LocalModel:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    name = "r1-distill-qwen-7b"
    return LocalModel(model(name), variant(name, "Q4_K_M"), path, 4)


def known(at_seconds: float = NOW) -> experience.Load:
    return experience.Load(
        experience.machine_key(RTX_4090), WORKED, experience.free_bytes(RTX_4090), at_seconds
    )


def test_a_load_is_found_again(tmp_path: Path, local: LocalModel) -> None:
    assert experience.recall_load(tmp_path, local, ASKED) is None
    experience.remember_load(tmp_path, local, ASKED, known())
    assert experience.recall_load(tmp_path, local, ASKED) == known()
    assert experience.recall_load(tmp_path, local, replace(ASKED, context_window=8192)) is None
    experience.forget_load(tmp_path, local, ASKED)
    assert experience.recall_load(tmp_path, local, ASKED) is None


def test_another_file_under_the_same_name_is_another_file(
    tmp_path: Path, local: LocalModel
) -> None:
    experience.remember_load(tmp_path, local, ASKED, known())
    local.path.write_bytes(b"GGUF, longer")
    assert experience.recall_load(tmp_path, local, ASKED) is None


def test_when_it_still_holds() -> None:
    (gpu,) = RTX_4090.gpus
    cpu = RTX_4090.devices[0]
    less = replace(gpu, free_bytes=gpu.free_bytes // 2)
    total = replace(gpu, free_bytes=int(gpu.free_bytes * 1.2))
    assert known().holds(RTX_4090, NOW + 60)
    assert known().holds(replace(RTX_4090, devices=(cpu, less)), NOW + 60)
    assert not known().holds(replace(RTX_4090, devices=(cpu, total)), NOW + 60)
    assert not known().holds(RTX_4090, NOW + 30 * 86400)
    assert not known().holds(RTX_4090, NOW - 60)
    assert not known().holds(LAPTOP_8, NOW + 60)
    build = replace(RTX_4090.engine, version="0.3.37")
    assert not known().holds(replace(RTX_4090, engine=build), NOW + 60)


def test_old_entries_make_room(tmp_path: Path, local: LocalModel) -> None:
    for window in range(1, 61):
        experience.remember_load(tmp_path, local, Settings(window), known())
    entries = json.loads((tmp_path / experience.LOADS_NAME).read_text())
    assert len(entries) == 50
    assert experience.recall_load(tmp_path, local, Settings(1)) is None
    assert experience.recall_load(tmp_path, local, Settings(60)) is not None


def test_threads_are_kept_by_machine_size_and_placement(tmp_path: Path) -> None:
    on_cpu = Settings(8192)
    where = machine(15.5, 11, cores=8)
    experience.remember_threads(tmp_path, where, 5 << 30, on_cpu, 6)

    def recalled(size_bytes: int, settings: Settings = on_cpu) -> int:
        return experience.recall_threads(tmp_path, where, size_bytes, settings)

    assert recalled(5 << 30) == recalled(3 << 30) == 6
    assert recalled(5 << 30, replace(on_cpu, context_window=4096)) == 6
    assert recalled(1 << 30) == recalled(20 << 30) == recalled(1 << 20) == 0
    assert recalled(5 << 30, ASKED) == 0
    # How much is free does not matter here, the processor does.
    busy = machine(15.5, 3, cores=8)
    other = machine(15.5, 11, cores=4)
    assert experience.recall_threads(tmp_path, busy, 5 << 30, on_cpu) == 6
    assert experience.recall_threads(tmp_path, other, 5 << 30, on_cpu) == 0


@given(content=st.binary(max_size=80) | st.sampled_from([b"[" * 100_000, b"null", b"{}", b"[1]"]))
def test_damaged_files_are_as_good_as_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    (cache / experience.LOADS_NAME).write_bytes(content)
    (cache / experience.THREADS_NAME).write_bytes(content)
    name = "r1-distill-qwen-7b"
    local = LocalModel(model(name), variant(name, "Q4_K_M"), cache / "absent.gguf", 4)
    assert experience.recall_load(cache, local, ASKED) is None
    assert experience.recall_threads(cache, LAPTOP_8, 1 << 30, ASKED) == 0
    experience.remember_load(cache, local, ASKED, known())
    assert experience.recall_load(cache, local, ASKED) == known()


@pytest.mark.parametrize("value", [0, -1, 10**9, True, None, "4", 2.0])
def test_impossible_thread_counts_are_ignored(tmp_path: Path, value: object) -> None:
    experience.remember_threads(tmp_path, LAPTOP_8, 1 << 30, ASKED, 3)
    path = tmp_path / experience.THREADS_NAME
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), value)))
    assert experience.recall_threads(tmp_path, LAPTOP_8, 1 << 30, ASKED) == 0


def test_a_cache_that_cannot_be_written(tmp_path: Path, local: LocalModel) -> None:
    (tmp_path / "file").write_text("in the way")
    experience.remember_load(tmp_path / "file", local, ASKED, known())
    assert experience.recall_load(tmp_path / "file", local, ASKED) is None
    with pytest.raises(FileError):
        experience.remember_threads(tmp_path / "file", LAPTOP_8, 1, ASKED, 2)


@pytest.mark.parametrize(
    ("why", "cause"),
    [
        ("alloc_tensor_range: failed to allocate CPU buffer of size 536870912", "memory"),
        ("llama_model_load: error loading model: unable to allocate CUDA0 buffer", "memory"),
        ("allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory", "memory"),
        ("llama_init_from_model: failed to allocate compute pp buffers", "memory"),
        ("mmap failed: Cannot allocate memory", "memory"),
        ("llama_decode returned -2 at position 0", "memory"),
        ("llama_decode returned -3 at position 0", "other"),
        ("tensor 'x' data is not within the file bounds, model is corrupted", "other"),
        ("gguf_reader: encountered bad_alloc error while reading value for key 'x'", "other"),
        ("unknown model architecture: 'x'", "other"),
        ("quantized V cache was requested, but this requires Flash Attention", "other"),
        ("llama.cpp has no device CUDA9; it has CPU", "other"),
        ("", "other"),
    ],
)
def test_what_llama_cpp_says_tells_memory_from_damage(why: str, cause: str) -> None:
    assert cause_of(LoadFailed("The model could not be loaded.", why)) == cause


@pytest.mark.parametrize(
    ("what", "why", "cause"),
    [
        ("killed, by the system when memory ran out or by someone (SIGKILL)", "", "memory"),
        ("llama.cpp gave up (SIGABRT)", "CUDA error: out of memory", "memory"),
        ("llama.cpp gave up (SIGABRT)", "terminate: what(): std::bad_alloc", "memory"),
        ("llama.cpp gave up (SIGABRT)", "GGML_ASSERT(x) failed", "crash"),
        ("llama.cpp crashed (SIGSEGV)", "", "crash"),
        ("access violation (0xc0000005)", "", "crash"),
        ("illegal instruction: this build is for another CPU (SIGILL)", "", "other"),
        ("exit code 1", "MemoryError", "memory"),
        ("exit code 1", "TypeError: no such argument", "other"),
    ],
)
def test_how_a_worker_ended_tells_what_may_help(what: str, why: str, cause: str) -> None:
    assert cause_of(EngineDied(f"The engine stopped: {what}.", why)) == cause


def test_other_errors_are_no_reason_for_less() -> None:
    assert cause_of(ContextFull("It is full.", "out of memory")) == "other"
