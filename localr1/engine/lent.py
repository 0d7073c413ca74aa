"""Another computer that lends its memory, as seen from here.

Which engine it has, how fast it is to reach, whether it is still there.

`localr1 lend` answers two kinds of callers on one port: llama.cpp, whose words it passes on to
llama.cpp's own server, and this module. llama.cpp's protocol (RPC) tells neither its build nor
measures anything, and a server that does not answer is waited for without end.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import statistics
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from localr1.errors import RpcUnavailable
from localr1.machine.types import Device, EngineInfo, Link

CALL: Final = b"localr1-lend 1 "
"""What a caller says first, its name after it; the 1 is the version of this little language."""
MOST_LINE_BYTES: Final = 65536
PING, WATCH, TAKE, GIVE = b"p", b"w", b"t", b"g"
"""What may be asked: an echo; to be known as a user's app; bytes to be taken; bytes to be given."""
SIZE: Final = struct.Struct("<I")
"""How many bytes, after TAKE and GIVE."""
MOST_BYTES: Final = 8 << 20

_PATIENCE_SECONDS: Final = 3.0
_PINGS: Final = 12
_PINGS_SECONDS: Final = 0.2
_ONE_WAY_SECONDS: Final = 0.25
"""For the bytes of one direction; both and the pings stay under a second."""
_FIRST_BYTES: Final = 64 << 10
_GROWTH: Final = 4
BEAT_SECONDS: Final = 2.0
LOST_SECONDS: Final = 10.0
"""A computer that echoes nothing for so long is lost. It may be busy, but not that busy."""

_NAME: Final = secrets.token_hex(8).encode()
"""Of this process: that it borrows already does not keep it from looking again."""


@dataclass(frozen=True)
class Peer:
    """What a lender said of itself."""

    endpoint: str
    version: str
    """Of its llama-cpp-python."""
    build: str
    """As `EngineInfo.build`."""
    taken: bool
    """Whether somebody else borrows it."""
    devices: tuple[dict[str, Any], ...]
    """Name, description, vendor, total_bytes, free_bytes, bandwidth_bytes_per_second."""
    link: Link | None = None
    """None where it was not measured."""


async def devices(
    endpoints: Sequence[str], engine: EngineInfo, *, measured: bool
) -> tuple[Device, ...]:
    """The devices that computers lend, under the names that llama.cpp will give them.

    Args:
        endpoints: `host:port` each, in the order in which llama.cpp hears of them.
        engine: The one here; theirs must be the same build.
        measured: Whether to measure the links, which takes less than a second.

    Raises:
        RpcUnavailable: This build has no RPC, or a computer cannot be used, and why.
    """
    if endpoints and not engine.problem and "RPC" not in engine.compiled:
        raise RpcUnavailable(
            "This llama.cpp cannot use the memory of other computers.",
            "It was built without RPC.",
            "Build it anew, here and there: localr1 doctor --fix rpc",
        )
    found: list[Device] = []
    # One after the other: they may share a network, which two measurements would share too.
    for endpoint in endpoints:
        peer = await asyncio.to_thread(greet, endpoint, measured=measured)
        check(peer, engine)
        found += [
            Device(
                name=f"RPC{number}",
                description=f"{device['description']} at {endpoint}",
                kind="gpu",
                vendor=device["vendor"],
                backend="RPC",
                total_bytes=device["total_bytes"],
                free_bytes=device["free_bytes"],
                unified=False,
                bandwidth_bytes_per_second=device["bandwidth_bytes_per_second"],
                usable_by_engine=True,
                reason=f"lent by {endpoint}",
                link=peer.link,
            )
            for number, device in enumerate(peer.devices, len(found))
        ]
    return tuple(found)


def check(peer: Peer, engine: EngineInfo) -> None:
    """See that a lender may be used from here.

    Raises:
        RpcUnavailable: It has another build of llama.cpp, lends nothing, or is lent to another.
    """
    if peer.version != engine.version or not _same_build(peer.build, engine.build):
        raise RpcUnavailable(
            f"{peer.endpoint} has another build of llama.cpp.",
            f"There it is {_named(peer.version, peer.build)},"
            f" here {_named(engine.version, engine.build)}.",
            "Install the same release of localr1 on both, and on both run"
            " `localr1 doctor --fix rpc`.",
        )
    if peer.taken:
        raise RpcUnavailable(
            f"{peer.endpoint} is lent to somebody else now.",
            "One program at a time can use it.",
            "End the other program, or leave this computer out.",
        )
    if not peer.devices:
        raise RpcUnavailable(
            f"{peer.endpoint} lends no device.", "Its list is empty.", "Start `localr1 lend` anew."
        )


