"""Conversations in SQLite: a tree of messages, written while they stream.

Thinking, answer and statistics are columns of their own; a message's parent makes the tree.
Every call is one short transaction, safe from any thread and beside another localr1.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from localr1.chat import tree
from localr1.chat.manner import Manner
from localr1.chat.types import Conversation, ConversationSummary, Message, ReplyStats, Role
from localr1.errors import StoreError

# Each entry takes the schema one version up; never edit one that has been released.
_MIGRATIONS: Final = (
    """
    CREATE TABLE conversation (
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        model_id TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL
    );
    CREATE TABLE message (
        id INTEGER PRIMARY KEY,
        conversation_id INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        parent_id INTEGER REFERENCES message(id) ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        text TEXT NOT NULL,
        thinking TEXT NOT NULL DEFAULT '',
        stats TEXT NOT NULL DEFAULT '',
        created_at TEXT NOT NULL
    );
    CREATE INDEX message_conversation ON message(conversation_id, id);
    CREATE INDEX message_parent ON message(parent_id);
    CREATE TABLE draft (
        conversation_id INTEGER PRIMARY KEY,
        text TEXT NOT NULL
    );
    CREATE VIRTUAL TABLE message_text USING fts5(text, content='message', content_rowid='id');
    CREATE TRIGGER message_added AFTER INSERT ON message BEGIN
        INSERT INTO message_text(rowid, text) VALUES (new.id, new.text);
    END;
    CREATE TRIGGER message_removed AFTER DELETE ON message BEGIN
        INSERT INTO message_text(message_text, rowid, text) VALUES ('delete', old.id, old.text);
    END;
    CREATE TRIGGER message_changed AFTER UPDATE OF text ON message BEGIN
        INSERT INTO message_text(message_text, rowid, text) VALUES ('delete', old.id, old.text);
        INSERT INTO message_text(rowid, text) VALUES (new.id, new.text);
    END;
    """,
    """
    ALTER TABLE conversation ADD COLUMN branch_id INTEGER;
    ALTER TABLE conversation ADD COLUMN manner TEXT NOT NULL DEFAULT '';
    ALTER TABLE message ADD COLUMN rating INTEGER NOT NULL DEFAULT 0;
    """,
)
_NO_CONVERSATION: Final = 0
"""The draft of a conversation that does not exist yet."""
_TITLE_LENGTH: Final = 60


class Store:
    """The database of conversations.

    Args:
        path: The database file; it and its folder are made when absent.

    Raises:
        StoreError: When the file cannot be opened, is damaged, or is from a newer localr1.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._translated("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=10, isolation_level=None, check_same_thread=False
            )
        try:
            with self._translated("opened"):
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._connection.execute("PRAGMA foreign_keys=ON")
                # A quarter of SQLite's usual page cache is enough here, and soon full: the app's
                # memory stays where it is however much is written (benchmarks/turns.py).
                self._connection.execute("PRAGMA cache_size=-512")
                self._migrate()
        except StoreError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def summaries(self, limit: int = 200, query: str = "") -> tuple[ConversationSummary, ...]:
        """Conversations, newest first; with a query those whose words contain all of its words.

        Raises:
            StoreError: When the database cannot be read.
        """
        condition, arguments = "", []
        needles = ['"' + word.replace('"', '""') + '"*' for word in query.split()]
        if needles:
            condition = (
                "WHERE c.title LIKE ? ESCAPE '\\' OR c.id IN (SELECT m.conversation_id FROM"
                " message_text JOIN message m ON m.id = message_text.rowid"
                " WHERE message_text MATCH ?)"
            )
            like = query.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            arguments = [f"%{like}%", " ".join(needles)]
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT c.id, c.title, c.model_id, c.updated_at,"  # noqa: S608 - only our own words
                " (SELECT COUNT(*) FROM message WHERE conversation_id = c.id)"
                f" FROM conversation c {condition} ORDER BY c.updated_at DESC, c.id DESC LIMIT ?",
                (*arguments, limit),
            ).fetchall()
        return tuple(
            ConversationSummary(row[0], row[1], row[2], _time(row[3]), row[4]) for row in rows
        )

    def conversation(self, conversation_id: int) -> Conversation:
        """A conversation along the branch that was last shown.

        Raises:
            StoreError: When there is none with this id, or the database cannot be read.
        """
        with self._transaction("read") as connection:
            head = connection.execute(
                "SELECT title, model_id, branch_id, manner FROM conversation WHERE id = ?",
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

    def rename(self, conversation_id: int, title: str) -> None:
        """Give a conversation another title."""
        self._set("title", conversation_id, title_of(title))

    def _set(self, column: str, conversation_id: int, value: object) -> None:
        statement = f"UPDATE conversation SET {column} = ? WHERE id = ?"  # noqa: S608 - our own
        with self._transaction("written") as connection:
            connection.execute(statement, (value, conversation_id))

    def delete(self, conversation_id: int) -> None:
        """Remove a conversation with all its messages."""
        with self._transaction("written") as connection:
            connection.execute("DELETE FROM draft WHERE conversation_id = ?", (conversation_id,))
            connection.execute("DELETE FROM conversation WHERE id = ?", (conversation_id,))

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

    def _migrate(self) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(_MIGRATIONS):
                raise StoreError(
                    f"{self._path} was written by a newer localr1.",
                    f"Its format is {version}; this program knows {len(_MIGRATIONS)}.",
                    "Update localr1, or set LOCALR1_HOME to another folder.",
                )
            for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextmanager
    def _transaction(self, verb: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated(verb):
            self._connection.execute("BEGIN" if verb == "read" else "BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        """The one place where SQLite's and the system's exceptions become ours."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.OperationalError
            )
            todo = (
                f"Move {self._path} away; a new one is made, and the old one stays readable by SQLite tools."
                if damaged
                else f"Check the disk's free space and the permissions of {self._path.parent}."
            )
            raise StoreError(
                f"The conversations cannot be {verb}.", f"{self._path}: {error}", todo
            ) from error


def title_of(text: str) -> str:
    """A conversation's title from its first question: the first line, shortened at a word."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "Untitled")
    if len(line) <= _TITLE_LENGTH:
        return _storable(line)
    cut = line[:_TITLE_LENGTH].rsplit(" ", 1)[0] or line[:_TITLE_LENGTH]
    return _storable(cut.rstrip(" ,;:")) + "…"


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


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements (`executescript` would commit behind our back)."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _storable(text: str) -> str:
    """Text that SQLite can hold: lone surrogates, which no UTF-8 has, are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _time(text: object) -> datetime:
    """A stored time; one that cannot be read counts as the oldest."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


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
