"""A loaded model and its context on llama.cpp's low-level interface. Worker side only."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from llama_cpp import llama_cpp as api

from localr1.engine.native import Devices, Log
from localr1.engine.protocol import Generate, Load, Segment
from localr1.engine.reply import Vocabulary, common_prefix_length

# enum ggml_type in ggml.h
KV_CACHE_TYPES: Final = {"f16": 1, "q8_0": 8, "q4_0": 2}
# enum llama_flash_attn_type and llama_load_mode in llama.h
_FLASH_ATTENTION_AUTO, _FLASH_ATTENTION_OFF = -1, 0
_LOAD_MODE_AUTO, _LOAD_MODE_NONE = -1, 0
# llama_decode's return values
_ABORTED: Final = 2

_MARKERS: Final = (
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
)
# Buffer lines that tell where a model really went; the "offloaded N layers" line does not.
BUFFER_LINES: Final = ("buffer size", "KV self size", "llama_kv_cache: size")


SMALLEST_CONTEXT: Final = 256
"""llama.cpp pads a context to this, but not the batch that goes with it."""


class LoadError(Exception):
    """llama.cpp refused; the message says why."""


class Cancelled(Exception):
    """The user stopped a load or a prompt."""


class DecodeError(Exception):
    """llama_decode failed."""


class _TensorOverride(ctypes.Structure):
    """struct llama_model_tensor_buft_override in llama.h, which the bindings do not define."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


