"""How a walk begins: what was found out once is not asked again, unless it may have changed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localr1 import home
from localr1.engine import kernel_cache, probe_cache
from localr1.fit import compute, llama_graph
from localr1.home import Home, advise, examine, examine_machine, examined, open_home
from localr1.machine.system import detect
from localr1.machine.types import EngineDevice, EngineInfo


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Home:
    """The home, on a computer whose kernels need no timing."""
    monkeypatch.setattr(kernel_cache, "_MOST_TRIES", 0)
    return open_home()


def test_llama_cpp_is_asked_once_and_then_remembered(opened: Home) -> None:
    directories = opened.directories
    assert examined(directories) is None
    asked = asyncio.run(examine_machine(directories))
    assert asked.engine.version
    known = examined(directories)
    assert known is not None
    # What is free is as of now.
    free = known.memory.available_bytes
    assert [device.free_bytes for device in known.engine.devices] == [free]
    now = replace(asked.engine, devices=known.engine.devices)
    assert known.engine == now
    assert asyncio.run(examine(opened)).engine.version == asked.engine.version


def test_a_command_that_knows_all_starts_no_worker(opened: Home) -> None:
    asyncio.run(examine_machine(opened.directories))
    kernels = opened.directories.cache / kernel_cache.KERNELS_NAME
    code = (
        "import sys\n"
        "from localr1.engine import kernel_cache\n"
        "kernel_cache._MOST_TRIES = 0\n"
        "from localr1.cli.main import main\n"
        "code = main(['advise'])\n"
        "heavy = {'asyncio', 'ssl', 'sqlite3', 'rich', 'textual', 'huggingface_hub', 'numpy',"
        " 'localr1.workflow', 'localr1.engine.protocol', 'statistics'}\n"
        "print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] in {"0 []", "3 []"}
    assert "localr1 pull" in done.stdout or "No R1 model fits" in done.stdout
    assert kernels.parent.is_dir()


@pytest.mark.parametrize("text", ["", "[]", '{"KEY": 3}', '{"KEY": {"version": "1"}}'])
def test_a_damaged_memory_is_as_good_as_none(opened: Home, text: str) -> None:
    cache = opened.directories.cache
    asyncio.run(examine_machine(opened.directories))
    path = cache / probe_cache.PROBE_NAME
    (key,) = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(text.replace("KEY", key), encoding="utf-8")
    assert probe_cache.recall(cache) is None


def test_another_build_or_processor_is_asked_anew(
    opened: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, system = opened.directories.cache, detect()
    info = EngineInfo("1", ("CPU",), (EngineDevice("CPU", "a CPU", "cpu", 1, 1),), "AVX = 1")
    build = tmp_path / "build"
    build.mkdir()
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(build))
    for name in ("libggml.so", "libggml-base.so", "libggml-cpu.so.0.25", "libllama.so"):
        (build / name).write_bytes(b"library")
    probe_cache.remember(cache, system, info)
    known = probe_cache.recall(cache)
    assert known is not None
    here = known.here(system)
    assert here is not None
    assert here.devices[0].free_bytes == system.memory.available_bytes
    other = replace(system, cpu=replace(system.cpu, name="another"))
    assert known.here(other) is None
    (build / "libllama.so").write_bytes(b"another library")
    assert probe_cache.recall(cache) is None


@pytest.mark.parametrize("name", ["libggml-cuda.so", "libggml-vulkan.so", "ggml-metal.dylib"])
def test_a_build_that_may_drive_a_gpu_is_always_asked(
    opened: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for library in ("libggml.so", "libggml-cpu.so", name):
        (tmp_path / library).write_bytes(b"library")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    probe_cache.remember(opened.directories.cache, detect(), EngineInfo("1", ("CPU",), ()))
    assert probe_cache.recall(opened.directories.cache) is None


def test_an_engine_that_does_not_start_is_not_remembered(opened: Home) -> None:
    cache = opened.directories.cache
    probe_cache.remember(cache, detect(), EngineInfo("", (), (), problem="no"))
    assert probe_cache.recall(cache) is None


def test_sizes_of_buffers_are_kept_between_runs(
    opened: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = asyncio.run(examine_machine(opened.directories))
    path = opened.directories.cache / home._BUFFERS_NAME

    def forget() -> None:
        compute._compute_bytes.cache_clear()
        monkeypatch.setattr(compute, "FOUND", compute.Found())

    forget()
    path.unlink(missing_ok=True)
    first = advise(opened, machine)
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert len(kept["sizes"]) > 20

    def build(*_: object) -> None:
        raise AssertionError("looked for a size that was kept")

    forget()
    with monkeypatch.context() as patch:
        patch.setattr(llama_graph, "build", build)
        assert advise(opened, machine) == first
    # Another release may find other sizes, and a damaged file none.
    for text in (json.dumps({**kept, "code": ["0"]}), "{", '{"sizes": {"a": [-1]}}'):
        forget()
        path.write_text(text, encoding="utf-8")
        assert advise(opened, machine) == first
        assert json.loads(path.read_text(encoding="utf-8")) == kept
    forget()


def test_a_cache_that_cannot_be_written_is_no_error(opened: Home) -> None:
    if os.name == "nt" or os.geteuid() == 0:
        opened.directories.cache.parent.mkdir(parents=True, exist_ok=True)
        opened.directories.cache.rename(opened.directories.cache.with_name("moved"))
        opened.directories.cache.write_text("a file where the folder should be")
    machine = asyncio.run(examine_machine(opened.directories))
    assert advise(opened, machine).plans
