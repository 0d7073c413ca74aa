"""`localr1 import FILE|URL|hf:REPO[/FILE]`: any model with a chat template."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from localr1 import workflow
from localr1.cli import chosen, opening, output
from localr1.cli.bytes_done import counting
from localr1.cli.pull import with_progress
from localr1.errors import FileError, LocalR1Error, UsageError
from localr1.gguf.file import shard_paths
from localr1.models import acquire
from localr1.models.acquire import HubReference, UrlReference
from localr1.models.place import size_text
from localr1.models.types import LocalModel

if TYPE_CHECKING:
    from localr1.models.hub import RemoteFile


def run(arguments: argparse.Namespace) -> int:
    """Take a model in."""
    home = opening.home(arguments)
    reference = acquire.parse_reference(arguments.source)
    if isinstance(reference, Path):
        local = _file(home, reference, copied=arguments.copy)
    elif arguments.copy:
        raise UsageError(
            "--copy is for a file on this computer.", "A download is always kept.", "Leave it out."
        )
    else:
        local = _download(home, reference)
    _tell(home, local)
    return 0


def _file(home: workflow.Home, path: Path, *, copied: bool) -> LocalModel:
    library = home.library
    if not copied:
        local = acquire.take_in(path, library, home.catalogue)
        output.note(f"localr1: {path.name} is used where it lies; it was not copied or changed.")
        return local
    total = 2 * sum(shard.stat().st_size for shard in shard_paths(path) if shard.is_file())
    with counting(f"copying {path.name}", total) as on_bytes:
        return acquire.take_copy(path, library, home.catalogue, on_bytes)


def _download(home: workflow.Home, reference: HubReference | UrlReference) -> LocalModel:
    # The hub client is heavy: not before something is really fetched.
    from localr1.models import address, download, downloaded, hub  # noqa: PLC0415

    token: str | None = None
    if isinstance(reference, HubReference):
        listed = hub.list_repository(
            reference.repository, revision=reference.revision, offline=home.offline
        )
        wanted = acquire.choose(acquire.file_sets(listed), reference)
        files: tuple[RemoteFile, ...] = wanted.files
        name, size = f"{reference.repository}/{wanted.name}", wanted.size_bytes
    else:
        token = ""  # the hub's token is for the hub alone
        repository = acquire.remote_repository(reference)
        file = address.look_up(reference.url, repository, reference.name, offline=home.offline)
        files, name, size = (file,), reference.url, file.size_bytes
    output.note(f"localr1: {name}, {size_text(size)}")
    folder = home.directories.models
    if any(download.file_missing_bytes(file, folder) for file in files):
        queue = workflow.queue_file(home).read()
        workflow.check_queue_room(home, [item for item in queue.items if item.ready], files)
    path = with_progress(
        home,
        size,
        lambda show, limit: download.download(
            files,
            folder,
            on_event=show,
            token=token,
            offline=home.offline,
            limit=limit,
            wait_for_room=sys.stderr.isatty(),  # as `pull`
        ),
    )
    local = home.library.at(path, home.catalogue)
    if local is None:
        problem = _problem(path)
        names = [file.path for file in files]
        downloaded.delete(folder, files[0].repository, names)
        raise FileError(
            f"{path.name} was downloaded, but cannot be used, and was deleted again.",
            problem,
            "Look for another file of that model.",
        )
    return local


def _problem(path: Path) -> str:
    from localr1.models.headers import examine  # noqa: PLC0415 - only after a failure

    return examine(path).why


def _tell(home: workflow.Home, local: LocalModel) -> None:
    model = local.model
    known = any(model.id == one.id for one in home.catalogue.models)
    output.say(f"{model.name} {local.variant.quantization} is here: {local.path}")
    if model.own_format is not None:
        output.say(
            "It is not of the R1 family: its own chat template is used, and what localr1 does for"
            " R1 (thinking apart from the answer, thinking budgets, R1's sampling) is off."
        )
    elif not known:
        output.say(model.notes[0] if model.notes else "It is treated as an R1 model.")
    name = f"{model.id}:{local.variant.quantization}" if known else model.id
    try:
        leads_here = chosen.local_model(home, name).path == local.path
    except LocalR1Error:
        leads_here = False
    if not leads_here:  # another file goes by that name
        name = str(local.path)
    output.say(f"Chat with it: localr1 chat {shlex.quote(name)}")
