"""What servers and networks say no with, in the family of `errors`."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from localr1.errors import ContextFull, EndpointError, LocalR1Error
from localr1.printable import one_line
from localr1.remote.address import KEY_VARIABLE, KEYRING_SERVICE, Address
from localr1.remote.events import TooMuch

if TYPE_CHECKING:
    import httpx2

_LONGEST_WORDS: Final = 400
_CONTEXT_WORDS: Final = ("context length", "context window", "context_length", "context size")
_SCHEMA_WORDS: Final = ("response_format", "schema", "grammar", "structured", "guided")
SCHEMA_TODO: Final = (
    "vLLM, SGLang, llama.cpp's server and localr1 serve do: look at its version and its log. Or"
    " leave --schema out, or --endpoint."
)


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Translate what the HTTP library raises.

    Raises:
        EndpointError: Everything between here and an answer.
    """
    import httpx2  # noqa: PLC0415  # heavy

    try:
        yield
    except httpx2.HTTPError as error:
        raise _network(error, address) from error
    except httpx2.InvalidURL as error:
        raise EndpointError(f"{address.url} is no address.", str(error)) from error
    except TooMuch as error:
        raise EndpointError(
            f"What {address.host} sends does not end.",
            "It is longer than any reply.",
            "Ask again; if it happens again, something is wrong with that server.",
        ) from error


def refused(status: int, body: bytes, address: Address, location: str = "") -> LocalR1Error:
    """The error for an answer that is none.

    Args:
        status: The HTTP status.
        body: What came with it.
        address: Of the server.
        location: Where a redirect points to.
    """
    words = _words(body)
    host = address.host
    if status in {401, 403}:
        return EndpointError(
            f"{host} wants a key, or another one.",
            words,
            f"Put it into {KEY_VARIABLE}, or into the keyring:"
            f" keyring set {KEYRING_SERVICE} {host}",
        )
    if 300 <= status < 400:
        return EndpointError(
            f"{host} sends elsewhere.",
            f"To {one_line(location, _LONGEST_WORDS)}; localr1 does not follow with your words.",
            "If that is right, use that address.",
        )
    if status == 400 and any(part in words.lower() for part in _CONTEXT_WORDS):
        return ContextFull(
            "The conversation does not fit the server's context window.",
            words,
            "Begin a new conversation, or shorten the message.",
        )
    if status == 404 and "model" in words.lower():
        return EndpointError(
            f"{host} does not have the model.", words, "Name one that it has with --model."
        )
    if status == 404:
        return not_compatible(address, words or "It answers 404: not found.")
    what = f"{host} refuses the request ({status})."
    todo = "Look at that server's log."
    if status == 429:
        what, todo = f"{host} has too much to do.", "Ask again in a moment."
    elif status >= 500:
        what = f"{host} failed ({status})."
    return EndpointError(what, words, todo)


def not_compatible(address: Address, why: str) -> EndpointError:
    """The error for a server of another kind."""
    return EndpointError(
        f"{address.url} does not speak OpenAI's API.",
        why,
        "Check the address; it mostly ends in /v1, as in http://127.0.0.1:8000/v1.",
    )


def is_of_schema(status: int, body: bytes) -> bool:
    """Whether a server refused because of the form that an answer was to have."""
    words = _words(body).lower()
    return status in {400, 404, 422, 501} and any(part in words for part in _SCHEMA_WORDS)


def no_schema(address: Address, body: bytes) -> EndpointError:
    """The error for a server that holds no answer to a JSON schema."""
    return EndpointError(
        f"{address.host} does not hold answers to this JSON schema.", _words(body), SCHEMA_TODO
    )


def cut_off(address: Address) -> EndpointError:
    """The error for a reply that ended before its end."""
    return EndpointError(
        f"The connection to {address.host} ended in the middle of the reply.",
        "",
        "What came is kept; ask again, or let the reply go on.",
    )


def failed(value: dict[str, Any], address: Address) -> EndpointError:
    """The error that a stream has instead of its next piece."""
    words = _words(json.dumps(value).encode())
    return EndpointError(f"{address.host} failed in the middle of the reply.", words, "Ask again.")


def _network(error: httpx2.HTTPError, address: Address) -> EndpointError:
    import httpx2  # noqa: PLC0415  # heavy

    host = address.host
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return EndpointError(
                f"The certificate of {host} is not trusted.",
                cause.verify_message,
                "If it is your own server: SSL_CERT_FILE=/path/to/its-authority.pem localr1 ...",
            )
        if isinstance(cause, ssl.SSLError):
            return EndpointError(
                f"{host} does not speak TLS.",
                cause.reason or str(cause),
                "If it has none, write http:// instead of https://; then nothing is encrypted.",
            )
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        return EndpointError(
            f"{host} cannot be reached.",
            _reason(error),
            "Check the address, and that the server runs.",
        )
    if isinstance(error, httpx2.TimeoutException):
        return EndpointError(
            f"{host} has said nothing for too long.",
            "",
            "What came is kept; ask again, or look at that server.",
        )
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError):
        return cut_off(address)
    return EndpointError(f"{host} cannot be used.", _reason(error), "")


def _words(body: bytes) -> str:
    """What an answer says, as far as it is meant for people."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "" if "<" in text[:200] else one_line(text, _LONGEST_WORDS)
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and name in value:
            value = value[name]
    return one_line(value if isinstance(value, str) else json.dumps(value), _LONGEST_WORDS)


def _reason(error: BaseException) -> str:
    return next((str(cause) for cause in reversed(list(_causes(error))) if str(cause)), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
