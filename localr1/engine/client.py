"""The app's side of the engine: an asyncio client that owns one worker process."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from localr1.engine import protocol
from localr1.errors import (
    ContextFull,
    EngineDied,
    EngineError,
    EngineMissing,
    FileError,
    Interrupted,
    LoadFailed,
    LocalR1Error,
)
from localr1.fit.types import Settings
from localr1.machine.types import EngineDevice, EngineInfo

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
            raise EngineMissing("The engine does not start.", error.why, "Run `localr1 doctor`.") from None
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
            _last_words(self._log_path, killed=code == -signal.SIGKILL if os.name != "nt" else False),
            "Start it again; everything written so far is kept.",
        )
        if not self._ready.done():
            self._ready.set_exception(self._death)
            self._ready.exception()  # retrieved here too, when nobody waits any more
        for inbox in self._inboxes.values():
            inbox.put_nowait(self._death)


class Engine:
    """A model loaded in a worker of its own.

    Use `Engine.start`; `close` it when done.
    """

    def __init__(self, worker: WorkerProcess, loaded: protocol.Loaded, settings: Settings) -> None:
        self._worker = worker
        self.loaded = loaded
        self.settings = settings

    @classmethod
    async def start(
        cls,
        path: Path,
        settings: Settings,
        *,
        log_directory: Path,
        on_progress: Callable[[float], None] | None = None,
    ) -> Engine:
        """Start a worker and load a model in it; cancelling the task cancels the load.

        Args:
            path: The GGUF file, or its first shard.
            settings: How to run it.
            log_directory: Where llama.cpp's output goes.
            on_progress: Called with the share of the tensors loaded, 0 to 1.

        Raises:
            EngineMissing: llama-cpp-python is absent or does not start here.
            LoadFailed: llama.cpp refused the file or the settings.
            EngineDied: The worker ended while loading.
        """
        worker = await WorkerProcess.start(log_directory)
        request_id, inbox = worker.open()
        try:
            await worker.send(
                protocol.Load(
                    request_id,
                    path=str(path),
                    context_window=settings.context_window,
                    kv_cache_type=settings.kv_cache_type,
                    gpu_layers=settings.gpu_layers,
                    cpu_expert_layers=settings.cpu_expert_layers,
                    tensor_split=settings.tensor_split,
                    device_names=settings.device_names,
                    flash_attention=settings.flash_attention,
                    ubatch=settings.ubatch,
                    threads=settings.threads,
                )
            )
            while True:
                event = await inbox.get()
                match event:
                    case protocol.LoadProgress():
                        if on_progress is not None:
                            on_progress(event.fraction)
                    case protocol.Loaded():
                        return cls(worker, event, settings)
                    case _:
                        raise _error(event, path)
        except BaseException:
            await asyncio.shield(worker.close())
            raise
        finally:
            worker.forget(request_id)

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._worker.alive

    @property
    def process_id(self) -> int:
        """The operating system's number of the worker."""
        return self._worker.process_id

    @property
    def context_window(self) -> int:
        """Tokens the context holds."""
        return self.loaded.context_window

    async def count_tokens(
        self, prompts: Sequence[Sequence[protocol.Segment]]
    ) -> tuple[int, ...]:
        """How many tokens each prompt has.

        Raises:
            EngineDied: The worker ended.
        """
        request_id, inbox = self._worker.open()
        try:
            await self._worker.send(
                protocol.CountTokens(request_id, tuple(tuple(p) for p in prompts))
            )
            event = await inbox.get()
            if isinstance(event, protocol.Counted):
                return event.tokens
            raise _error(event)
        finally:
            self._worker.forget(request_id)

    async def generate(self, request: protocol.Generate) -> AsyncGenerator[protocol.Event, None]:
        """Run a request; its `request_id` is set here and is that of every event.

        The last event is `Generated`. Leaving the iterator early stops the reply.

        Raises:
            ContextFull: The prompt leaves no room for a reply.
            EngineDied: The worker ended.
            EngineError: llama.cpp failed.
        """
        request_id, inbox = self._worker.open()
        finished = False
        try:
            await self._worker.send(replace(request, request_id=request_id))
            while not finished:
                event = await inbox.get()
                if isinstance(event, (LocalR1Error, protocol.Failure)):
                    finished = True
                    raise _error(event)
                finished = isinstance(event, protocol.Generated)
                yield event
        finally:
            self._worker.forget(request_id)
            if not finished:
                await self.stop(request_id)

    async def stop(self, target_id: int) -> None:
        """Stop a reply; what was generated stays."""
        await self._worker.send(protocol.Stop(0, target_id))

    async def end_thinking(self, target_id: int) -> None:
        """End a reply's thinking; the answer begins."""
        await self._worker.send(protocol.EndThinking(0, target_id))

    async def close(self) -> None:
        """End the worker and free all its memory."""
        await self._worker.close()


async def probe(log_directory: Path) -> EngineInfo:
    """What the installed llama.cpp is and which devices it sees, asked in a worker.

    Never raises for an engine that does not start: the answer's `problem` says why.
    """
    try:
        worker = await WorkerProcess.start(log_directory)
    except (EngineError, FileError) as error:
        return EngineInfo("", (), (), problem=error.why or error.what)
    request_id, inbox = worker.open()
    try:
        await worker.send(protocol.Probe(request_id))
        event = await inbox.get()
    finally:
        await worker.close()
    if isinstance(event, protocol.Probed):
        devices = tuple(EngineDevice(**device) for device in event.devices)
        return EngineInfo(event.version, event.backends, devices, event.system_info)
    problem = _error(event)
    return EngineInfo("", (), (), problem=problem.why or problem.what)


def _error(event: protocol.Event | LocalR1Error, path: Path | None = None) -> LocalR1Error:
    """The error a user sees for a failure event."""
    if isinstance(event, LocalR1Error):
        return event
    if not isinstance(event, protocol.Failure):
        return EngineError("The engine gave an unexpected answer.", repr(event)[:200], "Start it again.")
    if event.kind == "load":
        name = path.name if path is not None else "the model"
        return LoadFailed(
            f"{name} could not be loaded.",
            event.why,
            "Choose a smaller model or context window, or check the file with `localr1 doctor`.",
        )
    if event.kind == "context_full":
        numbers = event.details
        return ContextFull(
            event.what,
            f"It has {numbers.get('prompt_tokens', 0):,} tokens; the window holds "
            f"{numbers.get('context_window', 0):,}.",
            "Begin a new conversation, shorten the message, or use a larger context window.",
        )
    if event.kind == "cancelled":
        return Interrupted(event.what)
    return EngineError(event.what, event.why, "Ask again; if it happens again, run `localr1 doctor`.")


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


def _last_words(
    log_path: Path, *, killed: bool, lines: int = 3, tail_bytes: int = 16384
) -> str:
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
    return " / ".join(found[-lines:])
