"""Running an installer: its output into a log, how far it is as events, and what went wrong."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localr1.config import ensure
from localr1.errors import BuildFailed
from localr1.install.types import Command
from localr1.models.place import disk_errors

_NEW_GROUP: Final = int(getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))  # only Windows has it
_LINE_BYTES: Final = 1 << 20
_END_SECONDS: Final = 5.0
_KEPT_LINES: Final = 400
_TOLD_LINES: Final = 3
# Ninja counts its steps, make tells a share.
_NINJA: Final = re.compile(r"^\s*\[(\d+)/(\d+)\]")
_MAKE: Final = re.compile(r"^\s*\[\s*(\d+)%\]")
_STAGES: Final = (
    (
        re.compile(r"^\s*(Downloading|Using cached|Downloading) |^DEBUG .*[Dd]ownload"),
        "downloading",
    ),
    (re.compile(r"build dependencies"), "preparing"),
    (re.compile(r"Configuring CMake|-- The C(XX)? compiler"), "looking at the compiler"),
    (re.compile(r"^\s*\[\d+/\d+\]|^\s*\[\s*\d+%\]"), "compiling"),
    (re.compile(r"Installing collected packages|^Installed \d"), "installing"),
)
# The lines that say why, the surest first: compilers, CMake, pip, uv, the system.
_REASONS: Final = (
    re.compile(r"\b(fatal error|error):|CMake Error|nvcc fatal|ninja: error|make.*\*\*\*"),
    re.compile(
        r"No matching distribution|Could not find a version|No solution found|no version of"
    ),
    re.compile(r"Temporary failure|Name or service|Network is unreachable|Connection|timed out"),
    re.compile(r"No space left|Permission denied|not a valid wheel|is not a supported wheel"),
    re.compile(r"^\s*(ERROR|error|×|╰─▶)"),
)
_NETWORK: Final = re.compile(
    r"NewConnectionError|Temporary failure|Name or service|Network is unreachable|dns error"
    r"|Failed to establish|ConnectTimeout|Max retries|error sending request|Could not connect"
)


@dataclass(frozen=True)
class Progress:
    """How far a build is."""

    stage: str
    """What it does now, for people; empty where it does not say."""
    share: float | None
    """Of the compiling, 0 to 1; None before and after it."""
    seconds: float
    """Since the installer was started."""


async def run(command: Command, log: Path, on_progress: Callable[[Progress], None]) -> None:
    """Run an installer to its end; cancelling the task ends it and all that it started.

    Args:
        command: What to run.
        log: Gets everything that it prints.
        on_progress: Called whenever something can be told.

    Raises:
        BuildFailed: It does not start or fails; with the line that says why.
        FileError: The log cannot be written.
    """
    ensure(log.parent)
    with disk_errors(log):
        out = log.open("wb")
    with out:
        try:
            process = await asyncio.create_subprocess_exec(
                *command.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=_environment(command),
                limit=_LINE_BYTES,
                # Compilers are grandchildren: all of them end together.
                start_new_session=os.name != "nt",
                creationflags=_NEW_GROUP,
            )
        except OSError as error:
            raise BuildFailed(
                f"{command.arguments[0]} does not start.",
                error.strerror or str(error),
                "Install it, or run the command that `localr1 doctor` shows yourself.",
            ) from error
        lines: list[str] = []
        try:
            await _follow(process, out.write, lines, on_progress)
            code = await process.wait()
        except BaseException:
            await _end(process)
            raise
    if code:
        raise failure(lines, code, log)


def failure(lines: list[str], code: int, log: Path) -> BuildFailed:
    """Return the error of an installer that failed, with its own reason."""
    text = "\n".join(lines)
    told = [line.strip() for pattern in _REASONS for line in lines if pattern.search(line)]
    why = " / ".join(dict.fromkeys(told[:_TOLD_LINES])) or f"It ended with code {code}."
    todo = f"The old one is still in place. Everything it said is in {log}."
    if _NETWORK.search(text):
        return BuildFailed(
            "The engine could not be fetched: the package index does not answer.",
            why,
            "Connect, or give a source on this disk: localr1 doctor --fix --source FILE."
            " The old engine is still in place.",
        )
    return BuildFailed("The engine was not built.", why, todo)


def told(line: str) -> tuple[str, float | None] | None:
    """Return the stage and the share that a line of output tells; None where it tells neither."""
    share = None
    if match := _NINJA.match(line):
        share = int(match.group(1)) / max(1, int(match.group(2)))
    elif match := _MAKE.match(line):
        share = int(match.group(1)) / 100
    stage = next((name for pattern, name in _STAGES if pattern.search(line)), "")
    return (stage, share) if stage else None


async def _follow(
    process: asyncio.subprocess.Process,
    write: Callable[[bytes], object],
    lines: list[str],
    on_progress: Callable[[Progress], None],
) -> None:
    began = time.monotonic()
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - we asked for a pipe
    while True:
        try:
            raw = await stdout.readline()
        except ValueError:  # a line longer than anyone reads
            continue
        if not raw:
            return
        write(raw)
        line = raw.decode("utf-8", "replace").rstrip()
        lines.append(line)
        del lines[:-_KEPT_LINES]
        if found := told(line):
            on_progress(Progress(*found, time.monotonic() - began))


def _environment(command: Command) -> Mapping[str, str]:
    # A user's own `--user` would contradict the folder that a build goes to.
    ours = {"PYTHONUNBUFFERED": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}
    environment = {**os.environ, **ours}
    # localr1's own way to other libraries must not reach into a build.
    for name in ("PYTHONPATH", "LLAMA_CPP_LIB_PATH"):
        environment.pop(name, None)
    for name, value in command.environment:
        if value is None:
            environment.pop(name, None)
        elif name == "CMAKE_ARGS" and environment.get(name):
            environment[name] = f"{environment[name]} {value}"
        else:
            environment[name] = value
    return environment


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        # taskkill ends the children as well.
        killer = await asyncio.create_subprocess_exec(
            "taskkill", "/T", "/F", "/PID", str(process.pid), stdout=asyncio.subprocess.DEVNULL
        )
        await killer.wait()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)  # pip then removes what it unpacked
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
