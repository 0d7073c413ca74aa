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
from localr1.engine.reply import Vocabulary, common_prefix_length
from localr1.engine.sampler import Sampler
from localr1.engine.speculation import Worth
from localr1.engine.tokenizer import Tokenizer
from localr1.errors import GgufError
from localr1.fit.backends import DEVICE_TOP_K

# llama_decode's return values
_ABORTED: Final = 2

_MARKERS: Final = (
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
)
# On a CPU the warm-up is cut short after this: a big model would take minutes for a batch.
_WARM_UP_SECONDS: Final = 1.0


class DecodeError(Exception):
    """llama_decode failed."""


class Model:
    """One model with one context; sequence 0 mirrors `cached`.

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
            self._context = loading.open_context(self._model, load, log, abort, self._keep)
        try:
            self.buffers = loading.buffers_of(load, lines)
        except GgufError as error:
            raise LoadError(str(error)) from error
        self._memory = api.llama_get_memory(self._context)
        self._vocab = api.llama_model_get_vocab(self._model)
        self._tokenizer = Tokenizer(self._vocab)
        self.context_window = int(api.llama_n_ctx(self._context))
        # llama.cpp never takes more at once than the context holds.
        self.batch_tokens = int(api.llama_n_batch(self._context))
        self._ubatch = min(load.ubatch, self.batch_tokens)
        self.on_gpu = bool(load.device_names) and load.gpu_layers > 0
        """Whether a decode returns before it is done."""
        self._chosen_on_device = loading.chooses_on_device(self._model, load)
        self.cached: list[int] = []
        self.draft_tokens = load.draft_tokens
        self.worth = Worth()
        """Whether guessing pays on this model and machine."""
        self._guessed: list[int] = []
        self._row = -1
        self.prompt_tps = 0.0
        """Prompt tokens per second, as last measured."""
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

    def tokenize(self, segments: Iterable[Segment]) -> list[int]:
        """Token ids of a prompt, segment by segment; no BOS is added."""
        return self._tokenizer.ids(segments)

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

    def reuse(self, prompt: Sequence[int], *, all_of_it: bool = False) -> int:
        """Keep the part of the cache that the prompt begins with.

        Args:
            prompt: The tokens to be cached.
            all_of_it: Whether the whole prompt may be kept; otherwise one token is left to
                compute, since its logits are needed.

        Returns:
            The number of tokens kept.
        """
        self.forget_guesses()
        kept = common_prefix_length(self.cached, list(prompt))
        self.truncate(kept if all_of_it else min(kept, len(prompt) - 1))
        return len(self.cached)

    def truncate(self, length: int) -> None:
        """Drop everything in the cache after the first `length` tokens."""
        self.forget_guesses()
        if length < len(self.cached):
            self._remove_cells(length)

    def _remove_cells(self, length: int) -> None:
        if not api.llama_memory_seq_rm(self._memory, 0, length, -1):
            api.llama_memory_clear(self._memory, True)
            length = 0
        del self.cached[length:]

    def decode(self, tokens: Sequence[int]) -> None:
        """Append tokens to the cache, in batches; logits of the last one are kept.

        Raises:
            Cancelled: When the abort flag was raised; what was computed stays cached.
            DecodeError: When llama.cpp fails.
        """
        self.forget_guesses()
        for start in range(0, len(tokens), self.batch_tokens):
            part = tokens[start : start + self.batch_tokens]
            before = len(self.cached)
            try:
                self._decode_batch(part, outputs_from=len(part) - 1)
            except Cancelled:
                # The micro-batches before the one that was ended are there.
                reached = int(api.llama_memory_seq_pos_max(self._memory, 0)) + 1
                self.cached += part[: max(0, reached - before)]
                raise
            self.cached += part

    def decode_guessing(self, token: int, guesses: Sequence[int]) -> None:
        """Append a token, and compute what would follow if the guesses were right.

        Args:
            token: Goes into the cache.
            guesses: The tokens that may follow, at most `draft_tokens`; `confirm` takes them
                into the cache one by one, anything else forgets them.

        Raises:
            Cancelled: When the abort flag was raised.
            DecodeError: When llama.cpp fails.
        """
        self.forget_guesses()
        try:
            self._decode_batch([token, *guesses], outputs_from=0)
        except Cancelled:
            api.llama_memory_seq_rm(self._memory, 0, len(self.cached), -1)
            raise
        self.cached.append(token)
        self._guessed = list(guesses)
        self._row = 0 if guesses else -1

    def confirm(self, token: int) -> bool:
        """Whether the token is the next guess; then it is in the cache without computing."""
        if not self._guessed or self._guessed[0] != token:
            return False
        self.cached.append(self._guessed.pop(0))
        self._row += 1
        return True

    def forget_guesses(self) -> None:
        """Drop the cells of guesses that were not confirmed."""
        self._row = -1
        if self._guessed:
            self._guessed = []
            self._remove_cells(len(self.cached))

    def _decode_batch(self, tokens: Sequence[int], *, outputs_from: int) -> None:
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
            return
        if result == _ABORTED:
            raise Cancelled
        # A failed batch may have left some of its cells behind.
        api.llama_memory_seq_rm(self._memory, 0, position, -1)
        raise DecodeError(f"llama_decode returned {result} at position {position}")

    def synchronize(self) -> None:
        """Wait for a GPU to finish what it was given."""
        api.llama_synchronize(self._context)

    def set_threads(self, threads: int) -> int:
        """Compute with this many threads from now on; returns the number in force."""
        count = max(1, min(threads, os.cpu_count() or 1))
        api.llama_set_n_threads(self._context, count, count)
        return count

    def state_bytes(self) -> int:
        """How many bytes the cache takes as `read_state` gives it."""
        return int(api.llama_state_seq_get_size(self._context, 0))

    def read_state(self, buffer: Any, size_bytes: int) -> int:
        """Copy the cache into a buffer; returns the bytes written."""
        return int(api.llama_state_seq_get_data(self._context, buffer, size_bytes, 0))

    def write_state(self, buffer: Any, size_bytes: int, tokens: Sequence[int]) -> bool:
        """Replace the cache by what `read_state` gave for these tokens.

        Returns:
            Whether llama.cpp accepted it; the cache is empty where it did not.
        """
        self.truncate(0)
        if not api.llama_state_seq_set_data(self._context, buffer, size_bytes, 0):
            api.llama_memory_clear(self._memory, True)
            return False
        self.cached = list(tokens)
        return True

    def sampler(self, request: Generate) -> Sampler:
        """A fresh sampler chain for one request, for the logits of the next decode.

        Raises:
            GrammarProblem: The request's grammar cannot be used.
        """
        few = request.temperature <= 0 or 0 < request.top_k <= DEVICE_TOP_K
        if self._chosen_on_device and (request.grammar or not few):
            # From now on: llama.cpp takes no chain a second time.
            api.llama_set_sampler(self._context, 0, None)
            self._chosen_on_device = False
        return Sampler(self, self._context, self._vocab, request)

    @property
    def row(self) -> int:
        """Which row of the last batch's logits comes next; -1 is the last one."""
        return self._row
