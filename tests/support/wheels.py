"""Wheels of the engine made from the installed one: with other libraries, or broken on purpose."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

PACKAGE = "llama-cpp-python"


def installed() -> dict[str, bytes]:
    """The installed engine's own files: the package and what describes it."""
    found = metadata.distribution(PACKAGE)
    about = f"llama_cpp_python-{found.version}.dist-info"
    left_out = {
        f"{about}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    }
    return {
        str(file): Path(str(file.locate())).read_bytes()
        for file in found.files or ()
        if str(file).startswith(("llama_cpp/", about))
        and "__pycache__" not in str(file)
        and str(file) not in left_out
    }


def with_libraries(files: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    """The same engine with the libraries of another build."""
    kept = {name: data for name, data in files.items() if not name.startswith("llama_cpp/lib/")}
    libraries = {
        f"llama_cpp/lib/{path.name}": path.read_bytes()
        for path in folder.iterdir()
        if ".so" in path.name or path.suffix in (".dylib", ".dll")
    }
    return {**kept, **libraries}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files as a wheel that pip installs anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    version = metadata.version(PACKAGE)
    path = folder / f"llama_cpp_python-{version}-py3-none-any.whl"
    rows = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(data)}")
        record = f"llama_cpp_python-{version}.dist-info/RECORD"
        wheel.writestr(record, "\n".join([*rows, f"{record},,"]) + "\n")
    return path
