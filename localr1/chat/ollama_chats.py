"""The chats of Ollama's own app: an SQLite file of it, which is only read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from localr1.errors import FileError

Chat = tuple[str, str, list[tuple[object, str, str, object, str]]]
"""Title, model, and the messages: role, text, thinking, time, model."""


def read(path: Path) -> list[Chat]:
    """Every chat (ollama/ollama, app/store/schema.sql).

    Raises:
        FileError: It is another SQLite file, or a damaged one.
    """
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            chats = connection.execute("SELECT id, title FROM chats ORDER BY created_at").fetchall()
            return [
                (str(title or ""), "", _messages(connection, number)) for number, title in chats
            ]
    except sqlite3.Error as error:
        raise FileError(
            f"{path.name} holds no chats of Ollama's.", f"{error}.", "Choose its db.sqlite."
        ) from error


def _messages(
    connection: sqlite3.Connection, number: object
) -> list[tuple[object, str, str, object, str]]:
    rows = connection.execute(
        "SELECT role, content, thinking, created_at, model_name FROM messages"
        " WHERE chat_id = ? ORDER BY id",
        (number,),
    )
    return [
        (role, str(text or ""), str(thinking or ""), at, str(model or ""))
        for role, text, thinking, at, model in rows
    ]
