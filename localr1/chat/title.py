"""A conversation's title in the model's own words, made while nothing else is to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from localr1.chat import template
from localr1.chat.prompt import history
from localr1.chat.request import request_for
from localr1.chat.types import Message, ReplyOptions
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.models.types import Model
from localr1.printable import printable

_QUESTION: Final = (
    "Give our conversation a title of two to six words, in its own language. Write the title and "
    "nothing else."
)
_MOST_TOKENS: Final = 80
"""The words that end the thinking, and the title."""
_LONGEST: Final = 80
"""What is longer is no title."""
_PREFIX: Final = re.compile(r"^(?:title|titel|titre|título|标题)\s*[:\uff1a]\s*", re.IGNORECASE)
_WRAPPING: Final = " \t#*_`'\"\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb\u300a\u300b"


def wanted(model: Model, messages: Sequence[Message]) -> bool:
    """Whether a conversation should get a title now: after its first reply that has an answer.

    The demo model knows nothing but sums. Later the whole conversation would have to be read.
    """
    if model.demo or len(messages) != 2:
        return False
    reply = messages[1]
    return bool(reply.text) and reply.stats is not None and reply.stats.finish_reason == "stop"


async def make(engine: Engine, model: Model, messages: Sequence[Message], system: str = "") -> str:
    """Ask the model for a title, without thinking; empty where it gives none.

    The prompt begins as the conversation's next one will, so that what is computed stays of use.

    Args:
        engine: Has the model loaded, and nothing else to do. Cancelling the call stops it.
        model: For the form of its prompts.
        messages: The conversation.
        system: Its system prompt.

    Raises:
        LocalR1Error: The engine failed.
    """
    form = template.of(model)
    turns = [past.turn for past in history(messages, {})]
    opens = await asyncio.to_thread(form.opens_thinking, asked=True)
    asked = template.Asked(_QUESTION, open_thinking=opens)
    prompt = await asyncio.to_thread(form.render, system, turns, asked)
    (tokens,) = await engine.count_tokens([prompt])
    if tokens + _MOST_TOKENS >= engine.context_window:
        return ""
    options = ReplyOptions(max_tokens=_MOST_TOKENS, thinking_budget_tokens=0, temperature=0.0)
    request = request_for(
        prompt,
        0,
        options,
        model.sampling,
        context_window=engine.context_window,
        thinking_open=opens,
    )
    text = ""
    async with aclosing(engine.generate(replace(request, on_loop="ignore"))) as events:
        async for event in events:
            if isinstance(event, protocol.Text) and event.part == "answer":
                text += event.text
            if isinstance(event, protocol.Generated) and event.finish_reason == "cancelled":
                return ""
    return cleaned(text)


def cleaned(text: str) -> str:
    """A title from a model's answer: its first line, without what is around the words."""
    line = next((part for part in printable(text).splitlines() if part.strip(_WRAPPING)), "")
    title = _PREFIX.sub("", line.strip(_WRAPPING)).strip(_WRAPPING).rstrip(".。").strip()
    return title if len(title) <= _LONGEST else ""
