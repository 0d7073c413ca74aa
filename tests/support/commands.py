"""`localr1` as someone at a shell runs it: in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

Run = Callable[..., tuple[int, str, str]]
"""A command in this process: its exit code, and what it printed (fixture `run`)."""
# Whoever runs the tests in the background has Ctrl-C ignored.
MAIN: Final = """
import signal, sys
from localr1.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
_SLOWLY: Final = """
import time
from localr1.models import copying
plain = copying._blocks
def slowly(spans, on_bytes):
    for block in plain(spans, on_bytes):
        for at in range(0, len(block), 4096):
            time.sleep(0.002)
            yield block[at:at + 4096]
copying._blocks = slowly
"""


def localr1(
    *arguments: str,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    before: tuple[str, ...] = (),
    most_seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as in a terminal of 80 columns.

    Args:
        arguments: Of the command line.
        text: What comes through a pipe; None for no pipe.
        environment: Variables besides the tests' own.
        before: A program that runs it.
        most_seconds: When it counts as hung.
    """
    return subprocess.run(
        [*before, sys.executable, "-m", "localr1", *arguments],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=most_seconds,
        check=False,
        env={**os.environ, "COLUMNS": "80", **(environment or {})},
    )


def begun(*arguments: str) -> subprocess.Popen[str]:
    """A command in the middle of its work, which Ctrl-C reaches."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_while_copying(
    *arguments: str, watched: Path, after_seconds: float, code: str = MAIN
) -> None:
    """Run a command that copies slowly, and kill it.

    Args:
        arguments: Of the command line.
        watched: The folder in which the copy grows.
        after_seconds: How long after the copy was begun.
        code: What runs instead of the command line.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOWLY + code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 30
    while not list(watched.rglob("*.copying")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after_seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
