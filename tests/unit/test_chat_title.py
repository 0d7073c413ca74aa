"""Titles in the model's words: when they are wanted, what is asked, what is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import Says, Scripted
from talking import ask, demo_model

from localr1.chat import template, title
from localr1.chat.session import ChatSession
from localr1.chat.types import ReplyOptions

R1 = replace(demo_model(), demo=False)


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("Sums of primes", "Sums of primes"),
        ('**Title:** "Sums of primes."\n\nI hope you like it.', "Sums of primes"),
        ("\n\n# 素数の和。\n", "素数の和"),
        ("«Les nombres premiers»", "Les nombres premiers"),
        ("\x1b[31mRed\u202e", "[31mRed"),
        ("", ""),
        ("***", ""),
        ("word " * 40, ""),
    ],
)
def test_a_title_is_a_few_words(said: str, taken: str) -> None:
    assert title.cleaned(said) == taken


async def test_it_is_made_from_the_first_exchange_without_thinking() -> None:
    scripted = Scripted(4096, [Says("hm", "936"), Says("", 'Title: "A sum"')])
    session = ChatSession(scripted.engine, None, R1, look_ahead=False)
    assert not title.wanted(R1, session.messages)
    await ask(session, "347 + 589?", ReplyOptions())
    assert title.wanted(R1, session.messages)
    assert not title.wanted(demo_model(), session.messages)
    assert await title.make(scripted.engine, R1, session.messages) == "A sum"
    asked = scripted.asked[-1]
    assert (asked.thinking_budget_tokens, asked.temperature) == (0, 0.0)
    assert "347 + 589?" in scripted.prompts[-1]
    assert "hm" not in scripted.prompts[-1].partition(template.USER)[0]
    scripted.script.append(Says("", "15"))
    await ask(session, "And 7 + 8?", ReplyOptions())
    assert not title.wanted(R1, session.messages)
    assert "A sum" not in scripted.prompts[-1]


async def test_there_is_none_where_it_has_no_room_or_was_stopped() -> None:
    scripted = Scripted(300, [Says("", "x" * 40), Says("", "Never asked")])
    session = ChatSession(scripted.engine, None, R1, look_ahead=False)
    await ask(session, "y" * 60, ReplyOptions())
    assert await title.make(scripted.engine, R1, session.messages) == ""
    scripted.context_window = 4096
    scripted.script = [Says("", "A title that is stopped", stops_after=9)]
    assert await title.make(scripted.engine, R1, session.messages) == ""
