r"""Markdown as R1 writes it: formulas are read as such before anything else touches them.

The usual parser takes `\[x\]` for an escaped bracket and `a_1 * b` for emphasis, and so shows
another formula than the model wrote. The known plugins for formulas lose what follows `\]` in its
line, do not see a formula that begins right under a line of text, and say nothing about where one
stands in the source, which a growing answer needs. So the rules are here.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from itertools import takewhile
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, list_block
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from localr1.mathematics import ENVIRONMENTS, in_one_line

BLOCK: Final = "formula"
"""The type of a token that is a formula on its own; its content is LaTeX."""
INLINE: Final = "formula"
"""The key in the `meta` of a `code_inline` token that is a formula: whether it is drawn."""
SOURCE: Final = "source"
"""The key beside it: the LaTeX as the model wrote it, with the signs around it."""

_MOST_LINES = 60
"""A formula that is not closed by then was not meant as one."""
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_BEGIN = re.compile(r"\\begin\{([A-Za-z]+\*?)\}")
_BEGIN_OR_END = re.compile(r"\\(begin|end)\{([A-Za-z]+\*?)\}")
_PUNCTUATION = re.compile(r"\s*([.,;:]?)[ \t]*(?:\n|\Z)")
_ALTERNATES = ["paragraph", "reference", "blockquote", "list"]


class MathsParser(MarkdownIt):
    """A Markdown parser that knows formulas.

    Args:
        as_source: Whether formulas in a line are shown as LaTeX.
        growing: Whether more text will come, so that a formula may still be closed.
    """

    def __init__(self, *, as_source: bool = False, growing: bool = False) -> None:
        super().__init__("gfm-like", {"html": False})
        self._as_source = as_source
        self._growing = growing
        self.block.ruler.before("fence", "formula", self._block, {"alt": _ALTERNATES})
        self.inline.ruler.before("escape", "formula", self._inline)
        self.inline.ruler.before("emphasis", "times", _times)
        self.block.ruler.at("list", _list, {"alt": ["paragraph", "reference", "blockquote"]})

    def parse(self, src: str, env: MutableMapping[str, Any] | None = None) -> list[Token]:
        """Parse Markdown.

        Args:
            src: The text.
            env: As markdown-it's own.
        """
        return super().parse(_with_bars(src), env)

    def _block(self, state: StateBlock, first: int, end: int, silent: bool) -> bool:
        """A formula that has its lines for itself."""
        if state.is_code_block(first):
            return False
        text = _line(state, first)
        begin = _BEGIN.match(text)
        if not (text.startswith(("\\[", "$$")) or (begin and _is_known(begin))):
            return False
        opener = "" if begin else text[:2]
        lines, last = [text], first + 1
        while (close := _closing("\n".join(lines), 0)) is None and last - first < _MOST_LINES:
            outside = not state.isEmpty(last) and state.sCount[last] < state.blkIndent
            if last >= end or outside or (opener == "$$" and state.isEmpty(last)):
                break
            lines.append(_line(state, last))
            last += 1
        source = "\n".join(lines)
        if close is not None:
            rest = _PUNCTUATION.fullmatch(source, close[1])
            if rest is None:
                return False
            source = source[: close[0]] + rest[1]
        elif last < end or not self._growing:
            # Never closed: the rest of the paragraph is shown as it is.
            if opener == "$$" and text.strip() != "$$":
                return False
            lines = list(takewhile(str.strip, lines))
            source, last = "\n".join(lines), first + len(lines)
        if not silent:
            state.line = last
            token = state.push(BLOCK, "", 0)
            token.block = True
            token.map = [first, last]
            token.content = source[len(opener) :].strip()
            token.markup = opener
            token.meta = {"closed": close is not None}
        return True

    def _inline(self, state: StateInline, silent: bool) -> bool:
        """A formula within a line."""
        start = state.pos
        if state.src[start] not in "\\$":
            return False
        source = state.src[: state.posMax]
        if source[start] == "$" and not source.startswith("$$", start):
            close = _single_dollar(source, start)
        elif _opens(source, start):
            close = _closing(source, start)
            if close is None and source[start] == "\\":
                # Still being written, or never closed: nothing in it is Markdown.
                another = source.find(source[start : start + 2], start + 2)
                state.pos = state.posMax if another < 0 else another
                if not silent:
                    state.append_pending(source[start : state.pos])
                return True
        else:
            close = None
        if close is None:
            return False
        opener = {"$": 2 if source.startswith("$$", start) else 1, "\\": 2}[source[start]]
        content = source[start + (opener if close[0] < close[1] else 0) : close[0]].strip()
        if not content:
            return False
        if not silent:
            flat = None if self._as_source else in_one_line(content)
            token = state.push("code_inline", "code", 0)
            token.content = flat or content
            token.meta = {INLINE: flat is not None, SOURCE: source[start : close[1]]}
        state.pos = close[1]
        return True


# A letter by itself is one, a word is not: `*em*phasis`.
_FACTOR_ENDS = re.compile(r"(?:[0-9)\]}]|(?<![^\W\d_])[A-Za-z])\Z")
_FACTOR_BEGINS = re.compile(r"[0-9(\[\\]|[A-Za-z](?![^\W\d_])")
_FIGURES = re.compile(
    r"[-+]?[\d\s.,+*/=()\u2212\u00d7\u00f7-]*\d[\d\s.,+*/=()\u2212\u00d7\u00f7-]*"
)


def _times(state: StateInline, silent: bool) -> bool:
    """Stars between factors, as in 2*3*4 or 2**3: no emphasis, which would take them away."""
    start = end = state.pos
    if state.src[start] != "*":
        return False
    while end < state.posMax and state.src[end] == "*":
        end += 1
    factors = _FACTOR_ENDS.search(state.src, max(0, start - 2), start) and (
        _FACTOR_BEGINS.match(state.src, end, min(end + 2, state.posMax))
    )
    if not factors:
        return False
    if not silent:
        state.pending += state.src[start:end]
    state.pos = end
    return True


def _list(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """A list; but `+ 30` below a line of figures is a sum, and a list would take the sign away."""
    # Within a list it is the list's next item.
    if silent and first and not state.blkIndent and _line(state, first)[:1] in {"+", "-"}:
        here, above = _line(state, first), _line(state, first - 1)
        if _FIGURES.fullmatch(here) and _FIGURES.fullmatch(above):
            return False
    return list_block(state, first, end, silent)


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _is_known(begin: re.Match[str]) -> bool:
    return begin[1].removesuffix("*") in ENVIRONMENTS


def _opens(source: str, at: int) -> bool:
    if source.startswith(("\\(", "\\[", "$$", "\\boxed{"), at):
        return True
    begin = _BEGIN.match(source, at)
    return begin is not None and _is_known(begin)


def _closing(source: str, at: int) -> tuple[int, int] | None:
    """Where the content of the formula that opens here ends, and where the formula does."""
    if source.startswith("$$", at):
        close = source.find("$$", at + 2)
        return None if close < 0 else (close, close + 2)
    if source.startswith(("\\(", "\\["), at):
        wanted = {"(": ")", "[": "]"}[source[at + 1]]
        for pair in _PAIR.finditer(source, at + 2):
            if pair[1] == wanted:
                return pair.start(), pair.end()
            if pair[1] == source[at + 1]:
                return None  # another one opens: this one was never closed
        return None
    end = (
        _balanced(source, at) if source.startswith("\\boxed", at) else _environment_end(source, at)
    )
    return None if end is None else (end, end)


def _balanced(source: str, at: int) -> int | None:
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(source, at):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if match[0] == "}" and depth <= 0:
            return match.end()
    return None


def _environment_end(source: str, at: int) -> int | None:
    depth = 0
    for match in _BEGIN_OR_END.finditer(source, at):
        depth += 1 if match[1] == "begin" else -1
        if depth == 0:
            return match.end()
    return None


# Dollars: as pandoc reads them, and no prose between two prices.

_TEX_SIGN = re.compile(r"[\\^_{}=<>]")
_WORD = re.compile(r"(?<![A-Za-z])(?:[A-Za-z]{4,}|or|and|to|in|of|at|is|the|per|for)(?![A-Za-z])")


def _single_dollar(source: str, at: int) -> tuple[int, int] | None:
    before, after = source[at - 1 : at], source[at + 1 : at + 2]
    if before.isalnum() or before == "\\" or not after.strip():
        return None
    close = at + 1
    while True:
        close = source.find("$", close)
        if close < 0:
            return None
        if source[close - 1] != "\\":
            break
        close += 1
    content, following = source[at + 1 : close], source[close + 1 : close + 2]
    if not content or content[-1].isspace() or following.isalnum():
        return None
    if _WORD.search(content) and not _TEX_SIGN.search(content):
        return None
    return close, close + 1


# Tables: a bar within a formula does not end a cell.

_IN_A_CELL = re.compile(r"\\\(.+?\\\)|(?<![\w$\\])\$(?![\s$])[^$\n]*?[^$\s\\]\$(?![\w$])")
_FENCE = re.compile(r"\s*(?:```|~~~)")


def _with_bars(source: str) -> str:
    if "|" not in source or ("\\(" not in source and "$" not in source):
        return source
    lines, in_fence = source.split("\n"), False
    for index, text in enumerate(lines):
        if _FENCE.match(text):
            in_fence = not in_fence
        elif not in_fence and text.lstrip().startswith("|"):
            lines[index] = _IN_A_CELL.sub(lambda match: match[0].replace("|", "\\|"), text)
    return "\n".join(lines)
