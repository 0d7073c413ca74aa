"""A code block of an answer: which language, copied or saved by one key."""

from __future__ import annotations

from typing import ClassVar

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
    """The code itself."""


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
    CodeBlock > Label { padding: 0 2 1 2; }
    CodeBlock:focus > .bar { background: $block-cursor-blurred-background; color: $text; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings(CODE)

    class SaveWanted(Message):
        """The code is to be saved."""

        def __init__(self, code: str, language: str) -> None:
            super().__init__()
            self.code = code
            self.language = language

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        """The code in colours; plain where no language is named: guessing reads all of them in."""
        return super().highlight(code, language or "text", ansi, dark)

    def compose(self) -> ComposeResult:
        """What it is, and the code."""
        yield Bar(self)
        yield Code(self._highlighted_code, id="code-content", expand=True)

    @property
    def look(self) -> tuple[str, str]:
        """What it shows."""
        return self.code, self.lexer

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        await super()._update_from_block(block)
        for bar in self.query_children(Bar):
            bar.update(_bar(self.lexer), layout=False)

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


def _bar(language: str) -> Content:
    return Content.assemble(
        (one_line(language, 20) or "code", "bold"),
        "  ",
        ("copy", Style.from_meta({"@click": "copy"}) + Style(underline=True)),
        "  ",
        ("save", Style.from_meta({"@click": "save"}) + Style(underline=True)),
    )
