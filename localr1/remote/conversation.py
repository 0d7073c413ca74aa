"""Conversations as a list of messages: what the API takes instead of a prompt. Pure.

A prompt of this form is made of marks and words like any other, so that the session, the context
budget and going on work as they do with a model here. The marks name roles; `messages` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from localr1.chat import template
from localr1.chat.template import Resumed, Segments, Turn
from localr1.engine.protocol import Segment

_ROLES: Final = ("system", "user", "assistant")


class Messages(template.Template):
    """The form of a server's conversations; its own template does the rest."""

    def opens_thinking(self, *, asked: bool) -> bool:
        """As in `Template`; the server decides."""
        return asked

    def system_text(self, messages: Sequence[str]) -> str:
        """As in `Template`."""
        return "\n\n".join(messages)

    def opening(self, system: str) -> Segments:
        """As in `Template`."""
        return _message("system", system) if system else ()

    def past_turn(self, turn: Turn) -> Segments:
        """As in `Template`."""
        return self.continuation(turn)

    def new_turn(self, question: str, *, open_thinking: bool) -> Segments:
        """As in `Template`."""
        del open_thinking  # not ours to say
        return _message("user", question)

    def continuation(self, begun: Turn) -> Segments:
        """As in `Template`."""
        return (*_message("user", begun.question), *_message("assistant", begun.answer))

    def resumption(self, begun: Resumed) -> Segments:
        """As in `Template`; thinking goes on from its words, in the marks that R1 knows."""
        thinking = f"<think>\n{begun.thinking}"
        text = thinking if begun.answer is None else f"{thinking}\n</think>\n\n{begun.answer}"
        return (*_message("user", begun.question), *_message("assistant", text))

    def turn_opening(self) -> Segments:
        """As in `Template`."""
        return ()


def messages(segments: Segments) -> list[dict[str, Any]]:
    """A prompt of this form as the API takes it."""
    found: list[dict[str, Any]] = []
    for segment in segments:
        if segment.special and segment.text in _ROLES:
            found.append({"role": segment.text, "content": ""})
        elif found:
            found[-1]["content"] += segment.text
    return found


def _message(role: str, text: str) -> Segments:
    return (Segment(role, special=True), Segment(text))
