"""Many dry runs of llama.cpp in one process, which keeps a model open for as long as it can.

Run as a process: `python dry_runs.py [HOST:PORT ...]`, with LLAMA_CPP_LIB_PATH naming a build with
RPC where servers are given. It reads one JSON object a line, a path and settings, and answers with
the buffers or with llama.cpp's refusal. `asking` runs one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localr1.engine.types import DeviceBuffers
from localr1.fit.types import Settings

Ask = Callable[[Path, Settings], "tuple[DeviceBuffers, ...] | str"]
"""Buffers, the CPU's first, or why llama.cpp refuses."""


@contextmanager
def asking(endpoints: Sequence[str] = (), library: Path | None = None) -> Iterator[Ask]:
    """A process that answers.

    Args:
        endpoints: RPC servers whose devices the settings may name.
        library: Folder of a llama.cpp with RPC.
    """
    environment = dict(os.environ)
    if library is not None:
        environment["LLAMA_CPP_LIB_PATH"] = str(library)
    process = subprocess.Popen(
        [sys.executable, __file__, *endpoints],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise RuntimeError("a process without pipes")

    def ask(path: Path, settings: Settings) -> tuple[DeviceBuffers, ...] | str:
        stdin.write(json.dumps({"path": str(path), **asdict(settings)}) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp ended at {path.name} with {settings}")
        answer = json.loads(line)
        if isinstance(answer, str):
            return answer
        return tuple(DeviceBuffers(**buffers) for buffers in answer)

    try:
        yield ask
    finally:
        stdin.close()
        process.wait()
        stdout.close()


def _serve(endpoints: Sequence[str]) -> None:
    # Only here: the process that asks must not load llama.cpp.
    from llama_cpp import llama_cpp as api

    from localr1.engine import loading, native
    from localr1.engine.protocol import Load

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    api.llama_backend_init()
    native.join_rpc_servers(endpoints)
    log, abort, keep = native.Log(), native.AbortFlag(), list[Any]()
    model, held, loaded = None, None, list[str]()
    for line in sys.stdin:
        asked = json.loads(line)
        asked = {k: tuple(v) if isinstance(v, list) else v for k, v in asked.items()}
        load = Load(1, measure_only=True, **asked)
        placement = (
            *(load.path, load.gpu_layers, load.device_names),
            *(load.cpu_expert_layers, load.tensor_split),
        )
        if model is None or held != placement:
            if model is not None:
                api.llama_model_free(model)
            with log.recording() as loaded:
                model = loading.open_model(load, log, keep)
            held = placement
        answer: object
        try:
            with log.recording() as lines:
                context = loading.open_context(model, load, log, abort, keep)
            api.llama_free(context)
            answer = [asdict(b) for b in loading.buffers_of(load, [*loaded, *lines])]
        except loading.LoadError as error:
            model = None  # it was freed with the context that there is not
            answer = str(error)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1:])
