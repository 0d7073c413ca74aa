"""Loading a model and making its context, alike for a real load and a dry run. Worker side."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from llama_cpp import llama_cpp as api

from localr1.engine import buffers
from localr1.engine.native import AbortFlag, Devices, Log
from localr1.engine.protocol import Load
from localr1.engine.types import DeviceBuffers
from localr1.fit.backends import BACKENDS, DEVICE_TOP_K
from localr1.gguf import header
from localr1.gguf.file import shard_paths

# enum ggml_type in ggml.h
KV_CACHE_TYPES: Final = {"f16": 1, "q8_0": 8, "q4_0": 2}
# enum llama_flash_attn_type and llama_load_mode in llama.h
_FLASH_ATTENTION_AUTO, _FLASH_ATTENTION_OFF = -1, 0
_LOAD_MODE_AUTO, _LOAD_MODE_NONE = -1, 0
# As llama.cpp's own programs have it.
_BATCH_TOKENS: Final = 2048
# LLAMA_MAX_DEVICES in llama.h
_MAX_DEVICES: Final = 128

_CHOOSING_DEVICES: Final = tuple(name for name, one in BACKENDS.items() if one.picks_best)

SMALLEST_CONTEXT: Final = 256
"""llama.cpp pads a context to this, but not the batch that goes with it."""


class LoadError(Exception):
    """llama.cpp refused; the message says why."""


class Cancelled(Exception):
    """The user stopped a load or a prompt."""


class _TensorOverride(ctypes.Structure):
    """struct llama_model_tensor_buft_override in llama.h, which the bindings do not define."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


