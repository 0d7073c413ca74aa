"""llama.cpp's devices and log through ctypes: what the bindings do not bind.

Worker side only: importing this module loads llama.cpp.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

# Without this an assertion in llama.cpp forks a debugger onto the user's terminal.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp
from llama_cpp import llama_cpp as api

from localr1.engine import rpc
from localr1.engine.last_words import ABORT_MARK
from localr1.machine.types import DeviceKind, EngineDevice

# enum ggml_backend_dev_type in ggml-backend.h
_KINDS: Final[dict[int, DeviceKind]] = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accelerator"}
# enum ggml_log_level in ggml.h; CONT (5) continues the line before
_DEBUG, _WARN, _ERROR, _CONTINUED = 1, 3, 4, 5


_joined: set[str] = set()  # llama.cpp's list of servers, which only grows


class Log:
    """Keeps llama.cpp's last lines, and writes all of them to the log file (file descriptor 2)."""

    def __init__(self, kept_lines: int = 400) -> None:
        self.lines: deque[tuple[int, str]] = deque(maxlen=kept_lines)
        self._skipping = False
        self._recorded: list[str] | None = None
        # The callback object must outlive the library: an unreferenced one crashes the process.
        self._callback = api.llama_log_callback(self._receive)
        api.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _user_data: Any) -> None:
        if self._recorded is not None:
            self._record(level, text.decode("utf-8", "replace"))
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

    def _record(self, level: int, text: str) -> None:
        if self._recorded and level == _CONTINUED:
            self._recorded[-1] += text
        elif self._recorded is not None:
            self._recorded.append(text)

    @contextmanager
    def recording(self) -> Iterator[list[str]]:
        """Collect every line meanwhile, with the debug lines that are kept nowhere else."""
        lines: list[str] = []
        self._recorded = lines
        try:
            yield lines
        finally:
            self._recorded = None

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


class AbortFlag:
    """A flag that llama.cpp polls while it computes on the CPU, without calling into Python.

    llama.cpp asks its abort callback once for each node of the graph, a thousand times a token:
    through Python that costs a millisecond. `ggml_get_no_alloc` is a C function of exactly the
    callback's type, and the flag of an otherwise unused ggml context serves as ours.
    """

    def __init__(self) -> None:
        base = library("ggml-base")
        base.ggml_init.restype = ctypes.c_void_p
        base.ggml_init.argtypes = [InitParameters]
        self._set = base.ggml_set_no_alloc
        self._set.restype, self._set.argtypes = None, [ctypes.c_void_p, ctypes.c_bool]
        self._context = ctypes.c_void_p(base.ggml_init(InitParameters(1024, None, False)))
        self.callback = ctypes.cast(base.ggml_get_no_alloc, api.ggml_abort_callback)
        self.data = self._context

    def raise_(self) -> None:
        """End the computation that runs; may be called from any thread."""
        self._set(self._context, True)

    def lower(self) -> None:
        """Let computations run."""
        self._set(self._context, False)


