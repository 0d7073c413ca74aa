"""The app's side of the engine: an asyncio client that owns one worker process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from localr1.engine import lent, protocol
from localr1.engine.failure import error_of
from localr1.engine.process import LIMITS, WorkerProcess
from localr1.engine.types import DeviceBuffers, Measurement
from localr1.engine.watch import Limits
from localr1.errors import (
    EngineDied,
    EngineError,
    LocalR1Error,
    RpcUnavailable,
)
from localr1.fit.types import Settings
from localr1.machine.awake import Awake
from localr1.machine.types import EngineDevice, EngineInfo

_Answer = TypeVar("_Answer", bound=protocol.Event)


class Engine:
    """A model loaded in a worker of its own.

    Use `Engine.start`; `close` it when done.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        loaded: protocol.Loaded,
        settings: Settings,
        watch: asyncio.Task[None] | None = None,
    ) -> None:
        self._worker = worker
        self._watch = watch
        self.loaded = loaded
        self.settings = settings
        self.cache_holder: object | None = None
        """Who computed in the KV cache last: nobody else may save it as theirs."""
        self._asked: set[int] = set()
        """Requests without an answer; those of guests are not among them."""

    @classmethod
    async def start(  # noqa: PLR0913 - what is not plain is by keyword
        cls,
        path: Path,
        settings: Settings,
        *,
        log_directory: Path,
        on_progress: Callable[[float], None] | None = None,
        on_measured: Callable[[Measurement], None] | None = None,
        limits: Limits = LIMITS,
        rpc_endpoints: Sequence[str] = (),
        packages: Path | None = None,
    ) -> Engine:
        """Start a worker and load a model in it; cancelling the task cancels the load.

        Args:
            path: The GGUF file, or its first shard.
            settings: How to run it.
            log_directory: Where llama.cpp's output goes.
            on_progress: Called with the share of the tensors loaded, 0 to 1.
            on_measured: Called before the load with what llama.cpp reckons it will take; what it
                raises ends the load.
            limits: How long the worker is waited for before it counts as hung.
            rpc_endpoints: Servers (`host:port`) whose devices the settings may name.
            packages: Folder with another engine than the installed one.

        Raises:
            EngineMissing: llama-cpp-python is absent or does not start here.
            LoadFailed: llama.cpp refused the file or the settings.
            RpcUnavailable: This build has no RPC, or a server cannot be used.
            EngineDied: The worker ended while loading.
        """
        worker = await WorkerProcess.start(log_directory, limits, packages=packages)
        watch = asyncio.create_task(_watch(worker, rpc_endpoints)) if rpc_endpoints else None
        request_id, inbox = worker.open()
        try:
            load = _load(request_id, path, settings, rpc_endpoints)
            if on_measured is not None:
                await worker.send(replace(load, measure_only=True))
                on_measured(_measurement(await inbox.get(), path))
            await worker.send(load)
            while True:
                event = await inbox.get()
                match event:
                    case protocol.LoadProgress():
                        if on_progress is not None:
                            on_progress(event.fraction)
                    case protocol.Loaded():
                        return cls(worker, event, settings, watch)
                    case _:
                        raise error_of(event, path)
        except BaseException:
            if watch is not None:
                watch.cancel()
            # While it maps a large file a worker hears nothing, and it holds nothing yet.
            await asyncio.shield(worker.close(at_once=True))
            raise
        finally:
            worker.forget(request_id)

    @property
    def buffers(self) -> tuple[DeviceBuffers, ...]:
        """Where the model really went, the CPU first."""
        return tuple(DeviceBuffers(**buffer) for buffer in self.loaded.buffers)

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
        event = await self._ask(
            lambda request_id: protocol.CountTokens(request_id, tuple(tuple(p) for p in prompts)),
            protocol.Counted,
        )
        return event.tokens

    async def generate(self, request: protocol.Generate) -> AsyncGenerator[protocol.Event, None]:
        """Run a request; its `request_id` is set here and is that of every event.

        The last event is `Generated`. Leaving the iterator early stops the reply.

        Raises:
            ContextFull: The prompt leaves no room for a reply.
            EngineDied: The worker ended.
            EngineError: llama.cpp failed.
        """
        request_id, inbox = self._worker.open()
        self._asked.add(request_id)
        finished = False
        awake = Awake("localr1 writes an answer")
        try:
            await self._worker.send(replace(request, request_id=request_id))
            while not finished:
                event = await inbox.get()
                awake.hold_if_long()
                if isinstance(event, (LocalR1Error, protocol.Failure)):
                    finished = True
                    raise error_of(event)
                finished = isinstance(event, protocol.Generated)
                yield event
        finally:
            awake.release()
            self._asked.discard(request_id)
            self._worker.forget(request_id)
            if not finished:
                await self.stop(request_id)

    async def prefill(self, segments: Sequence[protocol.Segment]) -> protocol.Prefilled:
        """Compute a prompt's KV cache while nothing else is to do; later requests come first.

        Returns:
            How far it came.

        Raises:
            EngineDied: The worker ended.
            EngineError: llama.cpp failed.
        """
        return await self._ask(
            lambda request_id: protocol.Prefill(request_id, tuple(segments)), protocol.Prefilled
        )

    async def save_state(self, path: Path) -> protocol.StateSaved:
        """Write the KV cache to a file, in one step.

        Raises:
            EngineDied: The worker ended.
            EngineError: The file cannot be written.
        """
        return await self._ask(
            lambda request_id: protocol.SaveState(request_id, str(path)), protocol.StateSaved
        )

    async def restore_state(self, path: Path) -> protocol.StateRestored:
        """Read the KV cache from a file; a damaged or foreign one is ignored.

        Raises:
            EngineDied: The worker ended.
        """
        return await self._ask(
            lambda request_id: protocol.RestoreState(request_id, str(path)),
            protocol.StateRestored,
        )

    async def set_threads(self, threads: int) -> int:
        """Compute with this many threads from now on.

        Returns:
            The number in force.

        Raises:
            EngineDied: The worker ended.
        """
        event = await self._ask(
            lambda request_id: protocol.SetThreads(request_id, threads), protocol.ThreadsSet
        )
        return event.threads

    async def stop(self, target_id: int | None) -> None:
        """Stop a reply, what was generated stays; None stops whatever was asked here."""
        if target_id is None:
            await self._worker.stop_all(self._asked)
        else:
            await self._worker.send(protocol.Stop(0, target_id))

    async def end_thinking(self, target_id: int) -> None:
        """End a reply's thinking; the answer begins."""
        await self._worker.send(protocol.EndThinking(0, target_id))

    async def close(self) -> None:
        """End the worker and free all its memory."""
        if self._watch is not None:
            self._watch.cancel()
        await self._worker.close()

    async def _ask(
        self, request: Callable[[int], protocol.Request], answer: type[_Answer]
    ) -> _Answer:
        """Send a request that has one answer, and wait for it."""
        request_id, inbox = self._worker.open()
        self._asked.add(request_id)
        try:
            await self._worker.send(request(request_id))
            event = await inbox.get()
            if isinstance(event, answer):
                return event
            raise error_of(event)
        finally:
            self._asked.discard(request_id)
            self._worker.forget(request_id)


