"""A reply in the making: its text, its figures, and what a person sees of the engine's events."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Final

from localr1.chat.types import (
    AnswerDelta,
    Event,
    LoopNotice,
    Notice,
    PromptProgress,
    ReplyStats,
    ThinkingDelta,
)
from localr1.engine import protocol
from localr1.errors import StoreError

_ENDED_BY: Final = {
    "budget": "The thinking reached its budget; the answer follows.",
    "room": "The thinking was ended to leave room for the answer.",
    "loop": "The thinking went round in circles and was ended; the answer follows.",
    "unclosed": "The model stopped without an answer; it was asked for one.",
    "user": "",
}
FULL_IN_THINKING: Final = (
    "The context window filled up before the answer began. A larger one helps, or less thinking: "
    "set `context_window` or `thinking_budget` in settings.toml."
)
FULL_BY_SETTING: Final = (
    "The context window is full, so the answer ends here. For longer ones set a larger "
    '`context_window`, or `when_full = "continue"`, in settings.toml.'
)
FULL_FOR_GOOD: Final = (
    "The context window is full, and nothing is left that could make room: the answer ends here. "
    "For longer ones set a larger `context_window` in settings.toml."
)


def went_on_words(*, thinking: bool, left_out_messages: int) -> str:
    """What the user is told when an answer goes on after it filled the window.

    Args:
        thinking: Whether the reply's own thinking was dropped from the window.
        left_out_messages: Of the oldest, those that were left out for it.
    """
    gone = [
        *(["this reply's thinking"] if thinking else []),
        *([f"the {left_out_messages} earliest messages"] if left_out_messages else []),
    ]
    if not gone:
        return ""
    what, verb = " and ".join(gone), "are" if left_out_messages else "is"
    return f"The context window was full: {what} {verb} no longer in it; the answer goes on."


@dataclass
class Reply:
    """Grows by the engine's events; an answer that fills the window takes several requests."""

    begun: ReplyStats
    """What is known before the first event."""
    thinking: str = ""
    answer: str = ""
    dirty: bool = False
    """Whether there is text that is not stored."""
    storing: threading.Lock = field(default_factory=threading.Lock)
    """Held while it is written."""
    over: bool = False
    """Whether its last state is stored."""
    save_error: StoreError | None = None
    rounds: list[protocol.Generated] = field(default_factory=list)
    """The ends of the requests so far."""
    resumed: bool = False
    """Whether it goes on from an earlier one's thinking or answer."""

    @classmethod
    def resuming(cls, begun: ReplyStats, thinking: str, answer: str) -> Reply:
        """A reply that goes on from what is there; from nothing where both are empty.

        Args:
            begun: What is known before the first event; with the figures of what is there.
            thinking: Thought before.
            answer: Answered before.
        """
        return cls(begun, thinking, answer, resumed=bool(thinking or answer))

    @property
    def answer_ids(self) -> tuple[int, ...]:
        """The answer as the engine generated it; empty where it does not know all of it."""
        return (
            ()
            if self.resumed
            else tuple(token for end in self.rounds for token in end.answer_token_ids)
        )

    @property
    def tokens(self) -> int:
        """Thinking and answer so far."""
        return sum(end.thinking_tokens + end.answer_tokens for end in self.rounds)

    @property
    def stats(self) -> ReplyStats:
        """The figures of all finished requests together."""
        return stats(self.rounds, self.begun)

    def shown(self, event: protocol.Event) -> list[Event]:
        """What a person sees of an engine event; the reply grows by its text."""
        match event:
            case protocol.PromptProgressed():
                return [PromptProgress(event.done_tokens, event.total_tokens)]
            case protocol.Text(part="thinking"):
                self.thinking += event.text
                self.dirty = True
                tokens = self.begun.thinking_tokens + event.tokens
                return [
                    ThinkingDelta(event.text, tokens, self.begun.thinking_seconds + event.seconds)
                ]
            case protocol.Text():
                self.answer += event.text
                self.dirty = True
                tokens = sum(end.answer_tokens for end in self.rounds)
                seconds = sum(end.generation_seconds - end.thinking_seconds for end in self.rounds)
                return [AnswerDelta(event.text, tokens + event.tokens, seconds + event.seconds)]
            case protocol.ThinkingEnded() if _ENDED_BY[event.reason]:
                return [Notice(_ENDED_BY[event.reason])]
            case protocol.LoopNoticed():
                return [LoopNotice(event.kind, event.repeats)]
            case _:
                return []


def stats(rounds: list[protocol.Generated], begun: ReplyStats) -> ReplyStats:
    """The figures of a reply that took several requests; `begun` has those of what was before.

    Speeds are those of the new requests. Tokens and seconds add up; the prompt is the first one, the ending the last one's.
    """
    if not rounds:
        return begun
    first, last = rounds[0], rounds[-1]
    computed = sum(end.prompt_tokens - end.cached_tokens for end in rounds)
    prompt_seconds = sum(end.prompt_seconds for end in rounds)
    new_thinking = sum(end.thinking_tokens for end in rounds)
    new_answer = sum(end.answer_tokens for end in rounds)
    # Fed tokens cost one batch, not a step each: they would flatter the speed.
    forced = sum(end.forced_tokens for end in rounds)
    generated = new_thinking + new_answer - forced
    generation_seconds = sum(end.generation_seconds for end in rounds)
    return replace(
        begun,
        finish_reason=last.finish_reason,
        prompt_tokens=first.prompt_tokens,
        cached_tokens=first.cached_tokens,
        thinking_tokens=begun.thinking_tokens + new_thinking,
        answer_tokens=begun.answer_tokens + new_answer,
        prompt_tps=computed / prompt_seconds if prompt_seconds > 0 else 0.0,
        generation_tps=generated / generation_seconds if generation_seconds > 0 else 0.0,
        time_to_first_token_seconds=first.time_to_first_token_seconds,
        thinking_seconds=begun.thinking_seconds + sum(end.thinking_seconds for end in rounds),
        total_seconds=begun.total_seconds + sum(end.total_seconds for end in rounds),
        context_used=last.context_used,
        window_full=last.window_full and last.finish_reason == "length",
        drafted_tokens=sum(end.drafted_tokens for end in rounds),
        accepted_tokens=sum(end.accepted_tokens for end in rounds),
        forced_tokens=begun.forced_tokens + forced,
    )
