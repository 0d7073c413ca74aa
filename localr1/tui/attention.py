"""Calls the user back to a long reply: the terminal's title, and a bell or desktop notice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from textual.app import App

from localr1.chat.types import AnswerDelta, Event, Failed, Finished, ThinkingDelta
from localr1.config import Call

LONG_SECONDS: Final = 20.0
"""Nobody watches for as long as that."""
AWAY_SECONDS: Final = 3.0
"""The same, where the terminal has not got the keyboard."""
# Known to show `OSC 9` as a notice; others do something else with it, or write it on the screen.
_NOTICES: Final = frozenset({"iTerm.app", "WezTerm", "ghostty"})


def is_long(seconds: float, *, focused: bool) -> bool:
    """Whether the user has surely looked away by now."""
    return seconds >= (LONG_SECONDS if focused else AWAY_SECONDS)


def title_sequence(words: str) -> str:
    """What sets the terminal's title; the words are our own."""
    return f"\x1b]0;{words}\x07"


def notice_sequence(
    words: str, environment: Mapping[str, str] = os.environ, call: Call = "desktop"
) -> str:
    """What calls the user: a desktop notice where the terminal is known to have them, or a bell."""
    if call != "desktop":
        return "\x07" if call == "bell" else ""
    known = environment.get("TERM_PROGRAM") in _NOTICES or "KITTY_WINDOW_ID" in environment
    return f"\x1b]9;localr1: {words}\x07" if known and "TMUX" not in environment else "\x07"


class Attention:
    """Follows one reply.

    Args:
        app: Knows whether the terminal has the keyboard.
        write: Sends to the terminal.
        call: How the user wants to be called.
    """

    def __init__(
        self, app: App[None], write: Callable[[str], None], call: Call = "desktop"
    ) -> None:
        self._call = call
        self._app = app
        self._write = write
        self._began = time.monotonic()
        self._state = ""

    def follow(self, event: Event) -> None:
        """Something happened to the reply."""
        match event:
            case ThinkingDelta():
                self._say("thinking", "")
            case AnswerDelta():
                self._say("answering", "the answer begins")
            case Finished():
                self._say("ready", "the answer is ready")
            case Failed():
                self._say("failed", "the reply failed")

    def _say(self, state: str, notice: str) -> None:
        if state == self._state:
            return
        self._state = state
        self._write(title_sequence(f"localr1: {state}"))
        if notice and is_long(time.monotonic() - self._began, focused=self._app.app_focus):
            self._began = time.monotonic()  # what comes soon after is not told again
            if sequence := notice_sequence(notice, call=self._call):
                self._write(sequence)
