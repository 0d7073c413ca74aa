"""The database of conversations: its file, its form, and its transactions.

Every call is one short transaction, safe from any thread and beside another localr1.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from localr1.errors import StoreError

UNDER_WAY: Final = (
    "{0}role = 'assistant' AND ({0}stats = '' OR instr({0}stats, '\"finish_reason\": \"\"') > 0)"
)
"""Of a reply that is being written, or was when the app died; `{0}` is a prefix for columns."""

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
    # The search knows the thinking too. A reply that is being written comes into it at its end:
    # with every second of it the whole text would have to be taken in anew.
    """
    ALTER TABLE conversation ADD COLUMN titled_by TEXT NOT NULL DEFAULT 'question';
    ALTER TABLE conversation ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE conversation ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE conversation ADD COLUMN discarded_at TEXT;
    CREATE TABLE tag (
        conversation_id INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        PRIMARY KEY (conversation_id, name)
    ) WITHOUT ROWID;
    DROP TRIGGER message_added;
    DROP TRIGGER message_removed;
    DROP TRIGGER message_changed;
    DROP TABLE message_text;
    CREATE VIRTUAL TABLE message_text USING fts5(
        text, thinking, content='message', content_rowid='id'
    );
    CREATE TRIGGER message_added AFTER INSERT ON message WHEN NOT (NEW-UNDER-WAY) BEGIN
        INSERT INTO message_text(rowid, text, thinking) VALUES (new.id, new.text, new.thinking);
    END;
    CREATE TRIGGER message_removed AFTER DELETE ON message WHEN NOT (OLD-UNDER-WAY) BEGIN
        INSERT INTO message_text(message_text, rowid, text, thinking)
            VALUES ('delete', old.id, old.text, old.thinking);
    END;
    CREATE TRIGGER message_changed AFTER UPDATE OF role, text, thinking, stats ON message BEGIN
        INSERT INTO message_text(message_text, rowid, text, thinking)
            SELECT 'delete', old.id, old.text, old.thinking WHERE NOT (OLD-UNDER-WAY);
        INSERT INTO message_text(rowid, text, thinking)
            SELECT new.id, new.text, new.thinking WHERE NOT (NEW-UNDER-WAY);
    END;
    CREATE INDEX message_under_way ON message(id) WHERE UNDER-WAY;
    INSERT INTO message_text(rowid, text, thinking)
        SELECT id, text, thinking FROM message WHERE NOT (UNDER-WAY);
    """,
)


class Database:
    """The database.

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
                for statement in _statements(_spelled_out(script)):
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


def _spelled_out(script: str) -> str:
    for mark, prefix in (("NEW-UNDER-WAY", "new."), ("OLD-UNDER-WAY", "old."), ("UNDER-WAY", "")):
        script = script.replace(mark, UNDER_WAY.format(prefix))
    return script


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements (`executescript` would commit behind our back)."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def storable(text: str) -> str:
    """Text that SQLite can hold: lone surrogates, which no UTF-8 has, are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def now(ago_seconds: float = 0.0) -> str:
    """This moment as it is stored, or one before it: later ones sort after it."""
    moment = datetime.now(UTC) - timedelta(seconds=ago_seconds)
    return moment.isoformat(timespec="milliseconds")


def time_of(text: object) -> datetime:
    """A stored time; one that cannot be read counts as the oldest."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
