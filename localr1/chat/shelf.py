"""Which conversations there are: the list, its order and tags, what was thrown away, the search."""

from __future__ import annotations

import re
import sqlite3
from typing import Final, Literal

from localr1.chat.database import UNDER_WAY, Database, now, storable, time_of
from localr1.chat.types import ConversationSummary, Hit

TitledBy = Literal["question", "model", "user"]

HIT_BEGIN: Final = "\x02"
HIT_END: Final = "\x03"
"""Around the words of a hit in its excerpt; no text that is shown has them."""
_TITLE_LENGTH: Final = 60
_UNDO_SECONDS: Final = 24 * 3600.0
_TAG_LENGTH: Final = 30
_EXCERPT_WORDS: Final = 14
_AROUND: Final = 40
"""Characters on either side of a hit that SQLite's index does not know."""
_MOST_ROWS: Final = 2000
_LONGEST_PROMPT: Final = 20_000
"""Characters; longer ones have files in them."""
# Scripts that put no spaces between words: there SQLite takes a whole sentence for one word.
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Shelf(Database):
    """The list of conversations."""

    def prompts(self, limit: int = 200) -> tuple[str, ...]:
        """What was asked lately in all conversations, the newest last; none that is very long.

        Raises:
            StoreError: When the database cannot be read.
        """
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT m.text FROM message m JOIN conversation c ON c.id = m.conversation_id"
                " WHERE m.role = 'user' AND c.discarded_at IS NULL AND length(m.text) <= ?"
                " ORDER BY m.id DESC LIMIT ?",
                (_LONGEST_PROMPT, limit),
            ).fetchall()
        return tuple(dict.fromkeys(text for (text,) in rows))[::-1]

    def summaries(
        self, limit: int = 200, query: str = "", *, archived: bool = False, tag: str = ""
    ) -> tuple[ConversationSummary, ...]:
        """Conversations, pinned ones first, then the newest; or what a search finds.

        Args:
            limit: The most there may be.
            query: Words that must all occur in one question, answer, thinking or title.
            archived: Those that were put away, and no others; a search finds both kinds.
            tag: Only those with this tag; empty for all.

        Raises:
            StoreError: When the database cannot be read.
        """
        words = query.replace("\0", " ").split()
        with self._transaction("read") as connection:
            hits = _hits(connection, words, limit) if words else {}
            if words:
                wanted, arguments = _titled(words)
                marks = ",".join(map(str, hits))
                condition = f"(({wanted}) OR c.id IN ({marks}))"
            else:
                condition, arguments = "c.archived = ?", [int(archived)]
            if tag:
                condition += " AND c.id IN (SELECT conversation_id FROM tag WHERE name = ?)"
                arguments.append(tag_of(tag))
            rows = connection.execute(
                "SELECT c.id, c.title, c.model_id, c.updated_at,"  # noqa: S608 - only our own words
                " (SELECT COUNT(*) FROM message WHERE conversation_id = c.id), c.pinned,"
                " c.archived, c.titled_by FROM conversation c"
                f" WHERE c.discarded_at IS NULL AND {condition}"
                " ORDER BY c.pinned DESC, c.updated_at DESC, c.id DESC LIMIT ?",
                (*arguments, limit),
            ).fetchall()
            tags: dict[int, list[str]] = {}
            for number, name in connection.execute("SELECT * FROM tag ORDER BY name"):
                tags.setdefault(number, []).append(name)
        return tuple(
            ConversationSummary(
                row[0],
                row[1],
                row[2],
                time_of(row[3]),
                row[4],
                pinned=bool(row[5]),
                archived=bool(row[6]),
                titled_by=row[7],
                tags=tuple(tags.get(row[0], ())),
                hit=hits.get(row[0]),
            )
            for row in rows
        )

    def tags(self) -> tuple[str, ...]:
        """Every tag in use, by name."""
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT DISTINCT name FROM tag JOIN conversation c ON c.id = conversation_id"
                " WHERE c.discarded_at IS NULL ORDER BY name"
            ).fetchall()
        return tuple(row[0] for row in rows)

    def set_tags(self, conversation_id: int, names: tuple[str, ...]) -> None:
        """Give a conversation these tags, and no others."""
        with self._transaction("written") as connection:
            connection.execute("DELETE FROM tag WHERE conversation_id = ?", (conversation_id,))
            for name in dict.fromkeys(filter(None, map(tag_of, names))):
                connection.execute("INSERT INTO tag VALUES (?, ?)", (conversation_id, name))

    def rename(self, conversation_id: int, title: str, titled_by: TitledBy = "user") -> None:
        """Give a conversation another title; a model's never takes the place of a user's."""
        with self._transaction("written") as connection:
            connection.execute(
                "UPDATE conversation SET title = ?, titled_by = ? WHERE id = ?"
                " AND NOT (titled_by = 'user' AND ? = 'model')",
                (title_of(title), titled_by, conversation_id, titled_by),
            )

    def pin(self, conversation_id: int, *, pinned: bool) -> None:
        """Keep a conversation at the top of the list, or no longer."""
        self._set("pinned", conversation_id, int(pinned))

    def archive(self, conversation_id: int, *, archived: bool) -> None:
        """Put a conversation away from the list, or back into it."""
        self._set("archived", conversation_id, int(archived))

    def discard(self, conversation_id: int) -> None:
        """Throw a conversation away; `restore` brings it back until `purge`."""
        self._set("discarded_at", conversation_id, now())

    def restore(self, conversation_id: int) -> None:
        """Take a conversation back that was thrown away."""
        self._set("discarded_at", conversation_id, None)

    def purge(self, before: str = "9999") -> None:
        """Delete for good what was thrown away.

        Args:
            before: Only what was thrown away before this time, as `now` writes it.
        """
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT id FROM conversation WHERE discarded_at < ?", (before,)
            ).fetchall()
        for (number,) in rows:
            self.delete(number)

    def purge_abandoned(self) -> None:
        """Delete what an app that died had thrown away; another one may still bring its own back."""
        self.purge(now(_UNDO_SECONDS))

    def delete(self, conversation_id: int) -> None:
        """Remove a conversation with all its messages."""
        with self._transaction("written") as connection:
            connection.execute("DELETE FROM draft WHERE conversation_id = ?", (conversation_id,))
            connection.execute("DELETE FROM conversation WHERE id = ?", (conversation_id,))

    def _set(self, column: str, conversation_id: int, value: object) -> None:
        with self._transaction("written") as connection:
            connection.execute(
                f"UPDATE conversation SET {column} = ? WHERE id = ?",  # noqa: S608 - as above
                (value, conversation_id),
            )


