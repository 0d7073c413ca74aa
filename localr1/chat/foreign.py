"""Conversations of other programs, and our own export: read, and made one form.

Nothing in such a file is trusted: what has another shape than expected is left out or refused,
and whatever text it holds is only text.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from localr1.chat import ollama_chats
from localr1.chat.export import FORMAT, SCHEMA
from localr1.chat.manner import Manner
from localr1.chat.types import Incoming, ReplyStats, Role, Said
from localr1.errors import FileError

_LARGEST_BYTES: Final = 1 << 30
_THOUGHT: Final = re.compile(r"\A\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)
_SQLITE: Final = b"SQLite format 3\0"
_ROLES: Final[Mapping[object, Role]] = {"user": "user", "assistant": "assistant"}


def read(path: Path) -> tuple[Incoming, ...]:
    """The conversations in a file: localr1's export, OpenAI's, LM Studio's or Ollama's.

    Raises:
        FileError: It cannot be read, or is none of these.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise _unknown(path, "it is larger than 1 GiB")
        data = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"{path} cannot be read.", error.strerror or str(error), "Check the name."
        ) from error
    if data.startswith(_SQLITE):
        return tuple(_talk(*chat) for chat in ollama_chats.read(path))
    try:
        found = tuple(_in_documents(data))
    except (ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError) as error:
        raise _unknown(path, str(error)) from error
    if not found:
        raise _unknown(path, "no conversation is in it")
    return found


def _unknown(path: Path, why: str) -> FileError:
    return FileError(
        f"{path.name} holds no conversations that localr1 knows.",
        f"{why[:200]}.",
        "It reads its own JSON, OpenAI's conversations.json or .zip, LM Studio's"
        " .conversation.json, Ollama's db.sqlite, and JSON or JSON Lines with `messages`.",
    )


def _in_documents(data: bytes) -> Iterator[Incoming]:
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                name = entry.filename.rpartition("/")[2]
                if name.startswith("conversations") and name.endswith(".json"):
                    if entry.file_size > _LARGEST_BYTES:
                        raise ValueError(f"{name} is larger than 1 GiB")
                    yield from _in_documents(archive.read(entry))
        return
    text = data.decode("utf-8-sig", "replace")
    try:
        documents = [json.loads(text)]
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        documents = [json.loads(line) for line in lines]
    for document in documents:
        for one in document if isinstance(document, list) else [document]:
            yield from _in_object(one)


def _in_object(one: object) -> Iterator[Incoming]:
    if not isinstance(one, Mapping):
        return
    if one.get("format") == FORMAT:
        if one.get("schema") != SCHEMA:
            raise ValueError("a newer localr1 wrote it: update this one")
        for each in _list(one.get("conversations")):
            if isinstance(each, Mapping):
                yield _own(each)
    elif isinstance(one.get("mapping"), Mapping):
        yield _openai(one)
    elif isinstance(one.get("messages"), list):
        studio = any(isinstance(m, Mapping) and "versions" in m for m in one["messages"])
        turns = _studio(one["messages"]) if studio else _plain(one["messages"])
        began = _moment(one.get("createdAt", one.get("created_at")))
        yield _talk(_text(one.get("name", one.get("title"))), _text(one.get("model")), turns, began)


Turn = tuple[object, str, str, object, str]
"""Role, text, thinking, time, model."""


def _talk(
    title: str, model: str, turns: Iterator[Turn] | list[Turn], began: datetime | None = None
) -> Incoming:
    """One path of messages, made to take turns."""
    said: list[Said] = []
    at = began or datetime.fromtimestamp(0, UTC)
    for role_, text, thinking_, moment, model_ in turns:
        role, thinking = _ROLES.get(role_), thinking_
        at = _moment(moment) or at
        if role is None or not (text or thinking) or (not said and role != "user"):
            continue  # instructions, tools, and a greeting without a question
        model = model or model_
        body = text
        if role == "assistant" and not thinking and (match := _THOUGHT.match(text)):
            thinking, body = match[1].strip("\n"), text[match.end() :]
        if said and said[-1].role == role:
            last = said.pop()
            body = "\n\n".join(filter(None, (last.text, body)))
            thinking = "\n\n".join(filter(None, (last.thinking, thinking)))
        stats = ReplyStats(finish_reason="stop", model_id=model) if role == "assistant" else None
        said.append(Said(len(said) - 1 if said else None, role, body, thinking, at, stats))
    if said and said[-1].role == "user":
        stopped = ReplyStats(finish_reason="cancelled", model_id=model)
        said.append(Said(len(said) - 1, "assistant", "", "", at, stopped))
    return Incoming(title or (said[0].text if said else ""), model, tuple(said))


