"""What the user said."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from localr1.chat.types import Message
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.command import bindings
from localr1.tui.folding import without_files
from localr1.tui.message_command import QUESTION
from localr1.tui.widgets.chosen import Chosen

MOST_LINES = 20
"""Of a question, at first."""


class Question(Chosen, Static, can_focus=True):
    """What the user said.

    Args:
        text: The message.
        waiting: Whether it waits for the model to be loaded.
        message: As it is stored; None where it is not yet.
        versions: The messages in its place on all branches.
    """

    HELP_TITLE = "A question"
    COMMANDS_HELPED = QUESTION
    DEFAULT_CSS = """
    Question {
        height: auto;
        padding: 0 1;
        margin: 0 0 1 0;
        border-left: outer $primary;
        background: $surface;
    }
    Question.waiting { border-left: outer $border-blurred; color: $text-muted; }
    Question:focus { background: $block-cursor-blurred-background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings(QUESTION)

    def __init__(
        self,
        text: str,
        *,
        waiting: bool = False,
        message: Message | None = None,
        versions: tuple[int, ...] = (),
    ) -> None:
        super().__init__("", markup=False, classes="waiting" if waiting else None)
        self._text = printable(text)
        self._open = False
        self.message, self.versions = message, versions
        self.show_versions()

    def show_versions(self) -> None:
        """Draw the text, and under it which version it is."""
        files, text = without_files(self._text)
        lines = text.split("\n")
        parts = [Content.styled(f"▤ {each}", "dim") for each in files]
        if len(lines) > MOST_LINES and not self._open:
            parts.append(Content("\n".join(lines[:MOST_LINES])))
            more = wording.plural(len(lines) - MOST_LINES, "more line")
            parts.append(Content.styled(f"▸ {more}", "dim"))
        else:
            parts.append(Content(text))
        if versions := self.versions_text:
            parts.append(Content.styled(versions, "dim"))
        self.update(Content("\n").join(parts))

    def action_open(self) -> None:
        """Show all of a long question, or its beginning again."""
        self._open = not self._open
        self.show_versions()

    def on_click(self) -> None:
        """The same by mouse."""
        if len(without_files(self._text)[1].split("\n")) > MOST_LINES:
            self.action_open()

    def action_edit(self) -> None:
        """Ask it in other words."""
        if self.message is not None:
            self.post_message(self.EditWanted(self.message))
