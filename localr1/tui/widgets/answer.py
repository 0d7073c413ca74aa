"""The answer: Markdown that grows while it streams."""

from __future__ import annotations

from typing import Final

from textual.widgets import Markdown

from localr1.printable import printable
from localr1.tui import maths


class Answer(Markdown):
    """An answer as Markdown, with formulas shown as the source that they are.

    Args:
        text: The answer so far.
    """

    DEFAULT_CSS = """
    Answer { height: auto; padding: 0; margin: 0; background: $background; }
    Answer MarkdownH1 { content-align: left middle; }
    Answer MarkdownFence { margin: 0 0 1 0; background: $surface; }
    Answer MarkdownParagraph { margin: 0 0 1 0; }
    Answer MarkdownTable { margin: 0 0 1 0; }
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(printable(text), parser_factory=maths.parser, open_links=False)
        self._waiting = ""

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
        if any(mark in self.source for mark in _STRUCTURE):
            await self.update(self.source)

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """A model wrote this address: show it and hand it over, but never open it."""
        event.stop()
        self.app.copy_to_clipboard(event.href)
        self.notify(printable(event.href), title="Link copied, not opened", markup=False)


_STRUCTURE: Final = ("\n", "`", "|", "*", "_", "\\", "$", "[", "<", "#")
"""Without any of these the answer is one plain paragraph, which needs no second drawing."""