class Model:
    """One model with one context; sequence 0 mirrors `cached`.

    Args:
        load: What to load and how.
        log: llama.cpp's log.
        on_progress: Called with the share of tensors loaded.
        stopped: Polled while loading and decoding; True ends the work.

    Raises:
        LoadError: When llama.cpp refuses the file or the context.
        Cancelled: When `stopped` said so.
    """

    def __init__(
        self,
        load: Load,
        log: Log,
        *,
        on_progress: Callable[[float], None],
        stopped: Callable[[], bool],
    ) -> None:
        started = time.monotonic()
        self._stopped = stopped
        self._keep: list[Any] = []  # what llama.cpp points into
        self._model = self._load(load, log, on_progress)
        self._context = self._make_context(load, log)
        self._memory = api.llama_get_memory(self._context)
        self._vocab = api.llama_model_get_vocab(self._model)
        self.context_window = int(api.llama_n_ctx(self._context))
        # llama.cpp never takes more at once than the context holds.
        self.ubatch = min(load.ubatch, int(api.llama_n_batch(self._context)))
        self.cached: list[int] = []
        self._batch = api.llama_batch_init(self.ubatch, 0, 1)
        self.vocabulary = self._read_vocabulary()
        self._pieces: dict[int, bytes] = {}
        self._warm_up(full=bool(load.device_names))
        self.load_seconds = time.monotonic() - started

    def _load(self, load: Load, log: Log, on_progress: Callable[[float], None]) -> Any:
        log.clear()
        if not Path(load.path).is_file():
            raise LoadError(f"there is no file {load.path}")
        parameters = api.llama_model_default_params()
        parameters.n_gpu_layers = load.gpu_layers
        parameters.load_mode = _LOAD_MODE_AUTO
        self._choose_devices(parameters, load)

        def progress(fraction: float, _user_data: Any) -> bool:
            on_progress(float(fraction))
            return not self._stopped()

        callback = api.llama_progress_callback(progress)
        self._keep.append(callback)
        parameters.progress_callback = callback
        model = api.llama_model_load_from_file(os.fsencode(load.path), parameters)
        if not model:
            if self._stopped():
                raise Cancelled
            raise LoadError(log.errors() or "llama.cpp gave no reason")
        return model

    def _choose_devices(self, parameters: Any, load: Load) -> None:
        # An empty list means the CPU alone; no list would mean every GPU there is.
        devices = Devices()
        by_name = devices.pointers()
        missing = [name for name in load.device_names if name not in by_name]
        if missing:
            raise LoadError(f"llama.cpp has no device {missing[0]}; it has {', '.join(by_name)}")
        pointers = (ctypes.c_void_p * (len(load.device_names) + 1))(
            *(by_name[name] for name in load.device_names), None
        )
        self._keep.append(pointers)
        parameters.devices = ctypes.cast(pointers, ctypes.c_void_p)
        if load.tensor_split:
            split = (ctypes.c_float * 128)(*load.tensor_split)
            self._keep.append(split)
            parameters.tensor_split = split
        if load.cpu_expert_layers:
            count = load.cpu_expert_layers
            overrides = (_TensorOverride * (count + 1))()
            for layer in range(count):
                # The pattern of llama.cpp's own --n-cpu-moe (common/common.h).
                pattern = rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps".encode()
                overrides[layer].pattern = pattern
                overrides[layer].buffer_type = devices.cpu_buffer_type()
            self._keep.append(overrides)
            parameters.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
            parameters.load_mode = _LOAD_MODE_NONE

    def _make_context(self, load: Load, log: Log) -> Any:
        if load.kv_cache_type not in KV_CACHE_TYPES:
            raise LoadError(f"unknown KV cache type {load.kv_cache_type}")
        parameters = api.llama_context_default_params()
        parameters.n_ctx = max(load.context_window, SMALLEST_CONTEXT)
        parameters.n_batch = parameters.n_ubatch = load.ubatch
        parameters.n_seq_max = 1
        parameters.n_outputs_max = 1  # one row of logits, not one per prompt token
        parameters.n_threads = parameters.n_threads_batch = load.threads or os.cpu_count() or 1
        parameters.flash_attn_type = (
            _FLASH_ATTENTION_AUTO if load.flash_attention else _FLASH_ATTENTION_OFF
        )
        parameters.type_k = parameters.type_v = KV_CACHE_TYPES[load.kv_cache_type]
        callback = api.ggml_abort_callback(lambda _user_data: self._stopped())
        self._keep.append(callback)
        parameters.abort_callback = callback
        context = api.llama_init_from_model(self._model, parameters)
        if not context:
            reason = log.errors() or "llama.cpp gave no reason"
            api.llama_model_free(self._model)
            raise LoadError(reason)
        return context

    def _read_vocabulary(self) -> Vocabulary:
        def single(text: str) -> int:
            ids = self.tokenize([Segment(text, special=True)])
            return ids[0] if len(ids) == 1 else -1

        ends = {single(marker) for marker in _MARKERS} - {-1}
        count = api.llama_vocab_n_tokens(self._vocab)
        ends |= {t for t in range(count) if api.llama_vocab_is_eog(self._vocab, t)}
        return Vocabulary(single("<think>"), single("</think>"), frozenset(ends))

    def _warm_up(self, *, full: bool) -> None:
        """Decode once before saying ready.

        GPU pools grow at the first full batch, and a context that cannot is better found out
        now; on a CPU one token maps the file's pages.
        """
        bos = max(0, int(api.llama_vocab_bos(self._vocab)))
        self.decode([bos] * (min(self.ubatch, self.context_window) if full else 1))
        self.truncate(0)

    def tokenize(self, segments: Iterable[Segment]) -> list[int]:
        """Token ids of a prompt, segment by segment; no BOS is added."""
        ids: list[int] = []
        for segment in segments:
            if segment.tokens:
                ids += segment.tokens
                continue
            data = segment.text.encode("utf-8", "replace")
            if not data:
                continue
            size = len(data) + 8
            buffer = (api.llama_token * size)()
            count = api.llama_tokenize(
                self._vocab, data, len(data), buffer, size, False, segment.special
            )
            if count < 0:
                raise DecodeError("llama.cpp could not tokenize the prompt")
            ids += buffer[:count]
        return ids

    def piece(self, token: int) -> bytes:
        """The bytes of a token; empty for control tokens."""
        if token not in self._pieces:
            size = 256
            while True:
                buffer = ctypes.create_string_buffer(size)
                count = api.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
                if count >= 0:
                    break
                size = -count
            self._pieces[token] = buffer.raw[:count]
        return self._pieces[token]

    def reuse(self, prompt: Sequence[int]) -> int:
        """Keep the part of the cache that the prompt begins with.

        At least one token is left to compute, since its logits are needed.

        Returns:
            The number of tokens kept.
        """
        kept = min(common_prefix_length(self.cached, list(prompt)), len(prompt) - 1)
        self.truncate(kept)
        return len(self.cached)

    def truncate(self, length: int) -> None:
        """Drop everything in the cache after the first `length` tokens."""
        if length >= len(self.cached):
            return
        if not api.llama_memory_seq_rm(self._memory, 0, length, -1):
            api.llama_memory_clear(self._memory, True)
            length = 0
        del self.cached[length:]

    def decode(self, tokens: Sequence[int]) -> None:
        """Append tokens to the cache, in batches; logits of the last one are kept.

        Raises:
            Cancelled: When `stopped` said so; what was computed stays cached.
            DecodeError: When llama.cpp fails.
        """
        for start in range(0, len(tokens), self.ubatch):
            part = tokens[start : start + self.ubatch]
            batch, position = self._batch, len(self.cached)
            for index, token in enumerate(part):
                batch.token[index] = token
                batch.pos[index] = position + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = 0
            batch.logits[len(part) - 1] = 1
            batch.n_tokens = len(part)
            result = api.llama_decode(self._context, batch)
            if result == 0:
                self.cached += part
                continue
            # A failed batch may have left some of its cells behind.
            api.llama_memory_seq_rm(self._memory, 0, position, -1)
            if result == _ABORTED:
                raise Cancelled
            raise DecodeError(f"llama_decode returned {result} at position {position}")

    def sampler(self, request: Generate) -> Sampler:
        """A fresh sampler chain for one request."""
        return Sampler(self._context, request)


class Sampler:
    """A native sampler chain: top-k first, since the others are slow on a large vocabulary."""

    def __init__(self, context: Any, request: Generate) -> None:
        self._context = context
        chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        if request.temperature <= 0:
            stages = [api.llama_sampler_init_greedy()]
        else:
            stages = [
                api.llama_sampler_init_top_k(request.top_k),
                api.llama_sampler_init_top_p(request.top_p, 1),
                *([api.llama_sampler_init_min_p(request.min_p, 1)] if request.min_p > 0 else []),
                api.llama_sampler_init_temp(request.temperature),
                api.llama_sampler_init_dist(request.seed),
            ]
        for stage in stages:
            api.llama_sampler_chain_add(chain, stage)
        self._chain = chain

    def sample(self) -> int:
        """The next token, from the logits of the last decoded one."""
        return int(api.llama_sampler_sample(self._chain, self._context, -1))

    def close(self) -> None:
        """Free the chain."""
        api.llama_sampler_free(self._chain)
