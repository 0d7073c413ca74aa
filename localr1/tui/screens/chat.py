"""The chat: transcript, prompt, status."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Footer, TextArea

from localr1.chat.types import Failed
from localr1.errors import EngineError, Interrupted, LocalR1Error
from localr1.fit.types import NOTHING, Asked
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.tui.command import CHAT, COMPOSER, bindings
from localr1.tui.draft import Draft
from localr1.tui.live import Live
from localr1.tui.loading import Loading
from localr1.tui.runner import Runner
from localr1.tui.screens.conversations import Conversations, Outcome
from localr1.tui.screens.reading import Reading
from localr1.tui.services import Services
from localr1.tui.talk import Talk
from localr1.tui.waiting import Waiting
from localr1.tui.widgets.blank import Blank
from localr1.tui.widgets.composer import Composer
from localr1.tui.widgets.heading import Heading
from localr1.tui.widgets.note import LoopNote, Note, RestartNote
from localr1.tui.widgets.progress import LoadLine
from localr1.tui.widgets.status_line import StatusLine
from localr1.tui.widgets.transcript import Question, Transcript

_QUIT_SECONDS = 2.0
_STOP_SECONDS = 2.0
# A conversation's cache that takes longer to write is not kept; leaving it must not become a wait.
_KEEP_SECONDS = 10.0
_KEEP_AT_QUIT_SECONDS = 0.5


class Chat(Reading):
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
        preferences = services.home.preferences
        super().__init__(Transcript(preferences.thinking, preferences.thinking_limits))
        self._services = services
        self.composer = Composer()
        self.status = StatusLine()
        self._load_line = LoadLine()
        self._talk = Talk(services, runner, local, asked)
        self._live = Live(self.status, self._talk)
        self._loading = Loading(self._talk, self.transcript, self._load_line)
        self._waiting = Waiting(self.transcript, self.composer)
        self._idle = asyncio.Event()
        self._idle.set()
        self._draft = Draft(
            self, services, lambda: (self._talk.conversation_id, self.composer.text)
        )
        self._quit_asked = 0.0

    def compose(self) -> ComposeResult:
        """Heading, transcript, prompt, status."""
        yield Heading()
        yield self.transcript
        yield self._load_line
        yield self.composer
        yield self.status
        yield Footer(show_command_palette=False)

    def show_download(self, text: str) -> None:
        """Say in the status line how far a download is; nothing: there is none."""
        self.status.download = text

    @property
    def local(self) -> LocalModel:
        """The model of this chat."""
        return self._talk.local

    @property
    def asked(self) -> Asked:
        """How it is to be run, where the user cares."""
        return self._talk.asked

    async def on_mount(self) -> None:
        """The prompt works at once; the model is loaded meanwhile."""
        self.composer.focus()
        await self.show_conversation()
        self.load_model()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer has Stop and Answer now only while they would do something."""
        if action == "stop":
            return self._talk.busy or bool(self._waiting) or self._loading.running
        if action == "answer_now":
            return self._talk.busy
        return super().check_action(action, parameters)

    # The model

    def use(self, local: LocalModel, asked: Asked) -> None:
        """Go on with this model; nothing changes when it is loaded as asked already."""
        self._switch(local, asked)

    @work(exclusive=True, group="switch")
    async def _switch(self, local: LocalModel, asked: Asked) -> None:
        same = (local, asked) == (self._talk.local, self._talk.asked)
        if same and (self._talk.ready or self._loading.running):
            return
        answered = await self._stop_and_wait()
        self.workers.cancel_group(self, "load")  # the new load is told, not the end of the old one
        await self._loading.stop()
        try:
            # What was computed is not kept: it is of no use to another model.
            await self._talk.use(local, asked)
        except LocalR1Error as error:
            self._live.rest("not loaded")
            await self.transcript.add(Note.of(error))
            return
        if not answered or not self._talk.messages:
            await self._redraw()
        self.load_model()

    def load_model(self) -> None:
        """Load the model, then send what waits for it."""
        if not self._loading.running:
            self._loading.begin()
            self._live.rest("loading")
            self._follow_load()

    @work(exclusive=True, group="load")
    async def _follow_load(self) -> None:
        try:
            await self._loading.finished()
        except LocalR1Error as error:
            self._live.rest("not loaded")
            await self._waiting.give_back()
            stopped = isinstance(error, Interrupted)
            label, severity = ("Load it", "warning") if stopped else ("Try again", "error")
            await self._offer_restart(error, label, "Ctrl+R · F2 another model", severity)
        else:
            self._live.rest()
            self._remember()
            await self._talk.resume()
            if text := await self._waiting.take():
                self._reply_to(text)

    @work(exclusive=True, group="remember")
    async def _remember(self) -> None:
        try:
            await self._talk.remember()
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)

    def action_restart(self) -> None:
        """Load the model again, unless it is there and well."""
        if self._talk.ready:
            self.notify("The engine is running.", markup=False)
        elif self._loading.running:
            self.notify("The model is being loaded. Esc stops that.", markup=False)
        else:
            self.load_model()
            self.composer.focus()

    def on_restart_note_wanted(self, event: RestartNote.Wanted) -> None:
        """The note's button."""
        event.stop()
        self.action_restart()

    async def _offer_restart(
        self, error: LocalR1Error, label: str, hint: str, severity: str = "error"
    ) -> None:
        note = RestartNote(error, severity, label, hint)
        await self.transcript.add(note)

    def on_key(self, event: events.Key) -> None:
        """What is typed goes into the prompt, wherever the focus is."""
        bound = event.key in self.active_bindings
        if event.is_printable and event.character and not bound and not self.composer.has_focus:
            event.stop()
            event.prevent_default()
            self.composer.focus()
            self.composer.insert(event.character)

    # Asking

    async def on_composer_sent(self, event: Composer.Sent) -> None:
        """Send now, or when the model is ready; a text that cannot be sent stays."""
        if self._talk.busy or not self._idle.is_set():
            self.notify("A reply is being written. Esc stops it.", markup=False)
        elif self._waiting:
            self.notify("One message waits already. Esc takes it back.", markup=False)
        else:
            self.composer.accept(event.text)
            await self._draft.save()  # while it belongs to this conversation
            if self._talk.ready:
                self._reply_to(event.text)
            else:
                await self._waiting.hold(event.text)
                self.load_model()

    @work(exclusive=True, group="reply")
    async def _reply_to(self, text: str) -> None:
        self._idle.clear()
        reply = self.transcript.new_reply()
        await self.transcript.add(Question(text), follow=True)
        await self.transcript.add(reply, follow=True)
        self.query_one(Heading).show(self._talk.messages or text)
        try:
            async for event in self._talk.ask(text):
                await reply.receive(event)
                self._live.follow(event)
                if isinstance(event, Failed):
                    await self._explain(event.error)
        except LocalR1Error as error:
            await reply.receive(Failed(error))
            if not self.composer.text:
                self.composer.load(text)
            await self._explain(error)
        finally:
            self._idle.set()
            if self.is_attached:
                self.refresh_bindings()

    async def _explain(self, error: LocalR1Error) -> None:
        if isinstance(error, EngineError) and not self._talk.ready:
            await self._offer_restart(error, "Restart the engine", "Ctrl+R")
        else:
            await self.transcript.add(Note.of(error))

    async def action_stop(self) -> None:
        """Stop the reply, take back the waiting message, or stop loading: the first that applies."""
        if self._talk.busy:
            self._live.say("stopping")
            await self._talk.stop()
        elif self._waiting:
            await self._waiting.give_back()
        else:
            await self._loading.stop()

    async def action_answer_now(self) -> None:
        """End the thinking."""
        await self._talk.answer_now()

    async def on_loop_note_wanted(self, event: LoopNote.Wanted) -> None:
        """The button under a thinking that goes round in circles."""
        event.stop()
        self.composer.focus()
        await self.action_answer_now()

    async def _stop_and_wait(self) -> bool:
        """Stop the reply; False when the engine does not answer."""
        await self._talk.stop()
        try:
            await asyncio.wait_for(self._idle.wait(), _STOP_SECONDS)
        except TimeoutError:
            # What came so far is stored all the same.
            self.workers.cancel_group(self, "reply")
            await self._idle.wait()
            return False
        return True

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
            blank = Blank(self._talk.local, earlier)
        await self.transcript.show(messages, blank)
        self.composer.remember([m.text for m in messages if m.role == "user"])
        self.query_one(Heading).show(messages)

    @work(exclusive=True, group="switch")
    async def action_new(self) -> None:
        """Begin a new conversation."""
        await self._leave()
        await self._talk.new()
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

    async def finish(self) -> None:
        """Bring everything to the disk before the app ends."""
        answered = await self._stop_and_wait()
        await self._waiting.give_back()
        await self._draft.save()
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
            self.notify("Press Ctrl+C again to quit.", timeout=_QUIT_SECONDS, markup=False)
