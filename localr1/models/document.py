"""A TOML file that is checked strictly: every mistake names the file, the line and the key."""

from __future__ import annotations

import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeAlias

from localr1.errors import CatalogueError, FileError
from localr1.models.toml_line import KeyPath, key_lines

Raw: TypeAlias = dict[str, object]


@dataclass(frozen=True)
class Document:
    """One models.toml, parsed but not checked."""

    path: Path
    text: str = field(repr=False)
    raw: Raw = field(repr=False)

    @cached_property
    def _lines(self) -> Mapping[KeyPath, int]:
        return key_lines(self.text)

    def fail(self, path: KeyPath, complaint: str) -> NoReturn:
        """Raise `CatalogueError` for the key at `path`, or the nearest table that exists."""
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        key = ".".join(part for part in path if isinstance(part, str)) or "the file"
        fail(self.path, f"Line {self._lines.get(known, 1)}, {key}: {complaint}.")


def fail(path: Path, why: str) -> NoReturn:
    """Raise `CatalogueError` for the file."""
    raise CatalogueError(
        f"{path} cannot be used.", why, "Correct that line, or move the file away."
    )


def read_document(path: Path) -> Document:
    """Parse a models.toml.

    Raises:
        FileError: It cannot be read.
        CatalogueError: It is not TOML; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        fail(path, f"Line {line}: not UTF-8 text.")
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read.", str(error), "Check its permissions.") from error
    try:
        return Document(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        position = re.search(r"\(at (?:line (\d+)|end of document)", str(error))
        line = int(position[1]) if position and position[1] else len(text.splitlines())
        fail(path, f"Line {line}: {str(error).split(' (at ')[0]}.")
    except RecursionError:
        fail(path, "Line 1: lists or tables are nested too deep.")


Complain: TypeAlias = Callable[[object], str | None]
"""Says what is wrong with a value, or None."""


@dataclass(frozen=True)
class Context:
    """What a check needs to know besides the value."""

    document: Document
    sources: Collection[str]
    """Names that `source` keys may use."""
    partial: bool = False
    """Whether tables may lack required keys: they change a model that exists."""


class Spec(ABC):
    """What a value must be."""

    @abstractmethod
    def check(self, context: Context, path: KeyPath, value: object) -> None:
        """Check the value at `path` and all below it.

        Raises:
            CatalogueError: At the first mistake.
        """


@dataclass(frozen=True)
class Scalar(Spec):
    """A single value."""

    complain: Complain
    is_source: bool = False

    def check(self, context: Context, path: KeyPath, value: object) -> None:
        """Check one value."""
        complaint = self.complain(value)
        if complaint is None and self.is_source and value not in context.sources:
            complaint = f"there is no source {value!r} in [sources]"
        if complaint is not None:
            context.document.fail(path, complaint)


@dataclass(frozen=True)
class Listing(Spec):
    """A list of values of one kind."""

    item: Spec

    def check(self, context: Context, path: KeyPath, value: object) -> None:
        """Check every element."""
        if not isinstance(value, list):
            context.document.fail(path, f"must be a list, not {shown(value)}")
        for index, item in enumerate(value):
            self.item.check(context, (*path, index), item)


@dataclass(frozen=True)
class Names(Spec):
    """Free names, all with values of one kind."""

    value: Spec

    def check(self, context: Context, path: KeyPath, value: object) -> None:
        """Check the value of every name."""
        for key, child in _table(context, path, value).items():
            self.value.check(context, (*path, key), child)


@dataclass(frozen=True)
class Table(Spec):
    """Fixed keys, some of which may be left out."""

    keys: Mapping[str, Spec]
    optional: Collection[str] = ()
    always_whole: bool = False
    """Required keys are required in a partial model too."""

    def check(self, context: Context, path: KeyPath, value: object) -> None:
        """Check every key, and that none is missing."""
        table = _table(context, path, value)
        for key, child in table.items():
            if key not in self.keys:
                known = ", ".join(sorted(self.keys))
                context.document.fail((*path, key), f"unknown key; known are {known}")
            self.keys[key].check(context, (*path, key), child)
        missing = [key for key in self.keys if key not in table and key not in self.optional]
        if missing and (self.always_whole or not context.partial):
            context.document.fail((*path, missing[0]), "missing")


def shown(value: object) -> str:
    """A value as an error shows it: short, on one line."""
    return f"{value!r:.60}"


def _table(context: Context, path: KeyPath, value: object) -> Raw:
    if not isinstance(value, dict):
        context.document.fail(path, f"must be a table, not {shown(value)}")
    return value
