"""One conversation in progress: renders prompts, streams replies, keeps everything."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from localr1.chat import budget, template
from localr1.chat.store import Store
from localr1.chat.types import (
    AnswerDelta,
    Conversation,
    Event,
    Failed,
    Finished,
    Message,
    Notice,
    PromptProgress,
    ReplyStats,
    ThinkingDelta,
)
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import ContextFull, LocalR1Error, StoreError, UsageError
from localr1.models.types import Model

_SAVE_SECONDS: Final = 1.0
_ENDED_BY: Final = {
    "budget": "The thinking reached its budget; the answer follows.",
    "room": "The thinking was ended to leave room for the answer.",
    "user": "",
}


@dataclass(frozen=True)
class ReplyOptions:
    """What a user may ask of one reply; None means the model's recommendation."""

    temperature: float | None = None
    seed: int | None = None
    """None: a new random one for every reply."""
    max_tokens: int = 0
    """0: as many as the window holds."""
    thinking_budget_tokens: int | None = None
    thinking_budget_seconds: float | None = None


@dataclass
class _Reply:
    """A reply in the making."""

    saved_at: float
    thinking: str = ""
    answer: str = ""
    dirty: bool = False
    save_error: StoreError | None = None


class ChatSession:
    """A conversation with a model.

    Args:
        engine: The loaded model.
        store: Where the conversation is kept; None keeps it nowhere (one-shot questions).
        model: The catalogue's entry: template flags and sampling.
        conversation: An earlier conversation to go on with; None begins a new one.
        system: A system prompt; R1's makers advise against one, R1-0528 supports it.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store | None,
        model: Model,
        *,
        conversation: Conversation | None = None,
        system: str = "",
    ) -> None:
        self._engine = engine
        self._store = store
        self._model = model
        self._system = system
        self.conversation_id: int | None = conversation.id if conversation else None
        self.messages: tuple[Message, ...] = conversation.messages if conversation else ()
        self.context_used = _last_context_used(self.messages)
        self.busy = False
        self._request_id: int | None = None
        self._stop_asked = False
        self._answer_asked = False
        self._answer_ids: dict[int, tuple[int, ...]] = {}
        self._turn_tokens: dict[int, int] = {}

    @property
    def context_window(self) -> int:
        """Tokens the engine's context holds."""
        return self._engine.context_window

    def replace_engine(self, engine: Engine) -> None:
        """Go on with another engine, after the worker died or the model was changed."""
        self._engine = engine
        self._request_id = None
        self._answer_ids.clear()
        self._turn_tokens.clear()

    async def stop(self) -> None:
        """End the running reply; what came so far is kept. Does nothing when none runs."""
        self._stop_asked = self.busy
        if self._request_id is not None:
            await self._engine.stop(self._request_id)

    async def answer_now(self) -> None:
        """End the running reply's thinking; the answer begins. Does nothing when none runs."""
        self._answer_asked = self.busy
        if self._request_id is not None:
            await self._engine.end_thinking(self._request_id)

    async def send(
        self, text: str, options: ReplyOptions | None = None
    ) -> AsyncGenerator[Event, None]:
        """Ask, and yield what happens until `Finished` or `Failed`.

        The question is stored before generation begins, the reply at most one second late.

        Raises:
            UsageError: When a reply is running already, or the text is empty.
            StoreError: When the question cannot be stored; nothing is generated then.
        """
        if self.busy:
            raise UsageError("A reply is still running.", "", "Stop it first, or wait.")
        question = text.strip()
        if not question:
            raise UsageError(
                "There is nothing to send.", "The message is empty.", "Type a question."
            )
        self.busy, self._stop_asked, self._answer_asked = True, False, False
        try:
            async with aclosing(self._reply(question, options or ReplyOptions())) as events:
                async for event in events:
                    yield event
        finally:
            self.busy, self._request_id = False, None

    async def _reply(self, question: str, options: ReplyOptions) -> AsyncGenerator[Event, None]:
        history = self._history()
        reply = await self._begin(question)
        stats = ReplyStats(
            seed=secrets.randbelow(2**31) if options.seed is None else options.seed,
            context_window=self.context_window,
        )
        end: Event | None = None
        try:
            segments, notice = await self._prompt(history, question, options)
            if notice:
                yield Notice(notice)
            request = self._request(segments, stats.seed, options)
            async with aclosing(self._engine.generate(request)) as events:
                async for event in events:
                    if isinstance(event, protocol.Generated):
                        stats = _stats(event, stats)
                        end = Finished(stats)
                        self._remember(reply, event)
                        continue
                    self._request_id = event.request_id
                    await self._pass_on_early_wishes()
                    for shown in _shown(event, reply):
                        yield shown
                    await self._save(reply, stats)
        except LocalR1Error as error:
            stats = replace(stats, finish_reason="failed")
            end = Failed(error)
        finally:
            if not stats.finish_reason:  # the consumer left, or the task was cancelled
                stats = replace(stats, finish_reason="cancelled")
            self._finish(reply, stats)
        if reply.save_error is not None:
            yield Failed(reply.save_error)
        elif end is not None:
            yield end

    async def _begin(self, question: str) -> _Reply:
        """Store the question and an empty reply under it."""
        parent = self.messages[-1].id if self.messages else None
        store = self._store
        if store is None:
            now = datetime.now().astimezone()
            number = len(self.messages)
            asked = Message(number, parent, "user", question, "", None, now)
            answered = Message(number + 1, number, "assistant", "", "", None, now)
        else:
            if self.conversation_id is None:
                self.conversation_id = await asyncio.to_thread(
                    store.create, question, self._model.id
                )
            asked, answered = await asyncio.to_thread(
                store.add_exchange, self.conversation_id, parent, question
            )
        self.messages = (*self.messages, asked, answered)
        return _Reply(saved_at=time.monotonic())

    def _history(self) -> list[tuple[int, template.Turn]]:
        """Earlier exchanges with the id of their answer.

        A question that got no word of an answer is left out together with its empty reply.
        """
        turns = []
        for asked, answered in zip(self.messages[::2], self.messages[1::2], strict=False):
            if answered.text:
                ids = self._answer_ids.get(answered.id, ())
                turns.append((answered.id, template.Turn(asked.text, answered.text, ids)))
        return turns

    async def _prompt(
        self, history: list[tuple[int, template.Turn]], question: str, options: ReplyOptions
    ) -> tuple[tuple[protocol.Segment, ...], str]:
        """The prompt within the context budget, and a notice when turns were left out.

        Raises:
            ContextFull: When not even the question alone fits.
        """
        no_thinking = options.thinking_budget_tokens == 0
        open_thinking = self._model.force_think or no_thinking
        opening = template.opening(self._system)
        asking = template.new_turn(question, open_thinking=open_thinking)
        unknown = [(key, turn) for key, turn in history if key not in self._turn_tokens]
        counts = await self._engine.count_tokens(
            [opening, asking, *(template.past_turn(turn) for _, turn in unknown)]
        )
        self._turn_tokens.update(
            {key: count for (key, _), count in zip(unknown, counts[2:], strict=True)}
        )
        window = self.context_window
        share = budget.share_out(
            counts[0], [self._turn_tokens[key] for key, _ in history], counts[1], window
        )
        if not share.fits:
            raise ContextFull(
                "The message is too long for the context window.",
                f"It has {counts[0] + counts[1]:,} tokens; the window holds {window:,}, and a "
                "reply needs room too.",
                "Shorten it, or use a larger context window.",
            )
        kept = [turn for _, turn in history[share.left_out_turns :]]
        segments = template.render(self._system, kept, question, open_thinking=open_thinking)
        notice = ""
        if share.left_out_turns:
            many = share.left_out_turns
            notice = (
                f"The context window is full: the oldest {many} "
                f"exchange{'s' if many > 1 else ''} of this conversation "
                f"{'are' if many > 1 else 'is'} not sent to the model. Nothing is deleted."
            )
        return segments, notice

    def _request(
        self, segments: tuple[protocol.Segment, ...], seed: int, options: ReplyOptions
    ) -> protocol.Generate:
        sampling = self._model.sampling
        open_thinking = self._model.force_think or options.thinking_budget_tokens == 0
        temperature = options.temperature
        return protocol.Generate(
            request_id=0,
            segments=segments,
            thinking_open=open_thinking,
            seed=seed,
            temperature=sampling.temperature if temperature is None else temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            max_tokens=options.max_tokens,
            thinking_budget_tokens=options.thinking_budget_tokens,
            thinking_budget_seconds=options.thinking_budget_seconds,
            answer_reserve_tokens=budget.answer_reserve(self.context_window),
        )

    async def _pass_on_early_wishes(self) -> None:
        """Stops and answer-nows that came before the engine's request had a number."""
        if self._stop_asked:
            await self.stop()
            self._stop_asked = False
        if self._answer_asked:
            await self.answer_now()
            self._answer_asked = False

    def _remember(self, reply: _Reply, event: protocol.Generated) -> None:
        self.context_used = event.context_used
        if reply.answer and event.finish_reason == "stop":
            self._answer_ids[self.messages[-1].id] = event.answer_token_ids

    async def _save(self, reply: _Reply, stats: ReplyStats) -> None:
        """Store the reply so far, once a second; a disk that refuses does not end the reply."""
        now = time.monotonic()
        if self._store is None or not reply.dirty or now - reply.saved_at < _SAVE_SECONDS:
            return
        reply.saved_at, reply.dirty = now, False
        message_id = self.messages[-1].id
        with suppress(StoreError):  # `_finish` tries again and reports
            await asyncio.to_thread(
                self._store.update, message_id, reply.answer, reply.thinking, stats
            )

    def _finish(self, reply: _Reply, stats: ReplyStats) -> None:
        """Write the reply's last state; not awaited, so that a cancelled task keeps it too."""
        last = replace(self.messages[-1], text=reply.answer, thinking=reply.thinking, stats=stats)
        self.messages = (*self.messages[:-1], last)
        if self._store is None:
            return
        try:
            self._store.update(last.id, reply.answer, reply.thinking, stats)
        except StoreError as error:
            reply.save_error = error