def title_of(text: str) -> str:
    """A conversation's title from its first question: the first line, shortened at a word."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "Untitled")
    if len(line) <= _TITLE_LENGTH:
        return storable(line)
    cut = line[:_TITLE_LENGTH].rsplit(" ", 1)[0] or line[:_TITLE_LENGTH]
    return storable(cut.rstrip(" ,;:")) + "…"


def tag_of(text: str) -> str:
    """A tag as it is kept: one line without spaces at its ends; empty for none."""
    return storable(" ".join(text.split()).lstrip("#").strip()[:_TAG_LENGTH].strip())


def _hits(connection: sqlite3.Connection, words: list[str], most: int) -> dict[int, Hit]:
    """The best place of each conversation where all words occur."""
    found: dict[int, Hit] = {}
    if not any(map(_UNSPACED.search, words)):
        found = _indexed_hits(connection, words, most)
        of_these = f"AND {UNDER_WAY.format('m.')}"  # the index has none of them
    else:
        of_these = ""
    each = "(instr(lower(m.text), ?1) OR instr(lower(m.thinking), ?1))"
    condition = " AND ".join(each.replace("?1", f"?{n}") for n in range(1, len(words) + 1))
    rows = connection.execute(
        "SELECT m.conversation_id, m.role, m.text, m.thinking FROM message m"  # noqa: S608 - as above
        f" WHERE {condition} {of_these} LIMIT {_MOST_ROWS}",
        [word.lower() for word in words],
    )
    for number, role, text, thinking in rows:
        excerpts = (_excerpt(part, words[0]) for part in (text, thinking))
        hit = _hit(role, *excerpts, in_text=words[0].lower() in text.lower())
        found.setdefault(number, hit)
    return found


def _indexed_hits(connection: sqlite3.Connection, words: list[str], most: int) -> dict[int, Hit]:
    """What SQLite's index finds: the best places first, then an excerpt of each, which costs more."""
    # A single letter begins half of all words: it stands for itself.
    needles = " ".join(
        '"' + word.replace('"', '""') + '"' + "*" * (len(word) > 1) for word in words
    )
    ranked = connection.execute(
        "SELECT m.id, m.conversation_id FROM message_text JOIN message m"
        " ON m.id = message_text.rowid WHERE message_text MATCH ?"
        " ORDER BY bm25(message_text, 4.0, 1.0) LIMIT ?",
        (needles, _MOST_ROWS),
    )
    best: dict[int, int] = {}
    for message, conversation in ranked:
        best.setdefault(conversation, message)
    chosen = ",".join(map(str, list(best.values())[:most]))
    marks = f"'{HIT_BEGIN}', '{HIT_END}', '…', {_EXCERPT_WORDS}"
    rows = connection.execute(
        "SELECT m.conversation_id, m.role,"  # noqa: S608 - only our own words
        f" snippet(message_text, 0, {marks}), snippet(message_text, 1, {marks})"
        " FROM message_text JOIN message m ON m.id = message_text.rowid"
        # The sign keeps SQLite from searching anew for each of them.
        f" WHERE message_text MATCH ? AND +message_text.rowid IN ({chosen})",
        (needles,),
    )
    return {
        conversation: _hit(
            role, text, thinking, in_text=HIT_BEGIN in text or HIT_BEGIN not in thinking
        )
        for conversation, role, text, thinking in rows
    }


def _hit(role: str, text: str, thinking: str, *, in_text: bool) -> Hit:
    if role == "user":
        return Hit("question", text)
    return Hit("answer", text) if in_text else Hit("thinking", thinking)


def _titled(words: list[str]) -> tuple[str, list[object]]:
    """The condition that a title or a tag has all words."""
    escaped = [re.sub(r"([\\%_])", r"\\\1", word) for word in words]
    one = (
        "(c.title LIKE ? ESCAPE '\\' OR EXISTS (SELECT 1 FROM tag WHERE conversation_id = c.id"
        " AND name LIKE ? ESCAPE '\\'))"
    )
    arguments: list[object] = [f"%{word}%" for word in escaped for _ in range(2)]
    return " AND ".join([one] * len(words)), arguments


def _excerpt(text: str, word: str) -> str:
    at = text.lower().find(word.lower())
    if at < 0:
        return text[: 2 * _AROUND]
    first, last = max(0, at - _AROUND), at + len(word) + _AROUND
    before, after = text[first:at], text[at + len(word) : last]
    begun, ended = "…" if first else "", "…" if last < len(text) else ""
    return f"{begun}{before}{HIT_BEGIN}{text[at : at + len(word)]}{HIT_END}{after}{ended}"
