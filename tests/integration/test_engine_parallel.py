"""Several replies at once: each as it would be alone, and none in the way of another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import demo_engine, question

from localr1.chat import template
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.engine.protocol import Load, Segment
from localr1.errors import ContextFull
from localr1.models.library import DEMO_PATH

_kept: list[Any] = []
SUMS = ("347 + 589", "12 - 30", "1234 + 4321", "99 + 1", "Which is larger, 5 or 17?", "808 + 707")


@dataclass
class Told:
    """What came of one request."""

    events: list[protocol.Event] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, protocol.Text))

    @property
    def end(self) -> protocol.Generated:
        last = self.events[-1]
        assert isinstance(last, protocol.Generated)
        return last

    @property
    def shown_tokens(self) -> int:
        return max((e.tokens for e in self.events if isinstance(e, protocol.Text)), default=0)


async def ask(engine: Engine, request: protocol.Generate, told: Told | None = None) -> Told:
    told = told or Told()
    async for event in engine.generate(request):
        told.events.append(event)
    return told


async def together(engine: Engine, *requests: protocol.Generate) -> list[Told]:
    return await asyncio.gather(*(ask(engine, request) for request in requests))


async def alone(engine: Engine, *requests: protocol.Generate) -> list[Told]:
    return [await ask(engine, request) for request in requests]


def endless(text: str, tokens: int) -> protocol.Generate:
    return question(text, max_tokens=tokens, ignore_end=True)


async def test_answers_are_those_of_an_engine_for_one(tmp_path: Path) -> None:
    """With limits of the thinking, a form of the answer, and more requests than places."""
    requests = [
        *map(question, SUMS),
        question("20 + 22", thinking_budget_tokens=7),
        question("7 + 8", grammar='root ::= "Yes" | "No"'),
        question("3 + 4", max_tokens=9),
    ]
    async with demo_engine(tmp_path) as engine:
        expected = await alone(engine, *requests)
    async with demo_engine(tmp_path, sequences=3) as engine:
        assert engine.context_window == 2048
        for _ in range(3):
            for told, wanted in zip(await together(engine, *requests), expected, strict=True):
                assert told.text == wanted.text
                assert told.end.answer_token_ids == wanted.end.answer_token_ids
                assert told.end.finish_reason == wanted.end.finish_reason
                assert told.end.thinking_tokens == wanted.end.thinking_tokens
                assert told.end.forced_tokens == wanted.end.forced_tokens


async def test_they_go_on_at_the_same_pace(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, sequences=3) as engine:
        runs = [Told(), Told(), Told()]
        behind: list[int] = []

        async def run(told: Told, text: str) -> None:
            await ask(engine, endless(text, 600), told)
            behind.extend(each.shown_tokens for each in runs if each is not told)

        await asyncio.gather(*map(run, runs, SUMS))
        assert [told.end.finish_reason for told in runs] == ["length"] * 3
        assert {told.end.sequence_id for told in runs} == {0, 1, 2}
        # Text comes four times a second, so what was shown lags.
        assert min(behind[:2]) > 100


async def test_who_is_stopped_stops_alone(tmp_path: Path) -> None:
    requests = [endless(text, 400) for text in SUMS[:3]]
    async with demo_engine(tmp_path) as engine:
        expected = await alone(engine, *requests)
    async with demo_engine(tmp_path, sequences=3) as engine:
        for victim in range(3):
            stopped = Told()

            async def leave(told: Told, request: protocol.Generate) -> None:
                async for event in engine.generate(request):
                    told.events.append(event)
                    if isinstance(event, protocol.Text):
                        await engine.stop(event.request_id)

            runs = [
                leave(stopped, request) if index == victim else ask(engine, request)
                for index, request in enumerate(requests)
            ]
            told = await asyncio.gather(*runs)
            assert stopped.end.finish_reason == "cancelled"
            assert len(stopped.text) < len(expected[victim].text)
            assert expected[victim].text.startswith(stopped.text)
            for index, one in enumerate(told):
                assert one is None or one.text == expected[index].text


async def test_the_thinking_of_one_is_ended_alone(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, sequences=2) as engine:
        other = asyncio.create_task(ask(engine, question(SUMS[2])))
        told = Told()
        async for event in engine.generate(question(SUMS[0])):
            if not told.events:
                await engine.end_thinking(event.request_id)
            told.events.append(event)
        assert [e.reason for e in told.events if isinstance(e, protocol.ThinkingEnded)] == ["user"]
        assert not [e for e in (await other).events if isinstance(e, protocol.ThinkingEnded)]
        assert "5555" in (await other).text


def talk(name: str, *said: str) -> tuple[Segment, ...]:
    """A conversation of somebody's own, which ends with a question."""
    markers = (template.USER, template.ASSISTANT)
    segments = [Segment(template.BOS, special=True), Segment(f"I am {name}. " * 12)]
    for index, text in enumerate(said):
        segments += [Segment(markers[index % 2], special=True), Segment(text)]
    return (*segments, Segment(template.ASSISTANT, special=True))


async def test_each_finds_its_own_beginning_computed(tmp_path: Path) -> None:
    names = ("Ada", "Bob", "Cyd")
    async with demo_engine(tmp_path, sequences=3) as engine:

        def turn(*said: str) -> list[protocol.Generate]:
            return [
                question(segments=talk(name, *said), thinking_open=False, max_tokens=30)
                for name in names
            ]

        first = await together(engine, *turn("1 + 1"))
        # In another order: it is not the place in the row that is found again.
        second = await together(engine, *turn("1 + 1", "2", "2 + 2")[::-1])
        for before, after in zip(first, second[::-1], strict=True):
            assert after.end.cached_tokens >= before.end.prompt_tokens
            assert after.end.sequence_id == before.end.sequence_id


