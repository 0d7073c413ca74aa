"""Two replies to one question, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from localr1.chat.types import Message, ReplyStats
from localr1.printable import one_line
from localr1.tui import wording
from localr1.tui.command import Command, bindings
from localr1.tui.reply_words import figures_text, thought_text
from localr1.tui.widgets.answer import Answer, Section

_COMMANDS = (
    Command("compare.close", "escape,q,enter", "close", "Close", "Go back.", palette=False),
)


class Compare(ModalScreen[None]):
    """Shows two replies beside each other, each with its model, thinking time and speed.

    Args:
        replies: The two, the earlier one first.
        names: Models' names by their ids.
    """

    DEFAULT_CSS = """
    Compare { align: center middle; }
    Compare > Vertical {
        width: 96%;
        height: 96%;
        padding: 0 1;
        border: round $primary;
        background: $background;
    }
    Compare Horizontal { height: 1fr; }
    Compare .column { width: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    Compare .second { border-left: solid $border-blurred; }
    Compare Static { height: auto; }
    Compare .model { text-style: bold; }
    Compare .figures { color: $text-muted; margin: 0 0 1 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, replies: tuple[Message, Message], names: Mapping[str, str]) -> None:
        super().__init__()
        self._replies, self._names = replies, names

    def compose(self) -> ComposeResult:
        """Two columns."""
        with Vertical() as box:
            box.border_title = "Side by side"
            box.border_subtitle = "Tab and the arrows scroll · Esc closes"
            with Horizontal():
                for number, reply in enumerate(self._replies):
                    with VerticalScroll(classes="second column" if number else "column"):
                        stats = reply.stats or ReplyStats()
                        yield Static(self._model_name(stats), classes="model", markup=False)
                        figures = f"{thought_text(stats)}\n{figures_text(stats)}"
                        yield Static(figures, classes="figures", markup=False)
                        yield Answer(reply.text or "no answer")

    def _model_name(self, stats: ReplyStats) -> str:
        name = self._names.get(stats.model_id, stats.model_id)
        return one_line(wording.short_name(name), 60) or "unknown model"

    async def on_mount(self) -> None:
        """The first column has the arrows; nothing here waits to come near the view."""
        self.query(VerticalScroll).first().focus()
        for section in self.query(Section):
            await section.wake()

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
