"""Other computers whose memory is used: which addresses may be.

llama.cpp's RPC knows neither passwords nor encryption, and whoever can connect can crash it or
worse (its own README says so). So it has no business on addresses that the internet can reach.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from localr1.errors import UsageError

_TUNNEL = "Use a private network or an ssh tunnel: `localr1 lend` there says how."


def parse(text: str) -> tuple[str, ...]:
    """Read `HOST:PORT[,HOST:PORT...]`.

    Raises:
        UsageError: One is no address, or one that may not be used.
    """
    peers = tuple(part.strip() for part in text.split(",") if part.strip())
    if not peers:
        raise UsageError("--pool names no computer.", "", "Write it like 192.168.1.5:50052.")
    for peer in peers:
        host, _, port = peer.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UsageError(
                f"{peer} is no address of a computer that lends memory.",
                "It has to be a name or number, a colon and a port.",
                "Write it like 192.168.1.5:50052.",
            )
        check_private(host)
    return peers


def leaves_to(pool: Sequence[str]) -> str:
    """What the user has to know of where words go."""
    return (
        f"Parts of the model and of what you write go to {', '.join(pool)}, unencrypted but for a"
        " tunnel."
    )


def check_private(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Refuse what the internet can reach; returns the first address.

    Raises:
        UsageError: It is public, stands for every address, or is none.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"There is no computer {host}.", str(error), "Check the name.") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if address.is_unspecified:
            raise UsageError(
                f"{host} stands for all addresses of this computer.",
                "Some of them may be public, and the connection has no protection of its own.",
                "Name the one address of the private network.",
            )
        if address.is_multicast or not (
            address.is_private or address.is_loopback or address.is_link_local
        ):
            raise UsageError(
                f"{host} is an address on the internet.",
                "llama.cpp's connection is neither encrypted nor protected by a key.",
                _TUNNEL,
            )
    return addresses[0]
