"""The layers below, as the screens use them: one thin object, nothing decided here.

File and database work runs in threads, so that nothing blocks the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from localr1 import track_record, workflow
from localr1.chat import export
from localr1.chat.manner import Manner
from localr1.chat.record import begin_from
from localr1.chat.session import ChatSession
from localr1.chat.store import Store
from localr1.chat.types import Conversation, ConversationSummary, Message, ReplyStats
from localr1.config import Goal, network_allowed, write_atomically
from localr1.errors import FileError, StoreError
from localr1.fit.types import NOTHING, Advice, Asked, Plan
from localr1.install import look, mend
from localr1.install.types import Bench, Build
from localr1.machine import network
from localr1.machine.types import Machine
from localr1.models.downloads import Downloads
from localr1.models.hub import endpoint_url
from localr1.models.library import free_bytes
from localr1.models.queue import Item, Queue
from localr1.models.types import Choice, LocalModel, Model, Variant
from localr1.track_record import Measured, Watch

if TYPE_CHECKING:
    from localr1.engine.client import Engine
    from localr1.models.download import DownloadEvent
    from localr1.workflow import Home


class Services:
    """What the app needs done, by the functions of `workflow` and the conversation store.

    Args:
        home: Where things are and what the user asked for.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self._store: Store | None = None
        self._private: Store | None = None
        self._store_lock = asyncio.Lock()
        self._limit = workflow.speed_limit(home)
        self.downloads = Downloads(workflow.queue_file(home), self._fetch_item, self._limit)
        """The queue of downloads; the app starts it."""

    @property
    def online(self) -> bool:
        """Whether downloads are allowed; says nothing about the connection itself."""
        return network_allowed(self.home.offline)

    async def connected(self) -> bool:
        """Whether downloads are allowed and there is a network for them; nothing is sent."""
        return self.online and await asyncio.to_thread(network.connected)

    @property
    def hub(self) -> str:
        """The host that downloads come from."""
        return urlsplit(endpoint_url()).netloc

    async def examine(self) -> Machine:
        """What this computer has and what llama.cpp can use of it.

        An engine that was being replaced when something ended localr1 is put right on the way.
        """
        machine = await workflow.examine(self.home)
        if machine.engine.problem and self.home.profile is None:
            with suppress(FileError):  # doctor tells why
                if await asyncio.to_thread(mend.repair):
                    machine = await workflow.examine(self.home)
        return machine

    async def advise(self, machine: Machine, goal: Goal, asked: Asked = NOTHING) -> Advice:
        """Ranked plans for a machine."""
        return await asyncio.to_thread(workflow.advise, self.home, machine, goal=goal, asked=asked)

    async def local_models(self) -> tuple[LocalModel, ...]:
        """Complete models on this disk; the demo is the last."""
        return await asyncio.to_thread(workflow.local_models, self.home)

    async def plan_for(self, machine: Machine, local: LocalModel, asked: Asked = NOTHING) -> Plan:
        """How a local model is run on a machine."""
        return await asyncio.to_thread(workflow.plan_for, self.home, machine, local, asked)

    async def fetch(
        self, model: Model, variant: Variant, on_event: Callable[[DownloadEvent], None]
    ) -> LocalModel:
        """Download a variant, or go on with a stopped download; cancelling keeps what is here."""
        return await workflow.fetch(
            self.home, model, variant, on_event, limit=self._limit, wait_for_room=True
        )

    async def queue_first(self, model: Model, variant: Variant) -> None:
        """Let a variant be downloaded beside everything else, before all others.

        Raises:
            DiskFull: It does not fit with what else is in the queue.
            FileError: The queue cannot be kept.
        """
        item = workflow.queue_item(model, variant)
        queue = self.downloads.queue
        # What rests takes no room until somebody lets it go on.
        others = [other for other in queue.items if other.ready and other.name != item.name]
        await asyncio.to_thread(workflow.check_queue_room, self.home, (item, *others))
        await self.downloads.change(partial(Queue.add, item=item, first=True))

    async def take_from_queue(self, model: Model, variant: Variant) -> None:
        """A download that is watched now rests in the queue, where the next start finds it."""
        item = replace(workflow.queue_item(model, variant), paused=True)

        def rest(queue: Queue) -> Queue:
            return (queue if queue.find(item.name) else queue.add(item)).pause(item.name)

        with suppress(FileError):  # then this run only knows it
            await self.downloads.change(rest)

    async def leave_queue(self, model: Model, variant: Variant) -> None:
        """What was watched is here, or is not wanted."""
        name = workflow.queue_item(model, variant).name
        with suppress(FileError):  # the next run finds it complete
            await self.downloads.change(partial(Queue.remove, name=name))

    async def _fetch_item(
        self, item: Item, on_event: Callable[[DownloadEvent], None]
    ) -> LocalModel:
        model, variant = await asyncio.to_thread(workflow.queued_variant, self.home, item)
        return await self.fetch(model, variant, on_event)

    async def bench(self) -> Bench:
        """What a build of the engine would be made on."""
        return await asyncio.to_thread(look.bench, offline=self.home.offline)

    async def mend(
        self,
        builds: Sequence[Build],
        machine: Machine,
        bench: Bench,
        on_event: Callable[[mend.Event], None],
    ) -> mend.Mended:
        """Replace the engine by the first of the builds that works."""
        return await mend.mend(
            builds,
            machine=machine,
            bench=bench,
            logs=self.home.directories.logs,
            on_event=on_event,
        )

    async def free_disk_bytes(self) -> int:
        """Room where downloads go."""
        return await asyncio.to_thread(free_bytes, self.home.directories.models)

    async def start_engine(
        self,
        local: LocalModel,
        plan: Plan,
        on_progress: Callable[[float], None],
        on_step: Callable[[str], None],
    ) -> Engine:
        """Load a model in a worker; with less than planned, told step by step, if it must be."""
        return await workflow.start_engine(self.home, local, plan, on_progress, on_step)

    async def leave_lost(self) -> str:
        """Do without the computers of the pool that no longer answer; says which, or nothing."""
        self.home, words = await workflow.without_lost(self.home)
        return words

    async def last_used(self) -> LocalModel | None:
        """The model of the last run, if it is still here."""
        return await asyncio.to_thread(workflow.last_used, self.home)

    async def absence(self) -> str:
        """What is said of disks with downloads that are not connected; empty where all are."""
        return await asyncio.to_thread(lambda: self.home.library.absence)

    async def find(self, choice: Choice) -> LocalModel | None:
        """The files of what the user named, if they are complete on this disk."""
        return await asyncio.to_thread(self.home.library.find, choice)

    async def remember(self, local: LocalModel) -> None:
        """Use this model at the next start."""
        await asyncio.to_thread(workflow.remember, self.home, local)

    async def watch(self, plan: Plan, machine: Machine) -> Watch:
        """Look at the computer while a model that was loaded so replies."""
        return await asyncio.to_thread(workflow.watch, self.home, plan, machine)

    async def note_speed(
        self, local: LocalModel, stats: ReplyStats, watch: Watch | None = None
    ) -> None:
        """Remember how fast a model was."""
        tokens = stats.thinking_tokens + stats.answer_tokens
        await asyncio.to_thread(workflow.note_speed, self.home, local, stats.generation_tps, tokens)
        if watch is not None:
            await asyncio.to_thread(watch.record, Measured.reply(stats))

    async def record_line(self, machine: Machine) -> str:
        """How well the last replies here were predicted, as a sentence; empty without any."""
        return await asyncio.to_thread(track_record.record_line, self.home.directories, machine)

    @property
    def private(self) -> bool:
        """Whether the conversation in work is never written."""
        return self._private is not None

    async def keep_private(self, private: bool) -> None:
        """Begin a conversation that is never written, or forget the one there was."""
        before, self._private = self._private, None
        if before is not None:
            await asyncio.to_thread(before.close)
        if private:
            self._private = await asyncio.to_thread(Store, None)

    async def store(self) -> Store:
        """Where the conversation in work is kept: the database, or memory for a private one."""
        return self._private or await self.kept()

    async def kept(self) -> Store:
        """The conversation database, opened at first use."""
        async with self._store_lock:
            if self._store is None:
                self._store = await asyncio.to_thread(workflow.open_store, self.home)
            return self._store

    async def session(
        self, engine: Engine, local: LocalModel, conversation: Conversation | None
    ) -> ChatSession:
        """A conversation with a loaded model, new or gone on with."""
        store = await self.store()
        return ChatSession(
            engine,
            store,
            local.model,
            conversation=conversation,
            system=conversation.manner.system if conversation else "",
            states=None if self.private else workflow.kv_states(self.home),
        )

    async def summaries(
        self, query: str = "", *, archived: bool = False, tag: str = ""
    ) -> tuple[ConversationSummary, ...]:
        """Earlier conversations; see `Shelf.summaries`."""
        store = await self.kept()
        return await asyncio.to_thread(store.summaries, query=query, archived=archived, tag=tag)

    async def tags(self) -> tuple[str, ...]:
        """Every tag in use."""
        return await asyncio.to_thread((await self.kept()).tags)

    async def set_tags(self, conversation_id: int, tags: tuple[str, ...]) -> None:
        """Give a conversation these tags, and no others."""
        await asyncio.to_thread((await self.kept()).set_tags, conversation_id, tags)

    async def pin(self, conversation_id: int, *, pinned: bool) -> None:
        """Keep a conversation at the top of the list, or no longer."""
        store = await self.kept()
        await asyncio.to_thread(store.pin, conversation_id, pinned=pinned)

    async def archive(self, conversation_id: int, *, archived: bool) -> None:
        """Put a conversation away, or back into the list."""
        store = await self.kept()
        await asyncio.to_thread(store.archive, conversation_id, archived=archived)

    async def rename(self, conversation_id: int, title: str) -> None:
        """Give a conversation another title."""
        await asyncio.to_thread((await self.kept()).rename, conversation_id, title)

    async def conversation(self, conversation_id: int) -> Conversation:
        """One conversation with all its messages."""
        store = await self.store()
        return await asyncio.to_thread(store.conversation, conversation_id)

    async def show_branch(self, conversation_id: int, message_id: int) -> None:
        """Remember which branch of a conversation is shown."""
        store = await self.store()
        await asyncio.to_thread(store.show_branch, conversation_id, message_id)

    async def save_manner(self, conversation_id: int, manner: Manner) -> None:
        """Keep what the user chose for a conversation."""
        store = await self.store()
        await asyncio.to_thread(store.save_manner, conversation_id, manner)

    async def begin_from(self, question: Message, reply: Message, model_id: str) -> int:
        """A new conversation that begins with one exchange of another; its number."""
        store = await self.store()
        return await asyncio.to_thread(begin_from, store, question, reply, model_id)

    async def title(self, conversation_id: int, title: str) -> None:
        """Give the conversation in work a title in the model's words, where it has none of a user."""
        store = await self.store()
        await asyncio.to_thread(store.rename, conversation_id, title, "model")

    async def export(self, summary: ConversationSummary, path: Path) -> None:
        """Write a conversation to a file, in the form that its name tells.

        Raises:
            LocalR1Error: It cannot be read or written.
        """
        form = export.form_of(path)
        whole = await asyncio.to_thread((await self.kept()).conversation, summary.id)
        text = await asyncio.to_thread(export.as_form, form, (summary, whole))
        await asyncio.to_thread(write_atomically, path, text)

    async def prompts(self) -> tuple[str, ...]:
        """What the user asked lately in kept conversations, the newest last."""
        return await asyncio.to_thread((await self.kept()).prompts)

    async def discard_conversation(self, conversation_id: int) -> None:
        """Throw a conversation away, its computed state at once, its text when the app ends."""
        store = await self.kept()
        await asyncio.to_thread(workflow.discard_conversation, self.home, store, conversation_id)

    async def restore_conversation(self, conversation_id: int) -> None:
        """Take a conversation back that was thrown away."""
        await asyncio.to_thread((await self.kept()).restore, conversation_id)

    async def draft(self, conversation_id: int | None) -> str:
        """What was typed and not sent; None for the next new conversation."""
        store = await self.store()
        return await asyncio.to_thread(store.draft, conversation_id)

    async def save_draft(self, conversation_id: int | None, text: str) -> None:
        """Keep what is typed and not sent."""
        store = await self.store()
        await asyncio.to_thread(store.save_draft, conversation_id, text)

    async def close(self) -> None:
        """Stop the downloads, which keep what is here, and close the database."""
        await self.downloads.close()
        await self.keep_private(private=False)
        async with self._store_lock:
            if self._store is not None:
                with suppress(StoreError):  # the next start deletes it
                    await asyncio.to_thread(self._store.purge)
                await asyncio.to_thread(self._store.close)
                self._store = None
