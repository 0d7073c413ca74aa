"""Figures behind a plan made exact: from the file's own header, and by llama.cpp's dry run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from localr1.config import Directories, Preferences, network_allowed
from localr1.engine import confirm
from localr1.engine.confirm import Confirmed
from localr1.engine.experience import read_entries, write_entries
from localr1.errors import HubUnreachable, LocalR1Error
from localr1.fit import placement
from localr1.fit.types import Plan
from localr1.gguf.file import recognise
from localr1.machine import network
from localr1.machine.types import Machine
from localr1.models import acquire, address, choice, hub
from localr1.models.acquire import HubReference, UrlReference, remote_repository
from localr1.models.catalog import Catalogue
from localr1.models.file_header import FileHeaders
from localr1.models.hub import RemoteFile
from localr1.models.library import Library
from localr1.models.patience import Patience
from localr1.models.progress import DownloadEvent, DownloadRemark
from localr1.models.types import Model, Variant

Say = Callable[[str], None]

_HEADER_PATIENCE: Final = Patience(connect_seconds=2.0, stall_seconds=2.0, attempts=2)
"""The recipe answers too: nobody waits long for a header."""
_UNREACHED_NAME: Final = "unreached.json"
_UNREACHED_SECONDS: Final = 300.0
"""For so long a hub that did not answer is not asked for a mere header again."""
_WORTH_BYTES: Final = 64 << 20
"""A smaller file is downloaded sooner than its header is read and llama.cpp asked."""


class Home(Protocol):
    """Where things are, and what the user set: `workflow.Home`."""

    @property
    def directories(self) -> Directories:
        """Of settings, data, cache and logs."""

    @property
    def preferences(self) -> Preferences:
        """The user's settings."""

    @property
    def offline(self) -> bool:
        """Whether the network may not be used at all."""

    @property
    def library(self) -> Library:
        """The models on this disk."""


def with_known_headers(models: Iterable[Model], directories: Directories) -> tuple[Model, ...]:
    """Models whose variants have the tensors of headers that were read earlier."""
    headers = FileHeaders(directories.cache)

    def exact(variant: Variant) -> Variant:
        found = headers.known(variant) if variant.repository else None
        if found is None:
            return variant
        return replace(
            variant, tensors=found.tensors, size_bytes=found.file_bytes, size_is_exact=True
        )

    return tuple(
        replace(model, variants=tuple(exact(variant) for variant in model.variants))
        for model in models
    )


def from_file(
    model: Model, variant: Variant, path: Path, directories: Directories
) -> tuple[Model, Variant]:
    """A model as its file on this disk says; unchanged where that cannot be read."""
    with suppress(LocalR1Error):  # the load says what is wrong with it
        return FileHeaders(directories.cache).of_file(variant, path).applied(model, variant)
    return model, variant


async def from_hub(
    model: Model, variant: Variant, directories: Directories, *, offline: bool, say: Say
) -> tuple[Model, Variant]:
    """A model as its file on the hub says: by its header alone, asked for or known already.

    Args:
        model: The model.
        variant: One of its files that is not here.
        directories: For the cache.
        offline: Whether the network may not be used.
        say: Told before the hub is asked, and when that fails: then nothing is changed.
    """
    headers = FileHeaders(directories.cache)
    known = await asyncio.to_thread(headers.known, variant)
    if known is None and network_allowed(offline) and await asyncio.to_thread(network.connected):
        where, unreached = hub.endpoint_url(), directories.cache / _UNREACHED_NAME
        if _just_unreached(unreached, where):
            say(f"{where} could not be reached a moment ago: the file's size and recipe are used.")
            return model, variant
        say(f"Reading the header of {model.name} {variant.quantization} on {variant.repository}.")
        try:
            known = await headers.fetch(variant, offline=offline, patience=_HEADER_PATIENCE)
        except LocalR1Error as error:
            if isinstance(error, HubUnreachable):
                write_entries(unreached, {where: time.time()})
            say(f"The header could not be read: {error.what} Its size and recipe are used.")
    return (model, variant) if known is None else known.applied(model, variant)


