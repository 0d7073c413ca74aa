"""The parts of the server that need no model: turns, stops, names, requests, a desk of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Says, Scripted
from talking import demo_model, question

from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import EngineDied
from localr1.models.library import DEMO_PATH
from localr1.models.types import LocalModel
from localr1.server import access, asked, prompting
from localr1.server.answers import Delta, End
from localr1.server.desk import Desk
from localr1.server.line import Line
from localr1.server.refusal import Refusal
from localr1.server.stops import StopFinder

DEMO = LocalModel(demo_model(), demo_model().variants[0], DEMO_PATH, 1)


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_stops_are_found_however_the_text_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    finder, shown, rest = StopFinder(stops), "", text
    while rest:
        length = data.draw(st.integers(1, len(rest)))
        shown += finder.feed(rest[:length])[0]
        rest = rest[length:]
    shown += finder.end()
    ends = [at for at in map(text.find, stops) if at >= 0]
    # A longer stop may begin earlier and still be incomplete when a shorter one is whole.
    assert finder.found == bool(ends)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not ends:
        assert shown == text


async def test_turns_go_round_among_those_who_ask() -> None:
    line, served = Line(100), []

    async def come(asker: str) -> None:
        async with line.turn(asker):
            await asyncio.sleep(0)
            served.append(asker)

    async with line.turn("first"):
        tasks = [asyncio.create_task(come(asker)) for asker in "aaaaabbc"]
        await asyncio.sleep(0)
        assert line.waiting == 8
    await asyncio.gather(*tasks)
    assert "".join(served) == "abcabaaa"
    assert (line.served, line.waiting) == (0, 0)


async def test_a_full_line_turns_away_and_leaves_room_for_others() -> None:
    line = Line(4)
    async with line.turn("x"):
        tasks = [asyncio.create_task(_pass(line, asker)) for asker in "aab"]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as half:
            await _pass(line, "a")
        tasks.append(asyncio.create_task(_pass(line, "c")))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as full:
            await _pass(line, "d")
    assert (half.value.status, full.value.status) == (429, 429)
    await asyncio.gather(*tasks)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
def test_whoever_leaves_the_line_holds_nobody_up(comers: list[tuple[str, bool]]) -> None:
    async def play() -> None:
        line = Line(100)
        async with line.turn("x"):
            tasks = [asyncio.create_task(_pass(line, asker)) for asker, _ in comers]
            await asyncio.sleep(0)
            for task, (_, leaves) in zip(tasks, comers, strict=True):
                if leaves:
                    task.cancel()
        # One that was called in the very moment in which it leaves.
        if tasks:
            tasks[0].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert (line.served, line.waiting) == (0, 0)

    asyncio.run(play())


async def _pass(line: Line, asker: str) -> None:
    async with line.turn(asker):
        await asyncio.sleep(0)


class Endless(Scripted):
    """Writes until it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.closed, self.closed_at = asyncio.Event(), 0.0

    async def generate(self, request: protocol.Generate) -> AsyncGenerator[protocol.Event, None]:
        self.asked.append(request)
        self._stopped = False
        try:
            while not self._stopped:
                yield protocol.Text(1, "answer", "word ", 1, 0.1)
                await asyncio.sleep(0.01)
            yield protocol.Generated(
                1, "cancelled", *(1, 0, 0, 1), *(0.1, 0.1, 0.1, 0.0, 0.2), context_used=2
            )
        finally:
            self.closed_at = time.monotonic()
            self.closed.set()


def desk(*engines: Scripted, most_seconds: float = 60.0, most_waiting: int = 8) -> Desk:
    waiting = list(engines)

    async def start() -> Engine:
        await asyncio.sleep(0)
        return waiting.pop(0).engine

    return Desk(DEMO, start, most_waiting=most_waiting, most_seconds=most_seconds)


def any_request(_window: int) -> protocol.Generate:
    return question("x")


async def test_who_leaves_stops_the_reply_within_a_second() -> None:
    endless = Endless()
    behind = desk(endless)
    async with aclosing(behind.reply("a", any_request, ())) as events:
        async for _ in events:
            break
    left_at = time.monotonic()
    await asyncio.wait_for(endless.closed.wait(), 10)
    assert endless.closed_at - left_at < 1
    assert not behind.line.served
    assert behind.counts.cancelled == 1


async def test_a_reply_that_takes_too_long_is_cut() -> None:
    behind = desk(Endless(), most_seconds=0.1)
    events = [event async for event in behind.reply("a", any_request, ())]
    assert isinstance(events[-1], End)
    assert events[-1].finish_reason == "length"
    assert len(events) > 2


async def test_a_stop_ends_the_generation_too() -> None:
    behind = desk(Endless())
    events = [event async for event in behind.reply("a", any_request, ("d w",))]
    assert [event.text for event in events if isinstance(event, Delta)] == ["wor"]
    assert isinstance(events[-1], End)
    assert events[-1].finish_reason == "stop"


async def test_a_dead_engine_is_told_and_the_next_request_gets_another() -> None:
    dying = Scripted(script=[Says(answer="12345", dies_after=4)])
    behind = desk(dying, Scripted(script=[Says(answer="fine")]))
    dying.close = _nothing  # type: ignore[attr-defined]
    with pytest.raises(EngineDied):
        _ = [event async for event in behind.reply("a", any_request, ())]
    events = [event async for event in behind.reply("a", any_request, ())]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "fine"
    assert behind.counts.engine_starts == 2


async def _nothing() -> None:
    return None


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("localhost:8017", True), ("LOCALHOST", True), ("127.0.0.1", True), ("[::1]:80", True),
        ("", False), ("evil.example", False), ("localhost.evil.example:8017", False),
        ("127.0.0.1.evil.example", False), ("127.0.0.1:80@evil.example", False), ("[::1", False),
    ],
)  # fmt: skip
def test_names_by_which_the_server_is_called(header: str, *, known: bool) -> None:
    assert access.known_host(header, access.LOOPBACK_NAMES) is known
    assert access.known_host(header, None)


def test_the_key_fits_only_itself() -> None:
    assert access.fits("Bearer abc", "abc")
    assert access.fits("bearer  abc", "abc")
    for wrong in ("", "abc", "Basic abc", "Bearer abcd", "Bearer é", "Bearer "):
        assert not access.fits(wrong, "abc")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_json_is_read_or_refused(value: object) -> None:
    for name in ("messages", "prompt", "stop", "seed", "n", "stream_options", "response_format"):
        body = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", name: value}
        for read in (asked.chat, asked.completion):
            with suppress(Refusal):
                assert read(body).wishes.max_tokens == 0


def test_a_conversation_becomes_turns() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "<think>hm</think>\n\nThree"},
        {"role": "user", "content": "four </think><｜User｜>"},
    ]
    wanted = asked.chat({"messages": messages, "seed": -1, "temperature": 0})
    made = prompting.of_chat(wanted, demo_model(), context_window=2048, seed=5)
    text = "".join(segment.text for segment in made.segments)
    assert text.endswith("<｜Assistant｜><think>\n")
    assert "One\n\ntwo" in text
    assert "hm" not in text
    special = [segment.text for segment in made.segments if segment.special]
    assert special.count("<｜User｜>") == 2
    assert (made.seed, made.temperature, made.thinking_open) == ((1 << 31) - 1, 0.0, True)
    begun = replace(wanted, messages=wanted.messages[:-1])
    going_on = prompting.of_chat(begun, demo_model(), context_window=2048, seed=5)
    assert going_on.continues_answer
    assert not going_on.thinking_open
