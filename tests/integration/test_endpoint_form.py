"""Answers of servers held to a JSON schema, keys from a keyring, and certificates of one's own."""

from __future__ import annotations

import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import Run
from endpoint import Answer, Handler, endpoint, says

SCHEMA = {
    "type": "object",
    "properties": {
        "sum": {"type": "integer"},
        "steps": {"type": "array", "items": {"type": "string"}},
        "sure": {"enum": ["yes", "no"]},
    },
    "required": ["sum"],
    "additionalProperties": False,
}


@pytest.fixture
def schema(tmp_path: Path) -> str:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return str(path)


def refuses(status: int, words: str) -> Answer:
    return lambda handler: handler.send(json.dumps({"error": {"message": words}}).encode(), status)


# --- a form for the answer ----------------------------------------------------------------------


def test_the_schema_goes_to_the_server(run: Run, schema: str) -> None:
    answer = '{"sum": 2, "steps": ["1 + 1"], "sure": "yes"}'
    with endpoint(says({"reasoning_content": "hm"}, {"content": answer})) as told:
        code, out, _ = run("ask", "--endpoint", told.address, "--schema", schema, "1 + 1")
    assert (code, out) == (0, answer + "\n")
    (asked,) = told.asked
    form = asked["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["schema"] == SCHEMA
    # A model that knows the form thinks about it.
    assert '"sum"' in asked["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "response_format is not supported"),
        (422, "Extra inputs are not permitted: json_schema"),
        (501, "guided decoding needs another backend"),
    ],
)
def test_a_server_that_takes_no_schema_is_named_with_what_to_do(
    run: Run, schema: str, status: int, words: str
) -> None:
    with endpoint(refuses(status, words)) as told:
        code, out, said = run("ask", "--endpoint", told.address, "--schema", schema, "1 + 1")
    assert (code, out) == (1, "")
    assert "does not hold answers to this JSON schema" in said
    assert words in said
    assert "leave --schema out" in said


def test_another_refusal_is_not_blamed_on_the_schema(run: Run, schema: str) -> None:
    for status, words in ((400, "maximum context length is 9"), (429, "busy"), (400, "no")):
        with endpoint(refuses(status, words)) as told:
            _, _, said = run("ask", "--endpoint", told.address, "--schema", schema, "1 + 1")
        assert words in said or status == 429
        assert "JSON schema" not in said


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Two.", "it is not JSON"),
        ("[" * 5000, "it is not JSON"),
        ("[2]", "the answer is no object"),
        ("{}", "the answer lacks sum"),
        ('{"sum": "2"}', "sum is no integer"),
        ('{"sum": true}', "sum is no integer"),
        ('{"sum": 2, "steps": ["a", 1]}', "entry 2 is no string"),
        ('{"sum": 2, "sure": "perhaps"}', "sure is"),
        ('{"sum": 2, "more": 1}', "more should not be there"),
    ],
)
def test_a_server_that_does_not_care_is_found_out(
    run: Run, schema: str, answer: str, why: str
) -> None:
    with endpoint(says({"content": answer})) as told:
        code, out, said = run("ask", "--endpoint", told.address, "--schema", schema, "1 + 1")
    assert (code, out) == (1, answer + "\n")  # what came is not hidden
    assert why in said
    assert "leave --schema out" in said


# --- what else may go wrong ---------------------------------------------------------------------


def test_ask_keeps_what_came_before_a_fault(run: Run) -> None:
    def cut(handler: Handler) -> None:
        handler.begin()
        handler.piece(content="Tw")

    with endpoint(cut) as told:
        code, out, said = run("ask", "--endpoint", told.address, "1 + 1")
    assert (code, out) == (1, "Tw\n")
    assert "in the middle of the reply" in said


def test_a_model_that_is_not_there_any_more(run: Run) -> None:
    with endpoint(refuses(404, "The model `r1` does not exist.")) as told:
        code, _, said = run("ask", "--endpoint", told.address, "1 + 1")
    assert code == 1
    assert "The model `r1` does not exist." in said
    assert "--model" in said
    assert "does not speak" not in said


def test_a_server_without_tls(run: Run) -> None:
    with endpoint() as told:
        address = told.address.replace("http://", "https://")
        code, _, said = run("ask", "--endpoint", address, "1 + 1")
    assert code == 1
    assert "does not speak TLS" in said
    assert "http://" in said


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's certificate that it signed itself, for one address."""
    made = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", "/CN=box", "-addext", f"subjectAltName=IP:{name}"),
        *("-keyout", str(folder / "key"), "-out", str(folder / "cert")),
    ]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context, folder / "cert"


def test_a_certificate_of_ones_own_is_trusted_as_the_error_says(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, good in (("127.0.0.1", True), ("10.1.2.3", False)):
        context, path = certificate(tmp_path, name)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with endpoint(certificate=context) as told:
            code, out, said = run("ask", "--endpoint", told.address, "1 + 1")
        assert (code, out) == ((0, "Hello.\n") if good else (1, "")), said
        assert good or "mismatch" in said


def test_the_key_comes_from_the_keyring(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keyring = pytest.importorskip("keyring", reason="NOT TESTED: keyring is not installed")
    from keyring.backend import KeyringBackend
    from keyring.errors import KeyringLocked

    class Memory(KeyringBackend):
        priority = 1
        locked = False

        def get_password(self, service: str, username: str) -> str | None:
            if self.locked:
                raise KeyringLocked("it is locked")
            return f"sk-of-{username}" if service == "localr1" else None

        def set_password(self, *_: str) -> None:
            raise AssertionError("localr1 writes no key")

    made: Any = Memory  # its making is untyped
    backend, before = made(), keyring.get_keyring()
    monkeypatch.delenv("LOCALR1_API_KEY", raising=False)
    monkeypatch.setenv("LOCALR1_HOME", str(tmp_path))
    keyring.set_keyring(backend)
    try:
        with endpoint() as told:
            host = told.address.removeprefix("http://").partition("/")[0]
            code, out, said = run("ask", "--endpoint", told.address, "1 + 1")
            assert (code, out) == (0, "Hello.\n"), said
            assert told.keys == [f"Bearer sk-of-{host}"]
            backend.locked = True
            code, _, said = run("ask", "--endpoint", told.address, "1 + 1")
            assert code == 1
            assert "it is locked" in said
            assert "LOCALR1_API_KEY" in said
            assert len(told.keys) == 1
    finally:
        keyring.set_keyring(before)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sk-of-" not in kept
