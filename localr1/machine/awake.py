"""Keeping the computer from going to sleep by itself while something long runs.

Only that: the lid, the power button and the user's own "sleep" work as ever, and the screen may
go dark. Each system's own way: systemd-inhibit(1), caffeinate(8), SetThreadExecutionState. What
holds it awake ends with this process, however that ends; where there is no way nothing happens.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

PATIENCE_SECONDS: Final = 20.0
"""What takes no longer than this is over before any computer falls asleep."""

# ES_CONTINUOUS | ES_SYSTEM_REQUIRED, of SetThreadExecutionState's page in Microsoft's documentation.
_KEEP, _LET = 0x80000001, 0x80000000
_END_SECONDS: Final = 2.0


def command(system: str, process: int, why: str) -> tuple[str, ...] | None:
    """Return the program that keeps a computer awake; None where there is none for its system.

    Args:
        system: `sys.platform`.
        process: Whose end ends it (macOS; on Linux it ends with its standard input).
        why: Shown to whoever asks why the computer does not sleep.
    """
    if system == "darwin":
        return ("caffeinate", "-i", "-w", str(process))
    if system == "linux":
        what = ("--what=sleep:idle", "--mode=block", "--who=localr1", f"--why={why}")
        return ("systemd-inhibit", *what, "cat")
    return None


class Awake:
    """Holds the computer awake from `hold` to `release`; both may be called more than once.

    Args:
        why: What runs, for people.
    """

    def __init__(self, why: str) -> None:
        self._why = why
        self._began = time.monotonic()
        self._program: subprocess.Popen[bytes] | None = None
        self._ended: threading.Event | None = None

    @property
    def held(self) -> bool:
        """Whether something holds it."""
        return self._program is not None or self._ended is not None

    def hold_if_long(self) -> None:
        """Hold it once it has taken long enough to matter."""
        if not self.held and time.monotonic() - self._began > PATIENCE_SECONDS:
            self.hold()

    def hold(self) -> None:
        """Keep the computer awake."""
        if self.held:
            return
        if sys.platform == "win32":
            self._ended = threading.Event()
            threading.Thread(target=_hold_windows, args=(self._ended,), daemon=True).start()
            return
        wanted = command(sys.platform, os.getpid(), self._why)
        if wanted is None or shutil.which(wanted[0]) is None:
            return
        # Without a bus it ends at once and nothing is held: as good as it gets there.
        with suppress(OSError):
            self._program = subprocess.Popen(  # noqa: S603 - fixed programs
                wanted,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def release(self) -> None:
        """Let it sleep again."""
        if self._ended is not None:
            self._ended.set()
            self._ended = None
        program, self._program = self._program, None
        if program is None:
            return
        if program.stdin is not None:
            with suppress(OSError):
                program.stdin.close()
        program.terminate()
        # Nobody who draws a screen waits for it.
        threading.Thread(target=_collect, args=(program,), daemon=True).start()


@contextmanager
def awake(why: str) -> Iterator[None]:
    """Keep the computer awake while the block runs.

    Args:
        why: What runs, for people.
    """
    holder = Awake(why)
    holder.hold()
    try:
        yield
    finally:
        holder.release()


def _collect(program: subprocess.Popen[bytes]) -> None:
    try:
        program.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def _hold_windows(ended: threading.Event) -> None:
    """The wish is the thread's own, so one thread makes it and takes it back."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415

        ctypes.windll.kernel32.SetThreadExecutionState(_KEEP)
        ended.wait()
        ctypes.windll.kernel32.SetThreadExecutionState(_LET)
