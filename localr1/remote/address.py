"""The address of a server, and the key for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from localr1.errors import EndpointError, UsageError

KEY_VARIABLE: Final = "LOCALR1_API_KEY"
KEYRING_SERVICE: Final = "localr1"


@dataclass(frozen=True)
class Address:
    """Where a server is."""

    url: str
    """Without a slash at its end; the API's paths come behind it."""
    host: str
    """With its port where it is named; for people, and the name of its key in the keyring."""
    encrypted: bool
    loopback: bool


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        UsageError: It is none.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise _no_address(text, str(error)) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _no_address(text, "It has to begin with http:// or https:// and a name.")
    if parts.username is not None or parts.password is not None:
        raise _no_address(
            text.replace(parts.netloc, parts.netloc.rpartition("@")[2]),
            f"A key does not belong in the address: put it into {KEY_VARIABLE}.",
        )
    if parts.query or parts.fragment:
        raise _no_address(text, "It has a ? or # in it.")
    name = parts.hostname
    shown = f"[{name}]" if ":" in name else name
    host = shown if port is None else f"{shown}:{port}"
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return Address(
        f"{parts.scheme}://{host}{path}",
        host,
        parts.scheme == "https",
        name in {"localhost", "::1"} or name.startswith("127."),
    )


def key_for(address: Address, environment: Mapping[str, str] = os.environ) -> str:
    """The key of a server: from the environment, else from the system's keyring; else empty.

    It is never written anywhere by localr1.

    Raises:
        EndpointError: The keyring does not open, or what it has cannot be a key.
    """
    key = environment.get(KEY_VARIABLE, "").strip() or _from_keyring(address.host)
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            f"The key for {address.host} has characters that no key has.",
            "",
            f"Correct {KEY_VARIABLE}, or the entry in the keyring.",
        )
    return key


def _from_keyring(host: str) -> str:
    try:
        import keyring  # noqa: PLC0415 - an extra
        from keyring.errors import KeyringError, NoKeyringError  # noqa: PLC0415
    except ModuleNotFoundError:
        return ""
    try:
        return keyring.get_password(KEYRING_SERVICE, host) or ""
    except NoKeyringError:
        return ""  # this system has none
    except KeyringError as error:
        raise EndpointError(
            "The system's keyring does not give the key.",
            str(error),
            f"Open it, or put the key into {KEY_VARIABLE}.",
        ) from error


def _no_address(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text} is no address of a server.", why, "Write it like http://127.0.0.1:8000/v1."
    )
