"""The CUDA runtime from NVIDIA's Python packages, for an engine that does not find it itself.

Prebuilt engines leave out libcudart and libcublas, and the system's loader does not look among
Python's packages: the libraries are loaded here first, and are then there by their names. Worker
side only.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_NEEDED: Final = re.compile(rb"libcudart\.so\.(\d+)")
_LOOKED_AT_BYTES: Final = 64 << 20
"""The list of needed libraries is near the beginning of a file that may have 500 MB."""
# Each needs the ones before it.
_LIBRARIES: Final = ("libcudart.so", "libcublasLt.so", "libcublas.so")


def preload() -> tuple[str, ...]:
    """Load what an installed CUDA build of llama.cpp needs, where a package has it.

    Returns:
        The files that were loaded, or the folders that were named to Windows.
    """
    folder = _engine_folder()
    if folder is None:
        return ()
    if sys.platform == "win32":
        if not (folder / "ggml-cuda.dll").is_file():
            return ()
        found = [*_folders("bin"), *_folders("bin/x86_64"), *_toolkit()]
        for each in found:
            os.add_dll_directory(str(each))
        return tuple(map(str, found))
    major = needed_major(folder / "libggml-cuda.so")
    if major is None:
        return ()
    loaded = []
    for name in _LIBRARIES:
        for each in _folders("lib"):
            # CUDA 11's is libcudart.so.11.0. What does not load here is told by the engine itself,
            # in its loader's words.
            path = next(iter(sorted(each.glob(f"{name}.{major}*"))), None)
            with suppress(OSError):
                if path is not None:
                    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
                    loaded.append(str(path))
                    break
    return tuple(loaded)


def needed_major(library: Path) -> int | None:
    """Return the release of the CUDA runtime that a library asks for; None where it asks for none."""
    try:
        with (
            library.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            match = _NEEDED.search(data, 0, _LOOKED_AT_BYTES)
            return None if match is None else int(match.group(1))
    except (OSError, ValueError):  # absent, or empty
        return None


def _engine_folder() -> Path | None:
    if named := os.environ.get("LLAMA_CPP_LIB_PATH"):
        return Path(named)
    found = importlib.util.find_spec("llama_cpp")
    return None if found is None or found.origin is None else Path(found.origin).parent / "lib"


def _folders(inside: str) -> list[Path]:
    """Folders of NVIDIA's packages: `nvidia/cublas/lib`, and `nvidia/cu13/lib` from CUDA 13 on."""
    roots = (Path(entry) / "nvidia" for entry in sys.path if entry)
    found = (path for root in roots if root.is_dir() for path in sorted(root.glob(f"*/{inside}")))
    return [path for path in found if path.is_dir()]


def _toolkit() -> list[Path]:
    """CUDA 13's folder of libraries on Windows, which llama-cpp-python does not name."""
    root = os.environ.get("CUDA_PATH")
    folder = Path(root) / "bin" / "x64" if root else None
    return [folder] if folder is not None and folder.is_dir() else []
