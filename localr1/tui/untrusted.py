"""Text that a model, a file name or a user wrote, made safe to draw.

Characters are judged one by one, so the result does not depend on how a stream is cut.
"""

from __future__ import annotations

import re

# Control characters but tab and line end, lone surrogates, tag characters, and the direction
# marks that make a line read as something else than it says (Unicode Technical Report 36).
_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """The text without control characters, escape codes and direction overrides.

    Line ends and tabs stay. The letters of an escape sequence stay too, as the plain letters
    that they are without their escape character.
    """
    return _UNWANTED.sub("", text)


def one_line(text: str, width: int) -> str:
    """The text as one clean line of at most `width` characters, cut with an ellipsis."""
    line = " ".join(clean(text).split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"
