"""Chat templates as prompt segments: what a conversation looks like to a model.

R1's family is rendered here, by pure functions, and not by the files' own templates: those
differ by the date of their making, so every upload behaves alike. Facts (tokenizer_config.json
of the models' repositories):

- All members write BOS, the system text, then for each turn `<｜User｜>` question
  `<｜Assistant｜>` answer EOS, with nothing between. Everything up to the last `</think>` is
  stripped from earlier replies; the two line breaks behind it stay.
- DeepSeek-R1 and its distills, as of today: a new reply is opened with `<think>` and a line
  break. Their template of the first days left that to the model, which then sometimes does not
  think at all; the makers ask to enforce it, so both are written in today's form.
- R1-0528 and R1-0528-Qwen3-8B leave `<think>` to the model. The template of the second writes
  `<｜Assistant｜>` behind every question, not before every answer: the same text wherever
  question and answer follow each other, as they do here.
- Of several system messages only the last one counts; R1-0528 joins them as paragraphs.

Models outside the family: `file_template`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from localr1.engine.protocol import Segment
from localr1.engine.thinking import ANSWER_SEPARATOR
from localr1.models.types import Model, SystemJoin

BOS: Final = "<｜begin▁of▁sentence｜>"
EOS: Final = "<｜end▁of▁sentence｜>"
USER: Final = "<｜User｜>"
ASSISTANT: Final = "<｜Assistant｜>"
THINK: Final = "<think>"
END_THINK: Final = "</think>"

# llama.cpp parses user-defined tokens even where special tokens are off, and which tokens are
# user-defined depends on who made the file. The tags of thinking and all of DeepSeek's markers.
_MARKERS: Final = re.compile(r"</?think>|<｜[^<>｜]{1,40}｜>")
_PARAGRAPHS: Final = "\n\n"

Segments = tuple[Segment, ...]


@dataclass(frozen=True)
class Turn:
    """An earlier exchange, or one whose answer is to go on."""

    question: str
    answer: str
    """Without its thinking."""
    answer_token_ids: tuple[int, ...] = ()
    """The answer as the engine generated it; spares tokenizing and keeps the cache's prefix."""
    thought: bool = True
    """Whether thinking came before the answer: it leaves two line breaks behind."""


@dataclass(frozen=True)
class Asked:
    """The question to answer now."""

    question: str
    open_thinking: bool


@dataclass(frozen=True)
class Resumed:
    """A question with what the model thought about it: it goes on from there."""

    question: str
    thinking: str
    answer: str | None
    """As far as it came; None while the thinking is not over."""


Last = Asked | Turn | Resumed | None
"""How a prompt ends: with a question, in the middle of an answer, in or after a thinking, or
before a question that is not known yet."""


class Template(ABC):
    """The form of one model's conversations. A prompt is an opening, past turns, and its end."""

    system_note: str = ""
    """What to tell a user who gives a system prompt."""

    @abstractmethod
    def opens_thinking(self, *, asked: bool) -> bool:
        """Whether a new turn ends inside `<think>`.

        Args:
            asked: Whether the caller wants that, also where the template leaves it to the model.
        """

    @abstractmethod
    def system_text(self, messages: Sequence[str]) -> str:
        """Several system messages as one."""

    @abstractmethod
    def opening(self, system: str) -> Segments:
        """What every prompt begins with."""

    @abstractmethod
    def past_turn(self, turn: Turn) -> Segments:
        """An earlier exchange, as later prompts show it."""

    @abstractmethod
    def new_turn(self, question: str, *, open_thinking: bool) -> Segments:
        """The question to answer now, up to where the model begins to write."""

    @abstractmethod
    def continuation(self, begun: Turn) -> Segments:
        """A question with its answer so far, as history shows it, but without an end."""

    @abstractmethod
    def turn_opening(self) -> Segments:
        """What a turn begins with, whatever is asked."""

    def resumption(self, begun: Resumed) -> Segments:
        """A question with its thinking, and the answer so far where the thinking is over."""
        return (*self.new_turn(begun.question, open_thinking=True), *thought_words(begun))

    def ending(self, last: Last) -> Segments:
        """The end of a prompt."""
        match last:
            case Asked():
                return self.new_turn(last.question, open_thinking=last.open_thinking)
            case Resumed():
                return self.resumption(last)
            case Turn():
                return self.continuation(last)
            case None:
                return self.turn_opening()

    def render(self, system: str, history: Sequence[Turn], last: Last) -> Segments:
        """The whole prompt."""
        past = (segment for turn in history for segment in self.past_turn(turn))
        return (*self.opening(system), *past, *self.ending(last))


