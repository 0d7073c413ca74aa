"""The answer: Markdown that grows while it streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock

from localr1 import markdown as maths
from localr1.printable import printable
from localr1.tui.sections import lines_of, split
from localr1.tui.widgets import formula, listing
from localr1.tui.widgets.code_block import CodeBlock
from localr1.tui.widgets.laid_out import Column, LaidOutOnce, look_of
from localr1.tui.widgets.table import Table

_BLOCKS: Final[dict[str, type[MarkdownBlock]]] = {
    **formula.BLOCKS,
    **listing.BLOCKS,
    "table_open": Table,
    "fence": CodeBlock,
    "code_block": CodeBlock,
}


class Section(LaidOutOnce, Markdown):
    """A part of an answer as Markdown, with its formulas drawn; asleep it only keeps its place.

    Args:
        text: The part so far.
        growing: Whether more of it will come.
        formulas_as_source: Whether formulas are shown as LaTeX.
        asleep: Whether it is drawn only when it comes near the view.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"formula", "mark"}
    BLOCKS = _BLOCKS
    DEFAULT_CSS = """
    Section { height: auto; padding: 0; margin: 0; background: $background; }
    Section MarkdownH1 { content-align: left middle; }
    Section MarkdownFence { margin: 0 0 1 0; padding: 0 0 1 0; background: $surface; }
    Section MarkdownParagraph { margin: 0 0 1 0; }
    Section MarkdownTable { margin: 0 0 1 0; }
    Section > .formula { color: $text-primary; }
    Section > .mark { color: $text-primary; }
    Section:light > .mark { color: $text-secondary; }
    """

    def __init__(
        self,
        text: str,
        *,
        growing: bool = False,
        formulas_as_source: bool = False,
        asleep: bool = False,
    ) -> None:
        super().__init__(None if asleep else text, parser_factory=self._parser, open_links=False)
        self.words = text
        self.asleep = asleep
        self._growing = growing
        self._as_source = formulas_as_source
        if asleep:
            self.styles.height = lines_of(text)

    def _parser(self) -> MarkdownIt:
        return maths.MathsParser(as_source=self._as_source, growing=self._growing)

    def unhandled_token(self, token: Token) -> MarkdownBlock | None:
        """A formula on its own is a block of its own kind."""
        if token.type == maths.BLOCK:
            return formula.Formula(self, token, as_source=self._as_source)
        return None

    async def add(self, text: str) -> None:
        """Show more of it."""
        self.words += text
        await self.append(text)

    async def end(self, text: str) -> None:
        """Show it for good: what came last was perhaps not the half of what it looked like."""
        more = text.removeprefix(self.words) if text.startswith(self.words) else ""
        self.words, self._growing = text, False
        if self.asleep:
            return
        if more:
            await self.append(more)
        looks = [look_of(block) for block in self._build_from_source(text)]
        there = list(self.children)
        if None in looks or [look_of(block) for block in there[: len(looks)]] != looks:
            await self.update(text)
        else:
            await self.remove_children(there[len(looks) :])

    async def sleep(self) -> None:
        """Keep only its place."""
        if not self.asleep and not self._growing and not self.has_focus_within:
            self.asleep = True
            self.styles.height = self.size.height
            await self.remove_children()

    async def wake(self) -> None:
        """Draw it."""
        if self.asleep:
            self.asleep = False
            self.styles.height = "auto"
            await self.update(self.words)

    async def show_formulas(self, *, as_source: bool) -> None:
        """Show the formulas as LaTeX, or drawn."""
        self._as_source = as_source
        if not self.asleep and any(mark in self.words for mark in _FORMULA):
            await self.update(self.words)

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """A model wrote this address: show it and hand it over, but never open it."""
        event.stop()
        self.app.copy_to_clipboard(event.href)
        self.notify(printable(event.href), title="Link copied, not opened", markup=False)


class Answer(Column):
    """An answer in sections.

    Args:
        text: The answer so far.
        growing: Whether more of it will come.
        formulas_as_source: Whether formulas are shown as LaTeX.
        asleep: Whether it is drawn only when it comes near the view.
    """

    DEFAULT_CSS = """
    Answer { padding: 0; margin: 0; background: $background; }
    """

    def __init__(
        self,
        text: str = "",
        *,
        growing: bool = False,
        formulas_as_source: bool = False,
        asleep: bool = False,
    ) -> None:
        self._as_source = formulas_as_source
        parts = split(printable(text))
        # What grows is appended from its beginning: else its last block would count as over.
        self._waiting = parts[-1] if growing else ""
        # The end of an answer is what is looked at first.
        awake = 0 if asleep else len(parts) - _AWAKE_SECTIONS
        self._sections = [
            self._section(part, asleep=asleep or number < awake)
            for number, part in enumerate(parts[:-1] if growing else parts)
        ]
        if growing:
            self._sections.append(self._section("", growing=True))
        super().__init__(*self._sections)

    async def on_mount(self) -> None:
        """Show the beginning of what grows."""
        await self.draw()

    def _section(self, text: str, *, growing: bool = False, asleep: bool = False) -> Section:
        return Section(text, growing=growing, formulas_as_source=self._as_source, asleep=asleep)

    @property
    def sections(self) -> Sequence[Section]:
        """Its parts."""
        return self._sections

    @property
    def source(self) -> str:
        """The answer so far, as it is shown."""
        return "".join(section.words for section in self._sections)

    def extend(self, text: str) -> None:
        """Take more of the answer; `draw` shows it."""
        self._waiting += printable(text)

    async def draw(self) -> None:
        """Show what came since the last call."""
        if not self._waiting:
            return
        text, self._waiting = self._waiting, ""
        last = self._sections[-1]
        *over, rest = split(last.words + text)
        if over:
            # A section that is over is never drawn again while the answer goes on.
            await last.end(over[0])
            last = self._section("", growing=True)
            more = [*(self._section(part) for part in over[1:]), last]
            self._sections += more
            await self.mount_all(more)
        await last.add(rest.removeprefix(last.words))

    async def complete(self) -> None:
        """No more will come."""
        await self.draw()
        last = self._sections[-1]
        await last.end(last.words)

    async def show_formulas(self, *, as_source: bool) -> None:
        """Show the formulas as LaTeX, or drawn."""
        if as_source != self._as_source:
            self._as_source = as_source
            for section in self._sections:
                await section.show_formulas(as_source=as_source)


_AWAKE_SECTIONS: Final = 2
_FORMULA: Final = ("\\", "$")
