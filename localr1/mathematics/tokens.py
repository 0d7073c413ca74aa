"""The source of a formula cut into tokens."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from localr1.mathematics.tree import Unclear

MOST_CHARACTERS: Final = 2000
"""Longer formulas are shown as source: nobody reads them drawn, and the cost stays bounded."""

_TOKEN: Final = re.compile(r"\\[A-Za-z]+|\\.|\S", re.DOTALL)


@dataclass(frozen=True)
class Token:
    r"""A command with its backslash, or one character."""

    text: str
    start: int
    """Where it stands in the source."""
    spaced: bool
    """Whether there is white space before it."""


def tokens(source: str) -> list[Token]:
    """Cut the source.

    Raises:
        Unclear: It is too long, or has characters that cannot be shown.
    """
    if len(source) > MOST_CHARACTERS:
        raise Unclear("too long")
    found: list[Token] = []
    end = 0
    for match in _TOKEN.finditer(source):
        text, start = match.group(), match.start()
        if not (text.isascii() and text.isprintable()):
            _check(text[-1])
        # A line end after a backslash is a space with a backslash.
        found.append(Token("\\ " if text[1:].isspace() else text, start, start > end))
        end = match.end()
    return found


def _check(character: str) -> None:
    # Control, format and private characters, surrogates, and marks that would join another sign.
    if not character.isspace() and unicodedata.category(character)[0] in "CM":
        raise Unclear(f"U+{ord(character):04X}")
