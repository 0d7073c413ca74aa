"""Whether the memory of another llama.cpp process can be used, over the network (RPC).

llama.cpp ends its process as soon as a server does not answer, answers something else or is of
another version, and waits for ever for one that serves somebody else. So each server is asked
for its version here first, and only a good one is shown to llama.cpp.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

PROTOCOL_MAJOR: Final = 7
"""RPC_PROTO_MAJOR_VERSION in ggml-rpc.h: client and server must have the same."""
_TIMEOUT_SECONDS: Final = 3.0
# RPC_CMD_HELLO in ggml-rpc.cpp, with the length of what follows and what the client can do.
_HELLO: Final = struct.pack("<BQ24x", 14, 24)
# The length of the answer, the three numbers of the version, a pad byte, what the server can do.
_ANSWER: Final = struct.Struct("<Q3Bx24x")


class RpcProblem(Exception):
    """A server, or this build of llama.cpp, cannot be used.

    Args:
        what: What happened.
        why: The reason.
        todo: What to do.
    """

    def __init__(self, what: str, why: str, todo: str) -> None:
        super().__init__(what, why, todo)
        self.what, self.why, self.todo = what, why, todo


def check(endpoint: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
    """Ask a server for its version.

    Args:
        endpoint: `host:port`.
        timeout_seconds: How long to wait for a connection, and for an answer.

    Raises:
        RpcProblem: It does not answer, or is no RPC server of this version.
    """
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise RpcProblem(
            f"{endpoint} is no address of an RPC server.",
            "It has to be a name or number, a colon and a port.",
            "Write it like 192.168.1.5:50052.",
        )
    try:
        connection = socket.create_connection((host, int(port)), timeout_seconds)
    except OSError as error:
        raise RpcProblem(
            f"The RPC server {endpoint} cannot be reached.",
            str(error),
            "Start the server there, or leave it out.",
        ) from error
    with connection:
        connection.settimeout(timeout_seconds)
        answer = _hello(connection, endpoint)
    if len(answer) < _ANSWER.size or _ANSWER.unpack(answer)[0] != _ANSWER.size - 8:
        raise RpcProblem(
            f"{endpoint} is no RPC server of llama.cpp.",
            "Something else answers there.",
            "Check the address and the port.",
        )
    _, *version = _ANSWER.unpack(answer)
    if version[0] != PROTOCOL_MAJOR:
        raise RpcProblem(
            f"The RPC server {endpoint} is of another version.",
            f"It speaks {version[0]}.{version[1]}, this llama.cpp {PROTOCOL_MAJOR}.",
            "Use the same release of llama-cpp-python there and here.",
        )


def _hello(connection: socket.socket, endpoint: str) -> bytes:
    answer = b""
    try:
        connection.sendall(_HELLO)
        while len(answer) < _ANSWER.size:
            part = connection.recv(_ANSWER.size - len(answer))
            if not part:
                break
            answer += part
    except TimeoutError as error:
        raise RpcProblem(
            f"The RPC server {endpoint} does not answer.",
            "A server serves one program at a time; another one may be using it.",
            "End the other program, or leave this server out.",
        ) from error
    except OSError:
        return b""
    return answer
