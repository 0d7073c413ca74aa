"""The app is killed while it writes, again and again: the database is sound, the text is there."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from localr1.chat.store import Store

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
KILLS: Final = 100 if SOAK else 10
# Saved each tenth of a second here, for a test's sake; what is lost is measured in saves.
SAVE_SECONDS: Final = 0.1
# A busy computer writes later than it should.
LATEST_SECONDS: Final = 0.7

_APP: Final = """
import asyncio, sys, time
from contextlib import aclosing
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from scripted import Says, Scripted
from talking import demo_model
from localr1.chat import record
from localr1.chat.session import ChatSession
from localr1.chat.store import Store

record._SAVE_SECONDS = float(sys.argv[3])

class Paced(Scripted):
    async def generate(self, request):
        async for event in super().generate(request):
            await asyncio.sleep(0.002)
            yield event

async def main():
    store = Store(Path(sys.argv[1]))
    while True:
        engine = Paced(context_window=10**6, script=[Says("thinking " * 30 + ".", "answer " * 30 + ".")] * 99)
        session = ChatSession(engine.engine, store, demo_model())
        for number in range(3):
            shown = ""
            async with aclosing(session.send(f"question {number}")) as events:
                async for event in events:
                    if text := getattr(event, "text", ""):
                        shown += text
                        last = session.messages[-1].id
                        print(f"{last} {time.time():.6f} {len(shown)}", flush=True)
            store.pin(session.conversation_id, pinned=True)

asyncio.run(main())
"""


def killed(database: Path, after_seconds: float) -> list[tuple[int, float, int]]:
    """Run the app until a moment after its first words; what it showed: message, when, how much."""
    support = Path(__file__).resolve().parents[1] / "support"
    arguments = [sys.executable, "-c", _APP, str(database), str(support), str(SAVE_SECONDS)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        first = app.stdout.readline()
        assert first
        time.sleep(after_seconds)
        app.kill()
        lines = [first, *app.stdout]
    if not lines[-1].endswith("\n"):
        lines.pop()  # cut by the kill
    parts = [line.split() for line in lines]
    return [(int(number), float(at), int(length)) for number, at, length in parts]


def check(database: Path, shown: list[tuple[int, float, int]]) -> None:
    """Nothing is damaged, and of every message is there what was shown a moment before the end."""
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("INSERT INTO message_text(message_text) VALUES ('integrity-check')")
        kept = dict(connection.execute("SELECT id, length(thinking || text) FROM message"))
    finally:
        connection.close()
    end = shown[-1][1]
    for number, at, length in shown:
        if at < end - LATEST_SECONDS:
            assert kept[number] >= length, f"{number} has {kept[number]} of {length}"
    assert shown[-1][0] in kept


def test_a_hundred_kills_leave_a_sound_database(tmp_path: Path) -> None:
    database, rng = tmp_path / "c.db", random.Random(7)
    cut = 0
    for _ in range(KILLS):
        shown = killed(database, rng.uniform(0.0, 2.5 if SOAK else 1.4))
        check(database, shown)
        store = Store(database)
        talk = store.conversation(store.summaries(1)[0].id)
        cut += talk.messages[-1].stats is None or talk.messages[-1].stats.finish_reason == ""
        # What was cut is found all the same, and can be gone on with.
        if talk.messages[-1].thinking:
            assert store.summaries(query="thinking")
        store.close()
    assert cut > KILLS // 2
