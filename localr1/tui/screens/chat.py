"""The chat: transcript, prompt, status."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Footer, TextArea
from textual.worker import WorkerError

from localr1 import settings
from localr1.chat.task import SUMMARY_QUESTION
from localr1.chat.types import ThinkAgain
from localr1.errors import LocalR1Error
from localr1.fit.types import NOTHING, Asked
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.tui.command import CHAT, COMPOSER, bindings
from localr1.tui.keymap import key, keymap_of
from localr1.tui.runner import Runner
from localr1.tui.screens.compare import Compare
from localr1.tui.screens.conversations import Conversations, Outcome
from localr1.tui.screens.making_room import MakingRoom
from localr1.tui.screens.manner import MannerForm
from localr1.tui.screens.pick_model import PickModel
from localr1.tui.screens.settings import Settings
from localr1.tui.services import Services
from localr1.tui.widgets.blank import Blank
from localr1.tui.widgets.chosen import Chosen
from localr1.tui.widgets.heading import Heading
from localr1.tui.widgets.leaving import Leaving
from localr1.tui.widgets.note import Note
from localr1.tui.widgets.side_panel import FEWEST_COLUMNS

_QUIT_SECONDS = 2.0
# A conversation's cache that takes longer to write is not kept; leaving it must not become a wait.
_KEEP_SECONDS = 10.0
_KEEP_AT_QUIT_SECONDS = 0.5


class Chat(MakingRoom):
    """One conversation at a time with one loaded model.

    Args:
        services: The layers below.
        runner: Holds the engine.
        local: The model to talk with; it is loaded here.
        asked: How it is to be run, where the user cares.
    """

    DEFAULT_CSS = """
    Chat { background: $background; }
    """

    COMMANDS_SHOWN = CHAT
    COMMANDS_HELPED = (*COMPOSER, *CHAT)
    HELP_TITLE = "Chat"
    BINDINGS: ClassVar[list[BindingType]] = bindings(CHAT)

    def __init__(
        self, services: Services, runner: Runner, local: LocalModel, asked: Asked = NOTHING
    ) -> None:
        super().__init__(services, runner, local, asked)
        self._quit_asked = 0.0
        self._app_focus = True

    def compose(self) -> ComposeResult:
        """Heading, transcript, prompt, status."""
        yield Heading()
        yield Leaving()
        yield self.transcript
        yield self._load_line
        yield self.composer
        yield self.status
        yield self.panel
        yield Footer(show_command_palette=False)

    def update_node_styles(self, animate: bool = True) -> None:
        """Apply the styles anew, but not because the terminal was left or come back to.

        Nothing here looks different then but the widget that had the keyboard, which sees to
        itself; all widgets together take half a second.
        """
        focus = self.app.app_focus
        if focus == self._app_focus:
            super().update_node_styles(animate)
        self._app_focus = focus

    def show_beside(self, text: str) -> None:
        """Say in the status line what goes on beside the chat; may be empty."""
        self.status.beside = text

    async def on_mount(self) -> None:
        """The prompt works at once; the model is loaded meanwhile."""
        self.composer.focus()
        self.panel.wanted = self._services.home.preferences.panel
        await self.show_conversation()
        self.load_model()

    def on_resize(self, _event: events.Resize) -> None:
        """The panel is there while there is room for it."""
        self.panel.fit()

    @work(exclusive=True, group="panel")
    async def action_panel(self) -> None:
        """Show the live figures or hide them, now and at the next start."""
        preferences = self._services.home.preferences
        wanted = not self.panel.wanted
        if wanted and not self.panel.has_room:
            words = f"The live figures need {FEWEST_COLUMNS} columns; here are {self.size.width}."
            self.notify(words, severity="warning", markup=False)
        self.post_message(Settings.Changed(replace(preferences, panel=wanted)))
        try:
            directories = self._services.home.directories
            await asyncio.to_thread(settings.write, directories, "panel", wanted or None)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)

    def load_model(self) -> None:
        """As ever, and say where the model is if it is not here."""
        self._say_where()
        super().load_model()

    def _loaded(self) -> None:
        self._say_where()

    def _say_where(self) -> None:
        self.query_one(Leaving).show(self._talk.local, self._services.home.pool)

    # Conversations

    async def show_conversation(self) -> None:
        """Draw the conversation and its draft."""
        await self._redraw()
        try:
            draft = await self._draft.load(self._talk.conversation_id)
        except LocalR1Error as error:
            await self.transcript.add(Note.of(error))
        else:
            if draft and not self.composer.text:
                self.composer.load(draft)

    async def _redraw(self) -> None:
        messages = self._talk.messages
        blank = None
        if not messages:
            try:
                earlier = len(await self._services.summaries())
            except LocalR1Error:
                earlier = 0  # said in full where the list is opened
            blank = Blank(
                self._talk.local, earlier, keymap_of(self.app), private=self._services.private
            )
        await self.transcript.show(messages, blank)
        await self._remember_prompts([m.text for m in messages if m.role == "user"])
        heading = self.query_one(Heading)
        heading.private = self._services.private
        heading.show(messages)

    async def _remember_prompts(self, here: list[str]) -> None:
        """For the prompt's memory: first of this conversation, then of the others."""
        try:
            before = await self._services.prompts()
        except LocalR1Error:
            before = ()  # said in full where the list is opened
        known = {*here, SUMMARY_QUESTION}
        self.composer.remember([*(each for each in before if each not in known), *here])

    @work(exclusive=True, group="switch")
    async def action_new(self) -> None:
        """Begin a new conversation."""
        await self._begin_new(private=False)

    @work(exclusive=True, group="switch")
    async def action_private(self) -> None:
        """Begin a conversation that is never written."""
        await self._begin_new(private=True)

    async def _begin_new(self, *, private: bool) -> None:
        await self._leave()
        await self._talk.new(private=private)
        await self._show_opened()
        self.composer.focus()

    @work(exclusive=True, group="switch")
    async def action_conversations(self) -> None:
        """Open an earlier conversation."""
        busy = self._talk.conversation_id if self._talk.busy else None
        outcome: Outcome = await self.app.push_screen_wait(Conversations(self._services, busy))
        if self._talk.conversation_id in outcome.deleted:
            await self._waiting.give_back()
            await self._talk.new()
            await self._show_opened()
        if outcome.opened is not None and outcome.opened != self._talk.conversation_id:
            await self._leave()
            try:
                await self._talk.open(outcome.opened)
            except LocalR1Error as error:
                self._live.rest()
                await self.transcript.add(Note.of(error))
            else:
                await self._show_opened()

    @work(exclusive=True, group="manner")
    async def action_manner(self) -> None:
        """Choose how this conversation is held."""
        manner = await self.app.push_screen_wait(MannerForm(self._talk.manner, self.local.model))
        if manner is not None:
            try:
                await self._talk.hold_as(manner)
            except LocalR1Error as error:
                self.notify(printable(str(error)), severity="warning", markup=False)

    # Models side by side

    @work(exclusive=True, group="compare")
    async def on_chosen_other_model_wanted(self, event: Chosen.OtherModelWanted) -> None:
        """Let another model answer the same question, one after the other, and show both."""
        event.stop()
        if not self._can_ask():
            return
        try:
            others = [m for m in await self._services.local_models() if m != self.local]
        except LocalR1Error as error:
            await self.transcript.add(Note.of(error))
            return
        if not others:
            more = key(self.app, "chat.models")
            self.notify(f"There is no other model on this disk; {more} has more.", markup=False)
            return
        other = await self.app.push_screen_wait(PickModel(others))
        if other is None or not self._can_ask():
            return
        try:
            await self._switch(other, NOTHING).wait()
            await self._loading.finished()
            self.composer.focus()
            await self._carry_out(ThinkAgain(event.message.id)).wait()
        except (LocalR1Error, WorkerError):
            return  # told where it happened
        made = self._talk.messages[-1]
        if made.id != event.message.id:
            self._show_side_by_side(event.message.id, made.id)

    def on_chosen_compare_wanted(self, event: Chosen.CompareWanted) -> None:
        """Show two versions of a reply side by side."""
        event.stop()
        self._show_side_by_side(event.other_id, event.message_id)

    def _show_side_by_side(self, first: int, second: int) -> None:
        earlier, later = (
            self._talk.message(min(first, second)),
            self._talk.message(max(first, second)),
        )
        if earlier is not None and later is not None:
            names = {model.id: model.name for model in self._services.home.catalogue.models}
            names[self.local.model.id] = self.local.model.name
            self.app.push_screen(Compare((earlier, later), names))

    @work(exclusive=True, group="switch")
    async def _from_here(self) -> None:
        """Go on in a new conversation that begins with the last exchange."""
        try:
            number = await self._talk.begin_from_last()
            await self._leave()
            await self._talk.open(number)
        except LocalR1Error as error:
            await self.transcript.add(Note.of(error))
        else:
            await self._show_opened()
            self.composer.focus()

    async def _show_opened(self) -> None:
        unready = "loading" if self._loading.running else "not loaded"
        self._live.rest("" if self._talk.ready else unready)
        await self.show_conversation()
        self._resume()

    @work(exclusive=True, group="resume")
    async def _resume(self) -> None:
        await self._talk.resume()

    async def _leave(self) -> None:
        """Stop what runs and keep what there is, before another conversation comes."""
        if self._edited is not None:
            self._leave_editing()
        answered = await self._stop_and_wait()
        await self._waiting.give_back()
        if answered:
            self._live.rest("keeping this chat")
            await self._talk.leave(_KEEP_SECONDS)
        await self._draft.save()
        self.composer.load("")

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Keep the draft when the typing pauses."""
        event.stop()
        self._draft.save_later()
        self._cost.tell_later()

    async def finish(self) -> None:
        """Bring everything to the disk before the app ends."""
        answered = await self._stop_and_wait()
        if self._edited is not None:
            self._leave_editing()
        await self._waiting.give_back()
        await self._draft.save()
        await self._remembered()
        if answered:
            await self._talk.leave(_KEEP_AT_QUIT_SECONDS)

    async def action_interrupt(self) -> None:
        """Copy, clear, stop, quit: the first that applies."""
        selected = self.get_selected_text() or self.composer.selected_text
        if selected:
            self.app.copy_to_clipboard(printable(selected))
            self.clear_selection()
            self.notify("Copied the selection.", markup=False)
        elif self.composer.text:
            self.composer.clear()
        elif self.check_action("stop", ()):
            await self.action_stop()
        elif time.monotonic() - self._quit_asked < _QUIT_SECONDS:
            await self.run_action("app.quit")
        else:
            self._quit_asked = time.monotonic()
            words = f"Press {key(self.app, 'chat.interrupt')} again to quit."
            self.notify(words, timeout=_QUIT_SECONDS, markup=False)
