"""What is sent to the model: a conversation as prompt segments, within the context window."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localr1.chat import budget, template
from localr1.chat.task import Task
from localr1.chat.types import Message
from localr1.engine.client import Engine
from localr1.engine.protocol import Segment
from localr1.errors import ContextFull


@dataclass(frozen=True)
class Past:
    """An earlier exchange."""

    id: int
    """Of its answer."""
    turn: template.Turn
    messages_before: int
    """In the conversation."""


@dataclass(frozen=True)
class Prompt:
    """What is sent, and what of the conversation is not."""

    segments: tuple[Segment, ...]
    tokens: int
    left_out_messages: int
    """The oldest of the conversation."""


def history(
    messages: Sequence[Message], answer_ids: Mapping[int, tuple[int, ...]]
) -> tuple[Past, ...]:
    """The earlier exchanges that later prompts show: questions and answers, never a thought.

    A question that got no word of an answer is left out together with its reply: its thinking
    was never closed, and a question without an answer would be answered once more.

    Args:
        messages: Questions and replies by turns.
        answer_ids: Token ids of answers as they were generated, by message id.
    """
    return tuple(
        Past(
            reply.id,
            template.Turn(
                asked.text, reply.text, answer_ids.get(reply.id, ()), thought=_thought(reply)
            ),
            2 * before,
        )
        for before, (asked, reply) in enumerate(zip(messages[::2], messages[1::2], strict=False))
        if reply.text
    )


class Prompts:
    """Makes a conversation's prompts; the engine counts the tokens of each turn once.

    Args:
        system: The system prompt; may be empty.
        form: The form of the model's conversations; None for that of R1's family.
    """

    def __init__(self, system: str, form: template.Template | None = None) -> None:
        self.system = system
        self.form = form or template.FamilyTemplate()
        self._turn_tokens: dict[int, int] = {}

    def forget_counts(self) -> None:
        """Count all turns again: another model counts otherwise."""
        self._turn_tokens.clear()

    async def first(
        self, engine: Engine, past: Sequence[Past], task: Task, *, open_thinking: bool
    ) -> Prompt:
        """The prompt that a reply begins with.

        Raises:
            ContextFull: It does not fit.
            EngineDied: The worker ended.
        """
        if task.begun is not None:
            return await self.going_on(engine, past, task.begun)
        return await self.asking(
            engine, past, task.question, open_thinking=open_thinking, whole=task.whole
        )

    async def asking(
        self,
        engine: Engine,
        past: Sequence[Past],
        question: str,
        *,
        open_thinking: bool,
        whole: bool = False,
    ) -> Prompt:
        """The prompt of a new question; `whole` as in `budget.share_out`.

        Raises:
            ContextFull: When not even the question alone fits.
            EngineDied: The worker ended.
        """
        asked = template.Asked(question, open_thinking)
        prompt, fits = await self._within(engine, past, asked, whole=whole)
        if not fits:
            window = engine.context_window
            raise ContextFull(
                "The message is too long for the context window.",
                f"It has {prompt.tokens:,} tokens; the window holds {window:,}, and a "
                "reply needs room too.",
                "Shorten it, or use a larger context window.",
            )
        return prompt

    async def continuing(
        self, engine: Engine, past: Sequence[Past], begun: template.Turn
    ) -> Prompt | None:
        """The prompt on which an answer goes on that filled the window; its thinking is dropped.

        Args:
            engine: Counts tokens.
            past: The exchanges before it.
            begun: Question and answer so far.

        Returns:
            None when even without all earlier exchanges too little room is left.

        Raises:
            EngineDied: The worker ended.
        """
        least = budget.continuing_room(engine.context_window)
        prompt, fits = await self._within(engine, past, begun, least_room=least)
        return prompt if fits else None

    async def going_on(
        self, engine: Engine, past: Sequence[Past], begun: template.Resumed | template.Turn
    ) -> Prompt:
        """The prompt on which a reply goes on; without its thinking where there is no room.

        Raises:
            ContextFull: There is no room, or the model does not know this way of thinking.
            EngineDied: The worker ended.
        """
        if isinstance(begun, template.Resumed):
            if await asyncio.to_thread(self.form.opens_thinking, asked=True):
                prompt, fits = await self._within(engine, past, begun)
                if fits:
                    return prompt
            begun = template.Turn(begun.question, begun.answer or "")
        found = await self.continuing(engine, past, begun) if begun.answer else None
        if found is None:
            raise ContextFull(
                "The reply cannot go on from there.",
                f"Of the context window of {engine.context_window:,} tokens too little would be "
                "left for it, or the model does not know this way of thinking.",
                "Use a larger context window, or let the model think again.",
            )
        return found

    async def beginning(self, engine: Engine, past: Sequence[Past]) -> Prompt:
        """What the next prompt will begin with, whatever is asked.

        Raises:
            EngineDied: The worker ended.
        """
        prompt, _ = await self._within(engine, past, None)
        return prompt

    async def _within(
        self,
        engine: Engine,
        past: Sequence[Past],
        last: template.Last,
        *,
        least_room: int | None = None,
        whole: bool = False,
    ) -> tuple[Prompt, bool]:
        """The prompt that ends in `last`, and whether it leaves the reply its room."""
        unknown = [each for each in past if each.id not in self._turn_tokens]
        # In a thread: a file's own template may take a while.
        parts = await asyncio.to_thread(self._parts, unknown, last)
        counts = await engine.count_tokens(parts)
        self._turn_tokens.update(
            {each.id: count for each, count in zip(unknown, counts[2:], strict=True)}
        )
        share = budget.share_out(
            counts[0],
            [self._turn_tokens[each.id] for each in past],
            counts[1],
            engine.context_window,
            least_room=least_room,
            whole=whole,
        )
        kept = past[share.left_out_turns :]
        # Those without an answer, which are never sent, are gone with what stood around them.
        gone = kept[0].messages_before if kept else past[-1].messages_before + 2 if past else 0
        turns = [each.turn for each in kept]
        segments = await asyncio.to_thread(self.form.render, self.system, turns, last)
        return Prompt(
            segments, share.prompt_tokens, gone if share.left_out_turns else 0
        ), share.fits

    def _parts(self, past: Sequence[Past], last: template.Last) -> list[template.Segments]:
        """What is counted: the opening, the end, and turns."""
        turns = (self.form.past_turn(each.turn) for each in past)
        return [self.form.opening(self.system), self.form.ending(last), *turns]


def _thought(reply: Message) -> bool:
    """Whether the model thought before it answered, be it no word."""
    return bool(reply.thinking) or (reply.stats is not None and reply.stats.thinking_tokens > 0)
