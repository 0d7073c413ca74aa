"""What the environment says of the network, looked at before anything is asked of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from localr1.errors import HubDenied, HubUnreachable

_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_CERTIFICATES: Final = (("SSL_CERT_FILE", Path.is_file), ("SSL_CERT_DIR", Path.is_dir))


def check(address: str) -> None:
    """Look for what the HTTP library would only stumble over.

    Args:
        address: What is to be asked; an empty one is not looked at.

    Raises:
        HubUnreachable: It is no address, or a proxy or certificates are set that cannot be used.
        HubDenied: The token cannot be sent.
    """
    if address and not is_address(address):
        raise HubUnreachable(
            f"{shown(address)} is not an address.",
            "It needs http:// or https://, a host, and at most a port after it.",
            "Correct HF_ENDPOINT, or the address itself.",
        )
    for kind, proxy in getproxies().items():
        if kind != "no" and not is_address(_with_scheme(proxy), _PROXY_SCHEMES):
            raise HubUnreachable(
                f"The proxy {shown(proxy)} cannot be used.",
                f"It is set for {kind}; localr1 knows {', '.join(_PROXY_SCHEMES)}.",
                f"Correct {kind.upper()}_PROXY, or the system's proxy settings.",
            )
    for name, there in _CERTIFICATES:
        value = os.environ.get(name, "")
        if value and not there(Path(value)):
            raise HubUnreachable(
                f"{name} names certificates that are not there.",
                value,
                f"Correct {name}, or unset it.",
            )
    if os.environ.get("SSL_CERT_FILE"):
        _check_certificates(os.environ["SSL_CERT_FILE"])
    token = os.environ.get("HF_TOKEN", "")
    if not (token.isascii() and token.strip().isprintable()):
        raise HubDenied(
            "HF_TOKEN is no token.", "It has characters that no token has.", "Copy it again."
        )


def proxy_for(address: str) -> str:
    """The proxy that an address is asked through, for messages; empty where there is none."""
    parts = urlsplit(address)
    if proxy_bypass(parts.hostname or ""):
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return shown(_with_scheme(proxy)) if proxy else ""


def _check_certificates(path: str) -> None:
    import ssl  # noqa: PLC0415 - rarely needed

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # SSLError is one
        raise HubUnreachable(
            "SSL_CERT_FILE holds no certificates.", f"{path}: {error}", "Correct it, or unset it."
        ) from error


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def is_address(text: str, schemes: tuple[str, ...] = ("http", "https")) -> bool:
    """Whether a text names a host, by one of some schemes."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def shown(address: str) -> str:
    """An address for messages: without a name and password."""
    scheme, separator, rest = address.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]
