"""An answer cut into sections that can be drawn each by itself: a pure function."""

from __future__ import annotations

import re
from typing import Final

_USUAL_WIDTH: Final = 76
LEAST_CHARACTERS: Final = 900
"""Of a section, the last one excepted."""
# A formula that is not closed by then was not meant as one: as the parser has it.
_MOST_FORMULA_LINES: Final = 60
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_BEGIN: Final = re.compile(r"\\begin\{([A-Za-z]+\*?)\}")
# What may belong to a block above the empty line: items of a list, what is indented, quotations.
_MAY_BELONG: Final = re.compile(r"[ \t>]|[-+*](?:[ \t]|$)|\d{1,9}[.)](?:[ \t]|$)|\[[^\]\n]+\]:")


def split(text: str) -> tuple[str, ...]:
    """The text in sections; together they are the text.

    A section ends at an empty line, where no code, list or formula is open: Markdown says the
    same of the sections as of the whole, but for the addresses of links named elsewhere. Where
    it cannot be told whether a formula is open, no section begins any more. What comes behind
    the last line end is not known to be a whole line, so no section begins there.

    Args:
        text: Markdown with formulas.
    """
    found: list[str] = []
    begin = position = 0
    fence = closer = ""
    formula_lines = 0
    after_empty = False
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1].startswith(fence) and not bare.strip().strip(fence[0]):
                fence = ""
        elif closer:
            formula_lines += 1
            if opened or _in_doubt(line, closer) or formula_lines > _MOST_FORMULA_LINES:
                break  # perhaps it was no formula, and something else began since
            if closer in line:
                closer = ""
        else:
            whole = line.endswith("\n")
            long_enough = position - begin >= LEAST_CHARACTERS
            if after_empty and bare and whole and long_enough and not _MAY_BELONG.match(line):
                found.append(text[begin:position])
                begin = position
            if opened:
                fence = opened[1]
            else:
                closer, formula_lines = _closer(line.lstrip()), 0
        after_empty = not bare
        position += len(line)
    found.append(text[begin:])
    return tuple(found)


def lines_of(text: str) -> int:
    """About how many lines a text takes; for a place that is kept for it."""
    return sum(1 + len(line) // _USUAL_WIDTH for line in text.splitlines()) or 1


def _closer(line: str) -> str:
    """What closes the formula that a line opens; empty where it opens none, or closes it."""
    if line.startswith("\\["):
        closer = "\\]"
    elif line.startswith("$$"):
        closer = "$$"
    elif begin := _BEGIN.match(line):
        closer = f"\\end{{{begin[1]}}}"
    else:
        return ""
    return "" if closer in line[2:] else closer


def _in_doubt(line: str, closer: str) -> bool:
    """Whether a line within a formula looks like the beginning of another one."""
    begins = line.lstrip()
    if closer.startswith("\\end"):
        return "\\begin{" in line
    return begins.startswith("\\[") or (begins.startswith("$$") and closer != "$$")
