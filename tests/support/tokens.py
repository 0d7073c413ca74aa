"""Prompts as token ids, by the worker's own tokenizing and llama.cpp's own vocabulary."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from localr1.engine.protocol import Segment


class Tokens:
    """The vocabulary of a model file."""

    def __init__(self, model: object) -> None:
        from llama_cpp import llama_cpp as api

        from localr1.engine.tokenizer import Tokenizer

        self._tokenizer = Tokenizer(api.llama_model_get_vocab(model))

    def ids(self, segments: Iterable[Segment]) -> list[int]:
        """Token ids of a prompt, as the worker makes them."""
        return self._tokenizer.ids(segments)

    def id(self, special: str) -> int:
        """The id of a special token."""
        (only,) = self.ids([Segment(special, special=True)])
        return only


@contextmanager
def tokens_of(path: Path) -> Iterator[Tokens]:
    """Load a file's vocabulary alone."""
    from llama_cpp import llama_cpp as api

    parameters = api.llama_model_default_params()
    parameters.vocab_only = True
    model = api.llama_model_load_from_file(os.fsencode(path), parameters)
    assert model
    try:
        yield Tokens(model)
    finally:
        api.llama_model_free(model)
