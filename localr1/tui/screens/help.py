"""What the keys do, made from the table of commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from localr1.tui.command import Command, bindings

_COMMANDS = (
    Command("help.close", "escape,f1,q,enter", "close", "Close", "Close the help.", palette=False),
)
_KEY_CELLS = 22

Section = tuple[str, Sequence[Command]]


def help_content(sections: Sequence[Section]) -> Content:
    """The text of the help.

    Args:
        sections: A title and its commands each.
    """
    lines: list[Content] = []
    for title, commands in sections:
        if lines:
            lines.append(Content(""))
        lines.append(Content.styled(title, "bold $accent"))
        lines.extend(
            Content.assemble((command.keys_text.ljust(_KEY_CELLS), "$primary"), command.help)
            for command in commands
            if command.keys
        )
    return Content("\n").join(lines)


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
    Help Static { height: auto; }
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
            yield Static(help_content(self._sections), markup=False)

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
