"""The API as an ASGI application: routes, checks, and replies whole or as a stream."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localr1 import crash
from localr1.config import Directories
from localr1.engine import protocol
from localr1.errors import LocalR1Error
from localr1.server import access, answers, asked, metrics, prompting, published
from localr1.server.answers import Delta, End, Head
from localr1.server.desk import Desk, Event
from localr1.server.refusal import Refusal

_BODY_SECONDS: Final = 30.0
_OPEN_PATHS: Final = frozenset({"/health"})

_T = TypeVar("_T")
Pieces = Callable[[Event], list[str]]
"""What of a stream is sent for an event."""


@dataclass(frozen=True)
class Rules:
    """Who may ask for how much."""

    key: str | None
    """What requests have to carry; None where the server is for this computer alone."""
    hosts: Collection[str] | None
    """Names by which the server is called; None: any."""
    most_body_bytes: int = 8 << 20


def build(desk: Desk, rules: Rules) -> ASGIApp:
    """The application.

    Args:
        desk: Where replies come from.
        rules: Who may ask for how much.
    """
    api = _Api(desk, rules)
    routes = [
        Route("/health", api.health, methods=["GET"]),
        Route("/metrics", api.metrics, methods=["GET"]),
        Route("/openapi.json", api.schema, methods=["GET"]),
        Route("/v1/models", api.models, methods=["GET"]),
        Route("/v1/models/{name:path}", api.model, methods=["GET"]),
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
        Route("/v1/completions", api.completion, methods=["POST"]),
    ]
    application = Starlette(
        routes=routes,
        exception_handlers={
            Refusal: _refused,
            HTTPException: _not_found,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    application.router.redirect_slashes = False
    return _Gate(application, desk, rules, frozenset(route.path for route in routes))


class _Gate:
    """Turns away whoever may not ask, and counts what is answered."""

    def __init__(
        self, application: ASGIApp, desk: Desk, rules: Rules, paths: frozenset[str]
    ) -> None:
        self._application, self._desk, self._rules, self._paths = application, desk, rules, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        counts = self._desk.counts.requests
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                key = (path, message["status"])
                counts[key] = counts.get(key, 0) + 1
            await send(message)

        refusal = self._refusal(Request(scope))
        if refusal is not None:
            await _answer(refusal)(scope, receive, counted)
        else:
            await self._application(scope, receive, counted)

    def _refusal(self, request: Request) -> Refusal | None:
        host, rules = request.headers.get("host", ""), self._rules
        if not access.known_host(host, rules.hosts):
            return Refusal(403, "The request names another host than this server.")
        if not access.own_origin(request.headers.get("origin", ""), host):
            return Refusal(403, "Pages of other sites may not use this server.")
        if rules.key is None or request.url.path in _OPEN_PATHS:
            return None
        if not access.fits(request.headers.get("authorization", ""), rules.key):
            return Refusal(401, "The server's key is missing or wrong.", code="invalid_api_key")
        return None


class _Api:
    """The endpoints."""

    def __init__(self, desk: Desk, rules: Rules) -> None:
        self._desk, self._rules = desk, rules
        self._since = int(time.time())

    async def health(self, _request: Request) -> Response:
        """Whether a model is loaded."""
        alive = self._desk.alive
        return JSONResponse({"status": "ok" if alive else "no model"}, 200 if alive else 503)

    async def metrics(self, _request: Request) -> Response:
        """Figures for Prometheus."""
        line = self._desk.line
        text = metrics.written(self._desk.counts, waiting=line.waiting, running=line.served)
        return PlainTextResponse(text, media_type=metrics.CONTENT_TYPE)

    async def schema(self, _request: Request) -> Response:
        """What this API is, for programs."""
        return JSONResponse(published.SCHEMA)

    async def models(self, _request: Request) -> Response:
        """The model that is served."""
        model = answers.model(self._desk.local, self._since, self._desk.context_window)
        return JSONResponse({"object": "list", "data": [model]})

    async def model(self, request: Request) -> Response:
        """The same by its name."""
        self._check_model(request.path_params["name"])
        return JSONResponse(answers.model(self._desk.local, self._since, self._desk.context_window))

    async def chat(self, request: Request) -> Response:
        """The next message of a conversation."""
        wanted = asked.chat(await self._read(request))
        head = self._head("chatcmpl", wanted.wishes)
        replying = self._reply(request, wanted)
        if wanted.wishes.stream:
            pieces = _chat_pieces(head, include_usage=wanted.wishes.include_usage)
            return await _streamed(request, replying, pieces)
        deltas, end = await _whole(request, replying)
        return JSONResponse(answers.chat(head, deltas, end))

    async def completion(self, request: Request) -> Response:
        """How a text goes on."""
        wanted = asked.completion(await self._read(request))
        head = self._head("cmpl", wanted.wishes)
        replying = self._reply(request, wanted)
        thinking_open = prompting.opens_thinking(wanted.prompt)
        if wanted.wishes.stream:
            marks = answers.Marks(thinking_open=thinking_open)
            pieces = _text_pieces(head, marks, include_usage=wanted.wishes.include_usage)
            return await _streamed(request, replying, pieces)
        deltas, end = await _whole(request, replying)
        return JSONResponse(answers.completion(head, deltas, end, thinking_open=thinking_open))

    def _reply(
        self, request: Request, wanted: asked.Chat | asked.Completion
    ) -> AsyncGenerator[Event, None]:
        seed = secrets.randbelow(1 << 31)
        make = partial(prompting.made, wanted, self._desk.local.model, seed)
        return self._desk.reply(_asker(request, wanted.wishes), make, wanted.wishes.stops)

    def _head(self, kind: str, wishes: asked.Wishes) -> Head:
        self._check_model(wishes.model)
        name = answers.names(self._desk.local)[0]
        return Head(f"{kind}-{secrets.token_hex(12)}", int(time.time()), name)

    def _check_model(self, name: str) -> None:
        names = answers.names(self._desk.local)
        if name and name.lower() not in {each.lower() for each in names}:
            raise Refusal(
                404, f"There is no model “{name[:100]}” here; this server has “{names[0]}”.",
                param="model", code="model_not_found",
            )  # fmt: skip

    async def _read(self, request: Request) -> dict[str, Any]:
        """The request's JSON.

        Raises:
            Refusal: It is too long, too slow, or none.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Also what a page of another site can send without asking.
            raise Refusal(415, "The request has to be of the type application/json.")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _body(request, self._rules.most_body_bytes)
        except TimeoutError:
            raise Refusal(408, f"The request did not come within {_BODY_SECONDS:g} s.") from None
        return asked.decoded(body)


