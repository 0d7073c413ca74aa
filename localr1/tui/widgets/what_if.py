"""What the advice is asked for, one row each: goal, context, KV cache, memory, graphics card."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from localr1.machine.types import Machine
from localr1.printable import one_line
from localr1.tui.advice_command import WHAT_IF
from localr1.tui.command import bindings
from localr1.tui.scenario import FIELDS, LABELS, TYPED, Field, Scenario, moved, options, position

_LABEL_CELLS = 11
_MARK_CELLS = 2
_MOST_VALUE_CELLS = 26


class WhatIf(Static, can_focus=True):
    """The choices; the advice is for what they say.

    Args:
        scenario: What is chosen at first.
        standard_context: The context of the user's settings; 0 where they have none.
    """

    DEFAULT_CSS = """
    WhatIf {
        height: auto;
        padding: 0 1;
        margin: 0 1;
        border: round $border-blurred;
        border-title-color: $text-muted;
        border-title-background: $background;
        border-subtitle-color: $text-muted;
        border-subtitle-background: $background;
        text-wrap: nowrap;
    }
    WhatIf:focus { border: round $primary; }
    WhatIf.-elsewhere { border: round $warning; border-title-color: $warning; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(WHAT_IF)

    cursor: reactive[int] = reactive(0)

    class Changed(Message):
        """Something else is asked for."""

        def __init__(self, scenario: Scenario) -> None:
            super().__init__()
            self.scenario = scenario

    class Wanted(Message):
        """A row's value is to be typed."""

        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field

    class Left(Message):
        """The user is done here."""

    def __init__(self, scenario: Scenario, standard_context: int = 0) -> None:
        super().__init__("", markup=False, id="what-if")
        self._scenario = scenario
        self._standard_context = standard_context
        self._machine: Machine | None = None

    def show(self, scenario: Scenario, machine: Machine | None) -> None:
        """Draw what is asked for.

        Args:
            scenario: The choices.
            machine: This one, for what it has itself; None while it is being examined.
        """
        self._scenario, self._machine = scenario, machine
        self._draw()

    @property
    def field(self) -> Field:
        """The row under the cursor."""
        return FIELDS[self.cursor]

    def on_mount(self) -> None:
        """Something is there from the first frame on."""
        self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the rows to the new width."""
        self._draw()

    def on_focus(self) -> None:
        """The cursor shows where the keys go."""
        self._draw()

    def on_blur(self) -> None:
        """There is no cursor where no keys go."""
        self._draw()

    def watch_cursor(self, before: int, now: int) -> None:
        """Another row."""
        self._draw()
        if (FIELDS[before] in TYPED) != (FIELDS[now] in TYPED):
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only some rows can be typed."""
        if action == "type":
            return self.field in TYPED
        return super().check_action(action, parameters)

    def action_row(self, by: int) -> None:
        """Another row."""
        self.cursor = min(max(self.cursor + by, 0), len(FIELDS) - 1)

    def action_change(self, by: int) -> None:
        """Another value."""
        self._change(moved(self._scenario, self.field, by, self._machine))

    def action_type(self) -> None:
        """A value of one's own."""
        self.post_message(self.Wanted(self.field))

    def action_leave(self) -> None:
        """Back to the list."""
        self.post_message(self.Left())

    def on_click(self, event: events.Click) -> None:
        """A row's arrows change it; the rest of the row is where the cursor goes."""
        offset = event.get_content_offset(self)
        if offset is None or not 0 <= offset.y < len(FIELDS):
            return
        self.cursor = offset.y
        left = _MARK_CELLS + _LABEL_CELLS
        if left <= offset.x <= left + 1:
            self.action_change(-1)
        elif offset.x >= left + self._value_cells + 2:
            self.action_change(1)

    def _change(self, scenario: Scenario) -> None:
        if scenario != self._scenario:
            self._scenario = scenario
            self._draw()
            self.post_message(self.Changed(scenario))

    @property
    def _value_cells(self) -> int:
        # Margins, border, padding, and the arrows.
        width = self.app.size.width - 6 - _MARK_CELLS - _LABEL_CELLS - 4
        return max(4, min(_MOST_VALUE_CELLS, width))

    def _draw(self) -> None:
        elsewhere = self._scenario.elsewhere
        self.border_title = "What if: not this machine" if elsewhere else "What if"
        self.set_class(elsewhere, "-elsewhere")
        self.update(Content("\n").join(self._row(field) for field in FIELDS))

    def _row(self, field: Field) -> Content:
        scenario = self._scenario
        choices = options(field, scenario, self._machine, self._standard_context)
        at = position(choices, scenario, field)
        here = self.has_focus and field == self.field
        own = field != "goal" and choices[at].value is not None
        style = "$warning bold" if own and field in {"ram_bytes", "gpu"} else "bold" if own else ""
        text = one_line(choices[at].text, self._value_cells).ljust(self._value_cells)
        line = Content.assemble(
            ("> " if here else "  ", "$primary bold"),
            (LABELS[field].ljust(_LABEL_CELLS), "dim"),
            ("◂ ", "$primary" if at else "$border-blurred"),
            (text, style),
            (" ▸", "$primary" if at < len(choices) - 1 else "$border-blurred"),
        )
        return line.stylize_before("on $block-cursor-background") if here else line
