"""The part of the chat that asks: questions, other versions of them, and of their replies."""

from __future__ import annotations

from textual import events, work
from textual.app import SuspendNotSupported
from textual.timer import Timer

from localr1.chat.types import (
    AnswerAgain,
    Ask,
    Edit,
    Failed,
    GoOn,
    Message,
    NoRoom,
    ReplyStats,
    ThinkAgain,
    Wish,
)
from localr1.errors import EngineDied, EngineError, LocalR1Error
from localr1.fit.types import NOTHING, Asked
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.tui import editor
from localr1.tui.attention import Attention
from localr1.tui.keymap import key
from localr1.tui.prompt_cost import with_files
from localr1.tui.runner import Runner
from localr1.tui.screens.answer_again import AnswerAgainChoice
from localr1.tui.screens.model_screen import ModelScreen
from localr1.tui.services import Services
from localr1.tui.widgets.chosen import Chosen
from localr1.tui.widgets.composer import Composer
from localr1.tui.widgets.heading import Heading
from localr1.tui.widgets.note import LoopNote, Note
from localr1.tui.widgets.question import Question
from localr1.tui.widgets.reply import Reply

_QUIET_SECONDS = 20.0
"""After a reply, the next question is typed or the answer read."""


class Asking(ModelScreen):
    """A conversation in which questions are asked, and asked again.

    Args:
        services: The layers below.
        runner: Holds the engine.
        local: The model to talk with.
        asked: How it is to be run, where the user cares.
    """

    def __init__(
        self, services: Services, runner: Runner, local: LocalModel, asked: Asked = NOTHING
    ) -> None:
        super().__init__(services, runner, local, asked)
        self._edited: int | None = None
        """The question that the prompt holds another version of."""
        self._quiet_timer: Timer | None = None
        self._put_aside = ""
        """What was in the prompt before."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer has Stop and Answer now only while they would do something."""
        if action == "stop":
            return (
                self._talk.busy
                or bool(self._waiting)
                or self._loading.running
                or self._edited is not None
            )
        if action == "answer_now":
            return self._talk.busy and not self._talk.elsewhere
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """What is typed goes into the prompt, wherever the focus is."""
        bound = event.key in self.active_bindings
        if event.is_printable and event.character and not bound and not self.composer.has_focus:
            event.stop()
            event.prevent_default()
            self.composer.focus()
            self.composer.insert(event.character)

    async def on_composer_sent(self, event: Composer.Sent) -> None:
        """Send now, or when the model is ready; a text that cannot be sent stays."""
        edited = self._edited
        if self._talk.busy or not self._idle.is_set():
            self._say_busy()
        elif self._waiting:
            stop = key(self.app, "chat.stop")
            self.notify(f"One message waits already. {stop} takes it back.", markup=False)
        elif edited is not None and not self._talk.ready:
            self._not_ready()
        else:
            try:
                text = await with_files(event.text)
            except LocalR1Error as error:
                self.notify(printable(str(error)), severity="warning", markup=False)
                return
            self.composer.accept(event.text)
            await self._draft.save()  # while it belongs to this conversation
            if edited is not None:
                self._leave_editing()
                self._carry_out(Edit(edited, text))
            elif self._talk.ready:
                self._send(text)
            else:
                await self._waiting.hold(text)
                self.load_model()

    def _send(self, text: str) -> None:
        self._carry_out(Ask(text))

    @work(exclusive=True, group="reply")
    async def _carry_out(self, wish: Wish, *, may_leave_out: bool = False) -> None:
        self._idle.clear()
        # A cursor that blinks has the screen drawn twice a second more.
        blinks, self.composer.cursor_blink = self.composer.cursor_blink, False
        reply: Reply | None = None
        attention = Attention(self.app, self._to_terminal, self._services.home.preferences.call)
        try:
            reply = await self._make_room(wish)
            no_room: NoRoom | None = None
            async for event in self._talk.carry_out(wish, may_leave_out=may_leave_out):
                if isinstance(event, NoRoom):
                    no_room = event
                    continue
                await reply.receive(event)
                self._live.follow(event)
                attention.follow(event)
                if isinstance(event, Failed):
                    await self._explain(event.error)
            if no_room is None:
                self.transcript.settle(self._talk.messages)
            else:
                await self._redraw()
                self._ask_for_room(wish, no_room.messages)
        except LocalR1Error as error:
            await self._refused(wish, reply, error)
        finally:
            self._idle.set()
            self.composer.cursor_blink = blinks
            if self.is_attached:
                self.refresh_bindings()
                if self._quiet_timer is not None:
                    self._quiet_timer.stop()
                self._quiet_timer = self.set_timer(_QUIET_SECONDS, self._quiet)

    def _ask_for_room(self, wish: Wish, messages: int) -> object:
        """Nothing was asked, for want of room: let the user choose."""
        raise NotImplementedError

    def _quiet(self) -> None:
        """A while after a reply nobody sees a pause."""
        if not self._talk.busy:
            self._garbage.look()

    async def _make_room(self, wish: Wish) -> Reply:
        """Show what is about to be asked, and the place of the reply."""
        transcript, begun = self.transcript, None
        match wish:
            case Ask(text):
                await transcript.add(Question(text), follow=True)
                self.query_one(Heading).show(self._talk.messages or text)
            case Edit(number, text):
                await transcript.cut(number)
                await transcript.add(Question(text), follow=True)
            case ThinkAgain(number):
                await transcript.cut(number)
            case AnswerAgain(number, how):
                begun = self._from_thinking(number, how)
                await transcript.cut(number)
            case GoOn():
                begun = self._talk.messages[-1] if self._talk.messages else None
                if begun is not None:
                    await transcript.cut(begun.id)
        reply = transcript.new_reply(begun)
        reply.on_draw = self._drawn
        reply.usual = self._talk.usual_time
        await transcript.add(reply, follow=True)
        return reply

    def _to_terminal(self, sequence: str) -> None:
        driver = self.app._driver  # noqa: SLF001 - the way that the app's own bell goes
        if driver is not None and not self.app.is_headless:
            driver.write(sequence)

    def _drawn(self) -> None:
        """A reply that streams was drawn: so is the rest of the screen."""
        self._live.show()
        self._garbage.look_if_due()

    def _from_thinking(self, number: int, how: str) -> Message | None:
        """What is there of a reply that answers again."""
        for message in self._talk.messages:
            if message.id == number:
                before = message.stats or ReplyStats()
                stats = ReplyStats(
                    thinking_tokens=before.thinking_tokens,
                    thinking_seconds=before.thinking_seconds,
                    same_thinking=True,
                    wish=how,
                )
                return Message(
                    number, message.parent_id, "assistant", "", message.thinking, stats,
                    message.created_at,
                )  # fmt: skip
        return None

    async def _refused(self, wish: Wish, reply: Reply | None, error: LocalR1Error) -> None:
        """Nothing was asked: say why, and give back what was typed."""
        if isinstance(wish, Ask | Edit) and not self.composer.text:
            self.composer.load(wish.text)
        if isinstance(wish, Ask) and reply is not None:
            await reply.receive(Failed(error))
        else:
            await self._redraw()
        await self._explain(error)

    def _not_ready(self) -> None:
        restart = f"is not loaded; {key(self.app, 'chat.restart')} loads it"
        state = "is being loaded" if self._loading.running else restart
        self.notify(f"The model {state}.", markup=False)

    def _say_busy(self) -> None:
        stop = key(self.app, "chat.stop")
        self.notify(f"A reply is being written. {stop} stops it.", markup=False)

    def _can_ask(self) -> bool:
        """Whether a reply can be begun now; says why not."""
        if self._talk.busy or not self._idle.is_set():
            self._say_busy()
        elif not self._talk.ready:
            self._not_ready()
        else:
            return True
        return False

    async def _explain(self, error: LocalR1Error) -> None:
        if isinstance(error, EngineDied) and self._services.home.pool:
            # Perhaps one of the other computers is lost: this one alone may do.
            await self.transcript.add(Note.of(error))
            self.load_model()
        elif isinstance(error, EngineError) and not self._talk.ready:
            await self._offer_restart(error, "Restart the engine", key(self.app, "chat.restart"))
        else:
            await self.transcript.add(Note.of(error))

    async def action_stop(self) -> None:
        """Stop the reply, leave the editing, take back what waits, or stop loading: the first."""
        if self._edited is not None:
            self._leave_editing()
        elif self._talk.busy:
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

    # Messages that were said

    @work(exclusive=True, group="editor")
    async def action_editor(self) -> None:
        """Write the prompt in the user's own editor."""
        try:
            with self.app.suspend():
                text = editor.edited(self.composer.whole)
        except SuspendNotSupported:
            self.notify("An editor cannot be opened from here.", markup=False)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)
        else:
            self.composer.load(text)
        self.composer.focus()

    def action_walk(self, step: int) -> None:
        """Choose the message before or after; behind the last one is the prompt."""
        if not self.transcript.choose(step) and step > 0:
            self.composer.focus()

    def on_chosen_left(self, event: Chosen.Left) -> None:
        """Esc at a message: first what Esc is for everywhere."""
        event.stop()
        if self._talk.busy:
            self.run_worker(self.action_stop(), group="stop")
        else:
            self.composer.focus()

    def on_chosen_wanted(self, event: Chosen.Wanted) -> None:
        """A reply is wanted."""
        event.stop()
        if self._can_ask():
            self.composer.focus()
            self._carry_out(event.wish)

    def on_chosen_edit_wanted(self, event: Chosen.EditWanted) -> None:
        """Put a question into the prompt, to be asked in other words."""
        event.stop()
        if self._edited is None:
            self._put_aside = self.composer.whole
        self._edited = event.message.id
        self.composer.border_title = "In other words: Enter asks it, Esc leaves it"
        self.composer.load(event.message.text)
        self.composer.focus()
        self.refresh_bindings()

    def _leave_editing(self) -> None:
        self._edited = None
        self.composer.border_title = ""
        aside, self._put_aside = self._put_aside, ""
        self.composer.load(aside)
        self.refresh_bindings()

    @work(exclusive=True, group="wish")
    async def on_chosen_wish_wanted(self, event: Chosen.WishWanted) -> None:
        """Ask how to answer again, and do it."""
        event.stop()
        if not self._can_ask():
            return
        stats = self._talk.last_stats
        prompt_tps = stats.prompt_tps if stats is not None else 0.0
        how = await self.app.push_screen_wait(AnswerAgainChoice(event.message, prompt_tps))
        if how is not None and self._can_ask():
            self.composer.focus()
            self._carry_out(AnswerAgain(event.message.id, how))

    @work(exclusive=True, group="switch")
    async def on_chosen_branch_wanted(self, event: Chosen.BranchWanted) -> None:
        """Show another branch."""
        event.stop()
        if self._talk.busy or not self._idle.is_set():
            self._say_busy()
            return
        try:
            await self._talk.show_branch(event.message_id)
        except LocalR1Error as error:
            await self.transcript.add(Note.of(error))
            return
        await self._redraw()
        self._live.rest("" if self._talk.ready else self._live.state)
        self.transcript.choose_message(event.message_id)

    def on_chosen_quoted(self, event: Chosen.Quoted) -> None:
        """Put a quotation into the prompt."""
        event.stop()
        quoted = "\n".join(f"> {line}".rstrip() for line in event.text.strip().splitlines())
        typed = self.composer.whole.rstrip()
        before = f"{typed}\n\n" if typed else ""
        self.composer.load(f"{before}{quoted}\n\n")
        self.composer.focus()

    @work(group="rate")
    async def on_chosen_rated(self, event: Chosen.Rated) -> None:
        """Keep what the user thinks of a reply."""
        event.stop()
        try:
            await self._talk.rate(event.message_id, event.rating)
        except LocalR1Error as error:
            self.notify(printable(str(error)), severity="warning", markup=False)
            return
        for each in self.transcript.all_messages:
            for message in self._talk.messages:
                if each.message and each.message.id == message.id == event.message_id:
                    each.settle(message, each.versions)

    def action_message(self, action: str) -> None:
        """Do something with the chosen message, or else with the last one of its kind."""
        kind = Question if action == "edit" else Reply
        chosen = self.transcript.chosen
        at = chosen if isinstance(chosen, kind) else None
        for each in reversed(self.transcript.all_messages):
            if at is None and isinstance(each, kind):
                at = each
        if at is None:
            self.notify("There is no such message yet.", markup=False)
        elif at.check_action(action, ()) is False:
            self.notify("That is not possible with this reply.", markup=False)
        else:
            getattr(at, f"action_{action}")()
