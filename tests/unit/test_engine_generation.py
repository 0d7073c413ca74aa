"""A reply from a scripted stream of tokens: what is shown, kept, fed and told, whatever comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import question

from localr1.engine import protocol
from localr1.engine.generation import Control, PromptTooLong, Reply
from localr1.engine.model import Model
from localr1.engine.protocol import Segment
from localr1.engine.reply import Vocabulary
from localr1.engine.thinking import ANSWER_SEPARATOR, CLOSING_NEWLINE, CLOSING_SENTENCE

THINK, END, EOS, USER, BOS = 1, 2, 3, 4, 5
_SPECIAL = {"<t>": THINK, "</t>": END, "<eos>": EOS, "<user>": USER, "<bos>": BOS}
_FIRST = 10
"""A character's token is its code point above this."""
CLOSED = CLOSING_SENTENCE + CLOSING_NEWLINE
WINDOW = 1000


def ids(script: str) -> list[int]:
    """Tokens of a script: one for each character, and one for each special word."""
    tokens = []
    while script:
        word = next((w for w in _SPECIAL if script.startswith(w)), None)
        tokens.append(_SPECIAL[word] if word else _FIRST + ord(script[0]))
        script = script[len(word) if word else 1 :]
    return tokens


class Script:
    """Stands where a loaded model stands, and says what it was told to."""

    def __init__(self, script: str, *, knows_thinking: bool = True) -> None:
        thinking = (THINK, END) if knows_thinking else (-1, -1)
        self.vocabulary = Vocabulary(*thinking, frozenset({EOS, USER, BOS}))
        self.context_window = WINDOW
        self.batch_tokens = 512
        self.prompt_tps = 0.0
        self.draft_tokens = 0
        self.on_gpu = False
        self.cached: list[int] = []
        self._coming = ids(script)

    def tokenize(self, segments: Iterable[Segment]) -> list[int]:
        return [
            t for s in segments for t in (s.tokens or [_FIRST + ord(letter) for letter in s.text])
        ]

    def piece(self, token: int) -> bytes:
        return chr(token - _FIRST).encode() if token >= _FIRST else b"<tag>"

    def reuse(self, _prompt: Sequence[int]) -> int:
        self.cached = []
        return 0

    def decode(self, tokens: Sequence[int]) -> None:
        self.cached += tokens

    def forget_guesses(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def sampler(self, _request: protocol.Generate) -> Script:
        return self

    def sample(self) -> int:
        return self._coming.pop(0) if self._coming else EOS

    def close(self) -> None:
        pass


class Said:
    """What came of a script."""

    def __init__(self, script: str, *, stop_after: int = 10**9, **changes: Any) -> None:
        knows = bool(changes.pop("knows_thinking", True))
        self.model = Script(script, knows_thinking=knows)
        self.events: list[protocol.Event] = []
        values = {"segments": (Segment("question"),), "temperature": 0.6, **changes}
        request = question(**values)
        asked = iter(range(stop_after))
        control = Control(stopped=lambda: next(asked, None) is None, answer_asked=lambda: False)
        reply = Reply(cast("Model", self.model), request, control, self.events.append)
        self.last = reply.run()

    def _text(self, part: str) -> str:
        return "".join(
            e.text for e in self.events if isinstance(e, protocol.Text) and e.part == part
        )

    @property
    def thinking(self) -> str:
        return self._text("thinking")

    @property
    def answer(self) -> str:
        return self._text("answer")

    @property
    def ended(self) -> list[str]:
        return [e.reason for e in self.events if isinstance(e, protocol.ThinkingEnded)]

    @property
    def kept(self) -> str:
        """The answer's ids, as later prompts will have them."""
        return self.model_text(self.last.answer_token_ids)

    @staticmethod
    def model_text(tokens: Iterable[int]) -> str:
        return "".join(chr(t - _FIRST) if t >= _FIRST else "#" for t in tokens)


@pytest.mark.parametrize(
    ("script", "opened", "thinking", "answer", "kept"),
    [
        ("hm\n</t>\n\nyes<eos>", True, "hm\n", "yes", "\n\nyes"),
        ("<t>\nhm</t>\n\nyes<eos>", False, "\nhm", "yes", "\n\nyes"),
        ("<t>\nhm</t>yes<eos>", True, "\nhm", "yes", "yes"),  # opened twice
        ("\n \n<t>hm</t>\nyes<eos>", False, "hm", "yes", "\nyes"),  # opened late
        ("yes<eos>", False, "", "yes", "yes"),  # not opened at all
        ("</t>yes<eos>", True, "", "yes", "yes"),  # nothing thought
        ("hm</t>y</t>es<eos>", True, "hm", "yes", "yes"),  # ended twice
        ("hm</t></t>\n\nyes<eos>", True, "hm", "yes", "\n\nyes"),  # ended twice at once
        ("hm</t>yes <t> no<eos>", True, "hm", "yes <tag> no", "yes # no"),  # a word by then
        ("hm</t>yes<user>and you?", True, "hm", "yes", "yes"),  # plays the user
        ("hm</t>yes<bos>next", True, "hm", "yes", "yes"),  # begins anew
        ("hm</t>\n\n  yes  \n\n<eos>", True, "hm", "yes", "\n\n  yes  \n\n"),
    ],
)
def test_the_parts(script: str, opened: bool, thinking: str, answer: str, kept: str) -> None:
    said = Said(script, thinking_open=opened)
    assert (said.thinking, said.answer, said.kept) == (thinking, answer, kept)
    assert said.last.finish_reason == "stop"
    assert said.ended == []


@pytest.mark.parametrize("end", ["<eos>", "<user>", "<bos>"])
def test_a_thinking_that_is_never_ended_gets_an_answer(end: str) -> None:
    said = Said(f"hm{end}yes<eos>")
    assert said.thinking == "hm" + CLOSED
    assert said.answer == "yes"
    assert said.kept == ANSWER_SEPARATOR + "yes"
    assert said.ended == ["unclosed"]
    assert said.model.cached[-4:] == ids("\nyes")


def test_a_model_without_any_answer_ends_all_the_same() -> None:
    said = Said("hm<eos><eos>")
    assert said.answer == ""
    assert said.last.finish_reason == "stop"


def test_after_the_engine_ended_it_the_thinking_is_not_opened_again() -> None:
    said = Said("hm\n<t>more</t>yes<eos>", thinking_budget_tokens=2)
    assert said.thinking == "hm" + CLOSED
    assert said.answer == "moreyes"
    assert said.ended == ["budget"]


def test_no_thinking_at_all() -> None:
    said = Said("yes<eos>", thinking_budget_tokens=0)
    assert said.thinking == CLOSED
    assert said.answer == "yes"


def test_a_vocabulary_without_the_tags_is_left_alone() -> None:
    said = Said("hm yes<eos>", thinking_open=False, knows_thinking=False, thinking_budget_tokens=0)
    assert (said.thinking, said.answer, said.ended) == ("", "hm yes", [])


def test_room_is_left_for_the_answer() -> None:
    said = Said("h" * WINDOW, answer_reserve_tokens=100)
    assert said.ended == ["room"]
    closing = len(CLOSED) + 1 + len(ANSWER_SEPARATOR)
    thought = WINDOW - len("question") - 100 - closing
    assert said.last.thinking_tokens == thought + len(CLOSED) + 1
    assert len(said.answer) == 100
    assert said.last.window_full


def test_a_loop_is_told_and_goes_on() -> None:
    said = Said("abcdefgh" * 30 + "</t>yes<eos>")
    told = [e for e in said.events if isinstance(e, protocol.LoopNoticed)]
    assert [e.kind for e in told] == ["cycle"]
    assert said.ended == []
    assert said.answer == "yes"


def test_a_loop_is_ended() -> None:
    said = Said("abcdefgh" * 30, on_loop="end", max_tokens=300)
    assert said.ended == ["loop"]
    assert said.thinking.endswith(CLOSED)
    assert len(said.thinking) <= 96 + 16 + len(CLOSED)


def test_repeated_paragraphs_are_ended() -> None:
    paragraph = "But wait, what if the number is divisible by seven as well?\n\n"
    script = "".join(paragraph + f"Then it is {n}.\n\n" for n in range(8)) + "</t>yes<eos>"
    said = Said(script, on_loop="end")
    assert said.ended == ["loop"]
    assert said.thinking.count("But wait") == 3


def test_a_loop_in_the_answer_is_the_model_s_own_affair() -> None:
    said = Said("hm</t>" + "abcdefgh" * 30 + "<eos>", on_loop="end")
    assert said.ended == []
    assert said.answer == "abcdefgh" * 30


def test_loops_are_ignored_where_that_is_wanted() -> None:
    said = Said("abcdefgh" * 30 + "</t>yes<eos>", on_loop="ignore")
    assert not any(isinstance(e, protocol.LoopNoticed) for e in said.events)


def test_an_answer_that_goes_on_keeps_its_blanks() -> None:
    first = Said("hm</t>one \n" + "x" * 9 + "<eos>", max_tokens=8)
    assert first.answer == "one"
    assert not first.last.window_full
    full = Said("h" * 980 + "</t>one two three", segments=(Segment("q" * 12),))
    assert full.last.window_full
    assert full.answer == "one two"[: WINDOW - 12 - 981]
    more = Said("  four<eos>", thinking_open=False, continues_answer=True)
    assert more.answer == "  four"


def test_blanks_at_the_end_of_a_full_window_are_not_lost() -> None:
    said = Said("one  " + "x" * 50, thinking_open=False, segments=(Segment("q" * (WINDOW - 5)),))
    assert said.last.window_full
    assert said.answer == "one  "


def test_a_continued_answer_does_not_think() -> None:
    said = Said("four <t> five<eos>", thinking_open=False, continues_answer=True)
    assert (said.thinking, said.answer) == ("", "four <tag> five")


def test_measuring_goes_on_whatever_comes() -> None:
    said = Said("a<eos>b<t>c</t><user>", thinking_open=False, ignore_end=True, max_tokens=40)
    assert said.last.answer_tokens == 40
    assert said.last.finish_reason == "length"


def test_a_prompt_without_room_is_refused() -> None:
    with pytest.raises(PromptTooLong):
        Said("yes", segments=(Segment("q" * WINDOW),))


@given(
    st.lists(st.sampled_from(["a", "b ", "\n\n", "<t>", "</t>", "<eos>", "<user>"]), max_size=60),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 20)),
    st.integers(0, 50),
)
def test_any_stream_ends_well(
    script: list[str], opened: bool, budget: int | None, stop_after: int
) -> None:
    """The cache mirrors what was fed, the counts add up, and no answer begins in a thought."""
    said = Said(
        "".join(script),
        thinking_open=opened,
        thinking_budget_tokens=budget,
        stop_after=stop_after,
        max_tokens=100,
    )
    last = said.last
    assert last.finish_reason in {"stop", "length", "cancelled"}
    assert last.thinking_tokens + last.answer_tokens <= 100
    assert last.context_used == len(said.model.cached)
    assert said.kept.replace("#", "<tag>").strip() == said.answer.strip()
    assert THINK not in last.answer_token_ids or "<tag>" in said.answer
    assert END not in last.answer_token_ids
