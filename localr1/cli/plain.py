"""`localr1 chat --plain`: the chat line by line, for screen readers and dumb terminals.

Nothing is drawn over, nothing is coloured, and lines come whole: what was said stays said.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, Final

from localr1 import workflow
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.store import Store
from localr1.chat.types import (
    AnswerDelta,
    Ask,
    Event,
    Failed,
    Finished,
    LoopNotice,
    Notice,
    PromptProgress,
    ReplyStats,
    ThinkingDelta,
    Wish,
)
from localr1.cli import opening, output
from localr1.cli.ask import choose
from localr1.cli.loaded import Loaded
from localr1.engine.client import Engine
from localr1.errors import EngineDied, LocalR1Error
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.track_record import Measured

_TELL_SECONDS: Final = 15.0
"""So often somebody who waits is told how far it is."""
_HELP: Final = (
    "Type a question and press Enter. Ctrl+C stops a reply.\n"
    "/new begins a new conversation, /thinking shows or hides the thinking, /answer ends it and"
    " has the answer, /quit leaves. Conversations are kept: localr1 history list."
)


def run(arguments: argparse.Namespace) -> int:
    """Chat until the user leaves."""
    home = opening.home(arguments)
    local = choose(home, arguments.model)
    return asyncio.run(_Plain(home, local).run())


class _Plain:
    """The chat.

    Args:
        home: Where things are.
        local: The model.
    """

    def __init__(self, home: workflow.Home, local: LocalModel) -> None:
        self._home, self._local = home, local
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._session: ChatSession | None = None
        self._show_thinking = home.preferences.thinking == "open"
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Load, then question and answer by turns."""
        home, local = self._home, self._local
        _say(f"localr1 with {local.model.name}, loading.")
        loaded = await Loaded.load(home, local, _say)
        store = workflow.open_store(home)
        try:
            self._session = session = self._new(loaded.engine, store)
            self._listen()
            _say(f"Ready. {_HELP}")
            while (line := await self._next_line()) is not None:
                match line.split():
                    case []:
                        continue
                    case ["/quit" | "/exit"]:
                        break
                    case ["/new"]:
                        await session.leave()
                        self._session = session = self._new(loaded.engine, store)
                        _say("A new conversation.")
                    case ["/thinking"]:
                        self._show_thinking = not self._show_thinking
                        _say(f"The thinking is {'shown' if self._show_thinking else 'hidden'}.")
                    case ["/help"]:
                        _say(_HELP)
                    case _:
                        stats = await self._reply(session, line, loaded)
                        if stats is not None:
                            loaded.watch.record(Measured.reply(stats))
            else:
                _say("")  # the prompt stands there alone
            await session.leave(within_seconds=1.0)
        finally:
            await asyncio.shield(loaded.close())
            store.close()
        return 0

    def _new(self, engine: Engine, store: Store) -> ChatSession:
        states = workflow.kv_states(self._home)
        return ChatSession(engine, store, self._local.model, states=states)

    async def _next_line(self) -> str | None:
        """What the user types; None at the end of input, or for Ctrl+C."""
        sys.stdout.write("You: ")
        sys.stdout.flush()
        return await self._lines.get()

    def _listen(self) -> None:
        """Read lines, and Ctrl+C, beside whatever runs."""
        loop = asyncio.get_running_loop()

        def tell(what: Callable[[], None]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(what)

        def read() -> None:
            for line in sys.stdin:
                tell(lambda line=line: self._heard(line))  # type: ignore[misc]
            tell(lambda: self._lines.put_nowait(None))

        # Not a thread that anybody waits for: it may read for ever.
        threading.Thread(target=read, name="lines", daemon=True).start()
        signal.signal(signal.SIGINT, lambda *_: tell(self._interrupted))

    def _heard(self, line: str) -> None:
        session = self._session
        if line.strip() == "/answer" and session is not None and session.busy:
            self._do(session.answer_now())
        else:
            self._lines.put_nowait(line.strip())

    def _interrupted(self) -> None:
        session = self._session
        if session is not None and session.busy:
            self._do(session.stop())
        else:
            self._lines.put_nowait(None)

    def _do(self, wish: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(wish)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(
        self, session: ChatSession, question: str, loaded: Loaded
    ) -> ReplyStats | None:
        """Ask, and say what comes; the figures, or None where it failed."""
        teller = _Teller(show_thinking=self._show_thinking)
        wish: Wish = Ask(question)
        try:
            while True:
                try:
                    return await self._said(session, wish, teller)
                except EngineDied as error:
                    teller.lines.end()
                    wish = await loaded.without_lost(session, error)
        except LocalR1Error as error:
            teller.lines.end()
            output.print_error(error)
        return None

    async def _said(self, session: ChatSession, wish: Wish, teller: _Teller) -> ReplyStats | None:
        options = ReplyOptions.preferred(self._home.preferences)
        async with aclosing(session.carry_out(wish, options)) as events:
            async for event in events:
                match event:
                    case Failed():
                        raise event.error
                    case Finished():
                        teller.lines.end()
                        self._tell_end(event.stats)
                        return event.stats
                    case _:
                        teller.hear(event)
        return None

    def _tell_end(self, stats: ReplyStats) -> None:
        if stats.finish_reason == "cancelled":
            _say("Stopped.")
        elif stats.finish_reason == "length":
            _say("The reply was cut: there was no more room.")
        workflow.note_speed(
            self._home,
            self._local,
            stats.generation_tps,
            stats.thinking_tokens + stats.answer_tokens,
        )


class _Teller:
    """Says what happens in a reply.

    Args:
        show_thinking: Whether the thinking is said too.
    """

    def __init__(self, *, show_thinking: bool) -> None:
        self.lines = _Lines()
        self._show_thinking = show_thinking
        self._thinking = False
        self._told = time.monotonic()

    def hear(self, event: Event) -> None:
        """Say what is new; to somebody who waits, now and then how far it is."""
        match event:
            case PromptProgress():
                self._now_and_then(f"Reading: {event.done_tokens} of {event.total_tokens} tokens.")
            case ThinkingDelta():
                if not self._thinking:
                    _say("R1 is thinking.")
                self._thinking = True
                if self._show_thinking:
                    self.lines.add("Thinking: ", event.text)
                else:
                    self._now_and_then(f"Still thinking: {event.tokens} tokens so far.")
            case AnswerDelta():
                self.lines.add("R1: ", event.text)
            case Notice():
                self.lines.end()
                _say(event.text)
            case LoopNotice():
                self.lines.end()
                _say("The thinking goes round in circles. /answer ends it.")

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            _say(text)


class _Lines:
    """Joins what comes in pieces to whole lines, each part with its name before it."""

    def __init__(self) -> None:
        self._name, self._text = "", ""

    def add(self, name: str, text: str) -> None:
        """More of a part."""
        if name != self._name:
            self.end()
            self._name, self._text = name, name
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            _say(line)

    def end(self) -> None:
        """What is left of a line."""
        if self._text.strip():
            _say(self._text)
        self._name, self._text = "", ""


def _say(text: str) -> None:
    sys.stdout.write(printable(text).rstrip() + "\n")
    sys.stdout.flush()
