"""How the status line follows the model and a reply's events."""

from __future__ import annotations

from dataclasses import replace

from localr1.chat.types import (
    AnswerDelta,
    Event,
    Failed,
    Finished,
    FinishReason,
    LoopNotice,
    PromptProgress,
    ThinkingDelta,
)
from localr1.fit.heat import Heat
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.talk import Talk
from localr1.tui.widgets.status_line import Status, StatusLine

_STEADY_SECONDS = 0.5
"""Before this a rate says more about the clock than about the machine."""
_IN_CIRCLES = "thinking in circles"
_ENDINGS: dict[FinishReason, str] = {
    "stop": "done",
    "length": "context full",
    "cancelled": "stopped",
    "failed": "failed",
    "": "",
}


class Live:
    """Keeps the status line true.

    Args:
        line: What is kept.
        talk: What it is about.
    """

    def __init__(self, line: StatusLine, talk: Talk) -> None:
        self._line = line
        self._talk = talk
        self._heat = Heat()
        self._next: Status | None = None
        """What `show` will say."""

    @property
    def state(self) -> str:
        """What the line says of the model."""
        return self._line.status.state

    @property
    def newest(self) -> Status:
        """What is known, be it on the line yet or not."""
        return self._next or self._line.status

    def rest(self, state: str = "") -> None:
        """No reply is being written; `state` is what the line says of the model."""
        self._next = None
        talk, context = self._talk, self._talk.session if self._talk.ready else None
        self._line.status = Status(
            model=printable(talk.local.model.name),
            quantization=printable(talk.local.variant.quantization),
            state=state,
            context_used=context.context_used if context else 0,
            context_window=context.context_window if context else 0,
        )

    def say(self, state: str) -> None:
        """Say something else of the reply that is being written."""
        self.show()
        self._line.status = replace(self._line.status, state=state)

    def follow(self, event: Event) -> None:
        """Something happened to a reply; what is only a little more of the same waits for `show`."""
        before, session = self.newest, self._talk.session
        self._next = after(before, event, session.context_window if session else 0)
        if self._next.state != self._line.status.state or isinstance(event, Finished | Failed):
            self.show()
            self._line.screen.refresh_bindings()
        if isinstance(event, ThinkingDelta | AnswerDelta):
            self._watch_heat(event)

    def _watch_heat(self, event: ThinkingDelta | AnswerDelta) -> None:
        """Say once that the computer grows slower as it writes."""
        if (fallen := self._heat.notice(event.tokens, event.seconds)) is None:
            return
        before, now = (wording.speed(rate) for rate in fallen)
        self._line.notify(
            f"The computer has slowed down from {before} to {now} tok/s: it is hot, or other"
            ' programs are busy. quiet = "always" in settings.toml keeps it cooler.',
            severity="warning",
            markup=False,
        )

    def show(self) -> None:
        """Say what came since the last time."""
        if self._next is not None:
            self._line.status, self._next = self._next, None


def after(status: Status, event: Event, context_window: int) -> Status:
    """The status after an event; a pure function.

    Args:
        status: Before it.
        event: What happened.
        context_window: Tokens the context holds.
    """
    match event:
        case PromptProgress():
            status = replace(
                status,
                state="reading",
                generation_tps=0.0,
                read_tokens=event.done_tokens,
                context_used=event.total_tokens,
                # An answer that goes on after it filled the window is part of the new prompt.
                context_base=event.total_tokens - status.thinking_tokens - status.answer_tokens,
                context_window=context_window,
            )
        case ThinkingDelta():
            status = replace(
                status,
                state=_IN_CIRCLES if status.state == _IN_CIRCLES else "thinking",
                generation_tps=_rate(event.tokens, event.seconds, status.generation_tps),
                thinking_tokens=event.tokens,
                context_used=status.context_base + event.tokens,
                context_window=context_window,
            )
        case LoopNotice():
            status = replace(status, state=_IN_CIRCLES)
        case AnswerDelta():
            status = replace(
                status,
                state="answering",
                generation_tps=_rate(event.tokens, event.seconds, status.generation_tps),
                answer_tokens=event.tokens,
                context_used=status.context_base + status.thinking_tokens + event.tokens,
                context_window=context_window,
            )
        case Finished(stats=stats):
            status = replace(
                status,
                state=_ENDINGS[stats.finish_reason],
                generation_tps=stats.generation_tps,
                prompt_tps=stats.prompt_tps,
                thinking_tokens=0,
                answer_tokens=0,
                context_used=stats.context_used,
                context_base=stats.context_used,
                context_window=stats.context_window or context_window,
            )
        case Failed():
            status = replace(status, state="failed", thinking_tokens=0, answer_tokens=0)
    return status


def _rate(tokens: int, seconds: float, before: float) -> float:
    return tokens / seconds if seconds > _STEADY_SECONDS else before
