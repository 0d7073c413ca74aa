"""A hub on 127.0.0.1: real HTTP, the hub's own paths and headers, and faults on demand.

Two servers run on two ports, as two hosts do in reality: the hub, which answers questions and
redirects to signed links, and the storage host ("cdn"), which sends bytes. Paths and headers
are those that huggingface_hub 2.4.0 asks for and reads.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    from paced_link import PacedLink

Host = Literal["hub", "cdn"]
_HOSTS: tuple[Host, Host] = ("hub", "cdn")
_CHUNK_BYTES = 64 << 10


@lru_cache(maxsize=64)
def digest(kind: str, content: bytes) -> str:
    """A hash of a file, computed once: every answer names it."""
    return hashlib.new(kind, content, usedforsecurity=False).hexdigest()


@dataclass
class Fault:
    """Something that goes wrong with the next matching requests.

    `kind` is one of
    - `status`: answer with `status` and `headers`
    - `drop`: reset the connection after `after_bytes` of the body
    - `truncate`: close it quietly after `after_bytes`
    - `stall`: send nothing more after `after_bytes`, for `seconds`
    - `wrong-bytes`: flip the bits of the body's byte `after_bytes`
    - `page`: a captive portal's web page, with `status` 200 or 206, and `headers` in the place
      of its label if there are any
    - `reset`: break the connection in the place of an answer
    - `wrong-range`: a 206 for other bytes than asked for
    - `short`: a correct Content-Range, but a whole body of only `after_bytes`
    - `no-range`: ignore the Range header, this time only
    - `drip`: after `after_bytes` a byte five times a second, for `seconds`
    - `gzip`: claim a content encoding
    """

    kind: str
    host: Host = "cdn"
    method: str = "GET"
    times: int = 1
    after_bytes: int = 0
    seconds: float = 30.0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    skip: int = 0
    """Matching requests that go well first."""


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    host: Host
    method: str
    path: str
    authorization: str
    range: str


@dataclass
class Repository:
    """A repository's files at its only branch."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    lfs: bool = True
    version: int = 0

    @property
    def commit(self) -> str:
        """A commit hash that changes with the files."""
        names = repr(sorted(self.files)) + str(self.version)
        return hashlib.sha1(names.encode()).hexdigest()


