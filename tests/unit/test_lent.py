"""What a lender says, how its link is measured, and when it counts as lost: without llama.cpp."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from cable import cable

from localr1.engine import lent
from localr1.engine.front import Front
from localr1.errors import RpcUnavailable
from localr1.machine.types import EngineInfo

PATIENCE_SECONDS = 30
ENGINE = EngineInfo("0.3.36", ("CPU",), (), compiled=("CPU", "RPC"), build="0.25.3 0c1e570")
DEVICE = {
    "name": "CUDA0",
    "description": "RTX 4090",
    "vendor": "nvidia",
    "total_bytes": 24 << 30,
    "free_bytes": 23 << 30,
    "bandwidth_bytes_per_second": 1e12,
}
HELLO = struct.pack("<BQ24x", 14, 24)


@contextmanager
def front(**changes: Any) -> Iterator[str]:
    """A lender whose llama.cpp says everything back that it hears."""
    listener = socket.create_server(("127.0.0.1", 0))
    inner = socket.create_server(("127.0.0.1", 0))

    def say_back() -> None:
        while True:
            try:
                caller, _ = inner.accept()
            except OSError:
                return
            with caller:
                while words := caller.recv(4096):
                    caller.sendall(words)

    threading.Thread(target=say_back, daemon=True).start()
    words = {"version": ENGINE.version, "build": ENGINE.build, "devices": [DEVICE], **changes}
    lending = Front(listener, inner.getsockname(), lambda: words)
    threading.Thread(target=lending.serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for server in (listener, inner):
            server.close()


@contextmanager
def pretender(reply: bytes | None) -> Iterator[str]:
    """Something else, that answers this to everyone; None: nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if reply is None:
                    kept.append(connection)
                    continue
                with connection:
                    connection.recv(64)
                    connection.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


def call(endpoint: str) -> socket.socket:
    host, _, port = endpoint.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE_SECONDS)


def rest(caller: socket.socket) -> bytes:
    """All that is said until the other side ends the call."""
    said = b""
    with suppress(ConnectionResetError):  # with words left unread
        while part := caller.recv(4096):
            said += part
    return said


# --- what it says -------------------------------------------------------------------------------


async def test_devices_get_the_names_that_llama_cpp_gives_them() -> None:
    with front() as one, front(devices=[DEVICE, DEVICE]) as other:
        found = await lent.devices([one, other], ENGINE, measured=False)
    assert [device.name for device in found] == ["RPC0", "RPC1", "RPC2"]
    assert [device.description for device in found] == [
        f"RTX 4090 at {endpoint}" for endpoint in (one, other, other)
    ]
    assert {(device.backend, device.free_bytes, device.link) for device in found} == {
        ("RPC", 23 << 30, None)
    }


async def test_another_build_is_refused_with_what_to_do() -> None:
    for changes in (
        {"version": "0.3.35"},
        {"build": "0.25.3 abcdef0"},
        {"build": "0.25.2 0c1e570"},
    ):
        with front(**changes) as endpoint, pytest.raises(RpcUnavailable) as caught:
            await lent.devices([endpoint], ENGINE, measured=False)
        assert "another build" in caught.value.what
        assert "0.3.36 (llama.cpp 0.25.3 0c1e570)" in caught.value.why
        assert str(next(iter(changes.values()))) in caught.value.why
        assert "doctor --fix rpc" in caught.value.todo


async def test_a_build_from_an_archive_does_not_know_its_commit() -> None:
    with front(build="0.25.3 unknown") as endpoint:
        assert len(await lent.devices([endpoint], ENGINE, measured=False)) == 1
        mine = replace(ENGINE, build="0.25.3 unknown")
        assert len(await lent.devices([endpoint], mine, measured=False)) == 1


async def test_an_engine_without_rpc_is_told_before_anybody_is_asked() -> None:
    with pytest.raises(RpcUnavailable, match="cannot use the memory"):
        await lent.devices(["127.0.0.1:1"], replace(ENGINE, compiled=("CPU",)), measured=False)


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no computer that lends"),
        (b"", "no computer that lends"),
        (b"{}\n", "no computer that lends"),
        (b"[1, 2]\n", "no computer that lends"),
        (
            json.dumps({"version": 1, "build": 1, "taken": 0, "devices": [{}]}).encode() + b"\n",
            "no",
        ),
        (b"x" * (lent.MOST_LINE_BYTES + 1), "no computer that lends"),
        (None, "does not answer"),
    ],
)
def test_what_is_no_lender_is_named(
    reply: bytes | None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lent, "_PATIENCE_SECONDS", 0.3)
    with pretender(reply) as endpoint, pytest.raises(RpcUnavailable, match=what) as caught:
        lent.greet(endpoint, measured=True)
    assert caught.value.todo


