"""The walk that the command line and the app share: examine, advise, fetch, load.

Each function is one step, made of calls into the layers below; nothing is printed or drawn. The
first steps are in `home`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from localr1 import exact, track_record
from localr1.chat.kv_state import KvStates
from localr1.chat.store import Store
from localr1.config import DRAFT_TOKENS
from localr1.engine.client import Engine
from localr1.engine.experience import recall_threads
from localr1.engine.lent import still_there
from localr1.engine.start import Start
from localr1.errors import FileError, LocalR1Error, UnknownModel, UsageError
from localr1.fit import explain, placement
from localr1.fit.network import alone, names_lent
from localr1.fit.threads import gentle
from localr1.fit.types import NOTHING, Asked, Plan
from localr1.home import Home, advise, examine, look, open_home
from localr1.machine.awake import awake
from localr1.machine.types import Machine
from localr1.models.library import Partial
from localr1.models.limit import SpeedLimit
from localr1.models.queue import Item, QueueFile
from localr1.models.types import Choice, LocalModel, Model, Variant
from localr1.state import State, load_state, save_state

if TYPE_CHECKING:
    from localr1.models.download import DownloadEvent
    from localr1.models.hub import RemoteFile

__all__ = ["Home", "advise", "examine", "open_home"]

_TELLING_TOKENS: Final = 32


def local_models(home: Home) -> tuple[LocalModel, ...]:
    """Everything complete on this disk; the demo last.

    Raises:
        FileError: The folder of downloads cannot be read.
    """
    found = home.library.scan(home.catalogue)
    return tuple(sorted(found, key=lambda local: local.model.demo))


def plan_for(
    home: Home,
    machine: Machine,
    local: LocalModel,
    asked: Asked = NOTHING,
    *,
    most_at_once: int = 1,
) -> Plan:
    """How to run a model that is here.

    Args:
        home: Where things are.
        machine: What it is to run on.
        local: The model.
        asked: What the user fixed.
        most_at_once: Replies that may run side by side, as far as there is memory for it.
    """
    (model,) = track_record.as_used_here(home.directories, (local.model,))
    plan = placement.place(
        *exact.from_file(model, local.variant, local.path, home.directories),
        machine,
        context_window=asked.context_window or home.preferences.context_window or None,
        kv_cache_type=asked.kv_cache_type,
        goal=home.preferences.goal,
    )
    measured = recall_threads(home.directories.cache, machine, local.size_bytes, plan.settings)
    settings = replace(
        plan.settings,
        threads=measured or placement.thread_count(local.size_bytes, machine.cpu),
        draft_tokens=DRAFT_TOKENS if home.preferences.speculation else 0,
    )
    quiet = home.preferences.quiet
    if quiet == "always" or (quiet == "battery" and machine.power.on_battery):
        settings = gentle(settings, machine.cpu)
    plan = placement.with_settings(plan, settings, machine)
    plan = placement.side_by_side(plan, machine, most_at_once)
    return replace(plan, pool=tuple(_pool_words(home, machine, plan))) if home.pool else plan


def _pool_words(home: Home, machine: Machine, plan: Plan) -> Iterator[str]:
    """What other computers' memory brings, how fast that is, and what would be faster without."""
    here = alone(machine)
    if not names_lent(plan.settings):
        if plan.fits:
            yield "This computer alone is no slower: the others are not used."
        return
    yield f"{plan.reasons[0]}."
    yield from (f"{words}." for words in explain.network(plan, machine))
    if plan.model.demo:
        return
    speed = plan.generation_tps.expected
    others = advise(home, here, every_variant=False).plans
    fit = (other for other in others if other.fits and not other.model.demo)
    faster = next((other for other in fit if other.generation_tps.expected > speed), None)
    if faster is not None:
        name = f"{faster.model.name} {faster.variant.quantization}"
        yield f"Faster on this computer alone: {name}, about {explain.tps(faster.generation_tps)}."


