"""What is wrong and how to mend it: each check is a finding with a remedy.

`engine`, `ways` and `terminal` are pure; the others look at the world themselves.
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from localr1.config import Directories, load_preferences
from localr1.errors import HubUnreachable, LocalR1Error
from localr1.fit.explain import gib, room
from localr1.install import recipes
from localr1.install.diagnosis import best, diagnose, out_of_reach, rests_beside
from localr1.install.types import Backend, Bench, Build, Trouble
from localr1.machine.terminal import Terminal
from localr1.machine.types import Device, Machine
from localr1.models import catalog
from localr1.models.place import free_bytes, read_sidecar

Status = Literal["ok", "warning", "failed"]

_SMALLEST_DISK_BYTES: Final = 6 << 30
"""Room for the usual 7B or 8B file."""
_SLOW_DISK_BYTES_PER_SECOND: Final = 20e6
"""As a hard disk over USB 2, or an SD card."""
_WRITTEN_BYTES: Final = 4 << 20
_MOST_WRITTEN_BYTES: Final = 32 << 20
_DAY_SECONDS: Final = 86_400.0
_WRITTEN_SECONDS: Final = 1_767_225_600.0
"""The beginning of 2026: this code is not older."""
_LONGEST_UNTOUCHED_SECONDS: Final = 5 * 365.25 * _DAY_SECONDS
"""A computer may lie without a new release for years, and without a network as well."""
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
    command: str = ""
    """The command that `todo` ends with, to be copied whole."""


def engine(machine: Machine, bench: Bench) -> list[Finding]:
    """Whether llama.cpp starts and is the build for this computer, and each GPU: used, or why not.

    What a build would mend comes with the command that makes it.
    """
    troubles = diagnose(machine, bench.place, bench.tools)
    found = []
    if not any(trouble.grave for trouble in troubles):
        words = f"llama-cpp-python {machine.engine.version} starts."
        found.append(Finding("engine", "ok", words))
    found += _joined([(one.device, _trouble(one, machine, bench)) for one in troubles])
    found += [_used(gpu) for gpu in machine.gpus]
    found += [one for gpu in machine.devices for one in _left(gpu, machine)]
    # What could not be looked at may hide a card; `unseen` says what that was.
    if all(device.kind == "cpu" for device in machine.devices) and not machine.problems:
        found.append(Finding("gpu", "ok", "No GPU was found; models run on the CPU."))
    return found


def unseen(machine: Machine) -> list[Finding]:
    """What of the computer could not be looked at, or contradicts itself."""
    return [
        Finding("machine", "warning", problem, "", "localr1 machine shows all that was found.")
        for problem in machine.problems
    ]


def ways(machine: Machine, bench: Bench, wanted: Backend | None = None) -> tuple[Build, ...]:
    """The builds that `--fix` tries, the likeliest to work first; empty where nothing is to mend.

    Args:
        machine: What the computer has and what the engine says.
        bench: What it would be made on.
        wanted: The build that the user asked for; None for what the diagnosis says.
    """
    if wanted is not None:
        return _builds(wanted, machine, bench)
    for trouble in diagnose(machine, bench.place, bench.tools):
        if found := _remedies(trouble, machine, bench):
            return found
    if bench.source:
        return _builds(best(machine, bench.tools), machine, bench)
    return ()


def _used(gpu: Device) -> Finding:
    return Finding("gpu", "ok", f"{gpu.description or gpu.name}: {gpu.backend}, {room(gpu)}.")


def _joined(findings: list[tuple[str, Finding]]) -> list[Finding]:
    """Return findings, each with the GPU it is about, with one for GPUs that all lack the same."""
    alike: dict[Finding, list[tuple[str, Finding]]] = {}
    for device, finding in findings:
        key = replace(finding, what="") if device else finding
        alike.setdefault(key, []).append((device, finding))
    found = []
    for (device, finding), *more in alike.values():
        names = Counter((device, *(other for other, _ in more)))
        words = " and ".join(f"{n} × {name}" if n > 1 else name for name, n in names.items())
        found.append(replace(finding, what=f"{words} are not used.") if more else finding)
    return found


def _left(gpu: Device, machine: Machine) -> list[Finding]:
    """Say of a GPU that it is left in peace, and why; nothing of others."""
    name = gpu.description or gpu.name
    if out_of_reach(gpu):
        return [Finding("gpu", "ok", f"{name} is not used. {gpu.reason.partition(': ')[2]}")]
    if (card := rests_beside(gpu, machine)) is None:
        return []
    why = "" if gpu.unified else " One build for both: localr1 doctor --fix vulkan."
    words = f"{name} rests: {card.description or card.name} is the one to use.{why}"
    return [Finding("gpu", "ok", words)]


def _trouble(trouble: Trouble, machine: Machine, bench: Bench) -> Finding:
    found = _remedies(trouble, machine, bench)
    todo, command = trouble.advice, ""
    if found:
        build = found[0]
        command = build.command.text(bench.place.system)
        first = "; ".join(build.first)
        todo = (
            f"First: {first}. Then: localr1 doctor --fix, which runs"
            if first
            else (
                "localr1 doctor --fix puts that right, trying the new build before it replaces the old"
                " one. It runs"
            )
        )
        if trouble.advice:
            todo = f"{trouble.advice} Or, where that cannot be: {todo}"
    name = "gpu" if trouble.device else "engine"
    status: Status = "failed" if trouble.grave else "warning"
    return Finding(name, status, trouble.what, trouble.why, todo, command)


def _remedies(trouble: Trouble, machine: Machine, bench: Bench) -> tuple[Build, ...]:
    if trouble.backend is None:
        return ()
    builds = _builds(trouble.backend, machine, bench)
    if trouble.runtimes:
        return (recipes.runtimes(trouble.runtimes, bench.place), *builds)
    return builds


def _builds(backend: Backend, machine: Machine, bench: Bench) -> tuple[Build, ...]:
    return recipes.builds(
        backend,
        machine,
        bench.place,
        bench.tools,
        source=bench.source,
        offline=bench.offline,
    )


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
    speed = _write_speed(existing)
    words = f"{gib(free)} free for downloads at {place}, written at {speed / 1e6:,.0f} MB/s."
    if not speed:
        return [
            Finding(
                "disk",
                "failed",
                f"{place} cannot be written.",
                "A small file could not be written to its end: a quota, a limit, or the disk itself.",
                "Make room there, or set `models_directory` in settings.toml to another disk.",
            )
        ]
    if speed < _SLOW_DISK_BYTES_PER_SECOND:
        why = "A model of 5 GB takes long to arrive there, and to be read at each start."
        todo = "Set `models_directory` in settings.toml to a faster disk."
        return [Finding("disk", "warning", words, why, todo)]
    return [Finding("disk", "ok", words)]


def _write_speed(folder: Path) -> float:
    """Bytes per second that reach a disk; of a little, so that it takes a second at most."""
    began = time.monotonic()
    written = 0
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            while written < _MOST_WRITTEN_BYTES and time.monotonic() - began < 1.0:
                written += file.write(os.urandom(_WRITTEN_BYTES))
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        return 0.0
    return written / max(1e-6, time.monotonic() - began)


def settings(directories: Directories) -> list[Finding]:
    """Whether the user's settings and model list can be read."""
    try:
        load_preferences(directories)
        folder = directories.settings
        catalog.load(folder / "models.toml", folder / catalog.REFRESHED_NAME)
    except LocalR1Error as error:
        return [Finding("settings", "failed", error.what, error.why, error.todo)]
    return [Finding("settings", "ok", "Settings and the list of models are sound.")]


