"""The worker process: hosts llama.cpp, speaks the protocol, outlives nothing.

Started as `python -m localr1.engine.worker` with pipes for stdin and stdout and a log file for
stderr. Native code prints to file descriptors 1 and 2 as it likes, so the real stdout is moved
to a private descriptor first. When stdin ends, the parent is gone, and so is the worker.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

os.environ.setdefault("GGML_NO_BACKTRACE", "1")

from localr1.engine import codec, cuda_runtime, protocol, rpc
from localr1.engine.mailbox import Mailbox

if TYPE_CHECKING:
    from localr1.engine.model import Model
    from localr1.engine.sequence import CachedSequence

_LOAD_PROGRESS_SECONDS: Final = 0.1
_BEAT_SECONDS: Final = 1.0
# Idle work looks up this often, since a GPU finishes what it was given.
_IDLE_CHUNK_SECONDS: Final = 0.25
# prctl(2) on Linux: which signal comes when the parent is gone.
_PR_SET_PDEATHSIG: Final = 1


class Worker:
    """Answers requests one after another.

    Args:
        mailbox: Where requests come from.
        sink: Where events go.
    """

    def __init__(self, mailbox: Mailbox, sink: BinaryIO) -> None:
        cuda_runtime.preload()
        # Loads llama.cpp: as late as possible, and only in this process.
        from llama_cpp import llama_cpp as api  # noqa: PLC0415

        from localr1.engine import (  # noqa: PLC0415
            answering,
            dry_run,
            interrupts,
            loading,
            model,
            native,
            parallel,
            sequence,
            state_file,
            steps,
        )

        self._model_module, self._native, self._parallel = model, native, parallel
        self._dry_run, self._state_file, self._sequences = dry_run, state_file, sequence
        self._loading, self._steps = loading, steps
        self._mailbox = mailbox
        self._sink = sink
        self._sending = threading.Lock()
        self._log = native.Log()
        native.tell_aborts()
        api.llama_backend_init()
        self._api = api
        self._model: model.Model | None = None
        self._fingerprint: state_file.Fingerprint | None = None
        self._interrupts = interrupts.Interrupts(mailbox, native.AbortFlag())
        self._answerer = answering.Answerer(mailbox, self.send, self._log)
        self._together: parallel.Parallel | None = None
        """Where replies may run side by side."""

    def send(self, event: protocol.Event) -> None:
        """Write one event."""
        line = codec.encode(event)
        with self._sending:
            self._sink.write(line)
            self._sink.flush()

    def _beat(self) -> None:
        """Give a sign of life every second, in a thread of its own, until the pipe ends."""
        alive = protocol.Alive()
        with suppress(OSError, ValueError):
            while True:
                time.sleep(_BEAT_SECONDS)
                self.send(alive)

    def _heard(self, message: protocol.Request) -> None:
        """Take note of a message; in the mailbox's thread."""
        self._interrupts.heard(message)
        if isinstance(message, protocol.Stop):
            request = self._mailbox.awaits(message.target_id)
            if request is not None:
                # Whoever stops it does not wait for the replies before it.
                self._answerer.give_up(request)

    def serve(self) -> None:
        """Answer requests until told to shut down."""
        self.send(protocol.Ready(protocol.PROTOCOL_VERSION))
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        self._mailbox.open(self._heard)
        work: dict[type[protocol.Request], Callable[[Any], None]] = {
            protocol.Probe: self._probe,
            protocol.MeasureKernels: self._measure_kernels,
            protocol.Load: self._load,
            protocol.CountTokens: self._count,
            protocol.Generate: self._generate,
            protocol.Prefill: self._prefill,
            protocol.SaveState: self._save,
            protocol.RestoreState: self._restore,
            protocol.SetThreads: self._set_threads,
        }
        while not isinstance(request := self._mailbox.next(), protocol.Shutdown):
            self._interrupts.begin(request.request_id)
            try:
                work[type(request)](request)
            except rpc.RpcProblem as problem:
                self.send(
                    protocol.Failure(
                        request.request_id, "rpc", problem.what, problem.why, todo=problem.todo
                    )
                )

    def _probe(self, request: protocol.Probe) -> None:
        self._native.join_rpc_servers(request.rpc_endpoints)
        devices = self._native.Devices()
        self.send(
            protocol.Probed(
                request.request_id,
                version=self._native.version(),
                system_info=self._api.llama_print_system_info().decode("utf-8", "replace"),
                backends=devices.backends(),
                devices=tuple(asdict(device) for device in devices.all()),
                compiled=devices.compiled(),
                words=self._log.errors(),
                build=self._native.build(),
            )
        )

    def _measure_kernels(self, request: protocol.MeasureKernels) -> None:
        from localr1.engine import kernels  # noqa: PLC0415 - once for each build and computer

        try:
            found = kernels.measure(request.memory_bytes)
        except (AttributeError, MemoryError) as error:
            self._fail(request.request_id, "engine", "The kernels were not timed.", str(error))
            return
        dicts = tuple(asdict(kernel) for kernel in found)
        self.send(protocol.KernelsMeasured(request.request_id, dicts))

    def _load(self, request: protocol.Load) -> None:
        self._native.join_rpc_servers(request.rpc_endpoints)
        if request.measure_only:
            self._measure(request)
            return
        sent_at = 0.0

        def progress(fraction: float) -> None:
            nonlocal sent_at
            now = time.monotonic()
            if now - sent_at >= _LOAD_PROGRESS_SECONDS or fraction >= 1:
                sent_at = now
                self.send(protocol.LoadProgress(request.request_id, fraction))

        try:
            self._model = self._model_module.Model(
                request,
                self._log,
                self._interrupts.flag,
                on_progress=progress,
                stopped=lambda: self._mailbox.stopped(request.request_id),
            )
            self._fingerprint = self._state_file.Fingerprint(
                self._state_file.model_digest(Path(request.path)),
                request.kv_cache_type,
                request.flash_attention,
                self._native.version(),
            )
            if request.sequences > 1:
                self._together = self._parallel.Parallel(
                    self._model, self._mailbox, self._interrupts, self._answerer
                )
        except self._loading.Cancelled:
            self._fail(request.request_id, "cancelled", "The load was stopped.")
        except self._loading.LoadError as error:
            self._fail(request.request_id, "load", "llama.cpp did not load the model.", str(error))
        except self._sequences.DecodeError as error:
            self._fail(request.request_id, "load", "The model does not run.", str(error))
        except OSError as error:
            self._fail(request.request_id, "load", "The model file cannot be read.", str(error))
        else:
            self.send(
                protocol.Loaded(
                    request.request_id,
                    context_window=self._model.context_window,
                    thinking_tokens_known=self._model.vocabulary.knows_thinking,
                    buffers=tuple(asdict(buffer) for buffer in self._model.buffers),
                    load_seconds=self._model.load_seconds,
                )
            )

    def _measure(self, request: protocol.Load) -> None:
        try:
            self.send(self._dry_run.measure(request, self._log, self._interrupts.flag))
        except self._loading.LoadError as error:
            self._fail(request.request_id, "load", "llama.cpp refuses the model.", str(error))

    def _prefill(self, request: protocol.Prefill) -> None:
        model = self._loaded(request.request_id)
        if model is None:
            return
        started = time.monotonic()
        identity = request.request_id
        prompt = model.tokenize(request.segments)[: model.context_window - 1]
        sequence = model if self._together is None else self._together.slot_for(prompt)
        done = self._give_way(sequence, prompt, identity)
        while done < len(prompt) and isinstance(
            waiting := self._mailbox.waiting(), protocol.CountTokens
        ):
            # Counting is quick and changes nothing in the cache.
            self._mailbox.next()
            self._count(waiting)
            done = self._give_way(sequence, prompt, identity)
        seconds = time.monotonic() - started
        number = sequence.sequence_id
        self.send(protocol.Prefilled(identity, done, len(prompt), seconds, number))

    def _give_way(self, sequence: CachedSequence, prompt: list[int], identity: int) -> int:
        """Compute a prompt until something else is to do; returns the tokens that are cached."""
        self._interrupts.begin(identity, idle=True)
        cached = sequence.reuse(prompt, all_of_it=True)
        try:
            for _done in self._steps.computed(sequence, prompt, cached, _IDLE_CHUNK_SECONDS):
                if self._mailbox.waiting() or self._mailbox.stopped(identity):
                    break
        except self._loading.Cancelled:
            pass
        except self._sequences.DecodeError as error:
            sequence.truncate(0)
            sys.stderr.write(f"worker: {error}\n")
        finally:
            self._interrupts.end_idle()
        return len(sequence.cached)

    def _save(self, request: protocol.SaveState) -> None:
        sequence = self._sequence(request)
        if sequence is None or self._fingerprint is None:
            return
        started = time.monotonic()
        try:
            size_bytes = self._state_file.save(sequence, self._fingerprint, Path(request.path))
        except OSError as error:
            why = error.strerror or str(error)
            self._fail(request.request_id, "file", "The KV cache cannot be saved.", why)
            return
        tokens, seconds = len(sequence.cached), time.monotonic() - started
        self.send(protocol.StateSaved(request.request_id, tokens, size_bytes, seconds))

    def _restore(self, request: protocol.RestoreState) -> None:
        sequence = self._sequence(request)
        if sequence is None or self._fingerprint is None:
            return
        started = time.monotonic()
        tokens, reason = 0, ""
        try:
            tokens = self._state_file.restore(sequence, self._fingerprint, Path(request.path))
        except (OSError, ValueError, self._state_file.Unusable) as error:
            reason = str(error) or type(error).__name__
        seconds = time.monotonic() - started
        self.send(protocol.StateRestored(request.request_id, tokens, reason, seconds))

    def _sequence(
        self, request: protocol.SaveState | protocol.RestoreState
    ) -> CachedSequence | None:
        """The sequence that is meant; where there is none, the request has failed."""
        model = self._loaded(request.request_id)
        if model is None or self._together is None:
            return model
        slots = self._together.slots
        if request.sequence_id < len(slots):
            return slots[request.sequence_id]
        self._fail(request.request_id, "engine", f"There is no sequence {request.sequence_id}.")
        return None

    def _set_threads(self, request: protocol.SetThreads) -> None:
        model = self._loaded(request.request_id)
        if model is not None:
            threads = model.set_threads(request.threads)
            self.send(protocol.ThreadsSet(request.request_id, threads))

    def _loaded(self, request_id: int) -> Model | None:
        """The model; where there is none, the request has failed."""
        if self._model is None:
            self._fail(request_id, "engine", "No model is loaded.")
        return self._model

    def _count(self, request: protocol.CountTokens) -> None:
        model = self._loaded(request.request_id)
        if model is None:
            return
        counts = tuple(len(model.tokenize(prompt)) for prompt in request.prompts)
        self.send(protocol.Counted(request.request_id, counts))

    def _generate(self, request: protocol.Generate) -> None:
        model = self._loaded(request.request_id)
        if model is None:
            return
        if self._mailbox.stopped(request.request_id):
            self._answerer.give_up(request)  # without a change to the cache
        elif self._together is None:
            self._answerer.answer(model, request)
        else:
            self._together.run(request, self._between_batches)

    def _between_batches(self, request: protocol.Request) -> bool:
        """Do what can be done while replies run; returns whether that was done."""
        match request:
            case protocol.CountTokens():
                self._count(request)
            case protocol.SetThreads():
                self._set_threads(request)
            case protocol.Prefill() if self._model is not None:
                # Computing ahead gives way to every reply, also to those that run.
                tokens = len(self._model.tokenize(request.segments))
                self.send(protocol.Prefilled(request.request_id, 0, tokens, 0.0))
            case _:
                return False
        return True

    def _fail(
        self,
        request_id: int,
        kind: str,
        what: str,
        why: str = "",
        details: dict[str, int] | None = None,
    ) -> None:
        self.send(protocol.Failure(request_id, kind, what, why, details or {}))  # type: ignore[arg-type]


def _private_stdout() -> BinaryIO:
    """The real stdout, moved where no native printf can reach it."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _volunteer_for_oom() -> None:
    """Let the kernel's OOM killer take the worker rather than the app or the desktop (Linux)."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - no Path on a proc file
            file.write("800")
    except OSError:
        return  # not Linux, or not allowed: nothing depends on it


def _die_with_parent() -> None:
    """Have the kernel end the worker with its parent, even one that is held (Linux).

    Elsewhere, and when the parent was faster, the end of stdin says the same.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Run the worker until stdin ends or a shutdown comes."""
    # Ctrl-C in the terminal reaches this process too; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = _private_stdout()
    _die_with_parent()
    _volunteer_for_oom()
    code = 1
    try:
        Worker(Mailbox(sys.stdin.buffer), sink).serve()
        code = 0
    except BrokenPipeError:
        code = 0  # the parent is gone
    except BaseException:  # noqa: BLE001 - the log has it, and the parent reads the log
        traceback.print_exc()
    sys.stderr.flush()
    # An ordinary exit would wait for the mailbox's read and for native destructors.
    os._exit(code)


if __name__ == "__main__":
    main()
