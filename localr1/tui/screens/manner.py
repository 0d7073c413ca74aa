"""How one conversation is held: kind of work, system prompt, sampling, seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Select, Static

from localr1.chat.manner import PRESETS, SYSTEM_REASON, Manner
from localr1.errors import UsageError
from localr1.models.types import Model
from localr1.tui.command import Command, bindings

_COMMANDS = (
    Command("manner.take", "ctrl+s", "take", "Take it", "Hold the conversation so.",
            palette=False, priority=True),
    Command("manner.close", "escape", "close", "Close", "Leave it as it is.", palette=False),
)  # fmt: skip
_Value = TypeVar("_Value", int, float)


class MannerForm(ModalScreen[Manner | None]):
    """Asks how the conversation is to be held; None where the user leaves it.

    Args:
        manner: As it is held now.
        model: The model that replies.
    """

    DEFAULT_CSS = """
    MannerForm { align: center middle; }
    MannerForm > VerticalScroll {
        width: 76;
        max-width: 96%;
        height: auto;
        max-height: 96%;
        padding: 1 2;
        border: round $primary;
        background: $surface;
        scrollbar-size-vertical: 1;
    }
    MannerForm Horizontal { height: auto; margin: 0 0 1 0; }
    MannerForm .label { width: 15; color: $text-muted; }
    MannerForm Input { width: 1fr; padding: 0 1; }
    MannerForm Select { width: 1fr; }
    MannerForm .hint { height: auto; color: $text-muted; }
    MannerForm .problem { height: auto; color: $warning; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(_COMMANDS)

    def __init__(self, manner: Manner, model: Model) -> None:
        super().__init__()
        self._manner, self._model = manner, model

    def compose(self) -> ComposeResult:
        """One line for each choice, and what speaks against it."""
        manner, advised = self._manner, self._model.sampling
        with VerticalScroll() as box:
            box.can_focus = False
            box.border_title = "This conversation"
            box.border_subtitle = "Enter or Ctrl+S takes it · Esc leaves it"
            with Horizontal():
                yield Static("Kind of work", classes="label", markup=False)
                yield Select(
                    [(each.label, each.id) for each in PRESETS],
                    value=manner.preset,
                    allow_blank=False,
                    compact=True,
                    id="preset",
                )
            yield from self._line("System prompt", "system", manner.system, "none")
            yield from self._line(
                "Temperature", "temperature", _written(manner.temperature), str(advised.temperature)
            )
            yield from self._line("Top-p", "top_p", _written(manner.top_p), str(advised.top_p))
            yield from self._line(
                "Seed", "seed", _written(manner.seed), "another one for every reply"
            )
            yield Static("", classes="hint", markup=False, id="words")
            yield Static("", classes="problem", markup=False)

    @staticmethod
    def _line(label: str, name: str, value: str, usual: str) -> ComposeResult:
        with Horizontal():
            yield Static(label, classes="label", markup=False)
            yield Input(value, placeholder=usual, id=name, select_on_focus=True, compact=True)

    def on_mount(self) -> None:
        """Say at once what there is to say."""
        self._tell()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what speaks against it."""
        event.stop()
        self._tell()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Show the words that are added."""
        event.stop()
        self._tell()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter takes it."""
        event.stop()
        self.action_take()

    def action_take(self) -> None:
        """Take it, unless something cannot be understood."""
        try:
            manner = self._read()
        except UsageError:
            self._tell()
        else:
            self.dismiss(manner)

    def action_close(self) -> None:
        """Leave it as it is."""
        self.dismiss(None)

    def _read(self) -> Manner:
        """What is in the form.

        Raises:
            UsageError: A number cannot be understood.
        """
        seed = _number("The seed", self._text("seed"), int, 0, 2**31 - 1)
        temperature = _number("The temperature", self._text("temperature"), float, 0, 2)
        top_p = _number("Top-p", self._text("top_p"), float, 0.01, 1)
        return replace(
            self._manner,
            system=self._text("system"),
            preset=str(self.query_one(Select).value),
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )

    def _text(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _tell(self) -> None:
        preset = self.query_one(Select).value
        words = next((each.words for each in PRESETS if each.id == preset), "")
        hint = (
            f"Put behind every question: {words}" if words else "Nothing is put behind questions."
        )
        if not self._model.system_prompt:
            hint = f"{hint}\nNo system prompt by default. {SYSTEM_REASON}"
        self.query_one("#words", Static).update(hint)
        try:
            problems = self._read().warnings(self._model)
        except UsageError as error:
            problems = (f"{error.what} {error.todo}",)
        self.query_one(".problem", Static).update("\n".join(f"! {each}" for each in problems))


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _number(
    name: str, text: str, kind: Callable[[str], _Value], least: float, most: float
) -> _Value | None:
    """What was typed as a number; None for nothing."""
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise UsageError(
            f"{name} cannot be {text}.", "", f"It is a number from {least:g} to {most:g}."
        )
    return value
