"""The part of the chat that is about its model: loading it, changing it, starting it again."""

from __future__ import annotations

import asyncio

from textual import work
from textual.worker import Worker

from localr1.errors import Interrupted, LocalR1Error
from localr1.fit.types import NOTHING, Asked
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.tui.draft import Draft
from localr1.tui.garbage import GARBAGE
from localr1.tui.keymap import key
from localr1.tui.live import Live
from localr1.tui.loading import Loading
from localr1.tui.prompt_cost import PromptCost
from localr1.tui.runner import Runner
from localr1.tui.screens.reading import Reading
from localr1.tui.services import Services
from localr1.tui.talk import Talk
from localr1.tui.waiting import Waiting
from localr1.tui.widgets.composer import Composer
from localr1.tui.widgets.note import Note, RestartNote
from localr1.tui.widgets.progress import LoadLine
from localr1.tui.widgets.side_panel import SidePanel
from localr1.tui.widgets.status_line import StatusLine
from localr1.tui.widgets.transcript import Transcript

_STOP_SECONDS = 2.0


class ModelScreen(Reading):
    """A screen with a conversation and the model that answers in it.

    Args:
        services: The layers below.
        runner: Holds the engine.
        local: The model to talk with; it is loaded here.
        asked: How it is to be run, where the user cares.
    """

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
        self.panel = SidePanel(self._talk, runner, self._live)
        self._loading = Loading(self._talk, self.transcript, self._load_line)
        self._waiting = Waiting(self.transcript, self.composer)
        self._garbage = GARBAGE
        self._idle = asyncio.Event()
        self._idle.set()
        self.transcript.versions_of = self._talk.versions
        self._cost = PromptCost(
            self.composer,
            lambda: self.composer.whole,
            self._talk.count_tokens,
            lambda: self._talk.reading,
        )
        self._draft = Draft(
            self, services, lambda: (self._talk.conversation_id, self.composer.whole)
        )

        self._remembering: Worker[None] | None = None

    @property
    def local(self) -> LocalModel:
        """The model of this chat."""
        return self._talk.local

    @property
    def asked(self) -> Asked:
        """How it is to be run, where the user cares."""
        return self._talk.asked

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
            if doubt := self.local.doubt:
                self.notify(printable(doubt), severity="warning", timeout=15, markup=False)
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
            hint = f"{key(self.app, 'chat.restart')} · {key(self.app, 'chat.models')} another model"
            await self._offer_restart(error, label, hint, severity)
        else:
            self._live.rest()
            self._loaded()
            self._remembering = self._remember()
            await self._talk.resume()
            if text := await self._waiting.take():
                self._send(text)

    def _loaded(self) -> None:
        """The model is there; perhaps without computers that are lost."""

    @work(exclusive=True, group="remember")
    async def _remember(self) -> None:
        try:
            await self._talk.remember()
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)

    async def _remembered(self) -> None:
        """Wait until the next start knows this model, where that was begun."""
        if self._remembering is not None:
            await self.app.workers.wait_for_complete([self._remembering])

    def action_restart(self) -> None:
        """Load the model again, unless it is there and well."""
        if self._talk.ready:
            self.notify("The engine is running.", markup=False)
        elif self._loading.running:
            stop = key(self.app, "chat.stop")
            self.notify(f"The model is being loaded. {stop} stops that.", markup=False)
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

    async def _redraw(self) -> None:
        """Draw the conversation."""
        raise NotImplementedError

    def _send(self, text: str) -> None:
        """Send what waited for the model."""
        raise NotImplementedError

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
