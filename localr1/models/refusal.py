"""What the hub, its client and the network say no with, in the family of `errors`.

The one place where exceptions of huggingface_hub and of its HTTP library are translated.
huggingface_hub's classes are told by name, so that only `hub` imports it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from localr1.errors import (
    DownloadError,
    HubDenied,
    HubNotFound,
    HubUnreachable,
    LocalR1Error,
    OfflineError,
)
from localr1.models import surroundings

if TYPE_CHECKING:
    import httpx2

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (openssl-verification-options).
_OUT_OF_TIME = frozenset({9, 10})
# What huggingface_hub calls it, and what it is here; the more specific first.
_REFUSALS: dict[str, tuple[type[DownloadError], str, str]] = {
    "GatedRepoError": (
        HubDenied,
        "{subject} is gated: its owner lets in only those who agreed to the terms.",
        "Agree at {page}, then set HF_TOKEN or run `hf auth login`.",
    ),
    "DisabledRepoError": (
        HubDenied,
        "{subject} has been disabled by the hub or its owner.",
        "Choose another repository.",
    ),
    "RevisionNotFoundError": (
        HubNotFound,
        "The wanted revision of {subject} is not on the hub.",
        "Correct `revision` in models.toml, or use `main`.",
    ),
    "EntryNotFoundError": (
        HubNotFound,
        "{subject} is not on the hub.",
        "Its owner may have renamed or removed it; look at {page}.",
    ),
    "RepositoryNotFoundError": (
        HubNotFound,
        "There is no repository {subject}, or it is private.",
        "Check the name; for a private repository set HF_TOKEN.",
    ),
    "HFValidationError": (
        HubNotFound,
        "{subject} is not the name of a repository.",
        "Write it as `owner/name`.",
    ),
}


@contextmanager
def translated(subject: str, endpoint: str) -> Iterator[None]:
    """Translate every exception of huggingface_hub and of its HTTP library.

    Args:
        subject: What was asked for: a repository or a file in it.
        endpoint: The hub's address, for messages.

    Raises:
        OfflineError: huggingface_hub was told to be offline.
        HubNotFound: No such repository, revision or file.
        HubDenied: Private, gated, disabled, or a bad token.
        HubUnreachable: What the environment says cannot be used, and everything between here and an answer by the hub.
        DownloadError: The hub refuses the request itself.
    """
    surroundings.check(endpoint)
    try:
        yield
    except LocalR1Error:
        raise
    except Exception as error:
        mapped = _translation(error, subject, endpoint)
        if mapped is None:
            raise
        raise mapped from error


def is_lasting(error: Exception) -> bool:
    """Whether a failed connection will fail again: a certificate, or an address that is none."""
    import ssl  # noqa: PLC0415  # as httpx2

    import httpx2  # noqa: PLC0415  # heavy

    return isinstance(error, httpx2.UnsupportedProtocol) or any(
        isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)
    )


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, for messages: never a name and password in it."""
    parts = urlsplit(surroundings.shown(url))
    return f"{parts.scheme}://{parts.netloc}"


def captive_portal(endpoint: str) -> HubUnreachable:
    """The error for a web page where the hub's answer should be."""
    return HubUnreachable(
        f"Something else answers in the place of {endpoint}.",
        "A web page came instead of the expected data.",
        "Log in to this network in a browser (hotel, train, guest Wi-Fi), then try again.",
    )


def offline_error(what: str) -> OfflineError:
    """The error for a network that may not be used."""
    return OfflineError(
        f"{what}: localr1 is offline.",
        "--offline or HF_HUB_OFFLINE is set.",
        "Run it again without them, or use a model that is already here (`localr1 models`).",
    )


def retry_after_seconds(response: httpx2.Response) -> float | None:
    """What a `Retry-After` header asks for (RFC 9110, 10.2.3); None where there is none."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # rare

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time()) if value else None
    except ValueError:
        return None


def _translation(error: Exception, subject: str, endpoint: str) -> LocalR1Error | None:
    import httpx2  # noqa: PLC0415  # heavy

    why = _first_line(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    if "OfflineModeIsEnabled" in names:
        return offline_error(f"{subject} cannot be reached")
    for kind, (family, what, todo) in _REFUSALS.items():
        if kind in names:
            page = f"{endpoint}/{_repository(subject)}"
            return family(what.format(subject=subject), why, todo.format(page=page))
    if "HfHubHTTPError" in names:
        response: httpx2.Response = error.response  # type: ignore[attr-defined]  # it has one
        known = "authorization" in response.request.headers
        return _status_translation(response.status_code, subject, endpoint, why, known=known)
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL):
        return _network_translation(error, endpoint, why)
    if isinstance(error, ValueError | KeyError | TypeError | AttributeError | RecursionError):
        return _no_hub(error, endpoint)
    return None


def _no_hub(error: Exception, endpoint: str) -> HubUnreachable:
    """What a captive portal, a wrong HF_ENDPOINT or a broken mirror sends."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return captive_portal(endpoint)
    return HubUnreachable(
        f"{endpoint} does not answer as a hub does.",
        "Its answer is not the description of a repository.",
        "Correct HF_ENDPOINT, or wait until the mirror behind it is right again.",
    )


