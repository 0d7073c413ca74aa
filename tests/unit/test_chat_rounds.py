"""Replies from prompt to figures, with an engine that says what each test wants."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Says, Scripted, died, last_question
from talking import Heard, ask, demo_model

from localr1.chat import budget, template
from localr1.chat.reply import FULL_BY_SETTING, FULL_FOR_GOOD, FULL_IN_THINKING
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.types import (
    AnswerDelta,
    Ask,
    Edit,
    Event,
    Failed,
    Finished,
    LoopNotice,
    NoRoom,
    Notice,
    ThinkAgain,
    Wish,
)
from localr1.config import Preferences
from localr1.engine import protocol
from localr1.errors import ContextFull

OPTIONS = ReplyOptions(seed=7)
EXAMPLES = 400 if os.environ.get("LOCALR1_SOAK") == "1" else 40
LONG = "".join(chr(ord("a") + n % 26) for n in range(5000))


def session_with(scripted: Scripted) -> ChatSession:
    return ChatSession(scripted.engine, None, demo_model())


async def test_an_answer_that_fills_the_window_goes_on_without_its_thinking() -> None:
    said = [Says("hm", f"answer {n} " + "." * 60) for n in range(6)]
    scripted = Scripted(1024, [*said, Says("t" * 300, LONG[:700])])
    session = session_with(scripted)
    for n in range(6):
        await ask(session, f"question {n}", OPTIONS)
    before = len(scripted.asked)
    heard = await ask(session, "tell", OPTIONS)

    assert heard.answer == LONG[:700]
    assert heard.thinking == "t" * 300
    first, *later = scripted.asked[before:]
    assert not first.continues_answer
    assert later
    for request in later:
        assert request.continues_answer
        assert not request.thinking_open
        assert request.max_tokens == 0
        assert request.seed != first.seed
    assert all("ttt" not in prompt for prompt in scripted.prompts)
    went_on = [notice for notice in heard.notices if "goes on" in notice]
    assert went_on[0].startswith("The context window was full: this reply's thinking")
    stats = heard.stats
    assert stats is not None
    assert stats.finish_reason == "stop"
    assert not stats.window_full
    assert (stats.seed, stats.thinking_tokens) == (7, 300)
    assert stats.answer_tokens == len("\n\n") + 700
    assert stats.thinking_seconds == pytest.approx(30.0)
    assert stats.generation_tps == pytest.approx(10.0)
    assert stats.prompt_tps == pytest.approx(100.0)
    assert stats.prompt_tokens == len(scripted.prompts[before])
    assert stats.context_used == scripted.cached
    # The next question finds the whole answer in the history, by its token ids.
    scripted.script.append(Says("", "short"))
    scripted.context_window = 8192
    await ask(session, "and?", OPTIONS)
    assert f"\n\n{LONG[:700]}{template.EOS}" in scripted.prompts[-1]


async def test_answer_tokens_and_seconds_never_go_back() -> None:
    scripted = Scripted(512, [Says("t" * 200, LONG[:350])])
    answers = [
        (event.tokens, event.seconds)
        async for event in session_with(scripted).send("tell", OPTIONS)
        if isinstance(event, AnswerDelta)
    ]
    assert len(scripted.asked) > 1
    assert answers == sorted(answers)
    assert answers[-1][0] == len("\n\n") + 350


async def test_oldest_exchanges_go_when_the_thinking_is_not_enough() -> None:
    said = [Says("", f"answer {n} " + "." * 90) for n in range(4)]
    scripted = Scripted(1024, [*said, Says("", LONG[:700])])
    session = session_with(scripted)
    for n in range(4):
        assert not (await ask(session, f"question {n}", OPTIONS)).notices
    heard = await ask(session, "tell", OPTIONS)
    assert heard.answer == LONG[:700]
    assert any("earliest messages are no longer in it" in notice for notice in heard.notices)
    left = [sum(f"question {n}" in prompt for n in range(4)) for prompt in scripted.prompts[4:]]
    assert left[0] == 4
    assert left == sorted(left, reverse=True)
    assert left[-1] < 4
    # Oldest first: what is still there is the newest.
    assert "question 0" not in scripted.prompts[-1]


async def test_the_setting_ends_the_answer_with_a_word() -> None:
    scripted = Scripted(512, [Says("t" * 100, LONG)])
    options = ReplyOptions(seed=7, when_full="stop")
    heard = await ask(session_with(scripted), "tell", options)
    assert len(scripted.asked) == 1
    assert heard.notices == [FULL_BY_SETTING]
    assert heard.stats is not None
    assert heard.stats.finish_reason == "length"
    assert heard.stats.window_full


async def test_a_window_full_of_answer_ends_with_a_word() -> None:
    scripted = Scripted(512, [Says("t" * 100, LONG)])
    heard = await ask(session_with(scripted), "tell", OPTIONS)
    assert heard.notices[-1] == FULL_FOR_GOOD
    assert LONG.startswith(heard.answer)
    assert len(heard.answer) >= 512 - budget.continuing_room(512) - 50
    assert heard.stats is not None
    assert (heard.stats.finish_reason, heard.stats.window_full) == ("length", True)


async def test_a_window_full_of_thinking_is_told() -> None:
    scripted = Scripted(512, [Says("t" * 1000, LONG)])
    heard = await ask(session_with(scripted), "tell", OPTIONS)
    assert len(scripted.asked) == 1
    assert heard.notices == [FULL_IN_THINKING]
    assert heard.answer == ""


@pytest.mark.parametrize("most", [50, 399, 400, 450])
async def test_the_longest_length_holds_over_all_rounds(most: int) -> None:
    scripted = Scripted(512, [Says("t" * 100, LONG)])
    options = ReplyOptions(seed=7, max_tokens=most)
    heard = await ask(session_with(scripted), "tell", options)
    assert heard.stats is not None
    assert heard.stats.finish_reason == "length"
    assert heard.stats.thinking_tokens + heard.stats.answer_tokens == most
    assert not heard.stats.window_full
    assert FULL_FOR_GOOD not in heard.notices


async def test_a_stop_between_two_rounds_holds() -> None:
    scripted = Scripted(512, [Says("t" * 200, LONG)])
    session = session_with(scripted)
    ends = []
    async with aclosing(session.send("tell", OPTIONS)) as events:
        async for event in events:
            if isinstance(event, Notice):
                assert "goes on" in event.text
                await session.stop()
            if isinstance(event, Finished):
                ends.append(event.stats)
    assert [stats.finish_reason for stats in ends] == ["cancelled"]
    assert len(scripted.asked) == 2
    assert scripted.cached == len(scripted.prompts[1])  # not a word more
    assert session.messages[-1].text in LONG


async def test_a_death_in_a_later_round_keeps_all_text() -> None:
    scripted = Scripted(512, [Says("t" * 200, LONG)])
    session = session_with(scripted)
    heard = Heard()
    async with aclosing(session.send("tell", OPTIONS)) as events:
        async for event in events:
            heard.error = getattr(event, "error", heard.error)
            if isinstance(event, Notice):
                scripted.alive = False
    assert died(heard.error)
    assert LONG.startswith(session.messages[-1].text)
    assert session.messages[-1].stats is not None
    assert session.messages[-1].stats.thinking_tokens == 200


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.integers(64, 900),
    st.integers(0, 600),
    st.integers(1, 1500),
    st.lists(st.integers(1, 200), max_size=6),
)
def test_any_answer_is_whole_or_fills_what_there_is(
    window: int, thinking: int, answer: int, past: list[int]
) -> None:
    async def talk() -> None:
        scripted = Scripted(window)
        session = session_with(scripted)
        for length in past:
            scripted.script.append(Says("", "x" * length))
            if (await ask(session, "q", OPTIONS)).error is not None:
                scripted.script.clear()
        before = len(scripted.asked)
        scripted.script.append(Says("t" * thinking, LONG[:answer]))
        heard = await ask(session, "tell", OPTIONS)
        if isinstance(heard.error, ContextFull):
            return
        assert heard.stats is not None
        if heard.stats.finish_reason == "stop":
            assert heard.answer == LONG[:answer]
        else:
            assert LONG.startswith(heard.answer)
            assert heard.notices[-1] in {FULL_IN_THINKING, FULL_FOR_GOOD}
        rounds = len(scripted.asked) - before
        assert rounds <= 1 + window // budget.continuing_room(window)
        assert all(len(prompt) < window for prompt in scripted.prompts)

    asyncio.run(talk())


REPLIES = st.one_of(
    st.builds(Says, st.just("§§§§"), st.text("abc", min_size=1, max_size=9)),
    st.builds(Says, st.just("§§§§"), st.just("abc"), stops_after=st.integers(0, 9)),
    st.builds(Says, st.just("§" * 3000), st.just("abc")),
    st.builds(Says, st.just(""), st.text("abc", min_size=1, max_size=400)),
    st.builds(Says, st.just("§§§§"), st.just("")),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(REPLIES, max_size=12), st.sampled_from([600, 4096]))
def test_no_thought_is_ever_sent_again_and_every_question_has_its_answer(
    replies: list[Says], window: int
) -> None:
    async def talk() -> None:
        scripted = Scripted(window, list(replies))
        session = session_with(scripted)
        for number, _ in enumerate(replies):
            await ask(session, f"question {number}", OPTIONS)
            await session.settle()
        for prompt in [*scripted.prompts, *scripted.prefilled]:
            assert "§" not in prompt
            assert prompt.count(template.BOS) == 1
            assert prompt.startswith(template.BOS)
            # Every question but the last one has an answer, whole, with its end.
            *past, _last = prompt.removeprefix(template.BOS).split(template.USER)[1:]
            for turn in past:
                question, mark, answer = turn.partition(template.ASSISTANT)
                assert question.startswith("question ")
                assert mark
                assert answer.strip() != template.EOS
                assert answer.endswith(template.EOS)

    asyncio.run(talk())


async def test_a_reply_that_died_is_no_history() -> None:
    scripted = Scripted(script=[Says("§§§", "yes", dies_after=2)])
    session = session_with(scripted)
    assert died((await ask(session, "first", OPTIONS)).error)
    fresh = Scripted(script=[Says("", "ok")])
    session.replace_engine(fresh.engine)
    await ask(session, "second", OPTIONS)
    assert fresh.prompts == [
        f"{template.BOS}{template.USER}second{template.ASSISTANT}{template.THINK}\n"
    ]


async def test_loops_are_told_and_their_end_is() -> None:
    events: tuple[protocol.Event, ...] = (
        protocol.LoopNoticed(1, "cycle", 3),
        protocol.ThinkingEnded(1, "loop"),
    )
    scripted = Scripted(script=[Says("so so so", "42", before=events)])
    session = session_with(scripted)
    seen = [event async for event in session.send("what?", ReplyOptions(on_loop="end"))]
    assert LoopNotice("cycle", 3) in seen
    text = "The thinking went round in circles and was ended; the answer follows."
    assert Notice(text) in seen
    assert scripted.asked[0].on_loop == "end"
    assert ReplyOptions().on_loop == "tell"


def test_the_users_settings_are_those_of_a_reply() -> None:
    assert ReplyOptions.preferred(Preferences()) == ReplyOptions()
    wanted = Preferences(when_full="stop", thinking_budget="90s", speculation=True)
    options = ReplyOptions.preferred(wanted)
    assert options.thinking_budget_seconds == 90.0
    assert options.thinking_budget_tokens is None
    assert options.when_full == "stop"
    assert options.draft_tokens == wanted.draft_tokens > 0


async def test_what_is_asked_for_reaches_the_engine() -> None:
    scripted = Scripted(script=[Says("hm", "x")])
    options = ReplyOptions(
        temperature=0.1, seed=3, max_tokens=9, thinking_budget_tokens=5, draft_tokens=8
    )
    await ask(session_with(scripted), "one", options)
    sent = scripted.asked[0]
    assert (sent.temperature, sent.seed, sent.max_tokens) == (0.1, 3, 9)
    assert (sent.thinking_budget_tokens, sent.draft_tokens) == (5, 8)
    assert sent.answer_reserve_tokens == budget.answer_reserve(scripted.context_window)


async def test_what_is_computed_ahead_is_how_the_next_prompt_begins() -> None:
    scripted = Scripted(700, [Says("hm", f"answer {n} " + "." * 40) for n in range(12)])
    session = session_with(scripted)
    for n in range(12):
        await ask(session, f"question {n}", OPTIONS)
        await session.settle()
    assert len(scripted.prefilled) == 12
    for ahead, prompt in zip(scripted.prefilled, scripted.prompts[1:], strict=False):
        assert prompt.startswith(ahead)
        assert last_question(ahead) == ""
    assert "question 0" not in scripted.prompts[-1]


async def test_nothing_is_computed_ahead_of_a_reply_without_an_answer() -> None:
    scripted = Scripted(script=[Says("hm", "x", stops_after=1), Says("hm", "x", stops_after=5)])
    session = session_with(scripted)
    await ask(session, "one", OPTIONS)
    await session.settle()
    assert scripted.prefilled == []
    await ask(session, "two", OPTIONS)
    await session.settle()
    assert len(scripted.prefilled) == 1
    assert "one" not in scripted.prefilled[0]


async def test_single_questions_compute_nothing_ahead() -> None:
    scripted = Scripted(script=[Says("hm", "x")])
    session = ChatSession(scripted.engine, None, demo_model(), look_ahead=False)
    await ask(session, "one", OPTIONS)
    await session.resume()
    await session.settle()
    assert scripted.prefilled == []


async def test_a_question_does_not_wait_for_what_is_computed_ahead() -> None:
    scripted = Scripted(script=[Says("hm", "x"), Says("hm", "y")], holds=asyncio.Event())
    session = session_with(scripted)
    await ask(session, "one", OPTIONS)
    await asyncio.sleep(0.01)
    assert len(scripted.prefilled) == 1
    heard = await ask(session, "two", OPTIONS)
    assert heard.answer == "y"


async def test_an_engine_that_dies_while_idle_is_told_by_the_next_reply() -> None:
    scripted = Scripted(script=[Says("hm", "x"), Says("hm", "y")], holds=asyncio.Event())
    session = session_with(scripted)
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, about: unhandled.append(about))
    await ask(session, "one", OPTIONS)
    await asyncio.sleep(0.01)
    scripted.alive = False
    assert scripted.holds is not None
    scripted.holds.set()
    await session.settle()
    assert unhandled == []
    assert died((await ask(session, "two", OPTIONS)).error)


async def heard_of(session: ChatSession, wish: Wish, *, may_leave_out: bool) -> list[Event]:
    options = replace(OPTIONS, may_leave_out=may_leave_out)
    async with aclosing(session.carry_out(wish, options)) as events:
        return [event async for event in events]


async def test_nothing_is_left_out_where_it_may_not_be() -> None:
    """For every kind of wish: what is foretold is what the request lacks once it may."""
    said = [Says("hm", f"answer {n} " + "." * 60) for n in range(40)]
    scripted = Scripted(1024, said)
    session = session_with(scripted)
    foretold = []
    for n in range(12):
        lately, before, asked = session.left_out_messages, session.messages, len(scripted.asked)
        heard = await heard_of(session, Ask(f"question {n}"), may_leave_out=False)
        if isinstance(heard[0], NoRoom):
            assert len(heard) == 1
            assert (session.messages, len(scripted.asked)) == (before, asked), "nothing was asked"
            assert not session.busy
            await heard_of(session, Ask(f"question {n}"), may_leave_out=True)
            assert heard == [NoRoom(session.left_out_messages)]
            foretold.append(session.left_out_messages)
        assert session.left_out_messages == (foretold[-1] if foretold else 0)
        assert session.left_out_messages >= lately
    assert len(foretold) >= 2
    again = await heard_of(session, ThinkAgain(session.messages[-1].id), may_leave_out=False)
    assert not isinstance(again[0], NoRoom), "the same that was agreed to"
    first = session.messages[0]
    heard = await heard_of(session, Edit(first.id, "other words"), may_leave_out=False)
    assert isinstance(heard[-1], Finished)
    heard = await heard_of(session, Ask("x" * 5000), may_leave_out=False)
    assert isinstance(heard[-1], Failed), "that does not fit at all, and says so itself"


async def test_a_question_that_surely_fits_needs_no_counting() -> None:
    scripted = Scripted(16384, [Says("hm", "one"), Says("hm", "two"), Says("hm", "three")])
    session = session_with(scripted)
    await ask(session, "first", OPTIONS)
    await session.settle()
    counted = 0
    plain = scripted.engine.count_tokens

    async def count_tokens(prompts: object) -> tuple[int, ...]:
        nonlocal counted
        counted += 1
        return await plain(prompts)  # type: ignore[arg-type]

    scripted.engine.count_tokens = count_tokens  # type: ignore[method-assign]
    await heard_of(session, Ask("second"), may_leave_out=False)
    await session.settle()
    with_look = counted
    counted = 0
    await heard_of(session, Ask("third " * 2000), may_leave_out=False)
    await session.settle()
    assert counted == with_look + 1
