"""Taking models in: what FILE, URL and hf:REPO[/FILE] mean, and files used where they lie."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from localr1.config import expanded
from localr1.errors import FileError, GgufError, HubNotFound, UsageError
from localr1.gguf.file import recognise, shard_paths
from localr1.models.copying import Span, copy, copy_errors, file_sha256
from localr1.models.hub import RemoteFile, endpoint_url
from localr1.models.library import Library, Models
from localr1.models.place import (
    Sidecar,
    read_sidecar,
    size_text,
    target_path,
    write_sidecar,
)
from localr1.models.records import COPIED
from localr1.models.refusal import origin_of
from localr1.models.surroundings import is_address, shown
from localr1.models.types import LocalModel

USUAL: Final = "Q4_K_M"
"""The quantization that is taken where a repository has several and none was named."""
LOCAL_OWNER: Final = "local"
"""Owner of copies that came from no hub: `local/NAME`."""

_HUB_HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_NAME: Final = r"[\w][\w.-]*"
_HUB: Final = re.compile(rf"hf:(?P<repository>{_NAME}/{_NAME})(?:/(?P<path>.+))?")
_HUB_PAGE: Final = re.compile(
    rf"/(?P<repository>{_NAME}/{_NAME})/(?:resolve|blob|raw)/(?P<revision>[^/]+)/(?P<path>.+)"
)
_REPOSITORY_PAGE: Final = re.compile(
    rf"/(?P<repository>{_NAME}/{_NAME})/?(?:tree/(?P<revision>[^/]+)/?)?"
)
_SHARD: Final = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE
)


@dataclass(frozen=True)
class HubReference:
    """A repository on the hub, or a file in it."""

    repository: str
    path: str = ""
    """Empty where only the repository was named."""
    revision: str = "main"


@dataclass(frozen=True)
class UrlReference:
    """A file on any other server."""

    url: str
    host: str
    name: str


Reference = Path | HubReference | UrlReference


@dataclass(frozen=True)
class FileSet:
    """The files of one variant in a repository, shards in order."""

    files: tuple[RemoteFile, ...]

    @property
    def name(self) -> str:
        """The file's path; for shards without their number."""
        match = _SHARD.fullmatch(self.files[0].path)
        return f"{match['stem']}.gguf" if match else self.files[0].path

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


def parse_reference(text: str) -> Reference:
    """What a user means by FILE|URL|hf:REPO[/FILE].

    Raises:
        UsageError: It is none of them.
    """
    if text.startswith("hf:"):
        match = _HUB.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text!r} is not understood.",
                "",
                "Write hf:OWNER/NAME or hf:OWNER/NAME/FILE.gguf.",
            )
        return HubReference(match["repository"], match["path"] or "")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        return _from_url(text)
    return expanded(text)