def _plain(messages: list[Any]) -> Iterator[Turn]:
    """As the chat interfaces of OpenAI and Ollama have them."""
    for message in messages:
        if isinstance(message, Mapping):
            thinking = message.get("thinking") or message.get("reasoning_content")
            yield (
                message.get("role"),
                _text(message.get("content")),
                _text(thinking),
                message.get("created_at"),
                _text(message.get("model")),
            )


def _studio(messages: list[Any]) -> Iterator[Turn]:
    """As LM Studio has them: the version of each message that was selected."""
    for message in messages:
        versions = _list(message.get("versions")) if isinstance(message, Mapping) else []
        chosen = message.get("currentlySelected", 0) if versions else 0
        at = chosen if type(chosen) is int and 0 <= chosen < len(versions) else -1
        version = versions[at] if versions else None
        if not isinstance(version, Mapping):
            continue
        sender = version.get("senderInfo")
        model = _text(sender.get("senderName")) if isinstance(sender, Mapping) else ""
        text, thinking = _text(version.get("content")), ""
        for step in _list(version.get("steps")):
            if isinstance(step, Mapping) and step.get("type") == "contentBlock":
                style = step.get("style")
                words = _text(step.get("content"))
                if isinstance(style, Mapping) and style.get("type") == "thinking":
                    thinking += words.removeprefix("<think>").removesuffix("</think>")
                else:
                    text += words
        yield version.get("role"), text, thinking.strip("\n"), None, model


def _openai(one: Mapping[str, Any]) -> Incoming:
    """The branch of a ChatGPT conversation that was shown."""
    nodes, at = one["mapping"], one.get("current_node")
    turns: list[Turn] = []
    seen: set[str] = set()
    while isinstance(at, str) and at in nodes and at not in seen:
        seen.add(at)
        node = nodes[at] if isinstance(nodes[at], Mapping) else {}
        at = node.get("parent")
        message = node.get("message")
        if not isinstance(message, Mapping):
            continue
        author, content = message.get("author"), message.get("content")
        about = message.get("metadata")
        model = _text(about.get("model_slug")) if isinstance(about, Mapping) else ""
        role = author.get("role") if isinstance(author, Mapping) else None
        if not isinstance(content, Mapping):
            continue
        thoughts = [_text(t.get("content")) for t in _list(content.get("thoughts")) if t]
        text = _text(content.get("parts")) if content.get("content_type") != "thoughts" else ""
        turns.append((role, text, "\n\n".join(thoughts), message.get("create_time"), model))
    return _talk(_text(one.get("title")), "", turns[::-1], _moment(one.get("create_time")))


def _own(one: Mapping[str, Any]) -> Incoming:
    """Our own export, with all branches."""
    places: dict[object, int] = {}
    said: list[Said] = []
    for message in _list(one.get("messages")):
        role = _ROLES.get(message.get("role")) if isinstance(message, Mapping) else None
        if role is None:
            continue
        parent = places.get(message.get("parent"))
        after_reply = parent is None or said[parent].role == "assistant"
        if (role == "user") != after_reply:
            continue
        rating = message.get("rating")
        places[message.get("id")] = len(said)
        said.append(
            Said(
                parent,
                role,
                _text(message.get("text")),
                _text(message.get("thinking")),
                _moment(message.get("created_at")) or datetime.fromtimestamp(0, UTC),
                _stats(message.get("stats")) if role == "assistant" else None,
                rating if rating in {1, -1} else 0,
            )
        )
    return Incoming(
        _text(one.get("title")),
        _text(one.get("model")),
        tuple(said),
        places.get(one.get("shown")),
        one.get("pinned") is True,
        one.get("archived") is True,
        tuple(_text(tag) for tag in _list(one.get("tags"))),
        Manner.from_values(one.get("manner")),
    )


def _stats(value: object) -> ReplyStats:
    """Figures of a reply as far as they have the right kind."""
    usual = ReplyStats(finish_reason="stop")
    if not isinstance(value, Mapping):
        return usual
    sound: dict[str, Any] = {}
    for name in ReplyStats.__dataclass_fields__:
        given, kind = value.get(name), type(getattr(usual, name))
        if type(given) is kind or (kind is float and type(given) is int):
            sound[name] = kind(given)
    if sound.get("finish_reason") not in {"stop", "length", "cancelled", "failed"}:
        sound["finish_reason"] = "cancelled"
    return ReplyStats(**sound)


def _text(value: object) -> str:
    """Text, or the texts of a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, (_text(part) for part in value)))
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _moment(value: object) -> datetime | None:
    """A time as programs write them: seconds, milliseconds, or text."""
    tries: tuple[Callable[[], datetime], ...] = ()
    if isinstance(value, str):
        tries = (lambda: datetime.fromisoformat(value.replace(" +0000 UTC", "+00:00")),)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value / 1000 if value > 1e11 else value
        tries = (lambda: datetime.fromtimestamp(seconds, UTC),)
    for one in tries:
        try:
            found = one()
        except (ValueError, OverflowError, OSError):
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
