"""What a load would take, by llama.cpp's own reckoning: everything but the memory. Worker side.

llama.cpp's `no_alloc` load reads the header, lays out the tensors, and reserves the graphs that
a real context would compute, without taking memory for any of it: a third of a second and 120 MB
even for 70B. It needs only a file of the right length, so that a header followed by a hole does.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from llama_cpp import llama_cpp as api

from localr1.engine import loading
from localr1.engine.native import AbortFlag, Log
from localr1.engine.protocol import Load, Measured
from localr1.errors import GgufError


def measure(load: Load, log: Log, abort: AbortFlag) -> Measured:
    """Measure what a load would take, with the very settings of a real one.

    Raises:
        LoadError: When llama.cpp refuses the file or the settings.
    """
    started = time.monotonic()
    load = replace(load, measure_only=True)
    keep: list[Any] = []
    with log.recording() as lines:
        model = loading.open_model(load, log, keep)
        context = loading.open_context(model, load, log, abort, keep)
    window = int(api.llama_n_ctx(context))
    api.llama_free(context)
    api.llama_model_free(model)
    try:
        found = loading.buffers_of(load, lines)
    except GgufError as error:
        raise loading.LoadError(str(error)) from error
    return Measured(
        load.request_id,
        buffers=tuple(asdict(buffer) for buffer in found),
        context_window=window,
        seconds=time.monotonic() - started,
    )
