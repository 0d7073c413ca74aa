"""One reply: its thinking, its answer, what happened meanwhile, and its figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from localr1.amount import ThinkingBudget
from localr1.chat.task import can_go_on
from localr1.chat.types import (
    AnswerDelta,
    Event,
    Failed,
    Finished,
    GoOn,
    LoopNotice,
    Message,
    Notice,
    PromptProgress,
    ReplyStats,
    ThinkAgain,
    ThinkingDelta,
)
from localr1.tui import wording
from localr1.tui.command import ANSWER_NOW, CONTEXT, bindings
from localr1.tui.keymap import key
from localr1.tui.message_command import REPLY
from localr1.tui.reply_words import (
    Reading,
    figures_text,
    prompt_text,
    thinking_text,
    thought_text,
    thought_words,
)
from localr1.tui.sections import lines_of
from localr1.tui.widgets.answer import Answer, Section
from localr1.tui.widgets.chosen import Chosen
from localr1.tui.widgets.code_block import CodeBlock
from localr1.tui.widgets.note import LoopNote, Note
from localr1.tui.widgets.thinking import Page, ThinkingBlock

_DRAW_SECONDS = 0.3
"""With what else is drawn at most four times a second: each takes from what a CPU model has."""
_AROUND_LINES = 3
"""Of a reply, besides its answer and its thinking."""
_SHARE = 0.1
"""Of a core, what drawing a reply may take: a page that is costly to draw is drawn less often."""


class Reply(Chosen, Vertical, can_focus=True):
    """A reply, streaming or from an earlier day.

    Args:
        message: A finished reply, or what is there of one that grows; None where nothing is.
        display: The user's setting for thinking: `folded`, `open` or `hidden`.
        budget: How long the model may think.
        formulas_as_source: Whether formulas are shown as LaTeX.
        growing: Whether it is about to stream.
        versions: The messages in its place on all branches.
        asleep: Whether it is drawn only when it comes near the view.
    """

    HELP_TITLE = "A reply"
    COMMANDS_HELPED = REPLY
    DEFAULT_CSS = """
    Reply:focus { border-left: outer $accent; padding: 0 2 0 1; }
    Reply { height: auto; padding: 0 2; margin: 0 0 1 0; }
    Reply > .figures { color: $text-muted; text-style: dim; height: auto; margin: 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = bindings(REPLY)

    def __init__(  # noqa: PLR0913 - keyword arguments with defaults
        self,
        message: Message | None = None,
        display: str = "folded",
        budget: ThinkingBudget | None = None,
        *,
        formulas_as_source: bool = False,
        growing: bool = False,
        versions: tuple[int, ...] = (),
        asleep: bool = False,
    ) -> None:
        super().__init__()
        self.asleep = asleep
        """Whether it only keeps its place."""
        self.on_draw: Callable[[], None] = lambda: None
        """Called at every drawing, for what is drawn elsewhere with it."""
        self.usual = ""
        """How long a reply usually takes; empty where that is short."""
        self._reading = Reading()
        self._as_source = formulas_as_source
        self._growing = growing or message is None
        self.message, self.versions = message, versions
        self._thinking = ThinkingBlock(message.thinking if message else "", display)
        self._answer: Answer | None = None
        self._budget = budget or ThinkingBudget()
        self._loop_note: LoopNote | None = None
        self._began = time.monotonic()
        self._phase = "waiting"
        self._draw_at = 0.0
        """Not before this."""
        self._dirty = False
        self._answer_text = message.text if message else ""
        self._last_thinking: ThinkingDelta | None = None
        self._ticker: Timer | None = None
        if asleep and message is not None:
            hidden = message.thinking if display == "open" else ""
            self.styles.height = _AROUND_LINES + lines_of(f"{message.text}\n{hidden}")

    @property
    def answer_text(self) -> str:
        """The answer so far, as the model wrote it."""
        return self._answer_text

    @property
    def thinking(self) -> ThinkingBlock:
        """The thinking."""
        return self._thinking

    async def show_formulas(self, *, as_source: bool) -> None:
        """Show the formulas of the answer as LaTeX, or drawn."""
        self._as_source = as_source
        if self._answer is not None:
            await self._answer.show_formulas(as_source=as_source)

    def compose(self) -> ComposeResult:
        """The parts that there are."""
        if not self.asleep:
            yield from self._parts(asleep=False)

    def _parts(self, *, asleep: bool) -> Iterator[Widget]:
        yield self._thinking
        message = self.message
        if message is None:
            return
        self._thinking.label(thought_text(message.stats or ReplyStats()))
        self._thinking.display = self._growing or bool(message.thinking)
        if message.text:
            self._answer = Answer(
                message.text,
                growing=self._growing,
                formulas_as_source=self._as_source,
                asleep=asleep,
            )
            yield self._answer
        if not self._growing and (figures := self._figures_text(message.stats or ReplyStats())):
            yield Static(figures, classes="figures", markup=False)

    @property
    def parts(self) -> Sequence[Page | Section]:
        """What it is made of, as far as it can sleep by itself."""
        sections = self._answer.sections if self._answer is not None else ()
        return (*self._thinking.pages, *sections)

    async def wake(self) -> None:
        """Draw it; its answer is drawn as far as it comes near the view."""
        if self.asleep:
            self.asleep = False
            self.styles.height = "auto"
            await self.mount_all(self._parts(asleep=True))

    async def sleep(self) -> None:
        """Keep only its place, if what it shows can be drawn again from what is stored."""
        told = any(isinstance(child, Note) for child in self.children)
        if self._growing or self.message is None or told or self.has_focus_within:
            return
        self.asleep = True
        self.styles.height = self.size.height
        self._answer = None
        self._thinking = ThinkingBlock(
            self.message.thinking, "open" if self._thinking.is_open else "folded"
        )
        await self.remove_children()

    def on_mount(self) -> None:
        """Begin to draw at most four times a second; a finished reply is never drawn again."""
        if self._growing:
            self._label()
            self._ticker = self.set_interval(_DRAW_SECONDS, self._tick)

    async def receive(self, event: Event) -> None:
        """Take an event of the session; text waits for the next drawing.

        Why a reply failed is for the screen to say, which knows what can be done about it.
        """
        match event:
            case PromptProgress():
                # Read once more in the middle of an answer, when that filled the window.
                if self._phase != "answer":
                    self._phase = "prompt"
                    left = self._reading.seconds_left(event, time.monotonic())
                    self._thinking.label(prompt_text(event, left))
            case ThinkingDelta():
                self._phase = "thinking"
                self._last_thinking = event
                self._thinking.extend(event.text)
                self._dirty = True
            case AnswerDelta():
                await self._extend_answer(event.text)
            case LoopNotice():
                await self._tell_loop(event)
            case Notice():
                todo = (
                    f"{key(self.app, CONTEXT.id)} shows what can be done."
                    if event.about_window
                    else ""
                )
                await self._add(Note(event.text, todo=todo))
            case Finished() | Failed():
                await self._complete(event.stats if isinstance(event, Finished) else None)

    async def _tick(self) -> None:
        """Draw, unless drawing would take more of the time than it should."""
        now = time.monotonic()
        if now >= self._draw_at:
            began = time.thread_time()
            self._draw_at = now + _DRAW_SECONDS / 2
            await self.draw()
            self.call_after_refresh(self._note_cost, now, began)

    def _note_cost(self, now: float, began: float) -> None:
        self._draw_at = now + (time.thread_time() - began) / _SHARE

    async def draw(self) -> None:
        """Show what came since the last drawing."""
        with self.app.batch_update():  # else the screen is drawn before all of it is ready
            self.on_draw()
            self._label()
            if not self._dirty:
                return
            self._dirty = False
            await self._thinking.draw()
            if self._answer is not None:
                await self._answer.draw()

    async def _extend_answer(self, text: str) -> None:
        if self._phase != "answer":
            self._phase = "answer"
            await self._end_thinking(ReplyStats())
        if self._answer is None:
            self._answer = Answer(growing=True, formulas_as_source=self._as_source)
            await self._add(self._answer)
        self._answer_text += text
        self._answer.extend(text)
        self._dirty = True

    async def _tell_loop(self, notice: LoopNotice) -> None:
        if self._loop_note is not None:
            self._loop_note.tell(notice)
        elif self._answer is None:
            self._loop_note = LoopNote(notice, key(self.app, ANSWER_NOW.id))
            await self._add(self._loop_note)

    async def _end_thinking(self, stats: ReplyStats) -> None:
        if self._loop_note is not None:
            note, self._loop_note = self._loop_note, None
            await note.remove()
        last = self._last_thinking
        if last is not None:
            tokens = stats.thinking_tokens or last.tokens
            seconds = stats.thinking_seconds or last.seconds
            verb = "Thought" if self._phase == "answer" else "Thinking stopped"
            self._thinking.label(thought_words(verb, seconds, tokens))
        elif self.message is not None:
            self._thinking.label(thought_text(self.message.stats or stats))
        await self._thinking.end()
        self._thinking.display = bool(self._thinking.text)

    async def _complete(self, stats: ReplyStats | None) -> None:
        self._growing = False
        if self._ticker is not None:
            self._ticker.stop()
        await self._end_thinking(stats or ReplyStats())
        if self._answer is not None:
            await self._answer.complete()
        figures = figures_text(stats) if stats else "failed" if self._answer_text else ""
        if figures:
            await self._add(Static(figures, classes="figures", markup=False))

    def show_versions(self) -> None:
        """Draw its figures, with which version it is and what the user thinks of it."""
        message = self.message
        if message is None or not self.is_mounted:
            return
        text = self._figures_text(message.stats or ReplyStats())
        for figures in self.query(".figures").results(Static):
            figures.update(text)

    def _figures_text(self, stats: ReplyStats) -> str:
        rating = _RATINGS.get(self.message.rating if self.message else 0, "")
        return " · ".join(
            part for part in (self.versions_text, rating, figures_text(stats)) if part
        )

    @property
    def words(self) -> str:
        """The answer."""
        return self._answer_text

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer has only what there is something for."""
        message = self.message
        if action == "go_on":
            return message is not None and can_go_on(message)
        if action == "answer_again":
            return message is not None and bool(message.thinking)
        if action == "code":
            return bool(self.query(CodeBlock))
        if action == "compare":
            return len(self.versions) > 1
        return super().check_action(action, parameters)

    def action_think_again(self) -> None:
        """Another reply beside this one."""
        if self.message is not None:
            self.post_message(self.Wanted(ThinkAgain(self.message.id)))

    def action_answer_again(self) -> None:
        """Another answer from the same thinking."""
        if self.message is not None:
            self.post_message(self.WishWanted(self.message))

    def action_other_model(self) -> None:
        """Another model's reply beside this one."""
        if self.message is not None:
            self.post_message(self.OtherModelWanted(self.message))

    def action_compare(self) -> None:
        """This one and the version before it, or else after it, side by side."""
        if self.message is not None and len(self.versions) > 1:
            at = self.versions.index(self.message.id)
            other = self.versions[at - 1 if at else 1]
            self.post_message(self.CompareWanted(self.message.id, other))

    def action_go_on(self) -> None:
        """Go on where it was stopped."""
        self.post_message(self.Wanted(GoOn()))

    def action_rate(self, rating: int) -> None:
        """Say what it is worth; the same once more takes it back."""
        if self.message is not None:
            again = self.message.rating == rating
            self.post_message(self.Rated(self.message.id, 0 if again else rating))

    async def action_thinking(self) -> None:
        """Open or fold its thinking."""
        await self.wake()
        await self._thinking.toggle()

    async def find(self, words: str) -> int:
        """Show where words are in its thinking; see `ThinkingText.find`."""
        await self.wake()
        return await self._thinking.find(words)

    def action_code(self) -> None:
        """Choose its first code block."""
        if blocks := self.query(CodeBlock):
            blocks.first().focus()

    async def _add(self, widget: Widget) -> None:
        await self.mount(widget)

    def _label(self) -> None:
        last = self._last_thinking
        if self._phase == "waiting":
            waited = time.monotonic() - self._began
            self._thinking.label(
                "Reading…" if waited < 1 else f"Reading… {wording.duration(waited)}"
            )
        elif self._phase == "thinking" and last is not None:
            usual = f" · usually {self.usual}" if self.usual else ""
            self._thinking.label(f"{thinking_text(last, self._budget)}{usual}")


_RATINGS = {1: "good", -1: "bad"}
