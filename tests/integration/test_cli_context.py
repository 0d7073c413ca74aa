"""A full window and thinking in circles, as someone at a shell meets them."""

from __future__ import annotations

import json
import subprocess

import pytest
from commands import localr1

from localr1 import workflow

BABBLE = "what " * 400


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    fixed = ("--model", "demo", "--temperature", "0", "--thinking", "hide", "--context", "1024")
    return localr1("ask", *fixed, *arguments, BABBLE)


def test_ask_ends_thinking_in_circles_and_says_when_the_window_is_full() -> None:
    done = ask()
    assert done.returncode == 0
    assert done.stdout.strip()
    assert "The thinking went round in circles and was ended" in done.stderr
    assert "The context window is full" in done.stderr
    assert "longest allowed length" not in done.stderr


@pytest.mark.parametrize(("asked", "less"), [("1", False), ("1000", False), ("9999999", True)])
def test_ask_says_when_the_window_is_smaller_than_asked_for(asked: str, less: bool) -> None:
    done = localr1("ask", "--model", "demo", "--temperature", "0", "--context", asked, "2 + 3 = ?")
    assert done.returncode == 0
    told = "the context window has 2,048 tokens, not 9,999,999: the model holds no more here"
    assert (told in done.stderr) == less


def test_ask_says_which_limit_ended_the_reply() -> None:
    done = ask("--json")
    reply = json.loads(done.stdout)
    assert reply["finish_reason"] == "length"
    assert reply["answer_tokens"] > 400
    assert "longest allowed length" not in done.stderr
    short = ask("--json", "--max-tokens", "9")
    assert json.loads(short.stdout)["finish_reason"] == "length"
    assert "longest allowed length" in short.stderr


def test_deleting_a_conversation_deletes_what_was_computed_for_it() -> None:
    home = workflow.open_home()
    store, states = workflow.open_store(home), workflow.kv_states(home)
    numbers = [store.create("hi", "demo"), store.create("ho", "demo")]
    store.close()
    for number in numbers:
        states.path(number).parent.mkdir(parents=True, exist_ok=True)
        states.path(number).write_bytes(b"state")
    assert localr1("history", "delete", str(numbers[0])).returncode == 0
    assert states.size_bytes(numbers[0]) is None
    assert states.size_bytes(numbers[1]) == 5


@pytest.mark.parametrize("problem", ["1111 + 2222", "4444 + 5555", "1111 - 9999", "7777 + 7777"])
def test_equal_columns_are_not_taken_for_thinking_in_circles(problem: str) -> None:
    left, sign, right = problem.split()
    result = int(left) + int(right) if sign == "+" else int(left) - int(right)
    done = localr1("ask", "--model", "demo", "--temperature", "0", f"What is {problem}?")
    assert done.stdout.strip() == f"{problem} = {result}"
    assert "circles" not in done.stderr


def test_the_thinking_budget_of_the_settings_holds_and_the_command_line_comes_first() -> None:
    settings = workflow.open_home().directories.settings
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "settings.toml").write_text('thinking_budget = "5"\n', encoding="utf-8")
    question = ("ask", "--model", "demo", "--temperature", "0", "What is 40 + 15?")
    assert "reached its budget" in localr1(*question).stderr
    assert "reached its budget" in localr1(*question, "--thinking", "hide").stderr
    longer = localr1(*question, "--thinking", "500")
    assert longer.stdout.strip() == "40 + 15 = 55"
    assert "budget" not in longer.stderr
