"""The Hugging Face hub: what a repository holds. The only user of huggingface_hub.

`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the proxy variables are honoured as
huggingface_hub documents them, but read at every call.
https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from localr1 import __version__
from localr1.config import network_allowed
from localr1.errors import DownloadError, HubNotFound
from localr1.models.patience import Patience
from localr1.models.refusal import offline_error, retry_after_seconds, translated
from localr1.models.types import Variant

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

DEFAULT_ENDPOINT = "https://huggingface.co"
_SHARD = re.compile(r"^(?P<stem>.*)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf$")
# A look-up that fails this often in a row is reported; the transfer itself is more patient.
_LOOK_UP_ATTEMPTS = 3
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RemoteFile:
    """One file on the hub, pinned to a commit."""

    repository: str
    """`owner/name`."""
    path: str
    """Inside the repository."""
    revision: str
    """The commit's full hash."""
    size_bytes: int
    sha256: str | None
    """None for the rare file that is not stored by its hash."""
    url: str
    """On the hub; it answers with the file or with a link to where it is stored."""


def endpoint_url(endpoint: str | None = None) -> str:
    """The hub's address: the argument, else `HF_ENDPOINT`, else huggingface.co."""
    chosen = endpoint or os.environ.get("HF_ENDPOINT", "").strip() or DEFAULT_ENDPOINT
    return chosen.rstrip("/")


def reachable(endpoint: str | None = None, limit_seconds: float = 5.0) -> str:
    """Ask the hub for nothing but an answer; blocking.

    Returns:
        Its host.

    Raises:
        HubUnreachable: No answer in time, and why.
    """
    import httpx2  # noqa: PLC0415  # heavy

    address = endpoint_url(endpoint)
    with translated("", address), httpx2.Client(timeout=limit_seconds) as client:
        client.head(address)
    return urlsplit(address).netloc


def saved_token() -> str | None:
    """The user's hub token: `HF_TOKEN`, or what `hf auth login` stored; None without one."""
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return None
    token: str | None = _library().get_token()
    return token


def list_files(
    variant: Variant,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    offline: bool = False,
    patience: Patience | None = None,
) -> tuple[RemoteFile, ...]:
    """Ask the hub for a variant's files; blocking, so run it in a thread.

    Args:
        variant: What to look up; a `*` in its files is expanded from the repository's listing.
        endpoint: The hub's address; None for `HF_ENDPOINT` or huggingface.co.
        token: Sent to the hub; None for the user's own, empty for none.
        offline: The command line's `--offline`.
        patience: Time limits.

    Returns:
        Every file, shards in order, all of one commit.

    Raises:
        OfflineError: The network may not be used.
        HubNotFound: No such repository, revision or file.
        HubDenied: Private, gated, or a bad token.
        HubUnreachable: No answer, or not the hub's.
    """
    if not network_allowed(offline):
        raise offline_error(f"{variant.repository} cannot be looked up")
    address = endpoint_url(endpoint)
    with translated(variant.repository, address):
        info = _model_info(variant, address, token, patience or Patience())
        siblings = {item.rfilename: item for item in info.siblings or ()}
        revision = info.sha or variant.revision
    names = expand(variant.files, siblings, variant.repository)
    with translated(variant.repository, address):
        return tuple(
            _remote_file(variant.repository, siblings[name], revision, address, token)
            for name in names
        )


def list_repository(
    repository: str,
    *,
    revision: str = "main",
    token: str | None = None,
    offline: bool = False,
    patience: Patience | None = None,
) -> tuple[RemoteFile, ...]:
    """Ask the hub for every GGUF file of a repository; blocking, so run it in a thread.

    Args:
        repository: `owner/name`.
        revision: A branch, tag or commit.
        token: As for `list_files`, and so on for the others.
        offline: As above.
        patience: As above.

    Raises:
        OfflineError: The network may not be used.
        HubNotFound: No such repository or revision.
        HubDenied: Private, gated, or a bad token.
        HubUnreachable: No answer, or not the hub's.
    """
    if not network_allowed(offline):
        raise offline_error(f"{repository} cannot be looked up")
    address = endpoint_url()
    asked = Variant("", repository, (), 0, size_is_exact=False, revision=revision)
    with translated(repository, address):
        info = _model_info(asked, address, token, patience or Patience())
        return tuple(
            _remote_file(repository, item, info.sha or revision, address, token)
            for item in info.siblings or ()
            if item.rfilename.lower().endswith(".gguf")
        )


