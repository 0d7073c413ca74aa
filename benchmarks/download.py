"""Our download against curl, from the same loopback server, as a table.

    python benchmarks/download.py [--json FILE] [--pairs N]

Three servers: one at the end of a link of 1 Gbit/s, which Linux's own pacing keeps, one that gives
each connection a fixed share, and one as fast as this machine can go. Ours includes asking the hub
for the link, the journal, syncing to the disk and the sha256 of the whole file; curl only writes
the bytes. Both alternate, on the same disk. Exit code 0: every bound is kept; 1: one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import figures

from localr1.models.download import download
from localr1.models.hub import RemoteFile, list_files
from localr1.models.types import Variant

_SUPPORT: Final = Path(__file__).resolve().parent.parent / "tests" / "support"
_REPOSITORY: Final = "owner/model-GGUF"
_NAME: Final = "model.gguf"
_CONNECTIONS: Final = 4
_FEWEST_PAIRS: Final = 5


@dataclass(frozen=True)
class Server:
    """How a server limits what it sends."""

    name: str
    size_bytes: int
    connection_bytes_per_second: int = 0
    link_bytes_per_second: int = 0
    bound: figures.Bound | None = None


SERVERS: Final = (
    Server(
        "link of 1 Gbit/s",
        1_000_000_000,
        link_bytes_per_second=125_000_000,
        bound=figures.Bound("at least", 0.95),
    ),
    Server(
        "10 MB/s for each connection",
        60_000_000,
        connection_bytes_per_second=10_000_000,
        bound=figures.Bound("at least", 1.0),
    ),
    Server("no limit", 800_000_000),
)


def serve(server: Server) -> None:
    """Be the server, in a process of its own, until the input ends."""
    sys.path.insert(0, str(_SUPPORT))
    from loopback_hub import LoopbackHub
    from paced_link import PacedLink

    with LoopbackHub() as hub:
        hub.bytes_per_second = server.connection_bytes_per_second
        if server.link_bytes_per_second:
            hub.paced = PacedLink(server.link_bytes_per_second)
        hub.add(_REPOSITORY, {_NAME: os.urandom(server.size_bytes)})
        print(hub.endpoint, flush=True)
        sys.stdin.read()


@contextmanager
def running(number: int) -> Iterator[str]:
    """The address of a server that runs."""
    command = [sys.executable, __file__, "--serve", str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.communicate("", timeout=10)


def ours(files: tuple[RemoteFile, ...], folder: Path) -> float:
    """Seconds until the file is verified and in its place."""
    began = time.perf_counter()
    asyncio.run(
        download(files, folder, on_event=lambda _: None, connections=_CONNECTIONS, token="")
    )
    seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    return seconds


def curls(curl: str, url: str, path: Path) -> float:
    """Seconds until curl has written the file."""
    began = time.perf_counter()
    subprocess.run([curl, "--silent", "--fail", "--location", "-o", path, url], check=True)
    seconds = time.perf_counter() - began
    path.unlink()
    return seconds


def measure(number: int, pairs: int, folder: Path, curl: str) -> list[figures.Row]:
    """Ours and curl's speed from one server, and their ratio."""
    server = SERVERS[number]
    with running(number) as endpoint:
        asked = Variant("", _REPOSITORY, (_NAME,), server.size_bytes, size_is_exact=True)
        files = list_files(asked, endpoint=endpoint, token="")
        mine, theirs = [], []
        curls(curl, files[0].url, folder / _NAME)  # the server computes its headers once
        for _ in range(pairs):
            mine.append(server.size_bytes / 1e6 / ours(files, folder / "ours"))
            theirs.append(server.size_bytes / 1e6 / curls(curl, files[0].url, folder / _NAME))
    return [
        figures.Row(f"{server.name}: localr1", "MB/s", tuple(mine)),
        figures.Row(f"{server.name}: curl", "MB/s", tuple(theirs)),
        figures.Row(
            f"{server.name}: localr1 ÷ curl", "ratio", figures.ratios(mine, theirs), server.bound
        ),
    ]


def main() -> int:
    """Measure, print the table, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write every single run there")
    parser.add_argument("--pairs", type=int, default=_FEWEST_PAIRS, help="runs of each")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(SERVERS[arguments.serve])
        return 0
    curl = shutil.which("curl")
    if curl is None:
        print("curl is not installed.", file=sys.stderr)
        return 1
    rows: list[figures.Row] = []
    with tempfile.TemporaryDirectory(prefix="localr1-download-") as folder:
        for number in range(len(SERVERS)):
            rows += measure(number, max(1, arguments.pairs), Path(folder), curl)
    machine = {"system": platform.platform(), "processors": os.cpu_count()}
    print(f"{machine['system']}, {machine['processors']} processors, {_CONNECTIONS} connections\n")
    print(figures.markdown(rows))
    if arguments.json:
        arguments.json.write_text(figures.as_json(machine, rows), encoding="utf-8")
    return 0 if figures.all_kept(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
