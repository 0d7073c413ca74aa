"""What is done for a conversation while nobody waits: its next prompt computed, its KV cache kept.

R1's thinking is stripped from the history, so the KV cache breaks at every turn. The stripped
history is computed as soon as a reply is over; the worker drops that work when a request comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from localr1.chat.kv_state import KvStates, Offer
from localr1.chat.prompt import Past, Prompts
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import LocalR1Error
from localr1.models.types import Model

# Fewer tokens say more about the clock than about the machine.
_MEASURED_TOKENS = 64
_TOKEN_ID_BYTES = 4


class IdleWork:
    """Looks ahead, saves and restores for one conversation.

    Nothing here is ever an error to the user: an engine that died is reported by the next
    reply, and a state that cannot be kept or read is computed again.

    Args:
        model: For the size of its KV cache.
        prompts: Makes the conversation's prompts.
        states: Where KV caches are kept; None for nowhere.
        look_ahead: Whether the next prompt's beginning is computed.
    """

    def __init__(
        self, model: Model, prompts: Prompts, states: KvStates | None, *, look_ahead: bool
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._states = states
        self._look_ahead = look_ahead
        self._task: asyncio.Task[None] | None = None
        self._cached_tokens = 0
        """In the engine's cache, as far as this conversation knows."""
        self._useful_tokens = 0
        """Of these, those that the next prompt begins with."""
        self._kept_tokens = 0
        """Useful tokens in the conversation's file, where it is of this state."""
        self._prompt_tps = 0.0

    def begin(self, engine: Engine, past: Sequence[Past]) -> None:
        """Compute the beginning of the next prompt; returns at once."""
        self.drop()
        if self._look_ahead and engine.alive and (past or self._prompts.system):
            self._task = asyncio.create_task(self._compute(engine, past))

    def drop(self) -> None:
        """Let go of what is being computed; the engine keeps what is done."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def settle(self) -> None:
        """Wait until nothing is being computed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def engine_replaced(self) -> None:
        """Know nothing of the new engine's cache and speed."""
        self.drop()
        self._cached_tokens = self._useful_tokens = self._kept_tokens = 0
        self._prompt_tps = 0.0

    def hold(self, engine: Engine) -> None:
        """Take note that the engine's cache is this conversation's from now on."""
        engine.cache_holder = self

    def replied(self, end: protocol.Generated) -> None:
        """Take note of a request's end: what is cached now, and how fast prompts go."""
        self._measure(end.prompt_tokens - end.cached_tokens, end.prompt_seconds)
        self._cached_tokens = end.context_used
        self._kept_tokens = 0
        self._useful_tokens = min(end.prompt_tokens, end.context_used)

    async def restore(self, engine: Engine, conversation_id: int | None) -> bool:
        """Read the conversation's KV cache, if there is one.

        Returns:
            Whether the engine took it.
        """
        states = self._states
        if states is None or conversation_id is None:
            return False
        size_bytes = await asyncio.to_thread(states.size_bytes, conversation_id)
        if size_bytes is None or not engine.alive:
            return False
        self.hold(engine)
        try:
            restored = await engine.restore_state(states.path(conversation_id))
        except LocalR1Error:
            return False
        if restored.tokens == 0:
            # Damaged, or of a model or settings that this conversation has left behind.
            await asyncio.to_thread(states.forget, conversation_id)
            return False
        self._cached_tokens = self._useful_tokens = self._kept_tokens = restored.tokens
        await asyncio.to_thread(states.read, conversation_id, size_bytes, restored.seconds)
        return True

    async def save(
        self, engine: Engine, conversation_id: int | None, within_seconds: float | None
    ) -> bool:
        """Keep the conversation's KV cache where that pays.

        Args:
            engine: Has the cache.
            conversation_id: None before the first message.
            within_seconds: The longest that it may take; None for no limit.

        Returns:
            Whether it was kept.
        """
        states = self._states
        if states is None:
            return False
        offer = Offer(self._useful_tokens, self._size_bytes(engine), self._prompt_tps)
        if (
            conversation_id is None
            or not engine.alive
            or engine.cache_holder is not self
            or self._useful_tokens <= self._kept_tokens
            or not await asyncio.to_thread(states.worth, offer, within_seconds)
        ):
            await asyncio.to_thread(states.tidy)
            return False
        await asyncio.to_thread(states.tidy, offer.size_bytes)
        if engine.cache_holder is not self:
            return False  # somebody else asked in the meantime
        try:
            saved = await asyncio.wait_for(
                engine.save_state(states.path(conversation_id)), within_seconds
            )
        except (LocalR1Error, TimeoutError):
            return False
        self._kept_tokens = self._useful_tokens
        await asyncio.to_thread(states.written, saved.size_bytes, saved.seconds)
        await asyncio.to_thread(states.tidy)
        return saved.tokens > 0

    async def _compute(self, engine: Engine, past: Sequence[Past]) -> None:
        try:
            prompt = await self._prompts.beginning(engine, past)
            self.hold(engine)
            done = await engine.prefill(prompt.segments)
        except LocalR1Error:
            return  # the next reply meets it too, and says so
        self._measure(done.done_tokens - self._useful_tokens, done.seconds)
        self._cached_tokens = self._useful_tokens = done.done_tokens

    def _measure(self, tokens: int, seconds: float) -> None:
        if tokens >= _MEASURED_TOKENS and seconds > 0:
            self._prompt_tps = tokens / seconds

    def _size_bytes(self, engine: Engine) -> int:
        """About how large the file would be."""
        per_token = self._model.architecture.kv_cache_bytes_per_token(engine.settings.kv_cache_type)
        return self._cached_tokens * (per_token + _TOKEN_ID_BYTES)