def terminal(here: Terminal) -> list[Finding]:
    """Whether the app can be drawn here, and its keys told apart; pure."""

    def wrong(what: str, why: str, todo: str) -> list[Finding]:
        return [Finding("terminal", "warning", what, why, todo)]

    if here.dumb:
        return wrong(
            "This terminal cannot draw the app.", "TERM is dumb.", "Use `localr1 ask` here."
        )
    if here.encoding.lower().replace("-", "") not in {"utf8", "utf16le"}:
        return wrong(
            "This terminal may not show every character.",
            f"Its encoding is {here.encoding}.",
            "Set a UTF-8 locale (LANG=C.UTF-8), or `chcp 65001` on Windows.",
        )
    if not here.interactive:
        return [Finding("terminal", "ok", "No terminal here: the output goes elsewhere.")]
    if here.columns < _SMALLEST_COLUMNS or here.lines < _SMALLEST_LINES:
        return wrong(
            f"This terminal is small: {here.columns}×{here.lines}.",
            f"The app wants at least {_SMALLEST_COLUMNS}×{_SMALLEST_LINES}.",
            "Make the window larger, or the letters smaller.",
        )
    colours = f"{here.colours:,} colours" if here.colours else "no colours, as NO_COLOR asks"
    keys = "" if here.modified_keys else " Shift+Enter may be Enter here: Ctrl+J begins a new line."
    words = f"Terminal {here.columns}×{here.lines}, {here.encoding}, {colours}.{keys}"
    return [Finding("terminal", "ok", words)]


