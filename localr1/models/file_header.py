"""Headers of the catalogue's files: from the disk or by range from the hub, and kept.

A header is some megabytes, nearly all of it vocabulary; what is kept of it takes some 100 KB.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from localr1.config import HEADERS_FOLDER, ensure, network_allowed
from localr1.errors import FileError, GgufError, LocalR1Error
from localr1.gguf import architecture, header, writer
from localr1.gguf.file import model_stem, shard_paths
from localr1.gguf.types import Architecture, Header, TensorInfo
from localr1.models.hub import RemoteFile, list_files
from localr1.models.patience import Patience
from localr1.models.refusal import offline_error
from localr1.models.types import Model, Variant

_KEPT_FILES: Final = 200
_LONGEST_TEXT: Final = 1 << 17
_SIZE, _COMMIT = "localr1.file_bytes", "localr1.commit"
# What is kept besides the architecture's own keys.
_KEPT_KEYS: Final = frozenset({"general.name", "general.file_type", "tokenizer.chat_template"})


@dataclass(frozen=True)
class FileHeader:
    """What the files of one variant say of themselves."""

    architecture: Architecture
    tensors: tuple[TensorInfo, ...]
    """Of all shards, as if they were one file."""
    file_bytes: int
    """Length of all shards."""
    commit: str

    def applied(self, model: Model, variant: Variant) -> tuple[Model, Variant]:
        """A model and its variant as the files themselves say."""
        exact = replace(
            variant, tensors=self.tensors, size_bytes=self.file_bytes, size_is_exact=True
        )
        return replace(model, architecture=self.architecture), exact


class FileHeaders:
    """Those that were fetched, by variant.

    Args:
        cache: The cache folder.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / HEADERS_FOLDER

    def known(self, variant: Variant) -> FileHeader | None:
        """What was fetched earlier; None where nothing was, or where it is of no use."""
        path = self.path(variant)
        with contextlib.suppress(LocalR1Error):
            if path.exists():
                return _read(path)
        return None

    def path(self, variant: Variant) -> Path:
        """Where a variant's header is kept: a GGUF file without tensor data, named as its own."""
        named = "\n".join((variant.repository, variant.revision, *variant.files))
        folder = hashlib.sha256(named.encode()).hexdigest()[:32]
        first = Path(PurePosixPath(variant.files[0]).name if variant.files else "model.gguf")
        name = re.sub(r"[^\w.-]", "_", model_stem(first).lstrip("."))
        return self._folder / folder / f"{name}.gguf"

    async def fetch(
        self, variant: Variant, *, offline: bool = False, patience: Patience | None = None
    ) -> FileHeader:
        """Ask the hub for a variant's header, and keep it; one that is known is not sent again.

        Raises:
            OfflineError: The network may not be used.
            LocalR1Error: As `hub.list_files`, and for a header that is of no use.
        """
        files = await asyncio.to_thread(list_files, variant, offline=offline, patience=patience)
        known = await asyncio.to_thread(self.known, variant)
        if known is not None and known.commit == files[0].revision:
            return known
        return await self.fetch_files(variant, files, offline=offline, patience=patience)

    async def fetch_files(
        self,
        variant: Variant,
        files: Sequence[RemoteFile],
        *,
        token: str | None = None,
        offline: bool = False,
        patience: Patience | None = None,
    ) -> FileHeader:
        """The same for files that were looked up already.

        Raises:
            OfflineError: The network may not be used.
            LocalR1Error: The server's refusal, or what is wrong with the header.
        """
        if not network_allowed(offline):
            raise offline_error(f"{files[0].repository} cannot be asked")
        # The HTTP client is heavy: not before something is really fetched.
        from localr1.models.header_fetch import fetched  # noqa: PLC0415

        headers = await fetched(files, token, patience or Patience())
        found = _joined(headers, files[0].revision, files[0].path)
        await asyncio.to_thread(self._keep, variant, found, headers[0])
        return found

    def of_file(self, variant: Variant, path: Path) -> FileHeader:
        """The header of a file that is here, with its shards; blocking. It is kept, too.

        Raises:
            FileError: It cannot be read.
            GgufError: It is of no use.
        """
        headers = [header.read(shard, header_only=True) for shard in shard_paths(path)]
        found = _joined(headers, "", str(path))
        if variant.repository and self.known(variant) is None:
            self._keep(variant, found, headers[0])
        return found

    def _keep(self, variant: Variant, found: FileHeader, first: Header) -> None:
        path = self.path(variant)
        facts = _facts(first, found.architecture.name)
        facts |= {_SIZE: found.file_bytes, _COMMIT: found.commit}
        # A cache that cannot be written is no error.
        with contextlib.suppress(FileError, OSError):
            ensure(path.parent)
            content = writer.header_bytes(found.architecture, found.tensors, facts)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(content)
            unfinished.replace(path)
            kept = sorted(self._folder.iterdir(), key=lambda p: -p.stat().st_mtime)
            for old in kept[_KEPT_FILES:]:
                shutil.rmtree(old, ignore_errors=True)


def _joined(headers: Sequence[Header], commit: str, label: str) -> FileHeader:
    tensors = writer.packed(tensor for one in headers for tensor in one.tensors)
    shape = architecture.from_header(headers[0], tensors, label=label)
    return FileHeader(shape, tensors, sum(one.file_bytes for one in headers), commit)


def _read(path: Path) -> FileHeader:
    found = header.read(path, header_only=True)
    shape = architecture.from_header(found)
    size, commit = found.metadata.get(_SIZE), found.metadata.get(_COMMIT)
    if not isinstance(size, int) or not isinstance(commit, str):
        raise GgufError(f"{path} is not what was kept.")
    return FileHeader(shape, found.tensors, size, commit)


def _facts(found: Header, name: str) -> dict[str, writer.Value]:
    """What of the metadata is kept: everything short about the architecture."""
    facts: dict[str, writer.Value] = {}
    for key, value in found.metadata.items():
        if not (key.startswith(f"{name}.") or key in _KEPT_KEYS):
            continue
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            continue
        numbers = isinstance(value, tuple) and not any(isinstance(one, str) for one in value)
        if numbers or isinstance(value, int | float | bool | str):
            facts[key] = value  # type: ignore[assignment]  # as just looked at
    return facts
