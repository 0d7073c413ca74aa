"""`localr1 serve` as its users run it: a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from commands import MAIN


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    process: psutil.Process
    address: str
    """Ends in `/v1`."""
    said: str

    @property
    def root(self) -> str:
        return self.address.removesuffix("/v1")

    @property
    def resident_bytes(self) -> int:
        """Of the server and its worker."""
        both = [self.process, *self.process.children()]
        return sum(each.memory_info().rss for each in both)

    def figure(self, name: str) -> float:
        """A figure of `/metrics`."""
        text = httpx2.get(f"{self.root}/metrics").text
        found = re.search(rf"^localr1_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None, text
        return float(found[1])

    def post(self, path: str = "/chat/completions", **body: Any) -> httpx2.Response:
        return httpx2.post(f"{self.address}{path}", json=body, timeout=60)


@contextmanager
def served(home: Path, *options: str) -> Iterator[Served]:
    """Run it on the demo; ends like Ctrl+C does.

    Args:
        home: Its LOCALR1_HOME.
        options: More of the command line.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", "demo", "--port", "0", *options],
        env={**os.environ, "LOCALR1_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    for line in iter(process.stdout.readline, ""):
        said += line
        if "Ctrl+C" in line:
            break
    found = re.search(r"http://\S+", said)
    try:
        assert found is not None, said + (process.communicate()[1])
        yield Served(psutil.Process(process.pid), found[0], said)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors, errors
        assert process.returncode == 130, errors
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
