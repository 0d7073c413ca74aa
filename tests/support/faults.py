"""Faults for the engine's worker: sabotage from inside, blows from outside.

Sabotage is a `sitecustomize.py` in a folder on PYTHONPATH: every Python below runs it, it acts in
the worker alone, and it changes llama.cpp's functions as they are imported.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import pytest
from talking import question

from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.engine.watch import Limits
from localr1.errors import LocalR1Error
from localr1.fit.types import Settings
from localr1.models.library import DEMO_PATH

Phase = Literal["load", "prompt", "thinking", "answer"]
PHASES: tuple[Phase, ...] = ("load", "prompt", "thinking", "answer")
QUICK = Limits(start_seconds=60, silence_seconds=2.0, stop_seconds=1.2, close_seconds=1.0)
"""Little patience, but more than the second between two signs of life."""
LONG_QUESTION = "What is 347 + 589? " * 60
"""Several batches for the demo model."""

holding = pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="a process cannot be held on this system"
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux has /proc and prctl")

_PRELUDE = """
import sys
if sys.orig_argv[-1:] == ["localr1.engine.worker"]:
    import ctypes, importlib.util, os, signal, threading, time

    class Finder:
        wanted = {}

        @classmethod
        def find_spec(cls, name, path=None, target=None):
            change = cls.wanted.pop(name, None)
            if change is None:
                return None
            spec = importlib.util.find_spec(name)
            run = spec.loader.exec_module

            def run_and_change(module):
                run(module)
                change(module)

            spec.loader.exec_module = run_and_change
            return spec

    sys.meta_path.insert(0, Finder)

    def on_import(name):
        return lambda change: Finder.wanted.setdefault(name, change)

"""


def slowed(token_seconds: float, batch_seconds: float, load_step_seconds: float) -> str:
    """Sabotage that makes every phase long enough to be hit.

    Args:
        token_seconds: Added to each generated token.
        batch_seconds: Added to each batch of the prompt.
        load_step_seconds: Added to each of the load's steps, about fifty for the demo model.
    """
    return f"""
@on_import("llama_cpp.llama_cpp")
def slow(api):
    decode, callback = api.llama_decode, api.llama_progress_callback

    def slow_decode(context, batch):
        time.sleep({batch_seconds} if batch.n_tokens > 1 else {token_seconds})
        return decode(context, batch)

    def slow_callback(function):
        def report(*arguments):
            time.sleep({load_step_seconds})
            return function(*arguments)
        return callback(report)

    api.llama_decode, api.llama_progress_callback = slow_decode, slow_callback
"""


SLOW = slowed(0.02, 0.1, 0.02)


def sabotage(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Have every worker started from now on run some code.

    Args:
        monkeypatch: Undoes it.
        folder: Where the code may lie.
        code: Runs before the worker; `on_import("module")` decorates what changes a module.
    """
    folder.mkdir(parents=True, exist_ok=True)
    indented = "".join(f"    {line}\n" for line in code.splitlines())
    (folder / "sitecustomize.py").write_text(_PRELUDE + indented, encoding="utf-8")
    earlier = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(folder), *([earlier] if earlier else [])])
    monkeypatch.setenv("PYTHONPATH", path)


def worker_of(logs: Path) -> psutil.Process:
    """The worker that logs into a folder, by its open files: also one that still loads."""
    for child in psutil.Process().children():
        if any(Path(file.path).parent == logs for file in child.open_files()):
            return child
    raise AssertionError(f"no worker writes into {logs}")


def phase_of(event: protocol.Event) -> Phase | None:
    """Which phase an event of a reply shows to be running."""
    if isinstance(event, protocol.PromptProgressed) and event.done_tokens < event.total_tokens:
        return "prompt"
    return event.part if isinstance(event, protocol.Text) else None


async def strike(
    phase: Phase, logs: Path, blow: Callable[[psutil.Process], None], limits: Limits = QUICK
) -> LocalR1Error:
    """Let a worker of its own come to a phase, do something to it, and see what is reported."""
    struck = False

    def once() -> None:
        nonlocal struck
        if not struck:
            struck = True
            blow(worker_of(logs))

    try:
        engine = await Engine.start(
            DEMO_PATH,
            Settings(2048, threads=1),
            log_directory=logs,
            on_progress=(lambda _share: once()) if phase == "load" else None,
            limits=limits,
        )
    except LocalR1Error as error:
        return error
    try:
        async for event in engine.generate(question(LONG_QUESTION)):
            if phase_of(event) == phase:
                once()
    except LocalR1Error as error:
        assert not engine.alive
        return error
    finally:
        await engine.close()
    raise AssertionError(f"nothing was reported; struck in {phase}: {struck}")
