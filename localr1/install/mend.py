"""Mending the engine: another build made beside the old one, tried, and only then put in its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from localr1.chat import template
from localr1.engine import protocol
from localr1.engine.client import Engine, probe
from localr1.errors import BuildFailed, EngineError, FileError, LocalR1Error, OfflineError
from localr1.fit.types import Settings
from localr1.gguf.file import recognise
from localr1.install import installer
from localr1.install.installer import Progress
from localr1.install.swap import FOLDER, Site
from localr1.install.types import TESTED_ENGINE, Backend, Bench, Build, Command, Place
from localr1.machine.awake import awake
from localr1.machine.types import EngineInfo, Machine
from localr1.models.library import DEMO_PATH
from localr1.models.lock import held_now

_QUESTION, _ANSWER = "What is 347 + 589?", "936"
"""What the demonstration model always gets right: a build that does not is broken."""
_MOST_TOKENS: Final = 400
_COMPILED: Final[dict[Backend, tuple[str, ...]]] = {
    "cpu": (),
    "cuda": ("CUDA",),
    "rocm": ("ROCm", "HIP"),
    "vulkan": ("Vulkan",),
    "metal": ("Metal", "MTL"),
    "rpc": ("RPC",),
}
_ON_GPU: Final = ("cuda", "rocm", "vulkan", "metal")


@dataclass(frozen=True)
class Stage:
    """A step of mending begins."""

    text: str
    command: str = ""
    """What is run for it, as a person would type it."""


@dataclass(frozen=True)
class Refused:
    """One way did not work; the next one is tried."""

    build: Build
    error: LocalR1Error


Event = Stage | Progress | Refused


@dataclass(frozen=True)
class Mended:
    """The build that is in place now."""

    build: Build
    engine: EngineInfo
    offloaded: str
    """Where the demonstration's layers went, by the engine's own account: `CUDA0`."""


async def mend(  # noqa: PLR0913 - each by keyword
    builds: Sequence[Build],
    *,
    machine: Machine,
    bench: Bench,
    logs: Path,
    on_event: Callable[[Event], None],
    site: Site | None = None,
) -> Mended:
    """Try builds one after another until one works; cancelling leaves the old one in place.

    Args:
        builds: The likeliest first; those that still lack something are left out.
        machine: What the new build must be able to use.
        bench: What it is made on.
        logs: For the installer's output, and the worker's.
        on_event: Called with what happens.
        site: The folder of packages; that of the running Python by default.

    Raises:
        OfflineError: It would have to be fetched.
        BuildFailed: None of them was made, or works. The old one is in place.
        FileError: The folder of packages cannot be written, or another localr1 is at it.
    """
    ready = [build for build in builds if not build.first]
    if not ready:
        raise _lacking(builds, bench.place)
    if bench.offline and not bench.source:
        raise OfflineError(
            "Another engine would have to be fetched.",
            "localr1 is offline.",
            "Give a source on this disk: localr1 doctor --fix --source FILE.",
        )
    site = site or Site.current()
    async with _alone(site):
        with awake("localr1 builds its engine"):
            return await _first(ready, site, machine, bench.place, logs, on_event)


async def _first(  # noqa: PLR0913, PLR0917 - as `mend`
    ready: Sequence[Build],
    site: Site,
    machine: Machine,
    place: Place,
    logs: Path,
    on_event: Callable[[Event], None],
) -> Mended:
    *others, last = ready
    for build in others:
        try:
            return await _one(build, site, machine, place, logs, on_event)
        except BuildFailed as error:
            on_event(Refused(build, error))
    return await _one(last, site, machine, place, logs, on_event)


def repair(site: Site | None = None) -> bool:
    """Put right what an interrupted mending left behind; tell whether there was something.

    Raises:
        FileError: The folder of packages cannot be written.
    """
    site = site or Site.current()
    if not site.work.is_dir():
        return False
    try:
        with held_now(_lock(site), limit_seconds=0.0):
            return site.recover()
    except TimeoutError:
        return False  # another localr1 is at it


async def verify(
    backend: Backend, machine: Machine, logs: Path, packages: Path | None = None
) -> tuple[EngineInfo, str]:
    """Return what a build says of itself and where it put the demonstration's layers.

    Args:
        backend: What it has to have.
        machine: What it has to use.
        logs: For the worker's output.
        packages: Folder with the build; the installed one where left out.

    Raises:
        BuildFailed: It does not start, lacks something, or computes wrongly.
    """
    info = await probe(logs, packages=packages)
    if info.problem:
        raise _broken("It does not start.", info.problem)
    if info.version != TESTED_ENGINE:
        raise _broken(
            f"It is llama-cpp-python {info.version or 'of no known release'}.",
            f"localr1 needs {TESTED_ENGINE}.",
        )
    wanted = _COMPILED[backend]
    if wanted and not set(wanted) & set(info.compiled):
        raise _broken(f"It has no {wanted[0]}.", f"It is built for {', '.join(info.compiled)}.")
    gpus = [device.name for device in info.devices if device.kind in ("gpu", "igpu")]
    if backend in _ON_GPU and not gpus:
        raise _broken(f"It has {wanted[0]}, but finds no GPU.", info.words)
    if "AVX2" in machine.cpu.features and "AVX2 = 1" not in info.system_info:
        raise _broken("It does not use this processor's AVX2 instructions.", info.system_info)
    return info, await calculated(gpus, logs, packages)


async def calculated(
    gpus: Sequence[str],
    logs: Path,
    packages: Path | None = None,
    *,
    rpc_endpoints: Sequence[str] = (),
) -> str:
    """Have the demonstration model add two numbers, on the GPU where there is one.

    Args:
        gpus: The engine's names; all layers go to the first.
        logs: For the worker's output.
        packages: As in `verify`.
        rpc_endpoints: Servers whose devices may be named.

    Returns:
        Where the layers went, by the engine's own account.

    Raises:
        BuildFailed: It cannot, or the sum is wrong.
    """
    architecture = recognise(DEMO_PATH).architecture
    settings = Settings(1024, threads=1)
    if gpus:
        layers = architecture.layers + 1
        settings = replace(settings, gpu_layers=layers, device_names=(gpus[0],))
    request = protocol.Generate(
        request_id=0,
        segments=template.render("", [], _QUESTION, open_thinking=True),
        thinking_open=True,
        seed=1,
        temperature=0.0,
        top_p=0.95,
        top_k=64,
        min_p=0.0,
        max_tokens=_MOST_TOKENS,
    )
    said = ""
    try:
        engine = await Engine.start(
            DEMO_PATH,
            settings,
            log_directory=logs,
            packages=packages,
            rpc_endpoints=rpc_endpoints,
        )
        try:
            buffers = engine.buffers
            async for event in engine.generate(request):
                if isinstance(event, protocol.Text) and event.part == "answer":
                    said += event.text
        finally:
            await engine.close()
    except EngineError as error:
        raise _broken("It starts, but does not run a model.", str(error)) from error
    if _ANSWER not in said.replace(",", ""):
        raise _broken(f"It says that 347 + 589 is {said.strip()!r}.", "It computes wrongly.")
    on = [one.device for one in buffers if one.weights_bytes and one.device != "CPU"]
    if gpus and not on:
        raise _broken("It leaves the model on the processor.", f"It lists {', '.join(gpus)}.")
    return ", ".join(on) or "CPU"


async def _one(  # noqa: PLR0913, PLR0917 - as `mend`
    build: Build,
    site: Site,
    machine: Machine,
    place: Place,
    logs: Path,
    on_event: Callable[[Event], None],
) -> Mended:
    log = logs / time.strftime("build-%Y%m%d-%H%M%S.log")
    await asyncio.to_thread(site.prepare)
    try:
        words = f"Getting {build.about}. It takes {build.minutes}. What runs, beside the old one:"
        on_event(Stage(words, build.command.text(place.system)))
        await installer.run(staged(build.command, place, site.new), log, on_event)
        on_event(Stage("Trying it out, before anything is replaced."))
        await verify(build.backend, machine, logs, site.new)
        on_event(Stage("Putting it in the place of the old one."))
        await asyncio.to_thread(site.put_in)
        info, offloaded = await verify(build.backend, machine, logs)
        await asyncio.to_thread(site.keep)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(site.recover))
        raise
    return Mended(build, info, offloaded)


def staged(command: Command, place: Place, folder: Path) -> Command:
    """Return the same command, installing into a folder of its own and telling how far it is."""
    head, *rest = command.arguments
    if head == "pipx":  # its environments have pip, too
        rest = rest[2:]
        head_words: tuple[str, ...] = (place.executable, "-m", "pip")
    elif head == "uv":
        head_words, rest = ("uv", "pip"), rest[1:]
    else:
        head_words, rest = (head, "-m", "pip"), rest[2:]
    options = ["--target", str(folder), "--verbose"]
    if head != "uv":
        options += ["--no-compile", "--disable-pip-version-check", "--progress-bar", "off"]
    # rest begins with "install"
    return Command((*head_words, rest[0], *options, *rest[1:]), command.environment)


@asynccontextmanager
async def _alone(site: Site) -> AsyncIterator[None]:
    try:
        with held_now(_lock(site), limit_seconds=0.0):
            yield
    except TimeoutError as error:
        raise FileError(
            "Another localr1 is changing the engine.", "", "Wait until it has ended."
        ) from error


def _lock(site: Site) -> Path:
    return site.folder / f"{FOLDER}.lock"


def _broken(what: str, why: str) -> BuildFailed:
    return BuildFailed(
        "The new engine does not work here.",
        f"{what} {why}".strip(),
        "The old one is still in place.",
    )


def _lacking(builds: Sequence[Build], place: Place) -> BuildFailed:
    first = builds[0]
    return BuildFailed(
        f"Something is missing before {first.about} can be installed.",
        "",
        f"First: {'; '.join(first.first)}. Then: {first.command.text(place.system)}",
    )
