"""Thinking told from the answer in streamed text, for servers that leave that to the client. Pure."""

from __future__ import annotations

from typing import Final, Literal

Part = Literal["thinking", "answer"]
_THINK: Final = "<think>"
_END_THINK: Final = "</think>"


class ThinkingFinder:
    """Tells the parts of a reply, however its text is cut.

    Args:
        open_thinking: Whether a text without `<think>` is taken for thinking up to `</think>`:
            R1's template opens the thinking itself, and servers then leave the mark out.
    """

    def __init__(self, *, open_thinking: bool) -> None:
        self._open = open_thinking
        self._state: Literal["before", "thinking", "gap", "answer"] = "before"
        self._held = ""
        self._unmarked = ""
        """Thinking for which no mark was seen yet."""

    def feed(self, text: str) -> list[tuple[Part, str]]:
        """Take more text; returns what is certain."""
        self._held += text
        told: list[tuple[Part, str]] = []
        while (piece := self._step()) is not None:
            told += [piece] if piece[1] else []
        return told

    def end(self) -> list[tuple[Part, str]]:
        """No more comes.

        A text that was taken for thinking and never ended it was the answer after all: it is
        told once more, as that.
        """
        held, self._held = self._held, ""
        if self._state == "thinking":
            told: list[tuple[Part, str]] = [("thinking", held)] if held else []
            if self._unmarked:
                told.append(("answer", self._unmarked + held))
            return told
        return [("answer", held)] if held.strip() else []

    def _step(self) -> tuple[Part, str] | None:
        """One move of the machine; None when more text is needed."""
        if self._state == "before":
            return self._begin()
        if self._state == "thinking":
            return self._think()
        if self._state == "gap":  # blank lines between the parts belong to neither
            self._held = self._held.lstrip("\n")
            if not self._held:
                return None
            self._state = "answer"
        if not self._held:
            return None
        text, self._held = self._held, ""
        return "answer", text

    def _begin(self) -> tuple[Part, str] | None:
        stripped = self._held.lstrip()
        if stripped.startswith(_THINK):
            self._held, self._state, self._open = stripped[len(_THINK) :], "thinking", False
            return "thinking", ""
        if _THINK.startswith(stripped):
            return None  # also an empty text
        self._state = "thinking" if self._open else "answer"
        return "thinking", ""

    def _think(self) -> tuple[Part, str] | None:
        at = self._held.find(_END_THINK)
        if at >= 0:
            text, self._held = self._held[:at], self._held[at + len(_END_THINK) :]
            self._state, self._unmarked = "gap", ""
            return "thinking", text
        most = min(len(self._held), len(_END_THINK) - 1)
        kept = next((n for n in range(most, 0, -1) if _END_THINK.startswith(self._held[-n:])), 0)
        cut = len(self._held) - kept
        text, self._held = self._held[:cut], self._held[cut:]
        if not text:
            return None
        if self._open:
            self._unmarked += text
        return "thinking", text
