"""Widgets whose new size asks for nothing more: of what a reply streams into, each drawing is one."""

from __future__ import annotations

from textual.containers import Vertical
from textual.geometry import Size
from textual.reactive import reactive


class LaidOutOnce:
    """A widget that takes the size which a layout found for it.

    Textual's own asks for another layout of the whole screen then, and for another drawing,
    which find the same: a widget around others grows because they did.
    """

    virtual_size = reactive(Size(0, 0), layout=False, repaint=False)


class Column(LaidOutOnce, Vertical):
    """One below the other, as high as they are."""

    DEFAULT_CSS = """
    Column { height: auto; }
    """
