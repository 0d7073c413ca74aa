"""The computer does not fall asleep during long work, and may again after it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localr1.machine import awake
from localr1.machine.awake import Awake

POSIX = pytest.mark.skipif(os.name == "nt", reason="NOT TESTED: Windows has a call, no program")


def test_each_system_has_its_own_way() -> None:
    assert awake.command("darwin", 42, "x") == ("caffeinate", "-i", "-w", "42")
    linux = awake.command("linux", 42, "localr1 downloads a model")
    assert linux is not None
    assert linux[0] == "systemd-inhibit"
    assert "--what=sleep:idle" in linux
    assert "--why=localr1 downloads a model" in linux
    assert awake.command("freebsd14", 42, "x") is None


@pytest.fixture
def inhibitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands where the system's program would: it writes down when it begins and ends."""
    log = tmp_path / "log"
    program = tmp_path / awake.command(sys.platform, 1, "")[0]  # type: ignore[index]  # POSIX has one
    program.write_text(
        f"#!/bin/sh\nprintf 'held %s\\n' \"$*\" >> {log}\n"
        f"trap 'echo ended >> {log}; exit' TERM\nexec 3<&0; cat <&3 >/dev/null & wait\necho ended >> {log}\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return log


def seen(log: Path, text: str) -> str:
    deadline = time.monotonic() + 60
    while not log.exists() or text not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return log.read_text(encoding="utf-8")


@POSIX
def test_held_during_and_released_after(inhibitor: Path) -> None:
    with awake.awake("localr1 downloads a model"):
        assert "ended" not in seen(inhibitor, "held")
    seen(inhibitor, "ended")


@POSIX
def test_released_after_an_error(inhibitor: Path) -> None:
    def fail() -> None:
        with awake.awake("x"):
            seen(inhibitor, "held")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    seen(inhibitor, "ended")


@POSIX
def test_a_killed_localr1_holds_nothing(inhibitor: Path) -> None:
    if sys.platform == "darwin":
        pytest.skip("NOT TESTED: caffeinate itself watches the process")
    code = (
        "import time; from localr1.machine.awake import Awake\n"
        "a = Awake('x'); a.hold(); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    seen(inhibitor, "held")
    process.kill()
    process.wait()
    seen(inhibitor, "ended")


@POSIX
def test_only_what_is_long_holds_it(inhibitor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Awake("localr1 writes an answer")
    holder.hold_if_long()
    assert not inhibitor.exists()
    monkeypatch.setattr(awake, "PATIENCE_SECONDS", 0.0)
    holder.hold_if_long()
    holder.hold_if_long()
    seen(inhibitor, "held")
    holder.release()
    holder.release()
    assert seen(inhibitor, "ended").count("held") == 1


def test_where_there_is_no_way_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    holder = Awake("x")
    holder.hold()
    # Windows has its own call, whatever the path.
    assert holder.held == (os.name == "nt")
    holder.release()
