"""What a long prompt costs: its tokens, and the seconds until it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from textual.timer import Timer
from textual.widget import Widget

from localr1.chat import attachment
from localr1.config import expanded
from localr1.errors import FileError, LocalR1Error
from localr1.fit import time_words
from localr1.tui import wording
from localr1.tui.folding import attached_names

_PAUSE_SECONDS = 0.4
_LONG_CHARACTERS = 1000
"""Shorter prompts cost nothing worth telling."""


async def with_files(text: str) -> str:
    """A prompt with the content of the files that it names with `@`.

    What looks like a name and is no file stays as it is, unless it has a slash.

    Raises:
        FileError: A file cannot be read, is not text, or is not there.
    """
    found: list[attachment.Attachment] = []
    for written, name in attached_names(text):
        path = expanded(name)
        if await asyncio.to_thread(path.is_file):
            found.append(await asyncio.to_thread(attachment.read, path))
            text = text.replace(written, path.name, 1)
        elif "/" in name.strip("/"):
            raise FileError(f"There is no file {name}.", "", "Correct its name; Tab completes it.")
    return attachment.question_with(found, text)


def cost_words(tokens: int, prompt_tps: float, room: int) -> str:
    """What a prompt costs, in a few words.

    Args:
        tokens: It has.
        prompt_tps: How fast prompts are read; 0 where that is not known.
        room: Tokens that there are for a question.
    """
    words = wording.plural(tokens, "token")
    if tokens > room:
        return f"{words}: more than the window has room for ({wording.count(room)})"
    if prompt_tps <= 0:
        return words
    return f"{words}, read in about {time_words.rough_duration(tokens / prompt_tps)}"


class PromptCost:
    """Tells under the prompt what it costs, while the typing pauses.

    Args:
        composer: The prompt; its lower border says it.
        whole: Gives the prompt's text.
        count: Counts tokens; raises where nobody can.
        figures: Gives the reading speed in tokens per second, and the room for a question.
    """

    def __init__(
        self,
        composer: Widget,
        whole: Callable[[], str],
        count: Callable[[str], Awaitable[int]],
        figures: Callable[[], Sequence[float]],
    ) -> None:
        self._composer = composer
        self._whole = whole
        self._count = count
        self._figures = figures
        self._timer: Timer | None = None

    def tell_later(self) -> None:
        """Tell it when nothing was typed for a moment; short prompts at once have no cost."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        text = self._whole()
        if len(text) < _LONG_CHARACTERS and "@" not in text:
            self._composer.border_subtitle = ""
            return
        self._timer = self._composer.set_timer(_PAUSE_SECONDS, self._tell)

    async def _tell(self) -> None:
        self._timer = None
        text = self._whole()
        try:
            whole = await with_files(text)
            if whole == text and len(text) < _LONG_CHARACTERS:
                words = ""
            else:
                prompt_tps, room = self._figures()
                words = cost_words(await self._count(whole), prompt_tps, int(room))
        except LocalR1Error as error:
            words = error.what
        if text == self._whole():
            self._composer.border_subtitle = words
