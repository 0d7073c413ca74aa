"""Requests of the API, read and checked: from JSON to immutable values. Pure.

The fields are OpenAI's, and a few of vLLM's and llama.cpp's servers (`top_k`, `min_p`,
`reasoning_content`). What changes the answer and cannot be done is refused and named; fields that
nobody here knows are ignored, as those servers do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

from localr1.chat.json_grammar import grammar_of
from localr1.errors import UsageError
from localr1.server.refusal import Refusal

Role = Literal["system", "user", "assistant"]

MOST_STOPS: Final = 16
MOST_STOP_CHARACTERS: Final = 256
MOST_TOKENS: Final = 1 << 30
SEEDS: Final = (-(1 << 63), (1 << 63) - 1)

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
# Values that ask for nothing; any other would change the answer.
_NOT_HERE: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
}
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")


@dataclass(frozen=True)
class Said:
    """A message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True)
class Wishes:
    """What both kinds of request may say; None means the model's recommendation."""

    model: str = ""
    stream: bool = False
    include_usage: bool = False
    """Whether a stream ends with the counts of tokens."""
    max_tokens: int = 0
    """0: as many as the window holds."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stops: tuple[str, ...] = ()
    """Texts at which the answer ends; they are not shown."""
    user: str = ""
    """Whose request it is, where one program asks for several people."""


@dataclass(frozen=True)
class Chat:
    """A request for the next message of a conversation."""

    wishes: Wishes
    messages: tuple[Said, ...]
    thinking_budget_tokens: int | None = None
    grammar: str = ""
    """That the answer keeps to; empty for none."""


@dataclass(frozen=True)
class Completion:
    """A request to go on with a text."""

    wishes: Wishes
    prompt: str


def decoded(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        Refusal: It is none.
    """
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"The request is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The request has to be a JSON object.")
    return value


def chat(body: Mapping[str, Any]) -> Chat:
    """Read a request for a message.

    Raises:
        Refusal: It is wrong, or asks for something that cannot be done.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", "has to be a list of messages")
    wishes = _wishes(body)
    grammar = _grammar(body.get("response_format"))
    budget = _whole(body, "thinking_budget_tokens", 0, MOST_TOKENS)
    effort = _one_of(body, "reasoning_effort", EFFORTS)
    if budget is None and effort == "none":
        budget = 0
    read = tuple(_said(message, f"messages.{index}") for index, message in enumerate(messages))
    return Chat(wishes, read, budget, grammar)


def completion(body: Mapping[str, Any]) -> Completion:
    """Read a request to go on with a text.

    Raises:
        Refusal: It is wrong, or asks for something that cannot be done.
    """
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _wrong("prompt", "has to be one text")
    return Completion(_wishes(body), _sound(prompt))


def _wishes(body: Mapping[str, Any]) -> Wishes:
    for name, nothing in _NOT_HERE.items():
        value = body.get(name)
        if value is not None and not any(_same(value, each) for each in nothing):
            raise Refusal(
                400, f"`{name}` is not supported here; leave it out.", param=name,
                code="unsupported_parameter",
            )  # fmt: skip
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _wrong("stream_options", "has to be an object")
    most = _whole(body, "max_completion_tokens", 1, MOST_TOKENS)
    plain_most = _whole(body, "max_tokens", 1, MOST_TOKENS)
    return Wishes(
        model=_text(body, "model"),
        stream=_flag(body, "stream"),
        include_usage=_flag(options or {}, "include_usage"),
        max_tokens=most or plain_most or 0,
        temperature=_number(body, "temperature", 0.0, 2.0),
        top_p=_number(body, "top_p", 0.0, 1.0),
        top_k=_whole(body, "top_k", 1, 1000),
        min_p=_number(body, "min_p", 0.0, 1.0),
        seed=_whole(body, "seed", *SEEDS),
        stops=_stops(body.get("stop")),
        user=_text(body, "user"),
    )


def _same(value: object, other: object) -> bool:
    """Equality in which true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _said(message: object, where: str) -> Said:
    if not isinstance(message, dict):
        raise _wrong(where, "has to be an object with `role` and `content`")
    role = message.get("role")
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise _wrong(f"{where}.role", f"has to be one of {', '.join(_ROLES)}")
    return Said(known, _content(message.get("content"), f"{where}.content"))


def _content(content: object, where: str) -> str:
    if isinstance(content, str):
        return _sound(content)
    if not isinstance(content, list) or not content:
        raise _wrong(where, "has to be text")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise _wrong(where, "may hold nothing but parts of type `text`: this model reads text")
        text = part.get("text")
        if not isinstance(text, str):
            raise _wrong(where, "has a part without `text`")
        texts.append(_sound(text))
    return "\n".join(texts)


def _grammar(value: object) -> str:
    """The grammar of `response_format`."""
    if value is None:
        return ""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in {"text", "json_object", "json_schema"}:
        raise _wrong("response_format", "has to be of type text, json_object or json_schema")
    if kind == "text":
        return ""
    schema: object = {"type": "object"}
    if kind == "json_schema":
        named = value.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if not isinstance(schema, (dict, bool)):
            raise _wrong("response_format", "has no `json_schema` with a `schema`")
    try:
        return grammar_of(schema)
    except UsageError as error:
        raise Refusal(400, str(error), param="response_format", code="invalid_value") from error


def _stops(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    texts: Sequence[object] = [value] if isinstance(value, str) else value  # type: ignore[assignment]
    fine = isinstance(texts, list) and all(
        isinstance(text, str) and 0 < len(text) <= MOST_STOP_CHARACTERS for text in texts
    )
    if not fine or len(texts) > MOST_STOPS:
        raise _wrong(
            "stop",
            f"has to be a text, or at most {MOST_STOPS} texts of 1 to {MOST_STOP_CHARACTERS}"
            " characters",
        )
    return tuple(str(text) for text in texts)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(name, "has to be text")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _wrong(name, "has to be true or false")
    return value


def _one_of(body: Mapping[str, Any], name: str, known: Sequence[str]) -> str | None:
    value = body.get(name)
    if value is not None and value not in known:
        raise _wrong(name, f"has to be one of {', '.join(known)}")
    return value


def _number(body: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise _wrong(name, f"has to be a number from {least:g} to {most:g}")
    return float(value)


def _whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    # JSON knows one kind of number: 5.0 is a whole one too.
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not least <= value <= most:
        raise _wrong(name, f"has to be a whole number from {least} to {most}")
    return int(value)


def _sound(text: str) -> str:
    """Text without halves of characters, which JSON can spell and nothing can encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _wrong(name: str, why: str) -> Refusal:
    return Refusal(400, f"`{name}` {why}.", param=name, code="invalid_value")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
