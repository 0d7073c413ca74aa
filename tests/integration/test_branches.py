"""Branches of a conversation, with the real engine and a real database."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest
from scripted import Says, Scripted
from talking import GREEDY, Heard, ask, carry_out, demo_engine, demo_model

from localr1.chat.session import ChatSession
from localr1.chat.store import Store
from localr1.chat.types import (
    AnswerAgain,
    Edit,
    GoOn,
    ThinkAgain,
    ThinkingDelta,
)
from localr1.errors import UsageError


async def test_an_edited_question_is_a_branch_and_the_old_one_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        await ask(session, "12 + 30")
        await ask(session, "5 - 7")
        first = session.messages
        edited = await carry_out(session, Edit(first[0].id, "12 + 31"))
        assert edited.answer == "12 + 31 = 43"
        assert [m.text for m in session.messages] == ["12 + 31", "12 + 31 = 43"]
        assert session.versions(first[0].id) == (first[0].id, session.messages[0].id)
        await session.show_branch(first[0].id)
        assert session.messages == first
        assert (await ask(session, "20 + 22")).answer == "20 + 22 = 42"
        number = session.conversation_id
        assert number is not None
        await session.show_branch(session.versions(first[0].id)[1])
        kept = store.conversation(number)
        assert kept.messages == session.messages
        assert len(kept.tree) == 8
    store.close()


async def test_thinking_again_stands_beside_the_first_reply(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        await ask(session, "12 + 30")
        reply = session.messages[1]
        again = await carry_out(session, ThinkAgain(reply.id))
        assert again.thinking
        assert again.answer == reply.text
        assert session.versions(reply.id) == (reply.id, session.messages[1].id)
        assert len(session.messages) == 2
    store.close()


async def test_an_answer_from_the_same_thinking_thinks_no_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        await ask(session, "347 + 589")
        reply = session.messages[1]
        again = await carry_out(session, AnswerAgain(reply.id))
        assert not again.thinking
        assert again.answer == "347 + 589 = 936"
        made = session.messages[1]
        assert made.thinking == reply.thinking
        assert made.stats is not None
        assert made.stats.same_thinking
        assert reply.stats is not None
        assert made.stats.thinking_tokens == reply.stats.thinking_tokens
        # It was thought once: no other reply's length is judged by it twice.
        assert store.thinking_counts() == {"demo": (reply.stats.thinking_tokens,)}
        # And the conversation goes on.
        assert (await ask(session, "2 + 2")).answer == "2 + 2 = 4"
    store.close()


@pytest.mark.parametrize("after", [40, 1])
async def test_a_reply_stopped_in_its_thinking_goes_on_there(tmp_path: Path, after: int) -> None:
    store = Store(tmp_path / "c.db")
    async with demo_engine(tmp_path) as engine:
        session = ChatSession(engine, store, demo_model())
        heard = Heard()
        async with aclosing(session.send("3471 + 5892", GREEDY)) as events:
            async for event in events:
                if isinstance(event, ThinkingDelta):
                    heard.thinking += event.text
                    if len(heard.thinking) >= after:
                        break
        stopped = session.messages[1]
        assert stopped.thinking
        assert not stopped.text
        assert stopped.stats is not None
        assert stopped.stats.finish_reason == "cancelled"
        on = await carry_out(session, GoOn())
        assert on.answer == "3471 + 5892 = 9363"
        whole = session.messages[1]
        assert whole.id == stopped.id
        assert whole.thinking == stopped.thinking + on.thinking
        assert whole.stats is not None
        assert whole.stats.finish_reason == "stop"
        assert whole.stats.thinking_tokens > stopped.stats.thinking_tokens
        assert session.conversation_id is not None
        assert store.conversation(session.conversation_id).messages == session.messages
        with pytest.raises(UsageError):
            await carry_out(session, GoOn())
    store.close()


async def test_a_wish_is_told_at_the_end_of_the_thinking() -> None:
    engine = Scripted(script=[Says("I think.", "One."), Says("", "Un.")])
    session = ChatSession(engine.engine, None, demo_model(), look_ahead=False)
    await ask(session, "Count")
    heard = await carry_out(session, AnswerAgain(session.messages[1].id, "in French"))
    assert heard.answer.strip() == "Un."
    prompt = engine.prompts[-1]
    begin = prompt.index("<think>")
    assert "I think.\n\nI am to give my answer in this way: in French." in prompt[begin:]
    assert prompt.endswith("</think>\n\n")
    assert engine.asked[-1].continues_answer


async def test_an_answer_stopped_in_the_middle_goes_on_with_its_thinking() -> None:
    engine = Scripted(script=[Says("I think.", "One, two, three.", stops_after=14)])
    session = ChatSession(engine.engine, None, demo_model(), look_ahead=False)
    first = await ask(session, "Count")
    assert first.answer == "One,"
    engine.script = [Says("", " two, three.")]
    heard = await carry_out(session, GoOn())
    assert engine.prompts[-1].endswith("<think>\nI think.\n</think>\n\nOne,")
    assert heard.answer == " two, three."
    assert session.messages[1].text == "One, two, three."
    assert session.messages[1].thinking == "I think."
