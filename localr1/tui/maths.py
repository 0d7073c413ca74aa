r"""Markdown as R1 writes it: mathematics is kept as its source, never mangled.

The usual parser takes `\[x\]` for an escaped bracket and `a_1 * b` for emphasis, and so shows
another formula than the model wrote. Here formulas are tokens of their own: inside a line they
are drawn like code, on their own they are a block.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin

_BLOCKS = frozenset({"math_block", "math_block_eqno", "math_block_label", "amsmath"})
_INLINE = frozenset({"math_inline", "math_single", "math_inline_double"})


class MathsParser(MarkdownIt):
    """A Markdown parser whose formulas come out as code, word for word."""

    def parse(self, src: str, env: MutableMapping[str, Any] | None = None) -> list[Token]:
        """Parse Markdown.

        Args:
            src: The text.
            env: As markdown-it's own.
        """
        return [_without_maths(token) for token in super().parse(src, env)]


def parser() -> MarkdownIt:
    """A parser for answers: tables, formulas, and HTML shown as the text that it is."""
    markdown = MathsParser("gfm-like", {"html": False})
    markdown.use(texmath_plugin, delimiters="brackets")
    markdown.use(dollarmath_plugin, allow_space=False, double_inline=True)
    markdown.use(amsmath_plugin)
    return markdown


def _without_maths(token: Token) -> Token:
    if token.type in _BLOCKS:
        return Token(
            "fence",
            "code",
            0,
            info="latex",
            content=token.content.strip("\n") + "\n",
            map=token.map,
            level=token.level,
            block=True,
            markup="```",
        )
    for child in token.children or ():
        if child.type in _INLINE:
            child.type, child.tag = "code_inline", "code"
    return token
