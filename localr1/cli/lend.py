"""`localr1 lend`: this computer's memory for a localr1 on another one."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from localr1.cli import opening, output
from localr1.config import ensure
from localr1.engine import peers
from localr1.engine.client import probe
from localr1.errors import EngineMissing, FileError, LocalR1Error, RpcUnavailable
from localr1.fit.rates import weights_read
from localr1.home import examine

_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05
# ggml-rpc.cpp prints it just before it listens.
_LISTENS: Final = re.compile(rb"transport +: TCP")


def run(arguments: argparse.Namespace) -> int:
    """Lend until Ctrl+C."""
    home = opening.home(arguments)
    address = str(peers.check_private(arguments.host))
    engine = asyncio.run(probe(home.directories.logs))
    if engine.problem:
        raise EngineMissing("The engine does not start.", engine.problem, "Run `localr1 doctor`.")
    if "RPC" not in engine.compiled:
        raise RpcUnavailable(
            "This llama.cpp cannot lend memory.",
            "It was built without RPC.",
            "Build it anew: localr1 doctor --fix rpc",
        )
    port = _free_port(address, arguments.port)
    machine = asyncio.run(examine(home))
    facts = {
        device.name: {
            "description": device.description,
            "vendor": device.vendor,
            "bandwidth_bytes_per_second": device.bandwidth_bytes_per_second,
        }
        for device in machine.gpus
    }
    facts["CPU"] = {
        "description": machine.cpu.name,
        "vendor": "cpu",
        "bandwidth_bytes_per_second": weights_read(machine),
    }
    path = ensure(home.directories.logs) / f"lend-{os.getpid()}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-P", "-m", "localr1.engine.lending"),
                *(address, str(port), str(machine.cpu.physical_cores or 1), json.dumps(facts)),
            ],
            stdin=subprocess.PIPE,  # its end is that of the lending
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, path)
            output.print_lines(_words(address, port, engine.version))
            sys.stdout.flush()
            process.wait()
            raise _ended(path)
        finally:
            process.kill()
            process.wait()


def _words(address: str, port: int, version: str) -> list[str]:
    """What the user is told."""
    told = [
        f"This computer lends its memory at {address}:{port} (llama-cpp-python {version}).",
        "  The connection has no protection of its own.",
    ]
    me = f"{getpass.getuser()}@{socket.gethostname()}"
    if address in {"127.0.0.1", "::1"}:
        told += [
            "  On the other computer, a tunnel and then the app:",
            f"    ssh -N -L {port}:127.0.0.1:{port} {me}",
            f"    localr1 chat --pool 127.0.0.1:{port}",
        ]
    else:
        told += [
            "  Everyone in this network can use it, and end it. On the other computer:",
            f"    localr1 chat --pool {address}:{port}",
        ]
    return [*told, "  One at a time can borrow it. Ctrl+C ends it."]


def _free_port(address: str, port: int) -> int:
    """The port, if it is free: llama.cpp would only write a line into its log.

    Raises:
        FileError: It is taken.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probing:
        try:
            probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probing.bind((address, port))
        except OSError as error:
            raise FileError(
                f"Nothing can be lent at {address}, port {port}.",
                error.strerror or str(error),
                "Choose an address of this computer, and another port with --port.",
            ) from error
        return int(probing.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _LISTENS.search(log.read_bytes()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise _ended(log)
        time.sleep(_LOOK_SECONDS)


def _ended(path: Path) -> LocalR1Error:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return LocalR1Error(
        "The lending ended.",
        lines[-1] if lines else "llama.cpp said nothing.",
        f"Start it again; its log is {path}.",
    )
