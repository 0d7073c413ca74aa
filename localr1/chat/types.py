"""What a conversation is made of, and the events of a reply, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from localr1.chat.manner import USUAL, Manner
from localr1.config import Preferences, WhenFull
from localr1.engine.protocol import LoopPolicy
from localr1.errors import LocalR1Error

Role = Literal["user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled", "failed", ""]
"""Why generation ended; empty while it runs or when the app died meanwhile."""


@dataclass(frozen=True)
class ReplyOptions:
    """What a user may ask of one reply; None means the model's recommendation."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    """None: a new random one for every reply."""
    max_tokens: int = 0
    """0: as many as the window holds."""
    thinking_budget_tokens: int | None = None
    thinking_budget_seconds: float | None = None
    on_loop: LoopPolicy = "tell"
    """When the thinking goes round in circles: nothing, say so, or end it."""
    when_full: WhenFull = "continue"
    """When the answer fills the window: go on after making room, or end."""
    may_leave_out: bool = True
    """Whether older messages may be left out of the prompt; else `NoRoom` is all that happens."""
    draft_tokens: int = 0
    """Tokens to guess ahead in one step; 0: no speculation."""
    grammar: str = ""
    """What the answer is held to after free thinking (`json_grammar`); empty: nothing."""

    @classmethod
    def preferred(cls, preferences: Preferences, manner: Manner = USUAL) -> ReplyOptions:
        """As the user's settings and the conversation have it."""
        limits = preferences.thinking_limits
        return cls(
            temperature=manner.temperature,
            top_p=manner.top_p,
            seed=manner.seed,
            thinking_budget_tokens=limits.tokens,
            thinking_budget_seconds=limits.seconds,
            when_full=preferences.when_full,
            draft_tokens=preferences.draft_tokens,
        )


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
    window_full: bool = False
    """With `length`: it was the window that ended, not the longest allowed length."""
    drafted_tokens: int = 0
    """Guessed ahead in all."""
    accepted_tokens: int = 0
    """Of the guesses, those that came true."""
    forced_tokens: int = 0
    """Of the thinking and answer tokens, those that the engine fed to end the thinking."""
    model_id: str = ""
    """Which model replied: a conversation may change it."""
    same_thinking: bool = False
    """Whether the thinking is that of another reply, from which this one answers again."""
    wish: str = ""
    """How it was to answer then: `shorter`; empty where nothing was said about it."""


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
    rating: int = 0
    """What the user thinks of it: 1 good, -1 bad, 0 nothing said."""


@dataclass(frozen=True)
class Conversation:
    """A conversation's path of messages, oldest first."""

    id: int
    title: str
    model_id: str
    messages: tuple[Message, ...]
    """The branch that is shown."""
    tree: tuple[Message, ...] = ()
    """The messages of all branches, by id; empty where there is no other branch."""
    manner: Manner = USUAL
    """What the user chose for it."""


@dataclass(frozen=True)
class Ask:
    """A new question at the end of the branch."""

    text: str
    whole: bool = False
    """Whether it is about all that was said: nothing is left out while there is room for a short
    reply."""


@dataclass(frozen=True)
class Edit:
    """An earlier question in other words: a branch of its own beside it."""

    question_id: int
    text: str


@dataclass(frozen=True)
class ThinkAgain:
    """Another reply beside an earlier one, thought anew."""

    reply_id: int


@dataclass(frozen=True)
class AnswerAgain:
    """Another reply beside an earlier one, from the same thinking."""

    reply_id: int
    wish: str = ""
    """How: `shorter`, `in French`."""


@dataclass(frozen=True)
class GoOn:
    """The branch's last reply goes on where it was stopped."""


Wish = Ask | Edit | ThinkAgain | AnswerAgain | GoOn
"""What a conversation is asked to do next; nothing of it overwrites anything."""


@dataclass(frozen=True)
class Hit:
    """Where a search found its words in a conversation."""

    where: Literal["question", "answer", "thinking"]
    excerpt: str
    """The words and what is around them, each between `shelf.HIT_BEGIN` and `shelf.HIT_END`."""


@dataclass(frozen=True)
class ConversationSummary:
    """A line in the list of conversations."""

    id: int
    title: str
    model_id: str
    updated_at: datetime
    message_count: int
    pinned: bool = False
    archived: bool = False
    """Put away: only a search, or the list of what was put away, shows it."""
    titled_by: str = "question"
    """Whose words the title are: `question`, `model` or `user`."""
    tags: tuple[str, ...] = ()
    hit: Hit | None = None
    """Where a search found its words; None without one, or where the title has them."""


@dataclass(frozen=True)
class Said:
    """A message that comes in."""

    parent: int | None
    """Which one of the conversation's messages it follows."""
    role: Role
    text: str
    thinking: str
    at: datetime
    stats: ReplyStats | None = None
    rating: int = 0


@dataclass(frozen=True)
class Incoming:
    """A conversation that comes in; questions and replies take turns on every path."""

    title: str
    model_id: str
    messages: tuple[Said, ...]
    shown: int | None = None
    """The message at the end of the branch to show; None for the last one."""
    pinned: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()
    manner: Manner = USUAL


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
    about_window: bool = False
    """Whether it is that the context window is full: there is a choice of what to do then."""


@dataclass(frozen=True)
class LoopNotice:
    """The thinking goes round in circles; the user may end it and have the answer."""

    kind: Literal["cycle", "paragraph"]
    """The same words over and over, or paragraphs said before."""
    repeats: int


@dataclass(frozen=True)
class NoRoom:
    """Nothing was asked: older messages would have been left out, and they may not."""

    messages: int
    """How many of the oldest, those among them that were left out before."""


@dataclass(frozen=True)
class Finished:
    """The reply is complete, cut by length, or stopped by the user."""

    stats: ReplyStats


@dataclass(frozen=True)
class Failed:
    """The reply could not be completed; what came so far is kept."""

    error: LocalR1Error


Event = (
    PromptProgress | ThinkingDelta | AnswerDelta | Notice | LoopNotice | NoRoom | Finished | Failed
)
