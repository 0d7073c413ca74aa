"""A server's model as an engine: found, named, and asked."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import EndpointError, LocalR1Error, UnknownModel
from localr1.fit.types import Settings
from localr1.printable import one_line
from localr1.remote import refusal
from localr1.remote.address import Address
from localr1.remote.conversation import messages
from localr1.remote.events import EventReader, TooMuch
from localr1.remote.reply import Reply, count

if TYPE_CHECKING:
    import httpx2

_CONNECT_SECONDS: Final = 10.0
_LIST_SECONDS: Final = 20.0
# A server may read a long prompt, or let us wait in its queue, before its first word.
_SILENCE_SECONDS: Final = 600.0
_MOST_LIST_BYTES: Final = 4 << 20
_USUAL_WINDOW: Final = 32_768
"""Where a server does not say."""
_CHARACTERS_PER_TOKEN: Final = 3
"""Fewer than of English text: an estimate that is too large leaves turns out too early, one that
is too small is refused."""
_MOST_CHARACTERS_PER_TOKEN: Final = 32


@dataclass(frozen=True)
class Served:
    """A model on a server."""

    address: Address
    name: str
    context_window: int
    localr1: bool
    """Whether the server is one of ours, which can do more."""


async def find(address: Address, key: str, wanted: str | None) -> Served:
    """Look at a server and choose a model there.

    Args:
        address: Where it is; `/v1` is tried behind it as well.
        key: Empty for none.
        wanted: The model's name there; None where it has one only.

    Raises:
        EndpointError: It cannot be used; says why.
        UnknownModel: It has no such model, or several and none was named.
    """
    import httpx2  # noqa: PLC0415  # heavy

    tried = [address]
    if not address.url.endswith("/v1"):
        behind = f"{address.url}/v1"
        tried.append(Address(behind, address.host, address.encrypted, address.loopback))
    first: LocalR1Error | None = None
    async with httpx2.AsyncClient(timeout=_LIST_SECONDS, headers=_headers(key)) as client:
        for each in tried:
            try:
                return _chosen(await _models(client, each), each, wanted)
            except UnknownModel:
                raise
            except EndpointError as error:
                first = first or error
    raise first or EndpointError(f"{address.url} cannot be used.")


class RemoteEngine(Engine):
    """Asks a server; nothing is loaded here.

    What only a worker can do is left out: nothing is computed ahead, no cache is kept.

    Args:
        served: What was found.
        key: Empty for none.
        open_thinking: Whether the model's replies begin inside the thinking.
        schema: The JSON schema that every answer is to satisfy; None for none.
    """

    def __init__(
        self, served: Served, key: str, *, open_thinking: bool, schema: object = None
    ) -> None:  # no worker
        import httpx2  # noqa: PLC0415  # heavy

        self.served = served
        self.settings = Settings(served.context_window)
        self.cache_holder = None
        self._open_thinking = open_thinking
        self._schema = schema
        self._ids = itertools.count(1)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[int] = set()
        self._closed = False
        timeout = httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        self._client = httpx2.AsyncClient(timeout=timeout, headers=_headers(key))

    @property
    def alive(self) -> bool:
        """Whether it may be asked; whether the server answers is seen then."""
        return not self._closed

    @property
    def context_window(self) -> int:
        """Tokens, as the server says, or as is usual."""
        return self.served.context_window

    async def count_tokens(self, prompts: Sequence[Sequence[protocol.Segment]]) -> tuple[int, ...]:
        """About how many tokens each prompt has: servers do not tell."""
        return tuple(
            sum(4 if s.special else 1 + len(s.text) // _CHARACTERS_PER_TOKEN for s in prompt)
            for prompt in prompts
        )

    async def generate(self, request: protocol.Generate) -> AsyncGenerator[protocol.Event, None]:
        """As in `Engine`.

        Raises:
            ContextFull: The server says that the conversation is too long.
            EndpointError: The server or the network failed; what came before was yielded.
        """
        request_id = next(self._ids)
        said: asyncio.Queue[protocol.Event | Exception] = asyncio.Queue()
        task = asyncio.create_task(self._run(request_id, request, said))
        self._tasks[request_id] = task
        try:
            yield protocol.PromptProgressed(request_id, 0, 0)
            while True:
                event = await said.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if isinstance(event, protocol.Generated):
                    return
        finally:
            self._tasks.pop(request_id, None)
            self._stopped.discard(request_id)
            task.cancel()

    async def stop(self, target_id: int | None) -> None:
        """Close the connection of a reply: servers take that for a stop."""
        for number, task in list(self._tasks.items()):
            if target_id in {None, number}:
                self._stopped.add(number)
                task.cancel()

    async def end_thinking(self, target_id: int) -> None:
        """Does nothing: the API has no way to ask for it."""

    async def prefill(self, segments: Sequence[protocol.Segment]) -> protocol.Prefilled:
        """Computes nothing."""
        del segments
        return protocol.Prefilled(0, 0, 0, 0.0)

    async def close(self) -> None:
        """End all replies."""
        self._closed = True
        await self.stop(None)
        await self._client.aclose()

    async def _run(
        self,
        request_id: int,
        request: protocol.Generate,
        said: asyncio.Queue[protocol.Event | Exception],
    ) -> None:
        most = self.context_window * _MOST_CHARACTERS_PER_TOKEN
        reply = Reply(request_id, request, self._open_thinking, most)
        try:
            with refusal.translated(self.served.address):
                await self._read(reply, request, said)
        except asyncio.CancelledError:
            if request_id not in self._stopped:
                raise
            reply.finish_reason = "cancelled"
        except LocalR1Error as error:
            for event in reply.rest():
                said.put_nowait(event)
            said.put_nowait(error)
            return
        for event in (*reply.rest(), reply.generated()):
            said.put_nowait(event)

    async def _read(
        self,
        reply: Reply,
        request: protocol.Generate,
        said: asyncio.Queue[protocol.Event | Exception],
    ) -> None:
        address = self.served.address
        body = _body(self.served, request)
        if self._schema is not None:
            form = {"name": "answer", "schema": self._schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        async with self._client.stream(
            "POST", f"{address.url}/chat/completions", json=body
        ) as answer:
            if answer.status_code != 200:
                raise await _refusal(answer, address, with_schema=self._schema is not None)
            kind = answer.headers.get("content-type", "")
            if "text/event-stream" not in kind:
                raise refusal.not_compatible(address, f"It does not stream: {one_line(kind, 80)}.")
            reader = EventReader()
            async for chunk in answer.aiter_bytes():
                for data in reader.feed(chunk):
                    if data.strip() == "[DONE]":
                        return
                    for event in reply.take(_object(data, address), address):
                        said.put_nowait(event)
        if not reply.ended:
            raise refusal.cut_off(address)


def _body(served: Served, request: protocol.Generate) -> dict[str, Any]:
    """A request as the API takes it."""
    said = messages(request.segments)
    body: dict[str, Any] = {
        "model": served.name,
        "messages": said,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
    }
    if request.max_tokens:
        body["max_tokens"] = request.max_tokens
    if said and said[-1]["role"] == "assistant":
        # As vLLM and SGLang call it; llama.cpp's server and ours do it anyway.
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if served.localr1 and request.thinking_budget_tokens is not None:
        body["thinking_budget_tokens"] = request.thinking_budget_tokens
    return body


async def _models(client: httpx2.AsyncClient, address: Address) -> list[dict[str, Any]]:
    """What a server has."""
    with refusal.translated(address):
        async with client.stream("GET", f"{address.url}/models") as answer:
            if answer.status_code != 200:
                raise await _refusal(answer, address)
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MOST_LIST_BYTES:
                    raise TooMuch
    try:
        found = json.loads(body)["data"]
        models = [each for each in found if isinstance(each["id"], str)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise refusal.not_compatible(address, "Its list of models is none.") from None
    return models


def _chosen(models: list[dict[str, Any]], address: Address, wanted: str | None) -> Served:
    names = [str(model["id"]) for model in models]
    listed = one_line(", ".join(names[:20]), 400) or "nothing"
    if wanted is None and len(models) != 1:
        raise UnknownModel(
            f"{address.host} has {len(models)} models.", f"They are: {listed}.",
            "Name one of them with --model.",
        )  # fmt: skip
    model = next((m for m in models if wanted in {None, m["id"]}), None)
    if model is None:
        raise UnknownModel(
            f"{address.host} has no model {wanted}.", f"It has: {listed}.",
            "Name one of them with --model.",
        )  # fmt: skip
    meta = model.get("meta") if isinstance(model.get("meta"), dict) else {}
    window = count(model, "max_model_len", 0) or count(meta, "n_ctx", 0) or _USUAL_WINDOW
    return Served(address, model["id"], window, model.get("owned_by") == "localr1")


async def _refusal(
    answer: httpx2.Response, address: Address, *, with_schema: bool = False
) -> LocalR1Error:
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > 65_536:
            break
    if with_schema and refusal.is_of_schema(answer.status_code, body):
        return refusal.no_schema(address, body)
    return refusal.refused(answer.status_code, body, address, answer.headers.get("location", ""))


def _object(data: str, address: Address) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise EndpointError(
            f"{address.host} sent something that is not JSON.",
            one_line(data, 120),
            "What came before is kept; look at that server.",
        )
    return value


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
