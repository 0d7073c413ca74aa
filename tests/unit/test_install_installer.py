"""What installers print: how far they are, and why they fail. The lines are real ones."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from localr1.errors import BuildFailed
from localr1.install import installer, mend
from localr1.install.installer import Progress, failure, told
from localr1.install.types import Command, Place

PLACE = Place("Linux", "x86_64", (3, 12), "/v/bin/python", "pip")


@pytest.mark.parametrize(
    ("line", "stage", "share"),
    [
        ("  Installing build dependencies: started", "preparing", None),
        ("  Downloading llama_cpp_python-0.3.36.tar.gz (77.1 MB)", "downloading", None),
        ("  *** Configuring CMake...", "looking at the compiler", None),
        ("  [57/228] /usr/bin/c++ -DGGML_BACKEND_SHARED -c ggml.cpp", "compiling", 0.25),
        ("[ 12%] Building CXX object vendor/llama.cpp/ggml/src/ggml.cpp.o", "compiling", 0.12),
        ("Installing collected packages: llama-cpp-python", "installing", None),
        ("Installed 1 package in 12ms", "installing", None),
    ],
)
def test_how_far_it_is(line: str, stage: str, share: float | None) -> None:
    assert told(line) == (stage, share)


@pytest.mark.parametrize("line", ["", "  Preparing metadata (pyproject.toml): started", "warning"])
def test_lines_that_tell_nothing(line: str) -> None:
    assert told(line) is None


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            [
                "  /x/ggml-cuda.cu:12:10: fatal error: cuda_runtime.h: No such file or directory",
                "  ninja: build stopped: subcommand failed.",
                "  ERROR: Failed building wheel for llama-cpp-python",
            ],
            "cuda_runtime.h",
        ),
        (
            [
                "  CMake Error at CMakeLists.txt:3 (project):",
                "    No CMAKE_CXX_COMPILER could be found.",
                "error: metadata-generation-failed",
            ],
            "CMake Error",
        ),
        (
            [
                "ERROR: Could not find a version that satisfies the requirement"
                " llama-cpp-python==0.3.36 (from versions: none)",
                "ERROR: No matching distribution found for llama-cpp-python==0.3.36",
            ],
            "No matching distribution",
        ),
        (["something"], "It ended with code 1."),
    ],
)
def test_why_it_failed(lines: list[str], why: str) -> None:
    error = failure(lines, 1, Path("/logs/build.log"))
    assert error.what == "The engine was not built."
    assert why in error.why
    assert "still in place" in error.todo
    assert "/logs/build.log" in error.todo


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError("
        "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')",
        "  Caused by: error sending request for url (https://pypi.org/simple/llama-cpp-python/)",
    ],
)
def test_no_network_is_told_from_a_build_that_fails(line: str) -> None:
    error = failure([line, "ERROR: No matching distribution found"], 1, Path("log"))
    assert "does not answer" in error.what
    assert "--source" in error.todo


async def test_output_goes_to_the_log_and_the_environment_is_the_commands(tmp_path: Path) -> None:
    code = (
        "import os; print('[1/4] c++'); print(os.environ['CMAKE_ARGS']);"
        "print(sorted({'PYTHONPATH', 'X'} & set(os.environ)))"
    )
    command = Command((sys.executable, "-c", code), (("CMAKE_ARGS", "-DA=1"), ("X", None)))
    seen: list[Progress] = []
    before = {name: os.environ.get(name) for name in ("X", "PYTHONPATH", "CMAKE_ARGS")}
    os.environ.update(X="1", PYTHONPATH="/somewhere", CMAKE_ARGS="-DB=2")
    try:
        await installer.run(command, tmp_path / "logs" / "build.log", seen.append)
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    text = (tmp_path / "logs" / "build.log").read_text(encoding="utf-8")
    assert text.split("\n")[:3] == ["[1/4] c++", "-DB=2 -DA=1", "[]"]
    assert [one.share for one in seen] == [0.25]


async def test_what_is_not_installed_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="does not start"):
        await installer.run(Command(("no-such-uv",)), tmp_path / "log", lambda _: None)


@pytest.mark.skipif(os.name == "nt", reason="NOT TESTED: POSIX processes")
async def test_cancelling_ends_the_compilers_too(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    child = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    command = Command((sys.executable, "-c", code))
    task = asyncio.create_task(installer.run(command, tmp_path / "log", lambda _: None))
    deadline = time.monotonic() + 60
    while not await asyncio.to_thread(_text, mark):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    number = int(await asyncio.to_thread(_text, mark))
    while _runs(number):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    # Ended, and not yet collected by whoever inherited it.
    state = Path(f"/proc/{number}/stat")
    return not (state.exists() and state.read_text(encoding="utf-8").split()[2] == "Z")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (("/v/bin/python", "-m", "pip", "install"), ("/v/bin/python", "-m", "pip", "install")),
        (("pipx", "runpip", "localr1", "install"), ("/v/bin/python", "-m", "pip", "install")),
        (("uv", "pip", "install"), ("uv", "pip", "install")),
    ],
)
def test_the_new_build_goes_beside_the_old_one(
    head: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    command = mend.staged(Command((*head, "--no-deps", "x.whl")), PLACE, Path("/site/new"))
    assert command.arguments[: len(expected)] == expected
    at = command.arguments.index("--target")
    assert command.arguments[at + 1] == str(Path("/site/new"))
    assert command.arguments[-2:] == ("--no-deps", "x.whl")
