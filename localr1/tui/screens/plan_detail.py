"""One plan in full: times, memory, every reason, the full R1 beside it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from localr1.tui.advice_command import PLAN
from localr1.tui.advice_row import AdviceRow
from localr1.tui.command import bindings
from localr1.tui.plan_words import View, heading, sections

_MOST_CELLS = 110


class PlanDetail(Screen[bool]):
    """Tells all of a plan; gives back whether it is to be taken.

    Args:
        row: The plan.
        view: What it is told against.
    """

    DEFAULT_CSS = """
    PlanDetail { background: $background; }
    PlanDetail > VerticalScroll { padding: 0 3; scrollbar-size-vertical: 1; }
    PlanDetail .heading { height: auto; }
    PlanDetail .title { height: 1; margin: 1 0 0 0; text-style: bold; color: $accent; }
    PlanDetail .body { height: auto; padding: 0 0 0 2; }
    PlanDetail Footer { dock: bottom; }
    """

    COMMANDS_SHOWN = PLAN
    HELP_TITLE = "This plan"
    BINDINGS: ClassVar[list[BindingType]] = bindings(PLAN)

    def __init__(self, row: AdviceRow, view: View) -> None:
        super().__init__()
        self._row, self._view = row, view
        self._bodies: list[Static] = []

    def compose(self) -> ComposeResult:
        """Heading and sections; the bars are drawn again when the width is known."""
        with VerticalScroll():
            yield Static(heading(self._row, self._view), classes="heading", markup=False)
            for section in sections(self._row, self._view, self._width):
                if section.title:
                    yield Static(section.title, classes="title", markup=False)
                body = Static(section.body, classes="body", markup=False)
                self._bodies.append(body)
                yield body
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """The keys scroll."""
        self.query_one(VerticalScroll).focus()

    def on_resize(self, _event: events.Resize) -> None:
        """Fit bars and points to the new width, when it has been laid out."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        parts = sections(self._row, self._view, self._width)
        for body, section in zip(self._bodies, parts, strict=True):
            body.update(section.body)

    @property
    def _width(self) -> int:
        # Padding on both sides, the scrollbar, and the indent of a body.
        return min(_MOST_CELLS, max(20, self.app.size.width - 9))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A machine that is not there loads nothing."""
        if action == "take":
            return not self._view.scenario.elsewhere
        return super().check_action(action, parameters)

    def action_take(self) -> None:
        """Load it, or download it first."""
        self.dismiss(True)

    def action_close(self) -> None:
        """Back to the list."""
        self.dismiss(False)
