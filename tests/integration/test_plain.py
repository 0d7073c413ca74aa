"""The chat line by line: every line whole, nothing drawn, Ctrl+C stops a reply and keeps it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import localr1
from faults import SLOW, sabotage

from localr1.chat.store import Store
from localr1.config import Directories


def talk(*lines: str) -> subprocess.CompletedProcess[str]:
    return localr1("chat", "demo", "--plain", text="".join(f"{line}\n" for line in lines))


def test_questions_and_answers_take_turns_in_whole_lines() -> None:
    done = talk("What is 347 + 589?", "/thinking", "5 - 9", "", "/new", "12 + 30", "/quit")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "R1: 347 + 589 = 936" in lines
    assert "R1: 5 - 9 = -4" in lines
    assert lines.index("So 5 - 9 = -4") > lines.index("R1: 347 + 589 = 936")
    assert "R1: 12 + 30 = 42" in lines
    assert not any(ord(sign) < 32 and sign != "\n" for sign in done.stdout)
    store = Store(Directories.standard().database)
    assert [s.message_count for s in store.summaries()] == [2, 4]
    store.close()


def test_the_end_of_input_ends_it() -> None:
    done = talk("1 + 1")
    assert done.returncode == 0
    assert "R1: 1 + 1 = 2" in done.stdout
    assert done.stdout.endswith("You: \n")


@pytest.mark.skipif(sys.platform == "win32", reason="a signal of its own for Ctrl+C there")
def test_ctrl_c_stops_the_reply_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, tmp_path / "code", SLOW)
    arguments = [sys.executable, "-m", "localr1", "chat", "demo", "--plain"]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("What is 3471 + 5892?\n")
        process.stdin.flush()
        while "R1 is thinking" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert "Stopped." in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "Traceback" not in rest
    store = Store(Directories.standard().database)
    reply = store.conversation(store.summaries()[0].id).messages[1]
    store.close()
    assert reply.thinking
    assert reply.stats is not None
    assert reply.stats.finish_reason == "cancelled"
