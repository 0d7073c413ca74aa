"""Letting other programs of this computer use the model that is loaded."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from localr1.errors import LocalR1Error
from localr1.printable import printable
from localr1.tui.command import Command, bindings
from localr1.tui.serving import Serving

_COMMANDS = (
    Command(
        "serve.change", "enter", "change", "Begin or end", "Begin serving, or end it.", shown=True
    ),
    Command("serve.copy", "c", "copy", "Copy the key", "Copy the key.", shown=True),
    Command("serve.close", "escape", "close", "Close", "Go back; serving goes on.", shown=True),
)


class Serve(ModalScreen[None]):
    """Shows whether the model is served, at which address and with which key.

    Args:
        serving: The server in the app.
    """

    DEFAULT_CSS = """
    Serve { align: center middle; }
    Serve > Vertical {
        width: 76;
        max-width: 96%;
        height: auto;
        max-height: 90%;
        padding: 1 2;
        border: round $primary;
        background: $surface;
        overflow-y: auto;
    }
    Serve Static { height: auto; }
    Serve .problem { color: $error; }
    """

    COMMANDS_SHOWN = _COMMANDS
    HELP_TITLE = "Serving the model"
    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self._serving = serving

    def compose(self) -> ComposeResult:
        """What is, and what went wrong."""
        with Vertical() as box:
            box.border_title = "Serve this model"
            yield Static(self._state(), classes="state")
            yield Static(classes="problem")
        yield Footer(show_command_palette=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done now."""
        if action == "copy":
            return self._serving.running
        if action == "change":
            return self._serving.running or self._serving.offered is not None
        return super().check_action(action, parameters)

    def action_change(self) -> None:
        """Begin, or end."""
        self._change()

    def action_copy(self) -> None:
        """Copy the key."""
        self.app.copy_to_clipboard(self._serving.key)
        self.notify("The key is copied.")

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)

    def _state(self) -> Content:
        serving = self._serving
        if serving.running and serving.local is not None:
            return Content.assemble(
                (printable(serving.local.model.name), "bold"),
                " is served to programs on this computer.\n\n",
                ("address  ", "dim"),
                (serving.address, "$accent"),
                "\n",
                ("key      ", "dim"),
                (serving.key, "$accent"),
                "\n",
                ("model    ", "dim"),
                printable(serving.local.model.id),
                "\n\nReplies for them and for you are written by turns. Enter ends it; so does"
                " quitting.",
            )
        local = serving.offered
        if local is None:
            return Content("No model is loaded on this computer. Load one first: F2.")
        return Content.assemble(
            "Editors and scripts on this computer can use ",
            (printable(local.model.name), "bold"),
            " too, by OpenAI's API, as long as the app runs. Replies for them and for you are"
            " written by turns. Nothing outside this computer can reach it.\n\nEnter begins.",
        )

    @work(exclusive=True, group="serve")
    async def _change(self) -> None:
        problem = ""
        try:
            if self._serving.running:
                await self._serving.end()
            else:
                await self._serving.begin()
        except LocalR1Error as error:
            problem = str(error)
        self.query_one(".state", Static).update(self._state())
        self.query_one(".problem", Static).update(Content(printable(problem)))
        self.refresh_bindings()