def _shown(event: protocol.Event, reply: _Reply) -> list[Event]:
    """What a person sees of an engine event; the reply grows by its text."""
    match event:
        case protocol.PromptProgressed():
            return [PromptProgress(event.done_tokens, event.total_tokens)]
        case protocol.Text(part="thinking"):
            reply.thinking += event.text
            reply.dirty = True
            return [ThinkingDelta(event.text, event.tokens, event.seconds)]
        case protocol.Text():
            reply.answer += event.text
            reply.dirty = True
            return [AnswerDelta(event.text, event.tokens, event.seconds)]
        case protocol.ThinkingEnded() if _ENDED_BY[event.reason]:
            return [Notice(_ENDED_BY[event.reason])]
        case _:
            return []


def _stats(event: protocol.Generated, begun: ReplyStats) -> ReplyStats:
    computed = event.prompt_tokens - event.cached_tokens
    # Fed tokens cost one batch, not a step each: they would flatter the speed.
    generated = event.thinking_tokens + event.answer_tokens - event.forced_tokens
    return replace(
        begun,
        finish_reason=event.finish_reason,
        prompt_tokens=event.prompt_tokens,
        cached_tokens=event.cached_tokens,
        thinking_tokens=event.thinking_tokens,
        answer_tokens=event.answer_tokens,
        prompt_tps=computed / event.prompt_seconds if event.prompt_seconds > 0 else 0.0,
        generation_tps=generated / event.generation_seconds
        if event.generation_seconds > 0
        else 0.0,
        time_to_first_token_seconds=event.time_to_first_token_seconds,
        thinking_seconds=event.thinking_seconds,
        total_seconds=event.total_seconds,
        context_used=event.context_used,
    )


def _last_context_used(messages: tuple[Message, ...]) -> int:
    return next((m.stats.context_used for m in reversed(messages) if m.stats), 0)
