"""What a model, a file or another program wrote cannot reach the terminal as anything but text.

The app runs in a real pseudo-terminal, and every byte that it sends there is looked at.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from localr1.chat.store import Store
from localr1.chat.types import Incoming, ReplyStats, Said
from localr1.config import Directories

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")

# A clipboard, a title, colours, a link, an alternate screen, and the same with C1 signs; then
# marks that turn the direction, invisible tags, and the app's own markup.
EVIL: Final = (
    "\x1b]52;c;UFdORUQ=\x07 \x1b]0;PWNED\x07 \x1b[31mPWNED \x1b]8;;http://PWNED\x1b\\x\x1b]8;;\x1b\\"
    " \x1b[?1049l \x9b31mPWNED \x9d0;PWNED\x9c \u202ePWNED\u202c \u2066x\u2069 \U000e0050\U000e0057"
    " [@click=app.quit]PWNED[/] [bold]b[/bold] \rPWNED \x08\x08 \x1bc"
)
# Each would be one of the above having come through.
_OBEYED: Final = (
    re.compile(rb"\x1b[\]P_^X][^\x07\x1b]*(PWNED|UFdORUQ)"),
    re.compile(rb"(\xc2\x9d|\x9d)[^\x07\x9c]*PWNED"),
    re.compile(rb"\x1b\[31mPWNED"),
    re.compile(rb"\x1bc"),
    re.compile(rb"\xc2[\x80-\x9f]"),
)
_DIRECTIONS: Final = "\u202e\u202c\u2066\u2069\U000e0050"


def keep_hostile() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    said = (
        Said(None, "user", f"needle {EVIL}", "", at),
        Said(0, "assistant", f"# {EVIL}\n\n```{EVIL}\n{EVIL}\n```\n\n\\[ {EVIL} \\]\n\n"
             f"| {EVIL} |\n|---|\n| {EVIL} |\n\n[{EVIL}](http://x/{EVIL})", EVIL, at,
             ReplyStats(finish_reason="stop")),
    )  # fmt: skip
    store = Store(Directories.standard().database)
    number = store.take(Incoming(f"Title {EVIL}", f"demo{EVIL}", said, tags=(EVIL,)))
    assert number is not None
    store.save_draft(number, EVIL)
    store.close()


class Terminal:
    """The app in a terminal of 100 columns."""

    def __init__(self, *arguments: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "localr1", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            start_new_session=True,
        )
        os.close(theirs)
        self.sent = b""

    def wait_for(self, words: bytes, seconds: float = 60.0) -> None:
        deadline, start = time.monotonic() + seconds, len(self.sent)
        while words not in self.sent[start:]:
            assert time.monotonic() < deadline, f"{words!r} never came: {self.sent[-2000:]!r}"
            self._read(0.2)

    def press(self, keys: bytes, then_seconds: float = 0.7) -> None:
        os.write(self._mine, keys)
        deadline = time.monotonic() + then_seconds
        while time.monotonic() < deadline:
            self._read(0.05)

    def _read(self, seconds: float) -> None:
        if select.select([self._mine], [], [], seconds)[0]:
            try:
                self.sent += os.read(self._mine, 1 << 16)
            except OSError:
                return  # it has ended

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._mine)


@pytest.fixture
def terminal() -> Any:
    keep_hostile()
    started = Terminal("--offline", "chat", "demo")
    yield started
    started.close()


def check(sent: bytes) -> None:
    for pattern in _OBEYED:
        found = pattern.search(sent)
        assert found is None, sent[max(0, found.start() - 80) : found.end() + 80]
    text = sent.decode("utf-8", "replace")
    assert not set(_DIRECTIONS) & set(text)


def test_no_byte_of_a_conversation_is_obeyed(terminal: Terminal) -> None:
    terminal.wait_for(b"Ctrl")
    terminal.press(b"\x0c", 1.5)  # the list of conversations
    terminal.press(b"needle", 1.5)
    terminal.press(b"\r", 2.0)  # opened, with its draft
    terminal.press(b"\x0f", 1.5)  # its thinking
    terminal.press(b"\x1b[5~")
    terminal.press(b"\x1bOS", 1.0)  # formulas as their source
    assert terminal.sent.count(b"PWNED") > 10  # it was all on the screen
    check(terminal.sent)


def test_a_file_with_a_hostile_name_is_only_listed(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "evil\x1b]0;PWNED\x07\u202e.gguf").write_bytes(b"GGUF" + bytes(40))
    settings = Directories.standard().settings
    settings.mkdir(parents=True)
    (settings / "settings.toml").write_text(f"model_folders = ['{folder}']\n")
    (settings / "models.toml").write_text('[[model]]\nid = "x\\u001b]0;PWNED\\u0007"\n')
    for command in (["models", "--all"], ["ask", "@evil\x1b]0;PWNED\x07", "hm"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-m", "localr1", "--offline", *command],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        check(done.stdout + done.stderr)
