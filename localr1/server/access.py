"""Who may use the server: addresses, names, and the key."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

from localr1.config import ensure
from localr1.errors import FileError

KEY_NAME: Final = "server.key"
"""In the data folder."""
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([^\[\]:]+)(?::\d{1,5})?")


def is_loopback(host: str) -> bool:
    """Whether an address or name is this computer for itself alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """The name in a `Host` header or an address, without its port; empty where there is none."""
    match = _HOST.fullmatch(header.strip())
    return (match[1] or match[2]).lower() if match else ""


def known_host(header: str, allowed: Collection[str] | None) -> bool:
    """Whether a request is meant for this server.

    A page in a browser can have its own name point at this computer (DNS rebinding) and would
    then be let in; the name it uses gives it away.

    Args:
        header: The request's `Host`.
        allowed: Names by which the server is called; None where a key is asked for: a page
            does not know it.
    """
    return allowed is None or host_of(header) in allowed


def own_origin(origin: str, host_header: str) -> bool:
    """Whether a browser's page belongs to this server; programs send no origin."""
    _, separator, rest = origin.partition("://")
    return not origin or (bool(separator) and rest == host_header)


def fits(authorization: str, key: str) -> bool:
    """Whether an `Authorization` header holds the key."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode("utf-8", "replace"), key.encode()
    )


def key_at(folder: Path) -> str:
    """The server's key, made on first use; only its owner can read the file.

    Raises:
        FileError: It cannot be read or written.
    """
    path = ensure(folder) / KEY_NAME
    try:
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_text(encoding="ascii").strip()
        else:
            key = f"localr1-{secrets.token_urlsafe(32)}"
            with os.fdopen(file, "w", encoding="ascii") as writer:
                writer.write(f"{key}\n")
    except (OSError, ValueError) as error:
        raise FileError(
            f"The server's key {path} cannot be used.",
            str(error),
            "Remove the file, and try again.",
        ) from error
    if not key:
        raise FileError(f"The server's key {path} is empty.", "", "Remove the file, and try again.")
    return key
