"""A loaded model and its context on llama.cpp's low-level interface. Worker side only."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from llama_cpp import llama_cpp as api

from localr1.engine import loading
from localr1.engine.loading import Cancelled, LoadError
from localr1.engine.native import AbortFlag, Log
from localr1.engine.protocol import Generate, Load, Segment
from localr1.engine.reply import Vocabulary
from localr1.engine.sampler import Sampler
from localr1.engine.sequence import CachedSequence, DecodeError
from localr1.engine.speculation import Worth
from localr1.engine.tokenizer import Tokenizer
from localr1.errors import GgufError
from localr1.fit.backends import DEVICE_TOP_K

ABORTED: Final = 2
"""What llama_decode returns for a computation that was ended."""

_MARKERS: Final = (
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
)
# On a CPU the warm-up is cut short after this: a big model would take minutes for a batch.
_WARM_UP_SECONDS: Final = 1.0


class Model(CachedSequence):
    """One model with one context; as a sequence it is the context's first, computed alone.

    Args:
        load: What to load and how.
        log: llama.cpp's log.
        abort: Raised by another thread to end the computation that runs.
        on_progress: Called with the share of tensors loaded.
        stopped: Polled while loading; True ends it.

    Raises:
        LoadError: When llama.cpp refuses the file or the context.
        Cancelled: When `stopped` said so.
    """

    def __init__(
        self,
        load: Load,
        log: Log,
        abort: AbortFlag,
        *,
        on_progress: Callable[[float], None],
        stopped: Callable[[], bool],
    ) -> None:
        started = time.monotonic()
        self._stopped = stopped
        self._abort = abort
        self._keep: list[Any] = []  # what llama.cpp points into
        with log.recording() as lines:
            self._model = loading.open_model(
                load, log, self._keep, on_progress=on_progress, stopped=stopped
            )
            context = loading.open_context(self._model, load, log, abort, self._keep)
        super().__init__(context, api.llama_model_get_vocab(self._model), 0)
        try:
            self.buffers = loading.buffers_of(load, lines)
        except GgufError as error:
            raise LoadError(str(error)) from error
        self._tokenizer = Tokenizer(self._vocab)
        self.sequences = load.sequences
        """How many may be in the cache, each with a window of its own."""
        self.context_window = int(api.llama_n_ctx(self._context)) // load.sequences
        # llama.cpp never takes more at once than the context holds.
        self.batch_tokens = int(api.llama_n_batch(self._context))
        self._ubatch = min(load.ubatch, self.batch_tokens)
        self.on_gpu = bool(load.device_names) and load.gpu_layers > 0
        self._chosen_on_device = loading.chooses_on_device(self._model, load)
        self.draft_tokens = load.draft_tokens
        self.worth = Worth()
        self.prompt_tps = 0.0
        self.vocabulary = self._read_vocabulary()
        self._pieces: dict[int, bytes] = {}
        self._warm_up(cut_short=not load.device_names)
        self.load_seconds = time.monotonic() - started

    def _read_vocabulary(self) -> Vocabulary:
        def single(text: str) -> int:
            ids = self.tokenize([Segment(text, special=True)])
            return ids[0] if len(ids) == 1 else -1

        ends = {single(marker) for marker in _MARKERS} - {-1}
        count = api.llama_vocab_n_tokens(self._vocab)
        ends |= {t for t in range(count) if api.llama_vocab_is_eog(self._vocab, t)}
        return Vocabulary(single("<think>"), single("</think>"), frozenset(ends))

    def _warm_up(self, *, cut_short: bool) -> None:
        """Decode a full batch before saying ready.

        GPU pools grow at the first full batch, and a context that cannot is better found out
        now. On a CPU it maps the file's pages and claims the buffers, which needs no whole batch
        where that would take long.
        """
        bos = max(0, int(api.llama_vocab_bos(self._vocab)))
        self.decode([bos])
        self.truncate(0)
        # Another thread may raise the flag at any time, even when the batch is done already.
        timer = threading.Timer(_WARM_UP_SECONDS, self._abort.raise_)
        if cut_short:
            timer.start()
        started = time.monotonic()
        tokens = min(self._ubatch, self.context_window - 1)
        try:
            self.decode([bos] * tokens)
            self.synchronize()
            self.prompt_tps = tokens / max(time.monotonic() - started, 1e-6)
        except Cancelled:
            if self._stopped():
                raise
        finally:
            if cut_short:
                timer.cancel()
                timer.join()
                self._abort.lower()
        self.truncate(0)

    @property
    def handles(self) -> tuple[Any, Any]:
        """llama.cpp's context and vocabulary."""
        return self._context, self._vocab

    def tokenize(self, segments: Iterable[Segment]) -> list[int]:  # noqa: D102 - as inherited
        return self._tokenizer.ids(segments)

    def piece(self, token: int) -> bytes:  # noqa: D102 - as inherited
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

    def _compute(self, tokens: Sequence[int], *, outputs_from: int) -> int:
        position, count = len(self.cached), len(tokens)
        wanted = bytes(outputs_from) + b"\x01" * (count - outputs_from)
        # Without positions and sequences it goes on where sequence 0 ends. Filled in one by one
        # here, they took 7 % of what a fast GPU needs for the prompt.
        batch = api.llama_batch(
            n_tokens=count,
            token=(api.llama_token * count)(*tokens),
            logits=(ctypes.c_int8 * count).from_buffer_copy(wanted),
        )
        result = api.llama_decode(self._context, batch)
        if result == 0:
            return outputs_from if outputs_from < count - 1 else -1
        if result == ABORTED:
            raise Cancelled
        # A failed batch may have left some of its cells behind.
        api.llama_memory_seq_rm(self._memory, 0, position, -1)
        raise DecodeError(f"llama_decode returned {result} at position {position}")

    def set_threads(self, threads: int) -> int:
        """Compute with this many threads from now on; returns the number in force."""
        count = max(1, min(threads, os.cpu_count() or 1))
        api.llama_set_n_threads(self._context, count, count)
        return count

    def sampler(self, request: Generate) -> Sampler:
        """A fresh sampler chain; from here on the CPU chooses where the device cannot.

        Raises:
            GrammarProblem: The request's grammar cannot be used.
        """
        few = request.temperature <= 0 or 0 < request.top_k <= DEVICE_TOP_K
        if self._chosen_on_device and (request.grammar or not few):
            # From now on: llama.cpp takes no chain a second time.
            api.llama_set_sampler(self._context, 0, None)
            self._chosen_on_device = False
        return super().sampler(request)
