"""The app's side of the engine: an asyncio client that owns one worker process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from localr1.engine import protocol
from localr1.engine.process import WorkerProcess
from localr1.errors import (
    ContextFull,
    EngineError,
    Interrupted,
    LoadFailed,
    LocalR1Error,
)
from localr1.fit.types import Settings
from localr1.machine.types import EngineDevice, EngineInfo


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

    async def count_tokens(self, prompts: Sequence[Sequence[protocol.Segment]]) -> tuple[int, ...]:
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

    Raises:
        FileError: The log cannot be written.
    """
    try:
        worker = await WorkerProcess.start(log_directory)
    except EngineError as error:
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
        return EngineError(
            "The engine gave an unexpected answer.", repr(event)[:200], "Start it again."
        )
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
    return EngineError(
        event.what, event.why, "Ask again; if it happens again, run `localr1 doctor`."
    )