async def test_a_beginning_that_another_has_is_taken_over(tmp_path: Path) -> None:
    common = (Segment(template.BOS, special=True), Segment("Be brief. " * 30))

    def request(text: str, **changes: Any) -> protocol.Generate:
        segments = (*common, *question(text).segments[1:])
        return question(segments=segments, **changes)

    async with demo_engine(tmp_path, sequences=2) as engine:
        shared = (await engine.count_tokens([common]))[0]
        running = asyncio.create_task(
            ask(engine, request(SUMS[0], max_tokens=500, ignore_end=True))
        )
        await asyncio.sleep(0.2)
        second = await ask(engine, request(SUMS[3]))
        assert second.end.cached_tokens >= shared
        first = await running
        assert first.end.sequence_id != second.end.sequence_id
    async with demo_engine(tmp_path) as engine:
        expected = await alone(
            engine, request(SUMS[0], max_tokens=500, ignore_end=True), request(SUMS[3])
        )
        assert [first.text, second.text] == [told.text for told in expected]


async def test_a_full_window_ends_its_own_reply_alone(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, 256, sequences=3) as engine:
        full, too_long, *fine = await asyncio.gather(
            ask(engine, endless(SUMS[0], 0)),
            ask(engine, question("1 + " * 300)),
            *(ask(engine, question(text)) for text in ("12 + 30", "7 + 8", "20 + 22")),
            return_exceptions=True,
        )
        assert isinstance(full, Told)
        assert (full.end.finish_reason, full.end.window_full) == ("length", True)
        assert full.end.prompt_tokens + full.end.answer_tokens + full.end.thinking_tokens == 256
        assert isinstance(too_long, ContextFull)
        answers = [told.text for told in fine if isinstance(told, Told)]
        assert [text[-2:] for text in answers] == ["42", "15", "42"]


async def test_other_work_goes_on_beside_replies(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, sequences=2) as engine:
        running = asyncio.create_task(ask(engine, endless(SUMS[0], 900)))
        await asyncio.sleep(0.1)
        assert (await engine.count_tokens([question("1 + 1").segments]))[0] > 3
        assert await engine.set_threads(1) == 1
        ahead = question("2 + 2" * 40).segments
        given_way = await engine.prefill(ahead)
        assert (given_way.done_tokens, given_way.total_tokens > 40) == (0, True)
        assert not running.done()
        await running
        done = await engine.prefill(ahead)
        assert done.done_tokens == done.total_tokens
        found = await ask(engine, question(segments=ahead))
        assert found.end.cached_tokens == done.total_tokens - 1


async def test_an_engine_that_is_closed_ends_what_runs(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, 16_384, sequences=2) as engine:
        runs = [asyncio.create_task(ask(engine, endless(text, 0))) for text in SUMS[:3]]
        await asyncio.sleep(0.2)
        await asyncio.wait_for(engine.close(), 5)
        await asyncio.gather(*runs, return_exceptions=True)
        assert not engine.alive


@pytest.fixture
def batcher() -> Iterator[Any]:
    """The worker's own classes, in this process: (Batcher, Wish, a model for two, its flag)."""
    from localr1.engine import native
    from localr1.engine.batch import Batcher, Wish
    from localr1.engine.model import Model

    log, abort = native.Log(), native.AbortFlag()
    load = Load(1, str(DEMO_PATH), 2048, "f16", 0, 0, (), (), True, 512, 1, sequences=2)
    model = Model(load, log, abort, on_progress=lambda _share: None, stopped=lambda: False)
    yield Batcher, Wish, model, abort
    # The library keeps the callback of the log; it must stay for as long as the process.
    _kept.extend((log, abort))


def test_a_long_prompt_does_not_hold_up_a_reply(batcher: Any) -> None:
    make, wish, model, _ = batcher
    slow = make(model.handles[0], model.batch_tokens, prompt_tps=40.0)
    prompt = wish(0, 0, [17] * 1000, 999)
    for position in range(10):
        step = wish(1, position, [17], 0)
        assert slow.compute([prompt, step])
        assert step.answered
        assert prompt.done == 31 * (position + 1)
    while not prompt.answered:
        assert slow.compute([prompt])
    assert prompt.row >= 0


def test_nothing_of_a_batch_that_was_ended_is_left(batcher: Any) -> None:
    from llama_cpp import llama_cpp as api

    make, wish, model, abort = batcher
    memory = api.llama_get_memory(model.handles[0])
    one = make(model.handles[0], model.batch_tokens, prompt_tps=1000.0)
    first, second = wish(0, 0, [17] * 40, 39), wish(1, 0, [18] * 30, 29)
    abort.raise_()
    assert not one.compute([first, second])
    assert (first.done, second.done) == (0, 0)
    assert [api.llama_memory_seq_pos_max(memory, number) for number in (0, 1)] == [-1, -1]
    abort.lower()
    assert one.compute([first, second])
    assert [api.llama_memory_seq_pos_max(memory, number) for number in (0, 1)] == [39, 29]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12), st.integers(1, 2048))
def test_places_go_first_to_those_who_want_few(wanted: list[int], room: int) -> None:
    from localr1.engine.batch import shares

    given_out = shares(wanted, room)
    assert sum(given_out) == min(sum(wanted), room)
    assert all(0 <= got <= want for got, want in zip(given_out, wanted, strict=True))
    short = [got for got, want in zip(given_out, wanted, strict=True) if got < want]
    if short:
        assert max(given_out) - min(short) <= 1
