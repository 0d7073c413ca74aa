"""Messages survive the pipe; anything else is refused by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.engine import protocol
from localr1.engine.codec import MESSAGES, ProtocolError, decode, encode
from localr1.engine.detokenizer import TextDecoder
from localr1.engine.protocol import Segment

_SEGMENT = st.builds(
    Segment,
    text=st.text(max_size=40),
    special=st.booleans(),
    tokens=st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple),
)


@given(st.lists(_SEGMENT, max_size=6).map(tuple), st.integers(0, 2**32 - 1), st.floats(0, 5))
def test_requests_round_trip(segments: tuple[Segment, ...], seed: int, temperature: float) -> None:
    request = protocol.Generate(7, segments, True, seed, temperature, 0.95, 64, 0.0, 12)
    line = encode(request)
    assert line.count(b"\n") == 1
    assert decode(line) == request


@given(st.lists(st.lists(_SEGMENT, min_size=1, max_size=3).map(tuple), max_size=4).map(tuple))
def test_nested_prompts_round_trip(prompts: tuple[tuple[Segment, ...], ...]) -> None:
    request = protocol.CountTokens(3, prompts)
    assert decode(encode(request)) == request


@given(st.text(), st.integers(0, 10**6))
def test_events_round_trip(text: str, tokens: int) -> None:
    event = protocol.Text(1, "answer", text, tokens, 0.5)
    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"hello",
        b"[]",
        b"{}",
        b'{"message":"Nope"}',
        b'{"message":"Stop"}',
        b"\xff\xfe",
        b"null",
    ],
)
def test_garbage_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(line: bytes) -> None:
    try:
        message = decode(line)
    except ProtocolError:
        return
    assert dataclasses.is_dataclass(message)


@given(st.text(), st.data())
def test_text_does_not_depend_on_how_bytes_are_cut(text: str, data: st.DataObject) -> None:
    encoded = text.encode("utf-8", "replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=8)))
    bounds = [0, *cuts, len(encoded)]
    decoder = TextDecoder()
    pieces = [decoder.feed(encoded[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    assert "".join(pieces) + decoder.flush() == encoded.decode("utf-8")


def test_bytes_that_are_no_text_do_not_stall_the_stream() -> None:
    decoder = TextDecoder()
    shown = [decoder.feed(piece) for piece in (b"a", b"\xff", b"b", b"\xe2\x82", b"c")]
    assert "".join(shown) == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_round_trips(kind: type[protocol.Request | protocol.Event]) -> None:
    samples: dict[str, Any] = {
        "str": "text", "int": 7, "float": 0.5, "bool": True, "int | None": None,
        "float | None": 1.5, "tuple[float, ...]": (0.5, 1.0), "tuple[str, ...]": ("a", "b"),
        "tuple[int, ...]": (1, 2), "tuple[Segment, ...]": (Segment("a"), Segment(tokens=(1,))),
        "tuple[tuple[Segment, ...], ...]": ((Segment("a"),),), "dict[str, int]": {"a": 1},
        "tuple[dict[str, Any], ...]": ({"name": "CPU"},),
    }  # fmt: skip
    values = {
        field.name: samples.get(str(field.type), "text") for field in dataclasses.fields(kind)
    }
    message = kind(**values)
    assert decode(encode(message)) == message
