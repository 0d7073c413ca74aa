"""llama-bench and llama-server, built from the sources of the installed llama-cpp-python."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("llama-bench", "llama-server")
# Libraries in the wheel, and the option that made them.
_BACKENDS: Final = {
    "cuda": "GGML_CUDA",
    "hip": "GGML_HIP",
    "vulkan": "GGML_VULKAN",
    "metal": "GGML_METAL",
    "sycl": "GGML_SYCL",
}


class BuildError(Exception):
    """The programs could not be built or found; the message says what to do."""


def installed_version() -> str:
    """The release of llama-cpp-python that the app runs on."""
    return importlib.metadata.version("llama-cpp-python")


def commit_of(folder: Path) -> str:
    """The llama.cpp commit that a release was made from, by its change log; "" when unknown."""
    log = folder / "CHANGELOG.md"
    if not log.is_file():
        return ""
    part = log.read_text("utf-8").partition(f"## [{installed_version()}]")[2]
    match = re.search(r"llama\.cpp@([0-9a-f]+)", part.partition("\n## ")[0])
    return match[1] if match else ""


def find(folder: Path) -> dict[str, Path]:
    """The programs in a build folder, or in its `bin`.

    Raises:
        BuildError: When one is missing.
    """
    found = {}
    suffix = ".exe" if os.name == "nt" else ""
    for name in PROGRAMS:
        places = [folder / part / (name + suffix) for part in ("bin", "bin/Release", ".")]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise BuildError(f"There is no {name} in {folder}.")
        found[name] = path.resolve()
    return found


def build(cache: Path) -> dict[str, Path]:
    """Build the programs in the cache folder, unless they are there.

    Needs a C++ compiler, cmake, and the package index once. `CMAKE_ARGS` adds options, as for
    the installation of the wheel itself.

    Raises:
        BuildError: When something is missing or fails.
    """
    version = installed_version()
    folder = cache / f"llama-cpp-python-{version}"
    built = folder / "build"
    try:
        return find(built)
    except BuildError:
        pass
    if shutil.which("cmake") is None:
        raise BuildError("There is no cmake. Install it, or name a ready build with --llama-cpp.")
    source = _source(cache, version) / "vendor" / "llama.cpp"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run(["cmake", "-S", str(source), "-B", str(built), *generator, *_options()])
    jobs = str(os.cpu_count() or 1)
    _run(["cmake", "--build", str(built), "--config", "Release", "-j", jobs, "-t", *PROGRAMS])
    return find(built)


def _options() -> list[str]:
    """As scikit-build-core and the wheel's CMakeLists.txt configure llama.cpp."""
    return [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_SHARED_LIBS=ON",
        "-DLLAMA_CURL=OFF",
        "-DLLAMA_BUILD_COMMON=ON",
        "-DLLAMA_BUILD_TOOLS=ON",
        "-DLLAMA_BUILD_SERVER=ON",
        "-DLLAMA_BUILD_TESTS=OFF",
        "-DLLAMA_BUILD_EXAMPLES=OFF",
        "-DLLAMA_BUILD_UI=OFF",
        "-DLLAMA_BUILD_MTMD=OFF",
        *(f"-D{option}=ON" for name, option in _BACKENDS.items() if _has_backend(name)),
        *shlex.split(os.environ.get("CMAKE_ARGS", "")),
    ]


def is_library(file_name: str, backend: str) -> bool:
    """Whether a file is the library of one of llama.cpp's backends; wheels have headers of all."""
    return re.fullmatch(rf"(lib)?ggml-{backend}\.(so|dylib|dll)", file_name) is not None


def _has_backend(name: str) -> bool:
    files = importlib.metadata.files("llama-cpp-python") or []
    return any(is_library(file.name, name) for file in files)


def _source(cache: Path, version: str) -> Path:
    """The unpacked source distribution."""
    folder = cache / f"llama_cpp_python-{version}"
    if not (folder / "CMakeLists.txt").is_file():
        cache.mkdir(parents=True, exist_ok=True)
        archive = cache / f"llama_cpp_python-{version}.tar.gz"
        if not archive.is_file():
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
            _run([*pip, "--dest", str(cache), f"llama-cpp-python=={version}"])
        with tarfile.open(archive) as file:
            file.extractall(cache, filter="data")
    return folder


def _run(command: list[str]) -> None:
    """Run a step; its output is shown, on stderr."""
    print(f"benchmark: {shlex.join(command)}", file=sys.stderr, flush=True)
    if subprocess.call(command, stdout=sys.stderr):
        raise BuildError(f"This failed; the reason stands above: {shlex.join(command)}")
