"""The answer: Markdown that grows while it streams."""

from __future__ import annotations

from typing import ClassVar, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock

from localr1 import markdown as maths
from localr1.printable import printable
from localr1.tui.widgets import formula
from localr1.tui.widgets.code_block import CodeBlock

_BLOCKS: Final[dict[str, type[MarkdownBlock]]] = {
    **formula.BLOCKS,
    "fence": CodeBlock,
    "code_block": CodeBlock,
}


class Answer(Markdown):
    """An answer as Markdown, with its formulas drawn.

    Args:
        text: The answer so far.
        growing: Whether more of it will come.
        formulas_as_source: Whether formulas are shown as LaTeX.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"formula"}
    BLOCKS = _BLOCKS
    DEFAULT_CSS = """
    Answer { height: auto; padding: 0; margin: 0; background: $background; }
    Answer MarkdownH1 { content-align: left middle; }
    Answer MarkdownFence { margin: 0 0 1 0; background: $surface; }
    Answer MarkdownParagraph { margin: 0 0 1 0; }
    Answer MarkdownTable { margin: 0 0 1 0; }
    Answer > .formula { color: $text-primary; }
    """

    def __init__(
        self, text: str = "", *, growing: bool = False, formulas_as_source: bool = False
    ) -> None:
        super().__init__(printable(text), parser_factory=self._parser, open_links=False)
        self._waiting = ""
        self._growing = growing
        self._as_source = formulas_as_source

    def _parser(self) -> MarkdownIt:
        return maths.MathsParser(as_source=self._as_source, growing=self._growing)

    def unhandled_token(self, token: Token) -> MarkdownBlock | None:
        """A formula on its own is a block of its own kind."""
        if token.type == maths.BLOCK:
            return formula.Formula(self, token, as_source=self._as_source)
        return None

    def extend(self, text: str) -> None:
        """Take more of the answer; `draw` shows it."""
        self._waiting += printable(text)

    async def draw(self) -> None:
        """Show what came since the last call."""
        if self._waiting:
            text, self._waiting = self._waiting, ""
            await self.append(text)

    async def complete(self) -> None:
        """Draw the whole answer anew: appending blocks can leave traces of half-read Markdown."""
        await self.draw()
        self._growing = False
        if any(mark in self.source for mark in _STRUCTURE):
            await self.update(self.source)

    async def show_formulas(self, *, as_source: bool) -> None:
        """Show the formulas as LaTeX, or drawn."""
        if as_source != self._as_source:
            self._as_source = as_source
            if any(mark in self.source for mark in _FORMULA):
                await self.update(self.source)

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """A model wrote this address: show it and hand it over, but never open it."""
        event.stop()
        self.app.copy_to_clipboard(event.href)
        self.notify(printable(event.href), title="Link copied, not opened", markup=False)


_FORMULA: Final = ("\\", "$")
_STRUCTURE: Final = ("\n", "`", "|", "*", "_", "[", "<", "#", *_FORMULA)
"""Without any of these the answer is one plain paragraph, which needs no second drawing."""
