"""The steps of a reply on the model: prompt chunks, and token after token. Worker side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from localr1.engine.sampler import Sampler
from localr1.engine.sequence import CachedSequence
from localr1.engine.speculation import Lookup

# Smaller chunks compute more slowly (of 256 tokens on two cores: 32 by 15 %, 64 by 5 %).
_SMALLEST_CHUNK: Final = 128
# A rate measured on fewer would make the next chunks smaller still; even chunks have more.
_MEASURED_TOKENS: Final = 64
# So long a GPU computes without showing how far it is.
_UNSEEN_SECONDS: Final = 0.5


def computed(
    model: CachedSequence, prompt: list[int], cached: int, chunk_seconds: float
) -> Iterator[int]:
    """Compute a prompt in chunks of about the given time.

    Yields:
        How many of its tokens are in the cache, before, between and after the chunks.

    Raises:
        Cancelled: When the abort flag was raised.
        DecodeError: When llama.cpp fails.
    """
    done, total = cached, len(prompt)
    yield done
    unseen_seconds = min(chunk_seconds, _UNSEEN_SECONDS)
    waiting, since = 0, time.monotonic()
    while done < total:
        # Even chunks, as large as the time allows: small ones compute more slowly.
        most = int(model.prompt_tps * chunk_seconds)
        most = min(max(most, _SMALLEST_CHUNK), model.batch_tokens)
        chunk = -(-(total - done) // -(-(total - done) // most))
        model.decode(prompt[done : done + chunk])
        done += chunk
        waiting += chunk
        if done < total and waiting < model.prompt_tps * unseen_seconds:
            continue
        model.synchronize()
        if waiting >= _MEASURED_TOKENS:
            model.prompt_tps = waiting / max(time.monotonic() - since, 1e-6)
        yield done
        waiting, since = 0, time.monotonic()


class Steps:
    """The tokens one after another, guessed ahead where that pays, and what they cost.

    Args:
        model: The model; its cache is the text in which guesses are looked up.
        sampler: Draws the tokens.
        most: Guesses in one step at most; 0: none.
    """

    def __init__(self, model: CachedSequence, sampler: Sampler, most: int) -> None:
        self._model = model
        self._sample = sampler.sample
        self._most = min(most, model.draft_tokens)
        self._lookup = Lookup()
        self.sampling_seconds = 0.0
        self.decoding_seconds = 0.0
        self.drafted_tokens = 0
        self.accepted_tokens = 0
        self._step_seconds = 0.0
        self._step_tokens = 0
        self._step_guessed = False

    def sample(self) -> int:
        """The next token, not in the cache yet."""
        started = time.perf_counter()
        self._model.synchronize()
        computed = time.perf_counter()
        token = self._sample()
        ended = time.perf_counter()
        self.decoding_seconds += computed - started
        self.sampling_seconds += ended - computed
        self._step_seconds += ended - started
        return token

    def take(self, token: int) -> None:
        """Put a sampled token into the cache, computing what follows it."""
        model = self._model
        started = time.perf_counter()
        if not self._most:
            model.decode((token,))
        elif model.confirm(token):
            self._step_tokens += 1
            self.accepted_tokens += 1
            return
        else:
            self._end_step()
            guesses = self._guesses(token)
            model.decode_guessing(token, guesses)
            self.drafted_tokens += len(guesses)
            self._step_guessed = bool(guesses)
            # Looking up is part of what guessing costs.
            self._step_seconds = time.perf_counter() - started
        self.decoding_seconds += time.perf_counter() - started

    def _end_step(self) -> None:
        if self._step_seconds:
            self._model.worth.measured(
                self._step_seconds, self._step_tokens + 1, guessed=self._step_guessed
            )
        self._step_tokens = 0

    def _guesses(self, token: int) -> list[int]:
        model, lookup = self._model, self._lookup
        if not model.worth.wanted:
            return []
        for known in model.cached[lookup.length :]:
            lookup.append(known)
        lookup.append(token)
        room = model.context_window - len(model.cached) - 1
        return lookup.guess(min(self._most, room))

    def feed(self, tokens: list[int]) -> None:
        """Put tokens into the cache that were not sampled."""
        started = time.perf_counter()
        self._model.decode(tokens)
        self.decoding_seconds += time.perf_counter() - started
        self._step_seconds = 0.0
