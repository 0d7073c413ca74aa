"""`localr1 history`: what goes out comes back, and what others wrote comes in."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from commands import Run

from localr1.chat.manner import USUAL, Manner
from localr1.chat.store import Store
from localr1.chat.types import ReplyStats
from localr1.config import Directories

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe <script>alert(1)</script> [red]x[/red]"
FORMULA = "So\n\n\\[ \\frac{1}{2} + \\boxed{936} \\]\n\n![x](https://example.org/spy.png)"


MANNER = Manner("Be brief.", "mathematics", 0.5, 0.9, 7, leave_out_oldest=True)


@pytest.fixture
def store() -> Any:
    opened = Store(Directories.standard().database)
    yield opened
    opened.close()


def talk(store: Store, question: str, answer: str, thinking: str = "Let me see.") -> int:
    number = store.create(question, "r1-distill-qwen-7b")
    _, reply = store.add_exchange(number, None, question)
    store.update(reply.id, answer, thinking, ReplyStats(finish_reason="stop", answer_tokens=3))
    return number


def test_list_and_search_show_where(run: Run, store: Store) -> None:
    number = talk(store, "About primes", "Seven is one.", "Is ninety-one one? 7 times 13.")
    store.set_tags(number, ("maths",))
    talk(store, "About rivers", "The Rhine.")
    code, out, _ = run("history", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["2", "1"]
    assert "About primes #maths" in out
    assert run("history", "list", "--tag", "maths")[1].count("\n") == 1
    out = run("history", "search", "ninety")[1]
    assert "thinking: Is *ninety*-one one?" in out
    found = json.loads(run("history", "search", "rhine", "--json")[1])
    assert found["conversations"][0]["hit"] == {"where": "answer", "excerpt": "The *Rhine*."}
    assert "nothing found" in run("history", "search", "volcano")[2]


def test_export_and_import_are_each_others_inverse(run: Run, store: Store, tmp_path: Path) -> None:
    number = talk(store, "What is 347 + 589?", FORMULA)
    first = store.conversation(number)
    again = store.add_reply(number, first.messages[0].id)
    store.update(again.id, "936", "once more", ReplyStats(finish_reason="length", seed=7))
    store.rate(again.id, 1)
    store.add_exchange(number, again.id, "And 5 - 9?")
    store.pin(number, pinned=True)
    store.set_tags(number, ("sums", "school"))
    store.save_manner(number, MANNER)
    before = store.conversation(number)
    file = tmp_path / "all.json"
    assert run("history", "export", "all", "--output", str(file))[0] == 0
    assert "are here already" in run("history", "import", str(file))[2]
    run("history", "delete", str(number))
    code, _, err = run("history", "import", str(file))
    assert (code, "took 1" in err) == (0, True)
    (summary,) = store.summaries()
    assert (summary.pinned, summary.tags) == (True, ("school", "sums"))
    after = store.conversation(summary.id)
    assert (after.title, after.model_id) == (before.title, before.model_id)
    for now, then in ((after.tree, before.tree), (after.messages, before.messages)):
        assert [(m.role, m.text, m.thinking, m.created_at, m.rating) for m in now] == [
            (m.role, m.text, m.thinking, m.created_at, m.rating) for m in then
        ]
    assert after.messages[1].stats == before.messages[1].stats
    assert after.manner == MANNER
    assert store.summaries(query="once")[0].id == summary.id
    run("history", "export", str(summary.id), "--no-thinking", "--output", str(file))
    assert "once more" not in file.read_text()


@pytest.mark.parametrize("form", ["markdown", "text", "html"])
def test_how_it_was_held_stands_above_it(run: Run, store: Store, form: str) -> None:
    number = talk(store, "Why?", "Because.")
    assert "seed" not in run("history", "export", str(number), "--format", form)[1]
    store.save_manner(number, replace(MANNER, system=f"Be\nbrief. {HOSTILE}"))
    out = run("history", "export", str(number), "--format", form)[1]
    assert "mathematics, temperature 0.5, top-p 0.9, seed 7, system prompt: Be brief." in out
    assert not any(sign in out for sign in "\x1b\x07\u202e")
    assert form != "html" or "<script>" not in out


@pytest.mark.parametrize(
    "held",
    [
        "x",
        [],
        {"system": 5, "seed": -1, "temperature": "hot", "top_p": True, "preset": "no"},
        {"temperature": 1e300, "top_p": 0, "seed": 1.5, "leave_out_oldest": "yes"},
    ],
)
def test_what_is_odd_in_how_it_was_held_is_as_if_nothing_was_chosen(
    run: Run, store: Store, tmp_path: Path, held: object
) -> None:
    number = talk(store, "Why?", "Because.")
    file = tmp_path / "one.json"
    run("history", "export", str(number), "--output", str(file))
    written = json.loads(file.read_text())
    written["conversations"][0]["manner"] = held
    file.write_text(json.dumps(written))
    run("history", "delete", str(number))
    assert run("history", "import", str(file))[0] == 0
    (summary,) = store.summaries()
    assert store.conversation(summary.id).manner == USUAL


@pytest.mark.parametrize("form", ["markdown", "text", "html", "json"])
@pytest.mark.parametrize("thinking", [True, False])
def test_every_form_has_the_words_and_nothing_that_a_terminal_obeys(
    run: Run, store: Store, form: str, thinking: bool
) -> None:
    number = talk(store, HOSTILE, f"{HOSTILE}\n\n{FORMULA}", "thought of it")
    extra = [] if thinking else ["--no-thinking"]
    code, out, _ = run("history", "export", str(number), "--format", form, *extra)
    assert code == 0
    assert ("thought of it" in out) == thinking
    assert "alert(1)" in out
    assert not any(sign in out for sign in "\x1b\x07\u202e")


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_a_page_draws_formulas_and_loads_nothing(run: Run, store: Store) -> None:
    bad = "[a](javascript:alert(1)) <img src=x onerror=y> **bold**"
    number = talk(store, "<b>q</b>", f"{FORMULA}\n\n{bad}")
    out = run("history", "export", str(number), "--format", "html")[1]
    page = Page()
    page.feed(out)
    assert not {"img", "script", "iframe", "link", "b"} & set(page.tags)
    assert page.addresses == []
    assert "strong" in page.tags
    assert "936" in out
    assert "─" in out  # the fraction is drawn
    assert "https://example.org/spy.png" in out


def test_show_and_mistakes(run: Run, store: Store, tmp_path: Path) -> None:
    number = talk(store, "One?", "Two.", "Three.")
    assert "Three" not in run("history", "show", str(number))[1]
    assert "Three" in run("history", "show", str(number), "--thinking")[1]
    assert json.loads(run("history", "show", str(number), "--json")[1])["schema"] == 1
    assert run("history", "export", "x")[0] == 2
    assert run("history", "export", "1", "--output", str(tmp_path / "a.pdf"))[0] == 2
    assert run("history", "export", "7")[0] == 1
    assert run("history", "import", str(tmp_path / "none.json"))[0] == 1
    bad = tmp_path / "bad.json"
    for text in ("", "{", "[1, 2]", '{"messages": 3}', "[" * 99_999, '{"a": 1}\n{'):
        bad.write_text(text)
        code, _, err = run("history", "import", str(bad))
        assert code == 1
        assert "conversations.json" in err


LM_STUDIO = {
    "name": "Sums",
    "createdAt": 1_735_700_000_000,
    "messages": [
        {"versions": [{"type": "singleStep", "role": "user",
                       "content": [{"type": "text", "text": "What is 2+2?"}]}],
         "currentlySelected": 0},
        {"versions": [
            {"type": "multiStep", "role": "assistant", "steps": []},
            {"type": "multiStep", "role": "assistant",
             "senderInfo": {"senderName": "deepseek-r1-distill-qwen-7b"},
             "steps": [
                 {"type": "contentBlock", "style": {"type": "thinking", "ended": True},
                  "content": [{"type": "text", "text": "<think>Two twos.</think>"}]},
                 {"type": "contentBlock", "content": [{"type": "text", "text": "Four."}]},
                 {"type": "debugInfoBlock", "debugInfo": "..."}]}],
         "currentlySelected": 1},
    ],
}  # fmt: skip
OPENAI = [
    {"title": "Sums", "create_time": 1_735_700_000.5, "current_node": "d", "mapping": {
        "a": {"id": "a", "message": None, "parent": None, "children": ["b"]},
        "b": {"id": "b", "parent": "a", "children": ["c", "x"], "message": {
            "author": {"role": "user"}, "create_time": 1_735_700_000.5,
            "content": {"content_type": "text", "parts": ["What is 2+2?"]}}},
        "x": {"id": "x", "parent": "b", "children": [], "message": {
            "author": {"role": "assistant"}, "create_time": 1,
            "content": {"content_type": "text", "parts": ["Another branch."]}}},
        "c": {"id": "c", "parent": "b", "children": ["d"], "message": {
            "author": {"role": "assistant"}, "create_time": 1_735_700_001,
            "content": {"content_type": "thoughts",
                        "thoughts": [{"summary": "Sum", "content": "Two twos."}]}}},
        "d": {"id": "d", "parent": "c", "children": [], "message": {
            "author": {"role": "assistant"}, "create_time": 1_735_700_002,
            "metadata": {"model_slug": "deepseek-r1-distill-qwen-7b"},
            "content": {"content_type": "text", "parts": ["Four."]}}}}},
]  # fmt: skip
PLAIN = {
    "model": "deepseek-r1-distill-qwen-7b",
    "title": "Sums",
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is 2+2?", "created_at": "2025-01-01T02:53:20Z"},
        {"role": "assistant", "content": "<think>\nTwo twos.\n</think>\n\nFour."},
    ],
}


def ollama(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE chats (id TEXT PRIMARY KEY, title TEXT, created_at TIMESTAMP);"
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, chat_id TEXT, role TEXT, content TEXT,"
        " thinking TEXT, model_name TEXT, created_at TIMESTAMP);"
        "INSERT INTO chats VALUES ('x', 'Sums', '2025-01-01 02:53:20');"
        "INSERT INTO messages VALUES (1, 'x', 'user', 'What is 2+2?', '', NULL,"
        " '2025-01-01 02:53:20'), (2, 'x', 'assistant', 'Four.', 'Two twos.',"
        " 'deepseek-r1-distill-qwen-7b', '2025-01-01 02:53:22');"
    )
    connection.close()


def foreign(path: Path, kind: str) -> Path:
    file = path / f"{kind}.json"
    match kind:
        case "studio":
            file.write_text(json.dumps(LM_STUDIO))
        case "openai":
            file.write_text(json.dumps(OPENAI))
        case "zip":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("conversations.json", json.dumps(OPENAI))
                archive.writestr("user.json", "{}")
        case "lines":
            file.write_text(f"{json.dumps(PLAIN)}\n{json.dumps({'messages': []})}\n")
        case "ollama":
            ollama(file)
        case _:
            file.write_text(json.dumps(PLAIN))
    return file


@pytest.mark.parametrize("kind", ["studio", "openai", "zip", "lines", "plain", "ollama"])
def test_conversations_of_other_programs_come_in(
    run: Run, store: Store, tmp_path: Path, kind: str
) -> None:
    file = foreign(tmp_path, kind)
    before = file.read_bytes()
    code, _, err = run("history", "import", str(file))
    assert (code, "took 1" in err) == (0, True)
    assert file.read_bytes() == before
    (summary,) = store.summaries()
    talk = store.conversation(summary.id)
    assert (talk.title, talk.messages[0].text) == ("Sums", "What is 2+2?")
    reply = talk.messages[1]
    assert (reply.thinking, reply.text, len(talk.messages)) == ("Two twos.", "Four.", 2)
    assert reply.stats is not None
    assert reply.stats.model_id == "deepseek-r1-distill-qwen-7b"
    assert summary.updated_at.year in {2024, 2025}
    assert store.summaries(query="twos")[0].hit is not None
    assert "already" in run("history", "import", str(file))[2]


def test_a_question_without_a_reply_stays_one_that_can_be_gone_on_with(
    run: Run, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "odd.json"
    turns = [("assistant", "Hello!"), ("user", "a"), ("user", "b"), ("tool", "t"), ("user", "c")]
    file.write_text(json.dumps({"messages": [{"role": r, "content": t} for r, t in turns]}))
    run("history", "import", str(file))
    talk = store.conversation(store.summaries()[0].id)
    assert [(m.role, m.text) for m in talk.messages] == [("user", "a\n\nb\n\nc"), ("assistant", "")]