class InitParameters(ctypes.Structure):
    """struct ggml_init_params in ggml.h."""

    _fields_ = [
        ("memory_bytes", ctypes.c_size_t),
        ("buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    ]


def _tell_abort(message: bytes) -> None:
    where, _, what = message.decode("utf-8", "replace").partition(": ")
    file = where.replace("\\", "/").rpartition("/")[2]  # not the folder it was built in
    line = f"\n{ABORT_MARK}{file}: {' '.join(what.split())}\n"
    os.write(2, line.encode())


_ABORT_CALLBACK: Final = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_tell_abort)
"""Here for as long as the process: the library keeps only its address."""


def tell_aborts() -> None:
    """Have llama.cpp's assertions say their reason in the log before they end the process."""
    setter = library("ggml-base").ggml_set_abort_callback
    setter.restype, setter.argtypes = ctypes.c_void_p, [type(_ABORT_CALLBACK)]
    setter(_ABORT_CALLBACK)


class Devices:
    """llama.cpp's own device list."""

    def __init__(self) -> None:
        self._ggml = library("ggml")
        self._base = library("ggml-base")
        declare = [
            (self._ggml, "ggml_backend_dev_count", ctypes.c_size_t, []),
            (self._ggml, "ggml_backend_dev_get", ctypes.c_void_p, [ctypes.c_size_t]),
            (self._ggml, "ggml_backend_reg_count", ctypes.c_size_t, []),
            (self._ggml, "ggml_backend_reg_get", ctypes.c_void_p, [ctypes.c_size_t]),
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
            (self._base, "ggml_backend_dev_buffer_type", ctypes.c_void_p, [ctypes.c_void_p]),
            (self._base, "ggml_backend_buft_name", ctypes.c_char_p, [ctypes.c_void_p]),
        ]
        for owner, name, result, arguments in declare:
            function = getattr(owner, name)
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

    def buffer_owners(self, names: Iterable[str]) -> dict[str, str]:
        """For each named device the name of its buffers, as the key, and its own.

        They differ: an RPC device's buffers are called after its number on its own server.
        """
        pointers = self.pointers()
        owners = {}
        for name in names:
            buffer_type = self._base.ggml_backend_dev_buffer_type(pointers[name])
            label = self._base.ggml_backend_buft_name(buffer_type)
            owners[label.decode("utf-8", "replace")] = name
        return owners

    def backends(self) -> tuple[str, ...]:
        """Names of the backends that have a device, in the order of the list."""
        names = []
        for index in range(self._ggml.ggml_backend_dev_count()):
            registry = self._base.ggml_backend_dev_backend_reg(
                self._ggml.ggml_backend_dev_get(index)
            )
            names.append(self._base.ggml_backend_reg_name(registry).decode("utf-8", "replace"))
        return tuple(dict.fromkeys(names))

    def compiled(self) -> tuple[str, ...]:
        """Names of all backends of the build, with or without a device."""
        registries = [
            self._ggml.ggml_backend_reg_get(index)
            for index in range(self._ggml.ggml_backend_reg_count())
        ]
        names = [self._base.ggml_backend_reg_name(registry) for registry in registries]
        return tuple(name.decode("utf-8", "replace") for name in names)

    def cpu_buffer_type(self) -> int:
        """The buffer type of plain main memory, for tensors kept off the GPUs."""
        for owner in (self._ggml, self._base, api._lib):  # noqa: SLF001 - the only handle there is
            function = getattr(owner, "ggml_backend_cpu_buffer_type", None)
            if function is not None:
                function.restype = ctypes.c_void_p
                return int(function())
        raise RuntimeError("llama.cpp has no ggml_backend_cpu_buffer_type")


def join_rpc_servers(endpoints: Iterable[str]) -> None:
    """Add servers' devices to the list; those that are there already stay as they are.

    Args:
        endpoints: `host:port` each.

    Raises:
        RpcProblem: The build has no RPC, or a server cannot be used.
    """
    wanted = [endpoint for endpoint in dict.fromkeys(endpoints) if endpoint not in _joined]
    if wanted and not api.llama_supports_rpc():
        raise rpc.RpcProblem(
            "This llama.cpp cannot use the memory of other computers.",
            "It was built without RPC.",
            "Build it anew, here and there: localr1 doctor --fix rpc",
        )
    for endpoint in wanted:
        rpc.check(endpoint)
    for endpoint in wanted:
        add = rpc_function("ggml_backend_rpc_add_server", ctypes.c_void_p, [ctypes.c_char_p])
        registry = add(endpoint.encode())
        if not registry:
            raise rpc.RpcProblem(
                f"{endpoint} lends no device.", "Its list is empty.", "Start the server anew."
            )
        register = library("ggml").ggml_backend_register
        register.restype, register.argtypes = None, [ctypes.c_void_p]
        register(registry)
        _joined.add(endpoint)


def rpc_function(name: str, result: Any, arguments: list[Any]) -> Callable[..., Any]:
    """A function of the RPC backend, which may live in a library of its own.

    Args:
        name: As in ggml-rpc.h.
        result: Its ctypes type.
        arguments: Theirs.
    """
    by_name = library("ggml").ggml_backend_reg_by_name
    by_name.restype, by_name.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address_of = library("ggml-base").ggml_backend_reg_get_proc_address
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
    return ctypes.CFUNCTYPE(result, *arguments)(address_of(by_name(b"RPC"), name.encode()))


def version() -> str:
    """The version of llama-cpp-python."""
    return str(llama_cpp.__version__)


def build() -> str:
    """Version and commit of ggml, which is that of llama.cpp: `0.25.3 0c1e570`.

    A build from an archive knows no commit and says `unknown`.
    """
    base = library("ggml-base")
    words = []
    for name in ("ggml_version", "ggml_commit"):
        function = getattr(base, name)
        function.restype, function.argtypes = ctypes.c_char_p, []
        words.append(function().decode("ascii", "replace").removesuffix("-dirty"))
    return " ".join(words)


def library(name: str) -> ctypes.CDLL:
    """A library of llama.cpp, the very one that llama.cpp itself uses."""
    if os.name != "nt":
        # Installed, libggml.so and libggml.so.0 are copies of each other, not links: opened by
        # its name it would be a second library, with devices and callbacks of its own.
        # libllama's handle finds the functions of the libraries that it is linked with.
        libllama = api._lib  # noqa: SLF001 - the only handle there is
        return ctypes.CDLL(libllama._name, handle=libllama._handle)  # noqa: SLF001 - as above
    override = os.environ.get("LLAMA_CPP_LIB_PATH")
    folder = Path(override) if override else Path(llama_cpp.__file__).parent / "lib"
    return ctypes.CDLL(str(folder / f"{name}.dll"))
