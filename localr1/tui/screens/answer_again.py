"""How another answer from the same thinking is to be."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localr1.chat.types import Message, ReplyStats
from localr1.fit import time_words
from localr1.tui import wording
from localr1.tui.command import Command, bindings
from localr1.tui.screens.type_value import TypeValue

_COMMANDS = (Command("answer_again.close", "escape", "close", "Close", "Leave it.", palette=False),)
WAYS = (
    ("The same once more", ""),
    ("Shorter", "much shorter"),
    ("Longer, every step explained", "longer, with every step explained"),
    ("In plain words", "in plain words, for someone who knows nothing of the subject"),
    ("In English", "in English"),
    ("In French", "in French"),
    ("In German", "in German"),
    ("In Spanish", "in Spanish"),
    ("In Chinese", "in Chinese"),
    ("As code", "as code"),
    ("As a table", "as a table"),
)
_OTHERWISE = "otherwise"


class AnswerAgainChoice(ModalScreen[str | None]):
    """Asks how to answer again; None where the user leaves it.

    Args:
        reply: Whose thinking it is.
        prompt_tps: How fast the model read lately; 0 where that is not known.
    """

    DEFAULT_CSS = """
    AnswerAgainChoice { align: center middle; }
    AnswerAgainChoice > Vertical {
        width: 60;
        max-width: 92%;
        height: auto;
        max-height: 92%;
        padding: 1 2;
        border: round $primary;
        background: $surface;
    }
    AnswerAgainChoice OptionList { height: auto; max-height: 14; }
    AnswerAgainChoice OptionList, AnswerAgainChoice OptionList:focus {
        border: none;
        padding: 0;
        background: $surface;
    }
    AnswerAgainChoice .hint { height: auto; margin: 1 0 0 0; color: $text-muted; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, reply: Message, prompt_tps: float) -> None:
        super().__init__()
        self._cost = cost_words(reply.stats or ReplyStats(), prompt_tps)

    def compose(self) -> ComposeResult:
        """The ways, and what it costs."""
        with Vertical() as box:
            box.border_title = "Answer again, from the same thinking"
            box.border_subtitle = "Enter takes it · Esc leaves it"
            options = [Option(label, id=str(number)) for number, (label, _) in enumerate(WAYS)]
            yield OptionList(*options, Option("In another way…", id=_OTHERWISE), markup=False)
            yield Static(self._cost, classes="hint", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take it."""
        event.stop()
        if event.option.id == _OTHERWISE:
            self._type()
        else:
            self.dismiss(WAYS[event.option_index][1])

    @work
    async def _type(self) -> None:
        way = await self.app.push_screen_wait(
            TypeValue("Answer again", "How? For example: as a poem, for a child of ten", str.strip)
        )
        if way is not None:
            self.dismiss(way)

    def action_close(self) -> None:
        """Leave it."""
        self.dismiss(None)


def cost_words(stats: ReplyStats, prompt_tps: float) -> str:
    """What it costs to answer from a thinking again.

    Args:
        stats: Of the reply whose thinking it is.
        prompt_tps: How fast the model read lately; 0 where that is not known.
    """
    tokens = wording.plural(stats.thinking_tokens, "token")
    if not stats.thinking_tokens:
        return "Nothing is thought again."
    text = f"Nothing is thought again; the thinking of {tokens} is read"
    if prompt_tps <= 0:
        return f"{text}."
    seconds = time_words.rough_duration(stats.thinking_tokens / prompt_tps)
    saved = ""
    if stats.thinking_seconds:
        saved = f" Thinking anew took {wording.duration(stats.thinking_seconds)}."
    return f"{text}, in about {seconds}.{saved}"
