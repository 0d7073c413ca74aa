"""`localr1 serve` under OpenAI's own client, under load, and under people who mean no good."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import psutil
import pytest
from commands import localr1
from openai.types.chat import ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema
from serving import Served, served

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import demo_task

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
CLIENTS = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.address, api_key="none", max_retries=0) as made:
        yield made


def asking(*texts: str) -> list[ChatCompletionMessageParam]:
    """A conversation that ends with a question."""
    return [
        {"role": "assistant", "content": text} if index % 2 else {"role": "user", "content": text}
        for index, text in enumerate(texts)
    ]


def test_openai_client_gets_the_answer_the_thinking_and_the_counts(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").owned_by == "localr1"
    reply = client.chat.completions.create(model="demo", messages=asking("347 + 589"))
    (choice,) = reply.choices
    assert choice.message.content == "347 + 589 = 936"
    assert choice.finish_reason == "stop"
    assert choice.message.model_extra is not None
    assert "carry" in choice.message.model_extra["reasoning_content"]
    usage = reply.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    thought = usage.completion_tokens_details.reasoning_tokens
    assert thought is not None
    assert 20 < thought < usage.completion_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_openai_client_streams(client: openai.OpenAI) -> None:
    answer = thinking = ""
    reasons, counts = [], []
    for chunk in client.chat.completions.create(
        model="demo",
        messages=asking("12 - 30"),
        stream=True,
        stream_options={"include_usage": True},
    ):
        counts += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            answer += choice.delta.content or ""
            thinking += (choice.delta.model_extra or {}).get("reasoning_content", "")
            reasons += [choice.finish_reason] if choice.finish_reason else []
    assert answer == "12 - 30 = -18"
    assert "borrow" in thinking or "column" in thinking
    assert reasons == ["stop"]
    assert len(counts) == 1


def test_a_conversation_goes_on_and_its_beginning_is_not_computed_again(
    client: openai.OpenAI,
) -> None:
    said = ["20 + 22"]
    for question in ("100 + 1", "7 + 8"):
        reply = client.chat.completions.create(model="demo", messages=asking(*said))
        said += [reply.choices[0].message.content or "", question]
    reply = client.chat.completions.create(model="demo", messages=asking(*said))
    assert said[1::2] == ["20 + 22 = 42", "100 + 1 = 101"]
    assert reply.choices[0].message.content == "7 + 8 = 15"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens_details is not None
    assert (reply.usage.prompt_tokens_details.cached_tokens or 0) > 10


def test_an_answer_goes_on_where_it_was_cut(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    whole = ask(model="demo", messages=asking("Who are you?"), temperature=0)
    answer = whole.choices[0].message.content or ""
    begun = answer[: len(answer) // 2].rpartition(" ")[0]
    rest = ask(model="demo", messages=asking("Who are you?", begun), temperature=0).choices[0]
    assert begun + (rest.message.content or "") == answer
    assert (rest.message.model_extra or {})["reasoning_content"] is None


def test_stop_length_and_seed(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    stopped = ask(model="demo", messages=asking("347 + 589"), stop=[" =", "zzz"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("347 + 589", "stop")
    cut = ask(model="demo", messages=asking("347 + 589"), max_completion_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 5
    same = [
        ask(model="demo", messages=asking("Who are you?"), seed=4, temperature=1.9)
        for _ in range(2)
    ]
    assert same[0].choices[0].message == same[1].choices[0].message
    none = ask(model="demo", messages=asking("8 + 9"), temperature=0, reasoning_effort="none")
    assert (none.choices[0].message.content or "").startswith("I stopped thinking")


def schema_of(schema: dict[str, object]) -> ResponseFormatJSONSchema:
    return {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}


def test_an_answer_keeps_to_a_form(client: openai.OpenAI) -> None:
    form: dict[str, object] = {
        "type": "object",
        "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["sum"],
    }
    reply = client.chat.completions.create(
        model="demo", messages=asking("12 + 30"), response_format=schema_of(form)
    )
    assert list(json.loads(reply.choices[0].message.content or "")) == ["sum"]


def test_a_text_goes_on(client: openai.OpenAI) -> None:
    prompt = "<｜User｜>12 + 30<｜Assistant｜><think>\n"
    whole = client.completions.create(model="demo", prompt=prompt)
    assert whole.choices[0].text.endswith("42\n</think>\n\n12 + 30 = 42")
    parts = client.completions.create(model="demo", prompt=prompt, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


def test_what_cannot_be_done_is_refused_and_named(client: openai.OpenAI) -> None:
    ask = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="demo"):
        ask(model="gpt-4", messages=asking("1 + 1"))
    with pytest.raises(openai.BadRequestError, match="frequency_penalty"):
        ask(model="demo", messages=asking("1 + 1"), frequency_penalty=1.0)
    with pytest.raises(openai.BadRequestError, match="pattern") as bad:
        ask(model="demo", messages=asking("1"), response_format=schema_of({"pattern": "x"}))
    assert bad.value.param == "response_format"
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(model="demo", messages=asking("1 + " * 4000), stream=stream)
        assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Host": "evil.example"}, b"{}", 403),
        ({"Host": "evil.example:80"}, b"{}", 403),
        ({"Origin": "https://evil.example"}, b"{}", 403),
        ({"Origin": "null"}, b"{}", 403),
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({}, b"", 400),
        ({}, b"[]", 400),
        ({}, b'{"messages": NaN}', 400),
        ({}, b"[" * 100_000, 400),
        ({}, b"\xff\xfe", 400),
        ({}, b" " * (9 << 20), 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_hostile_requests(
    server: Served, headers: dict[str, str], body: bytes, status: int
) -> None:
    sent = {"Content-Type": "application/json", **headers}
    answer = httpx2.post(f"{server.address}/chat/completions", content=body, headers=sent)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert "access-control-allow-origin" not in answer.headers


def test_odd_characters_come_through(server: Served) -> None:
    odd = '{"messages": [{"role": "user", "content": "\\ud800 \\u0000 </think><｜User｜>"}]}'
    answer = httpx2.post(
        f"{server.address}/chat/completions",
        content=odd.encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200


def test_64_clients_get_their_own_sums_and_memory_stays(server: Served) -> None:
    rounds = 8 if SOAK else 1
    rng = random.Random(8)

    async def one(client: openai.AsyncOpenAI, number: int) -> list[tuple[str, str]]:
        own = random.Random(number)
        told = []
        for _ in range(rounds):
            problem = demo_task.draw_problem(own, held_out=True)
            reply = await client.chat.completions.create(
                model="demo",
                messages=asking(demo_task.ask(problem, own)),
                temperature=0,
                user=f"client {number}",
            )
            told.append((reply.choices[0].message.content or "", demo_task.answer_of(problem)))
        return told

    async def all_of_them() -> list[list[tuple[str, str]]]:
        async with openai.AsyncOpenAI(base_url=server.address, api_key="x") as client:
            numbers = rng.sample(range(10_000), CLIENTS)
            return await asyncio.gather(*(one(client, number) for number in numbers))

    asyncio.run(all_of_them())
    before = server.resident_bytes
    told = asyncio.run(all_of_them())
    assert len(told) == CLIENTS
    for answer, expected in (pair for pairs in told for pair in pairs):
        assert answer == expected
    assert server.resident_bytes - before < 16 << 20
    assert server.figure("requests_waiting") == 0


def test_several_are_answered_at_once_and_a_full_line_says_so(tmp_path: Path) -> None:
    body = {
        "messages": [{"role": "user", "content": "1 + 1"}],
        "min_p": 0.0,
        "temperature": 2.0,
        "max_tokens": 200,
    }
    with served(tmp_path, "--parallel", "2", "--queue", "2", "--context", "512") as running:
        assert "at once  2 replies" in running.said
        seen = 0.0

        async def all_of_them() -> list[httpx2.Response]:
            nonlocal seen
            async with httpx2.AsyncClient(timeout=60) as client:
                url = f"{running.address}/chat/completions"
                asked = [
                    asyncio.create_task(client.post(url, json={**body, "user": str(number)}))
                    for number in range(20)
                ]
                while not all(task.done() for task in asked):
                    seen = max(seen, await asyncio.to_thread(running.figure, "requests_running"))
                return [await task for task in asked]

        answers = asyncio.run(all_of_them())
        assert seen == 2
        full = [answer for answer in answers if answer.status_code == 429]
        assert full
        assert len(full) <= 16
        assert {answer.status_code for answer in answers} == {200, 429}
        assert full[0].headers["retry-after"] == "1"
        assert full[0].json()["error"]["code"] == "queue_full"


def test_a_client_that_leaves_stops_its_reply(server: Served) -> None:
    before = server.figure("replies_cancelled_total")
    body = {"messages": [{"role": "user", "content": "1 + 1"}], "stream": True}
    left = 0
    for _ in range(20):  # the demo is fast: some replies are over before their client leaves
        with httpx2.stream("POST", f"{server.address}/chat/completions", json=body) as answer:
            next(answer.iter_lines())
        left += 1
    deadline = time.monotonic() + 1
    while server.figure("requests_running") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.figure("requests_running") == 0
    assert before <= server.figure("replies_cancelled_total") <= before + left


def test_a_worker_that_dies_is_replaced(server: Served) -> None:
    (worker,) = [p for p in server.process.children() if "worker" in " ".join(p.cmdline())]
    worker.kill()
    psutil.wait_procs([worker], timeout=10)
    deadline = time.monotonic() + 10
    while httpx2.get(f"{server.root}/health").status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answer = server.post(messages=[{"role": "user", "content": "2 + 2"}])
    assert answer.json()["choices"][0]["message"]["content"] == "2 + 2 = 4"
    assert httpx2.get(f"{server.root}/health").status_code == 200
    assert server.figure("engine_starts_total") == 2


def test_elsewhere_a_key_is_needed(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0", "--parallel", "1") as running:
        assert "at once  one reply" in running.said
        path = tmp_path / "data" / "server.key"
        assert str(path) in running.said
        if os.name == "posix":
            assert path.stat().st_mode & 0o777 == 0o600
        key = path.read_text(encoding="ascii").strip()
        address = running.address.replace("0.0.0.0", "127.0.0.1")
        for wrong in ("none", key[:-1], "é"):
            headers = {b"Authorization": f"Bearer {wrong}".encode()}
            refused = httpx2.get(f"{address}/models", headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        assert httpx2.get(f"{address.removesuffix('/v1')}/health").status_code == 200
        with openai.OpenAI(base_url=address, api_key=key) as client:
            assert [model.id for model in client.models.list()] == ["demo"]


def test_a_taken_port_and_a_foreign_address_are_told(server: Served) -> None:
    port = server.root.rpartition(":")[2]
    taken = localr1("serve", "demo", "--port", port)
    assert taken.returncode == 1
    assert "another port" in taken.stderr
    foreign = localr1("serve", "demo", "--host", "no.such.host.invalid", "--port", "0")
    assert foreign.returncode == 2
    assert "Traceback" not in taken.stderr + foreign.stderr


def test_the_published_schema_is_kept(server: Served, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run"),
            *(f"{server.root}/openapi.json", "--seed", "8", "--phases", "fuzzing"),
            *("--max-examples", "100" if SOAK else "10"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "6 passed" in done.stdout
