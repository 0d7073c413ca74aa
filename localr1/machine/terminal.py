"""What the terminal can do: size, colours, encoding, and whether it tells modified keys apart."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_ANSWER_SECONDS: Final = 0.3
# Asks for the keyboard protocol's state (kitty's "comprehensive keyboard handling"), then for the
# terminal's attributes, which every terminal answers: by then the first answer has come or never
# will.
_QUESTION: Final = b"\x1b[?u\x1b[c"


@dataclass(frozen=True)
class Terminal:
    """What is known of it."""

    interactive: bool
    """Whether somebody sits there; a pipe has no size and no keys."""
    columns: int
    lines: int
    encoding: str
    colours: int
    """How many: 16,777,216, 256, 16, or 0 for none wanted."""
    dumb: bool
    modified_keys: bool | None
    """Whether Shift+Enter is another key than Enter; None where it does not say."""


def look(environment: Mapping[str, str] = os.environ) -> Terminal:
    """Look at the terminal that this process writes to; takes at most a third of a second."""
    columns, lines = shutil.get_terminal_size()
    interactive = sys.stdout.isatty() and sys.stdin.isatty()
    return Terminal(
        interactive=interactive,
        columns=columns,
        lines=lines,
        encoding=sys.stdout.encoding or "",
        colours=colours(environment, sys.platform),
        dumb=environment.get("TERM") == "dumb",
        modified_keys=asked(sys.stdin.fileno(), sys.stdout.fileno()) if interactive else None,
    )


def colours(environment: Mapping[str, str], platform: str) -> int:
    """Return how many colours a terminal says it has (no-color.org, COLORTERM, TERM)."""
    if environment.get("NO_COLOR"):
        return 0
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return 1 << 24
    # Windows' own terminals have all of them since Windows 10 1703.
    if platform == "win32" or environment.get("WT_SESSION"):
        return 1 << 24
    return 256 if "256color" in environment.get("TERM", "") else 16


def asked(keyboard: int, screen: int, seconds: float = _ANSWER_SECONDS) -> bool | None:
    """Ask a terminal whether it has the keyboard protocol that tells modified keys apart.

    Args:
        keyboard: File descriptor that its answer comes from.
        screen: File descriptor that it shows.
        seconds: How long to wait.

    Returns:
        None where it answers nothing at all.
    """
    if sys.platform == "win32":
        return None
    import termios  # noqa: PLC0415 - POSIX only
    import tty  # noqa: PLC0415 - as above

    try:
        before = termios.tcgetattr(keyboard)
    except termios.error:
        return None
    try:
        tty.setcbreak(keyboard, termios.TCSANOW)
        os.write(screen, _QUESTION)
        answer = _answer(lambda left: _read(keyboard, left), seconds)
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
    return b"u" in answer.partition(b"\x1b[?")[2] if answer else None


def _answer(read: Callable[[float], bytes], seconds: float) -> bytes:
    """Everything up to the attributes, which end in `c`."""
    deadline = time.monotonic() + seconds
    answer = b""
    while (left := deadline - time.monotonic()) > 0 and not answer.endswith(b"c"):
        answer += read(left)
    return answer


def _read(keyboard: int, seconds: float) -> bytes:
    ready, _, _ = select.select([keyboard], [], [], seconds)
    return os.read(keyboard, 64) if ready else b""
