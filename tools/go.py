"""Set up localr1 in .venv and run something in it. Needs Python 3.11 and a C++ compiler.

    python3 tools/go.py            set up, then open the app
    python3 tools/go.py test       set up, then run the tests
    python3 tools/go.py check      what CI runs: lint, types, tests
    python3 tools/go.py rpc        build a llama.cpp whose memory can be lent, for the tests of GPUs
    python3 tools/go.py speed      the engine against llama.cpp's own programs (benchmarks/engine.py)
    python3 tools/go.py turns      ten thousand turns on the demo (benchmarks/turns.py)
    python3 tools/go.py WHAT ...   lint, types, format, coverage, soak, or a localr1 command (ask, advise, ...)

Standard library only, on Linux, macOS and Windows. The first set-up compiles llama.cpp, about
five minutes on two cores; it is not done again until pyproject.toml or constraints.txt changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
BIN = FOLDER / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / ("python.exe" if os.name == "nt" else "python"))
STAMP = FOLDER / "installed"
# A second build of the same llama.cpp: the tests' stand-in for a GPU (tests/integration/test_rpc.py).
RPC = ROOT / ".rpc"
RPC_STAMP = RPC / "built"
RPC_FLAGS = "-DGGML_RPC=on -DLLAVA_BUILD=OFF"
RPC_WORKS = "from llama_cpp import llama_cpp; assert llama_cpp.llama_supports_rpc()"
OLDEST = (3, 11)
COMPILERS = ("c++", "g++", "clang++", "cl")

LINT = (["-m", "ruff", "check", "."], ["-m", "ruff", "format", "--check", "."])
TYPES = (["-m", "mypy", "localr1", "tests", "benchmarks", "tools/demo_task.py", "tools/go.py"],)
TESTS = (["-m", "pytest"],)
COVERAGE = (["-m", "pytest", "--cov=localr1", "--cov-report=term:skip-covered"],)
TASKS: dict[str, tuple[list[str], ...]] = {
    "test": TESTS,
    "coverage": COVERAGE,
    "lint": LINT,
    "types": TYPES,
    "check": (*LINT, *TYPES, *TESTS),
    "format": (["-m", "ruff", "format", "."], ["-m", "ruff", "check", "--fix", "."]),
    "soak": (["-m", "pytest"],),
    "speed": (["benchmarks/engine.py"],),
    "turns": (["benchmarks/turns.py"],),
}


def fail(what: str, todo: str) -> int:
    """Say what is missing and how to get it."""
    sys.stderr.write(f"localr1: {what}\n  {todo}\n")
    return 1


def wanted() -> str:
    """What an up-to-date installation was made from."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([sys.version.encode(), *parts])).hexdigest()


def set_up() -> int:
    """Make .venv and install localr1 with everything its checks need, unless that is done."""
    if sys.version_info < OLDEST:
        return fail(
            f"Python {sys.version_info.major}.{sys.version_info.minor} is too old.",
            "Run this with Python 3.11 or newer.",
        )
    if STAMP.is_file() and STAMP.read_text(encoding="ascii") == wanted():
        return 0
    if not any(map(shutil.which, COMPILERS)) and os.name != "nt":
        return fail(
            "there is no C++ compiler, which llama.cpp needs.",
            "Debian, Ubuntu: apt install g++   Fedora: dnf install gcc-c++   macOS: xcode-select --install",
        )
    sys.stderr.write("localr1: setting up in .venv; the first time takes about five minutes\n")
    try:
        venv.create(FOLDER, with_pip=True, clear=not Path(PYTHON).exists())
    except subprocess.CalledProcessError:
        return fail(
            "this Python cannot make virtual environments.",
            "Debian, Ubuntu: apt install python3-venv",
        )
    install = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    code = subprocess.call(
        [*install, "--constraint", "constraints.txt", "--editable", ".[dev]"], cwd=ROOT
    )
    if code:
        return fail(
            "the installation failed; the reason stands above.",
            "A compiler error: update the C++ compiler. A network error: run the same command again.",
        )
    STAMP.write_text(wanted(), encoding="ascii")
    return 0


def build_rpc() -> int:
    """Build llama.cpp with RPC into .rpc/lib, unless that is done: the libraries, no second .venv."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    release = next(line.strip() for line in lines if line.startswith("llama_cpp_python=="))
    made_from = f"{release} {RPC_FLAGS}"
    if RPC_STAMP.is_file() and RPC_STAMP.read_text(encoding="ascii") == made_from:
        return 0
    sys.stderr.write(
        f"localr1: building {release} with RPC in .rpc; this takes about five minutes\n"
    )
    shutil.rmtree(RPC, ignore_errors=True)
    wheels = RPC / "wheel"
    wheels.mkdir(parents=True)
    flags = f"{os.environ.get('CMAKE_ARGS', '')} {RPC_FLAGS}".strip()
    nice = ["nice"] if shutil.which("nice") else []
    # A wheel in pip's cache would be one without RPC.
    pip = [PYTHON, "-m", "pip", "wheel", "--disable-pip-version-check", "--quiet", "--no-cache-dir"]
    sources = ["--no-deps", "--no-binary", "llama-cpp-python", "--wheel-dir", str(wheels), release]
    code = subprocess.call([*nice, *pip, *sources], env={**os.environ, "CMAKE_ARGS": flags})
    if code:
        return fail("llama.cpp with RPC was not built.", "The reason stands above.")
    (RPC / "lib").mkdir()
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            folder, _, file = name.rpartition("/")
            if folder == "llama_cpp/lib" and file:
                (RPC / "lib" / file).write_bytes(wheel.read(name))
    shutil.rmtree(wheels)
    works = subprocess.call(
        [PYTHON, "-c", RPC_WORKS],
        env={**os.environ, "LLAMA_CPP_LIB_PATH": str(RPC / "lib")},
    )
    if works:
        return fail("the llama.cpp in .rpc does not start.", "The reason stands above.")
    RPC_STAMP.write_text(made_from, encoding="ascii")
    return 0


def main(arguments: list[str]) -> int:
    """Set up, then run a task, or localr1 with the arguments."""
    if code := set_up():
        return code
    if arguments == ["rpc"]:
        return build_rpc()
    if arguments and arguments[0] in TASKS:
        task, *more = arguments
        environment = {**os.environ, **({"LOCALR1_SOAK": "1"} if task == "soak" else {})}
        for number, step in enumerate(TASKS[task], start=1):
            last = more if number == len(TASKS[task]) else []
            if code := subprocess.call([PYTHON, *step, *last], cwd=ROOT, env=environment):
                return code
        return 0
    try:
        return subprocess.call([PYTHON, "-m", "localr1", *arguments])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
