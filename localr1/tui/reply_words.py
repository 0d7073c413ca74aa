"""A reply's figures in words: pure functions, but for `Reading`, which remembers how it went."""

from __future__ import annotations

from localr1.amount import ThinkingBudget
from localr1.chat.types import FinishReason, PromptProgress, ReplyStats, ThinkingDelta
from localr1.fit import time_words
from localr1.printable import printable
from localr1.tui import wording

_BUDGET_CELLS = 6
_STEADY_SECONDS = 0.5
"""Before this a rate says more about the clock than about the machine."""
_INTERRUPTED = "interrupted: localr1 ended while this was written"
_ENDINGS: dict[FinishReason, str] = {
    "stop": "",
    "length": "cut off: the context window is full",
    "cancelled": "stopped",
    "failed": "failed",
    "": _INTERRUPTED,
}


class Reading:
    """Reckons how long a prompt is still read, by how fast it went so far."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def seconds_left(self, event: PromptProgress, now: float) -> float | None:
        """Seconds until it is read; None where that cannot be said yet.

        Args:
            event: How far it is; what was cached is there at once.
            now: A clock, in seconds.
        """
        if self._first is None:
            self._first = now, event.done_tokens
            return None
        seconds, tokens = now - self._first[0], event.done_tokens - self._first[1]
        if tokens <= 0 or seconds < _STEADY_SECONDS:
            return None
        return (event.total_tokens - event.done_tokens) * seconds / tokens


def prompt_text(event: PromptProgress, seconds_left: float | None = None) -> str:
    """The line while the prompt is processed: `Reading 512 of 2,048 tokens ━━━─── 12 s left`."""
    fraction = event.done_tokens / event.total_tokens if event.total_tokens else 0.0
    filled, empty = wording.gauge(fraction, 12)
    return (
        f"Reading {wording.count(event.done_tokens)} of "
        f"{wording.plural(event.total_tokens, 'token')} {filled}{empty}"
        f"{f' {time_words.rough_duration(seconds_left)} left' if seconds_left else ''}"
    )


def thinking_text(so_far: ThinkingDelta, budget: ThinkingBudget) -> str:
    """The line while the model thinks: `Thinking 12 s · 210 tokens · 18 tok/s`.

    Args:
        so_far: The last that came.
        budget: Its limits are named, with how much of them is used: `210 of 2,000 tokens ━─────`.
    """
    seconds, tokens = so_far.seconds, so_far.tokens
    time_text = wording.duration(max(1, seconds))
    if budget.seconds:
        time_text = (
            f"{wording.of_seconds(seconds, budget.seconds)} {_bar(seconds / budget.seconds)}"
        )
    count_text = wording.plural(tokens, "token")
    if budget.tokens:
        most = wording.plural(budget.tokens, "token")
        count_text = f"{wording.count(tokens)} of {most} {_bar(tokens / budget.tokens)}"
    parts = [f"Thinking {time_text}", count_text]
    if seconds > _STEADY_SECONDS:
        parts.append(f"{wording.speed(tokens / seconds)} tok/s")
    return " · ".join(parts)


def thought_text(stats: ReplyStats) -> str:
    """The line of a finished thinking: `Thought for 12 s · 210 tokens`."""
    ended = stats.answer_tokens > 0 or stats.finish_reason == "stop" or stats.same_thinking
    text = thought_words(
        "Thought" if ended else "Thinking stopped", stats.thinking_seconds, stats.thinking_tokens
    )
    if not stats.same_thinking:
        return text
    return f"{text} · answered again{': ' + printable(stats.wish) if stats.wish else ''}"


def figures_text(stats: ReplyStats) -> str:
    """The line under a reply: how it ended, if not by itself, and its speed."""
    ending = _ENDINGS[stats.finish_reason]
    if stats.finish_reason == "cancelled" and not stats.answer_tokens:
        ending = "stopped without an answer, so it is not sent again"
    parts = [ending]
    if tokens := stats.thinking_tokens + stats.answer_tokens:
        parts.append(wording.plural(tokens, "token"))
    if stats.generation_tps:
        parts.append(f"{wording.speed(stats.generation_tps)} tok/s")
    if stats.total_seconds:
        parts.append(wording.duration(stats.total_seconds))
    return " · ".join(part for part in parts if part)


def thought_words(verb: str, seconds: float, tokens: int) -> str:
    """How long was thought: `Thought for 12 s · 210 tokens`; the verb alone for no tokens."""
    if not tokens:
        return verb
    preposition = "for" if verb == "Thought" else "after"
    return f"{verb} {preposition} {wording.duration(seconds)} · {wording.plural(tokens, 'token')}"


def _bar(fraction: float) -> str:
    return "".join(wording.gauge(fraction, _BUDGET_CELLS))
