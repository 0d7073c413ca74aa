"""llama.cpp's devices and log through ctypes: what the bindings do not bind.

Worker side only: importing this module loads llama.cpp.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final

# Without this an assertion in llama.cpp forks a debugger onto the user's terminal.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp
from llama_cpp import llama_cpp as api

from localr1.machine.types import DeviceKind, EngineDevice

# enum ggml_backend_dev_type in ggml-backend.h
_KINDS: Final[dict[int, DeviceKind]] = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accelerator"}
# enum ggml_log_level in ggml.h; CONT (5) continues the line before
_DEBUG, _WARN, _ERROR, _CONTINUED = 1, 3, 4, 5


class Log:
    """Keeps llama.cpp's last lines, and writes all of them to the log file (file descriptor 2)."""

    def __init__(self, kept_lines: int = 400) -> None:
        self.lines: deque[tuple[int, str]] = deque(maxlen=kept_lines)
        self._skipping = False
        # The callback object must outlive the library: an unreferenced one crashes the process.
        self._callback = api.llama_log_callback(self._receive)
        api.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _user_data: Any) -> None:
        # llama.cpp calls here for every debug line, even once per token: nobody reads those.
        self._skipping = level == _DEBUG or (level == _CONTINUED and self._skipping)
        if self._skipping:
            return
        line = text.decode("utf-8", "replace")
        if level == _CONTINUED and self.lines:
            last_level, last = self.lines.pop()
            self.lines.append((last_level, last + line))
        else:
            self.lines.append((level, line))
        sys.stderr.write(line)

    def clear(self) -> None:
        """Forget the kept lines."""
        self.lines.clear()

    def errors(self) -> str:
        """The last error lines, joined; the last warnings when there are none."""
        for wanted in (_ERROR, _WARN):
            found = [text.strip() for level, text in self.lines if level == wanted and text.strip()]
            if found:
                return " / ".join(dict.fromkeys(found[-3:]))
        return ""

    def matching(self, *needles: str) -> tuple[str, ...]:
        """The kept lines that hold any of the needles."""
        return tuple(
            text.strip() for _, text in self.lines if any(needle in text for needle in needles)
        )


class Devices:
    """llama.cpp's own device list."""

    def __init__(self) -> None:
        self._ggml = _library("ggml")
        self._base = _library("ggml-base")
        declare = [
            (self._ggml, "ggml_backend_dev_count", ctypes.c_size_t, []),
            (self._ggml, "ggml_backend_dev_get", ctypes.c_void_p, [ctypes.c_size_t]),
            (self._base, "ggml_backend_dev_name", ctypes.c_char_p, [ctypes.c_void_p]),
            (self._base, "ggml_backend_dev_description", ctypes.c_char_p, [ctypes.c_void_p]),
            (self._base, "ggml_backend_dev_type", ctypes.c_int, [ctypes.c_void_p]),
            (self._base, "ggml_backend_dev_backend_reg", ctypes.c_void_p, [ctypes.c_void_p]),
            (self._base, "ggml_backend_reg_name", ctypes.c_char_p, [ctypes.c_void_p]),
            (
                self._base,
                "ggml_backend_dev_memory",
                None,
                [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)],
            ),
        ]
        for library, name, result, arguments in declare:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments

    def all(self) -> list[EngineDevice]:
        """Every device, with its free memory as of now."""
        found = []
        for index in range(self._ggml.ggml_backend_dev_count()):
            pointer = self._ggml.ggml_backend_dev_get(index)
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            self._base.ggml_backend_dev_memory(pointer, free, total)
            device = EngineDevice(
                name=self._base.ggml_backend_dev_name(pointer).decode("utf-8", "replace"),
                description=self._base.ggml_backend_dev_description(pointer).decode(
                    "utf-8", "replace"
                ),
                kind=_KINDS.get(self._base.ggml_backend_dev_type(pointer), "accelerator"),
                total_bytes=total.value,
                free_bytes=free.value,
            )
            found.append(device)
        return found

    def pointers(self) -> dict[str, int]:
        """Every device's pointer by its name.

        Unlike `all` this asks for no memory figures: on CUDA that question alone makes a driver
        context, half a GiB that a model on the CPU has no use for.
        """
        found = {}
        for index in range(self._ggml.ggml_backend_dev_count()):
            pointer = self._ggml.ggml_backend_dev_get(index)
            found[self._base.ggml_backend_dev_name(pointer).decode("utf-8", "replace")] = pointer
        return found

    def backends(self) -> tuple[str, ...]:
        """Names of the backends that have a device, in the order of the list."""
        names = []
        for index in range(self._ggml.ggml_backend_dev_count()):
            registry = self._base.ggml_backend_dev_backend_reg(
                self._ggml.ggml_backend_dev_get(index)
            )
            names.append(self._base.ggml_backend_reg_name(registry).decode("utf-8", "replace"))
        return tuple(dict.fromkeys(names))

    def cpu_buffer_type(self) -> int:
        """The buffer type of plain main memory, for tensors kept off the GPUs."""
        for library in (self._ggml, self._base, api._lib):  # noqa: SLF001 - the only handle there is
            function = getattr(library, "ggml_backend_cpu_buffer_type", None)
            if function is not None:
                function.restype = ctypes.c_void_p
                return int(function())
        raise RuntimeError("llama.cpp has no ggml_backend_cpu_buffer_type")


def version() -> str:
    """The version of llama-cpp-python."""
    return str(llama_cpp.__version__)


def _library(name: str) -> ctypes.CDLL:
    override = os.environ.get("LLAMA_CPP_LIB_PATH")
    folder = Path(override) if override else Path(llama_cpp.__file__).parent / "lib"
    file_name = {"win32": f"{name}.dll", "darwin": f"lib{name}.dylib"}.get(
        sys.platform, f"lib{name}.so"
    )
    return ctypes.CDLL(str(folder / file_name))