def file_sets(files: Sequence[RemoteFile]) -> tuple[FileSet, ...]:
    """The models among a repository's files, by name; incomplete sets of shards are left out."""
    known = {file.path: file for file in files}
    sets = []
    for path, file in sorted(known.items()):
        if not path.lower().endswith(".gguf") or "mmproj" in path.lower():
            continue
        match = _SHARD.fullmatch(path)
        if match is None:
            sets.append(FileSet((file,)))
        elif int(match["number"]) == 1:
            count = int(match["count"])
            names = [f"{match['stem']}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]
            if all(name in known for name in names):
                sets.append(FileSet(tuple(known[name] for name in names)))
    return tuple(sets)


def choose(sets: Sequence[FileSet], reference: HubReference) -> FileSet:
    """The file set that is meant: the named one, the only one, or the usual quantization.

    Raises:
        HubNotFound: There is none.
        UsageError: There are several to choose from; they are listed.
    """
    wanted = reference.path.lower()
    if wanted:
        named = [
            one
            for one in sets
            if wanted in {one.name.lower(), *(file.path.lower() for file in one.files)}
        ]
    else:
        usual = [one for one in sets if USUAL.lower() in one.name.lower()]
        named = list(sets) if len(sets) == 1 else usual
    if len(named) == 1:
        return named[0]
    listed = ", ".join(f"{one.name} ({size_text(one.size_bytes)})" for one in sets[:12])
    if not sets or wanted:
        raise HubNotFound(
            f"{reference.repository} has no {'GGUF file' if not wanted else reference.path}.",
            f"It has {listed}." if sets else "It holds no model that llama.cpp can load.",
            f"Name one of them: hf:{reference.repository}/FILE.gguf"
            if sets
            else "Look for a repository whose name ends in GGUF.",
        )
    raise UsageError(
        f"{reference.repository} has several models.",
        listed + (" and more." if len(sets) > 12 else "."),
        f"Name one: localr1 import hf:{reference.repository}/{sets[0].files[0].path}",
    )


def take_in(path: Path, library: Library, catalogue: Models) -> LocalModel:
    """Use a file where it lies; it is not copied, moved or changed.

    Raises:
        FileError: It cannot be read.
        GgufError: It is not a complete model that localr1 can chat with.
    """
    first = _checked(path)
    library.records.note(first, imported=True)
    return _listed(first, library, catalogue)


def take_copy(
    path: Path, library: Library, catalogue: Models, on_bytes: Callable[[int], None]
) -> LocalModel:
    """Copy a file, with its shards, into the folder of downloads; the copy is our own.

    Raises:
        DiskFull: There is no room.
        FileError: It cannot be read or copied.
        GgufError: It is not a complete model that localr1 can chat with.
    """
    first = _checked(path)
    shards = shard_paths(first)
    with copy_errors(first):
        unit = tuple((shard.name, shard.stat().st_size) for shard in shards)
    plain = re.sub(r"[^-.\w]+", "-", first.stem).lstrip("-.") or "model"
    repository = f"{LOCAL_OWNER}/{plain}"
    targets = [target_path(library.directory, repository, name) for name, _ in unit]
    with copy_errors(first):
        occupied = any(target.exists() for target in targets)
    if occupied:
        # Another file of that name must stay: ours is told from it by its content.
        digests = [file_sha256(shard, on_bytes) for shard in shards]
        notes = [read_sidecar(target) for target in targets]
        if [note.sha256 if note else "" for note in notes] != digests:
            told = hashlib.sha256("".join(digests).encode()).hexdigest()[:8]
            repository = f"{LOCAL_OWNER}/{plain}-{told}"
            targets = [target_path(library.directory, repository, name) for name, _ in unit]
    for shard, target, (name, size) in zip(shards, targets, unit, strict=True):
        digest = copy([Span(shard, 0, size)], target, on_bytes)
        with copy_errors(target):
            modified_ns = target.stat().st_mtime_ns
        note = Sidecar(repository, name, "", size, digest, modified_ns, unit)
        library.records.note(target, authority=COPIED)
        write_sidecar(target, note)
    return _listed(targets[0], library, catalogue)


def _checked(path: Path) -> Path:
    """The first file of a complete model with a chat template."""
    if path.is_dir():
        raise FileError(
            f"{path} is a folder.",
            "",
            "Name a .gguf file; to have a whole folder looked through, add it to"
            " `model_folders` in settings.toml.",
        )
    gguf = recognise(path.absolute())
    if not gguf.chat_template:
        raise GgufError(
            f"{path} cannot chat.",
            "It has no chat template, which says how a conversation is written.",
            "Choose an instruct, chat or reasoning model; base models only continue text.",
        )
    return gguf.path


def _listed(path: Path, library: Library, catalogue: Models) -> LocalModel:
    local = library.at(path, catalogue)
    if local is None:
        raise FileError(f"{path} is gone.", "It was there a moment ago.", "Try again.")
    return local


def _from_url(text: str) -> Reference:
    if not is_address(text):
        raise UsageError(
            f"{shown(text)!r} is not an address localr1 can download from.",
            "",
            "Use https://, http://, hf:OWNER/NAME or the path of a file.",
        )
    parts = urlsplit(text)
    host = (parts.hostname or "").lower()
    path = unquote(parts.path)
    if host in _HUB_HOSTS or _is_at(text, endpoint_url()):
        if match := _HUB_PAGE.fullmatch(path):
            return HubReference(match["repository"], match["path"], match["revision"])
        if match := _REPOSITORY_PAGE.fullmatch(path):
            return HubReference(match["repository"], "", match["revision"] or "main")
    name = PurePosixPath(path).name
    if not name.lower().endswith(".gguf"):
        raise UsageError(
            f"{shown(text)} does not name a GGUF file.",
            f"Its last part is {name or 'empty'}.",
            "Use the address of the .gguf file itself.",
        )
    return UrlReference(text, host, name)


def _is_at(url: str, endpoint: str) -> bool:
    return is_address(endpoint) and origin_of(url) == origin_of(endpoint)


def remote_repository(reference: UrlReference) -> str:
    """What stands for the repository of a file from any server: its host and its folder.

    Folders of one name are told apart by the rest of their addresses.
    """
    parts = urlsplit(reference.url)
    folder = PurePosixPath(unquote(parts.path)).parent
    whole = f"{parts.scheme}://{parts.netloc}{folder}?{parts.query}"
    told = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{reference.host}/{folder.name or 'files'}-{told}"
