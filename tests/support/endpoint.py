"""A server with OpenAI's API, or something that is not quite that, on loopback."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Lets the test say what is answered."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self.server.told.keys.append(self.headers.get("Authorization", ""))
        with suppress(OSError):
            self.server.models(self)

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.server.told.asked.append(json.loads(self.rfile.read(size)))
        with suppress(OSError):
            self.server.reply(self)

    def send(self, body: bytes, status: int = 200, kind: str = "application/json") -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self) -> None:
        """A stream that ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def piece(self, finish_reason: str | None = None, **delta: Any) -> None:
        """A piece of a reply."""
        self.data(json.dumps({"choices": [{"delta": delta, "finish_reason": finish_reason}]}))

    def data(self, text: str) -> None:
        """The data of an event."""
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()


@dataclass
class Told:
    """What clients said."""

    address: str
    keys: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    told: Told
    models: Answer
    reply: Answer

    def handle_error(self, *_: object) -> None:
        return  # clients that leave


def models(*names: str, **more: Any) -> Answer:
    """A list of models."""
    listed = {"data": [{"id": name, **more} for name in names]}
    return lambda handler: handler.send(json.dumps(listed).encode())


def says(*pieces: dict[str, Any], usage: dict[str, Any] | None = None) -> Answer:
    """A reply in these pieces."""

    def reply(handler: Handler) -> None:
        handler.begin()
        for piece in pieces:
            handler.piece(**piece)
        handler.piece("stop")
        if usage:
            handler.data(json.dumps({"choices": [], "usage": usage}))
        handler.data("[DONE]")

    return reply


@contextmanager
def endpoint(
    reply: Answer | None = None,
    listing: Answer | None = None,
    certificate: ssl.SSLContext | None = None,
) -> Iterator[Told]:
    """Run one."""
    server = _Server(("127.0.0.1", 0), Handler)
    scheme = "http" if certificate is None else "https"
    if certificate is not None:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
    server.told = Told(f"{scheme}://127.0.0.1:{server.server_address[1]}/v1")
    server.models = listing or models("r1")
    server.reply = reply or says({"content": "Hello."})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