def _just_unreached(path: Path, where: str) -> bool:
    at_seconds = read_entries(path).get(where)
    if not isinstance(at_seconds, int | float):
        return False
    # A clock that was set back must not keep it unasked.
    return 0 <= time.time() - at_seconds < _UNREACHED_SECONDS


async def from_reference(
    reference: HubReference | UrlReference,
    catalogue: Catalogue,
    directories: Directories,
    *,
    offline: bool,
) -> tuple[Model, Variant]:
    """The model that a file on a server is, by its header alone.

    Args:
        reference: A file, or a repository with one model or one usual quantization.
        catalogue: For what is known of a model of that shape.
        directories: For the cache: a header that is kept there needs no network.
        offline: Whether the network may not be used.

    Raises:
        OfflineError: It is not kept, and the network may not be used.
        LocalR1Error: The server's refusal, or what is wrong with the header.
    """
    headers = FileHeaders(directories.cache)
    variant = _named(reference)
    known = await asyncio.to_thread(headers.known, variant)
    if known is None:
        files, token = await asyncio.to_thread(_listed, reference, offline)
        variant = replace(variant, files=tuple(file.path for file in files), shards=len(files))
        known = await headers.fetch_files(variant, files, token=token, offline=offline)
    gguf = await asyncio.to_thread(recognise, headers.path(variant), header_only=True)
    found = choice.from_file(gguf, catalogue.models, tuple(catalogue.quantizations))
    quantization = found.variant.quantization if found.variant else gguf.quantization
    return known.applied(found.model, replace(variant, quantization=quantization))


def _named(reference: HubReference | UrlReference) -> Variant:
    if isinstance(reference, HubReference):
        where, files, revision = reference.repository, (reference.path,), reference.revision
    else:
        where, files, revision = remote_repository(reference), (reference.name,), "main"
    return Variant("", where, files, 0, size_is_exact=False, revision=revision)


def _listed(
    reference: HubReference | UrlReference,
    offline: bool,
) -> tuple[tuple[RemoteFile, ...], str | None]:
    """The files, and the token to show: the hub's is for the hub alone."""
    if isinstance(reference, HubReference):
        listed = hub.list_repository(
            reference.repository, revision=reference.revision, offline=offline
        )
        return acquire.choose(acquire.file_sets(listed), reference).files, None
    where = remote_repository(reference)
    return (address.look_up(reference.url, where, reference.name, offline=offline),), ""


async def confirmed(
    plan: Plan, machine: Machine, directories: Directories, *, path: Path | None = None
) -> Confirmed:
    """A plan with llama.cpp's own figures.

    Args:
        plan: What is meant to be run.
        machine: What it is to fit.
        directories: For the header of a file that is not here, and for the engine's log.
        path: The file, if it is here.

    Raises:
        LocalR1Error: As `engine.confirm.confirm`.
    """
    return await confirm.confirm(
        plan, machine, path=path, cache=directories.cache, logs=directories.logs
    )


async def remark_before_download(
    home: Home,
    model: Model,
    variant: Variant,
    look: Callable[[], Awaitable[Machine]],
    on_event: Callable[[DownloadEvent], None],
) -> None:
    """Tell somebody who begins a download if it will not run here as planned.

    Its header is fetched, and llama.cpp asked what it would take: that an estimate was wrong is
    better told now than after forty gigabytes.

    Args:
        home: Where things are.
        model: What is to be downloaded.
        variant: Its file.
        look: Looks at the computer as it is now.
        on_event: Told of it, if there is something to tell.
    """
    if variant.size_bytes < _WORTH_BYTES:
        return
    if any(stopped.belongs_to(variant) for stopped in home.library.partials()):
        return  # it was told when it began
    remark = ""
    with suppress(LocalR1Error):  # the download itself says what is wrong with hub or file
        found = await FileHeaders(home.directories.cache).fetch(variant, offline=home.offline)
        model, variant = found.applied(model, variant)
        machine, window = await look(), home.preferences.context_window or None
        plan = placement.place(model, variant, machine, context_window=window)
        told = await confirmed(plan, machine, home.directories)
        remark = told.words
        if not told.plan.fits:
            why = told.words if plan.fits else plan.reasons[0]
            remark = f"{model.name} {variant.quantization} does not fit this computer now. {why}"
    if remark:
        on_event(DownloadRemark(remark))
