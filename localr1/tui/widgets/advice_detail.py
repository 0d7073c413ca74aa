"""Why a model is recommended or does not fit, and what choosing it does."""

from __future__ import annotations

from textual import events
from textual.widgets import Static

from localr1.tui.advice_row import AdviceRow
from localr1.tui.plan_words import View, short


class AdviceDetail(Static):
    """The text under the list."""

    DEFAULT_CSS = """
    AdviceDetail {
        height: auto;
        min-height: 5;
        max-height: 40%;
        overflow-y: auto;
        margin: 0 1;
        padding: 0 1;
        border-top: solid $border-blurred;
        scrollbar-size-vertical: 1;
    }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="detail")
        self._told: tuple[AdviceRow, View] | None = None

    @property
    def row(self) -> AdviceRow | None:
        """What is told about; None before there is anything."""
        return self._told[0] if self._told else None

    def show(self, row: AdviceRow, view: View) -> None:
        """Tell about a row."""
        self._told = (row, view)
        self._draw()
        self.scroll_home(animate=False)

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the bars to the new width, when it has been laid out."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if self._told is not None:
            # The scrollbar may come and go; its cell is left free.
            width = max(20, (self.content_size.width or self.app.size.width - 4) - 1)
            self.update(short(*self._told, width))
