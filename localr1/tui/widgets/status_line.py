"""The line under the prompt: which model, how fast, how much of the context is used."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.widgets import Static

from localr1.chat.budget import answer_reserve
from localr1.tui import wording

_GAUGE_CELLS = 10
_NEARLY_FULL = 0.8
_Part = Content | str | tuple[str, str]
# Told apart without colours too.
_SIGNS = ("━", "╍", "━", "─", "╌")


@dataclass(frozen=True)
class Status:
    """What the line says."""

    model: str = ""
    quantization: str = ""
    state: str = ""
    """`loading 40 %`, `ready`, `stopped`, ..."""
    generation_tps: float = 0.0
    prompt_tps: float = 0.0
    context_used: int = 0
    context_window: int = 0
    context_base: int = 0
    """What the prompt took of the context, while a reply grows on top of it."""
    thinking_tokens: int = 0
    """Of the reply that is being written."""
    answer_tokens: int = 0
    """The same."""
    read_tokens: int = 0
    """Of the prompt, those that are read."""


def status_content(status: Status, width: int, beside: str = "") -> Content:
    """The line in the room that there is; what matters least goes first.

    Args:
        status: What to say.
        width: Cells.
        beside: What goes on beside the chat, a download; may be empty.
    """
    name = wording.short_name(status.model)
    model = (name, "bold") if name else ("", "")
    quantization = (f" {status.quantization}", "dim") if status.quantization else ("", "")
    left: list[_Part] = [model, quantization]
    state = (
        (status.state, "dim" if status.state == "done" else "$accent") if status.state else ("", "")
    )
    speed = (
        (f"{wording.speed(status.generation_tps)} tok/s", "") if status.generation_tps else ("", "")
    )
    prompt = (
        (f"prompt {wording.speed(status.prompt_tps)} tok/s", "dim")
        if status.prompt_tps
        else ("", "")
    )
    coming = (beside, "dim")
    context = _context(status, _GAUGE_CELLS)
    short_context = _context(status, 0)
    attempts: tuple[tuple[list[_Part], list[list[_Part]]], ...] = (
        (left, [[coming], [state], [speed], [prompt], context]),
        (left, [[coming], [state], [speed], context]),
        (left, [[coming], [state], [speed], short_context]),
        (left, [[state], [speed], short_context]),
        (left, [[speed], short_context]),
        ([model], [short_context]),
        ([model], []),
    )
    for begin, groups in attempts:
        right = _joined(groups)
        line = Content.assemble(*begin)
        room = width - line.cell_length - right.cell_length
        if room >= 2:
            return Content.assemble(line, " " * room, right)
    return Content.assemble(model).truncate(width, ellipsis=True)


def gauge_cells(
    history: int, reply: tuple[int, int], kept: int, window: int, cells: int
) -> tuple[int, int, int, int, int]:
    """How many cells each part of the context window has; together they are `cells`.

    What is there has at least one cell, as long as there are enough of them.

    Args:
        history: Tokens of the prompt.
        reply: Tokens of the thinking, and of the answer so far.
        kept: Tokens that thinking leaves to the answer.
        window: Tokens of the whole window.
        cells: All cells.

    Returns:
        Cells of the history, the thinking, the answer so far, what is free, and what is kept.
    """
    left, shares = cells, []
    room = max(0, window - history - sum(reply))
    for tokens in (history, *reply, min(kept, room)):
        wanted = max(1, round(cells * tokens / window)) if tokens > 0 and window > 0 else 0
        shares.append(min(wanted, left))
        left -= shares[-1]
    return shares[0], shares[1], shares[2], left, shares[3]


def gauge_content(status: Status, cells: int) -> Content:
    """The context window as a bar: history, thinking, answer so far, free, kept for the answer."""
    window = status.context_window
    history = status.context_used - status.thinking_tokens - status.answer_tokens
    reply = (status.thinking_tokens, status.answer_tokens)
    shares = gauge_cells(history, reply, answer_reserve(window), window, cells)
    full = window > 0 and status.context_used / window >= _NEARLY_FULL
    used = "$warning" if full else "$primary"
    styles = (used, "$accent", "$success", "dim", "$secondary")
    parts = zip(_SIGNS, shares, styles, strict=True)
    return Content.assemble(*((sign * count, style) for sign, count, style in parts if count))


def _context(status: Status, cells: int) -> list[_Part]:
    if not status.context_window:
        return []
    text = (
        f"{wording.short_count(status.context_used)}/{wording.short_count(status.context_window)}"
    )
    return [gauge_content(status, cells), f" {text}"] if cells else [text]


def _joined(groups: list[list[_Part]]) -> Content:
    full = [
        Content.assemble(*group) for group in groups if any(_is_something(part) for part in group)
    ]
    return Content("  ").join(full)


def _is_something(part: _Part) -> bool:
    return bool(part[0]) if isinstance(part, tuple) else bool(len(part))


class StatusLine(Static):
    """The line; it never changes its size, so drawing it is cheap."""

    DEFAULT_CSS = """
    StatusLine { height: 1; width: 1fr; padding: 0 2; color: $text-muted; text-wrap: nowrap; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="status")
        self._status = Status()
        self._beside = ""

    @property
    def status(self) -> Status:
        """What the line says."""
        return self._status

    @status.setter
    def status(self, status: Status) -> None:
        if status != self._status:
            self._status = status
            self._draw()

    @property
    def beside(self) -> str:
        """What goes on beside the chat; may be empty."""
        return self._beside

    @beside.setter
    def beside(self, text: str) -> None:
        if text != self._beside:
            self._beside = text
            self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the text to the new width."""
        self._draw()

    def _draw(self) -> None:
        width = max(0, self.content_size.width)
        self.update(status_content(self._status, width, self._beside), layout=False)
