"""Getting a variant from the hub: looked up, downloaded, and looked up again if it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from localr1.errors import FileChanged, HubNotFound
from localr1.models.download import download, file_missing_bytes
from localr1.models.downloaded import partials
from localr1.models.hub import RemoteFile, list_files
from localr1.models.limit import SpeedLimit
from localr1.models.patience import Patience
from localr1.models.place import disk_full, free_bytes, size_text
from localr1.models.progress import DownloadEvent, DownloadNotice, DownloadRemark
from localr1.models.room import SPARE_BYTES, lacks
from localr1.models.types import Variant

_NOTICED_SHARE: Final = 0.02
"""A size that differs by more from what was announced is said."""


async def download_variant(  # noqa: PLR0913  # keyword arguments with defaults
    variant: Variant,
    directory: Path,
    *,
    on_event: Callable[[DownloadEvent], None],
    offline: bool = False,
    patience: Patience | None = None,
    limit: SpeedLimit | None = None,
    wait_for_room: bool = False,
) -> Path:
    """Look a variant up on the hub and download it; once more if it changes under way.

    Args:
        variant: What to fetch.
        directory: As for `download`, and so on for the others.
        on_event: As above.
        offline: As above.
        patience: As above.
        limit: As above.
        wait_for_room: As above.

    Returns:
        The path of the first file.

    Raises:
        LocalR1Error: As `hub.list_files` and `download`.
    """
    again = False
    while True:
        files = await asyncio.to_thread(list_files, variant, offline=offline, patience=patience)
        size = sum(file.size_bytes for file in files)
        announced = variant.size_bytes
        if announced and abs(size - announced) > _NOTICED_SHARE * announced:
            said = f"not the {size_text(announced)} of the list of models"
            on_event(DownloadRemark(f"The hub's file has {size_text(size)}, {said}."))
        try:
            return await download(
                files,
                directory,
                on_event=on_event,
                offline=offline,
                patience=patience,
                limit=limit,
                wait_for_room=wait_for_room,
            )
        except (FileChanged, HubNotFound) as error:
            if again:
                raise
            again = True
            on_event(DownloadNotice(f"{error.what} The hub is asked anew."))


def missing_bytes(variant: Variant, directory: Path) -> int:
    """What is still to come of a variant; before the hub was asked, as the catalogue says.

    Raises:
        FileError: The folder cannot be read.
    """
    for partial in partials(directory):
        if partial.belongs_to(variant):
            return partial.total_bytes - partial.done_bytes
    return variant.size_bytes


def check_room(
    variants: Iterable[Variant],
    directory: Path,
    files: Iterable[RemoteFile] = (),
    free: Callable[[Path], int] = free_bytes,
) -> None:
    """Raise DiskFull when several downloads do not fit together; blocking.

    Args:
        variants: Of the catalogue.
        directory: The folder of downloads.
        files: What else is to come.
        free: Room on the disk that holds a path, in bytes.

    Raises:
        DiskFull: How much is missing.
        FileError: The folder cannot be read.
    """
    needed = sum(missing_bytes(variant, directory) for variant in variants)
    needed += sum(file_missing_bytes(file, directory) for file in files)
    available = free(directory)
    if lacks(needed, available):
        raise disk_full(directory, needed, available, SPARE_BYTES)
