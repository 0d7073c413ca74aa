"""The process that lends this computer's memory to another llama.cpp, over the network (RPC).

Run as `python -m localr1.engine.lending HOST PORT THREADS FACTS`; serves until its stdin ends,
which it does with the process that started it.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

from localr1.engine import native
from localr1.engine.front import Front
from localr1.machine import memory
from localr1.machine.host import Host


def main() -> None:
    """Serve the GPUs that llama.cpp has here, or main memory where there are none."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    host, port, threads, facts = sys.argv[1:]
    names = [device.name for device in native.Devices().all() if device.kind in {"gpu", "igpu"}]
    serve(host, int(port), int(threads), names or ["CPU"], json.loads(facts))


def serve(
    host: str, port: int, threads: int, names: list[str], facts: Mapping[str, Mapping[str, Any]]
) -> None:
    """Lend devices, for ever.

    Args:
        host: Where to listen.
        port: On which port.
        threads: For a CPU to compute with.
        names: The devices, by llama.cpp's names.
        facts: What is known of each: `description`, `vendor`, `bandwidth_bytes_per_second`.
    """
    devices = native.Devices()

    def greeting() -> dict[str, Any]:
        known = {device.name: device for device in devices.all()}
        main_memory = memory.probe(Host())  # with the limits of containers, unlike llama.cpp
        sizes = {
            name: (main_memory.total_bytes, main_memory.available_bytes)
            if known[name].kind == "cpu"
            else (known[name].total_bytes, known[name].free_bytes)
            for name in names
        }
        return {
            "version": native.version(),
            "build": native.build(),
            "devices": [
                {
                    "description": known[name].description,
                    "vendor": "",
                    "bandwidth_bytes_per_second": None,
                    **facts.get(name, {}),
                    "name": name,
                    "total_bytes": sizes[name][0],
                    "free_bytes": sizes[name][1],
                }
                for name in names
            ],
        }

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        inner: tuple[str, int] = free.getsockname()
    threading.Thread(target=Front(listener, inner, greeting).serve, daemon=True).start()
    pointers = devices.pointers()
    start = native.rpc_function(
        "ggml_backend_rpc_start_server",
        None,
        [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p],
    )
    listed = (ctypes.c_void_p * len(names))(*(pointers[name] for name in names))
    start(f"{inner[0]}:{inner[1]}".encode(), None, threads, len(names), listed)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # llama.cpp's server never returns


if __name__ == "__main__":
    main()
