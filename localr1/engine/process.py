"""The worker's process: started, spoken to by request id, watched, and its end explained."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from localr1.engine import codec, protocol
from localr1.engine.last_words import cause, last_words
from localr1.engine.watch import Hang, Limits, LineSplitter, Watch
from localr1.errors import EngineDied, EngineError, EngineMissing, FileError, LocalR1Error

LIMITS: Final = Limits()
# The longest event names every token of an answer: under 1 MiB for the largest window.
_LINE_BYTES: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_KEPT_LOGS: Final = 8
_START_AGAIN: Final = "Start it again; everything written so far is kept."
_log_numbers = itertools.count()


class WorkerProcess:
    """A running worker: requests in, events out, told apart by request id.

    Use `WorkerProcess.start`. However the worker ends, every open request hears of it; one that
    hangs is killed.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, log_path: Path, limits: Limits = LIMITS
    ) -> None:
        self._process = process
        self._log_path = log_path
        self._limits = limits
        self._ids = itertools.count(1)
        self._inboxes: dict[int, asyncio.Queue[protocol.Event | LocalR1Error]] = {}
        self._ready = asyncio.get_running_loop().create_future()
        self._death: EngineError | None = None
        self._closing = False
        self._watch = Watch(limits, time.monotonic())
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._look_after())

    @classmethod
    async def start(
        cls, log_directory: Path, limits: Limits = LIMITS, *, packages: Path | None = None
    ) -> WorkerProcess:
        """Start a worker and wait until it listens.

        Args:
            log_directory: Where its log goes.
            limits: How long it is waited for, now and later.
            packages: Folder with another engine than the installed one.

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
                env=_environment(packages),
            )
        worker = cls(process, log_path, limits)
        try:
            await asyncio.shield(worker._ready)
        except EngineMissing:
            await worker.close()
            raise
        except EngineError as error:
            await worker.close()
            # How it ended matters as well: an illegal instruction leaves no words of its own.
            why = " ".join(part for part in (error.what, error.why) if part)
            raise EngineMissing(
                "The engine does not start.", why, "Run `localr1 doctor`."
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
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing() or self._death is not None:
            return
        self._watch.sent(request)
        # Not drained: who sends, a user's Stop above all, never waits for a worker that does
        # not read. The watch ends such a worker, and what was left unread with it.
        stdin.write(codec.encode(request))

    async def ask_and_close(
        self, request: Callable[[int], protocol.Request]
    ) -> protocol.Event | LocalR1Error:
        """Ask one thing, and end the worker.

        Args:
            request: Makes the request with the id that it is to have.
        """
        request_id, inbox = self.open()
        try:
            await self.send(request(request_id))
            return await inbox.get()
        finally:
            await asyncio.shield(self.close())

    async def stop_all(self, request_ids: Container[int]) -> None:
        """Tell the worker to end those of these that have no answer; if it does not hear, it hangs."""
        for request_id in self._watch.unanswered:
            if request_id in request_ids:
                await self.send(protocol.Stop(0, request_id))

    def end(self, death: EngineError) -> None:
        """Kill the worker, for a reason that it knows nothing of."""
        self._kill()
        self._die(death)

    async def close(self, *, at_once: bool = False) -> None:
        """End the worker; it is killed when it does not end by itself.

        Args:
            at_once: Kill it without asking: it holds nothing that is worth a wait.
        """
        if at_once:
            self._kill()
        await self.send(protocol.Shutdown(next(self._ids)))
        self._closing = True
        if self._process.stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError, OSError):
                self._process.stdin.close()
        seconds = self._limits.close_seconds
        ended = asyncio.create_task(self._process.wait())
        if self._death is None:
            await asyncio.wait({ended}, timeout=seconds)
        if not ended.done():
            self._kill()
        # A process stuck in a driver cannot even be killed; nobody waits for it.
        await asyncio.wait({ended, self._reader}, timeout=seconds)
        for task in (ended, self._reader, self._watcher):
            task.cancel()
        await asyncio.gather(ended, self._reader, self._watcher, return_exceptions=True)

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - we asked for a pipe
        lines = LineSplitter(_LINE_BYTES)
        reason = ""
        try:
            while chunk := await stdout.read(_CHUNK_BYTES):
                for line in lines.feed(chunk):
                    self._receive(line)
            code = await self._process.wait()
            reason = f"The engine stopped: {cause(code)}."
            self._die(EngineDied(reason, last_words(self._log_path, code), _START_AGAIN))
        finally:
            # Whatever went wrong here, nobody shall wait for a worker that nobody hears.
            if not reason:
                self._kill()
                self._die(EngineDied("The engine cannot be heard.", self._log_hint, _START_AGAIN))

    def _receive(self, line: bytes) -> None:
        # Something may print into the pipe after all; where it writes no line break, a message
        # of ours follows on the same line.
        start = line.rfind(codec.BEGINNING)
        if start < 0:
            return
        try:
            event = codec.decode(line[start:])
        except codec.ProtocolError:
            return
        self._watch.received(event)  # type: ignore[arg-type]
        if isinstance(event, protocol.Ready):
            self._greet(event)
            return
        inbox = self._inboxes.get(event.request_id)
        if inbox is not None:
            inbox.put_nowait(event)  # type: ignore[arg-type]

    def _greet(self, event: protocol.Ready) -> None:
        if event.protocol_version != protocol.PROTOCOL_VERSION:
            self._kill()
            self._die(
                EngineMissing(
                    "The engine is of another release than the app.",
                    f"It speaks version {event.protocol_version} of their protocol, the app "
                    f"version {protocol.PROTOCOL_VERSION}.",
                    "Start localr1 again; if that does not help, install it again.",
                )
            )
        elif not self._ready.done():
            self._ready.set_result(None)

    async def _look_after(self) -> None:
        """Kill a worker that hangs."""
        while self._death is None:
            await asyncio.sleep(self._limits.look_seconds)
            stdin = self._process.stdin
            unread_bytes = stdin.transport.get_write_buffer_size() if stdin is not None else 0
            hang = self._watch.look(time.monotonic(), unread_bytes)
            if hang is not None and self._death is None:
                self._kill()
                self._die(self._hung(hang))

    def _hung(self, hang: Hang) -> EngineError:
        if not self._ready.done():
            return EngineMissing(hang.what, hang.why, "Run `localr1 doctor`.")
        why = f"{hang.why} It was ended. {self._log_hint}"
        return EngineDied(hang.what, why, _START_AGAIN)

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    def _die(self, death: EngineError) -> None:
        """Tell everyone who waits; the first reason given is the one that counts."""
        if self._death is not None:
            return
        self._death = death
        if not self._ready.done():
            self._ready.set_exception(death)
            self._ready.exception()  # retrieved here too, when nobody waits any more
        for inbox in self._inboxes.values():
            inbox.put_nowait(death)

    @property
    def _log_hint(self) -> str:
        return f"Its log is {self._log_path}."


def _environment(packages: Path | None) -> dict[str, str]:
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONUTF8": "1"}
    if packages is not None:
        environment.pop("LLAMA_CPP_LIB_PATH", None)
        paths = (str(packages), environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


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
