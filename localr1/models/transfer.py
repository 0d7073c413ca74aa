"""The bytes of one remote file, by ranged HTTP, from the hub or from where it links to.

The hub answers with a redirect to a signed link on a storage host. The link is used until it
expires, then the hub is asked again. The token goes to the hub's own origin only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2
from httpcore2 import AsyncHTTP11Connection

from localr1 import __version__
from localr1.errors import FileChanged, HubUnreachable, LocalR1Error
from localr1.models import hub, refusal
from localr1.models.address import version_of
from localr1.models.hub import RemoteFile
from localr1.models.patience import Patience
from localr1.models.refusal import origin_of
from localr1.models.surroundings import is_address

_MAX_REDIRECTS = 10
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
# Network Authentication Required (RFC 6585, 6): what some networks say before a log-in.
_LOGIN_WANTED = 511
# What storage hosts say to a link that has expired: S3 and CloudFront 403 or 400, others 401,
# 404 or 410.
_EXPIRED = frozenset({400, 401, 403, 404, 410})
# How a web page begins that does not say what it is.
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<meta")


# As much as asyncio reads from a socket at once: less would be cut from it piece by piece.
AsyncHTTP11Connection.READ_NUM_BYTES = 256 << 10


class RetryError(Exception):
    """This try failed and another may work; `error` is what the user hears after the last."""

    def __init__(self, error: LocalR1Error, wait_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_seconds = wait_seconds
        """What the server asked for, if it did."""


class ExpiredError(RetryError):
    """The storage host refuses the link; the hub gives a new one."""


class ChangedError(Exception):
    """The server now sends another version than before: what is here is of no use."""


@dataclass(frozen=True)
class Reply:
    """A server's answer to the request for a range."""

    start: int
    """Where the bytes begin: 0, whatever was asked, if the server knows no ranges."""
    end: int
    chunks: AsyncIterator[bytes]
    ranged: bool
    host: str
    """Who answered."""


def http_client(connections: int, patience: Patience) -> httpx2.AsyncClient:
    """An HTTP client for a download; it takes proxies and certificates from the environment."""
    return httpx2.AsyncClient(
        headers={"user-agent": f"localr1/{__version__}", "accept-encoding": "identity"},
        timeout=httpx2.Timeout(patience.stall_seconds, connect=patience.connect_seconds, pool=None),
        limits=httpx2.Limits(max_connections=connections + 1, max_keepalive_connections=None),
    )


