"""What the keys do, made from the table of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from localr1.tui.command import Command, bindings

_COMMANDS = (
    Command("help.close", "escape,f1,q,enter", "close", "Close", "Close the help.", palette=False),
)
Section = tuple[str, Sequence[Command]]


class Help(ModalScreen[None]):
    """The keys of the screen below, and those that work everywhere.

    Args:
        sections: A title and its commands each.
    """

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 84;
        max-width: 96%;
        height: auto;
        max-height: 90%;
        padding: 1 2;
        border: round $primary;
        border-title-color: $text;
        background: $surface;
        scrollbar-size-vertical: 1;
    }
    Help .title { height: 1; margin: 1 0 0 0; text-style: bold; color: $accent; }
    Help .first { margin: 0; }
    Help Horizontal { height: auto; }
    Help .keys { width: 25; height: auto; color: $primary; }
    Help .help { width: 1fr; height: auto; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        self._sections = sections

    def compose(self) -> ComposeResult:
        """The text in a box."""
        with VerticalScroll() as box:
            box.border_title = "Keys"
            box.border_subtitle = "Esc closes"
            for number, (title, commands) in enumerate(self._sections):
                yield Static(title, classes="first title" if number == 0 else "title", markup=False)
                for command in commands:
                    if command.keys:
                        with Horizontal():
                            yield Static(command.keys_text, classes="keys", markup=False)
                            yield Static(command.help, classes="help", markup=False)

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
