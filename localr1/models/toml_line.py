"""On which line of a TOML text each key stands; `tomllib` does not say."""

from __future__ import annotations

import tomllib
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top: `("model", 2, "architecture", "layers")`."""


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every key and list element of a text that `tomllib` accepts.

    A table has the line of its header, or of the first key that opens it. The text must be
    valid TOML: nothing is checked again here.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    """Walks over a valid TOML text and notes where each key begins."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._list_lengths: dict[KeyPath, int] = {}
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        """Scan the whole text."""
        table: KeyPath = ()
        while self._skip_blank():
            line = self._line()
            if self._text.startswith("[[", self._at):
                self._at += 2
                path = self._resolve((), self._key())
                position = self._list_lengths.get(path, 0)
                self._list_lengths[path] = position + 1
                table = (*path, position)
                self.lines.setdefault(path, line)
                self._note(table, line)
                self._at += 2
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._resolve((), self._key())
                self._note(table, line)
                self._at += 1
            else:
                self._pair(table)

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = self._resolve(table, self._key())
        self._note(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        start = self._text[self._at]
        if start == "[":
            self._list(path)
        elif start == "{":
            self._at += 1
            while self._skip_blank() and self._text[self._at] != "}":
                if self._text[self._at] == ",":
                    self._at += 1
                else:
                    self._pair(path)
            self._at += 1
        elif start in "\"'":
            self._string()
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _list(self, path: KeyPath) -> None:
        self._at += 1
        position = 0
        while self._skip_blank() and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._note((*path, position), self._line())
            self._value((*path, position))
            position += 1
        self._at += 1

    def _string(self) -> str:
        """Pass over a string of any of the four kinds; its text as written, with quotes."""
        start = self._at
        quote = self._text[start]
        mark = quote * 3 if self._text.startswith(quote * 3, start) else quote
        self._at += len(mark)
        while not self._text.startswith(mark, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(mark)
        # A long string may end in up to two quotes of its own.
        while len(mark) == 3 and self._text.startswith(quote, self._at):
            self._at += 1
        return self._text[start : self._at]

    def _key(self) -> list[str]:
        """A dotted key, up to the character that ends it."""
        parts: list[str] = []
        while True:
            self._skip_spaces()
            if self._text[self._at] in "\"'":
                parts.append(str(tomllib.loads(f"k = {self._string()}")["k"]))
            else:
                start = self._at
                while self._text[self._at] not in " \t.=]":
                    self._at += 1
                parts.append(self._text[start : self._at])
            self._skip_spaces()
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _resolve(self, table: KeyPath, keys: list[str]) -> KeyPath:
        """The full path of a dotted key; inside a list of tables it means the last one."""
        path = table
        for index, key in enumerate(keys):
            path = (*path, key)
            if index + 1 < len(keys):
                if path in self._list_lengths:
                    path = (*path, self._list_lengths[path] - 1)
                self._note(path, self._line())
        return path

    def _note(self, path: KeyPath, line: int) -> None:
        self.lines.setdefault(path, line)

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _skip_spaces(self) -> None:
        while self._text[self._at] in " \t":
            self._at += 1

    def _skip_blank(self) -> bool:
        """Go to the next thing that is not space or comment; False at the end of the text."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in " \t\n":
                self._at += 1
            else:
                return True
        return False
