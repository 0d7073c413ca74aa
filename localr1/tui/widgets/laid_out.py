"""Widgets whose new size asks for nothing more: of what a reply streams into, each drawing is one."""

from __future__ import annotations

from typing import Final

from textual.containers import Vertical
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Markdown

_RULE: Final = Markdown.BLOCKS["hr"]


class LaidOutOnce:
    """A widget that takes the size which a layout found for it.

    Textual's own asks for another layout of the whole screen then, and for another drawing,
    which find the same: a widget around others grows because they did.
    """

    virtual_size = reactive(Size(0, 0), layout=False, repaint=False)


def look_of(block: Widget) -> object:
    """What a block of Markdown shows; blocks of the same look need no drawing in each other's place.

    Returns:
        None where that cannot be told: it is like nothing.
    """
    look: object = getattr(block, "look", "" if isinstance(block, _RULE) else None)
    return None if look is None else (type(block), look)


class Column(LaidOutOnce, Vertical):
    """One below the other, as high as they are."""

    DEFAULT_CSS = """
    Column { height: auto; }
    """
