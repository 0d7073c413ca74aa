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

from localr1.fit.explain import brief
from localr1.fit.types import Plan
from localr1.machine.types import Machine
from localr1.printable import one_line
from localr1.tui import wording
from localr1.tui.advice_row import AdviceRow, free_bytes


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
    Column("MODEL", 24, right=False),
    Column("VARIANT", 9, from_width=44, right=False),
    Column("NEEDS", 9, from_width=35),
    Column("FREE", 9, from_width=77),
    Column("TOK/S", 7, from_width=51),
    Column("ANSWER", 8, from_width=59),
    Column("", 9, from_width=68, right=False),
    Column("WHY", 0, from_width=110, right=False),
)
_MARK, _MODEL, _VARIANT, _NEEDS, _FREE, _SPEED, _ANSWER, _HERE, _WHY = range(len(_COLUMNS))


def header_content(width: int) -> Content:
    """The line above the list."""
    return Content.styled(_line([column.title for column in _COLUMNS], width), "dim")


def row_content(row: AdviceRow, machine: Machine, width: int) -> Content:
    """One line of the list.

    Args:
        row: What it shows.
        machine: For the free memory.
        width: Cells.
    """
    plan = row.plan
    name = "Demonstration" if row.model.demo else wording.short_name(row.model.name)
    cells = [
        "●" if plan.fits else "○",
        one_line(name, 23),
        one_line(row.variant.quantization, 9),
        wording.size(plan.total_bytes),
        wording.size(free_bytes(plan, machine)),
        f"~{wording.speed(plan.generation_tps.expected)}" if plan.fits else "-",
        _answer_time(row),
        "  here" if row.local is not None else "  " + ("" if plan.fits else "too big"),
        "  " + _why(plan, width - _offset(_WHY, width) - 2),
    ]
    line = Content(_line(cells, width))
    if not plan.fits:
        return line.stylize("dim")
    line = line.stylize("$success", 0, 1)
    if row.local is not None and _HERE in _shown(width):
        line = line.stylize("$accent", _offset(_HERE, width), _offset(_WHY, width))
    return line.stylize("dim", _offset(_WHY, width))


def _why(plan: Plan, room: int) -> str:
    return one_line(brief(plan), room) if room >= 10 else ""


def _answer_time(row: AdviceRow) -> str:
    if not row.plan.fits:
        return "-"
    return wording.rough_duration(row.plan.time_to_answer.typical.expected)


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
        self._machine: Machine | None = None
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

    def show(self, rows: tuple[AdviceRow, ...], machine: Machine, at: AdviceRow | None) -> None:
        """Replace the rows.

        Args:
            rows: Best first.
            machine: For the free memory.
            at: Where the cursor goes; None leaves it on the model where it is.
        """
        wanted = at or self.highlighted
        self._rows, self._machine = rows, machine
        self._draw(wanted)

    def focus(self, scroll_visible: bool = True) -> AdviceList:
        """Focus the list."""
        self._list.focus(scroll_visible)
        return self

    def _draw(self, wanted: AdviceRow | None) -> None:
        if self._machine is None:
            return
        # One cell of padding on each side of an option, and the scrollbar.
        width = max(20, (self.size.width or self.app.size.width - 4) - 5)
        self._header.update(header_content(width))
        self._list.clear_options()
        self._list.add_options(
            [Option(row_content(row, self._machine, width)) for row in self._rows]
        )
        keys = [row.key for row in self._rows]
        if wanted is not None and wanted.key in keys:
            self._list.highlighted = keys.index(wanted.key)
        elif self._rows:
            self._list.highlighted = 0

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