async def probe(
    log_directory: Path,
    limits: Limits = LIMITS,
    *,
    rpc_endpoints: Sequence[str] = (),
    packages: Path | None = None,
) -> EngineInfo:
    """What the installed llama.cpp is and which devices it sees, asked in a worker.

    Never raises for an engine that does not start: the answer's `problem` says why.

    Args:
        log_directory: Where llama.cpp's output goes.
        limits: How long the worker is waited for before it counts as hung.
        rpc_endpoints: Servers (`host:port`) whose devices join the list.
        packages: Folder with another engine than the installed one.

    Raises:
        FileError: The log cannot be written.
        RpcUnavailable: This build has no RPC, or a server cannot be used.
    """
    try:
        worker = await WorkerProcess.start(log_directory, limits, packages=packages)
    except EngineError as error:
        return EngineInfo("", (), (), problem=error.why or error.what)
    event = await worker.ask_and_close(lambda number: protocol.Probe(number, tuple(rpc_endpoints)))
    if isinstance(event, protocol.Probed):
        devices = tuple(EngineDevice(**device) for device in event.devices)
        return EngineInfo(
            event.version,
            event.backends,
            devices,
            event.system_info,
            compiled=event.compiled,
            words=event.words,
            build=event.build,
        )
    problem = error_of(event)
    if isinstance(problem, RpcUnavailable):
        raise problem
    return EngineInfo("", (), (), problem=problem.why or problem.what)


async def measure(
    path: Path,
    settings: Settings,
    *,
    log_directory: Path,
    rpc_endpoints: Sequence[str] = (),
) -> Measurement:
    """What a load would take, asked of llama.cpp in a worker that ends again.

    Only the header is read: of a file that is not here yet, a header followed by a hole of the
    right length will do.

    Args:
        path: The GGUF file, or its first shard.
        settings: How it would be run.
        log_directory: Where llama.cpp's output goes.
        rpc_endpoints: Servers (`host:port`) whose devices the settings may name.

    Raises:
        EngineMissing: llama-cpp-python is absent or does not start here.
        LoadFailed: llama.cpp refuses the file or the settings.
        RpcUnavailable: This build has no RPC, or a server cannot be used.
        EngineDied: The worker ended.
    """
    worker = await WorkerProcess.start(log_directory)
    event = await worker.ask_and_close(
        lambda number: replace(_load(number, path, settings, rpc_endpoints), measure_only=True)
    )
    return _measurement(event, path)


def _measurement(event: protocol.Event | LocalR1Error, path: Path) -> Measurement:
    if isinstance(event, protocol.Measured):
        buffers = tuple(DeviceBuffers(**buffer) for buffer in event.buffers)
        return Measurement(buffers, event.context_window, event.seconds)
    raise error_of(event, path)


async def _watch(worker: WorkerProcess, endpoints: Sequence[str]) -> None:
    """End a worker that waits for a computer which is no longer there: llama.cpp waits for ever."""
    endpoint = await lent.first_lost(endpoints)
    worker.end(
        EngineDied(
            f"The connection to {endpoint} is lost.",
            "It held a part of the model, and does not answer any more.",
            "Load the model again, which plans without it; everything written so far is kept.",
        )
    )


def _load(
    request_id: int, path: Path, settings: Settings, rpc_endpoints: Sequence[str]
) -> protocol.Load:
    return protocol.Load(
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
        draft_tokens=settings.draft_tokens,
        sequences=settings.sequences,
        rpc_endpoints=tuple(rpc_endpoints),
    )
