"""A model on a server: every way it may answer, and every way it may not, over real sockets."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path

import pytest
from commands import Run, localr1
from endpoint import Answer, Handler, Told, endpoint, models, says
from hypothesis import given
from hypothesis import strategies as st
from serving import served

from localr1.chat.session import ChatSession
from localr1.chat.store import Store
from localr1.chat.types import AnswerDelta, Event, Failed, Finished, GoOn, ThinkingDelta
from localr1.errors import ContextFull, EndpointError, LocalR1Error, UnknownModel, UsageError
from localr1.models import catalog
from localr1.remote.address import key_for, parse
from localr1.remote.client import RemoteEngine, find
from localr1.remote.conversation import Messages
from localr1.remote.events import EventReader
from localr1.remote.model import remote_model, where_it_goes
from localr1.remote.thinking import ThinkingFinder

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import demo_task

MARKED = "<think>\nhm, 2\n</think>\n\nTwo."


async def session_at(
    told: Told, store: Store | None = None, *, open_thinking: bool = False
) -> tuple[ChatSession, RemoteEngine]:
    found = await find(parse(told.address), "", None)
    engine = RemoteEngine(found, "", open_thinking=open_thinking)
    model = remote_model(found, catalog.load().models).model
    return ChatSession(engine, store, model, look_ahead=False, form=Messages()), engine


async def heard(session: ChatSession) -> tuple[str, str, Event | None]:
    """Thinking, answer and end."""
    thinking = answer = ""
    last: Event | None = None
    async with aclosing(session.send("1 + 1")) as events:
        async for event in events:
            last = event
            if isinstance(event, ThinkingDelta):
                thinking += event.text
            if isinstance(event, AnswerDelta):
                answer += event.text
    return thinking, answer, last


async def reply_of(told: Told, *, open_thinking: bool = False) -> tuple[str, str, Event | None]:
    session, engine = await session_at(told, open_thinking=open_thinking)
    try:
        return await heard(session)
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("pieces", "open_thinking"),
    [
        ([{"reasoning_content": "\nhm, 2\n"}, {"content": "Two."}], False),
        ([{"reasoning": "\nhm, "}, {"reasoning": "2\n"}, {"content": "Two."}], True),
        ([{"content": character} for character in MARKED], False),
        ([{"content": MARKED.removeprefix("<think>")}], True),
    ],
    ids=["reasoning_content", "reasoning", "marks", "mark opened by the template"],
)
async def test_thinking_in_every_form(pieces: list[dict[str, str]], *, open_thinking: bool) -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 7,
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    with endpoint(says(*pieces, usage=usage)) as told:
        thinking, answer, end = await reply_of(told, open_thinking=open_thinking)
    assert (thinking, answer) == ("\nhm, 2\n", "Two.")
    assert isinstance(end, Finished)
    assert (end.stats.prompt_tokens, end.stats.thinking_tokens, end.stats.answer_tokens) == (
        9,
        5,
        2,
    )
    (asked,) = told.asked
    assert asked["messages"] == [{"role": "user", "content": "1 + 1"}]
    assert asked["model"] == "r1"


@given(st.text("<think/>a\n", max_size=40), st.booleans(), st.data())
def test_cuts_do_not_change_what_is_thinking(
    text: str, open_thinking: bool, data: st.DataObject
) -> None:
    def told(pieces: list[str]) -> tuple[str, str]:
        finder = ThinkingFinder(open_thinking=open_thinking)
        found = [piece for part in pieces for piece in finder.feed(part)] + finder.end()
        return (
            "".join(text for part, text in found if part == "thinking"),
            "".join(text for part, text in found if part == "answer"),
        )

    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert told(pieces) == told([text])


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=20)), st.data())
def test_events_are_read_however_they_are_cut(texts: list[str], data: st.DataObject) -> None:
    lines = "".join(f": note\r\ndata: {text}\r\n\r\n" for text in texts).encode("utf-8", "replace")
    reader, found, at = EventReader(), [], 0
    while at < len(lines):
        step = data.draw(st.integers(1, len(lines)))
        found += list(reader.feed(lines[at : at + step]))
        at += step
    assert found == [text.encode("utf-8", "replace").decode() for text in texts]


def not_json(handler: Handler) -> None:
    handler.begin()
    handler.piece(content="Tw")
    handler.data("<html>")


def cut(handler: Handler) -> None:
    handler.begin()
    handler.piece(content="Tw")


def broken(handler: Handler) -> None:
    handler.begin()
    handler.piece(content="Tw")
    handler.data('{"error": {"message": "CUDA out of memory"}}')


def endless(handler: Handler) -> None:
    handler.begin()
    handler.piece(content="Tw")
    while True:
        handler.piece(content="o" * 10_000)


def endless_line(handler: Handler) -> None:
    handler.begin()
    handler.piece(content="Tw")
    while True:
        handler.wfile.write(b"o" * 100_000)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (not_json, "not JSON"),
        (cut, "in the middle"),
        (broken, "CUDA out of memory"),
        (endless, "does not end"),
        (endless_line, "does not end"),
    ],
)
async def test_a_fault_in_the_middle_keeps_what_came(reply: Answer, words: str) -> None:
    with endpoint(reply, models("r1", max_model_len=4096)) as told:
        _, answer, end = await reply_of(told)
    assert answer.startswith("Tw")
    assert isinstance(end, Failed)
    assert isinstance(end.error, EndpointError)
    assert words in str(end.error)


async def test_a_reply_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    replies = [cut, says({"content": "o."})]

    def one_after_another(handler: Handler) -> None:
        replies.pop(0)(handler)

    store = Store(tmp_path / "c.db")
    with endpoint(one_after_another) as told:
        session, engine = await session_at(told, store)
        _, _, end = await heard(session)
        assert isinstance(end, Failed)
        assert session.messages[-1].text == "Tw"
        _ = [event async for event in session.carry_out(GoOn())]
        await engine.close()
    assert session.messages[-1].text == "Two."
    assert told.asked[1]["messages"][-1] == {"role": "assistant", "content": "Tw"}
    assert told.asked[1]["continue_final_message"] is True
    assert session.conversation_id is not None
    assert store.conversation(session.conversation_id).messages[-1].text == "Two."
    store.close()


async def test_a_stop_leaves_the_server_at_once() -> None:
    left: list[float] = []
    gone = threading.Event()

    def writes(handler: Handler) -> None:
        handler.begin()
        try:
            for _ in range(500):
                handler.piece(content="word ")
                time.sleep(0.02)
        except OSError:
            left.append(time.monotonic())
            gone.set()
            raise

    with endpoint(writes) as told:
        session, engine = await session_at(told)
        stopped = 0.0
        async with aclosing(session.send("1 + 1")) as events:
            async for event in events:
                if isinstance(event, AnswerDelta) and not stopped:
                    stopped = time.monotonic()
                    await session.stop()
        assert isinstance(event, Finished)
        assert event.stats.finish_reason == "cancelled"
        await engine.close()
        await asyncio.wait_for(asyncio.to_thread(gone.wait), 10)
    assert left[0] - stopped < 1


def answers(body: bytes, status: int = 200, kind: str = "application/json") -> Answer:
    return lambda handler: handler.send(body, status, kind)


def redirects(handler: Handler) -> None:
    handler.send_response(307)
    handler.send_header("Location", "http://elsewhere.example/v1")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        (answers(b'{"error": {"message": "no such key"}}', 401), "LOCALR1_API_KEY"),
        (answers(b"<html>Hello</html>", 200, "text/html"), "does not speak"),
        (answers(b"nothing", 404, "text/plain"), "/v1"),
        (answers(b'{"data": 5}'), "does not speak"),
        (answers(b"[" * 100_000), "does not speak"),
        (answers(b"x" * (5 << 20)), "does not end"),
        (answers(b"oops", 500, "text/plain"), "failed (500)"),
        (redirects, "elsewhere.example"),
        (models("a", "b"), "a, b"),
        (models(), "0 models"),
    ],
    ids=range(10),
)
def test_servers_that_cannot_be_used(run: Run, listing: Answer, words: str) -> None:
    with endpoint(listing=listing) as told:
        code, out, said = run("ask", "--endpoint", told.address, "1 + 1")
    assert code in {1, 2}
    assert out == ""
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answers(b'{"error": "maximum context length is 4096"}', 400), "context window"),
        (answers(b'{"detail": "bad field"}', 422), "bad field"),
        (answers(b'{"choices": []}'), "does not stream"),
        (answers(b"busy", 429, "text/plain"), "in a moment"),
    ],
    ids=range(4),
)
async def test_replies_that_are_refused(reply: Answer, words: str) -> None:
    with endpoint(reply) as told:
        _, answer, end = await reply_of(told)
    assert answer == ""
    assert isinstance(end, Failed)
    assert isinstance(end.error, (ContextFull if "context" in words else EndpointError))
    assert words in str(end.error)


async def test_a_model_that_is_not_there() -> None:
    with endpoint(listing=models("a", "b")) as told:
        place = parse(told.address)
        assert (await find(place, "", "b")).name == "b"
        with pytest.raises(UnknownModel, match="a, b"):
            await find(place, "", "c")
        with pytest.raises(UnknownModel, match="a, b"):
            await find(place, "", None)


def test_a_certificate_that_nobody_signed(run: Run, tmp_path: Path) -> None:
    names = ("-subj", "/CN=127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "cert")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names)
    subprocess.run(made, check=True, capture_output=True)
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with endpoint(certificate=certificate) as told:
        code, _, said = run("ask", "--endpoint", told.address, "1 + 1")
    assert code == 1
    assert "is not trusted" in said
    assert "SSL_CERT_FILE" in said


def test_the_key_goes_to_the_server_and_nowhere_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOCALR1_API_KEY", "sk-very-secret")
    monkeypatch.setenv("LOCALR1_HOME", str(tmp_path))
    with endpoint() as told:
        code, out, said = run("ask", "--endpoint", told.address, "1 + 1")
    assert (code, out) == (0, "Hello.\n")
    assert told.keys == ["Bearer sk-very-secret"]
    assert "goes to 127.0.0.1:" in said
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"very-secret" not in kept
    assert "very-secret" not in said


@pytest.mark.parametrize("key", ["sk-ä", "a\nb", "a\tb"])
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(EndpointError, match="LOCALR1_API_KEY"):
        key_for(parse("http://x"), {"LOCALR1_API_KEY": key})


@pytest.mark.parametrize(
    "text",
    ["", "x", "ftp://x", "http://", "http://x:99999", "http://[::1", "http://x/?k=1",
     "https://user:very-secret@x/v1"],
)  # fmt: skip
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "very-secret" not in str(caught.value)


def test_addresses_are_told_truly() -> None:
    assert parse("http://[::1]:80/v1/chat/completions/").url == "http://[::1]:80/v1"
    assert "leaves" not in where_it_goes(parse("http://localhost:1/v1"))
    assert "unencrypted" in where_it_goes(parse("http://box.example/v1"))
    assert where_it_goes(parse("https://box.example/v1")).endswith("goes to box.example.")


def test_offline_refuses(run: Run) -> None:
    with endpoint() as told:
        code, _, said = run("ask", "--offline", "--endpoint", told.address, "1 + 1")
    assert code == 4
    assert "offline" in said
    assert (told.keys, told.asked) == ([], [])


def test_a_server_that_is_not_there(run: Run) -> None:
    code, _, said = run("ask", "--endpoint", "http://127.0.0.1:1/v1", "1 + 1")
    assert code == 1
    assert "cannot be reached" in said


def test_one_localr1_uses_another(tmp_path: Path) -> None:
    rng = random.Random(4)
    with served(tmp_path) as server:
        problem = demo_task.draw_problem(rng, held_out=True)
        done = localr1("ask", "--endpoint", server.root, "--json", demo_task.ask(problem, rng))
        value = json.loads(done.stdout)
        assert value["answer"] == demo_task.answer_of(problem)
        assert "So " in value["thinking"]
        assert value["thinking_tokens"] > 10
        none = localr1("ask", "--endpoint", server.root, "--thinking", "none", "8 + 9")
        assert none.stdout.startswith("I stopped thinking")


def test_errors_are_of_the_family() -> None:
    assert issubclass(EndpointError, LocalR1Error)
