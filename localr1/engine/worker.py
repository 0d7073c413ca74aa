"""The worker process: hosts llama.cpp, speaks the protocol, outlives nothing.

Started as `python -m localr1.engine.worker` with pipes for stdin and stdout and a log file for
stderr. Native code prints to file descriptors 1 and 2 as it likes, so the real stdout is moved
to a private descriptor first. When stdin ends, the parent is gone, and so is the worker.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict
from typing import BinaryIO, Final

os.environ.setdefault("GGML_NO_BACKTRACE", "1")

from localr1.engine import protocol

_LOAD_PROGRESS_SECONDS: Final = 0.1
# A native call that cannot be interrupted must not keep an orphan alive.
_ORPHAN_SECONDS: Final = 1.5


class Mailbox:
    """Reads requests in a thread: stops and answer-nows are noted at once, the rest queue up."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._queue: queue.SimpleQueue[protocol.Request] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        self._answer_asked: set[int] = set()
        self._closed = False
        threading.Thread(target=self._read, name="mailbox", daemon=True).start()

    def _read(self) -> None:
        for line in self._source:
            try:
                message = protocol.decode(line)
            except protocol.ProtocolError as error:
                sys.stderr.write(f"worker: {error}\n")
                continue
            if isinstance(message, protocol.Stop):
                self._stopped.add(message.target_id)
            elif isinstance(message, protocol.EndThinking):
                self._answer_asked.add(message.target_id)
            else:
                self._queue.put(message)  # type: ignore[arg-type]
        self._closed = True
        self._queue.put(protocol.Shutdown(0))
        time.sleep(_ORPHAN_SECONDS)
        os._exit(0)

    def next(self) -> protocol.Request:
        """The next request; blocks."""
        return self._queue.get()

    def stopped(self, request_id: int) -> bool:
        """Whether the request was stopped, or the parent is gone."""
        return self._closed or request_id in self._stopped

    def answer_asked(self, request_id: int) -> bool:
        """Whether the user wants the answer of this request now."""
        return request_id in self._answer_asked


class Worker:
    """Answers requests one after another.

    Args:
        mailbox: Where requests come from.
        sink: Where events go.
    """

    def __init__(self, mailbox: Mailbox, sink: BinaryIO) -> None:
        # Loads llama.cpp: as late as possible, and only in this process.
        from llama_cpp import llama_cpp as api  # noqa: PLC0415

        from localr1.engine import generation, model, native  # noqa: PLC0415

        self._generation, self._model_module, self._native = generation, model, native
        self._mailbox = mailbox
        self._sink = sink
        self._log = native.Log()
        api.llama_backend_init()
        self._api = api
        self._model: model.Model | None = None
        self._current = 0
        """The request that llama.cpp's abort callback asks about."""

    def send(self, event: protocol.Event) -> None:
        """Write one event."""
        self._sink.write(protocol.encode(event))
        self._sink.flush()

    def serve(self) -> None:
        """Answer requests until told to shut down."""
        self.send(protocol.Ready(protocol.PROTOCOL_VERSION))
        while True:
            request = self._mailbox.next()
            match request:
                case protocol.Shutdown():
                    return
                case protocol.Probe():
                    self._probe(request)
                case protocol.Load():
                    self._load(request)
                case protocol.CountTokens():
                    self._count(request)
                case protocol.Generate():
                    self._generate(request)
                case _:
                    sys.stderr.write(f"worker: unexpected {request!r}\n")

    def _probe(self, request: protocol.Probe) -> None:
        devices = self._native.Devices()
        self.send(
            protocol.Probed(
                request.request_id,
                version=self._native.version(),
                system_info=self._api.llama_print_system_info().decode("utf-8", "replace"),
                backends=devices.backends(),
                devices=tuple(asdict(device) for device in devices.all()),
            )
        )

    def _load(self, request: protocol.Load) -> None:
        sent_at = 0.0
        self._current = request.request_id

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
                on_progress=progress,
                stopped=lambda: self._mailbox.stopped(self._current),
            )
        except self._model_module.Cancelled:
            self._fail(request.request_id, "cancelled", "The load was stopped.")
        except self._model_module.LoadError as error:
            self._fail(request.request_id, "load", "llama.cpp did not load the model.", str(error))
        except self._model_module.DecodeError as error:
            self._fail(request.request_id, "load", "The model does not run.", str(error))
        else:
            self.send(
                protocol.Loaded(
                    request.request_id,
                    context_window=self._model.context_window,
                    thinking_tokens_known=self._model.vocabulary.knows_thinking,
                    buffers=self._log.matching(*self._model_module.BUFFER_LINES),
                    load_seconds=self._model.load_seconds,
                )
            )

    def _count(self, request: protocol.CountTokens) -> None:
        if self._model is None:
            self._fail(request.request_id, "engine", "No model is loaded.")
            return
        counts = tuple(len(self._model.tokenize(prompt)) for prompt in request.prompts)
        self.send(protocol.Counted(request.request_id, counts))

    def _generate(self, request: protocol.Generate) -> None:
        if self._model is None:
            self._fail(request.request_id, "engine", "No model is loaded.")
            return
        identity = self._current = request.request_id
        control = self._generation.Control(
            stopped=lambda: self._mailbox.stopped(identity),
            answer_asked=lambda: self._mailbox.answer_asked(identity),
        )
        reply = self._generation.Reply(self._model, request, control, self.send)
        try:
            self.send(reply.run())
        except self._generation.PromptTooLong as error:
            self._fail(
                identity,
                "context_full",
                "The conversation does not fit the context window.",
                details={
                    "prompt_tokens": error.prompt_tokens,
                    "context_window": error.context_window,
                },
            )
        except self._model_module.DecodeError as error:
            self._model.truncate(0)
            self._fail(
                identity, "engine", "llama.cpp failed while generating.",
                self._log.errors() or str(error),
            )  # fmt: skip

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


def main() -> None:
    """Run the worker until stdin ends or a shutdown comes."""
    # Ctrl-C in the terminal reaches this process too; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = _private_stdout()
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