class LoopbackHub:
    """Both servers; use as a context manager."""

    def __init__(self, *, token: str = "hf_loopback") -> None:
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.ranges = True
        """Whether the storage host knows ranges."""
        self.etag_suffix = ""
        self.date = ""
        """Sent as `Last-Modified` instead of an `ETag`."""
        self.nameless = False
        """Whether neither is sent."""
        """Changes every entity tag of the storage host when set."""
        self.bytes_per_second = 0
        """Limit for each connection; 0 for none."""
        self.paced: PacedLink | None = None
        """The link that all connections share; None for one as fast as this computer can."""
        self.send_buffer_bytes = 0
        """How much the system may hold back of what counts as sent; 0 for its own choice."""
        self.seen: list[Seen] = []
        self.bytes_sent = 0
        """Body bytes of model files, over both hosts."""
        self.epoch = 0
        self._faults: list[Fault] = []
        self._valid_from = 0
        self._serial = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._servers = {host: _Server(self, host) for host in _HOSTS}

    def __enter__(self) -> Self:
        for server in self._servers.values():
            server.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        """What goes into HF_ENDPOINT."""
        return self.address("hub")

    def address(self, host: Host) -> str:
        """A host's base address."""
        return f"http://127.0.0.1:{self._servers[host].server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], **options: bool) -> Repository:
        """Create a repository."""
        self.repositories[name] = Repository(dict(files), **options)
        return self.repositories[name]

    def replace(self, name: str, path: str, content: bytes) -> None:
        """Commit another version of a file."""
        repository = self.repositories[name]
        repository.files[path] = content
        repository.version += 1

    def inject(self, *faults: Fault) -> None:
        """Let the next matching requests go wrong."""
        with self._lock:
            self._faults += faults

    def clear_faults(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._faults.clear()

    def expire_links(self) -> None:
        """Make every signed link given out so far worthless."""
        with self._lock:
            self._valid_from = self._serial + 1

    def requests(self, host: Host, method: str = "GET") -> list[Seen]:
        """What one host was asked."""
        with self._lock:
            return [item for item in self.seen if (item.host, item.method) == (host, method)]

    def wait_for_bytes(self, count: int, seconds: float = 30.0) -> None:
        """Block until this much was sent; run it in a thread."""
        deadline = time.monotonic() + seconds
        while self.bytes_sent < count:
            assert time.monotonic() < deadline, f"only {self.bytes_sent} of {count} were asked for"
            time.sleep(0.005)

    def reset_counts(self) -> None:
        """Forget what was asked and sent."""
        with self._lock:
            self.seen.clear()
            self.bytes_sent = 0
            self.epoch += 1

    def cut_connections(self) -> None:
        """Break every open connection, as a changed network does."""
        for server in self._servers.values():
            server.cut()

    def restart(self, seconds: float) -> None:
        """Be gone for a while, then come back at the same addresses; run it in a thread."""
        ports = {host: server.server_address[1] for host, server in self._servers.items()}
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
            server.cut()
        time.sleep(seconds)
        self._servers = {host: _Server(self, host, int(ports[host])) for host in _HOSTS}
        for server in self._servers.values():
            server.begin()

    # Called by the request handlers.

    def note(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            for fault in self._faults:
                if (fault.host, fault.method) == (seen.host, seen.method) and fault.times > 0:
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def link(self, name: str, path: str) -> str:
        with self._lock:
            self._serial += 1
            return f"{self.address('cdn')}/{quote(f'{name}/{path}')}?signature={self._serial}"

    def link_valid(self, query: str) -> bool:
        serial = parse_qs(query).get("signature", ["0"])[0]
        return serial.isdigit() and int(serial) >= max(self._valid_from, 1)

    def sent(self, count: int, epoch: int) -> None:
        with self._lock:
            # Answers begun before the counts were reset are still draining.
            if epoch == self.epoch:
                self.bytes_sent += count

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            self._stopping.wait(seconds)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, hub: LoopbackHub, host: Host, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self.host = host
        self._open: set[socket.socket] = set()

    def begin(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def cut(self) -> None:
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        if self.hub.send_buffer_bytes:
            size = self.hub.send_buffer_bytes
            request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up in these tests; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: object) -> None:
        """Say nothing on stderr."""

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def _handle(self) -> None:
        hub = self.server.hub
        seen = Seen(
            self.server.host,
            self.command,
            self.path,
            self.headers.get("authorization", ""),
            self.headers.get("range", ""),
        )
        fault = hub.note(seen)
        if fault is not None and fault.kind == "status":
            self._plain(fault.status, dict(fault.headers))
        elif fault is not None and fault.kind == "page":
            page = b"<html><body>Welcome to the hotel. Please log in.</body></html>"
            label = dict(fault.headers) or {"Content-Type": "text/html; charset=utf-8"}
            self._plain(fault.status if fault.status < 300 else 200, label, page)
        elif fault is not None and fault.kind == "reset":
            self.close_connection = True
            self._reset()
        elif self.server.host == "cdn":
            self._cdn(fault)
        else:
            self._hub(fault)

    def _hub(self, fault: Fault | None) -> None:
        url = urlsplit(self.path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", url.path):
            self._api(match[1], unquote(match[2]))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path):
            self._resolve(match[1], match[2], unquote(match[3]), fault)
        else:
            self._plain(404, {}, b'{"error":"Not Found"}')

    def _api(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        if revision not in {"main", repository.commit}:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        siblings = []
        for path, content in repository.files.items():
            sibling: dict[str, object] = {
                "rfilename": path,
                "size": len(content),
                "blobId": digest("sha1", content),
            }
            if repository.lfs:
                sha256 = digest("sha256", content)
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        data = {"id": name, "sha": repository.commit, "siblings": siblings}
        self._plain(200, {"Content-Type": "application/json"}, json.dumps(data).encode())

    def _resolve(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        if repository.gated and self.headers.get("authorization") != self._expected:
            self._error(403, "GatedRepo", f"Access to model {name} is restricted.")
            return
        if revision not in {"main", repository.commit}:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        content = repository.files.get(path)
        if content is None:
            self._error(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if not repository.lfs:
            headers["ETag"] = f'"{digest("sha1", content)}{self.server.hub.etag_suffix}"'
            self._content(content, headers, fault)
            return
        headers["X-Linked-Size"] = str(len(content))
        headers["X-Linked-ETag"] = f'"{digest("sha256", content)}"'
        headers["Location"] = self.server.hub.link(name, path)
        self._plain(302, headers)

    def _cdn(self, fault: Fault | None) -> None:
        url = urlsplit(self.path)
        if not self.server.hub.link_valid(url.query):
            self._plain(403, {"Content-Type": "application/xml"}, b"<Error>AccessDenied</Error>")
            return
        owner, name, path = unquote(url.path).lstrip("/").split("/", 2)
        content = self.server.hub.repositories[f"{owner}/{name}"].files[path]
        etag = digest("md5", content)
        self._content(content, {"ETag": f'"{etag}{self.server.hub.etag_suffix}"'}, fault)

    def _content(self, content: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else ""
        start, end, status = 0, len(content), 200
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        hub, current = self.server.hub, headers["ETag"]
        if hub.date or hub.nameless:
            del headers["ETag"]
            current = hub.date
            headers |= {"Last-Modified": hub.date} if hub.date else {}
        version = self.headers.get("if-range", current)
        if match and hub.ranges and kind != "no-range" and version == current:
            start = int(match[1])
            end = min(int(match[2]) + 1, end) if match[2] else end
            if start >= len(content):
                self._plain(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            status = 206
            if kind == "wrong-range":
                start, end = max(0, start - 1), end - 1
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        if kind == "gzip":
            headers["Content-Encoding"] = "gzip"
        # A view: a copy would keep every other connection waiting, and only those with ranges.
        body = memoryview(content)[start:end]
        if fault is not None and kind == "short":
            body = body[: fault.after_bytes]
        if fault is not None and kind == "wrong-bytes":
            at = min(fault.after_bytes, len(body) - 1)
            body = memoryview(body[:at].tobytes() + bytes([body[at] ^ 0xFF]) + body[at + 1 :])
        self._head(status, headers, len(body))
        if self.command == "GET":
            paced = self.server.hub.paced
            with paced.shared(self.connection) if paced is not None else nullcontext():
                self._body(body, fault)

    def _body(self, view: memoryview, fault: Fault | None) -> None:
        hub = self.server.hub
        breaking = fault is not None and fault.kind in {"drop", "truncate", "stall", "drip"}
        limit = min(fault.after_bytes, len(view)) if fault is not None and breaking else len(view)
        epoch = hub.epoch
        started = time.monotonic()
        for at in range(0, limit, _CHUNK_BYTES):
            piece = view[at : min(at + _CHUNK_BYTES, limit)]
            self.wfile.write(piece)
            hub.sent(len(piece), epoch)
            if hub.stopping:
                return
            if hub.bytes_per_second:
                due = (at + len(piece)) / hub.bytes_per_second
                hub.wait(due - (time.monotonic() - started))
        if not breaking or fault is None:
            return
        self.close_connection = True
        if fault.kind == "stall":
            hub.wait(fault.seconds)
        elif fault.kind == "drip":
            self._drip(view[limit:], fault.seconds)
        elif fault.kind == "drop":
            self._reset()

    def _drip(self, view: memoryview, seconds: float) -> None:
        until = time.monotonic() + seconds
        for at in range(len(view)):
            if self.server.hub.stopping or time.monotonic() > until:
                return
            self.wfile.write(view[at : at + 1])
            self.server.hub.wait(0.2)

    def _reset(self) -> None:
        # Zero linger: close() sends a reset instead of the regular end.
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    @property
    def _expected(self) -> str:
        return f"Bearer {self.server.hub.token}"

    def _repository(self, name: str) -> Repository | None:
        """The repository, or None after the answer that the hub gives to strangers."""
        authorization = self.headers.get("authorization")
        if authorization and authorization != self._expected:
            self._error(401, "", "Invalid credentials in Authorization header")
            return None
        repository = self.server.hub.repositories.get(name)
        if repository is None or (repository.private and not authorization):
            self._error(404, "RepoNotFound", "Repository not found")
            return None
        return repository

    def _error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        if code:
            headers["X-Error-Code"] = code
        self._plain(status, headers, json.dumps({"error": message}).encode())

    def _plain(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self._head(status, headers, len(body))
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
