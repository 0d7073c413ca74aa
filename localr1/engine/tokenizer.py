"""Prompts as token ids. Worker side only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from llama_cpp import llama_cpp as api

from localr1.engine.protocol import Segment

# enum llama_vocab_type and llama_token_attr in llama.h
_SENTENCE_PIECE: Final = 1
_SPECIAL: Final = 1 << 0 | 1 << 3 | 1 << 4  # unknown, control, user-defined


class Tokenizer:
    """Tokenizes prompts segment by segment.

    SentencePiece vocabularies begin every text with a space, also each segment, although it goes
    on where the one before ended. There a line break is put before it, which never merges with
    what follows, and taken off again together with the space.

    Args:
        vocab: llama.cpp's vocabulary.
    """

    def __init__(self, vocab: Any) -> None:
        self._vocab = vocab
        self._line_break: list[int] = []
        if api.llama_vocab_type(vocab) == _SENTENCE_PIECE:
            line_break = self._tokenized("\n", special=False)
            if len(line_break) > 1:  # a space, and the line break
                self._line_break = line_break

    def ids(self, segments: Iterable[Segment]) -> list[int]:
        """Token ids of a prompt; no BOS is added."""
        ids: list[int] = []
        for segment in segments:
            if segment.tokens:
                ids += segment.tokens
            elif self._line_break and ids and not self._is_special(ids[-1]):
                ids += self._going_on(segment)
            else:
                ids += self._tokenized(segment.text, special=segment.special)
        return ids

    def _going_on(self, segment: Segment) -> list[int]:
        known, length = self._line_break, len(self._line_break)
        found = self._tokenized("\n" + segment.text, special=segment.special)
        if found[:length] == known:
            return found[length:]
        # A token that takes the white space before it.
        return self._tokenized(segment.text, special=segment.special)

    def _is_special(self, token: int) -> bool:
        return bool(api.llama_vocab_get_attr(self._vocab, token) & _SPECIAL)

    def _tokenized(self, text: str, *, special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        if not data:
            return []
        size = len(data) + 8
        while True:
            buffer = (api.llama_token * size)()
            count = int(
                api.llama_tokenize(self._vocab, data, len(data), buffer, size, False, special)
            )
            if count >= 0:
                return list(buffer[:count])
            size = -count