async def fetch(  # noqa: PLR0913  # keyword arguments with defaults
    home: Home,
    model: Model,
    variant: Variant,
    on_event: Callable[[DownloadEvent], None],
    *,
    limit: SpeedLimit | None = None,
    wait_for_room: bool = False,
) -> LocalModel:
    """Get a variant: from the disk when it is here, else from the hub, resumably.

    Args:
        home: Where things are.
        model: What to get.
        variant: Its quantization.
        on_event: Called with what happens.
        limit: The speed of everything that downloads; None for none.
        wait_for_room: Whether a disk that fills up is waited for; else it is an error.

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
    from localr1.models.obtain import download_variant  # noqa: PLC0415

    await exact.remark_before_download(home, model, variant, partial(examine, home), on_event)
    with awake("localr1 downloads a model"):
        path = await download_variant(
            variant,
            home.directories.models,
            on_event=on_event,
            offline=home.offline,
            limit=limit,
            wait_for_room=wait_for_room,
        )
    local = home.library.find(choice)
    if local is None:
        raise FileError(
            f"{path.name} was downloaded, but is not recognised as {model.name}.",
            f"It lies at {path}.",
            "Remove it and download it again, or run `localr1 doctor`.",
        )
    return local


def queue_file(home: Home) -> QueueFile:
    """Where the downloads that are waited for are remembered."""
    return QueueFile(home.directories.data / "downloads.json")


def queue_item(model: Model, variant: Variant) -> Item:
    """A variant as the queue of downloads has it."""
    return Item(f"{model.id}:{variant.quantization}", variant.size_bytes)


def queued_variant(home: Home, item: Item) -> tuple[Model, Variant]:
    """What an item of the queue means.

    Raises:
        UnknownModel: The catalogue has no such model any more.
    """
    choice = home.catalogue.resolve(item.name)
    if choice.variant is None:
        raise UnknownModel(
            f"{item.name} is not in the list of models any more.", "", "See `localr1 models --all`."
        )
    return choice.model, choice.variant


def listed_variant(home: Home, stopped: Partial) -> tuple[Model, Variant] | None:
    """What a stopped download is of the list of models; None where it is none of it."""
    pairs = ((model, variant) for model in home.catalogue.models for variant in model.variants)
    return next((pair for pair in pairs if stopped.belongs_to(pair[1])), None)


def speed_limit(home: Home, bytes_per_second: int = 0) -> SpeedLimit:
    """A speed limit of which all downloads of this user know, also those of other processes."""
    return SpeedLimit(bytes_per_second, shared=home.directories.data / "downloads.speed")


def check_queue_room(home: Home, items: Iterable[Item], files: Iterable[RemoteFile] = ()) -> None:
    """Raise DiskFull when downloads do not fit together.

    Args:
        home: Where things are.
        items: Of the queue.
        files: What else is to come.

    Raises:
        DiskFull: How much is missing.
        FileError: The folder of downloads cannot be read.
    """
    from localr1.models.obtain import check_room  # noqa: PLC0415  # as in `fetch`

    variants = []
    for item in items:
        with suppress(UnknownModel):  # told when its turn comes
            variants.append(queued_variant(home, item)[1])
    check_room(variants, home.directories.models, files)


def check_devices(plan: Plan, here: Machine) -> None:
    """See that llama.cpp has here what a plan computes on.

    Args:
        plan: Perhaps for another computer.
        here: This one.

    Raises:
        UsageError: It has not; names the device.
    """
    listed = {device.name for device in here.engine.devices}
    for name in plan.settings.device_names:
        if name not in listed:
            raise UsageError(
                f"llama.cpp has no {name} in this computer.",
                "The plan is for another computer, which has one.",
                "Leave --profile and the what-if options out.",
            )


def watch(home: Home, plan: Plan, machine: Machine) -> track_record.Watch:
    """What records how a reply compares with what was predicted; nothing under a profile.

    Args:
        home: Where things are.
        plan: As it was loaded: with the settings of the engine.
        machine: What it was planned for.
    """
    keep = home.profile is None
    return track_record.Watch(home.directories, plan, machine, keep=keep)


async def start_engine(
    home: Home,
    local: LocalModel,
    plan: Plan,
    on_progress: Callable[[float], None] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Engine:
    """Load a model as planned, or with less where memory has become short or it does not load.

    Args:
        home: Where things are.
        local: The model.
        plan: How it is to be run.
        on_progress: Called with the share of the tensors loaded, 0 to 1; begins anew when a
            load is tried again.
        on_step: Called with a sentence for each thing that gives way.

    Raises:
        EngineMissing: llama-cpp-python is absent or does not start here.
        NothingFits: Even with the least settings it would be sure to swap.
        LoadFailed: llama.cpp refused the file, or everything that was tried.
        EngineDied: The worker ended while loading.
        UsageError: The plan is that of a profile, and for devices that are not here.
    """
    directories = home.directories
    if home.profile is not None:
        check_devices(plan, await look(directories, home.pool))
    if on_step is not None:
        for words in plan.pool:
            on_step(words)
    start = Start(
        local,
        plan,
        partial(look, directories, home.pool),
        # Whom the plan does not need cannot take it along either.
        rpc_endpoints=home.pool if names_lent(plan.settings) else (),
        cache=directories.cache,
        logs=directories.logs,
        on_progress=on_progress,
        on_step=on_step,
    )
    return await start.run()


async def without_lost(home: Home) -> tuple[Home, str]:
    """The same without the computers that no longer answer, and which those are, in words.

    The words are empty where all of them answer.
    """
    left = await still_there(home.pool)
    lost = [endpoint for endpoint in home.pool if endpoint not in left]
    if not lost:
        return home, ""
    names, are = " and ".join(lost), "are" if len(lost) > 1 else "is"
    return replace(home, pool=left), f"{names} {are} lost: planned again without."


def last_used(home: Home) -> LocalModel | None:
    """The model of the last conversation, if its file is still here and sound."""
    state = load_state(home.directories)
    try:
        if state.last_path:
            local = home.library.at(Path(state.last_path), home.catalogue)
            if local is not None and state.last_model in {"", local.model.id}:
                return local
        if state.last_model:
            model = home.catalogue.model(state.last_model)
            wanted = state.last_quantization
            variant = next((v for v in model.variants if v.quantization == wanted), None)
            return home.library.find(Choice(model, variant))
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
    home.library.records.note(local.path, last_used_seconds=time.time())


def note_speed(home: Home, local: LocalModel, generation_tps: float, tokens: int) -> None:
    """Remember that a model was used just now, and how fast it was.

    Args:
        home: Where things are.
        local: The model.
        generation_tps: As measured in a reply.
        tokens: Of that reply; a short one says nothing of the speed.
    """
    changes = {"last_used_seconds": time.time()}
    if tokens >= _TELLING_TOKENS and generation_tps > 0:
        changes["generation_tps"] = generation_tps
    with suppress(FileError):  # a folder that cannot be written must not spoil an answer
        home.library.records.note(local.path, **changes)


def kv_states(home: Home) -> KvStates:
    """Where the KV cache of conversations is kept, within the user's limit."""
    return KvStates(home.directories.cache / "kv", home.preferences.kv_state_limit_bytes)


def delete_conversation(home: Home, store: Store, conversation_id: int) -> None:
    """Remove a conversation with everything that was computed for it.

    Raises:
        StoreError: The database cannot be written.
    """
    store.delete(conversation_id)
    kv_states(home).forget(conversation_id)


def discard_conversation(home: Home, store: Store, conversation_id: int) -> None:
    """Throw a conversation away; `Store.restore` brings it back, without what was computed for it.

    Raises:
        StoreError: The database cannot be written.
    """
    store.discard(conversation_id)
    kv_states(home).forget(conversation_id)


def open_store(home: Home) -> Store:
    """The conversations; what was thrown away before the app died is deleted.

    Raises:
        StoreError: The database cannot be opened.
    """
    store = Store(home.directories.database)
    store.purge_abandoned()
    return store
