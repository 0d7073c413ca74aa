"""Records every attempt to reach a network from a program and all it starts, and spoils it.

The guard is a `sitecustomize.py` in a folder on PYTHONPATH, so that it runs in the app, its worker
and every other Python below them. It hears of sockets by Python's audit events.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Network = Literal["refused", "dropped", "slow"]

_CODE = """
import os, socket, sys, time

_LOG, _NETWORK = {log!r}, {network!r}
_EVENTS = {{
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
    "socket.getnameinfo", "socket.sendto", "socket.sendmsg",
}}

def _hook(event, arguments):
    if event == "import" or event not in _EVENTS:
        return
    first = arguments[0] if arguments else None
    if isinstance(first, socket.socket) and first.family == getattr(socket, "AF_UNIX", None):
        return
    with open(_LOG, "a", encoding="utf-8") as log:
        log.write(f"{{event}} {{arguments[1:]!r}} {{first!r}} {{sys.argv!r}}\\n")
    if _NETWORK == "dropped":
        time.sleep(120)
    if _NETWORK == "slow":
        time.sleep(5)
    raise ConnectionRefusedError(111, "refused by the guard")

with open(_LOG, "a", encoding="utf-8") as log:
    log.write(f"start {{os.getpid()}}\\n")
sys.addaudithook(_hook)
"""


@dataclass(frozen=True)
class Guard:
    """A guard that is set up."""

    folder: Path
    log: Path

    def environment(self, **more: str) -> dict[str, str]:
        """The environment in which programs are guarded."""
        paths = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}

    @property
    def programs(self) -> int:
        """How many programs ran under it."""
        return sum(line.startswith("start") for line in self._lines)

    @property
    def attempts(self) -> list[str]:
        """Every attempt to reach a network."""
        return [line for line in self._lines if not line.startswith("start")]

    @property
    def _lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


def guard(folder: Path, network: Network) -> Guard:
    """Set up a guard.

    Args:
        folder: An empty folder for it.
        network: What an attempt meets: a refusal at once, no answer at all, or one after long.
    """
    folder.mkdir(parents=True)
    log = folder / "attempts.log"
    code = _CODE.format(log=str(log), network=network)
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return Guard(folder, log)


PYTHON = sys.executable
