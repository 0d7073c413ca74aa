"""Long text in the prompt, folded into a few words that stand for it; names of files in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from localr1.printable import one_line
from localr1.tui import wording

FOLDED_LINES: Final = 8
FOLDED_CHARACTERS: Final = 1000
"""Pastes of so much are folded."""
_FILE: Final = re.compile(
    r"\[file name\]: (?P<name>[^\n]*)\n\[file content begin\]\n(?P<content>.*?)\n?"
    r"\[file content end\]\n",
    re.DOTALL,
)
# `@notes.txt`, `@"my notes.txt"`; not an address such as me@example.org.
_ATTACHED: Final = re.compile(r"""(?<!\S)@(?:"(?P<quoted>[^"\n]+)"|(?P<plain>[^\s"]+))""")


class Folds:
    """Remembers what stands behind the words in brackets."""

    def __init__(self) -> None:
        self._behind: dict[str, str] = {}

    def fold(self, text: str) -> str:
        """The words for a pasted text; short text stays as it is."""
        lines = len(text.splitlines())
        if lines < FOLDED_LINES and len(text) < FOLDED_CHARACTERS:
            return text
        size = wording.plural(lines, "line") if lines > 1 else f"{len(text):,} characters"
        return self._name(f"Pasted {size}", text)

    def fold_files(self, text: str) -> str:
        """A message with its attached files folded."""
        return _FILE.sub(lambda match: self._name(file_words(match), match[0]), text)

    def unfold(self, text: str) -> str:
        """The text with everything that stands behind its words."""
        if not self._behind:
            return text
        any_of = "|".join(re.escape(words) for words in self._behind)
        return re.sub(any_of, lambda match: self._behind[match[0]], text)

    def _name(self, words: str, behind: str) -> str:
        number, name = 1, f"[{words}]"
        while self._behind.get(name, behind) != behind:
            number += 1
            name = f"[{words} #{number}]"
        self._behind[name] = behind
        return name


def file_words(match: re.Match[str]) -> str:
    """An attached file in a few words: `notes.txt, 214 lines`."""
    lines = len(match["content"].splitlines())
    return f"{one_line(match['name'], 60)}, {wording.plural(lines, 'line')}"


def without_files(text: str) -> tuple[tuple[str, ...], str]:
    """A message as people read it: its files in a few words each, and the rest."""
    files = tuple(file_words(match) for match in _FILE.finditer(text))
    return files, _FILE.sub("", text) if files else text


def attached_names(text: str) -> Iterator[tuple[str, str]]:
    """What looks like an attached file in a prompt: as written, and the path."""
    for match in _ATTACHED.finditer(text):
        yield match[0], match["quoted"] or match["plain"]


def as_attachment(path: str) -> str:
    """How a path is written in a prompt."""
    return f'@"{path}"' if re.search(r"\s", path) else f"@{path}"


def dropped_path(pasted: str) -> str:
    """The path that a terminal pastes when a file is dropped on it; empty where it is none.

    Terminals write it in quotes, with backslashes before spaces, or as an address.
    """
    text = pasted.strip()
    if "\n" in text or not text or len(text) > 4096:
        return ""
    if text[0] in "'\"" and text[-1:] == text[0]:
        text = text[1:-1]
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    elif "\\ " in text:
        text = text.replace("\\ ", " ")
    return text if Path(text).is_absolute() else ""


def completions(word: str, names: Iterator[tuple[str, bool]]) -> tuple[str, tuple[str, ...]]:
    """How a begun name can go on.

    Args:
        word: As far as it is typed, without its folder.
        names: The folder's names, each with whether it is a folder.

    Returns:
        The longest beginning that all of them share, and all of them, folders with a slash.
    """
    found = sorted(
        f"{name}/" if is_folder else name
        for name, is_folder in names
        if name.startswith(word) and (word or not name.startswith("."))
    )
    if not found:
        return word, ()
    shared = found[0]
    for name in found[1:]:
        while not name.startswith(shared):
            shared = shared[:-1]
    return shared, tuple(found)