class Source:
    """Where one file comes from.

    Args:
        client: Shared by all connections.
        file: What is wanted.
        token: For the hub; empty or None for none.
        version: The one an earlier run was sent; empty for any. Of no account where the hash is
            known: that decides, whatever each of the hosts that store the file calls it.
    """

    def __init__(
        self, client: httpx2.AsyncClient, file: RemoteFile, token: str | None, version: str
    ) -> None:
        self.file = file
        self.version = version
        self.ranged: bool | None = None
        """Whether the server knows ranges; None before its first answer."""
        self._client = client
        self._token = token
        self._hub_origin = _origin(file.url)
        self._endpoint = origin_of(file.url)
        self._subject = f"{file.repository}/{file.path}"
        self._link = ""
        self._resolving = asyncio.Lock()

    @property
    def _known_version(self) -> bool:
        return self.file.sha256 is None and bool(self.version)

    @asynccontextmanager
    async def open(self, start: int, end: int) -> AsyncIterator[Reply]:
        """Request the bytes `[start, end)`.

        Raises:
            RetryError: A passing trouble.
            ChangedError: The server has another version now.
            LocalR1Error: Trying again is no use.
        """
        link = ""
        try:
            link = await self._resolved()
            headers = {"range": f"bytes={start}-{end - 1}"}
            if self._known_version and not self.version.startswith("W/"):
                headers["if-range"] = self.version
            response = await self._send("GET", link, headers)
            try:
                reply = await self._reply(response, start, end)
                yield reply
            finally:
                await response.aclose()
        except ExpiredError:
            # Another connection may have got a new link meanwhile: that one stays.
            if self._link == link:
                self._link = ""
            raise
        except httpx2.HTTPError as error:
            try:
                with refusal.translated(self._subject, _asked(error) or self._endpoint):
                    raise
            except LocalR1Error as mapped:
                if refusal.is_lasting(error):
                    raise
                raise RetryError(mapped) from error

    async def _resolved(self) -> str:
        """The address of the bytes: a signed link, or the hub's own address."""
        async with self._resolving:
            if not self._link:
                self._link = await self._resolve()
            return self._link

    async def _resolve(self) -> str:
        response = await self._send("HEAD", self.file.url, {})
        try:
            await self._check(response)
            size = response.headers.get("x-linked-size", "")
            etag = response.headers.get("x-linked-etag", "").strip('"')
            if (size.isdecimal() and int(size) != self.file.size_bytes) or (
                self.file.sha256 and _SHA256.fullmatch(etag) and etag != self.file.sha256
            ):
                raise self._other_file()
            if response.has_redirect_location:
                return urljoin(str(response.url), response.headers["location"])
            if _is_page(response):
                raise refusal.captive_portal(origin_of(self._link or self._endpoint))
            return str(response.url)
        finally:
            await response.aclose()

    async def _send(self, method: str, url: str, headers: dict[str, str]) -> httpx2.Response:
        """Send a request and follow redirects; a HEAD stays on the hub."""
        for _ in range(_MAX_REDIRECTS):
            at_hub = _origin(url) == self._hub_origin
            authorization = (
                {"authorization": f"Bearer {self._token}"} if at_hub and self._token else {}
            )
            request = self._client.build_request(method, url, headers=headers | authorization)
            response = await self._client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            target = urljoin(url, response.headers["location"])
            if method == "HEAD" and _origin(target) != self._hub_origin:
                return response
            await response.aclose()
            url = target
        raise RetryError(HubUnreachable(f"{self._endpoint} redirects in a circle.", url))

    async def _reply(self, response: httpx2.Response, start: int, end: int) -> Reply:
        await self._check(response)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise RetryError(
                HubUnreachable(
                    f"{self._subject} comes in another form than asked for.",
                    f"Content-Encoding: {response.headers['content-encoding']}",
                    "A proxy may be changing it; check HTTPS_PROXY.",
                )
            )
        version = version_of(response.headers)
        chunks: AsyncIterator[bytes] = response.aiter_raw()
        if _is_page(response):
            raise refusal.captive_portal(origin_of(self._link or self._endpoint))
        if response.status_code == 206:
            if self._known_version and version != self.version:
                raise ChangedError
            self._check_range(response, start, end)
            self.ranged = True
        else:
            length = response.headers.get("content-length", "")
            if length != str(self.file.size_bytes):
                first = await anext(chunks, b"")
                if first.lstrip().lower().startswith(_PAGE_STARTS):
                    raise refusal.captive_portal(origin_of(self._link or self._endpoint))
                chunks = _chained(first, chunks)
            if self._known_version and version != self.version:
                raise ChangedError
            if length.isdecimal() and int(length) != self.file.size_bytes:
                raise self._other_file()
            if self.ranged:
                raise RetryError(
                    HubUnreachable(f"The server sends {self._subject} from its start again.")
                )
            self.ranged = False
            start, end = 0, self.file.size_bytes
        self.version = self.version or version
        return Reply(start, end, chunks, self.ranged, urlsplit(str(response.url)).netloc)

    def slow(self, reply: Reply) -> RetryError:
        """What to raise for an answer that drips."""
        return RetryError(HubUnreachable(f"{reply.host} hardly sends anything any more."))

    def short(self, reply: Reply, missing_bytes: int) -> RetryError:
        """What to raise for an answer that ended early without an error."""
        return RetryError(
            HubUnreachable(
                f"{reply.host} sends less of {self._subject} than asked for.",
                f"Its answer ended {missing_bytes} bytes early.",
                "Try again later; a proxy or a mirror may be at fault: check HTTPS_PROXY and "
                "HF_ENDPOINT.",
            )
        )

    def _check_range(self, response: httpx2.Response, start: int, end: int) -> None:
        header = response.headers.get("content-range", "")
        match = _CONTENT_RANGE.fullmatch(header)
        if match is None or int(match[1]) != start or int(match[2]) >= end:
            raise RetryError(
                HubUnreachable(
                    f"The server sends other bytes of {self._subject} than asked for.",
                    f"Content-Range: {header}",
                    "A proxy or a mirror may be at fault; check HTTPS_PROXY and HF_ENDPOINT.",
                )
            )
        if match[3] != "*" and int(match[3]) != self.file.size_bytes:
            raise self._other_file()

    async def _check(self, response: httpx2.Response) -> None:
        """Sort an answer: fine, a passing trouble, an expired link, or a refusal by the hub."""
        status = response.status_code
        if status < 400:
            return
        if status == _LOGIN_WANTED:
            raise refusal.captive_portal(origin_of(self._link or self._endpoint))
        if status == 416:
            raise self._other_file()
        if status not in _TRANSIENT and _origin(str(response.url)) != self._hub_origin:
            host = urlsplit(str(response.url)).netloc
            raise ExpiredError(
                HubUnreachable(
                    f"The storage host {host} refuses {self._subject}.",
                    f"HTTP {status}" + (", also with a new link." if status in _EXPIRED else "."),
                    "Check this computer's date and time, and try again.",
                )
            )
        await response.aread()
        with refusal.translated(self._subject, origin_of(str(response.url))):
            if status not in _TRANSIENT:
                hub.raise_for_status(response)
        try:
            with refusal.translated(self._subject, origin_of(str(response.url))):
                hub.raise_for_status(response)
        except LocalR1Error as error:
            raise RetryError(error, refusal.retry_after_seconds(response)) from error

    def _other_file(self) -> FileChanged:
        return FileChanged(
            f"{self._subject} has changed on the hub.",
            "It no longer has the announced size or hash.",
            "Run the command again: it asks the hub anew.",
        )


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal for a token to be sent (RFC 6454, 4)."""
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


def _asked(error: httpx2.HTTPError) -> str:
    """Who was asked when this went wrong; empty where the error names nobody that can be asked."""
    try:
        url = str(error.request.url)
    except RuntimeError:
        return ""
    return origin_of(url) if is_address(url) else ""


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _is_page(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/html")
