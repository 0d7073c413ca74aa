"""One conversation in progress: asks, streams replies, keeps everything."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from localr1.chat import budget, reply, template
from localr1.chat.idle import IdleWork
from localr1.chat.kv_state import KvStates
from localr1.chat.prompt import Past, Prompts, history
from localr1.chat.reply import Reply
from localr1.chat.store import Store
from localr1.chat.types import (
    Conversation,
    Event,
    Failed,
    Finished,
    FinishReason,
    Message,
    Notice,
    ReplyOptions,
    ReplyStats,
)
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import LocalR1Error, StoreError, UsageError
from localr1.models.types import Model

__all__ = ["ChatSession", "ReplyOptions"]

_SAVE_SECONDS: Final = 1.0


class ChatSession:
    """A conversation with a model.

    Args:
        engine: The loaded model.
        store: Where the conversation is kept; None keeps it nowhere (one-shot questions).
        model: The catalogue's entry: template flags and sampling.
        conversation: An earlier conversation to go on with; None begins a new one.
        system: A system prompt; R1's makers advise against one, R1-0528 supports it.
        states: Where the KV cache is kept while the conversation is not open; None for nowhere.
        look_ahead: Whether the beginning of the next prompt is computed while the user reads
            and types; of no use to a single question.
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        engine: Engine,
        store: Store | None,
        model: Model,
        *,
        conversation: Conversation | None = None,
        system: str = "",
        states: KvStates | None = None,
        look_ahead: bool = True,
    ) -> None:
        self._engine = engine
        self._store = store
        self._model = model
        self.conversation_id: int | None = conversation.id if conversation else None
        self.messages: tuple[Message, ...] = conversation.messages if conversation else ()
        self.context_used = _last_context_used(self.messages)
        self.busy = False
        self._template = template.of(model)
        self._prompts = Prompts(system, self._template)
        self._idle = IdleWork(
            model, self._prompts, states if store else None, look_ahead=look_ahead
        )
        self._answer_ids: dict[int, tuple[int, ...]] = {}
        self._left_out_turns = 0
        """As the user was told."""
        self._request_id: int | None = None
        self._stop_asked = False
        self._stopped_request_id: int | None = None
        self._answer_asked = False

    @property
    def context_window(self) -> int:
        """Tokens the engine's context holds."""
        return self._engine.context_window

    def replace_engine(self, engine: Engine) -> None:
        """Go on with another engine, after the worker died or the model was changed."""
        self._idle.engine_replaced()
        self._engine = engine
        self._request_id = None
        self._answer_ids.clear()
        self._prompts.forget_counts()

    async def resume(self) -> None:
        """Make the next reply start soon: restore the KV cache, and compute the rest while idle.

        Called when a conversation is opened or got another engine; never raises for an engine
        that died, which the next `send` reports.
        """
        await self._idle.restore(self._engine, self.conversation_id)
        if not self.busy:
            self._idle.begin(self._engine, self._history())

    async def leave(self, *, within_seconds: float | None = None) -> bool:
        """Keep the KV cache on disk where that pays, before something else is opened.

        Awaited before another conversation uses the engine: its cache can hold only one. A
        conversation that is being answered, is private or was deleted leaves nothing.

        Args:
            within_seconds: The longest that it may take; None for no limit.

        Returns:
            Whether it was kept.
        """
        if self.busy:
            return False
        try:
            if self._store is None or self.conversation_id is None:
                return False
            await asyncio.to_thread(self._store.conversation, self.conversation_id)
            return await self._idle.save(self._engine, self.conversation_id, within_seconds)
        except StoreError:
            return False  # deleted: nothing of it is to stay
        finally:
            self._idle.drop()

    async def settle(self) -> None:
        """Wait until nothing is computed in the background any more."""
        await self._idle.settle()

    async def stop(self) -> None:
        """End the running reply; what came so far is kept. Does nothing when none runs."""
        self._stop_asked = self.busy
        if self.busy:
            # Before the first event it has no number, and only an engine that hangs keeps silent.
            self._stopped_request_id = self._request_id
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
        self._request_id = None
        self._idle.drop()
        try:
            async with aclosing(self._reply(question, options or ReplyOptions())) as events:
                async for event in events:
                    yield event
        finally:
            self.busy, self._request_id = False, None

    async def _reply(self, question: str, options: ReplyOptions) -> AsyncGenerator[Event, None]:
        past = self._history()
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        making = await self._begin(question, seed)
        reason: FinishReason = "cancelled"  # the consumer left, or the task was cancelled
        end: Event | None = None
        saving = asyncio.create_task(self._keep_saving(making))
        try:
            async with aclosing(self._rounds(making, past, question, options)) as events:
                async for event in events:
                    yield event
            reason = making.stats.finish_reason
            if making.stats.window_full and self._stop_asked:
                reason = "cancelled"  # the user was a moment faster than the next round
        except LocalR1Error as error:
            reason = "failed"
            end = Failed(error)
        finally:
            saving.cancel()
            full = making.stats.window_full and reason == "length"
            stats = replace(making.stats, finish_reason=reason, window_full=full)
            self._finish(making, stats)
        if making.save_error is not None:
            end = Failed(making.save_error)
        if reason != "failed" and making.answer:
            self._idle.begin(self._engine, self._history())
        yield end or Finished(stats)

    async def _rounds(
        self, making: Reply, past: Sequence[Past], question: str, options: ReplyOptions
    ) -> AsyncGenerator[Event, None]:
        """The reply's events; an answer that fills the window takes several requests."""
        if self._prompts.system and self._template.system_note and not past:
            yield Notice(self._template.system_note)
        open_thinking = await asyncio.to_thread(
            self._template.opens_thinking, asked=options.thinking_budget_tokens == 0
        )
        prompt = await self._prompts.asking(
            self._engine, past, question, open_thinking=open_thinking
        )
        if prompt.left_out_turns > self._left_out_turns:
            yield Notice(f"{budget.left_out_words(prompt.left_out_turns)}. Nothing is deleted.")
        self._left_out_turns = prompt.left_out_turns
        request: protocol.Generate | None = self._request(
            prompt.segments, making.begun.seed, options, thinking_open=open_thinking
        )
        while request is not None:
            self._idle.hold(self._engine)
            async with aclosing(self._engine.generate(request)) as events:
                async for event in events:
                    if isinstance(event, protocol.Generated):
                        self._take(making, event)
                        continue
                    self._request_id = event.request_id
                    await self._pass_on_wishes()
                    for shown in making.shown(event):
                        yield shown
            self._request_id = None
            request, notice = await self._next_round(making, past, question, options)
            if notice:
                yield Notice(notice)

    async def _next_round(
        self, making: Reply, past: Sequence[Past], question: str, options: ReplyOptions
    ) -> tuple[protocol.Generate | None, str]:
        """The request by which an answer goes on that filled the window, and what to tell."""
        most = options.max_tokens
        if not making.stats.window_full or self._stop_asked or 0 < most <= making.tokens:
            return None, ""
        if not making.answer:
            return None, reply.FULL_IN_THINKING
        if options.when_full == "stop":
            return None, reply.FULL_BY_SETTING
        begun = template.Turn(question, making.answer, making.answer_ids)
        prompt = await self._prompts.continuing(self._engine, past, begun)
        if prompt is None:
            return None, reply.FULL_FOR_GOOD
        rounds = len(making.rounds)
        notice = reply.went_on_words(
            thinking=rounds == 1 and bool(making.thinking),
            left_out_turns=max(0, prompt.left_out_turns - self._left_out_turns),
        )
        self._left_out_turns = prompt.left_out_turns
        request = self._request(
            prompt.segments, making.begun.seed + rounds, options, thinking_open=False
        )
        max_tokens = most - making.tokens if most else 0
        return replace(request, max_tokens=max_tokens, continues_answer=True), notice

    async def _begin(self, question: str, seed: int) -> Reply:
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
        window = self.context_window
        return Reply(ReplyStats(seed=seed, context_window=window, model_id=self._model.id))

    def _history(self) -> tuple[Past, ...]:
        return history(self.messages, self._answer_ids)

    def _request(
        self,
        segments: tuple[protocol.Segment, ...],
        seed: int,
        options: ReplyOptions,
        *,
        thinking_open: bool,
    ) -> protocol.Generate:
        sampling = self._model.sampling
        temperature = options.temperature
        return protocol.Generate(
            request_id=0,
            segments=segments,
            thinking_open=thinking_open,
            seed=seed,
            temperature=sampling.temperature if temperature is None else temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            max_tokens=options.max_tokens,
            thinking_budget_tokens=options.thinking_budget_tokens,
            thinking_budget_seconds=options.thinking_budget_seconds,
            answer_reserve_tokens=budget.answer_reserve(self.context_window),
            on_loop=options.on_loop,
            draft_tokens=options.draft_tokens,
            grammar=options.grammar,
        )

    async def _pass_on_wishes(self) -> None:
        """Stops and answer-nows that came before the engine's request had a number.

        A stop holds for all requests of the reply; it is sent once to each.
        """
        if self._stop_asked and self._stopped_request_id != self._request_id:
            await self.stop()
        if self._answer_asked:
            await self.answer_now()
            self._answer_asked = False

    def _take(self, making: Reply, end: protocol.Generated) -> None:
        """A request of the reply is over."""
        making.rounds.append(end)
        self.context_used = end.context_used
        self._idle.replied(end)
        if making.answer and end.finish_reason == "stop":
            self._answer_ids[self.messages[-1].id] = making.answer_ids

    async def _keep_saving(self, making: Reply) -> None:
        """Store the reply so far, once a second, also while no more of it comes."""
        message_id = self.messages[-1].id
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            if making.dirty:
                making.dirty = False
                with suppress(StoreError):  # `_finish` tries again and reports
                    await asyncio.to_thread(self._save, message_id, making)

    def _save(self, message_id: int, making: Reply) -> None:
        with making.storing:
            # A cancelled task leaves this thread behind: it must not undo the last state.
            if self._store is not None and not making.over:
                self._store.update(message_id, making.answer, making.thinking, making.begun)

    def _finish(self, making: Reply, stats: ReplyStats) -> None:
        """Write the reply's last state; not awaited, so that a cancelled task keeps it too."""
        last = replace(
            self.messages[-1], text=making.answer.rstrip(), thinking=making.thinking, stats=stats
        )
        self.messages = (*self.messages[:-1], last)
        if self._store is None:
            return
        try:
            with making.storing:
                making.over = True
                self._store.update(last.id, last.text, last.thinking, stats)
        except StoreError as error:
            making.save_error = error


def _last_context_used(messages: tuple[Message, ...]) -> int:
    return next((m.stats.context_used for m in reversed(messages) if m.stats), 0)
