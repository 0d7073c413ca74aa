"""A conversation's messages: in memory as the session sees them, and in the store."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from localr1.chat import tree
from localr1.chat.reply import Reply
from localr1.chat.store import Store
from localr1.chat.task import Task
from localr1.chat.types import Conversation, Message, ReplyStats
from localr1.errors import StoreError

_SAVE_SECONDS: Final = 1.0


def begin_from(store: Store, question: Message, reply: Message, model_id: str) -> int:
    """A new conversation that begins with one exchange of another; returns its number.

    Raises:
        StoreError: It cannot be stored.
    """
    number = store.create(question.text, model_id)
    _, answered = store.add_exchange(number, None, question.text)
    store.update(answered.id, reply.text, reply.thinking, reply.stats)
    return number


class Record:
    """The messages of all branches, and the branch that is shown.

    Args:
        store: Where they are kept; None keeps them nowhere.
        conversation: An earlier conversation; None for a new one.
    """

    def __init__(self, store: Store | None, conversation: Conversation | None) -> None:
        self._store = store
        self.conversation_id = conversation.id if conversation else None
        self.path: tuple[Message, ...] = conversation.messages if conversation else ()
        self.all: tuple[Message, ...] = (conversation.tree or self.path) if conversation else ()

    async def begin(self, task: Task, model_id: str) -> None:
        """Put the question, if it is a new one, and the reply at the end of the path.

        Raises:
            StoreError: They cannot be stored.
        """
        new: tuple[Message, ...]
        before = tree.path_to(self.all, task.parent_id)
        store, number = self._store, self.conversation_id
        if task.goes_on is not None:
            self.path = (*before, task.goes_on)
            return
        if store is None:
            new = self._unstored(task)
        else:
            if number is None:
                number = await asyncio.to_thread(store.create, task.question, model_id)
                self.conversation_id = number
            if task.asks:
                new = await asyncio.to_thread(
                    store.add_exchange, number, task.parent_id, task.question
                )
            else:
                new = (await asyncio.to_thread(store.add_reply, number, task.parent_id),)
        self.path, self.all = (*before, *new), (*self.all, *new)

    def _unstored(self, task: Task) -> tuple[Message, ...]:
        now, number = datetime.now().astimezone(), len(self.all)
        if not task.asks:
            return (Message(number, task.parent_id, "assistant", "", "", None, now),)
        asked = Message(number, task.parent_id, "user", task.question, "", None, now)
        return asked, Message(number + 1, number, "assistant", "", "", None, now)

    async def show_branch(self, message_id: int) -> None:
        """Move to the newest branch through a message.

        Raises:
            StoreError: Which branch is shown cannot be kept.
        """
        tip = tree.tip_below(self.all, message_id)
        self.path = tree.path_to(self.all, tip)
        if self._store is not None and self.conversation_id is not None and tip is not None:
            await asyncio.to_thread(self._store.show_branch, self.conversation_id, tip)

    async def rate(self, message_id: int, rating: int) -> None:
        """Keep what the user thinks of a reply.

        Raises:
            StoreError: It cannot be kept.
        """
        if self._store is not None:
            await asyncio.to_thread(self._store.rate, message_id, rating)
        for message in self.all:
            if message.id == message_id:
                self._put(replace(message, rating=rating))

    async def keep_saving(self, making: Reply) -> None:
        """Store the reply so far, once a second, also while no more of it comes."""
        message_id = self.path[-1].id
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            if making.dirty:
                making.dirty = False
                with suppress(StoreError):  # `finish` tries again and reports
                    await asyncio.to_thread(self._save, message_id, making)

    def finish(self, making: Reply, stats: ReplyStats) -> None:
        """Write the reply's last state; not awaited, so that a cancelled task keeps it too."""
        last = replace(
            self.path[-1], text=making.answer.rstrip(), thinking=making.thinking, stats=stats
        )
        self._put(last)
        if self._store is None:
            return
        try:
            with making.storing:
                making.over = True
                self._store.update(last.id, last.text, last.thinking, stats)
        except StoreError as error:
            making.save_error = error

    def _save(self, message_id: int, making: Reply) -> None:
        with making.storing:
            # A cancelled task leaves this thread behind: it must not undo the last state.
            if self._store is not None and not making.over:
                self._store.update(message_id, making.answer, making.thinking, making.begun)

    def _put(self, message: Message) -> None:
        """Take a message in another state."""
        self.path = tuple(message if m.id == message.id else m for m in self.path)
        self.all = tuple(message if m.id == message.id else m for m in self.all)
