"""How every walk begins: where things are, what this computer has, what is advised for it.

`localr1 advise` is these steps and nothing else, and shall not keep anybody waiting: what only
downloads, chats and the engine need is imported where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from localr1 import __version__
from localr1.config import (
    HEADERS_FOLDER,
    Directories,
    Goal,
    Preferences,
    load_usable_preferences,
    network_allowed,
)
from localr1.engine import kernel_cache, probe_cache, runs
from localr1.engine.experience import read_entries, write_entries
from localr1.errors import SettingsError
from localr1.fit import advisor, compute
from localr1.fit.types import NOTHING, Advice, Asked
from localr1.machine.reconcile import reconcile
from localr1.machine.system import detect
from localr1.machine.types import Machine
from localr1.models import catalog
from localr1.models.catalog import Catalogue
from localr1.models.types import Model

if TYPE_CHECKING:
    from localr1.models.library import Library

_BUFFERS_NAME: Final = "buffers.json"
_MOST_BUFFERS: Final = 20_000
"""Sizes that are kept; with more the file is begun anew."""


@dataclass(frozen=True)
class Home:
    """Where things are, and what the user set."""

    directories: Directories
    preferences: Preferences
    catalogue: Catalogue
    offline: bool
    """Whether the network may not be used at all."""
    broken_settings: SettingsError | None = None
    """What is wrong with settings.toml; what is wrong there has its default."""
    pool: tuple[str, ...] = ()
    """Other computers (`host:port`) whose memory is used as well."""
    profile: Machine | None = None
    """The computer that is planned for instead of the one that localr1 finds."""

    @property
    def unused_list(self) -> str:
        """Why the refreshed list of models is not used, and what to do; empty where all is well."""
        if not self.catalogue.ignored:
            return ""
        return (
            f"{self.catalogue.ignored} The list that came with localr1 is used;"
            " localr1 models --refresh makes it anew."
        )

    @property
    def library(self) -> Library:
        """The models on this disk."""
        return _library(self.directories, self.preferences)


def open_home(*, offline: bool = False) -> Home:
    """Read settings and catalogue.

    Args:
        offline: The command line's `--offline`; `HF_HUB_OFFLINE` counts as well.

    Raises:
        CatalogueError: A models.toml is wrong; names the line and the key.
        FileError: One of them cannot be read.
    """
    standard = Directories.standard()
    preferences, broken = load_usable_preferences(standard)
    directories = standard.preferring(preferences)
    settings = directories.settings
    catalogue = catalog.load_usable(settings / "models.toml", settings / catalog.REFRESHED_NAME)

    def others() -> tuple[Model, ...]:
        return _library(directories, preferences).beyond(catalogue)

    return Home(
        directories,
        preferences,
        catalogue.with_others(others),
        offline=not network_allowed(offline),
        broken_settings=broken,
    )


def examined(directories: Directories) -> Machine | None:
    """What this computer has and what llama.cpp can use of it, as of now.

    None where llama.cpp has to be asked for that, as `examine_machine` does.
    """
    known = probe_cache.recall(directories.cache)
    if known is None:
        return None
    system = detect(measure=True, cache_dir=directories.cache)
    engine = known.here(system)
    if engine is None:
        return None
    machine = reconcile(system, engine)
    kernels = kernel_cache.recall(directories.cache, machine)
    if kernels is None:
        return None
    machine = replace(machine, engine=replace(engine, kernels=kernels))
    return runs.with_corrections(directories.cache, machine)


async def examine(home: Home) -> Machine:
    """What this computer has and what llama.cpp can use of it, as of now; or what a profile says."""
    import asyncio  # noqa: PLC0415

    if home.profile is not None:
        return home.profile
    known = None if home.pool else await asyncio.to_thread(examined, home.directories)
    return known if known is not None else await examine_machine(home.directories, home.pool)


async def examine_machine(directories: Directories, pool: tuple[str, ...] = ()) -> Machine:
    """The same with llama.cpp asked anew, for those who have no settings or catalogue yet.

    Raises:
        RpcUnavailable: A computer of the pool cannot be used.
    """
    import asyncio  # noqa: PLC0415

    from localr1 import track_record  # noqa: PLC0415
    from localr1.engine.client import probe  # noqa: PLC0415

    system, engine = await asyncio.gather(
        asyncio.to_thread(detect, measure=True, cache_dir=directories.cache),
        probe(directories.logs),
    )
    probe_cache.remember(directories.cache, system, engine)
    machine = await _with_lent(reconcile(system, engine), pool, measured=True)
    return await track_record.with_experience(directories, machine)


async def look(directories: Directories, pool: tuple[str, ...] = ()) -> Machine:
    """What there is as of now, without how fast it is: nothing is measured."""
    import asyncio  # noqa: PLC0415

    from localr1.engine.client import probe  # noqa: PLC0415

    system, engine = await asyncio.gather(asyncio.to_thread(detect), probe(directories.logs))
    return await _with_lent(reconcile(system, engine), pool, measured=False)


async def _with_lent(machine: Machine, pool: tuple[str, ...], *, measured: bool) -> Machine:
    """With what other computers lend, which have the same build of llama.cpp.

    Raises:
        RpcUnavailable: One of them cannot be used.
    """
    if not pool:
        return machine
    from localr1.engine import lent  # noqa: PLC0415

    found = await lent.devices(pool, machine.engine, measured=measured)
    return replace(machine, devices=(*machine.devices, *found))


def advise(
    home: Home,
    machine: Machine,
    *,
    goal: Goal | None = None,
    asked: Asked = NOTHING,
    every_variant: bool = True,
) -> Advice:
    """Ranked plans for a machine; what is left out is as the user's settings have it.

    Args:
        home: For the settings and the list of models.
        machine: What they are for.
        goal: What counts.
        asked: What the user fixed.
        every_variant: Whether all plans get their reasons, not only the first of each model.
    """
    path = home.directories.cache / _BUFFERS_NAME
    _give_back(path)
    advice = advisor.advise(
        machine,
        _models(home),
        goal=goal or home.preferences.goal,
        context_window=asked.context_window or home.preferences.context_window or None,
        kv_cache_type=asked.kv_cache_type,
        quantization_loss=home.catalogue.quantization_loss,
        every_variant=every_variant,
    )
    _keep(path)
    return advice


def _models(home: Home) -> tuple[Model, ...]:
    """The catalogue's models, with what is known of their files and of how they were used."""
    directories, models = home.directories, home.catalogue.models
    if directories.database.is_file():
        from localr1 import track_record  # noqa: PLC0415

        models = track_record.as_used_here(directories, models)
    if (directories.cache / HEADERS_FOLDER).is_dir():
        from localr1 import exact  # noqa: PLC0415

        models = exact.with_known_headers(models, directories)
    return models


