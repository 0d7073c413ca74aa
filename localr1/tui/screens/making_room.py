"""The part of the chat that is about a full context window: nothing is left out unasked."""

from __future__ import annotations

from dataclasses import replace

from textual import work
from textual.worker import Worker, WorkerError

from localr1.chat.task import SUMMARY_QUESTION
from localr1.chat.types import Ask, Edit, Wish
from localr1.errors import LocalR1Error
from localr1.printable import printable
from localr1.tui.screens.asking import Asking
from localr1.tui.screens.context import Choice, ContextWindow, choices


class MakingRoom(Asking):
    """A chat in which the user chooses what is done when the window is full."""

    @work(exclusive=True, group="context")
    async def action_context(self) -> None:
        """Show what fills the context window, and do what is chosen."""
        choice = await self._chosen_way(0)
        if choice is not None:
            await self._do(choice, "")

    async def _chosen_way(self, leaving_out: int) -> Choice | None:
        now, bigger = await self._talk.plans()
        stats = self._talk.last_stats
        offered = choices(
            self.status.status,
            stats.prompt_tps if stats else 0.0,
            now,
            bigger,
            said=bool(self._talk.messages),
            leaving_out=leaving_out,
            unasked=self._talk.manner.leave_out_oldest,
        )
        left_out = self._talk.session.left_out_messages if self._talk.session else 0
        screen = ContextWindow(self.status.status, left_out, offered, leaving_out)
        return await self.app.push_screen_wait(screen)

    def _ask_for_room(self, wish: Wish, messages: int) -> None:
        """Nothing was asked, for want of room: let the user choose, unless that was the choice."""
        if isinstance(wish, Ask) and wish.whole:
            self.notify(
                "A summary of all of it has no room in this window any more. Take a larger one, or"
                " leave out the oldest messages first.",
                severity="warning",
                timeout=10,
                markup=False,
            )
        else:
            self._choose_room(wish, messages)

    @work(exclusive=True, group="context")
    async def _choose_room(self, wish: Wish, messages: int) -> None:
        """What was typed is in the prompt until the user has chosen."""
        text = wish.text if isinstance(wish, Ask | Edit) else ""
        self._give_back(text)
        choice = await self._chosen_way(messages)
        if choice is None:
            return
        if choice.way in {"leave_out", "always"}:
            if choice.way == "always":
                await self._keep_unasked(unasked=True)
            self._take_out(text)
            self._carry_out(wish, may_leave_out=True)
        elif choice.way == "window" and isinstance(wish, Ask):
            self._take_out(text)
            await self._waiting.hold(text)
            await self._do(choice, "")
        else:
            self._take_out(text)
            await self._do(choice, text)

    async def _do(self, choice: Choice, text: str) -> None:
        """What was chosen; a text that was not asked yet is in the prompt then."""
        if choice.way in {"always", "ask"}:
            await self._keep_unasked(unasked=choice.way == "always")
        elif choice.way == "window":
            self.use(self.local, replace(self.asked, context_window=choice.context_window))
        elif choice.way == "from_here":
            await self._from_here().wait()
        elif choice.way == "summarise" and self._can_ask():
            await self._summarise()
        self._give_back(text)

    def _give_back(self, text: str) -> None:
        if text and not self.composer.text:
            self.composer.load(text)

    def _take_out(self, text: str) -> None:
        if text and self.composer.whole == text:
            self.composer.load("")

    async def _summarise(self) -> None:
        try:
            await self._carry_out(Ask(SUMMARY_QUESTION, whole=True)).wait()
        except WorkerError:
            return  # another conversation came
        stats = self._talk.last_stats
        if stats is not None and stats.finish_reason == "stop":
            await self._from_here().wait()

    async def _keep_unasked(self, *, unasked: bool) -> None:
        try:
            await self._talk.hold_as(replace(self._talk.manner, leave_out_oldest=unasked))
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)

    def _from_here(self) -> Worker[None]:
        """Go on in a new conversation that begins with the last exchange."""
        raise NotImplementedError
