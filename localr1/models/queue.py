"""What is to be downloaded, in which order, and the file that remembers it.

The order is pure; the file is changed by one process at a time, so that the app and
`localr1 pull` may share it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from localr1.config import ensure, write_atomically
from localr1.errors import FileError
from localr1.models.lock import held_now
from localr1.models.place import read_whole

_SCHEMA = 1


@dataclass(frozen=True)
class Item:
    """Something to be downloaded."""

    name: str
    """`MODEL:VARIANT`, as the catalogue resolves it."""
    size_bytes: int
    paused: bool = False
    """By the user."""
    problem: str = ""
    """Why it cannot go on by itself; empty where it can."""

    @property
    def ready(self) -> bool:
        """Whether it may run."""
        return not self.paused and not self.problem


@dataclass(frozen=True)
class Queue:
    """Downloads in their order; the first one that is ready runs."""

    items: tuple[Item, ...] = ()
    limit_bytes_per_second: int = 0
    """For all of them together; 0 for none."""

    @property
    def next(self) -> Item | None:
        """What runs now, if anything."""
        return next((item for item in self.items if item.ready), None)

    def find(self, name: str) -> Item | None:
        """The item of this name."""
        return next((item for item in self.items if item.name == name), None)

    def add(self, item: Item, *, first: bool = False) -> Queue:
        """Put an item at the end, or at the front.

        One that is there already keeps its place, or comes to the front, and goes on.
        """
        if first:
            return replace(self, items=(item, *self._others(item.name)))
        if self.find(item.name) is not None:
            return self.resume(item.name)
        return replace(self, items=(*self.items, item))

    def remove(self, name: str) -> Queue:
        """Take an item out, whether it is done or not wanted."""
        return replace(self, items=self._others(name))

    def move(self, name: str, by: int) -> Queue:
        """Move an item forward (negative) or back, as far as there are places."""
        item = self.find(name)
        if item is None:
            return self
        at = min(max(self.items.index(item) + by, 0), len(self.items) - 1)
        others = self._others(name)
        return replace(self, items=(*others[:at], item, *others[at:]))

    def pause(self, name: str) -> Queue:
        """Let an item rest until it is resumed."""
        return self._changed(name, lambda item: replace(item, paused=True))

    def resume(self, name: str) -> Queue:
        """Let an item run again, also one with a problem."""
        return self._changed(name, lambda item: replace(item, paused=False, problem=""))

    def stop(self, name: str, problem: str) -> Queue:
        """Note why an item cannot go on."""
        return self._changed(name, lambda item: replace(item, problem=problem))

    def _others(self, name: str) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.name != name)

    def _changed(self, name: str, change: Callable[[Item], Item]) -> Queue:
        items = (change(item) if item.name == name else item for item in self.items)
        return replace(self, items=tuple(items))


class QueueFile:
    """Where the queue is kept: `downloads.json`.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Queue:
        """What is to be downloaded; nothing where the file is missing or damaged."""
        try:
            data = json.loads(read_whole(self._path))
            if data["schema"] != _SCHEMA:
                return Queue()
            return Queue(tuple(_items(data["items"])), max(0, int(data["limit_bytes_per_second"])))
        except (OSError, ValueError, KeyError, TypeError):
            return Queue()

    def stamp(self) -> tuple[int, int] | None:
        """Time and size of the file, to see whether it changed; None where there is none."""
        try:
            facts = self._path.stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_size

    def change(self, change: Callable[[Queue], Queue]) -> Queue:
        """Change the queue, whatever another process did to it meanwhile; blocking.

        Returns:
            The queue as it is now.

        Raises:
            FileError: It cannot be written.
        """
        ensure(self._path.parent)
        try:
            with held_now(self._path.with_name(self._path.name + ".lock")):
                before = self.read()
                after = change(before)
                if after != before:
                    text = json.dumps({"schema": _SCHEMA, **asdict(after)}, indent=1)
                    write_atomically(self._path, text + "\n")
        except TimeoutError as error:
            raise FileError(
                f"{self._path} cannot be changed.", "Another localr1 holds it.", "Try again."
            ) from error
        return after


def _items(values: Iterable[object]) -> Iterable[Item]:
    for value in values:
        match value:
            case {
                "name": str(name),
                "size_bytes": int(size),
                "paused": bool(paused),
                "problem": str(problem),
            }:
                yield Item(name, size, paused, problem)
