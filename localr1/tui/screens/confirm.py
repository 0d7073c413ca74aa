"""A question with yes and no."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from localr1.printable import printable
from localr1.tui.command import Command, bindings

_COMMANDS = (
    Command("confirm.yes", "y", "answer(True)", "Yes", "Do it.", palette=False),
    Command("confirm.no", "n,escape", "answer(False)", "No", "Leave it.", palette=False),
)


class Confirm(ModalScreen[bool]):
    """Asks before something that cannot be taken back; No has the focus.

    Args:
        question: One sentence.
        consequence: What it means; may be empty.
        yes: The label of the button that does it.
    """

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm > Vertical {
        width: 64;
        max-width: 92%;
        height: auto;
        padding: 1 2;
        border: round $warning;
        background: $surface;
    }
    Confirm .question { height: auto; text-style: bold; }
    Confirm .consequence { height: auto; color: $text-muted; margin: 1 0 0 0; }
    Confirm Horizontal { height: 1; margin: 1 0 0 0; align-horizontal: right; }
    Confirm Button { margin: 0 0 0 2; min-width: 10; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, question: str, consequence: str = "", yes: str = "Yes") -> None:
        super().__init__()
        self._question, self._consequence, self._yes = question, consequence, yes

    def compose(self) -> ComposeResult:
        """The question and two buttons."""
        with Vertical():
            yield Static(printable(self._question), classes="question", markup=False)
            if self._consequence:
                yield Static(printable(self._consequence), classes="consequence", markup=False)
            with Horizontal():
                yield Button(f"{self._yes} (y)", variant="warning", id="yes", compact=True)
                yield Button("No (n)", id="no", compact=True)

    def on_mount(self) -> None:
        """Enter alone changes nothing."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button answers."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """A key answers."""
        self.dismiss(answer)
