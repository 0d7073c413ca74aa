"""Where the server listens, and how long it runs."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import uvicorn

from localr1.errors import FileError, LocalR1Error, UsageError
from localr1.server import access
from localr1.server.app import Rules, build
from localr1.server.desk import Desk

_GRACE_SECONDS = 2
_BACKLOG = 256


@dataclass(frozen=True)
class Door:
    """A place where the server listens."""

    listener: socket.socket
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this computer can reach it."""
        return access.is_loopback(str(self.listener.getsockname()[0]))

    @property
    def address(self) -> str:
        """What clients are told."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"


def door(host: str, port: int) -> Door:
    """Begin to listen; nobody is answered yet.

    Args:
        host: An address or name of this computer.
        port: 0 for any free one.

    Raises:
        UsageError: This computer has no such address.
        FileError: The port is taken, or not allowed.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UsageError(
            f"{host} is no address to listen at.", str(error), "Use an address of this computer."
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise FileError(
            f"The server cannot listen at {host}, port {port}.",
            error.strerror or str(error),
            "Choose another port with --port; 0 takes any free one.",
        ) from error
    return Door(listener, host, int(listener.getsockname()[1]))


def rules(place: Door, key: str) -> Rules:
    """Who may ask: everyone on this computer, or everyone who has the key."""
    if not place.loopback:
        return Rules(key, None)
    named = {place.host.lower()}
    with suppress(ValueError):  # a name
        named.add(str(ipaddress.ip_address(place.host)))
    return Rules(None, access.LOOPBACK_NAMES | named)


async def serve(place: Door, desk: Desk, who: Rules) -> None:
    """Answer until the user ends it.

    Raises:
        LocalR1Error: The server does not start.
    """
    await _run(uvicorn.Server(_config(desk, who)), place)


class Beside:
    """A server in a process that has other things to do, and signals of its own.

    Only this computer can reach it. Other users of the computer could, so a key is asked for.

    Args:
        place: Where it listens.
        desk: Where replies come from; closed at the end.
        key: What requests have to carry.
    """

    def __init__(self, place: Door, desk: Desk, key: str) -> None:
        self._place, self._desk = place, desk
        self._server = _WithoutSignals(_config(desk, Rules(key, access.LOOPBACK_NAMES)))

    async def run(self) -> None:
        """Answer until `end` is called.

        Raises:
            LocalR1Error: The server does not start.
        """
        try:
            with self._place.listener:
                await _run(self._server, self._place)
        finally:
            await self._desk.close()

    def end(self) -> None:
        """Answer no more; replies that are being written get a moment, then they end."""
        self._server.should_exit = True


class _WithoutSignals(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _run(server: uvicorn.Server, place: Door) -> None:
    await server.serve(sockets=[place.listener])
    if not server.started:
        raise LocalR1Error("The server does not start.")


def _config(desk: Desk, who: Rules) -> uvicorn.Config:
    return uvicorn.Config(
        build(desk, who),
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
