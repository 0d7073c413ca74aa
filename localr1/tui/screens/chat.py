"""The chat: transcript, prompt, status."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Footer, TextArea

from localr1.chat.types import Event, Failed
from localr1.errors import EngineError, LocalR1Error
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.tui import wording
from localr1.tui.command import CHAT, COMPOSER, bindings
from localr1.tui.draft import Draft
from localr1.tui.live import after, at_rest
from localr1.tui.runner import Runner
from localr1.tui.screens.conversations import Conversations, Outcome
from localr1.tui.services import Services
from localr1.tui.talk import Talk
from localr1.tui.widgets.blank import Blank
from localr1.tui.widgets.composer import Composer
from localr1.tui.widgets.heading import Heading
from localr1.tui.widgets.note import ActionNote, Note
from localr1.tui.widgets.progress import LoadLine
from localr1.tui.widgets.reply import Reply
from localr1.tui.widgets.status_line import StatusLine
from localr1.tui.widgets.transcript import Question, Transcript

_QUIT_SECONDS = 2.0
_STOP_SECONDS = 2.0


class Chat(Screen[None]):
    """One conversation at a time with one loaded model.

    Args:
        services: The layers below.
        runner: Holds the engine.
        local: The model to talk with; it is loaded here.
    """

    DEFAULT_CSS = """
    Chat { background: $background; }
    """

    COMMANDS_SHOWN = CHAT
    COMMANDS_HELPED = (*COMPOSER, *CHAT)
    HELP_TITLE = "Chat"
    BINDINGS: ClassVar[list[BindingType]] = bindings(CHAT)

    def __init__(self, services: Services, runner: Runner, local: LocalModel) -> None:
        super().__init__()
        self._services = services
        self._talk = Talk(services, runner, local)
        self._waiting: Question | None = None
        self._waiting_text = ""
        self._idle = asyncio.Event()
        self._idle.set()
        self._draft = Draft(
            self, services, lambda: (self._talk.conversation_id, self.composer.text)
        )
        self._quit_asked = 0.0

    def compose(self) -> ComposeResult:
        """Heading, transcript, prompt, status."""
        yield Heading()
        yield Transcript(self._services.home.preferences.thinking)
        yield LoadLine()
        yield Composer()
        yield StatusLine()
        yield Footer(show_command_palette=False)

    @property
    def transcript(self) -> Transcript:
        """The conversation on screen."""
        return self.query_one(Transcript)

    @property
    def composer(self) -> Composer:
        """The prompt."""
        return self.query_one(Composer)

    @property
    def local(self) -> LocalModel:
        """The model of this chat."""
        return self._talk.local

    @property
    def status(self) -> StatusLine:
        """The line under the prompt."""
        return self.query_one(StatusLine)

    async def on_mount(self) -> None:
        """The prompt works at once; the model is loaded meanwhile."""
        self.composer.focus()
        await self.show_conversation()
        self.load_model()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer has Stop and Answer now only while they would do something."""
        if action == "stop":
            return self._talk.busy or self._waiting is not None
        if action == "answer_now":
            return self._talk.busy
        return super().check_action(action, parameters)

    # The model

    def use(self, local: LocalModel) -> None:
        """Go on with this model; nothing changes when it is loaded already."""
        self._switch(local)

    @work(exclusive=True, group="switch")
    async def _switch(self, local: LocalModel) -> None:
        if local == self._talk.local and self._talk.ready:
            return
        await self._stop_and_wait()
        try:
            await self._talk.use(local)
        except LocalR1Error as error:
            await self.transcript.add(Note.of(error))
            return
        if not self._talk.messages:
            await self._redraw()
        self.load_model()

    @work(exclusive=True, group="load")
    async def load_model(self) -> None:
        """Load the model, then send what waited for it."""
        await self.query(ActionNote).remove()
        self.composer.focus()
        line, name = self.query_one(LoadLine), printable(self._talk.local.model.name)
        line.show(f"Loading {wording.short_name(name)}", 0.0)
        self._set_status(state="loading")
        try:
            await self._talk.load(lambda f: line.show(f"Loading {wording.short_name(name)}", f))
        except LocalR1Error as error:
            self._set_status(state="not loaded")
            await self._give_back()
            await self._offer_restart(error, "Try again", "r or Ctrl+R · F2 another model")
        else:
            self._set_status(state="")
            if text := self._waiting_text:
                await self._forget_waiting()
                self._reply_to(text)
            self._remember()
        finally:
            if self.is_attached:
                line.hide()

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
        else:
            self.load_model()

    def on_action_note_wanted(self, event: ActionNote.Wanted) -> None:
        """The note's button."""
        event.stop()
        self.action_restart()
        self.composer.focus()

    async def _offer_restart(self, error: LocalR1Error, label: str, hint: str) -> None:
        note = ActionNote(error, label, hint)
        await self.transcript.add(note)
        if not self.composer.text:
            # Nobody is typing: the note's key may work at once.
            note.query_one("Button").focus()

    # Asking

    async def on_composer_sent(self, event: Composer.Sent) -> None:
        """Send now, or when the model is ready; a text that cannot be sent stays."""
        if self._talk.busy or not self._idle.is_set():
            self.notify("A reply is being written. Esc stops it.", markup=False)
        elif self._waiting is not None:
            self.notify("One message waits already. Esc takes it back.", markup=False)
        else:
            self.composer.accept(event.text)
            await self._draft.save()  # while it belongs to this conversation
            if self._talk.ready:
                self._reply_to(event.text)
            else:
                self._waiting_text = event.text
                self._waiting = Question(event.text, waiting=True)
                await self.transcript.add(self._waiting, follow=True)
                self.refresh_bindings()
                if not any(w.group == "load" and w.is_running for w in self.workers):
                    self.load_model()

    @work(exclusive=True, group="reply")
    async def _reply_to(self, text: str) -> None:
        session = self._talk.session
        if session is None:
            return
        self._idle.clear()
        reply = self.transcript.new_reply()
        await self.transcript.add(Question(text), follow=True)
        await self.transcript.add(reply, follow=True)
        self.query_one(Heading).show(self._talk.messages or text)
        try:
            async for event in session.send(text):
                await reply.receive(event)
                self._follow_status(event)
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
            await self._offer_restart(error, "Restart the engine", "r or Ctrl+R")
        else:
            await self.transcript.add(Note.of(error))

    def _follow_status(self, event: Event) -> None:
        before, session = self.status.status, self._talk.session
        now = after(before, event, session.context_window if session else 0)
        self.status.status = now
        if now.state != before.state:
            self.refresh_bindings()

    def _set_status(self, *, state: str) -> None:
        talk = self._talk
        self.status.status = at_rest(talk.local, talk.session if talk.ready else None, state)

    async def action_stop(self) -> None:
        """Stop the reply, or take back the waiting message."""
        session = self._talk.session
        if session is not None and session.busy:
            await session.stop()
        elif self._waiting is not None:
            await self._give_back()

    async def action_answer_now(self) -> None:
        """End the thinking."""
        if self._talk.session is not None:
            await self._talk.session.answer_now()

    async def _give_back(self) -> None:
        """Return the waiting message to the prompt; nothing typed is lost."""
        if text := self._waiting_text:
            await self._forget_waiting()
            typed = self.composer.text
            self.composer.load(f"{text}\n{typed}" if typed else text)

    async def _forget_waiting(self) -> None:
        waiting, self._waiting, self._waiting_text = self._waiting, None, ""
        if waiting is not None:
            await waiting.remove()
        self.refresh_bindings()

    async def _stop_and_wait(self) -> None:
        if self._talk.session is not None:
            await self._talk.session.stop()
        try:
            await asyncio.wait_for(self._idle.wait(), _STOP_SECONDS)
        except TimeoutError:
            # The engine does not answer; what came so far is stored all the same.
            self.workers.cancel_group(self, "reply")

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
        self._set_status(state="")
        await self.show_conversation()
        self.composer.focus()

    @work(exclusive=True, group="switch")
    async def action_conversations(self) -> None:
        """Open an earlier conversation."""
        busy = self._talk.conversation_id if self._talk.busy else None
        outcome: Outcome = await self.app.push_screen_wait(Conversations(self._services, busy))
        if outcome.opened is not None and outcome.opened != self._talk.conversation_id:
            await self._leave()
            try:
                await self._talk.open(outcome.opened)
            except LocalR1Error as error:
                await self.transcript.add(Note.of(error))
                return
            self._set_status(state="")
            await self.show_conversation()
        elif outcome.opened is None and self._talk.conversation_id in outcome.deleted:
            await self._talk.new()
            await self.show_conversation()

    async def _leave(self) -> None:
        """Stop what runs and keep what is typed, before another conversation comes."""
        await self._stop_and_wait()
        await self._give_back()
        await self._draft.save()
        self.composer.load("")

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Keep the draft when the typing pauses."""
        event.stop()
        self._draft.save_later()

    async def finish(self) -> None:
        """Bring everything to the disk before the app ends."""
        await self._stop_and_wait()
        await self._give_back()
        await self._draft.save()

    # Manners

    def action_toggle_thinking(self) -> None:
        """Open or fold the thinking of the last reply."""
        reply = self.transcript.last_reply
        if reply is not None:
            self.run_worker(reply.thinking.toggle(), group="thinking", exclusive=True)

    def action_copy_answer(self) -> None:
        """Copy the last answer, as the model wrote it."""
        reply: Reply | None = self.transcript.last_reply
        if reply is None or not reply.answer_text:
            self.notify("There is no answer to copy yet.", markup=False)
            return
        text = printable(reply.answer_text)
        self.app.copy_to_clipboard(text)
        lines = wording.plural(len(text.splitlines()), "line")
        self.notify(f"Copied the last answer, {lines}.", markup=False)

    async def action_interrupt(self) -> None:
        """Copy, clear, stop, quit: the first that applies."""
        selected = self.get_selected_text() or self.composer.selected_text
        if selected:
            self.app.copy_to_clipboard(printable(selected))
            self.clear_selection()
            self.notify("Copied the selection.", markup=False)
        elif self.composer.text:
            self.composer.clear()
        elif self._talk.busy or self._waiting is not None:
            await self.action_stop()
        elif time.monotonic() - self._quit_asked < _QUIT_SECONDS:
            await self.run_action("app.quit")
        else:
            self._quit_asked = time.monotonic()
            self.notify("Press Ctrl+C again to quit.", timeout=_QUIT_SECONDS, markup=False)

    def action_page(self, direction: int) -> None:
        """Scroll by a page."""
        if direction < 0:
            self.transcript.scroll_page_up(animate=False)
        else:
            self.transcript.scroll_page_down(animate=False)

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self.transcript.anchor()
