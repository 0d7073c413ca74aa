"""What can be done with a conversation on screen while nothing is asked."""

from __future__ import annotations

import asyncio

from textual import work
from textual.screen import Screen

from localr1.printable import printable
from localr1.tui import code_file, wording
from localr1.tui.screens.type_value import TypeValue
from localr1.tui.widgets.code_block import CodeBlock
from localr1.tui.widgets.reply import Reply
from localr1.tui.widgets.transcript import Transcript


class Reading(Screen[None]):
    """A screen with a conversation: scrolling it, opening its thinking, copying from it.

    Args:
        transcript: The conversation on screen.
    """

    def __init__(self, transcript: Transcript) -> None:
        super().__init__()
        self.transcript = transcript
        self._sought = ""

    def action_toggle_thinking(self) -> None:
        """Open or fold the thinking of the last reply."""
        reply = self.transcript.last_reply
        if reply is not None:
            self.run_worker(reply.action_thinking(), group="thinking", exclusive=True)

    @work(exclusive=True, group="find")
    async def action_find(self) -> None:
        """Find words in the thinking of the chosen reply, or of the last one."""
        chosen = self.transcript.chosen
        reply = chosen if isinstance(chosen, Reply) else self.transcript.last_reply
        if reply is None or not reply.thinking.text:
            self.notify("There is no thinking to search.", markup=False)
            return
        words = await self.app.push_screen_wait(
            TypeValue(
                "Find in the thinking",
                "The same words once more show the next page with them.",
                str.strip,
                self._sought,
            )
        )
        if words:
            self._sought = words
            places = await reply.find(words)
            told = wording.plural(places, "place") if places else "Not in this thinking."
            self.notify(told, markup=False)

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

    @work(exclusive=True, group="save")
    async def on_code_block_save_wanted(self, event: CodeBlock.SaveWanted) -> None:
        """Ask for a file's name, and save code in it."""
        event.stop()

        def write(name: str) -> str:
            return str(code_file.write(name, event.code))

        written = await self.app.push_screen_wait(
            TypeValue(
                "Save the code",
                "A file's name; one that exists is never overwritten.",
                write,
                await asyncio.to_thread(code_file.free_name, event.language),
            )
        )
        if written is not None:
            self.notify(f"Saved in {printable(written)}.", markup=False)

    def action_page(self, direction: int) -> None:
        """Scroll by a page."""
        if direction < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self.transcript.anchor()
