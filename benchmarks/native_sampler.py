"""The time of the sampler chain itself, measured with llama.cpp's own functions.

    python benchmarks/native_sampler.py MODEL THREADS GPU_LAYERS STEPS

Prints JSON: seconds per token right after a decode, as in a reply (the caches hold weights then),
and over and over on the same logits. `engine.py` runs it as a process of its own, so that nothing
of the worker takes part.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time
from typing import Any, Final

os.environ.setdefault("GGML_NO_BACKTRACE", "1")

from llama_cpp import llama_cpp as api

# What the worker uses for R1: models.toml's sampling.
TOP_K: Final = 64
TOP_P: Final = 0.95
TEMPERATURE: Final = 0.6
_PROMPT_TOKENS: Final = 256
_UBATCH: Final = 512


def chain(seed: int) -> Any:  # noqa: ANN401 - ctypes has no better type
    """R1's sampler chain, in the worker's order."""
    result = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    for stage in (
        api.llama_sampler_init_top_k(TOP_K),
        api.llama_sampler_init_top_p(TOP_P, 1),
        api.llama_sampler_init_temp(TEMPERATURE),
        api.llama_sampler_init_dist(seed),
    ):
        api.llama_sampler_chain_add(result, stage)
    return result


def measure(
    path: str, threads: int, gpu_layers: int, steps: int
) -> tuple[list[float], list[float]]:
    """Seconds of each sampling: after a decode each, and on the same logits again and again.

    Raises:
        RuntimeError: When llama.cpp refuses the model.
    """
    model_parameters = api.llama_model_default_params()
    model_parameters.n_gpu_layers = gpu_layers
    nothing = (ctypes.c_void_p * 1)(None)
    if gpu_layers == 0:  # an empty list of devices: the CPU alone
        model_parameters.devices = ctypes.cast(nothing, ctypes.c_void_p)
    model = api.llama_model_load_from_file(os.fsencode(path), model_parameters)
    if not model:
        raise RuntimeError(f"llama.cpp does not load {path}")
    parameters = api.llama_context_default_params()
    parameters.n_ctx = _PROMPT_TOKENS + steps + 1
    parameters.n_batch = parameters.n_ubatch = _UBATCH
    parameters.n_outputs_max = 1
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.flash_attn_type = -1
    context = api.llama_init_from_model(model, parameters)
    if not context:
        raise RuntimeError("llama.cpp makes no context")
    words = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    pick = random.Random(0)
    prompt = [pick.randrange(words) for _ in range(_PROMPT_TOKENS)]
    _decode(context, prompt)
    sampler = chain(seed=1)
    after_decode = []
    for _ in range(steps):
        started = time.perf_counter()
        token = api.llama_sampler_sample(sampler, context, -1)
        after_decode.append(time.perf_counter() - started)
        _decode(context, [token])
    repeated = []
    for _ in range(steps * 4):
        started = time.perf_counter()
        api.llama_sampler_sample(sampler, context, -1)
        repeated.append(time.perf_counter() - started)
    return after_decode, repeated


def _decode(context: Any, tokens: list[int]) -> None:  # noqa: ANN401 - as above
    array = (api.llama_token * len(tokens))(*tokens)
    if api.llama_decode(context, api.llama_batch_get_one(array, len(tokens))):
        raise RuntimeError("llama_decode failed")
    api.llama_synchronize(context)


def main() -> None:
    """Measure and print."""
    quiet = api.llama_log_callback(lambda _level, _text, _data: None)
    api.llama_log_set(quiet, ctypes.c_void_p(0))
    api.llama_backend_init()
    path, threads, gpu_layers, steps = sys.argv[1:]
    after_decode, repeated = measure(path, int(threads), int(gpu_layers), int(steps))
    print(json.dumps({"after_decode": after_decode, "repeated": repeated}), flush=True)
    # No teardown: the callback and native destructors would race.
    os._exit(0)


if __name__ == "__main__":
    main()