def greet(endpoint: str, *, measured: bool = False) -> Peer:
    """Ask a lender what it is.

    Args:
        endpoint: `host:port`.
        measured: Whether to measure the link as well.

    Raises:
        RpcUnavailable: It cannot be reached, does not answer, or is something else.
    """
    try:
        with socket.create_connection(_address(endpoint), _PATIENCE_SECONDS) as connection:
            connection.settimeout(_PATIENCE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(CALL + _NAME + b"\n")
            said = _line(connection)
            peer = _peer(endpoint, said, None)
            return _peer(endpoint, said, _link(connection, endpoint)) if measured else peer
    except TimeoutError as error:
        raise RpcUnavailable(
            f"{endpoint} does not answer.",
            f"It said nothing for {_PATIENCE_SECONDS:.0f} s.",
            "Look whether that computer and its network work, or leave it out of --pool.",
        ) from error
    except OSError as error:
        raise RpcUnavailable(
            f"{endpoint} cannot be reached.",
            error.strerror or str(error),
            "Start `localr1 lend` there, check address and port, or leave it out of --pool.",
        ) from error


async def still_there(endpoints: Iterable[str]) -> tuple[str, ...]:
    """Those of the lenders that answer."""

    async def answers(endpoint: str) -> bool:
        with suppress(RpcUnavailable):
            await asyncio.to_thread(greet, endpoint)
            return True
        return False

    asked = tuple(endpoints)
    found = await asyncio.gather(*map(answers, asked))
    return tuple(endpoint for endpoint, there in zip(asked, found, strict=True) if there)


async def first_lost(endpoints: Sequence[str]) -> str:
    """Wait until one of the lenders no longer echoes, and return it.

    One that is no `localr1 lend` is not watched: it could not be asked.
    """
    beats = {asyncio.create_task(_beats(endpoint)): endpoint for endpoint in endpoints}
    waiting = set(beats)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.result():
                    return beats[task]
        await asyncio.Event().wait()
    finally:
        for task in beats:
            task.cancel()
    raise AssertionError  # nothing sets the event


async def _beats(endpoint: str) -> bool:
    """Ask for an echo again and again; True once there is none, False where none was to be had."""
    heard = False
    host, port = _address(endpoint)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(CALL + _NAME + b"\n" + WATCH)
            _peer(endpoint, await reader.readline(), None)
            await reader.readexactly(1)
        heard = True
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            writer.write(PING)
            async with asyncio.timeout(LOST_SECONDS):
                await reader.readexactly(1)
    except (OSError, EOFError, RpcUnavailable, ValueError):
        return heard
    finally:
        if writer is not None:
            writer.close()


def _link(connection: socket.socket, endpoint: str) -> Link:
    """How long a word takes there and back, and how many bytes a second go each way."""
    times: list[float] = []
    end = time.perf_counter() + _PINGS_SECONDS
    while len(times) < _PINGS and (not times or time.perf_counter() < end):
        begin = time.perf_counter()
        connection.sendall(PING)
        _exactly(connection, 1)
        times.append(time.perf_counter() - begin)
    round_trip = statistics.median(times)
    return Link(
        endpoint,
        round_trip,
        _rate(connection, TAKE, round_trip),
        _rate(connection, GIVE, round_trip),
    )


def _rate(connection: socket.socket, way: bytes, round_trip_seconds: float) -> float:
    """Bytes per second one way: of the largest piece that there is time for.

    Small pieces come first, since a connection finds its speed only as it goes.
    """
    size, left = _FIRST_BYTES, _ONE_WAY_SECONDS
    while True:
        begin = time.perf_counter()
        connection.sendall(way + SIZE.pack(size) + (bytes(size) if way == TAKE else b""))
        _exactly(connection, 1 if way == TAKE else size)
        taken = time.perf_counter() - begin
        left -= taken
        if size * _GROWTH > MOST_BYTES or taken * _GROWTH > left:
            return size / max(taken - round_trip_seconds, taken / 10, 1e-6)
        size *= _GROWTH


def _exactly(connection: socket.socket, size: int) -> None:
    while size:
        got = len(connection.recv(min(size, 1 << 18)))
        if not got:
            raise ConnectionError("it hung up")
        size -= got


def _line(connection: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\n") and len(said) < MOST_LINE_BYTES:
        part = connection.recv(4096)
        if not part:
            break
        said += part
    return said


def _peer(endpoint: str, said: bytes, link: Link | None) -> Peer:
    """A greeting, read.

    Raises:
        RpcUnavailable: It is none of `localr1 lend`.
    """
    try:
        words = json.loads(said)
        return Peer(
            endpoint,
            str(words["version"]),
            str(words["build"]),
            bool(words["taken"]),
            tuple(_device(device) for device in words["devices"]),
            link,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RpcUnavailable(
            f"{endpoint} is no computer that lends memory to localr1.",
            "Something else answers there; llama.cpp's own rpc-server cannot say which build"
            " it is.",
            "Start `localr1 lend` there, and check address and port.",
        ) from error


def _device(said: dict[str, Any]) -> dict[str, Any]:
    bandwidth = said["bandwidth_bytes_per_second"]
    return {
        **{key: str(said[key])[:200] for key in ("name", "description", "vendor")},
        **{key: max(0, int(said[key])) for key in ("total_bytes", "free_bytes")},
        "bandwidth_bytes_per_second": float(bandwidth) if bandwidth else None,
    }


def _address(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _same_build(one: str, other: str) -> bool:
    """Whether two are of one source; a build from an archive does not know its commit."""
    (release, _, commit), (other_release, _, other_commit) = (
        one.partition(" "),
        other.partition(" "),
    )
    unknown = "unknown" in {commit, other_commit}
    return release == other_release and (unknown or commit == other_commit)


def _named(version: str, build: str) -> str:
    return f"llama-cpp-python {version or '?'} (llama.cpp {build or '?'})"
