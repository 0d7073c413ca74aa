"""Conversations on a real SQLite file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localr1.chat import database
from localr1.chat.store import Store
from localr1.chat.types import ReplyStats
from localr1.errors import StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "conversations.db"


def fill(store: Store, question: str, answer: str) -> int:
    number = store.create(question, "demo")
    _, reply = store.add_exchange(number, None, question)
    store.update(reply.id, answer, "hm", ReplyStats(finish_reason="stop", answer_tokens=3))
    return number


def test_everything_comes_back(path: Path) -> None:
    store = Store(path)
    number = fill(store, "What is 1 + 1?\nplease", "2")
    store.close()
    store = Store(path)
    conversation = store.conversation(number)
    assert conversation.title == "What is 1 + 1?"
    question, reply = conversation.messages
    assert (question.role, question.text) == ("user", "What is 1 + 1?\nplease")
    assert (reply.role, reply.text, reply.thinking) == ("assistant", "2", "hm")
    assert reply.parent_id == question.id
    assert reply.stats == ReplyStats(finish_reason="stop", answer_tokens=3)
    store.close()


def test_search_finds_words_and_survives_any_query(path: Path) -> None:
    store = Store(path)
    fill(store, "About prime numbers", "Seven is one.")
    fill(store, "About rivers", "The Rhine.")
    assert [s.title for s in store.summaries(query="seven")] == ["About prime numbers"]
    assert [s.title for s in store.summaries(query="riv")] == ["About rivers"]
    assert len(store.summaries()) == 2
    for query in ('"', "a AND", "100%", "x*y", "(", "NEAR(", "\x00", "-", "'; DROP TABLE message"):
        assert isinstance(store.summaries(query=query), tuple)
    store.close()


def test_newest_first_rename_and_delete(path: Path) -> None:
    store = Store(path)
    first, second = fill(store, "first", "1"), fill(store, "second", "2")
    assert [s.id for s in store.summaries()] == [second, first]
    store.rename(first, "renamed")
    assert store.conversation(first).title == "renamed"
    store.save_draft(second, "unsent")
    store.delete(second)
    assert [s.id for s in store.summaries()] == [first]
    assert store.draft(second) == ""
    assert store.summaries(query="second") == ()
    with pytest.raises(StoreError):
        store.conversation(second)
    store.close()


def test_drafts(path: Path) -> None:
    store = Store(path)
    store.save_draft(None, "half a thought")
    assert store.draft(None) == "half a thought"
    store.save_draft(None, "")
    assert store.draft(None) == ""
    store.close()


def test_lone_surrogates_do_not_lose_the_text(path: Path) -> None:
    store = Store(path)
    number = fill(store, "odd \ud800 text", "fine \udfff")
    assert store.conversation(number).messages[0].text == "odd ? text"
    store.close()


def test_threads_share_a_store(path: Path) -> None:
    store = Store(path)
    threads = [threading.Thread(target=fill, args=(store, f"q{i}", "a")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.summaries()) == 8
    store.close()


def test_two_processes_share_the_file(path: Path) -> None:
    store = Store(path)
    code = (
        "import sys; from pathlib import Path; from localr1.chat.store import Store\n"
        "s = Store(Path(sys.argv[1]))\n"
        "for i in range(20): s.add_exchange(s.create(f'p{i}', 'demo'), None, 'q')\n"
        "s.close()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    for i in range(20):
        fill(store, f"mine {i}", "a")
    assert process.wait(60) == 0
    assert len(store.summaries()) == 40
    store.close()


def test_a_damaged_file_is_named_and_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert str(path) in caught.value.why + caught.value.todo
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(path: Path) -> None:
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer"):
        Store(path)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "file" / "conversations.db")
    assert caught.value.todo


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE message SET stats = '{bad'",
        "UPDATE message SET stats = '[1]'",
        "UPDATE message SET created_at = 'yesterday'",
        "UPDATE conversation SET updated_at = 'x'",
        "UPDATE message SET parent_id = id",
        "DELETE FROM message WHERE id = 1",
    ],
)
def test_a_damaged_row_loses_only_itself(path: Path, damage: str) -> None:
    store = Store(path)
    number = fill(store, "What is 1 + 1?", "2")
    store.close()
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    store = Store(path)
    assert [s.id for s in store.summaries()] == [number]
    assert store.conversation(number).messages[-1].text == "2"
    store.close()


def test_an_older_database_is_taken_along(path: Path) -> None:
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript(database._MIGRATIONS[0] + "PRAGMA user_version = 1;")
    connection.executescript(
        "INSERT INTO conversation VALUES (1, 'Primes', 'demo', '2025-01-01', '2025-01-01');"
        "INSERT INTO message VALUES (1, 1, NULL, 'user', 'Is 91 prime?', '', '', '2025-01-01');"
        "INSERT INTO message VALUES (2, 1, 1, 'assistant', 'No.', 'Seven times thirteen.',"
        """ '{"finish_reason": "stop"}', '2025-01-01');"""
        "INSERT INTO message VALUES (3, 1, 2, 'user', 'Sure?', '', '', '2025-01-01');"
        "INSERT INTO message VALUES (4, 1, 3, 'assistant', '', 'Was killed', '', '2025-01-01');"
    )
    connection.close()
    store = Store(path)
    assert len(store.conversation(1).messages) == 4
    for words in ("91", "no", "thirteen seven", "killed"):
        assert [s.id for s in store.summaries(query=words)] == [1], words
    store.close()


def test_what_is_found_is_marked_wherever_it_stands(path: Path) -> None:
    store = Store(path)
    number = fill(store, "Über die Primzahlen", "Sieben <b>ist</b> eine.")
    under_way = store.add_exchange(number, None, "Und 数学很有意思 weiter?")[1]
    store.update(under_way.id, "", "Noch ein *halber* Gedanke 思考", ReplyStats())
    for query, where, marked in (
        ("ÜBER", "question", "\x02Über\x03"),
        ("sieben", "answer", "\x02Sieben\x03 <b>ist"),
        ("gedanke", "thinking", "\x02Gedanke\x03"),
        ("有意", "question", "数学很\x02有意\x03思"),
        ("思考", "thinking", "\x02思考\x03"),
    ):
        (summary,) = store.summaries(query=query)
        assert summary.hit is not None, query
        assert (summary.hit.where, marked in summary.hit.excerpt) == (where, True), query
    store.update(under_way.id, "Nun fertig", "Gedanke zu Ende", ReplyStats(finish_reason="stop"))
    store.update(under_way.id, "Anders", "", ReplyStats(finish_reason="cancelled"))
    assert store.summaries(query="fertig") == ()
    assert len(store.summaries(query="anders")) == 1
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO message_text(message_text) VALUES ('integrity-check')")
    connection.close()


def test_pinned_archived_tagged_and_thrown_away(path: Path) -> None:
    store = Store(path)
    first, second, third = (fill(store, f"number {n}", "a") for n in range(3))
    store.pin(first, pinned=True)
    assert [s.id for s in store.summaries()] == [first, third, second]
    store.archive(second, archived=True)
    assert [s.id for s in store.summaries()] == [first, third]
    assert [s.id for s in store.summaries(archived=True)] == [second]
    assert len(store.summaries(query="number")) == 3
    store.set_tags(third, ("  #maths ", "maths", "", "x" * 99))
    assert store.tags() == ("maths", "x" * 30)
    assert [s.id for s in store.summaries(tag="maths")] == [third]
    assert [s.id for s in store.summaries(query="math")] == [third]
    store.discard(third)
    assert store.tags() == ()
    assert store.summaries(query="2") == ()
    with pytest.raises(StoreError):
        store.conversation(third)
    store.purge("2000")
    store.restore(third)
    assert store.conversation(third).messages[1].text == "a"
    assert store.summaries(tag="maths")[0].id == third
    store.discard(third)
    store.purge()
    store.restore(third)
    with pytest.raises(StoreError):
        store.conversation(third)
    store.close()


def test_what_was_asked_is_known_in_all_conversations(path: Path) -> None:
    store = Store(path)
    first = fill(store, "one", "a")
    fill(store, "two", "b")
    fill(store, "x" * 30_000, "has a file in it")
    fill(store, "one", "again")
    store.archive(first, archived=True)
    assert store.prompts() == ("two", "one")
    assert store.prompts(limit=1) == ("one",)
    gone = fill(store, "three", "c")
    store.discard(gone)
    assert "three" not in store.prompts()
    store.close()


def test_a_users_title_stays(path: Path) -> None:
    store = Store(path)
    number = fill(store, "What is 1 + 1?", "2")
    store.rename(number, "A sum", "model")
    assert (store.summaries()[0].title, store.summaries()[0].titled_by) == ("A sum", "model")
    store.rename(number, "Mine")
    store.rename(number, "A sum", "model")
    assert store.summaries()[0].title == "Mine"
    store.close()
