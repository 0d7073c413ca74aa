"""The doctor's checks beside those of the engine: each finds what is wrong, and says what to do."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from localr1 import doctor
from localr1.config import Directories
from localr1.machine import terminal
from localr1.machine.terminal import Terminal

GOOD = Terminal(True, 120, 40, "utf-8", 1 << 24, dumb=False, modified_keys=True)


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    made = Directories.standard({"LOCALR1_HOME": str(tmp_path)})
    for folder in (made.cache, made.data, made.models):
        folder.mkdir(parents=True)
    return made


def test_a_good_terminal() -> None:
    (finding,) = doctor.terminal(GOOD)
    assert finding.status == "ok"
    assert "16,777,216 colours" in finding.what
    assert "Ctrl+J" not in finding.what
    (finding,) = doctor.terminal(replace(GOOD, modified_keys=False, colours=0))
    assert "Ctrl+J begins a new line" in finding.what
    assert "NO_COLOR" in finding.what


@pytest.mark.parametrize(
    ("changes", "todo"),
    [
        ({"dumb": True}, "localr1 ask"),
        ({"encoding": "ascii"}, "UTF-8"),
        ({"columns": 40}, "larger"),
        ({"lines": 10}, "larger"),
    ],
)
def test_terminals_that_need_the_user(changes: dict[str, object], todo: str) -> None:
    (finding,) = doctor.terminal(replace(GOOD, **changes))  # type: ignore[arg-type]  # one of each
    assert finding.status == "warning"
    assert todo in finding.todo


def test_a_pipe_has_no_size_to_complain_of() -> None:
    assert doctor.terminal(replace(GOOD, interactive=False, lines=1))[0].status == "ok"


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"COLORTERM": "truecolor", "TERM": "xterm"}, 1 << 24),
        ({"TERM": "xterm-256color"}, 256),
        ({"TERM": "linux"}, 16),
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, 0),
    ],
)
def test_colours(environment: dict[str, str], count: int) -> None:
    assert terminal.colours(environment, "linux") == count
    assert terminal.colours({}, "win32") == 1 << 24


@pytest.mark.skipif(sys.platform == "win32", reason="NOT TESTED: there are no pseudo-terminals")
@pytest.mark.parametrize(
    # kitty's answer with its attributes; xterm's attributes alone; nothing.
    ("answer", "expected"),
    [(b"\x1b[?0u\x1b[?62;c", True), (b"\x1b[?64;1;2c", False), (b"", None)],
)
def test_a_terminal_is_asked_for_its_keyboard(answer: bytes, expected: bool | None) -> None:
    outside, inside = os.openpty()
    heard: list[bytes] = []

    def answered() -> None:
        heard.append(os.read(outside, 64))
        os.write(outside, answer)

    thread = threading.Thread(target=answered)
    thread.start()
    try:
        assert terminal.asked(inside, inside, seconds=5.0 if answer else 0.1) is expected
        thread.join()
        assert heard[0].startswith(b"\x1b[?u\x1b[c")
    finally:
        os.close(outside)
        os.close(inside)


def test_the_clock() -> None:
    assert doctor.clock(time.time())[0].status == "ok"
    (finding,) = doctor.clock(0.0)
    assert finding.status == "warning"
    assert "1970" in finding.what
    assert "Set the clock" in finding.todo
    (finding,) = doctor.clock(time.time() + 30 * 365 * 86_400)
    assert finding.status == "warning"
    assert "can hardly be" in finding.what


@pytest.mark.parametrize(
    ("newest", "now", "status"),
    [
        (1.8e9, 1.8e9 + 3 * 3.2e7, "ok"),  # three years without a new release
        (1.8e9, 1.8e9 + 6 * 3.2e7, "warning"),
        (1.8e9, 1.8e9 - 2 * 86_400, "warning"),
        (1.0, 1.77e9, "ok"),  # Nix and Guix give every file the first second of 1970
        (1.0, 1.6e9, "warning"),
        (1.0, 1.77e9 + 9 * 3.2e7, "warning"),
    ],
)
def test_a_clock_is_held_against_the_newest_files(newest: float, now: float, status: str) -> None:
    assert [one.status for one in doctor.clock(now, newest)] == [status]


def test_the_cache(directories: Directories) -> None:
    from localr1.models.place import Sidecar, write_sidecar

    (directories.cache / "probe.json").write_text("{}", encoding="utf-8")
    assert [one.status for one in doctor.cache(directories)] == ["ok"]
    (directories.cache / "bandwidth.json").write_text("{", encoding="utf-8")
    for text in ("[]", "null", "3", '"probe"'):
        (directories.cache / "probe.json").write_text(text, encoding="utf-8")
        assert "probe.json is damaged." in [one.what for one in doctor.cache(directories)], text
    (directories.cache / "probe.json").write_text("{}", encoding="utf-8")
    folder = directories.models / "owner--repository"
    folder.mkdir()
    for name, size in (("whole.gguf", 3), ("cut.gguf", 4)):
        (folder / name).write_bytes(b"abc")
        note = Sidecar("owner/repository", name, "main", size, "0" * 64, 0, ((name, size),))
        write_sidecar(folder / name, note)
    findings = doctor.cache(directories)
    assert [one.status for one in findings] == ["warning", "warning"]
    assert "bandwidth.json is damaged" in findings[0].what
    assert findings[1].what.startswith("cut.gguf is gone")


def test_the_disk(
    directories: Directories, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda _place: 100 << 30)
    (finding,) = doctor.disk(directories)
    assert "MB/s" in finding.what
    assert list(tmp_path.rglob("tmp*")) == []
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _file: os.write(-1, b""))  # an OSError
        (finding,) = doctor.disk(directories)
    assert finding.status == "failed"
    assert "quota" in finding.why
    monkeypatch.setattr(doctor, "_write_speed", lambda _folder: 5e6)
    (finding,) = doctor.disk(directories)
    assert finding.status == "warning"
    assert "faster disk" in finding.todo
    monkeypatch.setattr(doctor, "free_bytes", lambda _place: 1 << 30)
    assert "Only 1.0 GiB" in doctor.disk(directories)[0].what
