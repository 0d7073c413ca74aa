"""What the user said."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from localr1.chat.types import Message
from localr1.printable import printable
from localr1.tui.command import bindings
from localr1.tui.message_command import QUESTION
from localr1.tui.widgets.chosen import Chosen


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
        self.message, self.versions = message, versions
        self.show_versions()

    def show_versions(self) -> None:
        """Draw the text, and under it which version it is."""
        versions = self.versions_text
        lines = [Content(self._text), *([Content.styled(versions, "dim")] if versions else [])]
        self.update(Content("\n").join(lines))

    def action_edit(self) -> None:
        """Ask it in other words."""
        if self.message is not None:
            self.post_message(self.EditWanted(self.message))
