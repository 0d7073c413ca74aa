"""Bars: how far a load or a download is."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.widgets import Static

from localr1.tui import wording


class Bar(Static):
    """A bar as wide as its place."""

    DEFAULT_CSS = """
    Bar { height: 1; width: 1fr; text-wrap: nowrap; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._fraction = 0.0

    def show(self, fraction: float) -> None:
        """Draw a share from 0 to 1."""
        self._fraction = fraction
        self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the new width."""
        self._draw()

    def _draw(self) -> None:
        filled, empty = wording.gauge(self._fraction, max(1, self.content_size.width))
        self.update(
            Content.assemble((filled, "$primary"), (empty, "$border-blurred")), layout=False
        )


class LoadLine(Static):
    """One line above the prompt while a model is loaded."""

    DEFAULT_CSS = """
    LoadLine { height: 1; padding: 0 2; color: $text-muted; text-wrap: nowrap; display: none; }
    LoadLine.busy { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="load")

    def show(self, text: str, fraction: float) -> None:
        """Draw how far the load is."""
        filled, empty = wording.gauge(fraction, 20)
        self.add_class("busy")
        self.update(
            Content.assemble(
                f"{text} ", (filled, "$primary"), (empty, "$border-blurred"), f" {fraction:.0%}"
            ),
            layout=False,
        )

    def hide(self) -> None:
        """The load is over."""
        self.remove_class("busy")