@dataclass(frozen=True)
class FamilyTemplate(Template):
    """The form of R1's family."""

    force_think: bool = True
    system_join: SystemJoin = "last"
    system_note: str = ""

    def opens_thinking(self, *, asked: bool) -> bool:
        """As in `Template`."""
        return self.force_think or asked

    def system_text(self, messages: Sequence[str]) -> str:
        """As in `Template`."""
        if self.system_join == "paragraphs":
            return _PARAGRAPHS.join(messages)
        return messages[-1] if messages else ""

    def opening(self, system: str) -> Segments:
        """As in `Template`."""
        return (Segment(BOS, special=True), *words(system))

    def past_turn(self, turn: Turn) -> Segments:
        """As in `Template`."""
        return (*self.continuation(turn), Segment(EOS, special=True))

    def new_turn(self, question: str, *, open_thinking: bool) -> Segments:
        """As in `Template`."""
        opened = (Segment(THINK, special=True), Segment("\n")) if open_thinking else ()
        return (*_question(question), *opened)

    def continuation(self, begun: Turn) -> Segments:
        """As in `Template`."""
        if begun.answer_token_ids:
            return (*_question(begun.question), Segment(tokens=begun.answer_token_ids))
        separator = ANSWER_SEPARATOR if begun.thought else ""
        return (*_question(begun.question), *words(separator + begun.answer))

    def turn_opening(self) -> Segments:
        """As in `Template`."""
        return (Segment(USER, special=True),)


def of(model: Model) -> Template:
    """The form of a model's conversations: the family's, or the one in the model's file."""
    if model.own_format is not None:
        # jinja2 is heavy, and most models do without.
        from localr1.chat.file_template import FileTemplate  # noqa: PLC0415

        return FileTemplate(model.own_format, model.name)
    note = (
        f"The makers of {model.name} advise against a system prompt; better put everything "
        "into the message."
    )
    return FamilyTemplate(
        model.force_think, model.system_join, "" if model.system_prompt or model.demo else note
    )


def words(text: str, markers: re.Pattern[str] = _MARKERS) -> Segments:
    """Anyone's words as segments in which no special token can arise.

    Args:
        text: The words.
        markers: What the vocabulary may know as a special token.
    """
    pieces: list[Segment] = []
    position = 0
    for match in markers.finditer(text):
        # Cut in the middle: tokenized apart, the halves never make the marker's token.
        middle = (match.start() + match.end()) // 2
        pieces.append(Segment(text[position:middle]))
        position = middle
    if text[position:]:
        pieces.append(Segment(text[position:]))
    return tuple(pieces)


def thought_words(begun: Resumed, markers: re.Pattern[str] = _MARKERS) -> Segments:
    """What follows the opened thinking: its words, and the answer behind its end."""
    if begun.answer is None:
        return words(begun.thinking, markers)
    return (
        *words(begun.thinking.rstrip() + "\n", markers),
        Segment(END_THINK, special=True),
        *words(ANSWER_SEPARATOR + begun.answer, markers),
    )


_FAMILY: Final = FamilyTemplate()


def render(system: str, history: Sequence[Turn], question: str, *, open_thinking: bool) -> Segments:
    """A whole prompt in the form of R1's family."""
    return _FAMILY.render(system, history, Asked(question, open_thinking))


def _question(question: str) -> Segments:
    return (
        Segment(USER, special=True),
        *words(question),
        Segment(ASSISTANT, special=True),
    )