def clock(now_seconds: float, newest_seconds: float | None = None) -> list[Finding]:
    """Whether the computer's clock can be right; pure but for the age of the files here.

    With a clock far off every secure connection fails: no certificate is valid yet, or any more.

    Args:
        now_seconds: What the clock says, in seconds since 1970.
        newest_seconds: When the newest file here was written that no run of localr1 writes; None
            for looking.
    """
    newest = _newest_seconds() if newest_seconds is None else newest_seconds
    # Some systems give every file of a package a date of long ago.
    newest = max(newest, _WRITTEN_SECONDS)
    says = f"The clock says {time.ctime(now_seconds)}"
    if newest - _DAY_SECONDS <= now_seconds <= newest + _LONGEST_UNTOUCHED_SECONDS:
        return [Finding("clock", "ok", f"{says}.")]
    if now_seconds < newest:
        what = f"{says}, which cannot be."
        why = f"localr1's own files are of {time.ctime(newest)}."
    else:
        what = f"{says}, which can hardly be."
        why = f"The newest files of localr1, Python and the engine are of {time.ctime(newest)}."
    return [
        Finding(
            "clock",
            "warning",
            what,
            f"{why} Secure connections fail with a wrong clock.",
            "Set the clock, or let the system do so (timedatectl set-ntp true).",
        )
    ]


def _newest_seconds() -> float:
    engine = importlib.util.find_spec("llama_cpp")
    paths = [Path(__file__), Path(sys.executable)]
    paths += [Path(engine.origin)] if engine is not None and engine.origin else []
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def cache(directories: Directories) -> list[Finding]:
    """Whether what is kept between runs can be read, and downloads are as long as they were."""
    kept = [*directories.cache.glob("*.json"), directories.data / "state.json"]
    damaged = [path for path in kept if path.is_file() and not _is_sound(path)]
    found = [
        Finding(
            "cache",
            "warning",
            f"{path.name} is damaged.",
            "It is not an object in JSON. It is ignored and made anew when it can be.",
            f"Remove it: {path}",
        )
        for path in damaged
    ]
    changed = []
    count = 0
    for note in directories.models.glob("*/*.json"):
        target = note.with_suffix("")
        if (sidecar := read_sidecar(target)) is not None:
            count += 1
            if not target.is_file() or target.stat().st_size != sidecar.size_bytes:
                changed.append(target)
    found += [
        Finding(
            "cache",
            "warning",
            f"{target.name} is gone, or has not the length it was downloaded with.",
            f"It lies at {target}.",
            "Download it again with localr1 pull; localr1 verify tells more.",
        )
        for target in changed
    ]
    words = f"What is kept is sound; {count} downloaded files have their length."
    return found or [Finding("cache", "ok", f"{words} localr1 verify --all reads them whole.")]


def _is_sound(path: Path) -> bool:
    """Whether a file has the form that all of them have: an object."""
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError, RecursionError):
        return False


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
