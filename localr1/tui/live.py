"""How the status line follows the model and a reply's events. Pure functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from localr1.chat.types import (
    AnswerDelta,
    Event,
    Failed,
    Finished,
    FinishReason,
    PromptProgress,
    ThinkingDelta,
)
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.tui.widgets.status_line import Status

_STEADY_SECONDS = 0.5
"""Before this a rate says more about the clock than about the machine."""
_ENDINGS: dict[FinishReason, str] = {
    "stop": "done",
    "length": "context full",
    "cancelled": "stopped",
    "failed": "failed",
    "": "",
}


class Context(Protocol):
    """What a session says about its context."""

    @property
    def context_used(self) -> int:
        """Tokens in it."""

    @property
    def context_window(self) -> int:
        """Tokens that it can hold."""


def at_rest(local: LocalModel, context: Context | None, state: str) -> Status:
    """The status while no reply is written.

    Args:
        local: The model.
        context: The session, when the model is loaded.
        state: What the line says of it.
    """
    return Status(
        model=printable(local.model.name),
        quantization=printable(local.variant.quantization),
        state=state,
        context_used=context.context_used if context else 0,
        context_window=context.context_window if context else 0,
    )


def after(status: Status, event: Event, context_window: int) -> Status:
    """The status after an event.

    Args:
        status: Before it.
        event: What happened.
        context_window: Tokens the context holds.
    """
    match event:
        case PromptProgress():
            return replace(
                status,
                state="reading",
                generation_tps=0.0,
                context_used=event.total_tokens,
                context_base=event.total_tokens,
                context_window=context_window,
            )
        case ThinkingDelta():
            return replace(
                status,
                state="thinking",
                generation_tps=_rate(event.tokens, event.seconds, status.generation_tps),
                thinking_tokens=event.tokens,
                context_used=status.context_base + event.tokens,
                context_window=context_window,
            )
        case AnswerDelta():
            return replace(
                status,
                state="answering",
                generation_tps=_rate(event.tokens, event.seconds, status.generation_tps),
                context_used=status.context_base + status.thinking_tokens + event.tokens,
                context_window=context_window,
            )
        case Finished(stats=stats):
            return replace(
                status,
                state=_ENDINGS[stats.finish_reason],
                generation_tps=stats.generation_tps,
                prompt_tps=stats.prompt_tps,
                thinking_tokens=0,
                context_used=stats.context_used,
                context_base=stats.context_used,
                context_window=stats.context_window or context_window,
            )
        case Failed():
            return replace(status, state="failed", thinking_tokens=0)
        case _:
            return status


def _rate(tokens: int, seconds: float, before: float) -> float:
    return tokens / seconds if seconds > _STEADY_SECONDS else before
