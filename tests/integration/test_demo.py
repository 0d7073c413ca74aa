"""The demo model answers right, says what it is, and is small and honest."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from talking import ask, demo_engine, demo_model

from localr1.chat.session import ChatSession, ReplyOptions
from localr1.gguf import file, header

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import demo_task


def test_the_file(demo_path: Path) -> None:
    assert demo_path.stat().st_size <= 8_000_000
    known = file.recognise(demo_path)
    assert known.architecture.name == "qwen2"
    tokens = header.read(demo_path, keep=("tokenizer.ggml.tokens",)).metadata[
        "tokenizer.ggml.tokens"
    ]
    assert isinstance(tokens, tuple)
    for token in ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", *"0123456789"):
        assert token in tokens
    assert "</think>" in known.chat_template


@pytest.mark.parametrize("operation", ["+", "-", "?"])
async def test_a_hundred_unseen_problems(tmp_path: Path, operation: str) -> None:
    rng = random.Random(f"demo {operation}")
    right = asked = 0
    async with demo_engine(tmp_path) as engine:
        while asked < 100:
            problem = demo_task.draw_problem(rng, held_out=True)
            if problem.operation == operation:
                asked += 1
                session = ChatSession(engine, None, demo_model())
                heard = await ask(session, demo_task.ask(problem, rng))
                right += heard.answer == demo_task.answer_of(problem)
    assert right >= 98


async def test_conversations_of_ten_turns(tmp_path: Path) -> None:
    rng = random.Random("turns")
    right = 0
    async with demo_engine(tmp_path) as engine:
        for _ in range(8):
            session = ChatSession(engine, None, demo_model())
            for _ in range(10):
                turn = demo_task.draw_turn(rng, held_out=True)
                right += (await ask(session, turn.question)).answer == turn.answer
    assert right >= 78


async def test_it_says_what_it_is(tmp_path: Path) -> None:
    rng = random.Random("other")
    right = 0
    questions = [demo_task.other_question(rng).strip() or "?" for _ in range(60)]
    async with demo_engine(tmp_path) as engine:
        for question in ("Who are you?", "What is 12 * 12?", "Write a poem", "你好", *questions):
            heard = await ask(ChatSession(engine, None, demo_model()), question)
            right += heard.answer == demo_task.SELF_DESCRIPTION
    assert right >= 62


async def test_thinking_cut_anywhere_ends_in_a_well_formed_answer(tmp_path: Path) -> None:
    rng = random.Random("cut")
    formed = 0
    async with demo_engine(tmp_path) as engine:
        for _ in range(60):
            problem = demo_task.draw_problem(rng, held_out=True)
            turn = demo_task.turn_of(problem, demo_task.ask(problem, rng))
            options = ReplyOptions(temperature=0.0, thinking_budget_tokens=rng.randint(0, 140))
            heard = await ask(ChatSession(engine, None, demo_model()), turn.question, options)
            assert heard.answer
            formed += heard.answer in {turn.answer, turn.unfinished_answer}
    assert formed >= 57


def test_held_out_problems_are_never_drawn_for_training() -> None:
    rng = random.Random(0)
    assert not any(demo_task.is_held_out(demo_task.draw_problem(rng)) for _ in range(500))
    assert all(demo_task.is_held_out(demo_task.draw_problem(rng, held_out=True)) for _ in range(50))
