"""A server's reply in the making: its pieces as events of an engine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from localr1.engine import protocol
from localr1.remote import refusal
from localr1.remote.address import Address
from localr1.remote.events import TooMuch
from localr1.remote.thinking import Part, ThinkingFinder

_REASONING: Final = ("reasoning_content", "reasoning")
"""What servers call thinking: vLLM, SGLang, llama.cpp, DeepSeek; newer vLLM, Ollama."""


@dataclass
class Reply:
    """Grows by the pieces of a stream."""

    request_id: int
    request: protocol.Generate
    open_thinking: bool
    most_characters: int
    """More than any reply in the window has."""
    finish_reason: str = "stop"
    ended: bool = False
    """Whether the server said how it ended."""
    usage: dict[str, Any] = field(default_factory=dict)
    _finder: ThinkingFinder | None = None
    _pieces: dict[str, int] = field(default_factory=lambda: {"thinking": 0, "answer": 0})
    _began: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _characters: int = 0
    _told_apart: bool = False
    """Whether the server tells thinking from answer itself."""

    def take(self, value: dict[str, Any], address: Address) -> list[protocol.Event]:
        """The events of one piece.

        Raises:
            EndpointError: It is an error, or of no known form.
        """
        if value.get("error"):
            raise refusal.failed(value, address)
        if isinstance(value.get("usage"), dict):
            self.usage = value["usage"]
        choices = value.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            return []
        if self._characters > self.most_characters:
            raise TooMuch
        told: list[protocol.Event] = []
        for name in _REASONING:
            if isinstance(text := delta.get(name), str) and text:
                self._told_apart = True
                told.append(self._text("thinking", text))
                break
        if isinstance(text := delta.get("content"), str) and text:
            told += [self._text(*piece) for piece in self._parts(text)]
        if choice.get("finish_reason"):
            self.ended = True
            self.finish_reason = "length" if choice["finish_reason"] == "length" else "stop"
        return told

    def rest(self) -> list[protocol.Event]:
        """What was held back."""
        finder, self._finder = self._finder, None
        return [self._text(*piece) for piece in (finder.end() if finder else ())]

    def generated(self) -> protocol.Generated:
        """The end, with the server's counts where it gave any, else with the number of pieces."""
        now = time.monotonic()
        details = self.usage.get("completion_tokens_details")
        cached = self.usage.get("prompt_tokens_details")
        thinking = count(details, "reasoning_tokens", self._pieces["thinking"])
        completion = count(self.usage, "completion_tokens", sum(self._pieces.values()))
        thinking = min(thinking, completion)
        first = min(self._began.values(), default=now)
        answer_from = self._began.get("answer", now)
        prompt = count(self.usage, "prompt_tokens", 0)
        return protocol.Generated(
            self.request_id,
            finish_reason=self.finish_reason,  # type: ignore[arg-type]
            prompt_tokens=prompt,
            cached_tokens=min(prompt, count(cached, "cached_tokens", 0)),
            thinking_tokens=thinking,
            answer_tokens=completion - thinking,
            prompt_seconds=first - self._started,
            generation_seconds=now - first,
            time_to_first_token_seconds=first - self._started,
            thinking_seconds=answer_from - first if "thinking" in self._began else 0.0,
            total_seconds=now - self._started,
            context_used=prompt + completion,
        )

    def _parts(self, text: str) -> list[tuple[Part, str]]:
        if self._told_apart or self.request.continues_answer:
            return [("answer", text)]
        if self._finder is None:
            self._finder = ThinkingFinder(open_thinking=self.open_thinking)
        return self._finder.feed(text)

    def _text(self, part: Part, text: str) -> protocol.Text:
        now = time.monotonic()
        self._pieces[part] += 1
        self._characters += len(text)
        since = self._began.setdefault(part, now)
        return protocol.Text(self.request_id, part, text, self._pieces[part], now - since)


def count(values: object, name: str, otherwise: int) -> int:
    """A number that a server may have given."""
    value = values.get(name) if isinstance(values, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
