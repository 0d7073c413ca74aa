"""One line to type a value into."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from localr1.errors import LocalR1Error
from localr1.printable import printable
from localr1.tui.command import Command, bindings

_COMMANDS = (Command("type.close", "escape", "close", "Close", "Leave it.", palette=False),)
Value = TypeVar("Value")


class TypeValue(ModalScreen[Value | None], Generic[Value]):
    """Asks for a value until it can be understood; None where the user leaves it.

    Args:
        title: What is asked for.
        hint: How it is written.
        understand: Makes the value of what was typed; raises LocalR1Error.
        value: What stands there at first.
    """

    DEFAULT_CSS = """
    TypeValue { align: center middle; }
    TypeValue > Vertical {
        width: 64;
        max-width: 92%;
        height: auto;
        padding: 1 2;
        border: round $primary;
        background: $surface;
    }
    TypeValue Input { padding: 0 1; }
    TypeValue .hint { height: auto; margin: 1 0 0 0; color: $text-muted; }
    TypeValue .problem { height: auto; color: $warning; display: none; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(
        self, title: str, hint: str, understand: Callable[[str], Value], value: str = ""
    ) -> None:
        super().__init__()
        self._title, self._hint, self._understand = title, hint, understand
        self._value = value

    def compose(self) -> ComposeResult:
        """The line, how it is written, and what is wrong with it."""
        with Vertical() as box:
            box.border_title = self._title
            box.border_subtitle = "Enter takes it · Esc leaves it"
            yield Input(self._value, select_on_focus=True, compact=True)
            yield Static(self._hint, classes="hint", markup=False)
            yield Static("", classes="problem", markup=False)

    def on_input_changed(self) -> None:
        """What was wrong is being mended."""
        self.query_one(".problem").display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it, or say what is wrong."""
        event.stop()
        try:
            value = self._understand(event.value)
        except LocalR1Error as error:
            problem = self.query_one(".problem", Static)
            problem.update(printable(" ".join(p for p in (error.what, error.why, error.todo) if p)))
            problem.display = True
        else:
            self.dismiss(value)

    def action_close(self) -> None:
        """Leave it as it is."""
        self.dismiss(None)
