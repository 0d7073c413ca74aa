"""When a worker counts as hung, and how its bytes become lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import question

from localr1.engine import codec, protocol
from localr1.engine.watch import Hang, Limits, LineSplitter, Watch

LIMITS = Limits()
READY = protocol.Ready(protocol.PROTOCOL_VERSION)
ASKED = question(request_id=1)
SAID = protocol.Text(1, "thinking", "a", 1, 0.1)
ENDED = protocol.Generated(1, "cancelled", 1, 0, 1, 0, 0.1, 0.1, 0.1, 0.1, 0.2, 2)


class Clock:
    """A watch that is looked at every second, as the client does."""

    def __init__(self, *, ready: bool = True) -> None:
        self.now_seconds = 0.0
        self.watch = Watch(LIMITS, 0.0)
        if ready:
            self.watch.received(READY)

    def wait(
        self,
        seconds: float,
        *,
        event: protocol.Event | None = None,
        unread_bytes: int = 0,
        step_seconds: float = 1.0,
    ) -> tuple[float, Hang] | None:
        """Look on for so long, an event before each look; the first hang and when it came."""
        end = self.now_seconds + seconds
        while self.now_seconds < end:
            self.now_seconds += step_seconds
            if event is not None:
                self.watch.received(event)
            hang = self.watch.look(self.now_seconds, unread_bytes)
            if hang is not None:
                return self.now_seconds, hang
        return None


def test_a_worker_that_gives_signs_of_life_is_left_alone_however_long_it_takes() -> None:
    clock = Clock()
    clock.watch.sent(ASKED)
    assert clock.wait(100_000, event=protocol.Alive(), step_seconds=1.5) is None


def test_silence_is_a_hang_after_its_limit() -> None:
    clock = Clock()
    assert clock.wait(10, event=SAID) is None
    found = clock.wait(100)
    assert found is not None
    when, hang = found
    assert when == 10 + LIMITS.silence_seconds
    assert hang.what == "The engine did not answer for 30 seconds."


def test_one_that_does_not_start_is_told_apart() -> None:
    clock = Clock(ready=False)
    found = clock.wait(1000, event=protocol.Alive())
    assert found is not None
    assert found[0] == LIMITS.start_seconds
    assert "did not start" in found[1].what


@given(
    st.lists(
        st.tuples(st.floats(0, 25), st.floats(3.1, 1e6)),  # silent seconds awake, then asleep
        min_size=1,
        max_size=6,
    )
)
def test_sleep_is_not_silence(naps: list[tuple[float, float]]) -> None:
    clock = Clock()
    clock.watch.sent(ASKED)
    for awake_seconds, asleep_seconds in naps:
        assert clock.wait(awake_seconds) is None
        assert clock.wait(asleep_seconds, step_seconds=asleep_seconds) is None
    found = clock.wait(1000)
    assert found is not None
    assert "did not answer" in found[1].what


@given(st.floats(0.0, 4.0))
def test_a_stopped_reply_has_a_shorter_silence(before_seconds: float) -> None:
    clock = Clock()
    clock.watch.sent(ASKED)
    assert clock.wait(before_seconds, event=SAID) is None
    stopped_at = clock.now_seconds
    clock.watch.sent(protocol.Stop(0, 1))
    found = clock.wait(100)
    assert found is not None
    assert LIMITS.stop_seconds <= found[0] - stopped_at <= LIMITS.stop_seconds + 2
    assert "did not stop" in found[1].what


def test_a_slow_stop_is_no_hang_while_there_are_signs_of_life() -> None:
    clock = Clock()
    clock.watch.sent(ASKED)
    clock.watch.sent(protocol.Stop(0, 1))
    assert clock.wait(25, event=protocol.Alive()) is None
    clock.watch.received(ENDED)
    assert clock.wait(1000, event=protocol.Alive()) is None


def test_a_stop_without_end_is_a_hang_in_the_long_run() -> None:
    clock = Clock()
    clock.watch.sent(ASKED)
    clock.watch.sent(protocol.Stop(0, 1))
    found = clock.wait(1000, event=protocol.Alive())
    assert found is not None
    assert LIMITS.silence_seconds <= found[0] <= LIMITS.silence_seconds + 2


def test_a_stop_that_comes_after_the_end_waits_for_nothing() -> None:
    clock = Clock()
    clock.watch.sent(ASKED)
    clock.watch.received(ENDED)
    clock.watch.sent(protocol.Stop(0, 1))
    assert clock.wait(1000, event=protocol.Alive()) is None


def test_a_stopped_reply_that_waits_for_another_is_not_late() -> None:
    clock = Clock()
    clock.watch.sent(protocol.SaveState(7, "state"))
    clock.watch.sent(ASKED)
    clock.watch.sent(protocol.Stop(0, 1))
    assert clock.wait(1000, event=protocol.Alive()) is None
    clock.watch.received(protocol.StateSaved(7, 1, 1, 1.0))
    assert clock.wait(1000, event=protocol.Alive()) is not None


def test_devices_must_be_named_in_time_and_a_load_may_take_as_long_as_it_likes() -> None:
    clock = Clock()
    clock.watch.sent(protocol.Load(1, "m", 512, "f16", 0, 0, (), (), True, 512, 1))
    assert clock.wait(10_000, event=protocol.Alive()) is None
    clock = Clock()
    clock.watch.sent(protocol.Probe(1))
    found = clock.wait(10_000, event=protocol.Alive())
    assert found is not None
    assert "devices" in found[1].what


def test_requests_that_nobody_takes_are_a_hang_even_with_signs_of_life() -> None:
    clock = Clock()
    assert clock.wait(20, event=protocol.Alive(), unread_bytes=100) is None
    assert clock.wait(20, event=protocol.Alive(), unread_bytes=60) is None
    found = clock.wait(100, event=protocol.Alive(), unread_bytes=60)
    assert found is not None
    assert "took no message" in found[1].what


@pytest.mark.parametrize("limits", [LIMITS, Limits(5, 2, 1.2, 0.5), Limits(1, 1, 1, 1)])
def test_it_is_looked_often_enough_and_not_more_than_every_tenth_of_a_second(
    limits: Limits,
) -> None:
    shortest = min(limits.start_seconds, limits.silence_seconds, limits.stop_seconds)
    assert 0.1 <= limits.look_seconds <= min(1.0, shortest / 4)


def test_with_a_look_each_second_the_limits_are_what_users_read() -> None:
    assert LIMITS.look_seconds == 1.0


@given(st.lists(st.binary(max_size=30), max_size=8), st.data())
def test_lines_do_not_depend_on_how_bytes_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"\n".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    bounds = [0, *cuts, len(stream)]
    splitter = LineSplitter(12)
    lines = [
        line
        for a, b in zip(bounds, bounds[1:], strict=False)
        for line in splitter.feed(stream[a:b])
    ]
    whole = stream.split(b"\n")[:-1]
    assert len(lines) == len(whole)
    for line, expected in zip(lines, whole, strict=True):
        assert expected.endswith(line)
        assert len(line) >= min(len(expected), 12)


def test_of_a_line_without_end_only_the_last_bytes_are_kept() -> None:
    splitter = LineSplitter(1000)
    for _ in range(10_000):
        assert splitter.feed(b"x" * 900) == []
        assert sum(map(len, splitter._parts)) <= 1900
    line, following = splitter.feed(b"y" * 1000 + b"\nnext\n")
    assert line.endswith(b"y" * 1000)
    assert following == b"next"


@given(st.text())
def test_a_message_begins_in_one_place(text: str) -> None:
    line = codec.encode(protocol.Text(1, "answer", text + '{"message":"Alive"}', 1, 0.1))
    assert line.count(codec.BEGINNING) == 1
    assert line.startswith(codec.BEGINNING)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"message":' + b"[" * 100_000,
        b'{"message":"Alive","request_id":{}}',
        b'{"message":"Alive","request_id":true}',
        b'{"message":"Alive","request_id":"1"}',
        b'{"message":"Alive","request_id":' + b"1" * 10_000 + b"}",
    ],
)
def test_what_only_looks_like_a_message_is_refused(line: bytes) -> None:
    with pytest.raises(codec.ProtocolError):
        codec.decode(line)
