"""What the chat screen talks with: the model, the conversation, and what waits to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace

from localr1.chat import budget, title, tree
from localr1.chat.manner import USUAL, Manner
from localr1.chat.session import ChatSession
from localr1.chat.types import (
    Ask,
    Conversation,
    Edit,
    Event,
    Finished,
    Message,
    Notice,
    ReplyOptions,
    ReplyStats,
    Wish,
)
from localr1.errors import LocalR1Error, UsageError
from localr1.fit import time_words
from localr1.fit.types import NOTHING, Asked, Plan
from localr1.models.types import LocalModel
from localr1.remote.model import RemoteModel
from localr1.track_record import Watch
from localr1.tui.runner import Runner, Running
from localr1.tui.services import Services

_TITLE_SECONDS = 3.0
"""After a reply, until the model is asked for a title."""
_LONG_SECONDS = 60.0
"""A reply that takes so long is told beforehand."""
_CHARACTERS_PER_TOKEN = 4
"""Of English text, about; where nobody can count."""


class Talk:
    """A conversation that outlives engines: it is there before one is loaded and after one died.

    Args:
        services: The layers below.
        runner: Holds the engine.
        local: The model to talk with.
        asked: How it is to be run, where the user cares.
    """

    def __init__(
        self, services: Services, runner: Runner, local: LocalModel, asked: Asked = NOTHING
    ) -> None:
        self._services = services
        self._runner = runner
        self.local = local
        self.asked = asked
        self.session: ChatSession | None = None
        self._conversation: Conversation | None = None
        self._titling: asyncio.Task[None] | None = None
        self.manner = USUAL
        """What the user chose for this conversation."""

    @property
    def ready(self) -> bool:
        """Whether a question would be answered now."""
        running = self._runner.running
        return (
            self.session is not None
            and running is not None
            and running.is_for(self.local, self.asked)
        )

    @property
    def elsewhere(self) -> bool:
        """Whether a server has the model."""
        return isinstance(self.local, RemoteModel)

    @property
    def busy(self) -> bool:
        """Whether a reply is being written."""
        return self.session is not None and self.session.busy

    @property
    def conversation_id(self) -> int | None:
        """The conversation's number; None until the first message is sent."""
        if self.session is not None:
            return self.session.conversation_id
        return self._conversation.id if self._conversation else None

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said so far."""
        if self.session is not None:
            return self.session.messages
        return self._conversation.messages if self._conversation else ()

    async def load(
        self, on_progress: Callable[[float], None], on_step: Callable[[str], None]
    ) -> None:
        """Have the model loaded and go on with the conversation; see `resume`.

        Args:
            on_progress: Called with the share loaded, 0 to 1.
            on_step: Called with a sentence for each thing that gives way so that it loads.

        Raises:
            LocalR1Error: The model cannot be loaded, or the conversation not be read.
        """
        running = await self._runner.start(self.local, on_progress, on_step, self.asked)
        if self.session is not None:
            self.session.replace_engine(running.engine)
        else:
            await self._begin_session(running)

    async def resume(self) -> None:
        """Make the next reply start soon, after a model or a conversation was opened."""
        if self.ready and self.session is not None:
            await self.session.resume()

    async def leave(self, within_seconds: float) -> None:
        """Keep what was computed for this conversation, where that pays.

        Args:
            within_seconds: The longest that it may take.
        """
        if self.ready and self.session is not None:
            await self.session.leave(within_seconds=within_seconds)

    @property
    def last_stats(self) -> ReplyStats | None:
        """The figures of the last reply that has any."""
        return next((m.stats for m in reversed(self.messages) if m.stats), None)

    def versions(self, message_id: int) -> tuple[int, ...]:
        """A message and what stands in its place on other branches, oldest first."""
        if self.session is not None:
            return self.session.versions(message_id)
        known = self._conversation
        return tree.versions(known.tree or known.messages, message_id) if known else ()

    def message(self, message_id: int) -> Message | None:
        """A message of any branch; None where there is none."""
        known = self._conversation
        if self.session is not None:
            return self.session.message(message_id)
        return next((m for m in (known.tree if known else ()) if m.id == message_id), None)

    async def show_branch(self, message_id: int) -> None:
        """Move to the newest branch through a message.

        Raises:
            LocalR1Error: A reply is being written, or the branch cannot be read.
        """
        if self.session is not None:
            await self.session.show_branch(message_id)
        elif self._conversation is not None:
            number = self._conversation.id
            await self._services.show_branch(number, message_id)
            self._conversation = await self._services.conversation(number)

    async def rate(self, message_id: int, rating: int) -> None:
        """Keep what the user thinks of a reply: 1 good, -1 bad, 0 nothing.

        Raises:
            LocalR1Error: It cannot be kept, or no model is loaded.
        """
        await self._ready_session().rate(message_id, rating)

    async def carry_out(
        self, wish: Wish, *, may_leave_out: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Do what is wished, as the user's settings have it; see `ChatSession.carry_out`.

        Args:
            wish: What.
            may_leave_out: Whether older messages may be left out for it; they also may where
                the user has chosen so for the conversation.

        Raises:
            UsageError: No model is loaded, or it cannot be done now.
            StoreError: The question cannot be stored.
        """
        session = self._ready_session()
        self._drop_title()
        options = ReplyOptions.preferred(self._services.home.preferences, self.manner)
        unasked = may_leave_out or self.manner.leave_out_oldest
        options = replace(options, may_leave_out=unasked)
        if isinstance(wish, Ask | Edit):
            wish = replace(wish, text=self.manner.question(wish.text))
        if self._runner.others_wait():
            yield Notice("A reply for another program is written first; then comes yours.")
        begins = session.conversation_id is None
        watch = await self._watch()
        async with aclosing(session.carry_out(wish, options)) as events:
            async for event in events:
                if begins and session.conversation_id is not None and self.manner != USUAL:
                    begins = False
                    await self._services.save_manner(session.conversation_id, self.manner)
                if isinstance(event, Finished):
                    await self._services.note_speed(self.local, event.stats, watch)
                yield event
        self._title_later(session)

    def _title_later(self, session: ChatSession) -> None:
        """Let the model find a title when the user does nothing for a moment."""
        wanted = self._services.home.preferences.model_titles
        if wanted and title.wanted(self.local.model, session.messages):
            self._titling = asyncio.create_task(self._make_title(session))

    async def _make_title(self, session: ChatSession) -> None:
        await asyncio.sleep(_TITLE_SECONDS)
        await session.settle()
        running, number = self._runner.running, session.conversation_id
        if running is None or number is None or session.busy or session is not self.session:
            return
        with suppress(LocalR1Error):  # the next reply meets it too, and says so
            found = await title.make(
                running.engine, running.local.model, session.messages, self.manner.system
            )
            if found:
                await self._services.title(number, found)

    def _drop_title(self) -> None:
        if self._titling is not None:
            self._titling.cancel()
            self._titling = None

    async def count_tokens(self, text: str) -> int:
        """How many tokens a question has; about so many while the engine is busy or absent."""
        if self.session is None or self.busy or not self.ready:
            return len(text) // _CHARACTERS_PER_TOKEN
        return await self.session.count_tokens(text)

    @property
    def reading(self) -> tuple[float, int]:
        """How fast prompts are read in tokens per second, 0 if unknown; and a question's room."""
        running, stats = self._runner.running, self.last_stats
        if running is None or not self.ready:
            return 0.0, 0
        window = running.engine.context_window
        measured = stats.prompt_tps if stats is not None else 0.0
        return measured or running.plan.prompt_tps.expected, window - budget.reply_room(window)

    @property
    def usual_time(self) -> str:
        """How long a reply usually takes here, where that is long; else empty."""
        running = self._runner.running
        if running is None or not self.ready:
            return ""
        usual = running.plan.time_to_answer.typical
        return time_words.time_range(usual) if usual.high >= _LONG_SECONDS else ""

    async def plans(self) -> tuple[Plan | None, Plan | None]:
        """How the model is loaded, and how it would be with a window of twice the size.

        Each is None where there is none: no model is loaded, or it was made for no larger one.
        """
        running, machine = self._runner.running, self._runner.machine
        if running is None or machine is None or not self.ready or self.elsewhere:
            return None, None
        window = running.engine.context_window
        most = self.local.model.architecture.context_length
        if most and window >= most:
            return running.plan, None
        wider = replace(self.asked, context_window=min(2 * window, most or 2 * window))
        return running.plan, await self._services.plan_for(machine, self.local, wider)

    async def begin_from_last(self) -> int:
        """A new conversation that begins with the last exchange of this one; its number.

        Raises:
            UsageError: There is none yet.
            StoreError: It cannot be stored.
        """
        if len(self.messages) < 2 or not self.messages[-1].text:
            raise UsageError("There is no answer to begin from yet.", "", "Ask something first.")
        question, reply = self.messages[-2:]
        return await self._services.begin_from(question, reply, self.local.model.id)

    async def hold_as(self, manner: Manner) -> None:
        """Hold the conversation as the user chose, from now on.

        Raises:
            StoreError: It cannot be kept.
        """
        self.manner = manner
        if self.session is not None:
            self.session.instruct(manner.system)
        if self.conversation_id is not None:
            await self._services.save_manner(self.conversation_id, manner)

    def _ready_session(self) -> ChatSession:
        if self.session is None:
            raise UsageError("No model is loaded.", "", "Load one first.")
        return self.session

    async def _watch(self) -> Watch | None:
        """Looks at the computer during a reply; None while there is no model that was planned."""
        running, machine = self._runner.running, self._runner.machine
        if running is None or machine is None or self.elsewhere:
            return None
        plan = replace(running.plan, settings=running.engine.settings)
        return await self._services.watch(plan, machine)

    async def stop(self) -> None:
        """End the running reply, if one runs; what came so far is kept."""
        self._drop_title()
        if self.session is not None:
            await self.session.stop()

    async def answer_now(self) -> None:
        """End the running reply's thinking, if one runs."""
        if self.session is not None:
            await self.session.answer_now()

    async def remember(self) -> None:
        """Use this model at the next start.

        Raises:
            FileError: That cannot be written.
        """
        await self._services.remember(self.local)

    async def use(self, local: LocalModel, asked: Asked) -> None:
        """Go on with another model, or run it in another way; not before `load`.

        Raises:
            StoreError: The conversation cannot be read.
        """
        if local != self.local:
            await self._let_go()
            self.local = local
        self.asked = asked

    async def open(self, conversation_id: int) -> None:
        """Go on with an earlier conversation.

        Raises:
            StoreError: It cannot be read.
        """
        if conversation_id >= 0:  # the numbers of private ones are below
            await self._services.keep_private(private=False)
        await self._begin(await self._services.conversation(conversation_id))

    async def new(self, *, private: bool = False) -> None:
        """Begin a new conversation.

        Args:
            private: Whether it is never written, neither its text nor what is computed for it.
        """
        await self._services.keep_private(private)
        await self._begin(None)

    async def _begin(self, conversation: Conversation | None) -> None:
        self._conversation, self.session = conversation, None
        self.manner = conversation.manner if conversation is not None else USUAL
        running = self._runner.running
        if running is not None and running.is_for(self.local, self.asked):
            await self._begin_session(running)

    async def _begin_session(self, running: Running) -> None:
        conversation = self._conversation
        session = await self._services.session(running.engine, running.local, conversation)
        # Another conversation may have been opened meanwhile, and has its own by now.
        if self.session is None and self._conversation is conversation:
            session.instruct(self.manner.system)
            self.session = session

    async def _let_go(self) -> None:
        """Keep the conversation, drop the session that is tied to a model."""
        number = self.conversation_id
        self._conversation = (
            await self._services.conversation(number) if number is not None else None
        )
        self.session = None
