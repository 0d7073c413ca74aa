"""`localr1 ask`: one question, one answer."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from localr1 import workflow
from localr1.amount import ThinkingBudget, parse_thinking_budget
from localr1.chat.attachment import question_with, read
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.types import (
    AnswerDelta,
    Ask,
    Failed,
    Finished,
    Notice,
    ReplyStats,
    ThinkingDelta,
    Wish,
)
from localr1.cli import answer_form, chosen, elsewhere, opening, output
from localr1.cli.answer_form import Form
from localr1.cli.loaded import Loaded
from localr1.config import expanded
from localr1.errors import EngineDied, FileError, Interrupted, OfflineError, UsageError
from localr1.fit.types import Asked
from localr1.models.types import LocalModel
from localr1.printable import printable
from localr1.remote.address import Address
from localr1.remote.conversation import Messages
from localr1.remote.model import where_it_goes
from localr1.track_record import Measured

SCHEMA = 1


@dataclass(frozen=True)
class Thinking:
    """What `--thinking` means."""

    show: bool = True
    budget_tokens: int | None = None
    budget_seconds: float | None = None


def parse_thinking(text: str) -> Thinking:
    """Read the value of `--thinking`.

    Raises:
        UsageError: It is none of show, hide, none, N, Ns.
    """
    if text in {"show", "hide"}:
        return Thinking(show=text == "show")
    if text == "none":
        return Thinking(budget_tokens=0)
    try:
        budget = parse_thinking_budget(text)
    except UsageError:
        budget = None
    if budget is None or budget == ThinkingBudget():
        raise UsageError(
            f"--thinking {text} is not understood.",
            "",
            "Use show, hide, none, a number of tokens (2000) or of seconds (60s).",
        )
    return Thinking(budget_tokens=budget.tokens, budget_seconds=budget.seconds)


def question_of(words: Sequence[str], piped: str) -> str:
    """The question from the arguments and standard input.

    Raises:
        UsageError: There is none.
        FileError: An attached file cannot be read.
    """
    files = [word[1:] for word in words if word.startswith("@") and len(word) > 1]
    text = " ".join(word for word in words if not (word.startswith("@") and len(word) > 1))
    question = "\n\n".join(part for part in (text.strip(), piped.strip()) if part)
    if not question and not files:
        raise UsageError(
            "There is no question.",
            "Neither an argument nor standard input holds one.",
            'Try: localr1 ask "What is 347 + 589?" --model demo',
        )
    return question_with([read(expanded(name)) for name in files], question)


def run(arguments: argparse.Namespace) -> int:
    """Answer the question."""
    thinking = parse_thinking(arguments.thinking)
    form = answer_form.read(arguments.schema) if arguments.schema else None
    question = question_of(arguments.prompt, _piped())
    home = opening.home(arguments)
    whose = (
        elsewhere.allowed(home, arguments.endpoint)
        if arguments.endpoint
        else choose(home, arguments.model)
    )
    if form is not None and not (isinstance(whose, LocalModel) and whose.model.demo):
        question = form.asked_for(question)  # the demo knows nothing but sums
    options = replace(
        ReplyOptions.preferred(home.preferences),
        temperature=arguments.temperature,
        seed=arguments.seed,
        max_tokens=arguments.max_tokens,
        on_loop="end",  # nobody is there to be asked
    )
    if form is not None:
        options = replace(options, when_full="stop")
    if (thinking.budget_tokens, thinking.budget_seconds) != (None, None):
        options = replace(
            options,
            thinking_budget_tokens=thinking.budget_tokens,
            thinking_budget_seconds=thinking.budget_seconds,
        )
    printer = _Printer(show_thinking=thinking.show, quiet=arguments.json)
    ask = _ask if isinstance(whose, LocalModel) else _ask_elsewhere
    local, stats = asyncio.run(
        ask(
            home,
            whose,  # type: ignore[arg-type]
            question=question,
            arguments=arguments,
            options=options,
            printer=printer,
            form=form,
        )
    )
    if isinstance(whose, LocalModel):
        workflow.note_speed(
            home, local, stats.generation_tps, stats.thinking_tokens + stats.answer_tokens
        )
    if arguments.json:
        output.print_json(_as_json(local, printer, stats))
    if stats.finish_reason == "length" and not stats.window_full:  # the window's end was told
        output.note("localr1: the reply was cut: it reached its longest allowed length.")
    if form is not None and stats.finish_reason != "stop":
        raise answer_form.cut_short()
    if form is not None and isinstance(whose, Address):
        form.check(printer.answer, whose)
    return 0


def choose(home: workflow.Home, wanted: str | None) -> LocalModel:
    """The local model to use.

    Raises:
        UnknownModel: Nothing answers to the name.
        OfflineError: It is not here and the network may not be used.
        FileError: It is not here.
    """
    if wanted is not None:
        choice = chosen.resolve(home, wanted)
        local = home.library.find(choice)
        if local is not None:
            return _told(local)
        name = choice.model.id + (f":{choice.variant.quantization}" if choice.variant else "")
        if home.offline:
            raise OfflineError(
                f"{name} is not on this computer.",
                "The network may not be used.",
                f"Run `localr1 pull {name}` once without --offline.",
            )
        raise FileError(
            f"{name} is not on this computer.",
            home.library.absence,
            f"Run `localr1 pull {name}` first.",
        )
    local = workflow.last_used(home) or workflow.local_models(home)[0]
    if local.model.demo:
        output.note(
            "localr1: using the demo, which only adds, subtracts and compares numbers;"
            " `localr1 advise` shows which R1 fits this computer."
        )
    return _told(local)


def _told(local: LocalModel) -> LocalModel:
    if local.doubt:
        output.note(f"localr1: {local.doubt}")
    return local


async def _ask(  # noqa: PLR0913 - one call site
    home: workflow.Home,
    local: LocalModel,
    *,
    question: str,
    arguments: argparse.Namespace,
    options: ReplyOptions,
    printer: _Printer,
    form: Form | None,
) -> tuple[LocalModel, ReplyStats]:
    if form is not None:
        options = replace(options, grammar=form.grammar)
    loaded = await Loaded.load(
        home, local, lambda words: output.note(f"localr1: {words}"), Asked(arguments.context)
    )
    try:
        window = loaded.engine.context_window
        if (arguments.context or 0) > window:
            output.note(
                f"localr1: the context window has {window:,} tokens, not"
                f" {arguments.context:,}: the model holds no more here."
            )
        session = ChatSession(
            loaded.engine, None, local.model, system=arguments.system, look_ahead=False
        )
        wish: Wish = Ask(question)
        while True:
            try:
                stats = await _printed(session, wish, options, printer)
            except EngineDied as error:
                if options.grammar:
                    raise  # a form cannot be gone on with in its middle
                printer.close_thinking()
                wish = await loaded.without_lost(session, error)
            else:
                break
        loaded.watch.record(Measured.reply(stats))
        return local, stats
    finally:
        printer.end()
        await asyncio.shield(loaded.close())


async def _ask_elsewhere(  # noqa: PLR0913 - one call site
    home: workflow.Home,
    place: Address,
    *,
    question: str,
    arguments: argparse.Namespace,
    options: ReplyOptions,
    printer: _Printer,
    form: Form | None,
) -> tuple[LocalModel, ReplyStats]:
    output.note(f"localr1: {where_it_goes(place)}")
    local, engine = await elsewhere.connect(
        home, place, arguments.model, json.loads(form.schema) if form is not None else None
    )
    try:
        session = ChatSession(
            engine, None, local.model, system=arguments.system, look_ahead=False, form=Messages()
        )
        return local, await _printed(session, Ask(question), options, printer)
    finally:
        printer.end()
        await asyncio.shield(engine.close())


async def _printed(
    session: ChatSession, wish: Wish, options: ReplyOptions, printer: _Printer
) -> ReplyStats:
    """The reply, printed as it comes.

    Raises:
        LocalR1Error: It could not be completed.
    """
    async with aclosing(session.carry_out(wish, options)) as events:
        async for event in events:
            match event:
                case ThinkingDelta():
                    printer.thinking_delta(event.text)
                case AnswerDelta():
                    printer.answer_delta(event.text)
                case Notice():
                    output.note(f"localr1: {event.text}")
                case Failed():
                    raise event.error
                case Finished():
                    if event.stats.finish_reason == "stop" and not printer.answer.strip():
                        output.note("localr1: the model ended its reply without an answer.")
                    return event.stats
    raise Interrupted("The reply ended without a word.")


class _Printer:
    """Writes thinking and answer as they come, and keeps both."""

    def __init__(self, *, show_thinking: bool, quiet: bool) -> None:
        self.thinking = ""
        self.answer = ""
        self._show_thinking = show_thinking and not quiet
        self._quiet = quiet
        self._dim = sys.stderr.isatty()
        self._thinking_open = False
        self._line_open = False

    def thinking_delta(self, text: str) -> None:
        """More thinking."""
        self.thinking += text
        if self._show_thinking:
            if self._dim and not self._thinking_open:
                sys.stderr.write("\x1b[2m")
            self._thinking_open = True
            sys.stderr.write(printable(text))
            sys.stderr.flush()

    def answer_delta(self, text: str) -> None:
        """More of the answer."""
        self.close_thinking()
        self.answer += text
        if not self._quiet:
            self._line_open = True
            sys.stdout.write(printable(text))
            sys.stdout.flush()

    def end(self) -> None:
        """No more comes."""
        self.close_thinking()
        if self._line_open:
            self._line_open = False
            sys.stdout.write("\n")
            sys.stdout.flush()

    def close_thinking(self) -> None:
        """Leave the terminal as it was."""
        if self._thinking_open:
            self._thinking_open = False
            sys.stderr.write("\x1b[0m\n" if self._dim else "\n")
            sys.stderr.flush()


def _piped() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig", "replace")
    except (OSError, ValueError):
        return ""  # closed: there is no standard input


def _as_json(local: LocalModel, printer: _Printer, stats: ReplyStats) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "model": local.model.id,
        "variant": local.variant.quantization,
        "answer": printer.answer,
        "thinking": printer.thinking,
        "finish_reason": stats.finish_reason,
        "seed": stats.seed,
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "thinking_tokens": stats.thinking_tokens,
        "answer_tokens": stats.answer_tokens,
        "prompt_tps": stats.prompt_tps,
        "generation_tps": stats.generation_tps,
        "time_to_first_token_seconds": stats.time_to_first_token_seconds,
        "total_seconds": stats.total_seconds,
    }
