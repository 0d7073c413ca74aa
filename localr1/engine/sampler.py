"""Which token comes next: llama.cpp's samplers, and a grammar that an answer keeps to.

Worker side only.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from typing import Any, Final, Protocol

from llama_cpp import llama_cpp as api

from localr1.engine.protocol import Generate
from localr1.engine.reply import Vocabulary

_ROOT: Final = b"root"


class GrammarProblem(Exception):
    """llama.cpp does not take a grammar, or cannot go on with it."""


class _Logits(Protocol):
    """Of a model, what is sampled from."""

    vocabulary: Vocabulary

    @property
    def row(self) -> int: ...


class Sampler:
    """A native sampler chain: top-k first, since the others are slow on a large vocabulary.

    Args:
        model: Which of the logits come next.
        context: llama.cpp's context.
        vocab: llama.cpp's vocabulary.
        request: The settings.

    Raises:
        GrammarProblem: The request's grammar cannot be used.
    """

    def __init__(self, model: _Logits, context: Any, vocab: Any, request: Generate) -> None:
        self._model = model
        self._context = context
        self._grammar = _Grammar(vocab, request.grammar) if request.grammar else None
        self._kept = False
        self._excused = -1
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

    def keep_to_grammar(self, *, kept: bool, excused: int = -1) -> None:
        """Whether the next tokens must go on with the grammar.

        Args:
            kept: False while the model thinks.
            excused: A token that may come all the same.
        """
        self._kept, self._excused = kept, excused

    def sample(self) -> int:
        """The next token, from the logits of the last decoded or confirmed one.

        Raises:
            GrammarProblem: It has come to a point where no token goes on.
        """
        row = self._model.row
        token = int(api.llama_sampler_sample(self._chain, self._context, row))
        grammar = self._grammar
        if grammar is None or not self._kept or token == self._excused:
            return token
        ends = self._model.vocabulary.ends
        # Checking the whole vocabulary takes a hundred times as long as one token.
        if not grammar.allows(token):
            logits = api.llama_get_logits_ith(self._context, row)
            token = grammar.choose(self._chain, logits)
        if token not in ends:
            grammar.accept(token)
        return token

    def close(self) -> None:
        """Free the chain."""
        api.llama_sampler_free(self._chain)
        if self._grammar is not None:
            self._grammar.close()


class _Grammar:
    """What may follow in a text of llama.cpp's grammar notation (GBNF)."""

    def __init__(self, vocab: Any, text: str) -> None:
        self._vocab = vocab
        self._count = int(api.llama_vocab_n_tokens(vocab))
        self._sampler = api.llama_sampler_init_grammar(vocab, text.encode(), _ROOT)
        if not self._sampler:
            raise GrammarProblem("llama.cpp does not understand the grammar")

    def allows(self, token: int) -> bool:
        """Whether a token goes on with the text."""
        if self._is_hidden(token):
            return False
        cells = array("i", (token, 0, 0))
        return self._narrow(cells).data[0].logit != -math.inf

    def choose(self, chain: Any, logits: Any) -> int:
        """The token that a sampler chain draws among those that are allowed."""
        cells = array("i", bytes(12 * self._count))
        bits = array("i")
        bits.frombytes(ctypes.string_at(logits, 4 * self._count))
        cells[0::3] = array("i", range(self._count))
        cells[1::3] = bits  # the numbers as they lie in memory
        found = self._narrow(cells)
        barred = array("f", (-math.inf,)).tobytes()
        while True:
            # The chain reorders what it is given.
            copy = array("i", cells)
            drawn = _candidates(copy, found.size)
            api.llama_sampler_apply(chain, ctypes.byref(drawn))
            one = drawn.data[drawn.selected]
            if one.logit == -math.inf or drawn.selected < 0:
                raise GrammarProblem("no token of this model goes on with the grammar")
            if not self._is_hidden(one.id):
                return int(one.id)
            at = cells[0::3].index(one.id)
            cells[3 * at + 1] = int.from_bytes(barred, "little", signed=True)

    def accept(self, token: int) -> None:
        """Take note that a token was written."""
        api.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        """Free it."""
        api.llama_sampler_free(self._sampler)

    def _narrow(self, cells: array[int]) -> Any:
        """Put minus infinity where a token of `cells` (id, logit, p) is not allowed."""
        found = _candidates(cells, len(cells) // 3)
        api.llama_sampler_apply(self._sampler, ctypes.byref(found))
        return found

    def _is_hidden(self, token: int) -> bool:
        """Whether a token shows as nothing, although the grammar takes it for its name."""
        if api.llama_vocab_is_eog(self._vocab, token):
            return False
        return bool(api.llama_vocab_is_control(self._vocab, token))


def _candidates(cells: array[int], count: int) -> Any:
    address, _ = cells.buffer_info()
    data = ctypes.cast(address, ctypes.POINTER(api.llama_token_data))
    return api.llama_token_data_array(data=data, size=count, selected=-1, sorted=False)
