"""The prompt: several lines, Enter sends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from localr1.config import expanded
from localr1.printable import printable
from localr1.tui.folding import Folds, as_attachment, completions, dropped_path
from localr1.tui.keymap import key, keymap_of

# Where Enter sends no longer, it is what it is in every text.
_NEW_LINE = frozenset({"alt+enter", "enter"})
_NAME_BEFORE: Final = re.compile(r"""(?<!\S)@"?(?P<name>[^\s"]*)$""")
_SHOWN_NAMES = 12
_PLACEHOLDER = "Ask anything. {} sends, {} begins a new line, @ attaches a file."


class Composer(TextArea):
    """A multi-line prompt with a memory of what was sent before."""

    DEFAULT_CSS = """
    Composer {
        height: auto;
        min-height: 3;
        max-height: 10;
        padding: 0 1;
        margin: 0 1;
        border: round $border-blurred;
        background: $background;
        scrollbar-size-vertical: 1;
    }
    Composer:focus { border: round $primary; background-tint: $background 0%; }
    Composer .text-area--cursor-line { background: $background 0%; }
    """

    class Sent(Message):
        """The user pressed Enter on a prompt that is not empty."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(
            placeholder=_PLACEHOLDER.format("Enter", "Ctrl+J"),
            show_line_numbers=False,
            soft_wrap=True,
            highlight_cursor_line=False,
            tab_behavior="focus",
            id="composer",
        )
        self._folds = Folds()
        self._sent: list[str] = []
        self._at: int | None = None

    def show_keys(self) -> None:
        """Say with which keys it is sent, as the user has them now."""
        keys = keymap_of(self.app)
        send = key(self.app, "composer.send")
        line = key(self.app, "composer.newline") if "composer.newline" in keys.changed else "Ctrl+J"
        self.placeholder = _PLACEHOLDER.format(send, line)

    def on_mount(self) -> None:
        """Say it from the beginning."""
        self.show_keys()

    def remember(self, prompts: list[str]) -> None:
        """Take the prompts of a conversation as what was sent before, oldest first."""
        self._sent, self._at = list(prompts), None

    @property
    def whole(self) -> str:
        """The text with what is folded in it."""
        return self._folds.unfold(self.text)

    def load(self, text: str) -> None:
        """Put a text into the prompt, the cursor at its end; attached files are folded."""
        self.load_text(self._folds.fold_files(printable(text)))
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        keys = keymap_of(self.app).keys
        step = -1 if event.key in keys("composer.earlier") else 1 if event.key == "down" else 0
        if event.key in keys("composer.send"):
            self._take(event)
            self.send()
        elif event.key in keys("composer.newline") or event.key in _NEW_LINE:
            self._take(event)
            self.insert("\n")
        elif (event.key in keys("composer.attach") and self._complete()) or (
            step and self._recall(step)
        ):
            self._take(event)
        else:
            await super()._on_key(event)

    def send(self) -> None:
        """Post the text; it stays until it is accepted. An empty prompt sends nothing."""
        if text := printable(self.whole).strip():
            self.post_message(self.Sent(text))

    def accept(self, text: str) -> None:
        """The text was taken: remember it and empty the prompt."""
        self._sent.append(text)
        self._at = None
        self.load_text("")

    async def _on_paste(self, event: events.Paste) -> None:
        """A dropped file is attached, long text folded."""
        event.prevent_default()
        event.stop()
        self._replace_via_keyboard(self._pasted(event.text), *self.selection)

    def _pasted(self, text: str) -> str:
        path = dropped_path(text)
        if path and Path(path).is_file():
            return f"{as_attachment(path)} "
        return self._folds.fold(printable(text))

    def _complete(self) -> bool:
        """Complete the file's name before the cursor; False where there is none."""
        row, column = self.cursor_location
        match = _NAME_BEFORE.search(self.document[row][:column])
        if match is None:
            return False
        written = match["name"]
        folder, _, word = written.rpartition("/")
        beyond = f"{folder}/" if "/" in written else ""
        try:
            names = [(each.name, each.is_dir()) for each in expanded(beyond or ".").iterdir()]
        except OSError:
            names = []
        shared, found = completions(word, iter(names))
        if shared != word:
            self.insert(shared[len(word) :])
        elif len(found) > 1:
            shown = "  ".join(found[:_SHOWN_NAMES]) + ("  …" if len(found) > _SHOWN_NAMES else "")
            self.notify(printable(shown), markup=False)
        elif not found:
            self.notify("No file here begins like that.", markup=False)
        return True

    def _recall(self, step: int) -> bool:
        """Replace an empty or recalled prompt by an earlier (-1) or later (1) one."""
        browsing = self._at is not None and self.whole == self._sent[self._at]
        if not self._sent or not (browsing or (step < 0 and not self.text)):
            return False
        at = (self._at if browsing and self._at is not None else len(self._sent)) + step
        if at < 0:
            return True
        if at >= len(self._sent):
            self._at = None
            self.load("")
        else:
            self._at = at
            self.load(self._sent[at])
        return True

    @staticmethod
    def _take(event: events.Key) -> None:
        event.stop()
        event.prevent_default()
