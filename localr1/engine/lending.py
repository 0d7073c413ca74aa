"""The process that lends this computer's memory to another llama.cpp, over the network (RPC).

Run as `python -m localr1.engine.lending HOST PORT THREADS`; serves until its stdin ends, which it
does with the process that started it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading

from localr1.engine import native


def main() -> None:
    """Serve the GPUs that llama.cpp has here, or main memory where there are none."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    host, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    devices = native.Devices()
    pointers = devices.pointers()
    names = [device.name for device in devices.all() if device.kind in {"gpu", "igpu"}]
    chosen = [pointers[name] for name in names] or [pointers["CPU"]]
    start = native.rpc_function(
        "ggml_backend_rpc_start_server",
        None,
        [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p],
    )
    listed = (ctypes.c_void_p * len(chosen))(*chosen)
    start(f"{host}:{port}".encode(), None, threads, len(chosen), listed)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # llama.cpp's server never returns


if __name__ == "__main__":
    main()
