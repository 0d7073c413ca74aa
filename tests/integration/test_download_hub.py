"""Looking a variant up with the real hub client, against a real HTTP server."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from downloading import NAME, QUICK, REPOSITORY, content, fetch, listed, variant
from loopback_hub import Fault, LoopbackHub

from localr1.errors import (
    DownloadError,
    HubDenied,
    HubNotFound,
    HubUnreachable,
    LocalR1Error,
    OfflineError,
)
from localr1.models.hub import RemoteFile, expand, list_files, saved_token


@pytest.fixture
def hub(hub: LoopbackHub) -> LoopbackHub:
    hub.add(REPOSITORY, {NAME: content(1000), "README.md": b"# model"})
    return hub


def refusal(kind: type[LocalR1Error], endpoint: str, repository: str = REPOSITORY) -> LocalR1Error:
    with pytest.raises(kind) as caught:
        list_files(variant(repository=repository), endpoint=endpoint, token="", patience=QUICK)
    assert type(caught.value) is kind
    assert caught.value.what
    assert caught.value.todo
    assert "\n" not in caught.value.why
    return caught.value


def test_a_file_has_size_hash_and_commit(hub: LoopbackHub) -> None:
    (file,) = listed(hub)
    assert (file.repository, file.path, file.size_bytes) == (REPOSITORY, NAME, 1000)
    assert re.fullmatch(r"[0-9a-f]{40}", file.revision)
    assert re.fullmatch(r"[0-9a-f]{64}", file.sha256 or "")
    assert file.url == f"{hub.endpoint}/{REPOSITORY}/resolve/{file.revision}/{NAME}"


def test_one_question_is_all_that_is_asked(hub: LoopbackHub) -> None:
    listed(hub)
    assert [item.path.partition("?")[0] for item in hub.seen] == [
        f"/api/models/{REPOSITORY}/revision/main"
    ]


def test_the_endpoint_variable_is_read_at_every_call(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint + "/")
    assert list_files(variant(), token="")[0].url.startswith(hub.endpoint + "/owner/")


def test_the_token_comes_from_the_argument_or_the_environment(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[REPOSITORY].private = True
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert saved_token() == hub.token
    assert list_files(variant(), endpoint=hub.endpoint)
    assert list_files(variant(), endpoint=hub.endpoint, token=hub.token)
    with pytest.raises(HubNotFound):
        list_files(variant(), endpoint=hub.endpoint, token="")
    sent = [item.authorization for item in hub.seen]
    assert sent == [f"Bearer {hub.token}", f"Bearer {hub.token}", ""]
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert saved_token() is None


def test_an_unknown_repository(hub: LoopbackHub) -> None:
    error = refusal(HubNotFound, hub.endpoint, "owner/nothing")
    assert "owner/nothing" in error.what


def test_a_name_that_is_none(hub: LoopbackHub) -> None:
    refusal(HubNotFound, hub.endpoint, "owner/no/such/form")


def test_an_unknown_revision(hub: LoopbackHub) -> None:
    with pytest.raises(HubNotFound, match="revision"):
        list_files(variant(revision="v9"), endpoint=hub.endpoint, token="")


def test_an_unknown_file_names_the_nearest(hub: LoopbackHub) -> None:
    with pytest.raises(HubNotFound) as caught:
        listed(hub, "model-Q4_K_S.gguf")
    assert NAME in caught.value.why


def test_a_wrong_token(hub: LoopbackHub) -> None:
    with pytest.raises(HubDenied) as caught:
        listed(hub, token="hf_wrong")
    assert "HF_TOKEN" in caught.value.todo


def test_gated_and_disabled_are_denied(hub: LoopbackHub) -> None:
    gated = Fault("status", host="hub", status=403, headers={"X-Error-Code": "GatedRepo"})
    hub.inject(gated)
    assert f"{hub.endpoint}/{REPOSITORY}" in refusal(HubDenied, hub.endpoint).todo
    hub.inject(
        Fault(
            "status",
            host="hub",
            status=403,
            headers={"X-Error-Message": "Access to this resource is disabled."},
        )
    )
    assert "disabled" in refusal(HubDenied, hub.endpoint).what


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_hub_in_trouble_is_asked_again(hub: LoopbackHub, status: int) -> None:
    hub.inject(Fault("status", host="hub", status=status, times=2))
    assert listed(hub)
    hub.inject(Fault("status", host="hub", status=status, times=3))
    refusal(HubUnreachable, hub.endpoint)


def test_a_refused_request_is_neither_gated_nor_missing(hub: LoopbackHub) -> None:
    hub.inject(Fault("status", host="hub", status=418))
    with pytest.raises(DownloadError) as caught:
        listed(hub)
    assert type(caught.value) is DownloadError


def test_a_captive_portal(hub: LoopbackHub) -> None:
    hub.inject(Fault("page", host="hub"))
    assert "browser" in refusal(HubUnreachable, hub.endpoint).todo


@pytest.mark.usefixtures("hub")
def test_other_json_than_the_hubs() -> None:
    assert "HF_ENDPOINT" in refusal(HubUnreachable, other_json()).todo


def other_json() -> str:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *args: object) -> None:
            """Say nothing on stderr."""

    server = HTTPServer(("127.0.0.1", 0), Handler)

    def once() -> None:
        with server:
            server.handle_request()

    threading.Thread(target=once, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.usefixtures("hub")
def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refusal(HubUnreachable, f"http://127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.usefixtures("hub")
def test_somebody_listens_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refusal(HubUnreachable, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "in time" in error.what


@pytest.mark.usefixtures("hub")
def test_a_name_that_does_not_resolve() -> None:
    refusal(HubUnreachable, "http://hub.invalid")


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", "http://[::1"])
@pytest.mark.usefixtures("hub")
def test_an_endpoint_that_is_no_address(endpoint: str) -> None:
    assert "HF_ENDPOINT" in refusal(HubUnreachable, endpoint).todo


@pytest.mark.parametrize("kind", ["refuses", "is not there", "is not there, SOCKS"])
def test_a_proxy_that(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    # In a process of its own: the hub client reads proxies once.
    script = (
        "from localr1.models.hub import list_files\n"
        "from localr1.models.types import Variant\n"
        "from localr1.errors import HubUnreachable\n"
        "try:\n"
        "    list_files(Variant('Q', 'o/m', ('f',), 0, False), token='')\n"
        "except HubUnreachable as error:\n"
        "    print(error.what, error.todo)\n"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    proxy = hub.endpoint if kind == "refuses" else f"http://name:word@{nobody}"
    monkeypatch.setenv("HTTPS_PROXY", proxy.replace("http", "socks5") if "SOCKS" in kind else proxy)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "HTTPS_PROXY" in done.stdout
    assert (nobody in done.stdout) is (kind != "refuses")
    assert "word" not in done.stdout


def test_plain_http_where_tls_is_expected(hub: LoopbackHub) -> None:
    error = refusal(HubUnreachable, hub.endpoint.replace("http:", "https:"))
    assert "secure" in error.what


@pytest.mark.usefixtures("hub")
def test_a_certificate_nobody_vouches_for(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=refuse)
        thread.start()
        error = refusal(HubUnreachable, f"https://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(5)
    assert "certificate" in error.what
    assert "date and time" in error.todo


_AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = names
x509_extensions = more
[names]
commonName = supplied
[more]
subjectAltName = IP:127.0.0.1
basicConstraints = CA:TRUE
"""


