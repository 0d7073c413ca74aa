"""Which other model is to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localr1.models.types import LocalModel
from localr1.printable import one_line
from localr1.tui import wording
from localr1.tui.command import Command, bindings
from localr1.tui.keymap import key

_COMMANDS = (Command("pick.close", "escape", "close", "Close", "Leave it.", palette=False),)


class PickModel(ModalScreen[LocalModel | None]):
    """Asks for one of the models on this disk; None where the user leaves it.

    Args:
        models: Those to choose from; at least one.
    """

    DEFAULT_CSS = """
    PickModel { align: center middle; }
    PickModel > Vertical {
        width: 64;
        max-width: 92%;
        height: auto;
        max-height: 92%;
        padding: 1 2;
        border: round $primary;
        background: $surface;
    }
    PickModel OptionList { height: auto; max-height: 12; }
    PickModel OptionList, PickModel OptionList:focus {
        border: none;
        padding: 0;
        background: $surface;
    }
    PickModel .hint { height: auto; margin: 1 0 0 0; color: $text-muted; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, models: Sequence[LocalModel]) -> None:
        super().__init__()
        self._models = tuple(models)

    def compose(self) -> ComposeResult:
        """The models, and what happens then."""
        with Vertical() as box:
            box.border_title = "Let another model answer too"
            box.border_subtitle = "Enter takes it · Esc leaves it"
            yield OptionList(*(Option(self._line(each)) for each in self._models), markup=False)
            yield Static(
                f"It takes the place of the loaded model, which {key(self.app, 'chat.models')} "
                "brings back. Both replies stay, "
                "as versions of each other.",
                classes="hint",
                markup=False,
            )

    @staticmethod
    def _line(local: LocalModel) -> str:
        name = one_line(wording.short_name(local.model.name), 40)
        return f"{name} {one_line(local.variant.quantization, 12)}"

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take it."""
        event.stop()
        self.dismiss(self._models[event.option_index])

    def action_close(self) -> None:
        """Leave it."""
        self.dismiss(None)
