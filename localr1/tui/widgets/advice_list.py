"""The ranked list of models, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localr1.fit import time_words
from localr1.fit.explain import brief
from localr1.fit.types import Plan
from localr1.printable import one_line
from localr1.tui import wording
from localr1.tui.advice_row import AdviceRow
from localr1.tui.plan_words import star


@dataclass(frozen=True)
class Column:
    """A column of the list."""

    title: str
    cells: int
    from_width: int = 0
    """The list's width from which the column is shown."""
    right: bool = True


_COLUMNS = (
    Column("", 2, right=False),
    Column("MODEL", 21, right=False),
    Column("VARIANT", 10, from_width=55, right=False),
    Column("ANSWER IN", 13),
    Column("NEEDS", 9, from_width=45),
    Column("TOK/S", 7, from_width=62),
    Column("", 9, from_width=71, right=False),
    Column("WHY", 0, from_width=95, right=False),
)
_MARK, _MODEL, _VARIANT, _ANSWER, _NEEDS, _SPEED, _HERE, _WHY = range(len(_COLUMNS))


def header_content(width: int) -> Content:
    """The line above the list."""
    return Content.styled(_line([column.title for column in _COLUMNS], width), "dim")


def row_content(row: AdviceRow, width: int) -> Content:
    """One line of the list; the time to an answer has a star where it rests on an assumption.

    Args:
        row: What it shows.
        width: Cells.
    """
    plan = row.plan
    name = "Demonstration" if row.model.demo else wording.short_name(row.model.name)
    cells = [
        "●" if plan.fits else "○",
        one_line(name, 20),
        one_line(row.variant.quantization, 10),
        _answer_time(plan),
        wording.size(plan.total_bytes),
        f"~{wording.speed(plan.generation_tps.expected)}" if plan.fits else "-",
        "  here" if row.local is not None else "  " + ("" if plan.fits else "too big"),
        "  " + _why(plan, width - _offset(_WHY, width) - 2),
    ]
    line = Content(_line(cells, width))
    if not plan.fits:
        return line.stylize("dim")
    line = line.stylize("$success", 0, 1)
    answer = _offset(_ANSWER, width)
    line = line.stylize("bold", answer, answer + _COLUMNS[_ANSWER].cells)
    if row.local is not None and _HERE in _shown(width):
        line = line.stylize("$accent", _offset(_HERE, width), _offset(_WHY, width))
    return line.stylize("dim", _offset(_WHY, width))


def _why(plan: Plan, room: int) -> str:
    return one_line(brief(plan), room) if room >= 10 else ""


def _answer_time(plan: Plan) -> str:
    if not plan.fits:
        return "-"
    return time_words.short_time_range(plan.time_to_answer.typical) + (star(plan) or " ")


def _shown(width: int) -> list[int]:
    return [n for n, column in enumerate(_COLUMNS) if width >= column.from_width]


def _offset(column: int, width: int) -> int:
    return sum(_COLUMNS[n].cells for n in _shown(width) if n < column)


def _line(cells: Sequence[str], width: int) -> str:
    parts = []
    for number in _shown(width):
        column = _COLUMNS[number]
        text = cells[number]
        parts.append(text.rjust(column.cells) if column.right else text.ljust(column.cells))
    return "".join(parts)


class AdviceList(Vertical):
    """The list and its header."""

    DEFAULT_CSS = """
    AdviceList { height: 1fr; min-height: 4; margin: 0 1; padding: 0 1; }
    AdviceList > Static { height: 1; padding: 0; text-wrap: nowrap; }
    AdviceList > OptionList {
        height: 1fr;
        border: none;
        padding: 0;
        background: $background;
        scrollbar-size-vertical: 1;
        text-wrap: nowrap;
    }
    AdviceList > OptionList:focus { border: none; background-tint: $background 0%; }
    """

    class Highlighted(Message):
        """The cursor is on another row."""

        def __init__(self, row: AdviceRow) -> None:
            super().__init__()
            self.row = row

    class Chosen(Message):
        """Enter or a click on a row."""

        def __init__(self, row: AdviceRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self) -> None:
        super().__init__(id="advice")
        self._rows: tuple[AdviceRow, ...] = ()
        self._header = Static("", markup=False)
        self._list = OptionList()

    def compose(self) -> ComposeResult:
        """Header and list."""
        yield self._header
        yield self._list

    @property
    def highlighted(self) -> AdviceRow | None:
        """The row under the cursor."""
        at = self._list.highlighted
        return self._rows[at] if at is not None and at < len(self._rows) else None

    def show(self, rows: tuple[AdviceRow, ...], at: AdviceRow | None) -> None:
        """Replace the rows.

        Args:
            rows: Best first.
            at: Where the cursor goes; None leaves it on the model where it is.
        """
        wanted = at or self.highlighted
        self._rows = rows
        self._draw(wanted)

    def focus(self, scroll_visible: bool = True) -> AdviceList:
        """Focus the list."""
        self._list.focus(scroll_visible)
        return self

    def _draw(self, wanted: AdviceRow | None) -> None:
        # One cell of padding on each side of an option, and the scrollbar.
        width = max(20, (self.size.width or self.app.size.width - 4) - 5)
        self._header.update(header_content(width))
        self._list.clear_options()
        self._list.add_options([Option(row_content(row, width)) for row in self._rows])
        if self._rows:
            self._list.highlighted = self._place_of(wanted)

    def _place_of(self, wanted: AdviceRow | None) -> int:
        """Where a row is now, or the first one of its model, or else the top."""
        if wanted is None:
            return 0
        keys = [row.key for row in self._rows]
        if wanted.key in keys:
            return keys.index(wanted.key)
        models = [row.model.id for row in self._rows]
        return models.index(wanted.model.id) if wanted.model.id in models else 0

    def on_resize(self, _event: events.Resize) -> None:
        """Show the columns that the new width has room for."""
        self._draw(self.highlighted)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Pass the row up."""
        event.stop()
        if (row := self.highlighted) is not None:
            self.post_message(self.Highlighted(row))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Pass the row up."""
        event.stop()
        self.post_message(self.Chosen(self._rows[event.option_index]))
