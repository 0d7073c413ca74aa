"""A conversation's tree of messages: pure functions on what is stored.

A message's parent is what it follows. Messages with one parent are versions of each other: a
question in other words, a reply thought again. One path from a root to a tip is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from localr1.chat.types import Message


def path_to(messages: Sequence[Message], message_id: int | None) -> tuple[Message, ...]:
    """The messages up to one, oldest first.

    It ends at the root, and at whatever a damaged file lacks.
    """
    by_id = {message.id: message for message in messages}
    path: list[Message] = []
    while message_id in by_id:
        message = by_id.pop(message_id)
        path.append(message)
        message_id = message.parent_id
    return tuple(reversed(path))


def tip_below(messages: Sequence[Message], message_id: int | None) -> int | None:
    """The end of the newest branch through a message.

    Args:
        messages: By id, so that what is newer comes later.
        message_id: None, or one that is not there, for the newest branch of all.
    """
    if not any(message.id == message_id for message in messages):
        return messages[-1].id if messages else None
    below = {message_id}
    tip = message_id
    for message in messages:  # a parent is older than its children
        if message.parent_id in below:
            below.add(message.id)
            tip = message.id
    return tip


def versions(messages: Sequence[Message], message_id: int) -> tuple[int, ...]:
    """A message and those that stand in its place on other branches, oldest first."""
    own = next((m for m in messages if m.id == message_id), None)
    if own is None:
        return ()
    return tuple(m.id for m in messages if (m.parent_id, m.role) == (own.parent_id, own.role))
