"""What fills the context window, and what can be done when it is full, with what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localr1.chat.budget import answer_reserve, left_out_words
from localr1.fit import time_words
from localr1.fit.types import Plan
from localr1.tui import wording
from localr1.tui.command import Command, bindings
from localr1.tui.widgets.status_line import Status, gauge_content

_COMMANDS = (Command("context.close", "escape,f5", "close", "Close", "Leave it.", palette=False),)
_CELLS = 40
Way = Literal["leave_out", "always", "ask", "summarise", "window", "from_here"]


@dataclass(frozen=True)
class Choice:
    """Something that can be done."""

    way: Way
    label: str
    cost: str
    """What it costs, in a sentence."""
    possible: bool = True
    context_window: int = 0
    """With `window`: how many tokens it would hold."""


def choices(  # noqa: PLR0913 - what is not plain is by keyword
    status: Status,
    prompt_tps: float,
    now: Plan | None,
    bigger: Plan | None,
    *,
    said: bool,
    leaving_out: int = 0,
    unasked: bool = False,
) -> tuple[Choice, ...]:
    """What can be done, with its cost; a pure function.

    Args:
        status: What fills the window.
        prompt_tps: How fast the model reads; 0 where that is not known.
        now: How the model is loaded; None where it is not.
        bigger: The same with a larger window; None where the model knows no larger one.
        said: Whether there is an exchange to go on from.
        leaving_out: How many messages a question that waits leaves no room for; 0 for none.
        unasked: Whether the user has chosen that the oldest are left out without asking.
    """
    history = status.context_used - status.thinking_tokens - status.answer_tokens
    found = [
        *_leaving(leaving_out, unasked=unasked),
        Choice(
            "summarise",
            "Let the model summarise, and go on in a new conversation",
            f"It reads {_read_words(history, prompt_tps)} and writes a page. What it leaves out, "
            "the new conversation does not know; this one stays.",
            possible=said,
        ),
        Choice(
            "from_here",
            "A new conversation from here",
            "It begins with your last question and its answer, and knows nothing of what was "
            "before; this one stays.",
            possible=said,
        ),
    ]
    window = bigger.settings.context_window if bigger is not None else 0
    if bigger is not None and now is not None and window > status.context_window:
        more = max(0, bigger.total_bytes - now.total_bytes)
        words = f"+{wording.size(more)} of memory"
        again = f"the model is loaded again and reads {_read_words(history, prompt_tps)}"
        reason = bigger.would_fit_if[0] if bigger.would_fit_if else "it does not fit"
        found.insert(
            -1,
            Choice(
                "window",
                f"A window of {wording.short_count(window)} tokens",
                f"{words}: it fits; {again}."
                if bigger.fits
                else f"{words}: that does not fit here. It would, if {reason}.",
                possible=bigger.fits,
                context_window=window,
            ),
        )
    return tuple(found)


def _leaving(messages: int, *, unasked: bool) -> list[Choice]:
    """The choices about the oldest messages."""
    stay = "They stay on the screen and in the search; the model no longer knows them."
    if unasked:
        words = "Now the oldest are left out without asking, and you are told."
        return [Choice("ask", "Ask before messages are left out", words)]
    always = Choice(
        "always",
        "Leave out the oldest from now on, in this conversation",
        "You are told each time, and not asked again."
        if messages
        else f"Else you are asked. {stay}",
    )
    if not messages:
        return [always]
    return [Choice("leave_out", f"Leave out the {messages} oldest messages", stay), always]


def parts_content(status: Status, left_out_messages: int) -> Content:
    """The window's parts in words."""
    window = status.context_window
    history = status.context_used - status.thinking_tokens - status.answer_tokens
    kept = min(answer_reserve(window), window - status.context_used)
    free = max(0, window - status.context_used - kept)
    rows = [
        ("━", "$primary", history, "the conversation so far"),
        ("╍", "$accent", status.thinking_tokens, "thinking now; it leaves the window afterwards"),
        ("━", "$success", status.answer_tokens, "the answer so far"),
        ("─", "dim", free, "free"),
        ("╌", "$secondary", kept, "kept for the answer: thinking ends before it"),
    ]
    lines = [gauge_content(status, _CELLS)]
    for sign, style, tokens, words in rows:
        share = f"{100 * tokens / window:3.0f} %" if window else ""
        lines.append(
            Content.assemble(
                (sign, style), f" {wording.count(tokens):>8} ", (f"{share}  {words}", "dim")
            )
        )
    if left_out_messages:
        lines += [Content(""), Content(f"{left_out_words(left_out_messages)}. Nothing is deleted.")]
    return Content("\n").join(lines)


class ContextWindow(ModalScreen[Choice | None]):
    """The window's parts, and the choices; None where the user leaves it.

    Args:
        status: What fills the window.
        left_out_messages: Of the oldest, those that were not sent lately.
        offered: What can be done.
        leaving_out: How many messages a question that waits leaves no room for; 0 for none.
    """

    DEFAULT_CSS = """
    ContextWindow { align: center middle; }
    ContextWindow > VerticalScroll {
        width: 76;
        max-width: 96%;
        height: auto;
        max-height: 96%;
        padding: 0 2;
        border: round $primary;
        background: $surface;
        scrollbar-size-vertical: 1;
    }
    ContextWindow Static { height: auto; }
    ContextWindow .title { text-style: bold; color: $accent; }
    ContextWindow OptionList { height: auto; max-height: 100%; }
    ContextWindow OptionList, ContextWindow OptionList:focus {
        border: none;
        padding: 0;
        background: $surface;
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(
        self,
        status: Status,
        left_out_messages: int,
        offered: Sequence[Choice],
        leaving_out: int = 0,
    ) -> None:
        super().__init__()
        self._leaving_out = leaving_out
        self._status, self._left_out_messages, self._offered = status, left_out_messages, offered

    def compose(self) -> ComposeResult:
        """The parts, and what can be done."""
        with VerticalScroll() as box:
            box.can_focus = False
            window = wording.count(self._status.context_window)
            box.border_title = f"Context window: {window} tokens"
            box.border_subtitle = (
                "Enter takes it · Esc does not ask yet"
                if self._leaving_out
                else "Enter takes it · Esc leaves it"
            )
            yield Static(parts_content(self._status, self._left_out_messages), markup=False)
            title = (
                f"Your question needs the room of the {self._leaving_out} oldest messages"
                if self._leaving_out
                else "When it is full"
            )
            yield Static(title, classes="title", markup=False)
            yield OptionList(*(self._option(each) for each in self._offered), markup=False)

    def on_mount(self) -> None:
        """The choices have the keyboard."""
        options = self.query_one(OptionList)
        options.focus()
        if self._leaving_out:
            # A second Enter behind the question, pressed a moment too late, chooses nothing.
            options.highlighted = None

    @staticmethod
    def _option(choice: Choice) -> Option:
        text = Content.assemble(choice.label, "\n", (choice.cost, "dim"))
        return Option(text, disabled=not choice.possible)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take it."""
        event.stop()
        self.dismiss(self._offered[event.option_index])

    def action_close(self) -> None:
        """Leave it."""
        self.dismiss(None)


def _read_words(tokens: int, prompt_tps: float) -> str:
    text = wording.plural(tokens, "token")
    if prompt_tps <= 0:
        return text
    return f"{text} (about {time_words.rough_duration(tokens / prompt_tps)})"
