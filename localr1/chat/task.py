"""What a wish means in a conversation: which question is answered, where, and from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from localr1.chat import tree
from localr1.chat.template import Resumed, Turn
from localr1.chat.types import (
    AnswerAgain,
    Ask,
    Edit,
    FinishReason,
    GoOn,
    Message,
    ReplyStats,
    ThinkAgain,
    Wish,
)
from localr1.errors import UsageError

SUMMARY_QUESTION: Final = (
    "Summarise our conversation so far, so that we can go on from the summary alone: what I "
    "wanted, what was found out, the values, names and code that matter, and what is still open."
)
"""Asked like any question; a new conversation begins with it and its answer."""
UNFINISHED: Final[frozenset[FinishReason]] = frozenset({"cancelled", "length", "failed", ""})
"""How replies end that can go on."""


@dataclass(frozen=True)
class Task:
    """A reply to be made."""

    question: str
    parent_id: int | None
    """What the new messages follow; None at the beginning."""
    asks: bool
    """Whether the question is new, or stands there already."""
    whole: bool = False
    """As `Ask.whole`."""
    begun: Resumed | Turn | None = None
    """What the reply goes on from; None: from nothing."""
    thinking: str = ""
    """What is there of its thinking."""
    stats: ReplyStats | None = None
    """The figures of what is there."""
    goes_on: Message | None = None
    """The reply that grows; None: a new one."""


def task_for(wish: Wish, messages: Sequence[Message], path: Sequence[Message]) -> Task:
    """Understand a wish.

    Args:
        wish: What is wanted.
        messages: Those of all branches.
        path: The branch that is shown.

    Raises:
        UsageError: The text is empty, or there is nothing such as is wished for.
    """
    match wish:
        case Ask():
            last = path[-1].id if path else None
            return Task(_words(wish.text), last, asks=True, whole=wish.whole)
        case Edit():
            asked = _find(messages, wish.question_id)
            return Task(_words(wish.text), asked.parent_id, asks=True)
        case ThinkAgain():
            reply = _find(messages, wish.reply_id)
            return Task(_question(messages, reply), reply.parent_id, asks=False)
        case AnswerAgain():
            return _answer_again(messages, _find(messages, wish.reply_id), wish.wish.strip())
        case GoOn():
            return _go_on(path)


def wish_words(wish: str) -> str:
    """How a model is told, at the end of its thinking, in which way to answer.

    In its own voice, and after all of the thinking, whose computed state stays as it is.
    """
    return f"\n\nI am to give my answer in this way: {wish}. I do that now.\n" if wish else ""


def can_go_on(message: Message) -> bool:
    """Whether a reply was cut before its end, and there is something of it."""
    reason = message.stats.finish_reason if message.stats else ""
    return reason in UNFINISHED and bool(message.text or message.thinking)


def _answer_again(messages: Sequence[Message], reply: Message, wish: str) -> Task:
    question = _question(messages, reply)
    if not reply.thinking:
        raise UsageError(
            "There is no thinking to answer from.",
            "This reply was given without one, or none was kept.",
            "Let the model think again.",
        )
    before = reply.stats or ReplyStats()
    figures = ReplyStats(
        thinking_tokens=before.thinking_tokens,
        thinking_seconds=before.thinking_seconds,
        same_thinking=True,
        wish=wish,
    )
    begun = Resumed(question, reply.thinking.rstrip() + wish_words(wish), "")
    return Task(
        question, reply.parent_id, asks=False, begun=begun, thinking=reply.thinking, stats=figures
    )


def _go_on(path: Sequence[Message]) -> Task:
    last = path[-1] if path else None
    if last is None or not can_go_on(last):
        raise UsageError(
            "There is nothing to go on with.",
            "The last reply came to its end, or has no word yet.",
            "Ask a question, or let the model think again.",
        )
    question = _question(path, last)
    begun: Resumed | Turn
    if last.thinking:
        begun = Resumed(question, last.thinking, last.text or None)
    else:
        begun = Turn(question, last.text, thought=False)
    return Task(
        question,
        last.parent_id,
        asks=False,
        begun=begun,
        thinking=last.thinking,
        stats=last.stats,
        goes_on=last,
    )


def _words(text: str) -> str:
    if question := text.strip():
        return question
    raise UsageError("There is nothing to send.", "The message is empty.", "Type a question.")


def _find(messages: Sequence[Message], message_id: int) -> Message:
    found = tree.path_to(messages, message_id)
    if found:
        return found[-1]
    raise UsageError("That message is no longer there.", "", "Open the conversation again.")


def _question(messages: Sequence[Message], reply: Message) -> str:
    if reply.role != "assistant" or reply.parent_id is None:
        raise UsageError("That is not a reply.", "", "Choose a reply.")
    return _find(messages, reply.parent_id).text
