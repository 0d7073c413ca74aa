"""An RPC server that stands in for a GPU: a device of its own, with as much memory as it is told.

Run as a process: `python lender.py PORT MEMORY_BYTES`, with LLAMA_CPP_LIB_PATH naming a build
with RPC. `lent` starts one on a free loopback port; `lending` the real `localr1 lend`.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from commands import MAIN

import localr1

_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Lender:
    """A server that runs."""

    endpoint: str
    process: subprocess.Popen[bytes]


def library_folder() -> Path | None:
    """The folder of a llama.cpp with RPC: `make rpc` makes one, LOCALR1_RPC_LIB names another."""
    named = os.environ.get("LOCALR1_RPC_LIB")
    folder = Path(named) if named else Path(localr1.__file__).parent.parent / ".rpc" / "lib"
    return folder if any(folder.glob("*ggml-rpc*")) else None


@contextmanager
def lent(folder: Path, memory_bytes: int, log: Path) -> Iterator[Lender]:
    """Run a server that says it has `memory_bytes`, all free; its output goes to `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, __file__, str(port), str(memory_bytes)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LLAMA_CPP_LIB_PATH": str(folder)},
        )
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        # It prints this just before it listens; asking the port would take the one place it has.
        while not re.search(rb"transport +: TCP", log.read_bytes()):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, "the RPC server does not start"
            time.sleep(0.02)
        time.sleep(0.1)
        yield Lender(f"127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def lending(
    *options: str, before: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, psutil.Process]]:
    """Lend, and stop it as Ctrl+C does; yields the address and the process."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", MAIN, "lend", *options],
        env={**os.environ, "LLAMA_CPP_LIB_PATH": str(library_folder()), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = process.stdout.readline()
        found = re.search(r"at (\S+:\d+) ", said)
        assert found is not None, said + process.stderr.read()
        yield found[1], psutil.Process(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else ():
            child.kill()
        process.kill()
        process.communicate()


def _serve(port: int, memory_bytes: int) -> None:
    # It loads llama.cpp, which the tests' own process must not.
    from localr1.engine import native

    device = native.Devices().pointers()["CPU"]
    size_pointer = ctypes.POINTER(ctypes.c_size_t)

    def tell(_device: int, free: Any, total: Any) -> None:
        free[0] = total[0] = memory_bytes

    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, size_pointer, size_pointer)(tell)
    # ggml_backend_device_i in ggml-backend-impl.h: name, description, memory, ...
    functions = (ctypes.c_void_p * 3).from_address(device)
    functions[2] = ctypes.cast(callback, ctypes.c_void_p).value
    start = native.rpc_function(
        "ggml_backend_rpc_start_server",
        None,
        [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p],
    )
    devices = (ctypes.c_void_p * 1)(device)
    start(f"127.0.0.1:{port}".encode(), None, 1, 1, devices)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
