"""What is typed and not sent, kept on the disk while the typing pauses."""

from __future__ import annotations

from collections.abc import Callable

from textual.timer import Timer
from textual.widget import Widget

from localr1.errors import LocalR1Error
from localr1.printable import printable
from localr1.tui.services import Services

_PAUSE_SECONDS = 0.5


class Draft:
    """Saves the prompt of a conversation.

    Args:
        owner: The widget whose timers and notices are used.
        services: The layers below.
        state: Gives the conversation's number and the text as they are.
    """

    def __init__(
        self, owner: Widget, services: Services, state: Callable[[], tuple[int | None, str]]
    ) -> None:
        self._owner = owner
        self._services = services
        self._state = state
        self._timer: Timer | None = None
        self._saved: tuple[int | None, str] = (None, "")

    def save_later(self) -> None:
        """Save when nothing was typed for a moment."""
        self._stop_timer()
        self._timer = self._owner.set_timer(_PAUSE_SECONDS, self.save)

    async def save(self) -> None:
        """Save now, if there is anything new; a disk that refuses is reported, not an end."""
        self._stop_timer()
        state = self._state()
        if state == self._saved:
            return
        try:
            await self._services.save_draft(*state)
        except LocalR1Error as error:
            self._owner.notify(printable(str(error)), severity="warning", markup=False)
        else:
            self._saved = state

    async def load(self, conversation_id: int | None) -> str:
        """The text kept for a conversation; None for the next new one.

        Raises:
            StoreError: The database cannot be read.
        """
        text = await self._services.draft(conversation_id)
        self._saved = (conversation_id, text)
        return text

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
