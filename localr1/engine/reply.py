"""Which part of a reply a token belongs to, decided on token ids alone: a pure state machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Part = Literal["thinking", "answer"]
Verdict = Literal["thinking", "answer", "marker", "end"]
EndReason = Literal["user", "budget", "room", "loop", "unclosed"]


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that steer a reply; -1 where the vocabulary has no such single token."""

    think: int
    end_think: int
    ends: frozenset[int]
    """Tokens after which nothing of the reply follows: end of generation, and the template's
    role markers, which some files do not list as ends although a model that writes one is
    talking to itself."""

    @property
    def knows_thinking(self) -> bool:
        """Whether both thinking tags are single tokens."""
        return self.think >= 0 and self.end_think >= 0


class ReplySplitter:
    """Tells thinking from answer, token by token.

    Args:
        vocabulary: The steering ids.
        thinking_open: Whether the prompt ends inside `<think>`.
    """

    def __init__(self, vocabulary: Vocabulary, *, thinking_open: bool) -> None:
        self._vocabulary = vocabulary
        self.part: Part = "thinking" if thinking_open else "answer"
        self.thinking_tokens = 0
        self.answer_tokens = 0
        self.answer_begun = False
        """Whether the answer has words yet; to be set by who reads them."""
        self.closed = False
        """Whether thinking is over for good; to be set by who ends it."""

    def accept(self, token: int) -> Verdict:
        """Count a token and say what it is: text of a part, a marker without text, or the end."""
        if token in self._vocabulary.ends:
            return "end"
        if self.part == "thinking":
            self.thinking_tokens += 1
            if token == self._vocabulary.end_think:
                self.part = "answer"
                return "marker"
            return "marker" if token == self._vocabulary.think else "thinking"
        if token == self._vocabulary.think and not self.answer_begun:
            # R1-0528's template leaves the opening of the thinking to the model, which may write
            # line breaks first. Later the tag is a word like any other.
            if self.closed:
                self.answer_tokens += 1
            else:
                self.part = "thinking"
                self.thinking_tokens += 1
            return "marker"
        self.answer_tokens += 1
        return "marker" if token == self._vocabulary.end_think else "answer"


@dataclass(frozen=True)
class ThinkingLimits:
    """When the engine ends a thinking by itself."""

    budget_tokens: int | None = None
    budget_seconds: float | None = None
    answer_reserve_tokens: int = 0
    """0 means no reserve."""

    def reason_to_end(
        self,
        *,
        thinking_tokens: int,
        thinking_seconds: float,
        room_tokens: int,
        wanted: EndReason | None = None,
    ) -> EndReason | None:
        """Why the thinking must end now, or None.

        Args:
            thinking_tokens: Thought so far.
            thinking_seconds: Thought so far.
            room_tokens: Tokens that may still come, the closing words already taken off.
            wanted: A reason that the numbers do not know of.
        """
        if wanted is not None:
            return wanted
        if self.budget_tokens == 0:
            return "user"  # who wanted none
        if self.budget_tokens is not None and thinking_tokens >= self.budget_tokens:
            return "budget"
        if self.budget_seconds is not None and thinking_seconds >= self.budget_seconds:
            return "budget"
        if self.answer_reserve_tokens and room_tokens <= self.answer_reserve_tokens:
            return "room"
        return None


class StablePrefix:
    """Cuts the line breaks around an answer without ever taking back what was shown.

    R1 writes two line breaks after `</think>`; they are part of its token ids but not of the
    text a person reads.

    Args:
        emit: Takes what may be shown.
        begun: Whether the text goes on with one that was shown before.
    """

    def __init__(self, emit: Callable[[str], None], *, begun: bool = False) -> None:
        self._emit = emit
        self._begun = begun
        self._held = ""

    def feed(self, text: str) -> None:
        """Take text; emit what cannot be trailing white space."""
        text = self._held + text
        if not self._begun:
            text = text.lstrip()
        kept = text.rstrip()
        self._held = text[len(kept) :]
        if kept:
            self._begun = True
            self._emit(kept)

    def release(self) -> None:
        """Emit what was held back: the answer is not over and goes on elsewhere."""
        held, self._held = self._held, ""
        if held and self._begun:
            self._emit(held)


def common_prefix_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading ids two sequences share."""
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low if first[low] != second[low] else low + 1
