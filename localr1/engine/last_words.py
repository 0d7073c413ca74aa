"""Why a worker ended, in words: from its exit code and from the end of its log."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Final

ABORT_MARK: Final = "llama.cpp gave up: "
"""Begins the line with which the worker tells an assertion of llama.cpp."""

# llama.cpp's words for a computation that was broken off, as each request breaks off idle work.
_STOPPED: Final = re.compile(
    r"failed with error 1\b|compute status: 1\b|failed to decode, ret = 2\b|removing memory module"
)

# Windows reports a crash by its status code; the others report a signal.
_WINDOWS_CRASHES: Final = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction: this build is for another CPU",
    0xC0000409: "abort",
}
_SIGNALS: Final = {
    "SIGKILL": "killed, by the system when memory ran out or by someone",
    "SIGILL": "illegal instruction: this build is for another CPU",
    "SIGABRT": "llama.cpp gave up",
    "SIGSEGV": "llama.cpp crashed",
    "SIGBUS": "llama.cpp crashed; the model file may have been cut short or its disk be gone",
}


def cause(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        name = _signal_name(code)
        return f"{_SIGNALS.get(name, 'ended by a signal')} ({name})"
    crash = _WINDOWS_CRASHES.get(code & 0xFFFFFFFF)
    return f"{crash} ({code & 0xFFFFFFFF:#x})" if crash else f"exit code {code}"


def last_words(log_path: Path, code: int, *, lines: int = 3, tail_bytes: int = 16384) -> str:
    """The reason that the log gives; who was killed from outside had no last words.

    Args:
        log_path: The worker's log.
        code: Its exit code.
        lines: How many lines to quote when none of them says that it is the reason.
        tail_bytes: How much of the log's end is looked at.
    """
    if code < 0 and _signal_name(code) == "SIGKILL":
        return f"It could give no reason. Its log is {log_path}."
    try:
        with log_path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - tail_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    found = [line.strip() for line in text.splitlines() if line.strip(" .\t")]
    found = [line for line in found if not _STOPPED.search(line)]
    told = [line for line in found if line.startswith(ABORT_MARK)]
    if told:
        return told[-1].removeprefix(ABORT_MARK)
    if "Traceback (most recent call last):" in found:
        lines = 1  # the exception itself says it all
    return " / ".join(found[-lines:])


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return str(-code)
