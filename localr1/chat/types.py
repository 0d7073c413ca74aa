"""What a conversation is made of, and the events of a reply, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from localr1.errors import LocalR1Error

Role = Literal["user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled", "failed", ""]
"""Why generation ended; empty while it runs or when the app died meanwhile."""


@dataclass(frozen=True)
class ReplyStats:
    """Counts and timings of one reply."""

    finish_reason: FinishReason = ""
    seed: int = 0
    prompt_tokens: int = 0
    """The whole prompt, cached tokens included."""
    cached_tokens: int = 0
    """Prompt tokens found in the KV cache and not computed again."""
    thinking_tokens: int = 0
    answer_tokens: int = 0
    prompt_tps: float = 0.0
    """Prompt tokens computed per second; 0 where none were."""
    generation_tps: float = 0.0
    time_to_first_token_seconds: float = 0.0
    thinking_seconds: float = 0.0
    total_seconds: float = 0.0
    context_used: int = 0
    """Tokens in the context window when the reply ended."""
    context_window: int = 0


@dataclass(frozen=True)
class Message:
    """One message of a conversation; a reply keeps its thinking apart from its answer."""

    id: int
    parent_id: int | None
    role: Role
    text: str
    """The user's words, or the answer."""
    thinking: str
    stats: ReplyStats | None
    created_at: datetime


@dataclass(frozen=True)
class Conversation:
    """A conversation's path of messages, oldest first."""

    id: int
    title: str
    model_id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class ConversationSummary:
    """A line in the list of conversations."""

    id: int
    title: str
    model_id: str
    updated_at: datetime
    message_count: int


@dataclass(frozen=True)
class PromptProgress:
    """The prompt is being processed."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class ThinkingDelta:
    """More thinking."""

    text: str
    tokens: int
    """Thinking tokens so far."""
    seconds: float
    """Since thinking began."""


@dataclass(frozen=True)
class AnswerDelta:
    """More of the answer; the first one ends the thinking."""

    text: str
    tokens: int
    """Answer tokens so far."""
    seconds: float
    """Since the answer began."""


@dataclass(frozen=True)
class Notice:
    """Something the user should know about this reply: messages left out, thinking ended."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The reply is complete, cut by length, or stopped by the user."""

    stats: ReplyStats


@dataclass(frozen=True)
class Failed:
    """The reply could not be completed; what came so far is kept."""

    error: LocalR1Error


Event = PromptProgress | ThinkingDelta | AnswerDelta | Notice | Finished | Failed
