"""The chat template in a model's own file, for models outside R1's family.

The template is rendered with every word of the conversation made opaque: each character that is
not white space becomes a private one. The template can trim the words, put them elsewhere or
leave them out, but cannot take them for anything else; and in what comes out it is plain which
characters are the template's own. Only those are tokenized as special tokens; the words never
are, whatever they say.

Not as in the template where it looks into the words: a question that begins with, say,
`<tool_response>` stays a question. Thinking that a model without thinking tokens wrote as text
is taken out of earlier answers before the template sees them.

Imports jinja2: load it only when such a model is used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any, Final

from jinja2.exceptions import SecurityError

from localr1.chat.sandbox import OutOfBudget, Sandbox
from localr1.chat.template import (
    END_THINK,
    THINK,
    Asked,
    Last,
    Resumed,
    Segments,
    Template,
    Turn,
    thought_words,
    words,
)
from localr1.engine.protocol import Segment
from localr1.errors import TemplateError
from localr1.gguf.types import ChatFormat

# Unicode's private planes 15 and 16. The last of them stands for a question not yet known, the
# one before for characters beyond the number of the private ones: more than Unicode has.
_FIRST, _OTHERS = 0xF0000, 0x10FFFC
_UNKNOWN: Final = "\U0010fffd"
_PRIVATE = "\U000f0000-\U0010fffc"
_WORDS: Final = re.compile(f"[{_PRIVATE}](?:[{_PRIVATE}\\s]*[{_PRIVATE}])?")
_OPEN_AT_END: Final = re.compile(r"<think>\s*\Z")
# What templates mark turns with: `<|im_start|>`, `<start_of_turn>`, `[INST]`, `<<SYS>>`, ...
_MARKER: Final = re.compile(r"<{1,2}[^<>\s'\"{}]{1,60}>{1,2}|\[/?[A-Z_]{2,40}\]")


class _Cipher:
    """Makes words opaque, and readable again. White space stays: templates trim it."""

    def __init__(self) -> None:
        self._to: dict[int, str] = {}
        self._back: dict[int, str] = {}
        self._next = _FIRST

    def hide(self, text: str) -> str:
        """The text, opaque."""
        for character in sorted({*text}):
            code = ord(character)
            if code not in self._to and not character.isspace():
                if self._next == code:
                    self._next += 1  # no character stands for itself: opaque text is known by that
                private = min(self._next, _OTHERS)
                self._to[code] = chr(private)
                self._back[private] = character if private < _OTHERS else "\ufffd"
                self._next += 1
        return text.translate(self._to)

    def reveal(self, text: str) -> str:
        """The text, readable."""
        return text.translate(self._back)


@dataclass(frozen=True)
class _Form:
    """How a template wants its messages."""

    system_first: bool
    """False: it knows no system messages; the text goes before the first question."""
    typed: bool
    """Whether contents are lists of typed parts."""


_FORMS: Final = (_Form(True, False), _Form(False, False), _Form(True, True), _Form(False, True))


class FileTemplate(Template):
    """The form that a model's file asks for. Compiled at the first use.

    Args:
        own: What the file says.
        name: Of the model, for errors.
        now: What the template is told when it asks for the date; None for today.
    """

    def __init__(self, own: ChatFormat, name: str, now: datetime | None = None) -> None:
        self._own = own
        self._name = name
        # Once for all prompts: a date that changes would change every prompt's beginning.
        self._now = now or datetime.now().astimezone()
        self._lock = Lock()
        self._cipher = _Cipher()
        self._sandbox: Sandbox | None = None
        self._forms: dict[bool, _Form] = {}
        self._marks = {own.begin, own.end, *_MARKER.findall(own.template)}

    def opens_thinking(self, *, asked: bool) -> bool:
        """As in `Template`; a model that does not know `<think>` is never given it."""
        with self._lock:
            ends_open = _OPEN_AT_END.search(self._written("", (), _UNKNOWN)) is not None
        return ends_open or (asked and THINK in self._own.template)

    def system_text(self, messages: Sequence[str]) -> str:
        """As in `Template`."""
        return "\n\n".join(messages)

    def opening(self, system: str) -> Segments:
        """As in `Template`; holds the beginning of the first turn too."""
        with self._lock:
            return self._segments(self._before_unknown(self._written(system, (), _UNKNOWN)))

    def past_turn(self, turn: Turn) -> Segments:
        """As in `Template`; from its question to the beginning of the next turn."""
        with self._lock:
            text = self._written("", (turn,), _UNKNOWN)
            return self._segments(self._before_unknown(text)[len(self._head(text)) :])

    def new_turn(self, question: str, *, open_thinking: bool) -> Segments:
        """As in `Template`; from its question on."""
        with self._lock:
            text = self._written("", (), self._hidden(question))
            return self._segments(
                self._opened(text[len(self._head(text)) :], open_thinking=open_thinking)
            )

    def continuation(self, begun: Turn) -> Segments:
        """As in `Template`; from its question on."""
        with self._lock:
            text = self._written("", (), self._hidden(begun.question))
            return self._segments(self._continued(text[len(self._head(text)) :], begun))

    def turn_opening(self) -> Segments:
        """As in `Template`: nothing, the turn before it holds it."""
        return ()

    def render(self, system: str, history: Sequence[Turn], last: Last) -> Segments:
        """As in `Template`: what the template writes of the whole conversation.

        Templates may treat the last turn unlike the ones before it, so this may differ from
        the parts put together.
        """
        with self._lock:
            question = _UNKNOWN if last is None else self._hidden(last.question)
            text = self._written(system, history, question)
            match last:
                case Asked():
                    text = self._opened(text, open_thinking=last.open_thinking)
                case Resumed():
                    opened = self._segments(self._opened(text, open_thinking=True))
                    return (*opened, *thought_words(last, _any_of(self._marks)))
                case Turn():
                    text = self._continued(text, last)
                case None:
                    text = self._before_unknown(text)
            return self._segments(text)

    # --- rendering; the lock is held --------------------------------------------------------

    def _hidden(self, text: str) -> str:
        return self._cipher.hide(text)

    def _head(self, text: str) -> str:
        """What stands before the first question, without a system text."""
        head = self._before_unknown(self._written("", (), _UNKNOWN))
        return head if text.startswith(head) else ""

    def _before_unknown(self, text: str) -> str:
        before, found, _ = text.partition(_UNKNOWN)
        if not found:
            raise self._error("It leaves out what is asked.")
        return before

    def _opened(self, text: str, *, open_thinking: bool) -> str:
        if open_thinking and THINK in self._own.template and not _OPEN_AT_END.search(text):
            return f"{text}{THINK}\n"
        return text

    def _continued(self, text: str, begun: Turn) -> str:
        return _OPEN_AT_END.sub("", text) + self._hidden(_without_thinking(begun.answer))

    def _segments(self, text: str) -> Segments:
        marks = _any_of(self._marks)
        pieces: list[Segment] = []
        position = 0
        for match in _WORDS.finditer(text):
            own = text[position : match.start()]
            # A space belongs to the word behind it: vocabularies have both as one token.
            markup = own.rstrip(" ")
            if markup:
                pieces.append(Segment(markup, special=True))
            pieces += words(own[len(markup) :] + self._cipher.reveal(match[0]), marks)
            position = match.end()
        if position < len(text):
            pieces.append(Segment(text[position:], special=True))
        return tuple(pieces)

    def _written(self, system: str, history: Sequence[Turn], question: str) -> str:
        """What the template makes of a conversation; the question is opaque already.

        Raises:
            TemplateError: There is no template, or it fails.
        """
        form = self._form(bool(system))
        messages = []
        hidden_system = self._hidden(system)
        if system and form.system_first:
            messages.append(("system", hidden_system))
        for turn in history:
            if answer := _without_thinking(turn.answer):
                messages.append(("user", self._hidden(turn.question)))
                messages.append(("assistant", self._hidden(answer)))
        messages.append(("user", question))
        if system and not form.system_first:
            first = next(i for i, (role, _) in enumerate(messages) if role == "user")
            messages[first] = ("user", f"{hidden_system}\n\n{messages[first][1]}")
        return self._run(messages, form)

    def _form(self, with_system: bool) -> _Form:
        """The first form of messages in which nothing gets lost, found by trying."""
        if with_system in self._forms:
            return self._forms[with_system]
        self._compiled()
        system, question = self._hidden("0"), _UNKNOWN
        failure: TemplateError | None = None
        for form in _FORMS:
            messages = [("user", question)]
            if with_system and form.system_first:
                messages.insert(0, ("system", system))
            elif with_system:
                messages[0] = ("user", f"{system}\n\n{question}")
            try:
                text = self._run(messages, form)
            except TemplateError as error:
                if isinstance(error.__cause__, OutOfBudget | SecurityError):
                    raise  # no other form is any better
                failure = failure or error
                continue
            if question in text and (system in text or not with_system):
                self._learn_marks(form)
                return self._forms.setdefault(with_system, form)
        raise failure or self._error("It leaves out what is asked.")

    def _learn_marks(self, form: _Form) -> None:
        """Markers that the template puts together, such as `<|` + role + `|>`."""
        hidden = self._hidden("x")
        with suppress(TemplateError):
            text = self._run([("user", hidden), ("assistant", hidden), ("user", hidden)], form)
            self._marks.update(_MARKER.findall(text))

    def _run(self, messages: Sequence[tuple[str, str]], form: _Form) -> str:
        begin = self._own.begin
        contents: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": text}] if form.typed else text}
            for role, text in messages
        ]
        try:
            text = self._compiled().render(
                {
                    "messages": contents,
                    "add_generation_prompt": True,
                    "bos_token": begin,
                    "eos_token": self._own.end,
                    # Left undefined, some templates take it for false.
                    "enable_thinking": True,
                    "thinking": True,
                    "tools": None,
                    "documents": None,
                },
                sum(len(text) for _, text in messages),
            )
        except TemplateError:
            raise
        except Exception as error:
            raise self._failed(error) from error
        if not begin:
            return text
        bare = text
        while bare.startswith(begin):
            bare = bare.removeprefix(begin)
        return begin + bare if bare != text or self._own.adds_begin else text

    def _compiled(self) -> Sandbox:
        if not self._own.template.strip():
            raise TemplateError(
                f"{self._name} cannot chat.",
                "Its file has no chat template, so nobody knows how to write a conversation to it.",
                "Choose a file of its chat or instruct version, or a model of the R1 family.",
            )
        if self._sandbox is None:
            try:
                self._sandbox = Sandbox(
                    self._own.template, self._cipher.reveal, self._cipher.hide, self._now
                )
            except Exception as error:
                raise self._failed(error) from error
        return self._sandbox

    def _failed(self, error: Exception) -> TemplateError:
        said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        unsafe = isinstance(error, OutOfBudget | SecurityError)
        return self._error(f"It is not safe to run: {said}." if unsafe else f"It fails: {said}.")

    def _error(self, why: str) -> TemplateError:
        return TemplateError(
            f"The chat template in the file of {self._name} cannot be used.",
            why,
            "Get the file from another source, or choose a model of the R1 family.",
        )


def _any_of(marks: set[str]) -> re.Pattern[str]:
    known = {THINK, END_THINK, *marks} - {""}
    return re.compile("|".join(re.escape(mark) for mark in sorted(known, key=len, reverse=True)))


def _without_thinking(answer: str) -> str:
    """The answer of a model that writes its thinking as text; empty where it never ends."""
    if not answer.lstrip().startswith(THINK):
        return answer
    _, ended, rest = answer.rpartition(END_THINK)
    return rest.lstrip("\n") if ended else ""