def _asker(request: Request, wishes: asked.Wishes) -> tuple[str, str, str]:
    """Who waits in line: an address, a program, and whom it asks for."""
    address = request.client.host if request.client is not None else ""
    return address, request.headers.get("user-agent", ""), wishes.user


async def _body(request: Request, most_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise Refusal(413, f"The request is longer than {most_bytes:,} bytes.")
        parts.append(part)
    return b"".join(parts)


async def _whole(
    request: Request, replying: AsyncGenerator[Event, None]
) -> tuple[list[Delta], End]:
    """The whole reply, unless the client leaves."""
    deltas: list[Delta] = []

    async def collect() -> End:
        async with aclosing(replying) as events:
            async for event in events:
                if isinstance(event, Delta):
                    deltas.append(event)
                if isinstance(event, End):
                    return event
        raise Refusal(500, "The reply ended without a word.")

    return deltas, await _unless_gone(request, collect())


async def _streamed(
    request: Request, replying: AsyncGenerator[Event, None], pieces: Pieces
) -> Response:
    """A stream; what goes wrong before its first event has a status of its own."""
    first = await _unless_gone(request, anext(replying))
    return _Stream(_events(first, replying, pieces))


class _Stream(StreamingResponse):
    """Server-sent events whose source is closed when the client leaves."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def _events(
    first: Event, replying: AsyncGenerator[Event, None], pieces: Pieces
) -> AsyncGenerator[str, None]:
    async with aclosing(replying):
        try:
            for piece in pieces(first):
                yield piece
            async for event in replying:
                for piece in pieces(event):
                    yield piece
        except LocalR1Error as error:
            # The status is sent: all that is left is an event that clients take for an error.
            yield _event(Refusal.of(error).body)


async def _unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """The outcome of some work, which is dropped when the client leaves.

    Raises:
        ClientDisconnect: It left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    except LocalR1Error as error:
        raise Refusal.of(error) from error
    finally:
        leaving.cancel()
        working.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _chat_pieces(head: Head, *, include_usage: bool) -> Pieces:
    begun = False

    def pieces(event: Event) -> list[str]:
        nonlocal begun
        told = []
        if not begun:
            begun = True
            told.append(_event(answers.chat_chunk(head, {"role": "assistant", "content": ""})))
        match event:
            case Delta(part="thinking"):
                told.append(_event(answers.chat_chunk(head, {"reasoning_content": event.text})))
            case Delta():
                told.append(_event(answers.chat_chunk(head, {"content": event.text})))
            case End():
                told.append(_event(answers.chat_chunk(head, {}, event.finish_reason)))
                told += _last(head, "chat", event, include_usage=include_usage)
            case protocol.PromptProgressed():
                told.append(_progress(event))
        return told

    return pieces


def _text_pieces(head: Head, marks: answers.Marks, *, include_usage: bool) -> Pieces:
    def pieces(event: Event) -> list[str]:
        match event:
            case Delta():
                return [_event(answers.text_chunk(head, marks.feed(event)))]
            case End():
                end = _event(answers.text_chunk(head, "", event.finish_reason))
                return [end, *_last(head, "text", event, include_usage=include_usage)]
            case protocol.PromptProgressed():
                return [_progress(event)]

    return pieces


def _last(head: Head, kind: answers.Kind, end: End, *, include_usage: bool) -> list[str]:
    usage = [_event(answers.usage_chunk(head, kind, end.generated))] if include_usage else []
    return [*usage, answers.DONE]


def _progress(event: protocol.PromptProgressed) -> str:
    """A remark that programs skip, and that keeps a connection from looking dead."""
    return f": prompt {event.done_tokens}/{event.total_tokens}\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _answer(refusal: Refusal) -> Response:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}
    return JSONResponse(refusal.body, refusal.status, headers.get(refusal.status))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - registered for nothing else
    return _answer(error)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    what = "There is nothing at" if error.status_code == 404 else "This cannot be done with"
    response = _answer(Refusal(error.status_code, f"{what} {request.url.path}."))
    response.headers.update(error.headers or {})
    return response


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _failed(_request: Request, error: Exception) -> Response:
    path = await asyncio.to_thread(crash.record, error, Directories.standard().logs)
    return _answer(Refusal(500, str(crash.explain(error, path)), code="internal_error"))
