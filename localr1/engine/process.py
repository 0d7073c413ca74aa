"""The worker's process: started, spoken to by request id, and its end explained."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from localr1.engine import protocol
from localr1.errors import EngineDied, EngineMissing, FileError, LocalR1Error

_START_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 2.0
_LINE_BYTES: Final = 64 * 1024 * 1024
_KEPT_LOGS: Final = 8
_log_numbers = itertools.count()

# Windows reports a crash by its status code; the others report a signal.
_WINDOWS_CRASHES: Final = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction: this build is for another CPU",
    0xC0000409: "abort",
}


class WorkerProcess:
    """A running worker: requests in, events out, told apart by request id.

    Use `WorkerProcess.start`.
    """

    def __init__(self, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self._process = process
        self._log_path = log_path
        self._ids = itertools.count(1)
        self._inboxes: dict[int, asyncio.Queue[protocol.Event | LocalR1Error]] = {}
        self._ready = asyncio.get_running_loop().create_future()
        self._death: LocalR1Error | None = None
        self._closing = False
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, log_directory: Path) -> WorkerProcess:
        """Start a worker and wait until it listens.

        Raises:
            EngineMissing: When it does not start: llama-cpp-python is absent or broken.
            FileError: When the log cannot be written.
        """
        log_path, log = _open_log(log_directory)
        with log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # never import from the folder the user happens to stand in
                "-m",
                "localr1.engine.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LINE_BYTES,
                env={**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONUTF8": "1"},
            )
        worker = cls(process, log_path)
        try:
            await asyncio.wait_for(asyncio.shield(worker._ready), _START_SECONDS)
        except TimeoutError:
            await worker.close()
            raise EngineMissing(
                "The engine did not start.",
                f"It said nothing for {_START_SECONDS:.0f} seconds.",
                "Run `localr1 doctor`.",
            ) from None
        except EngineDied as error:
            await worker.close()
            raise EngineMissing(
                "The engine does not start.", error.why, "Run `localr1 doctor`."
            ) from None
        except asyncio.CancelledError:
            await worker.close()
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether the process runs and answers."""
        return self._death is None and not self._closing

    @property
    def process_id(self) -> int:
        """The operating system's number of the worker."""
        return self._process.pid

    def open(self) -> tuple[int, asyncio.Queue[protocol.Event | LocalR1Error]]:
        """A new request id and the queue in which its events will arrive."""
        request_id = next(self._ids)
        inbox: asyncio.Queue[protocol.Event | LocalR1Error] = asyncio.Queue()
        self._inboxes[request_id] = inbox
        if self._death is not None:
            inbox.put_nowait(self._death)
        return request_id, inbox

    def forget(self, request_id: int) -> None:
        """Drop a request's queue; late events are ignored."""
        self._inboxes.pop(request_id, None)

    async def send(self, request: protocol.Request) -> None:
        """Send a request; a dead worker answers through the request's queue."""
        if self._process.stdin is None or self._death is not None:
            return
        # A broken pipe is the worker's end, which the reader reports with its cause.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(protocol.encode(request))
            await self._process.stdin.drain()

    async def close(self) -> None:
        """End the worker; it is killed when it does not end by itself."""
        self._closing = True
        await self.send(protocol.Shutdown(next(self._ids)))
        if self._process.stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError, OSError):
                self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _CLOSE_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - we asked for a pipe
        while line := await stdout.readline():
            try:
                event = protocol.decode(line)
            except protocol.ProtocolError:
                continue  # something native printed after all; the log has its share
            if isinstance(event, protocol.Ready):
                if not self._ready.done():
                    self._ready.set_result(None)
                continue
            inbox = self._inboxes.get(event.request_id)
            if inbox is not None:
                inbox.put_nowait(event)  # type: ignore[arg-type]
        code = await self._process.wait()
        self._death = EngineDied(
            f"The engine stopped: {_cause(code)}.",
            _last_words(
                self._log_path, killed=code == -signal.SIGKILL if os.name != "nt" else False
            ),
            "Start it again; everything written so far is kept.",
        )
        if not self._ready.done():
            self._ready.set_exception(self._death)
            self._ready.exception()  # retrieved here too, when nobody waits any more
        for inbox in self._inboxes.values():
            inbox.put_nowait(self._death)


def _open_log(directory: Path) -> tuple[Path, IO[bytes]]:
    """A fresh log file; old ones beyond a handful are removed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        old = sorted(directory.glob("engine-*.log"), key=lambda p: p.stat().st_mtime)
        for path in old[:-_KEPT_LOGS]:
            with suppress(OSError):  # another process may hold it (Windows) or was faster
                path.unlink()
        path = directory / f"engine-{os.getpid()}-{next(_log_numbers)}.log"
        return path, path.open("wb")
    except OSError as error:
        raise FileError(
            f"The log folder {directory} cannot be written.",
            error.strerror or str(error),
            "Make it writable, or set LOCALR1_HOME to a folder that is.",
        ) from error


def _cause(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        hints = {
            "SIGKILL": "killed, by the system when memory ran out or by someone",
            "SIGILL": "illegal instruction: this build is for another CPU",
            "SIGABRT": "llama.cpp gave up",
            "SIGSEGV": "llama.cpp crashed",
        }
        return f"{hints.get(name, 'ended by a signal')} ({name})"
    crash = _WINDOWS_CRASHES.get(code & 0xFFFFFFFF)
    return f"{crash} ({code & 0xFFFFFFFF:#x})" if crash else f"exit code {code}"


def _last_words(log_path: Path, *, killed: bool, lines: int = 3, tail_bytes: int = 16384) -> str:
    """The last lines of the log; who was killed from outside had no last words."""
    if killed:
        return f"It could give no reason. Its log is {log_path}."
    try:
        with log_path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - tail_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    found = [line.strip() for line in text.splitlines() if line.strip(" .\t")]
    if "Traceback (most recent call last):" in found:
        lines = 1  # the exception itself says it all
    return " / ".join(found[-lines:])
