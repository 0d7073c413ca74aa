"""What the environment says of the network is looked at first, and named when it is of no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from localr1.errors import DownloadError, LocalR1Error, UsageError
from localr1.models import acquire, surroundings
from localr1.models.refusal import origin_of, retry_after_seconds, translated

HUB = "https://huggingface.co"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "ftp"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    for name in ("HF_TOKEN", "HF_ENDPOINT", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7890/", "The proxy socks://127.0.0.1:7890/ cannot"),
        ("HTTP_PROXY", "foo://user:secret@x", "The proxy foo://x cannot be used"),
        ("HTTPS_PROXY", "http://[::1", "cannot be used"),
        ("SSL_CERT_FILE", "/nowhere/at.all", "SSL_CERT_FILE names certificates that are not there"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE holds no certificates"),
        ("HF_TOKEN", "hf_abc\u00e9", "HF_TOKEN is no token"),
    ],
)
def test_what_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError) as caught, translated("owner/name", HUB):
        raise AssertionError("nothing may be asked")
    assert words in caught.value.what
    assert name in f"{caught.value.what} {caught.value.todo}"
    assert "secret" not in f"{caught.value}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("ALL_PROXY", "socks5h://name:word@127.0.0.1:1080"),
        ("HTTPS_PROXY", "proxy.example.org:3128"),
        ("NO_PROXY", "localhost,*.example.org"),
        ("SSL_CERT_DIR", str(Path(__file__).parent)),
        ("HF_TOKEN", "hf_AbC123\n"),
    ],
)
def test_what_is_usual_passes(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    surroundings.check(HUB)


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://127.0.0.1:99999", "ftp://x", "huggingface.co", "https://"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(LocalR1Error, match="is not an address"):
        surroundings.check(address)


@pytest.mark.parametrize("text", ["http://[::1/y.gguf", "http://u:secret@host:99999/x.gguf"])
def test_an_import_from_no_address_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        acquire.parse_reference(text)
    assert "secret" not in f"{caught.value}"


def test_no_message_shows_a_password() -> None:
    assert origin_of("https://u:secret@host:81/x.gguf?y") == "https://host:81"


@pytest.mark.parametrize("value", ["\u00b2", "-1", "soon", "", "1.5e999x"])
def test_an_odd_retry_after_is_none(value: str) -> None:
    import httpx2

    response = httpx2.Response(429, headers=[(b"Retry-After", value.encode())])
    assert retry_after_seconds(response) in (None, 0.0)


def test_an_answer_nested_without_end_is_no_crash() -> None:
    with pytest.raises(LocalR1Error), translated("owner/name", HUB):
        raise RecursionError("maximum recursion depth exceeded")