def open_model(
    load: Load,
    log: Log,
    keep: list[Any],
    *,
    on_progress: Callable[[float], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Any:
    """Load a model; with `load.measure_only` its header alone, and no memory for its tensors.

    Args:
        load: What to load and how.
        log: llama.cpp's log; emptied, then asked for the reason of a refusal.
        keep: Takes what llama.cpp points into; must live as long as the model.
        on_progress: Called with the share of tensors loaded.
        stopped: Polled meanwhile; True ends the load.

    Returns:
        llama.cpp's model.

    Raises:
        LoadError: When llama.cpp refuses.
        Cancelled: When `stopped` said so.
    """
    log.clear()
    if not Path(load.path).is_file():
        raise LoadError(f"there is no file {load.path}")
    parameters = api.llama_model_default_params()
    parameters.n_gpu_layers = load.gpu_layers
    parameters.load_mode = _LOAD_MODE_AUTO
    _choose_devices(parameters, load, keep)
    if load.measure_only:
        parameters.no_alloc = True
        parameters.load_mode = _LOAD_MODE_NONE  # with any other llama.cpp aborts

    def progress(fraction: float, _user_data: Any) -> bool:
        if on_progress is not None:
            on_progress(float(fraction))
        return not stopped()

    callback = api.llama_progress_callback(progress)
    keep.append(callback)
    parameters.progress_callback = callback
    model = api.llama_model_load_from_file(os.fsencode(load.path), parameters)
    if not model:
        if stopped():
            raise Cancelled
        raise LoadError(log.errors() or "llama.cpp gave no reason")
    return model


def open_context(model: Any, load: Load, log: Log, abort: AbortFlag, keep: list[Any]) -> Any:
    """Make a model's context.

    Args:
        model: From `open_model`; freed here when there is no context.
        load: How.
        log: llama.cpp's log; asked for the reason of a refusal.
        abort: Polled while the context computes.
        keep: Takes what llama.cpp points into; must live as long as the context.

    Returns:
        llama.cpp's context.

    Raises:
        LoadError: When llama.cpp refuses.
    """
    if load.kv_cache_type not in KV_CACHE_TYPES:
        api.llama_model_free(model)
        raise LoadError(f"unknown KV cache type {load.kv_cache_type}")
    parameters = api.llama_context_default_params()
    window = max(load.context_window, SMALLEST_CONTEXT)
    if load.sequences > 1:
        # One pool of cells, in which each has room for a window: divided, llama.cpp would compute
        # sequences that are not neighbours one after another.
        window = -(-window // SMALLEST_CONTEXT) * SMALLEST_CONTEXT
        parameters.kv_unified = True
    parameters.n_ctx = window * load.sequences
    # A GPU computes the micro-batches of a batch without a pause between them.
    parameters.n_batch = max(load.ubatch, _BATCH_TOKENS)
    parameters.n_ubatch = load.ubatch
    parameters.n_seq_max = load.sequences
    # Rows of logits for what is sampled from, not one per prompt token.
    parameters.n_outputs_max = load.sequences * (1 + load.draft_tokens)
    parameters.n_threads = parameters.n_threads_batch = load.threads or os.cpu_count() or 1
    parameters.flash_attn_type = (
        _FLASH_ATTENTION_AUTO if load.flash_attention else _FLASH_ATTENTION_OFF
    )
    parameters.type_k = parameters.type_v = KV_CACHE_TYPES[load.kv_cache_type]
    parameters.abort_callback = abort.callback
    parameters.abort_callback_data = abort.data
    if chooses_on_device(model, load):
        samplers = (api.llama_sampler_seq_config * 1)(
            api.llama_sampler_seq_config(0, ctypes.cast(_top_k_chain(), ctypes.c_void_p))
        )
        keep.append(samplers)
        parameters.samplers, parameters.n_samplers = samplers, 1
    context = api.llama_init_from_model(model, parameters)
    if not context:
        reason = log.errors() or "llama.cpp gave no reason"
        api.llama_model_free(model)
        raise LoadError(reason)
    return context


def chooses_on_device(model: Any, load: Load) -> bool:
    """Whether the device of the output layer picks the best `DEVICE_TOP_K` logits itself.

    Otherwise all 152,000 of them come to the CPU for every token, where looking through them
    takes 0.4 ms: a tenth of a token of 7B on a fast GPU. Guesses need several rows of logits,
    for which llama.cpp builds its graph anew every time.
    """
    layers = int(api.llama_model_n_layer(model))
    return (
        load.draft_tokens == 0
        and load.sequences == 1
        and load.gpu_layers > layers
        and bool(load.device_names)
        and load.device_names[-1].startswith(_CHOOSING_DEVICES)
    )


def _top_k_chain() -> Any:
    # Freed with the process: it has to outlive the context.
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    api.llama_sampler_chain_add(chain, api.llama_sampler_init_top_k(DEVICE_TOP_K))
    return chain


def buffers_of(load: Load, lines: Sequence[str]) -> tuple[DeviceBuffers, ...]:
    """The buffers of a load, real or dry, from what llama.cpp logged meanwhile.

    Raises:
        GgufError: The file's header cannot be read.
    """
    tensors = [
        tensor
        for shard in shard_paths(Path(load.path))
        for tensor in header.read(shard, header_only=True).tensors
    ]
    owners = Devices().buffer_owners(load.device_names)
    return buffers.read(lines, tensors, owners, measured=load.measure_only)


def _choose_devices(parameters: Any, load: Load, keep: list[Any]) -> None:
    # An empty list means the CPU alone; no list would mean every GPU there is.
    devices = Devices()
    by_name = devices.pointers()
    missing = [name for name in load.device_names if name not in by_name]
    if missing:
        raise LoadError(f"llama.cpp has no device {missing[0]}; it has {', '.join(by_name)}")
    pointers = (ctypes.c_void_p * (len(load.device_names) + 1))(
        *(by_name[name] for name in load.device_names), None
    )
    keep.append(pointers)
    parameters.devices = ctypes.cast(pointers, ctypes.c_void_p)
    if load.tensor_split:
        split = (ctypes.c_float * _MAX_DEVICES)(*load.tensor_split)
        keep.append(split)
        parameters.tensor_split = split
    if load.cpu_expert_layers:
        count = load.cpu_expert_layers
        overrides = (_TensorOverride * (count + 1))()
        for layer in range(count):
            # The pattern of llama.cpp's own --n-cpu-moe (common/common.h).
            pattern = rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps".encode()
            overrides[layer].pattern = pattern
            overrides[layer].buffer_type = devices.cpu_buffer_type()
        keep.append(overrides)
        parameters.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        parameters.load_mode = _LOAD_MODE_NONE
