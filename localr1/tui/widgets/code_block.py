"""A code block of an answer: which language, copied or saved by one key."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widget import Widget
from textual.widgets import Label, Static
from textual.widgets.markdown import MarkdownBlock, MarkdownFence

from localr1.printable import one_line, printable
from localr1.tui import wording
from localr1.tui.command import Command, bindings
from localr1.tui.widgets.laid_out import LaidOutOnce

_LONG_CHARACTERS: Final = 3_000
_LINES: Final = re.compile(r"(?:[^\n]*\n){50}(?=.)", re.DOTALL)
_GROWTH: Final = 1.25
"""Long code is coloured again when so much has come: together that is a few times its length."""
_STILL_SECONDS: Final = 1.0
"""Or when nothing has come for so long."""

CODE = (
    Command("code.copy", "c,y,enter", "copy", "Copy", "Copy the code.", shown=True, palette=False,
            footer="c"),
    Command("code.save", "s", "save", "Save", "Save the code in a file.", shown=True,
            palette=False),
    Command("code.next", "b,down", "step(1)", "Next block", "Choose the next code block.",
            shown=True, palette=False, footer="b"),
    Command("code.before", "up", "step(-1)", "Block before", "Choose the code block before.",
            palette=False),
    Command("code.leave", "escape", "leave", "Back", "Go back to the reply.", shown=True,
            palette=False),
)  # fmt: skip


class Code(LaidOutOnce, Label):
    """Some lines of the code; those that are over are not drawn again."""

    def __init__(self, lines: Content) -> None:
        super().__init__(lines, expand=True)
        self._lines = lines

    def show(self, lines: Content) -> None:
        """Show other lines, if they are."""
        if (lines.plain, lines.spans) != (self._lines.plain, self._lines.spans):
            self._lines = lines
            self.update(lines)


class Bar(LaidOutOnce, Static):
    """The line above the code.

    Args:
        block: The code block.
    """

    def __init__(self, block: CodeBlock) -> None:
        super().__init__(_bar(block.lexer), classes="bar", markup=False)
        self._block = block

    def action_copy(self) -> None:
        """By mouse."""
        self._block.action_copy()

    def action_save(self) -> None:
        """By mouse."""
        self._block.action_save()


class CodeBlock(LaidOutOnce, MarkdownFence, can_focus=True):
    """Code in an answer; the line above it says what it is and what can be done with it."""

    FOCUS_ON_CLICK = False
    HELP_TITLE = "A code block"
    COMMANDS_HELPED = CODE
    DEFAULT_CSS = """
    CodeBlock > .bar { height: 1; padding: 0 2; color: $text-muted; }
    CodeBlock > Label { padding: 0 2; }
    CodeBlock:focus > .bar { background: $block-cursor-blurred-background; color: $text; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings(CODE)

    _coloured: tuple[str, Content] = ("", Content())
    """Long code as far as it is in colours, and its look."""

    class SaveWanted(Message):
        """The code is to be saved."""

        def __init__(self, code: str, language: str) -> None:
            super().__init__()
            self.code = code
            self.language = language

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        """The code in colours; plain where no language is named: guessing reads all of them in.

        Long code is plain at first; see `_colour`.
        """
        if len(code) > _LONG_CHARACTERS:
            return Content.styled(code, "$text")
        return super().highlight(code, language or "text", ansi, dark)

    def set_content(self, content: Content) -> None:
        """Show the code; what of it is in colours stays so."""
        known, coloured = self._coloured
        if known and self.code.startswith(known):
            content = coloured + Content.styled(self.code[len(known) :], "$text")
        self._content, pieces = content, _pieces(content)
        there = list(self.query_children(Code))
        for shown, lines in zip(there, pieces, strict=False):
            shown.show(lines)
        if there:  # else they are about to be composed
            self.mount_all(Code(lines) for lines in pieces[len(there) :])

    def on_mount(self) -> None:
        """Colour what is long."""
        self._colour_later(0)

    def _colour_later(self, seconds: float) -> None:
        if len(self.code) > _LONG_CHARACTERS and self.code != self._coloured[0]:
            self.run_worker(self._colour(seconds), exclusive=True, group="colour")

    async def _colour(self, seconds: float) -> None:
        """Colour long code while other things go on, after a pause: it takes 5 ms per 1,000 signs."""
        await asyncio.sleep(seconds)
        code, dark = self.code, self.app.current_theme.dark
        colour = partial(super().highlight, code, self.lexer or "text", dark=dark)
        self._coloured = code, await asyncio.to_thread(colour, ansi=self.app.native_ansi_color)
        self.set_content(Content.styled(self.code, "$text"))

    def compose(self) -> ComposeResult:
        """What it is, and the code."""
        yield Bar(self)
        for lines in _pieces(self._highlighted_code):
            yield Code(lines)

    @property
    def look(self) -> tuple[str, str]:
        """What it shows."""
        return self.code, self.lexer

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        await super()._update_from_block(block)
        for bar in self.query_children(Bar):
            bar.update(_bar(self.lexer), layout=False)
        grown = len(self.code) > _GROWTH * len(self._coloured[0])
        self._colour_later(0 if grown else _STILL_SECONDS)

    def action_copy(self) -> None:
        """Copy the code."""
        code = printable(self.code)
        self.app.copy_to_clipboard(code)
        blocks = self._all()
        which = f" {blocks.index(self) + 1} of {len(blocks)}" if len(blocks) > 1 else ""
        lines = wording.plural(len(code.splitlines()), "line")
        self.notify(f"Copied code block{which}, {lines}.", markup=False)

    def action_save(self) -> None:
        """Save the code in a file."""
        self.post_message(self.SaveWanted(printable(self.code), self.lexer))

    def action_step(self, step: int) -> None:
        """Choose another code block of the answer."""
        blocks = self._all()
        blocks[(blocks.index(self) + step) % len(blocks)].focus()

    def action_leave(self) -> None:
        """Back to the reply."""
        for above in self.ancestors:
            if isinstance(above, Widget) and above.can_focus:
                above.focus()
                return

    def _all(self) -> list[CodeBlock]:
        for above in self.ancestors:
            if isinstance(above, Widget) and above.can_focus:
                return list(above.query(CodeBlock))
        return [self]


def _pieces(code: Content) -> list[Content]:
    """The code in pieces that can be drawn each by itself."""
    ends = [match.end() for match in _LINES.finditer(code.plain)]
    return [piece[:-1] if piece.plain.endswith("\n") else piece for piece in code.divide(ends)]


def _bar(language: str) -> Content:
    return Content.assemble(
        (one_line(language, 20) or "code", "bold"),
        "  ",
        ("copy", Style.from_meta({"@click": "copy"}) + Style(underline=True)),
        "  ",
        ("save", Style.from_meta({"@click": "save"}) + Style(underline=True)),
    )
