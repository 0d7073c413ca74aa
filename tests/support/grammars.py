"""A grammar as llama.cpp understands it: which texts it takes, and texts that it writes."""

from __future__ import annotations

import codecs
import ctypes
import math
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from localr1.models.library import DEMO_PATH


@cache
def vocabulary() -> tuple[Any, Any, tuple[bytes, ...], int]:
    """llama.cpp's interface, the demo's vocabulary, the bytes of its tokens, and its end token."""
    from llama_cpp import llama_cpp as api

    api.llama_log_set(_SILENT(lambda *_: None) if not _kept else _kept[0], ctypes.c_void_p(0))
    parameters = api.llama_model_default_params()
    parameters.vocab_only = True
    model = api.llama_model_load_from_file(str(DEMO_PATH).encode(), parameters)
    vocab = api.llama_model_get_vocab(model)
    pieces = []
    for token in range(api.llama_vocab_n_tokens(vocab)):
        buffer = ctypes.create_string_buffer(256)
        count = api.llama_token_to_piece(vocab, token, buffer, 256, 0, False)
        pieces.append(buffer.raw[: max(0, count)])
    return api, vocab, tuple(pieces), int(api.llama_vocab_eos(vocab))


_SILENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_kept = [_SILENT(lambda *_: None)]
"""For as long as the process: the library keeps only its address."""


class Walk:
    """A text that grows by tokens that a grammar allows."""

    def __init__(self, grammar: str) -> None:
        self._api, vocab, self._pieces, self._end = vocabulary()
        self._sampler = self._api.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
        assert self._sampler, grammar

    def allowed(self) -> list[int]:
        """The tokens that may follow, the end token among them."""
        count = len(self._pieces)
        data = (self._api.llama_token_data * count)()
        for token in range(count):
            data[token].id = token
        found = self._api.llama_token_data_array(
            data=ctypes.cast(data, ctypes.POINTER(self._api.llama_token_data)),
            size=count,
            selected=-1,
            sorted=False,
        )
        self._api.llama_sampler_apply(self._sampler, ctypes.byref(found))
        return [
            one.id
            for one in data
            if one.logit != -math.inf and (self._pieces[one.id] or one.id == self._end)
        ]

    def take(self, token: int) -> None:
        self._api.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        self._api.llama_sampler_free(self._sampler)


def takes(grammar: str, text: str) -> bool:
    """Whether a grammar takes a text, from its first byte to its end."""
    walk, left = Walk(grammar), text.encode()
    pieces, end = vocabulary()[2:]
    try:
        while left:
            fitting = [t for t in walk.allowed() if pieces[t] and left.startswith(pieces[t])]
            if not fitting:
                return False
            token = min(fitting, key=lambda t: len(pieces[t]))
            walk.take(token)
            left = left[len(pieces[token]) :]
        return end in walk.allowed()
    finally:
        walk.close()


def written(grammar: str, rng: random.Random, most: int = 400) -> str | None:
    """A text that a grammar allows, drawn at random; None where it finds no end."""
    walk = Walk(grammar)
    pieces, end = vocabulary()[2:]
    text = b""
    try:
        for _ in range(most):
            # llama.cpp lets bytes pass that are no UTF-8, which the app shows as U+FFFD.
            fitting = [t for t in walk.allowed() if _begins_text(text + pieces[t])]
            closing = [t for t in fitting if t == end or pieces[t].strip()[:1] in b'"]},']
            # A text of JSON that only grows comes to no end.
            token = rng.choice(closing if closing and rng.random() < 0.6 else fitting)
            if token == end:
                return text.decode()
            walk.take(token)
            text += pieces[token]
        return None
    finally:
        walk.close()


def _begins_text(data: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def satisfies(value: object, schema: Any, root: Any = None) -> bool:  # noqa: C901 - a list of words
    """Whether a value satisfies a schema, by the words of JSON Schema 2020-12."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    assert isinstance(schema, Mapping)
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].split("/")[1:]:
            target = target[part]
        if not satisfies(value, target, root):
            return False
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(_is(value, kind) for kind in kinds):
            return False
    checks = [
        "const" not in schema or value == schema["const"],
        "enum" not in schema or value in schema["enum"],
        all(satisfies(value, part, root) for part in schema.get("allOf", [])),
        sum(satisfies(value, part, root) for part in schema.get("oneOf", [True])) == 1,
        "anyOf" not in schema or any(satisfies(value, part, root) for part in schema["anyOf"]),
    ]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        checks += [
            value >= schema.get("minimum", -math.inf),
            value <= schema.get("maximum", math.inf),
            value > schema.get("exclusiveMinimum", -math.inf),
            value < schema.get("exclusiveMaximum", math.inf),
        ]
    if isinstance(value, str):
        checks.append(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1e9))
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        checks.append(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1e9))
        checks += [satisfies(v, s, root) for v, s in zip(value, first, strict=False)]
        checks += [satisfies(v, schema.get("items", True), root) for v in value[len(first) :]]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        checks += [name in value for name in schema.get("required", [])]
        others = schema.get("additionalProperties", True)
        checks += [satisfies(v, known.get(name, others), root) for name, v in value.items()]
    return all(checks)


def _is(value: object, kind: str) -> bool:
    if kind == "integer":
        return type(value) is int
    if kind == "number":
        return type(value) in (int, float)
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[kind])
