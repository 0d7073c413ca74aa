"""Notes: failures and news as part of the page, with what happened, why, and what to do."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, Static

from localr1.chat.types import LoopNotice
from localr1.errors import LocalR1Error
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.command import ANSWER_NOW


class Note(Vertical, can_focus=False):
    """What happened, why, and what to do.

    Args:
        what: One sentence.
        why: The reason; may be empty.
        todo: The next step; may be empty.
        severity: `error`, `warning` or `info`; decides the colour of the bar.
    """

    DEFAULT_CSS = """
    Note {
        height: auto;
        margin: 0 0 1 0;
        padding: 0 1;
        border-left: outer $primary;
        background: $surface;
    }
    Note.error { border-left: outer $error; }
    Note.warning { border-left: outer $warning; }
    Note > Static { height: auto; }
    Note > .what { text-style: bold; }
    Note > .why { color: $text-muted; }
    Note > .todo { color: $text; }
    """

    def __init__(self, what: str, why: str = "", todo: str = "", severity: str = "info") -> None:
        super().__init__(classes=severity)
        self.what, self.why, self.todo = printable(what), printable(why), printable(todo)

    @classmethod
    def of(cls, error: LocalR1Error) -> Note:
        """A note about an error."""
        return cls(error.what, error.why, error.todo, "error")

    def compose(self) -> ComposeResult:
        """The sentences that there are."""
        yield Static(self.what, classes="what", markup=False)
        if self.why:
            yield Static(self.why, classes="why", markup=False)
        if self.todo:
            yield Static(self.todo, classes="todo", markup=False)


class StepNote(Note):
    """What gave way so that a model loads; the next load begins without it.

    Args:
        words: One sentence.
    """

    DEFAULT_CSS = """
    StepNote { border-left: outer $accent; }
    StepNote > .what { text-style: none; }
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)


class ActionNote(Note):
    """A note with a button.

    Args:
        what: One sentence.
        why: The reason; may be empty.
        todo: The next step; may be empty.
        severity: As for `Note`.
        label: What the button says.
        hint: Which keys do the same.
    """

    DEFAULT_CSS = """
    ActionNote > Horizontal { height: 1; margin: 1 0 0 0; }
    ActionNote Button { height: 1; min-width: 8; border: none; padding: 0 1; }
    ActionNote Button:focus { text-style: bold; background: $primary; color: $background; }
    ActionNote .hint { width: auto; color: $text-muted; padding: 0 1; }
    """

    class Wanted(Message):
        """The note's button was pressed."""

    def __init__(  # noqa: PLR0913  # a note's words, and the button's
        self, what: str, why: str, todo: str, severity: str, *, label: str, hint: str
    ) -> None:
        super().__init__(what, why, todo, severity)
        self._label, self._hint = label, hint

    def compose(self) -> ComposeResult:
        """The sentences, and a button under them."""
        yield from super().compose()
        with Horizontal():
            yield Button(self._label, variant="primary", compact=True)
            yield Static(self._hint, classes="hint", markup=False)

    def action_act(self) -> None:
        """Tell the screen, once."""
        button = self.query_one(Button)
        if not button.disabled:
            button.disabled = True
            self.post_message(self.Wanted())

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The same by mouse or Enter."""
        event.stop()
        self.action_act()


class RestartNote(ActionNote):
    """Offers to load the model; the focus stays with the prompt, so that typing goes there.

    Args:
        error: What happened, why, and what to do.
        severity: As for `Note`.
        label: What the button says.
        hint: Which keys do the same.
    """

    class Wanted(ActionNote.Wanted):
        """The model is to be loaded."""

    def __init__(self, error: LocalR1Error, severity: str, label: str, hint: str) -> None:
        super().__init__(error.what, error.why, error.todo, severity, label=label, hint=hint)


class LoopNote(ActionNote):
    """Says that the thinking goes round in circles, and offers the answer.

    Args:
        notice: What was noticed.
    """

    DEFAULT_CSS = """
    LoopNote > Horizontal { margin: 0; }
    LoopNote > .what { text-style: none; }
    """

    class Wanted(ActionNote.Wanted):
        """The thinking is to end."""

    def __init__(self, notice: LoopNotice, keys: str = ANSWER_NOW.keys_text) -> None:
        super().__init__(
            loop_words(notice),
            "",
            "",
            "warning",
            label=ANSWER_NOW.label,
            hint=f"{keys} ends the thinking",
        )

    def tell(self, notice: LoopNotice) -> None:
        """Say what was noticed since."""
        self.query_one(".what", Static).update(loop_words(notice))


def loop_words(notice: LoopNotice) -> str:
    """What the user is told of a loop."""
    times = f"{wording.count(notice.repeats)} times"
    what = f"the same words {times} over" if notice.kind == "cycle" else f"a paragraph came {times}"
    return f"The thinking goes round in circles: {what}."
