"""Answers held to a JSON schema, with the real engine: the thinking stays free."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import localr1
from grammars import satisfies
from talking import GREEDY, ask, demo_engine, demo_model

from localr1.chat.json_grammar import grammar_of
from localr1.chat.session import ChatSession
from localr1.engine.client import Engine
from localr1.errors import EngineError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sum": {"type": "integer", "minimum": 0, "maximum": 20000},
        "sure": {"type": "boolean"},
        "parts": {"type": "array", "items": {"enum": ["ones", "tens"]}, "maxItems": 3},
        "note": {"type": "string", "maxLength": 12},
    },
    "required": ["sum", "sure", "parts"],
}
QUESTION = "What is 347 + 589?"
HELD = replace(GREEDY, grammar=grammar_of(SCHEMA), when_full="stop")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with demo_engine(tmp_path) as running:
        yield running


def session(engine: Engine) -> ChatSession:
    return ChatSession(engine, None, demo_model(), look_ahead=False)


async def test_the_thinking_is_free_and_the_answer_is_not(engine: Engine) -> None:
    free = await ask(session(engine), QUESTION)
    held = await ask(session(engine), QUESTION, HELD)
    assert held.thinking == free.thinking
    assert "936" in held.thinking
    assert satisfies(json.loads(held.answer), SCHEMA)
    # And the next one is free again.
    assert (await ask(session(engine), QUESTION)).answer == free.answer


@pytest.mark.parametrize("budget", [0, 7])
async def test_a_thinking_that_was_ended_leads_to_the_same_form(
    engine: Engine, budget: int
) -> None:
    options = replace(HELD, thinking_budget_tokens=budget)
    heard = await ask(session(engine), QUESTION, options)
    assert satisfies(json.loads(heard.answer), SCHEMA)


async def test_the_hottest_sampling_keeps_to_the_form(engine: Engine) -> None:
    for seed in range(12):
        options = replace(HELD, temperature=5.0, seed=seed, thinking_budget_tokens=5)
        heard = await ask(session(engine), "hm?", options)
        assert heard.stats is not None
        if heard.stats.finish_reason == "stop":
            assert satisfies(json.loads(heard.answer), SCHEMA), heard.answer


async def test_a_grammar_that_llama_cpp_refuses_is_told(engine: Engine) -> None:
    broken = replace(GREEDY, grammar="root ::= root")
    heard = await ask(session(engine), QUESTION, broken)
    assert isinstance(heard.error, EngineError)
    assert "936" in (await ask(session(engine), QUESTION)).answer


def test_ask_holds_the_answer_to_a_schema(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(SCHEMA))
    fixed = ("ask", "--model", "demo", "--seed", "4", "--schema", str(file), QUESTION)
    done = localr1(*fixed)
    assert done.returncode == 0, done.stderr
    assert satisfies(json.loads(done.stdout), SCHEMA)
    assert "write 6, carry 1" in done.stderr
    cut = localr1(*fixed, "--max-tokens", "12", "--json")
    assert cut.returncode == 1
    assert json.loads(cut.stdout)["finish_reason"] == "length"
    assert "JSON" in cut.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not JSON"), ('{"pattern": "x"}', "pattern"), ("[" * 100_000, "not JSON")],
)
def test_a_schema_that_cannot_be_used_is_wrong_usage(
    run: Any, tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "schema.json"
    file.write_text(text)
    code, out, err = run("ask", "--model", "demo", "--schema", str(file), QUESTION)
    assert (code, out) == (2, "")
    assert words in err


def test_a_real_model_is_told_the_schema(tmp_path: Path) -> None:
    from localr1.cli.answer_form import read

    file = tmp_path / "schema.json"
    file.write_text('{"type": "object"}')
    asked = read(str(file)).asked_for("Who?")
    assert asked.startswith("Who?\n")
    assert '{"type": "object"}' in asked
