"""What can be done with a conversation on screen while nothing is asked."""

from __future__ import annotations

from textual.screen import Screen

from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.widgets.transcript import Transcript


class Reading(Screen[None]):
    """A screen with a conversation: scrolling it, opening its thinking, copying from it.

    Args:
        transcript: The conversation on screen.
    """

    def __init__(self, transcript: Transcript) -> None:
        super().__init__()
        self.transcript = transcript

    def action_toggle_thinking(self) -> None:
        """Open or fold the thinking of the last reply."""
        reply = self.transcript.last_reply
        if reply is not None:
            self.run_worker(reply.thinking.toggle(), group="thinking", exclusive=True)

    def action_toggle_formulas(self) -> None:
        """Show the formulas as LaTeX, or drawn again."""
        self.run_worker(self.transcript.toggle_formulas(), group="formulas")

    def action_copy_answer(self) -> None:
        """Copy the last answer, as the model wrote it."""
        reply = self.transcript.last_reply
        if reply is None or not reply.answer_text:
            self.notify("There is no answer to copy yet.", markup=False)
            return
        text = printable(reply.answer_text)
        self.app.copy_to_clipboard(text)
        lines = wording.plural(len(text.splitlines()), "line")
        self.notify(f"Copied the last answer, {lines}.", markup=False)

    def action_page(self, direction: int) -> None:
        """Scroll by a page."""
        if direction < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self.transcript.anchor()
