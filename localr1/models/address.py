"""Files on servers that are no hub: all that is asked is how large they are."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from localr1 import __version__
from localr1.config import network_allowed
from localr1.errors import DownloadError, HubNotFound
from localr1.models.hub import RemoteFile
from localr1.models.patience import Patience
from localr1.models.refusal import offline_error, origin_of, translated


def look_up(
    url: str,
    repository: str,
    name: str,
    *,
    offline: bool = False,
    patience: Patience | None = None,
) -> RemoteFile:
    """Ask any server how large a file is; blocking. Nothing but the request is sent.

    Args:
        url: Of the file.
        repository: What stands for its repository here.
        name: Of the file.
        offline: As for `list_files`.
        patience: As for `list_files`.

    Raises:
        OfflineError: The network may not be used.
        HubNotFound: The server has no such file.
        HubUnreachable: No answer.
        DownloadError: It does not say how large the file is, or it is a page.
    """
    if not network_allowed(offline):
        raise offline_error(f"{url} cannot be downloaded")
    import httpx2  # noqa: PLC0415  # heavy

    limits = patience or Patience()
    parts = urlsplit(url)
    host = origin_of(url)
    timeout = httpx2.Timeout(limits.stall_seconds, connect=limits.connect_seconds)
    headers = {"user-agent": f"localr1/{__version__}", "accept-encoding": "identity"}
    with (
        translated(name, host),
        httpx2.Client(timeout=timeout, headers=headers, follow_redirects=True) as client,
    ):
        response = client.head(url)
    if response.status_code in {404, 410}:
        raise HubNotFound(f"{host} has no {name}.", f"{host}{parts.path}", "Check the address.")
    size = response.headers.get("content-length", "")
    page = response.headers.get("content-type", "").startswith("text/html")
    if response.status_code >= 400 or page or not size.isdecimal():
        why = "A web page came." if page else f"It answers {response.status_code}."
        raise DownloadError(
            f"{host} does not say how large {name} is.",
            why if response.status_code >= 400 or page else "It gives no length.",
            "Download the file with a browser, then import it from your disk.",
        )
    return RemoteFile(repository, name, version_of(response.headers), int(size), None, url)


def version_of(headers: Mapping[str, str]) -> str:
    """What tells one version of a server's file from another; empty where nothing does.

    The entity tag or, where it is weak or there is none, the date (RFC 9110, 8.8).
    """
    etag = headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("last-modified", etag)
