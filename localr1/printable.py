"""Untrusted text made fit for a terminal."""

from __future__ import annotations

import re
from typing import Final

# Control characters but tab and line end, lone surrogates, tag characters, and the direction
# marks that make a line read as something else than it says (Unicode Technical Report 36).
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """Text without anything a terminal would obey.

    Characters are judged one by one, so the result does not depend on how a stream is cut.
    """
    return _UNPRINTABLE.sub("", text)


def one_line(text: str, width: int) -> str:
    """The text as one printable line of at most `width` characters, cut with an ellipsis."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"
