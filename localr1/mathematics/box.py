"""Pictures made of characters, and how they are put together."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from localr1.mathematics.tree import Unclear

MOST_CELLS: Final = 20_000
"""Larger pictures are not drawn."""


@dataclass(frozen=True)
class Box:
    """A picture."""

    lines: tuple[str, ...]
    """All of the same width."""
    baseline: int
    """The line that stands level with the text around it."""
    width: int
    """In cells."""

    @property
    def level(self) -> str:
        """The line that stands level with the text around it."""
        return self.lines[self.baseline]

    @property
    def height(self) -> int:
        """In lines."""
        return len(self.lines)


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


@lru_cache(maxsize=4096)
def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def text_box(text: str) -> Box:
    """One line of text."""
    return Box((text,), 0, cells(text))


def beside(boxes: Sequence[Box]) -> Box:
    """Boxes side by side, their baselines level.

    Raises:
        Unclear: The picture is too large.
    """
    above = max((box.baseline for box in boxes), default=0)
    below = max((box.height - box.baseline for box in boxes), default=1)
    width = sum(box.width for box in boxes)
    if width * (above + below) > MOST_CELLS:
        raise Unclear("too large")
    lines = [""] * (above + below)
    for box in boxes:
        top = above - box.baseline
        blank = " " * box.width
        for index in range(above + below):
            inside = top <= index < top + box.height
            lines[index] += box.lines[index - top] if inside else blank
    return Box(tuple(lines), above, width)


def stacked(boxes: Sequence[Box], baseline: int, side: str = "c") -> Box:
    """Boxes under each other.

    Args:
        boxes: From the top down.
        baseline: The line of the result that stands level with the text around it.
        side: `l`, `c` or `r`: where narrower ones stand.

    Raises:
        Unclear: The picture is too large.
    """
    width = max(box.width for box in boxes)
    if width * sum(box.height for box in boxes) > MOST_CELLS:
        raise Unclear("too large")
    lines = [line for box in boxes for line in widened(box, width, side).lines]
    return Box(tuple(lines), baseline, width)


def widened(box: Box, width: int, side: str = "c") -> Box:
    """The box with blanks at its sides."""
    missing = width - box.width
    if missing <= 0:
        return box
    left = {"l": 0, "c": missing // 2, "r": missing}[side]
    return padded(box, left, missing - left)


def padded(box: Box, left: int, right: int = 0) -> Box:
    """The box with blanks before and after it."""
    if not left and not right:
        return box
    before, after = " " * left, " " * right
    lines = tuple(f"{before}{line}{after}" for line in box.lines)
    return Box(lines, box.baseline, box.width + left + right)


def lifted(box: Box, lines: int) -> Box:
    """The box higher above the text around it; lower, if negative."""
    blank = (" " * box.width,)
    if lines >= 0:
        return Box(box.lines + blank * lines, box.height - 1 + lines, box.width)
    return Box(blank * -lines + box.lines, 0, box.width)


# Brackets that grow: the top, what goes between, the bottom.
_PIECES: Final = {
    "(": ("⎛", "⎜", "⎝"),
    ")": ("⎞", "⎟", "⎠"),
    "[": ("⎡", "⎢", "⎣"),
    "]": ("⎤", "⎥", "⎦"),
    "|": ("│", "│", "│"),
    "‖": ("‖", "‖", "‖"),
    "⌊": ("⎢", "⎢", "⎣"),
    "⌋": ("⎥", "⎥", "⎦"),
    "⌈": ("⎡", "⎢", "⎢"),
    "⌉": ("⎤", "⎥", "⎥"),
}
# With a middle as well, and both halves for two lines.
_CURLY: Final = {"{": ("⎧", "⎪", "⎨", "⎩", "⎰", "⎱"), "}": ("⎫", "⎪", "⎬", "⎭", "⎱", "⎰")}


def bracket(sign: str, height: int, baseline: int) -> Box:
    """A bracket as high as what it holds.

    Args:
        sign: The bracket in one line; empty for none.
        height: Lines.
        baseline: The line level with the text around it.

    Raises:
        Unclear: This one does not grow.
    """
    if not sign:
        return Box(("",) * height, baseline, 0)
    if height == 1:
        return Box((sign,), baseline, cells(sign))
    if sign in _PIECES:
        top, part, bottom = _PIECES[sign]
        lines = [top, *[part] * (height - 2), bottom]
    elif sign in _CURLY:
        top, part, middle, bottom, upper, lower = _CURLY[sign]
        if height == 2:
            lines = [upper, lower]
        else:
            lines = [top, *[part] * (height - 2), bottom]
            lines[min(max(baseline, 1), height - 2)] = middle
    elif sign in "⟨⟩":
        return _pointed(sign, height, baseline)
    else:
        raise Unclear(sign)
    return Box(tuple(lines), baseline, 1)


def _pointed(sign: str, height: int, baseline: int) -> Box:
    """Two slanted sides; each line towards the middle stands one cell further out."""
    half = height // 2
    width = max(half, 1)
    out = [" " * step for step in range(half)]
    steps = list(reversed(out)) if sign == "⟨" else out
    upper, lower = ("╱", "╲") if sign == "⟨" else ("╲", "╱")
    lines = [(step + upper).ljust(width) for step in steps]
    if height % 2:
        lines.append(sign.ljust(width) if sign == "⟨" else sign.rjust(width))
    lines += [(step + lower).ljust(width) for step in reversed(steps)]
    return Box(tuple(lines), baseline, width)
