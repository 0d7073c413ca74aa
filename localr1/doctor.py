"""What is wrong and how to mend it: each check is a finding with a remedy.

`engine` and `gpus` are pure; the others look at the world themselves.
"""

from __future__ import annotations

import os
import queue
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from localr1.config import Directories, load_preferences
from localr1.errors import HubUnreachable, LocalR1Error
from localr1.fit.explain import gib
from localr1.machine.types import Machine
from localr1.models import catalog
from localr1.models.place import free_bytes

Status = Literal["ok", "warning", "failed"]

TESTED_ENGINE: Final = "0.3.36"
"""The release of llama-cpp-python that pyproject.toml pins."""
_REINSTALL: Final = (
    "pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python==" + TESTED_ENGINE
)
# The build flags of llama.cpp for each maker's GPUs (llama-cpp-python's README).
_GPU_FLAGS: Final = {
    "nvidia": "-DGGML_CUDA=on",
    "apple": "-DGGML_METAL=on",
    "amd": "-DGGML_VULKAN=on",
    "intel": "-DGGML_VULKAN=on",
}
_SMALLEST_DISK_BYTES: Final = 6 << 30
"""Room for the usual 7B or 8B file."""
_HUB_SECONDS: Final = 6.0
_SMALLEST_COLUMNS, _SMALLEST_LINES = 60, 20


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    status: Status
    what: str
    why: str = ""
    todo: str = ""


def engine(machine: Machine) -> list[Finding]:
    """Whether llama.cpp starts, is the tested release, and uses this CPU's instructions."""
    info = machine.engine
    if info.problem or not info.version:
        illegal = "illegal instruction" in info.problem or "SIGILL" in info.problem
        return [
            Finding(
                "engine",
                "failed",
                "llama.cpp does not start.",
                info.problem or "llama-cpp-python is not installed.",
                f"Build it for this computer: {_REINSTALL}"
                + (" (the installed one is for another CPU)" if illegal else ""),
            )
        ]
    found = [Finding("engine", "ok", f"llama-cpp-python {info.version} starts.")]
    if info.version != TESTED_ENGINE:
        found.append(
            Finding(
                "engine release",
                "warning",
                f"llama-cpp-python {info.version} is not the tested release.",
                f"localr1 was tested with {TESTED_ENGINE}; its structures change between releases.",
                f"pip install llama-cpp-python=={TESTED_ENGINE}",
            )
        )
    if "AVX2" in machine.cpu.features and "AVX2 = 1" not in info.system_info:
        found.append(
            Finding(
                "engine CPU build",
                "warning",
                "The engine does not use this CPU's AVX2 instructions; it is several times slower.",
                "It was built without them.",
                _REINSTALL,
            )
        )
    return found


def gpus(machine: Machine) -> list[Finding]:
    """Each GPU: used by the engine, or why not and what would mend it."""
    found = []
    for device in machine.devices:
        if device.kind == "cpu":
            continue
        name = device.description or device.name
        if device.usable_by_engine:
            room = f"{gib(device.free_bytes)} free of {gib(device.total_bytes)}"
            found.append(Finding("gpu", "ok", f"{name}: {device.backend}, {room}."))
            continue
        flag = _GPU_FLAGS.get(device.vendor)
        todo = (
            f'CMAKE_ARGS="{flag}" {_REINSTALL}' if flag else "See the README's table of GPU builds."
        )
        found.append(
            Finding("gpu", "warning", f"{name} is not used by the engine.", device.reason, todo)
        )
    if not found:
        found.append(Finding("gpu", "ok", "No GPU was found; models run on the CPU."))
    return found


def disk(directories: Directories) -> list[Finding]:
    """Whether downloads have room and a place that can be written."""
    place = directories.models
    try:
        free = free_bytes(place)
    except LocalR1Error as error:
        return [Finding("disk", "failed", error.what, error.why, error.todo)]
    existing = place
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return [
            Finding(
                "disk",
                "failed",
                f"{place} cannot be written.",
                f"No permission at {existing}, or it is no folder.",
                "Change its permissions, or set LOCALR1_HOME or `models_directory` to another folder.",
            )
        ]
    if free < _SMALLEST_DISK_BYTES:
        return [
            Finding(
                "disk",
                "warning",
                f"Only {gib(free)} are free for downloads.",
                f"The usual model needs about 5 GiB ({place}).",
                "Free some space, or set `models_directory` in settings.toml to another disk.",
            )
        ]
    return [Finding("disk", "ok", f"{gib(free)} free for downloads at {place}.")]


def settings(directories: Directories) -> list[Finding]:
    """Whether the user's settings and model list can be read."""
    try:
        load_preferences(directories)
        folder = directories.settings
        catalog.load(folder / "models.toml", folder / catalog.REFRESHED_NAME)
    except LocalR1Error as error:
        return [Finding("settings", "failed", error.what, error.why, error.todo)]
    return [Finding("settings", "ok", "Settings and the list of models are sound.")]


def terminal(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Whether the app can be drawn here."""
    columns, lines = shutil.get_terminal_size()
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if environment.get("TERM") == "dumb":
        return [
            Finding(
                "terminal",
                "warning",
                "This terminal cannot draw the app.",
                "TERM is dumb.",
                "Use `localr1 ask` here.",
            )
        ]
    if encoding not in {"utf8", "utf16le"}:
        return [
            Finding(
                "terminal",
                "warning",
                "This terminal may not show every character.",
                f"Its encoding is {sys.stdout.encoding}.",
                "Set a UTF-8 locale (LANG=C.UTF-8), or `chcp 65001` on Windows.",
            )
        ]
    if columns < _SMALLEST_COLUMNS or lines < _SMALLEST_LINES:
        return [
            Finding(
                "terminal",
                "warning",
                f"This terminal is small: {columns}×{lines}.",
                f"The app wants at least {_SMALLEST_COLUMNS}×{_SMALLEST_LINES}.",
                "Make the window larger, or the letters smaller.",
            )
        ]
    return [Finding("terminal", "ok", f"Terminal {columns}×{lines}, {sys.stdout.encoding}.")]


def hub(*, offline: bool) -> list[Finding]:
    """Whether the hub answers; nothing is asked for but its address."""
    if offline:
        return [Finding("hub", "ok", "Not asked: offline. Everything but downloads works.")]
    from localr1.models.hub import endpoint_url, reachable  # noqa: PLC0415 - heavy, and only online

    answers: queue.SimpleQueue[str | LocalR1Error] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(reachable())
        except LocalR1Error as error:
            answers.put(error)

    # Looking a name up knows no time limit, so it is left behind where it takes too long.
    threading.Thread(target=ask, name="hub", daemon=True).start()
    try:
        answer = answers.get(timeout=_HUB_SECONDS)
    except queue.Empty:
        answer = HubUnreachable(
            f"{endpoint_url()} does not answer.",
            f"Nothing came in {_HUB_SECONDS:.0f} seconds.",
            "Only downloads need it; check the connection before one.",
        )
    if isinstance(answer, LocalR1Error):
        return [Finding("hub", "warning", answer.what, answer.why, answer.todo)]
    return [Finding("hub", "ok", f"{answer} answers.")]


def worst(findings: list[Finding]) -> Status:
    """The gravest status among findings."""
    statuses = {finding.status for finding in findings}
    return "failed" if "failed" in statuses else "warning" if "warning" in statuses else "ok"