@pytest.fixture
def tomorrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server whose certificate everybody trusts, but not before the year 2098."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    settings, key, request = (tmp_path / name for name in ("settings", "key.pem", "request"))
    certificate = tmp_path / "certificate.pem"
    settings.write_text(_AUTHORITY.format(folder=tmp_path))
    (tmp_path / "index").write_text("")
    asking = [openssl, "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    asking += ["-keyout", str(key), "-out", str(request)]
    signing = [openssl, "ca", "-batch", "-notext", "-selfsign", "-config", str(settings)]
    signing += ["-startdate", "20980101000000Z", "-enddate", "20990101000000Z"]
    signing += ["-keyfile", str(key), "-in", str(request), "-out", str(certificate)]
    for command in (asking, signing):
        subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    huggingface_hub.close_session()  # which reads the variable once
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # it is refused
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5)
    huggingface_hub.close_session()


def test_a_wrong_clock_is_told_when_the_hub_is_asked(tomorrow: str) -> None:
    assert_told_of_the_clock(refusal(HubUnreachable, tomorrow))


async def test_a_wrong_clock_is_told_when_the_bytes_come(tomorrow: str, tmp_path: Path) -> None:
    file = RemoteFile(REPOSITORY, NAME, "main", 1000, None, f"{tomorrow}/{NAME}")
    with pytest.raises(HubUnreachable) as caught:
        await fetch((file,), tmp_path)
    assert_told_of_the_clock(caught.value)


async def test_a_wrong_clock_is_told_when_the_storage_host_meets_it(
    hub: LoopbackHub, tomorrow: str, tmp_path: Path
) -> None:
    hub.link = lambda name, path: f"{tomorrow}/{name}/{path}"  # type: ignore[method-assign]
    with pytest.raises(HubUnreachable) as caught:
        await fetch(listed(hub), tmp_path)
    assert_told_of_the_clock(caught.value)
    assert tomorrow in caught.value.what


def assert_told_of_the_clock(error: LocalR1Error) -> None:
    assert time.strftime("%Y-%m-%d") in error.what
    assert "not yet valid" in error.why
    assert "date and time" in error.todo


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_offline_asks_nobody(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError) as caught:
        list_files(variant(), endpoint=hub.endpoint, token="", offline=how == "flag")
    assert caught.value.exit_code == 4
    assert hub.seen == []


def test_importing_costs_no_heavy_library() -> None:
    script = (
        "import sys, localr1.models.download, localr1.models.hub, localr1.models.library\n"
        "print([n for n in ('huggingface_hub', 'httpx2') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


SHARDS = [f"Q4/m-Q4_K_M-{n:05}-of-00012.gguf" for n in range(1, 13)]


def test_a_pattern_finds_all_shards_in_order() -> None:
    names = [*reversed(SHARDS), "Q4/notes.txt", "m-Q8_0.gguf"]
    assert expand(["Q4/*"], names, REPOSITORY) == tuple(SHARDS)
    assert expand(["*Q4_K_M*.gguf"], names, REPOSITORY) == tuple(SHARDS)


def test_a_pattern_that_means_two_things_is_refused() -> None:
    with pytest.raises(HubNotFound, match="several"):
        expand(["*Q4_K*.gguf"], ["m-Q4_K_M.gguf", "m-Q4_K_S.gguf"], REPOSITORY)


def test_a_missing_shard_is_named() -> None:
    with pytest.raises(HubNotFound, match="7"):
        expand(["Q4/*"], SHARDS[:6] + SHARDS[7:], REPOSITORY)


def test_given_files_keep_their_order() -> None:
    assert expand(SHARDS, set(SHARDS), REPOSITORY) == tuple(SHARDS)
