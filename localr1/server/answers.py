"""What the API answers, as JSON values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from localr1.engine import protocol
from localr1.models.types import LocalModel

Kind = Literal["chat", "text"]
DONE: Final = "data: [DONE]\n\n"
_THINK: Final = "<think>"
_END_THINK: Final = "</think>\n\n"


@dataclass(frozen=True)
class Delta:
    """More of a reply."""

    part: Literal["thinking", "answer"]
    text: str


@dataclass(frozen=True)
class End:
    """The reply is over."""

    finish_reason: Literal["stop", "length"]
    generated: protocol.Generated


@dataclass(frozen=True)
class Head:
    """What every piece of one answer says."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str


def names(local: LocalModel) -> tuple[str, str]:
    """What a served model is called: short, and with its variant."""
    return local.model.id, f"{local.model.id}:{local.variant.quantization}"


def model(local: LocalModel, since: int, context_window: int) -> dict[str, Any]:
    """A model as `/v1/models` has it, with its window as vLLM calls it."""
    return {
        "id": names(local)[0],
        "object": "model",
        "created": since,
        "owned_by": "localr1",
        "max_model_len": context_window,
    }


def usage(end: protocol.Generated) -> dict[str, Any]:
    """How many tokens a reply took."""
    completion = end.thinking_tokens + end.answer_tokens
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": end.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": end.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": end.thinking_tokens},
    }


def chat(head: Head, deltas: Sequence[Delta], end: End) -> dict[str, Any]:
    """A whole message."""
    thinking = "".join(delta.text for delta in deltas if delta.part == "thinking")
    answer = "".join(delta.text for delta in deltas if delta.part == "answer")
    message = {"role": "assistant", "content": answer, "reasoning_content": thinking or None}
    choice = {
        "index": 0, "message": message, "logprobs": None, "finish_reason": end.finish_reason
    }  # fmt: skip
    return {**_head(head, "chat.completion"), "choices": [choice], "usage": usage(end.generated)}


def completion(
    head: Head, deltas: Sequence[Delta], end: End, *, thinking_open: bool
) -> dict[str, Any]:
    """A whole text."""
    marks = Marks(thinking_open=thinking_open)
    text = "".join(marks.feed(delta) for delta in deltas)
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": end.finish_reason}
    return {**_head(head, "text_completion"), "choices": [choice], "usage": usage(end.generated)}


def chat_chunk(
    head: Head, delta: dict[str, Any], finish_reason: str | None = None
) -> dict[str, Any]:
    """A piece of a streamed message."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**_head(head, "chat.completion.chunk"), "choices": [choice]}


def text_chunk(head: Head, text: str, finish_reason: str | None = None) -> dict[str, Any]:
    """A piece of a streamed text."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return {**_head(head, "text_completion"), "choices": [choice]}


def usage_chunk(head: Head, kind: Kind, end: protocol.Generated) -> dict[str, Any]:
    """The last piece of a stream that was asked for its counts."""
    name = "chat.completion.chunk" if kind == "chat" else "text_completion"
    return {**_head(head, name), "choices": [], "usage": usage(end)}


class Marks:
    """Puts the marks of thinking into a text, where it has both parts.

    Args:
        thinking_open: Whether the prompt holds the opening mark already.
    """

    def __init__(self, *, thinking_open: bool) -> None:
        self._part: Literal["thinking", "answer"] = "thinking" if thinking_open else "answer"

    def feed(self, delta: Delta) -> str:
        """The text of a piece, with a mark before it where the part changes."""
        if delta.part == self._part:
            return delta.text
        self._part = delta.part
        return (_THINK if delta.part == "thinking" else _END_THINK) + delta.text


def _head(head: Head, name: str) -> dict[str, Any]:
    return {"id": head.id, "object": name, "created": head.created, "model": head.model}
