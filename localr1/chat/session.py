"""One conversation in progress: asks, streams replies, keeps everything."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from localr1.chat import budget, reply, template, tree
from localr1.chat.idle import IdleWork
from localr1.chat.kv_state import KvStates
from localr1.chat.prompt import Past, Prompt, Prompts, history
from localr1.chat.record import Record
from localr1.chat.reply import Reply
from localr1.chat.request import request_for
from localr1.chat.store import Store
from localr1.chat.task import Task, task_for
from localr1.chat.types import (
    Ask,
    Conversation,
    Event,
    Failed,
    Finished,
    FinishReason,
    Message,
    NoRoom,
    Notice,
    ReplyOptions,
    ReplyStats,
    Wish,
)
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import LocalR1Error, StoreError, UsageError
from localr1.models.types import Model

__all__ = ["ChatSession", "ReplyOptions"]


class ChatSession:
    """A conversation with a model.

    Args:
        engine: The loaded model.
        store: Where the conversation is kept; None keeps it nowhere (one-shot questions).
        model: The catalogue's entry: template flags and sampling.
        conversation: An earlier conversation to go on with; None begins a new one.
        system: A system prompt; R1's makers advise against one, R1-0528 supports it.
        states: Where the KV cache is kept while the conversation is not open; None for nowhere.
        look_ahead: Whether the next prompt is begun while the user reads and types.
        form: The form of its conversations; None for the model's own.
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
        form: template.Template | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._model = model
        self._record = Record(store, conversation)
        self.context_used = _last_context_used(self.messages)
        self.busy = False
        self._template = form or template.of(model)
        self._prompts = Prompts(system, self._template)
        self._idle = IdleWork(
            model, self._prompts, states if store else None, look_ahead=look_ahead
        )
        self._answer_ids: dict[int, tuple[int, ...]] = {}
        self.left_out_messages = 0
        """How many of the oldest were not sent lately, as the user was told."""
        self._request_id: int | None = None
        self._stop_asked = False
        self._stopped_request_id: int | None = None
        self._answer_asked = False

    @property
    def conversation_id(self) -> int | None:
        """The conversation's number in the store; None before the first message."""
        return self._record.conversation_id

    @property
    def messages(self) -> tuple[Message, ...]:
        """Questions and replies by turns, along the branch that is shown."""
        return self._record.path

    @property
    def context_window(self) -> int:
        """Tokens the engine's context holds."""
        return self._engine.context_window

    def instruct(self, system: str) -> None:
        """Hold the conversation under another system prompt from now on; may be empty."""
        self._prompts.system = system

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
        """Ask a new question; see `carry_out`."""
        async with aclosing(self.carry_out(Ask(text), options)) as events:
            async for event in events:
                yield event

    async def carry_out(
        self, wish: Wish, options: ReplyOptions | None = None
    ) -> AsyncGenerator[Event, None]:
        """Do what is wished, and yield what happens until `Finished`, `Failed` or `NoRoom`.

        The question is stored before generation begins, the reply at most one second late.

        Raises:
            UsageError: When a reply is running already, the text is empty, or there is nothing
                such as is wished for.
            StoreError: When the question cannot be stored; nothing is generated then.
        """
        if self.busy:
            raise UsageError("A reply is still running.", "", "Stop it first, or wait.")
        task = task_for(wish, self._record.all, self.messages)
        self.busy, self._stop_asked, self._answer_asked = True, False, False
        self._request_id = None
        self._idle.drop()
        options = options or ReplyOptions()
        try:
            if not options.may_leave_out and (gone := await self._leaves_out(task)):
                yield NoRoom(gone)
                return
            async with aclosing(self._reply(task, options)) as events:
                async for event in events:
                    yield event
        finally:
            self.busy, self._request_id = False, None

    async def _leaves_out(self, task: Task) -> int:
        """How many of the oldest messages have no room beside a task; 0: no more than lately."""
        before = tree.path_to(self._record.all, task.parent_id)
        past = history(before if task.asks else before[:-1], self._answer_ids)
        added = len(f"{self._prompts.system}{task.question}".encode(errors="replace"))
        fits = budget.surely_fits(self.context_used, added, self.context_window)
        if not past or (task.begun is None and fits):
            return 0
        try:
            prompt = await self._prompts.first(self._engine, past, task, open_thinking=True)
        except LocalR1Error:
            return 0  # the reply meets it too, and says so
        told = self.left_out_messages if before == self.messages[: len(before)] else 0
        return prompt.left_out_messages if prompt.left_out_messages > told else 0

    async def show_branch(self, message_id: int) -> None:
        """Move to the newest branch through a message.

        Raises:
            UsageError: While a reply is being written.
            StoreError: Which branch is shown cannot be kept.
        """
        if self.busy:
            raise UsageError("A reply is still running.", "", "Stop it first, or wait.")
        await self._record.show_branch(message_id)
        self.left_out_messages = 0
        self.context_used = _last_context_used(self.messages)
        self._idle.begin(self._engine, self._history())

    async def count_tokens(self, text: str) -> int:
        """How many tokens a text has for this model.

        Raises:
            EngineDied: The worker ended.
        """
        return (await self._engine.count_tokens([template.words(text)]))[0]

    def versions(self, message_id: int) -> tuple[int, ...]:
        """A message and what stands in its place on other branches, oldest first."""
        return tree.versions(self._record.all, message_id)

    def message(self, message_id: int) -> Message | None:
        """A message of any branch; None where there is none."""
        return next((m for m in self._record.all if m.id == message_id), None)

    async def rate(self, message_id: int, rating: int) -> None:
        """Keep what the user thinks of a reply: 1 good, -1 bad, 0 nothing.

        Raises:
            StoreError: It cannot be kept.
        """
        await self._record.rate(message_id, rating)

    async def _reply(self, task: Task, options: ReplyOptions) -> AsyncGenerator[Event, None]:
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        before = self.messages
        await self._record.begin(task, self._model.id)
        if before[: len(self.messages)] != self.messages[: len(before)]:
            self.left_out_messages = 0  # what was told was told of another branch
        begun = replace(
            task.stats or ReplyStats(),
            finish_reason="",
            window_full=False,
            seed=seed,
            context_window=self.context_window,
            model_id=self._model.id,
        )
        making = Reply.resuming(begun, task.thinking, task.goes_on.text if task.goes_on else "")
        past = history(self.messages[:-2], self._answer_ids)
        reason: FinishReason = "cancelled"  # the consumer left, or the task was cancelled
        end: Event | None = None
        saving = asyncio.create_task(self._record.keep_saving(making))
        try:
            async with aclosing(self._rounds(making, past, task, options)) as events:
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
            self._record.finish(making, stats)
        if making.save_error is not None:
            end = Failed(making.save_error)
        if reason != "failed" and making.answer:
            self._idle.begin(self._engine, self._history())
        yield end or Finished(stats)

    async def _rounds(
        self, making: Reply, past: Sequence[Past], task: Task, options: ReplyOptions
    ) -> AsyncGenerator[Event, None]:
        """The reply's events; an answer that fills the window takes several requests."""
        if self._prompts.system and self._template.system_note and not past:
            yield Notice(self._template.system_note)
        first, prompt = await self._first_request(making, past, task, options)
        if prompt.left_out_messages > self.left_out_messages:
            words = f"{budget.left_out_words(prompt.left_out_messages)}. Nothing is deleted."
            yield Notice(words, about_window=True)
        self.left_out_messages = prompt.left_out_messages
        request: protocol.Generate | None = first
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
            request, notice = await self._next_round(making, past, task.question, options)
            if notice:
                yield Notice(notice, about_window=True)

    async def _first_request(
        self, making: Reply, past: Sequence[Past], task: Task, options: ReplyOptions
    ) -> tuple[protocol.Generate, Prompt]:
        """What the engine is asked first."""
        begun = task.begun
        if begun is None:
            asked = options.thinking_budget_tokens == 0
            thinks = await asyncio.to_thread(self._template.opens_thinking, asked=asked)
        else:
            thinks = isinstance(begun, template.Resumed) and begun.answer is None
        prompt = await self._prompts.first(self._engine, past, task, open_thinking=thinks)
        request = self._request(prompt, making.begun.seed, options, thinking_open=thinks)
        return replace(request, continues_answer=begun is not None and not thinks), prompt

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
            left_out_messages=max(0, prompt.left_out_messages - self.left_out_messages),
        )
        self.left_out_messages = prompt.left_out_messages
        request = self._request(prompt, making.begun.seed + rounds, options, thinking_open=False)
        max_tokens = most - making.tokens if most else 0
        return replace(request, max_tokens=max_tokens, continues_answer=True), notice

    def _history(self) -> tuple[Past, ...]:
        return history(self.messages, self._answer_ids)

    def _request(
        self, prompt: Prompt, seed: int, options: ReplyOptions, *, thinking_open: bool
    ) -> protocol.Generate:
        return request_for(
            prompt.segments,
            seed,
            options,
            self._model.sampling,
            context_window=self.context_window,
            thinking_open=thinking_open,
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


def _last_context_used(messages: tuple[Message, ...]) -> int:
    return next((m.stats.context_used for m in reversed(messages) if m.stats), 0)
