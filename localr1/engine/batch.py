"""What several sequences want computed, put together into one batch after another. Worker side."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_cpp import llama_cpp as api

from localr1.engine.loading import Cancelled
from localr1.engine.model import ABORTED
from localr1.engine.sequence import DecodeError

# So long a batch may take: what the others wait for their next token while a prompt is read, and
# what a GPU still computes after a stop.
_SHARED_SECONDS: Final = 0.25
_ALONE_SECONDS: Final = 1.0
# Fewer prompt tokens at a time would compute too slowly.
_FEWEST_TOKENS: Final = 32
# A rate measured on fewer tells little.
_MEASURED_TOKENS: Final = 64


@dataclass
class Wish:
    """Tokens that a sequence wants computed."""

    sequence_id: int
    position: int
    """Of the first of them."""
    tokens: Sequence[int]
    outputs_from: int
    """The first of them whose logits are wanted."""
    done: int = 0
    """How many are computed."""
    row: int = -1
    """Where the logits are."""
    error: Exception | None = None

    @property
    def left(self) -> int:
        """How many are still to be computed."""
        return len(self.tokens) - self.done

    @property
    def answered(self) -> bool:
        """Whether nothing more comes of it."""
        return not self.left or self.error is not None


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """Places in a batch, given out so that nobody who wants few waits for one who wants many.

    Args:
        wanted: How many each would take.
        room: How many there are.

    Returns:
        How many each gets; together as many as wanted, or all there are.
    """
    given = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    for passed, index in enumerate(order):
        given[index] = min(wanted[index], -(-room // (len(order) - passed)))
        room -= given[index]
    return given


class Batcher:
    """Computes wishes, all of them together as far as one batch goes.

    Args:
        context: llama.cpp's context.
        batch_tokens: The most that it takes at once.
        prompt_tps: Prompt tokens per second, as measured so far; 0 where it was not.
    """

    def __init__(self, context: Any, batch_tokens: int, prompt_tps: float) -> None:
        self._context = context
        self._memory = api.llama_get_memory(context)
        self._batch_tokens = batch_tokens
        self._prompt_tps = prompt_tps

    def compute(self, wishes: Sequence[Wish]) -> bool:
        """Compute one batch; wishes that it has room for are answered then.

        Returns:
            False where the abort flag ended it: nothing of it is left.
        """
        seconds = _ALONE_SECONDS if len(wishes) == 1 else _SHARED_SECONDS
        most = min(max(int(self._prompt_tps * seconds), _FEWEST_TOKENS), self._batch_tokens)
        counts = shares([wish.left for wish in wishes], max(most, len(wishes)))
        started = time.monotonic()
        result = int(api.llama_decode(self._context, _batch(wishes, counts)))
        if result:
            for wish in wishes:
                first = wish.position + wish.done
                api.llama_memory_seq_rm(self._memory, wish.sequence_id, first, -1)
                if result != ABORTED:
                    wish.error = DecodeError(f"llama_decode returned {result} at {first}")
            return result != ABORTED
        for wish, count in zip(wishes, counts, strict=True):
            wish.done += count
        if (tokens := sum(counts)) >= _MEASURED_TOKENS:
            api.llama_synchronize(self._context)
            self._prompt_tps = tokens / max(time.monotonic() - started, 1e-6)
        return True

    def compute_alone(self, wish: Wish) -> None:
        """Compute one wish to its end.

        Raises:
            Cancelled: When the abort flag was raised; what was computed before stays.
        """
        while not wish.answered:
            if not self.compute([wish]):
                raise Cancelled


def _batch(wishes: Sequence[Wish], counts: Sequence[int]) -> Any:
    """A batch of llama.cpp's; sets the rows of what will be answered by it."""
    tokens: list[int] = []
    positions: list[int] = []
    owners: list[int] = []
    wanted = bytearray()
    for wish, count in zip(wishes, counts, strict=True):
        end = wish.done + count
        tokens += wish.tokens[wish.done : end]
        positions += range(wish.position + wish.done, wish.position + end)
        owners += [wish.sequence_id] * count
        plain = max(0, min(wish.outputs_from, end) - wish.done)
        wish.row = len(wanted) + plain
        wanted += bytes(plain) + b"\x01" * (count - plain)
    size = len(tokens)
    names = {one: ctypes.pointer(api.llama_seq_id(one)) for one in set(owners)}
    return api.llama_batch(
        n_tokens=size,
        token=(api.llama_token * size)(*tokens),
        pos=(api.llama_pos * size)(*positions),
        n_seq_id=(ctypes.c_int32 * size)(*(1,) * size),
        seq_id=(ctypes.POINTER(api.llama_seq_id) * size)(*map(names.__getitem__, owners)),
        logits=(ctypes.c_int8 * size).from_buffer_copy(wanted),
    )