def _library(directories: Directories, preferences: Preferences) -> Library:
    from localr1.models.headers import HeaderCache  # noqa: PLC0415
    from localr1.models.library import Library  # noqa: PLC0415
    from localr1.models.places import places  # noqa: PLC0415
    from localr1.models.records import Records  # noqa: PLC0415

    return Library(
        directories.models,
        places=places(preferences.model_folders),
        cache=HeaderCache(directories.cache),
        records=Records(directories.data),
    )


def _give_back(path: Path) -> None:
    """Give the sizes of compute buffers that were found at an earlier start back to those who look."""
    if compute.FOUND.sizes:
        return
    entries = read_entries(path)
    sizes = entries.get("sizes")
    if entries.get("code") != _code() or not isinstance(sizes, dict):
        return
    sound = {
        key: tuple(value)
        for key, value in sizes.items()
        if isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
    }
    compute.FOUND.give(sound)


def _keep(path: Path) -> None:
    found = compute.FOUND
    if found.grown and len(found.sizes) <= _MOST_BUFFERS:
        write_entries(path, {"code": _code(), "sizes": dict(found.sizes)})
    found.grown = False


def _code() -> list[object]:
    """Which code finds the sizes: that of another release may find others."""
    folder = Path(compute.__file__).parent
    names = ("backends.py", "compute.py", "graph.py", "graph_memory.py", "llama_graph.py")
    stats = [(folder / name).stat() for name in names if (folder / name).is_file()]
    return [__version__, [[stat.st_size, stat.st_mtime_ns] for stat in stats]]