def test_nobody_there_is_named(unused_tcp_port: int) -> None:
    with pytest.raises(RpcUnavailable, match="cannot be reached") as caught:
        lent.greet(f"127.0.0.1:{unused_tcp_port}")
    assert "localr1 lend" in caught.value.todo


# --- how fast it is to reach --------------------------------------------------------------------


def test_the_link_is_measured_as_long_and_as_slow_as_it_is() -> None:
    with front() as endpoint:
        near = lent.greet(endpoint, measured=True).link
        with cable(endpoint, delay_seconds=0.01, bytes_per_second=4e6) as laid:
            begin = time.monotonic()
            far = lent.greet(laid.endpoint, measured=True).link
            taken = time.monotonic() - begin
    assert near is not None
    assert far is not None
    assert taken < PATIENCE_SECONDS
    assert far.round_trip_seconds >= 0.02 > near.round_trip_seconds
    for there, here in (
        (far.up_bytes_per_second, near.up_bytes_per_second),
        (far.down_bytes_per_second, near.down_bytes_per_second),
    ):
        assert there == pytest.approx(4e6, rel=0.5)
        assert here > 10 * there


# --- who borrows --------------------------------------------------------------------------------


async def test_one_at_a_time_borrows_and_the_others_know() -> None:
    with front() as endpoint:
        with call(endpoint) as borrower:
            borrower.sendall(HELLO + b"abc")
            assert borrower.recv(64, socket.MSG_WAITALL)[:1] == HELLO[:1]
            with pytest.raises(RpcUnavailable, match="lent to somebody else"):
                await lent.devices([endpoint], ENGINE, measured=False)
            with call(endpoint) as next_one:
                next_one.sendall(HELLO)
                next_one.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    next_one.recv(1)
                borrower.close()
                next_one.settimeout(PATIENCE_SECONDS)
                assert next_one.recv(1) == HELLO[:1]
        watching = asyncio.create_task(lent.first_lost([endpoint]))
        with call(endpoint) as mine:
            mine.sendall(HELLO)
            assert await asyncio.to_thread(mine.recv, 1) == HELLO[:1]
            for _ in range(100):  # until it watches
                if not lent.greet(endpoint).taken:
                    break
                await asyncio.sleep(0.05)
            assert len(await lent.devices([endpoint], ENGINE, measured=False)) == 1
        watching.cancel()


def test_what_nobody_understands_ends_the_call() -> None:
    with front() as endpoint:
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"localr1-lend 9 x\n", b"l" * 500):
            with call(endpoint) as caller:
                caller.sendall(words)
                assert rest(caller) == b""
        too_much = lent.SIZE.pack(lent.MOST_BYTES + 1)
        for words in (b"?", lent.TAKE + too_much, lent.GIVE + too_much):
            with call(endpoint) as caller:
                caller.sendall(lent.CALL + b"x\n" + words)
                assert json.loads(rest(caller))["version"] == ENGINE.version
        assert not lent.greet(endpoint).taken


# --- when it is lost ----------------------------------------------------------------------------


async def test_a_pulled_cable_and_an_ended_lender_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lent, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lent, "LOST_SECONDS", 0.5)
    monkeypatch.setattr(lent, "_PATIENCE_SECONDS", 0.5)
    with front() as endpoint, cable(endpoint) as one, cable(endpoint) as other:
        for laid, end in ((one, one.pull), (other, other.close)):
            watching = asyncio.create_task(lent.first_lost([endpoint, laid.endpoint]))
            await asyncio.sleep(0.5)
            assert not watching.done()
            end()
            assert await asyncio.wait_for(watching, PATIENCE_SECONDS) == laid.endpoint
        asked = (one.endpoint, endpoint, other.endpoint)
        assert await lent.still_there(asked) == (endpoint,)


async def test_what_is_no_lender_is_not_watched() -> None:
    with pretender(b"no\n") as endpoint:
        watching = asyncio.create_task(lent.first_lost([endpoint]))
        await asyncio.sleep(0.3)
        assert not watching.done()
        watching.cancel()
