"""The walk that the command line and the app share: examine, advise, fetch, load.

Each function is one step, made of calls into the layers below; nothing is printed or drawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localr1.chat.store import Store
from localr1.config import (
    Directories,
    Goal,
    Preferences,
    State,
    load_preferences,
    load_state,
    network_allowed,
    save_state,
)
from localr1.engine.client import Engine, probe
from localr1.errors import FileError, LocalR1Error
from localr1.fit import advisor, placement
from localr1.fit.types import Advice, Plan
from localr1.machine.reconcile import reconcile
from localr1.machine.system import detect
from localr1.machine.types import Machine
from localr1.models import catalog
from localr1.models.catalog import Catalogue
from localr1.models.library import Library
from localr1.models.types import Choice, LocalModel, Model, Variant

if TYPE_CHECKING:
    from localr1.models.download import DownloadEvent


@dataclass(frozen=True)
class Home:
    """Where things are, and what the user set."""

    directories: Directories
    preferences: Preferences
    catalogue: Catalogue
    offline: bool
    """Whether the network may not be used at all."""

    @property
    def library(self) -> Library:
        """The models on this disk."""
        return Library(self.directories.models)


def open_home(*, offline: bool = False) -> Home:
    """Read settings and catalogue.

    Args:
        offline: The command line's `--offline`; `HF_HUB_OFFLINE` counts as well.

    Raises:
        SettingsError: settings.toml or a models.toml is wrong; names the line and the key.
        FileError: One of them cannot be read.
    """
    directories = Directories.standard()
    preferences = load_preferences(directories)
    catalogue = catalog.load(directories.settings / "models.toml")
    return Home(
        directories.preferring(preferences),
        preferences,
        catalogue,
        offline=not network_allowed(offline),
    )


async def examine(home: Home) -> Machine:
    """What this computer has and what llama.cpp can use of it, as of now."""
    return await examine_machine(home.directories)


async def examine_machine(directories: Directories) -> Machine:
    """The same, for those who have no readable settings or catalogue yet."""
    system, engine = await asyncio.gather(
        asyncio.to_thread(detect, measure=True, cache_dir=directories.cache),
        probe(directories.logs),
    )
    return reconcile(system, engine)


def advise(
    home: Home, machine: Machine, *, goal: Goal | None = None, context_window: int | None = None
) -> Advice:
    """Ranked plans for a machine."""
    return advisor.advise(
        machine,
        home.catalogue.models,
        goal=goal or home.preferences.goal,
        context_window=context_window or home.preferences.context_window or None,
        quantization_loss=home.catalogue.quantization_loss,
    )


def local_models(home: Home) -> tuple[LocalModel, ...]:
    """Everything complete on this disk; the demo last.

    Raises:
        FileError: The folder of downloads cannot be read.
    """
    found = home.library.scan(home.catalogue)
    return tuple(sorted(found, key=lambda local: local.model.demo))


def plan_for(
    home: Home, machine: Machine, local: LocalModel, *, context_window: int | None = None
) -> Plan:
    """How to run a model that is here."""
    plan = placement.place(
        local.model,
        local.variant,
        machine,
        context_window=context_window or home.preferences.context_window or None,
    )
    threads = placement.thread_count(local.size_bytes, machine.cpu)
    return replace(plan, settings=replace(plan.settings, threads=threads))


async def fetch(
    home: Home, model: Model, variant: Variant, on_event: Callable[[DownloadEvent], None]
) -> LocalModel:
    """Get a variant: from the disk when it is here, else from the hub, resumably.

    Raises:
        OfflineError: It is not here and the network may not be used.
        DownloadError: The hub or the network failed; the part that came is kept.
        FileError: The disk is full or not writable.
        LocalR1Error: The file arrived whole but is not recognised.
    """
    choice = Choice(model, variant)
    local = home.library.find(choice)
    if local is not None:
        return local
    # The hub client is heavy: not before something is really fetched.
    from localr1.models.download import download  # noqa: PLC0415
    from localr1.models.hub import list_files  # noqa: PLC0415

    files = await asyncio.to_thread(list_files, variant, offline=home.offline)
    path = await download(files, home.directories.models, on_event=on_event, offline=home.offline)
    local = home.library.find(choice)
    if local is None:
        raise FileError(
            f"{path.name} was downloaded, but is not recognised as {model.name}.",
            f"It lies at {path}.",
            "Remove it and download it again, or run `localr1 doctor`.",
        )
    return local


async def start_engine(
    home: Home,
    local: LocalModel,
    plan: Plan,
    on_progress: Callable[[float], None] | None = None,
) -> Engine:
    """Load a model as planned.

    Raises:
        EngineMissing: llama-cpp-python is absent or does not start here.
        LoadFailed: llama.cpp refused the file or the plan.
        EngineDied: The worker ended while loading.
    """
    return await Engine.start(
        local.path,
        plan.settings,
        log_directory=home.directories.logs,
        on_progress=on_progress,
    )


def last_used(home: Home) -> LocalModel | None:
    """The model of the last conversation, if its file is still here and sound."""
    state = load_state(home.directories)
    try:
        if state.last_model:
            model = home.catalogue.model(state.last_model)
            wanted = state.last_quantization
            variant = next((v for v in model.variants if v.quantization == wanted), None)
            return home.library.find(Choice(model, variant))
        if state.last_path:
            return home.library.find(home.catalogue.resolve(state.last_path))
    except LocalR1Error:
        return None  # gone or damaged: the walk begins anew
    return None


def remember(home: Home, local: LocalModel) -> None:
    """Make a model the one that the next run opens.

    Raises:
        FileError: The state cannot be written.
    """
    known = any(model.id == local.model.id for model in home.catalogue.models)
    save_state(
        home.directories,
        State(
            last_model=local.model.id if known else "",
            last_quantization=local.variant.quantization,
            last_path=str(local.path),
            first_run_done=True,
        ),
    )


def open_store(home: Home) -> Store:
    """The conversations.

    Raises:
        StoreError: The database cannot be opened.
    """
    return Store(home.directories.database)