def _status_translation(
    status: int, subject: str, endpoint: str, why: str, *, known: bool
) -> LocalR1Error:
    if status in {401, 403}:
        todo = "Check HF_TOKEN: it may be wrong, expired, or without the right to read this."
        if status == 401 and not known:
            todo = "No token is set: set HF_TOKEN or run `hf auth login`."
        return HubDenied(f"The hub refuses access to {subject}.", why, todo)
    if status == 404:
        return HubNotFound(f"{subject} is not on the hub.", why, "Check the name.")
    if status == 407:
        return HubUnreachable(
            "The proxy asks for a name and password.", why, "Put them into HTTPS_PROXY."
        )
    if status == 429:
        return HubUnreachable(
            f"{endpoint} says: too many requests.",
            why,
            "Wait some minutes and try again; with HF_TOKEN set the limit is higher.",
        )
    if status >= 500:
        return HubUnreachable(f"{endpoint} has a problem.", why, "Try again in some minutes.")
    return DownloadError(f"The hub does not accept the request for {subject}.", why)


def _network_translation(error: Exception, endpoint: str, why: str) -> LocalR1Error:
    import httpx2  # noqa: PLC0415  # heavy

    untrusted = _tls_translation(tuple(_causes(error)), endpoint, why)
    if untrusted is not None:
        return untrusted
    what = f"{endpoint} cannot be reached."
    todo = "Check the connection and try again; models already here work without it."
    match error:
        case httpx2.ProxyError():
            what = f"The proxy on the way to {endpoint} refuses."
            todo = "Check HTTPS_PROXY and NO_PROXY."
        case httpx2.UnsupportedProtocol():
            what = f"{endpoint} leads to an address that localr1 does not follow."
            todo = "Check HF_ENDPOINT and HTTPS_PROXY: a mirror or a proxy is set up wrongly."
        case httpx2.InvalidURL():
            what = f"{endpoint} is not an address."
            todo = "Correct HF_ENDPOINT or the proxy variables."
        case httpx2.TimeoutException():
            what = f"{endpoint} does not answer in time."
            todo = "Check the connection and try again; what has been downloaded stays."
        case httpx2.ConnectError() if proxy := surroundings.proxy_for(endpoint):
            what = f"The proxy {proxy} cannot be reached, or does not reach {endpoint}."
            todo = "Check that it runs, or correct HTTPS_PROXY and NO_PROXY."
    return HubUnreachable(what, why or type(error).__name__, todo)


def _tls_translation(
    causes: Sequence[BaseException], endpoint: str, why: str
) -> HubUnreachable | None:
    import ssl  # noqa: PLC0415  # as httpx2

    refused = [cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)]
    if any(cause.verify_code in _OUT_OF_TIME for cause in refused):
        today = time.strftime("%Y-%m-%d")
        return HubUnreachable(
            f"The certificate of {endpoint} is not valid on {today}, this computer's date.",
            why,
            "If that date is wrong, set this computer's date and time; else try again later.",
        )
    if refused:
        return HubUnreachable(
            f"The certificate of {endpoint} is not accepted.",
            why,
            "Check this computer's date and time; behind a company proxy, install its "
            "certificate or set SSL_CERT_FILE.",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return HubUnreachable(
            f"There is no secure connection to {endpoint}.",
            why,
            "A proxy or firewall may be in the way; check HTTPS_PROXY and HF_ENDPOINT.",
        )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: Exception) -> str:
    """The library's own words, without its multi-line advice."""
    message = getattr(error, "server_message", None) or str(error)
    return next((line.strip() for line in str(message).splitlines() if line.strip()), "")


def _repository(subject: str) -> str:
    return "/".join(subject.split("/")[:2])
