"""One sequence of tokens in the KV cache: what is there, and how it goes on. Worker side only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from llama_cpp import llama_cpp as api

from localr1.engine.loading import Cancelled
from localr1.engine.protocol import Generate, Segment
from localr1.engine.reply import Vocabulary, common_prefix_length
from localr1.engine.sampler import Sampler
from localr1.engine.speculation import Worth


class DecodeError(Exception):
    """llama_decode failed."""


class CachedSequence(ABC):
    """A sequence whose cells in the KV cache mirror `cached`.

    Whether it is computed alone or together with others is the business of who extends it.

    Args:
        context: llama.cpp's context.
        vocab: llama.cpp's vocabulary.
        sequence_id: Its number in the context.
    """

    vocabulary: Vocabulary
    context_window: int
    """Tokens that it may hold."""
    batch_tokens: int
    """Most that are computed in one call."""
    draft_tokens: int
    """Most tokens that may be guessed ahead."""
    on_gpu: bool
    """Whether a decode returns before it is done."""
    prompt_tps: float
    """Prompt tokens per second, as last measured."""
    worth: Worth
    """Whether guessing pays on this model and machine."""

    def __init__(self, context: Any, vocab: Any, sequence_id: int) -> None:
        self._context = context
        self._vocab = vocab
        self._memory = api.llama_get_memory(context)
        self.sequence_id = sequence_id
        self.cached: list[int] = []
        self._guessed: list[int] = []
        self._row = -1

    @abstractmethod
    def tokenize(self, segments: Iterable[Segment]) -> list[int]:
        """Token ids of a prompt, segment by segment; no BOS is added."""

    @abstractmethod
    def piece(self, token: int) -> bytes:
        """The bytes of a token; empty for control tokens."""

    @abstractmethod
    def _compute(self, tokens: Sequence[int], *, outputs_from: int) -> int:
        """Compute tokens behind those that are cached.

        Args:
            tokens: At most `batch_tokens`.
            outputs_from: The first of them whose logits are wanted.

        Returns:
            The row of those logits.

        Raises:
            Cancelled: When the abort flag was raised; some may be computed all the same.
            DecodeError: When llama.cpp fails; none is left behind.
        """

    @property
    def row(self) -> int:
        """Which row of the last batch's logits comes next; -1 is the last one."""
        return self._row

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
        if not api.llama_memory_seq_rm(self._memory, self.sequence_id, length, -1):
            # A whole sequence can always be removed.
            api.llama_memory_seq_rm(self._memory, self.sequence_id, -1, -1)
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
                self._row = self._compute(part, outputs_from=len(part) - 1)
            except Cancelled:
                # The micro-batches before the one that was ended are there.
                reached = int(api.llama_memory_seq_pos_max(self._memory, self.sequence_id)) + 1
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
            self._row = self._compute([token, *guesses], outputs_from=0)
        except Cancelled:
            api.llama_memory_seq_rm(self._memory, self.sequence_id, len(self.cached), -1)
            raise
        self.cached.append(token)
        self._guessed = list(guesses)

    def confirm(self, token: int) -> bool:
        """Whether the token is the next guess; then it is in the cache without computing."""
        if not self._guessed or self._guessed[0] != token:
            return False
        self.cached.append(self._guessed.pop(0))
        self._row += 1
        return True

    def forget_guesses(self) -> None:
        """Drop the cells of guesses that were not confirmed."""
        if self._guessed:
            self._guessed = []
            self._remove_cells(len(self.cached))

    def synchronize(self) -> None:
        """Wait for a GPU to finish what it was given."""
        api.llama_synchronize(self._context)

    def state_bytes(self) -> int:
        """How many bytes the cache takes as `read_state` gives it."""
        return int(api.llama_state_seq_get_size(self._context, self.sequence_id))

    def read_state(self, buffer: Any, size_bytes: int) -> int:
        """Copy the cache into a buffer; returns the bytes written."""
        return int(
            api.llama_state_seq_get_data(self._context, buffer, size_bytes, self.sequence_id)
        )

    def write_state(self, buffer: Any, size_bytes: int, tokens: Sequence[int]) -> bool:
        """Replace the cache by what `read_state` gave for these tokens.

        Returns:
            Whether llama.cpp accepted it; the cache is empty where it did not.
        """
        self.truncate(0)
        if not api.llama_state_seq_set_data(self._context, buffer, size_bytes, self.sequence_id):
            api.llama_memory_seq_rm(self._memory, self.sequence_id, -1, -1)
            return False
        self.cached = list(tokens)
        return True

    def sampler(self, request: Generate) -> Sampler:
        """A fresh sampler chain for one request, for the logits of the next decode.

        Raises:
            GrammarProblem: The request's grammar cannot be used.
        """
        return Sampler(self, self._context, self._vocab, request)