def expand(patterns: Sequence[str], names: Iterable[str], repository: str) -> tuple[str, ...]:
    """Find a variant's files among a repository's.

    Args:
        patterns: Paths, or patterns with `*`; one pattern must name one file or one set of
            shards.
        names: Every path in the repository.
        repository: For messages.

    Returns:
        The paths, shards in order.

    Raises:
        HubNotFound: A path is missing, shards are missing, or a pattern is ambiguous.
    """
    listing = sorted(names)
    found: list[str] = []
    for pattern in patterns:
        if pattern in listing:
            found.append(pattern)
            continue
        matches = [n for n in listing if n.endswith(".gguf") and fnmatch.fnmatchcase(n, pattern)]
        if not matches:
            near = difflib.get_close_matches(pattern, listing, n=3, cutoff=0.5)
            raise HubNotFound(
                f"{repository} has no file {pattern}.",
                f"The nearest are {', '.join(near)}." if near else "",
                "The owner may have renamed it: correct `files` in models.toml.",
            )
        sets = {_set_name(name) for name in matches}
        if len(sets) > 1:
            raise HubNotFound(
                f"{pattern} means several files in {repository}.",
                f"It matches {', '.join(sorted(sets))}.",
                "Make `files` in models.toml name one of them.",
            )
        found += matches
    _check_shards(found, repository)
    return tuple(found)


def raise_for_status(response: httpx2.Response) -> None:
    """Raise the hub's own reading of an error answer; call it inside `translated`."""
    _library().utils.hf_raise_for_status(response)


def _library() -> ModuleType:
    import huggingface_hub  # noqa: PLC0415  # heavy: only when the hub is asked
    import huggingface_hub.constants  # noqa: PLC0415  # as above
    import huggingface_hub.errors  # noqa: PLC0415  # as above
    import huggingface_hub.utils  # noqa: PLC0415  # as above

    # Otherwise its user agent names other software of this computer, for which it also
    # fetches a list from the hub. https://huggingface.co/docs/hub/agents-overview
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    return huggingface_hub


def _model_info(
    variant: Variant, endpoint: str, token: str | None, patience: Patience
) -> ModelInfo:
    import httpx2  # noqa: PLC0415  # heavy

    library = _library()
    api = library.HfApi(
        endpoint=endpoint,
        token=_token_argument(token),
        library_name="localr1",
        library_version=__version__,
    )
    for failures in range(1, _LOOK_UP_ATTEMPTS):
        try:
            info: ModelInfo = api.model_info(
                variant.repository,
                revision=variant.revision,
                files_metadata=True,
                timeout=patience.stall_seconds,
            )
        except library.errors.HfHubHTTPError as error:
            if error.response.status_code not in _TRANSIENT:
                raise
            time.sleep(patience.wait_seconds(failures, retry_after_seconds(error.response)))
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            # The connection broke; one that never opened, or that says nothing, is reported.
            time.sleep(patience.wait_seconds(failures))
        else:
            return info
    return api.model_info(  # type: ignore[no-any-return]
        variant.repository,
        revision=variant.revision,
        files_metadata=True,
        timeout=patience.stall_seconds,
    )


def _remote_file(
    repository: str, sibling: RepoSibling, revision: str, endpoint: str, token: str | None
) -> RemoteFile:
    library = _library()
    url = library.hf_hub_url(repository, sibling.rfilename, revision=revision, endpoint=endpoint)
    size = sibling.size
    sha256 = sibling.lfs.sha256 if sibling.lfs is not None else None
    if size is None or size < 0:
        metadata = library.get_hf_file_metadata(url, token=_token_argument(token))
        size = metadata.size
        if size is None or size < 0:
            raise DownloadError(
                f"The hub does not say how large {repository}/{sibling.rfilename} is.",
                "",
                "Try again later.",
            )
    return RemoteFile(repository, sibling.rfilename, revision, size, sha256, url)


def _token_argument(token: str | None) -> str | bool | None:
    """huggingface_hub's form: None for the user's own, False for none."""
    return False if token == "" else token


def _set_name(name: str) -> str:
    """A file's name without its shard number."""
    match = _SHARD.match(name)
    return f"{match['stem']}-*-of-{match['count']}.gguf" if match else name


def _check_shards(names: Sequence[str], repository: str) -> None:
    for name in names:
        match = _SHARD.match(name)
        if match is None:
            continue
        count = int(match["count"])
        missing = [
            index
            for index in range(1, count + 1)
            if f"{match['stem']}-{index:05}-of-{count:05}.gguf" not in names
        ]
        if missing:
            raise HubNotFound(
                f"{repository} has no complete set of {_set_name(name)}.",
                f"Missing of {count} shards: {', '.join(map(str, missing))}.",
                "Try again later, or choose another quantization.",
            )
