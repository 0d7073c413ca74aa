"""What conversations hold, in SQLite: a tree of messages, written while they stream.

Thinking, answer and statistics are columns of their own; a message's parent makes the tree.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from localr1.chat import tree
from localr1.chat.database import now as _now
from localr1.chat.database import storable as _storable
from localr1.chat.database import time_of as _time
from localr1.chat.manner import Manner
from localr1.chat.shelf import Shelf, title_of
from localr1.chat.types import Conversation, Incoming, Message, ReplyStats, Role
from localr1.errors import StoreError

_NO_CONVERSATION: Final = 0
"""The draft of a conversation that does not exist yet."""


class Store(Shelf):
    """The conversations with their messages; see `Database` for what it takes and raises."""

    def conversation(self, conversation_id: int) -> Conversation:
        """A conversation along the branch that was last shown.

        Raises:
            StoreError: When there is none with this id, or the database cannot be read.
        """
        with self._transaction("read") as connection:
            head = connection.execute(
                "SELECT title, model_id, branch_id, manner FROM conversation"
                " WHERE id = ? AND discarded_at IS NULL",
                (conversation_id,),
            ).fetchone()
            rows = connection.execute(
                "SELECT id, parent_id, role, text, thinking, stats, created_at, rating"
                " FROM message WHERE conversation_id = ? ORDER BY id",
                (conversation_id,),
            ).fetchall()
        if head is None:
            raise StoreError(
                f"There is no conversation {conversation_id}.",
                "It was deleted, or the number is wrong.",
                "Run `localr1 history list`.",
            )
        messages = tuple(_message(row) for row in rows)
        path = tree.path_to(messages, tree.tip_below(messages, head[2]))
        manner = Manner.from_text(head[3])
        return Conversation(conversation_id, head[0], head[1], path, messages, manner)

    def create(self, first_question: str, model_id: str) -> int:
        """Begin a conversation, titled after its first question; returns its id."""
        now = _now()
        with self._transaction("written") as connection:
            cursor = connection.execute(
                "INSERT INTO conversation(title, model_id, created_at, updated_at)"
                " VALUES (?, ?, ?, ?)",
                (title_of(first_question), model_id, now, now),
            )
            return int(cursor.lastrowid or 0)

    def take(self, incoming: Incoming) -> int | None:
        """Keep a conversation that comes from a file; its times stay what they were.

        Returns:
            Its number; None where the same one is here already.

        Raises:
            StoreError: When the database cannot be written.
        """
        title = title_of(incoming.title)
        times = [_stored(said.at) for said in incoming.messages] or [_now()]
        with self._transaction("written") as connection:
            known = connection.execute(
                "SELECT 1 FROM conversation c JOIN message m ON m.conversation_id = c.id"
                " WHERE c.title = ? AND c.discarded_at IS NULL"
                # A conversation is made a moment before its first message.
                " GROUP BY c.id HAVING COUNT(*) = ? AND MIN(m.created_at) = ?",
                (title, len(incoming.messages), min(times)),
            ).fetchone()
            if known is not None:
                return None
            cursor = connection.execute(
                "INSERT INTO conversation(title, model_id, created_at, updated_at, titled_by,"
                " pinned, archived, manner) VALUES (?, ?, ?, ?, 'user', ?, ?, ?)",
                (
                    title,
                    _storable(incoming.model_id),
                    times[0],
                    max(times),
                    incoming.pinned,
                    incoming.archived,
                    incoming.manner.to_text(),
                ),
            )
            number = int(cursor.lastrowid or 0)
            ids: list[int] = []
            for said, time in zip(incoming.messages, times, strict=False):
                cursor = connection.execute(
                    "INSERT INTO message(conversation_id, parent_id, role, text, thinking, stats,"
                    " created_at, rating) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        number,
                        None if said.parent is None else ids[said.parent],
                        said.role,
                        _storable(said.text),
                        _storable(said.thinking),
                        json.dumps(asdict(said.stats)) if said.stats else "",
                        time,
                        said.rating,
                    ),
                )
                ids.append(int(cursor.lastrowid or 0))
            shown = len(ids) - 1 if incoming.shown is None else incoming.shown
            connection.execute(
                "UPDATE conversation SET branch_id = ? WHERE id = ?",
                (ids[shown] if ids else None, number),
            )
        self.set_tags(number, incoming.tags)
        return number

    def add_exchange(
        self, conversation_id: int, parent_id: int | None, question: str
    ) -> tuple[Message, Message]:
        """Append a question and the empty reply under it, which `update` fills."""
        now = _now()
        with self._transaction("written") as connection:
            asked = _insert(connection, conversation_id, parent_id, "user", question, now)
            return asked, _insert(connection, conversation_id, asked.id, "assistant", "", now)

    def add_reply(self, conversation_id: int, question_id: int | None) -> Message:
        """Put another empty reply under a question, beside those that are there."""
        with self._transaction("written") as connection:
            return _insert(connection, conversation_id, question_id, "assistant", "", _now())

    def show_branch(self, conversation_id: int, message_id: int) -> None:
        """Remember which branch is shown: the one with this message."""
        self._set("branch_id", conversation_id, message_id)

    def save_manner(self, conversation_id: int, manner: Manner) -> None:
        """Keep what the user chose for a conversation."""
        self._set("manner", conversation_id, manner.to_text())

    def rate(self, message_id: int, rating: int) -> None:
        """Keep what the user thinks of a reply: 1, -1, or 0 for nothing."""
        with self._transaction("written") as connection:
            connection.execute("UPDATE message SET rating = ? WHERE id = ?", (rating, message_id))

    def update(self, message_id: int, text: str, thinking: str, stats: ReplyStats | None) -> None:
        """Write a reply as far as it has come."""
        with self._transaction("written") as connection:
            connection.execute(
                "UPDATE message SET text = ?, thinking = ?, stats = ? WHERE id = ?",
                (
                    _storable(text),
                    _storable(thinking),
                    json.dumps(asdict(stats)) if stats else "",
                    message_id,
                ),
            )

    def thinking_counts(self, limit: int = 1000) -> dict[str, tuple[int, ...]]:
        """How many tokens the latest replies thought, by model, the oldest first.

        Only replies that thought and answered to their end: neither stopped, nor cut, nor told to
        answer.

        Raises:
            StoreError: When the database cannot be read.
        """
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT c.model_id, m.stats FROM message m JOIN conversation c"
                " ON c.id = m.conversation_id WHERE m.role = 'assistant' AND m.stats != ''"
                " ORDER BY m.id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        found: dict[str, list[int]] = {}
        for model_id, text in reversed(rows):
            stats = _stats(text)
            if stats is None or stats.finish_reason != "stop":
                continue
            if stats.forced_tokens or stats.same_thinking:
                continue
            if type(stats.thinking_tokens) is int and stats.thinking_tokens > 0:
                found.setdefault(stats.model_id or model_id, []).append(stats.thinking_tokens)
        return {name: tuple(counts) for name, counts in found.items()}

    def draft(self, conversation_id: int | None) -> str:
        """The unsent text of a conversation, or of the one not begun yet."""
        with self._transaction("read") as connection:
            row = connection.execute(
                "SELECT text FROM draft WHERE conversation_id = ?",
                (conversation_id or _NO_CONVERSATION,),
            ).fetchone()
        return str(row[0]) if row else ""

    def save_draft(self, conversation_id: int | None, text: str) -> None:
        """Keep unsent text; empty text forgets it."""
        key = conversation_id or _NO_CONVERSATION
        with self._transaction("written") as connection:
            if text:
                connection.execute(
                    "INSERT INTO draft VALUES (?, ?) ON CONFLICT(conversation_id)"
                    " DO UPDATE SET text = excluded.text",
                    (key, _storable(text)),
                )
            else:
                connection.execute("DELETE FROM draft WHERE conversation_id = ?", (key,))


def _insert(  # noqa: PLR0913, PLR0917 - a row's columns
    connection: sqlite3.Connection,
    conversation_id: int,
    parent_id: int | None,
    role: Role,
    text: str,
    now: str,
) -> Message:
    """A new message; its branch is the one that is shown from now on."""
    cursor = connection.execute(
        "INSERT INTO message(conversation_id, parent_id, role, text, created_at)"
        " VALUES (?, ?, ?, ?, ?)",
        (conversation_id, parent_id, role, _storable(text), now),
    )
    number = int(cursor.lastrowid or 0)
    connection.execute(
        "UPDATE conversation SET updated_at = ?, branch_id = ? WHERE id = ?",
        (now, number, conversation_id),
    )
    return Message(number, parent_id, role, text, "", None, datetime.fromisoformat(now))


def _stored(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _stats(text: str) -> ReplyStats | None:
    """Stored statistics; None where there are none or they cannot be read."""
    known = ReplyStats.__dataclass_fields__
    try:
        values = json.loads(text) if text else {}
    except ValueError:
        return None
    if not isinstance(values, dict) or not values:
        return None
    return ReplyStats(**{name: value for name, value in values.items() if name in known})


def _message(row: tuple[int, int | None, Role, str, str, str, str, int]) -> Message:
    return Message(row[0], row[1], row[2], row[3], row[4], _stats(row[5]), _time(row[6]), row[7])
