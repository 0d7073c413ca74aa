"""Reading headers: right for good files, an error and nothing else for any other bytes."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import pytest
import synthetic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localr1.errors import FileError, GgufError
from localr1.gguf import header
from localr1.gguf.header import ArrayLength
from localr1.gguf.types import Header

UINT8, UINT32, STRING, ARRAY = 0, 4, 8, 9
F32, Q4_K = 0, 12
HUGE = 2**62


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    synthetic.write_tiny(path, layers=1, embedding_length=32, feed_forward_length=32)
    return path.read_bytes()


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def tensor(name: str, shape: tuple[int, ...], kind: int = F32, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


def build(
    *parts: bytes, pairs: int = 0, tensors: int = 0, version: int = 3, data: int = 4096
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)
    return head + b"".join(parts) + bytes(data)


def read(raw: bytes, *, header_only: bool = False) -> Header:
    return header.read_stream(io.BytesIO(raw), len(raw), label="it", header_only=header_only)


def test_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "tiny.gguf"
    synthetic.write_tiny(path)
    ours = header.read(path, keep=("tokenizer.ggml.tokens",))
    theirs = gguf.GGUFReader(path)
    keys = {key for key in theirs.fields if not key.startswith("GGUF.")}
    assert set(ours.metadata) == keys
    for key in keys:
        value = theirs.fields[key].contents()
        assert ours.metadata[key] == (tuple(value) if isinstance(value, list) else value), key
    assert ours.data_offset_bytes == theirs.data_offset
    assert [
        (t.name, t.shape, t.quantization, t.size_bytes, ours.data_offset_bytes + t.offset_bytes)
        for t in ours.tensors
    ] == [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, t.n_bytes, t.data_offset)
        for t in theirs.tensors
    ]
    assert ours.file_bytes == path.stat().st_size


def test_version_2_is_read(small: bytes) -> None:
    old = small[:4] + struct.pack("<I", 2) + small[8:]
    assert read(old).version == 2
    assert read(old).tensors == read(small).tensors


def test_long_arrays_are_kept_as_their_length(tmp_path: Path) -> None:
    path = tmp_path / "many.gguf"
    synthetic.write_tiny(path, vocabulary_size=5000)
    key = "tokenizer.ggml.tokens"
    skipped = header.read(path)
    assert skipped.metadata[key] == ArrayLength(5000)
    assert header.array_length(skipped, key) == 5000
    assert header.array_length(skipped, "tokenizer.ggml.merges") == 1
    assert header.array_length(skipped, "general.name") is None
    kept = header.read(path, keep=(key,))
    assert kept.metadata[key] == tuple(synthetic.vocabulary(5000)[0])
    assert kept.tensors == skipped.tensors
    types = header.read(path, keep=("tokenizer.ggml.token_type",))
    assert types.metadata["tokenizer.ggml.token_type"] == tuple(synthetic.vocabulary(5000)[1])


def test_strings_longer_than_a_window_are_skipped() -> None:
    long = [text("x" * size) for size in (3 * 2**20, 5, 2**20 - 8, 0)] + [text("a")] * 2000
    raw = build(
        pair("long", ARRAY, struct.pack("<IQ", STRING, len(long)) + b"".join(long)),
        pair("after", UINT8, b"\x07"),
        pairs=2,
    )
    assert read(raw).metadata == {"long": ArrayLength(2004), "after": 7}


def test_a_header_alone_is_enough_when_asked(small: bytes) -> None:
    start = read(small).data_offset_bytes
    assert read(small[:start], header_only=True).tensors == read(small).tensors
    with pytest.raises(GgufError, match="cut short") as caught:
        read(small[:-1])
    assert str(len(small) - 1) in caught.value.why
    assert "localr1 pull" in caught.value.todo


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_is_a_gguf_error(small: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(small) - 1))
    with pytest.raises(GgufError):
        read(small[:length])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_give_a_header_or_a_gguf_error(small: bytes, data: st.DataObject) -> None:
    start = read(small).data_offset_bytes
    raw = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, start - 1))] = data.draw(st.integers(0, 255))
    explained = True
    tracemalloc.start()
    try:
        assert isinstance(read(bytes(raw)), Header)
    except GgufError as error:
        explained = all((error.what, error.why, error.todo))
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert explained
    assert peak < 10 * len(small) + 2**20


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic_are_a_gguf_error_or_a_header(raw: bytes) -> None:
    for version in (2, 3):
        try:
            read(b"GGUF" + struct.pack("<I", version) + raw)
        except GgufError:
            continue


NESTED = pair("a", ARRAY, struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", ARRAY, 1) * 50)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "ends after 0 bytes"),
        (b"GG", "ends after 2 bytes"),
        (b"PK\x03\x04" + bytes(100), "starts with"),
        (build(version=1), "version is 1"),
        (build(version=0), "version is 0"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(50), "big-endian"),
        (build(pairs=HUGE), "more than its"),
        (build(tensors=HUGE), "more than its"),
        (build(pairs=1), "empty or double"),
        (build(tensors=1), "empty or double"),
        (build(pair("a", 99, b""), pairs=1), "unknown type 99"),
        (build(struct.pack("<Q", HUGE), pairs=1), "ends after"),
        (build(pair("a", STRING, struct.pack("<Q", HUGE)), pairs=1), "ends after"),
        (build(struct.pack("<Q", 70_000), pairs=1, data=100_000), "70000 bytes long"),
        (build(pair("a", UINT8, b"1") * 2, pairs=2), "empty or double"),
        (build(pair("a", ARRAY, struct.pack("<IQ", STRING, HUGE)), pairs=1), "more than the rest"),
        (build(pair("a", ARRAY, struct.pack("<IQ", UINT8, HUGE)), pairs=1), "ends after"),
        (build(pair("a", ARRAY, struct.pack("<IQ", 77, 1)), pairs=1), "unknown type 77"),
        (
            build(
                pair("a", ARRAY, struct.pack("<IQ", STRING, 2000) + bytes(15_992)),
                struct.pack("<Q", HUGE),
                pairs=1,
            ),
            "ends after",
        ),
        (build(NESTED, pairs=1), "array of arrays"),
        (
            build(pair("general.alignment", UINT32, struct.pack("<I", 24)), pairs=1),
            "not a power of two",
        ),
        (
            build(pair("general.alignment", UINT32, struct.pack("<I", 0)), pairs=1),
            "not a power of two",
        ),
        (build(pair("general.alignment", STRING, text("32")), pairs=1), "not a power of two"),
        (build(tensor("a", (1,) * 5), tensors=1), "5 dimensions"),
        (build(tensor("a", ()), tensors=1), "0 dimensions"),
        (build(tensor("a", (8,), kind=4), tensors=1), "unknown type 4"),
        (build(tensor("a", (2**40, 2**40)), tensors=1), "impossible shape"),
        (build(tensor("a", (0, 2**63)), tensors=1), "impossible shape"),
        (build(tensor("a", (100,), Q4_K), tensors=1), "whole blocks"),
        (build(tensor("a" * 65, (8,)), tensors=1), "65 bytes long"),
        (build(tensor("a", (8,)), tensor("a", (8,), offset=32), tensors=2), "empty or double"),
        (build(tensor("a", (8,), offset=8), tensors=1), "not aligned"),
        (build(tensor("a", (16,)), tensor("b", (8,), offset=32), tensors=2), "overlap"),
        (build(tensor("a", (8,), offset=2**40), tensors=1), "Its tensors need"),
        (build(tensor("a", (2**40,)), tensors=1), "Its tensors need"),
    ],
)
def test_hostile_headers(raw: bytes, why: str) -> None:
    with pytest.raises(GgufError, match=why) as caught:
        read(raw)
    assert caught.value.what.startswith("it is ")
    assert caught.value.todo


class EndlessZeros:
    """A file of a terabyte, all zeros after its first bytes, that refuses to be read whole."""

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.at = 0

    def seek(self, offset: int, /) -> None:
        self.at = offset

    def read(self, size: int, /) -> bytes:
        assert 0 <= size <= 2**26
        chunk = self.start[self.at : self.at + size]
        self.at += size
        return chunk + bytes(size - len(chunk))


@pytest.mark.parametrize(
    "raw",
    [
        build(pairs=2**30, data=0),
        build(tensors=2**30, data=0),
        build(pair("a", STRING, struct.pack("<Q", 2**38)), pairs=1, data=0),
        build(pair("a", ARRAY, struct.pack("<IQ", STRING, 2**34)), pairs=1, data=0),
        build(pair("kept", ARRAY, struct.pack("<IQ", STRING, 2**34)), pairs=1, data=0),
    ],
)
def test_a_huge_sparse_file_does_not_make_a_huge_header(raw: bytes) -> None:
    with pytest.raises(GgufError):
        header.read_stream(EndlessZeros(raw), 2**40, label="it", keep=("kept",))


def test_a_kept_array_of_numbers_has_a_limit() -> None:
    raw = build(pair("kept", ARRAY, struct.pack("<IQ", UINT8, 2**38)), pairs=1, data=0)
    read_back = header.read_stream(EndlessZeros(raw), 2**40, label="it", keep=("kept",))
    assert read_back.metadata["kept"] == ArrayLength(2**38)


def test_a_file_that_shrinks_while_read_is_a_gguf_error(small: bytes) -> None:
    with pytest.raises(GgufError, match="ends after"):
        header.read_stream(io.BytesIO(small[:300]), len(small), label="it")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        header.read(tmp_path / "none.gguf")
    with pytest.raises(FileError, match="is not a file") as caught:
        header.read(tmp_path)
    assert not isinstance(caught.value, GgufError)
    with pytest.raises(FileError):
        header.read(Path("zero\0character.gguf"))
    with pytest.raises(FileError):
        header.read(tmp_path / ("long" * 200))


def test_a_file_without_read_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bytes
) -> None:
    path = tmp_path / "closed.gguf"
    path.write_bytes(small)

    # Root may read everything, so the refusal itself is played.
    def refuse(*_args: object, **_keywords: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FileError, match="may not be read") as caught:
        header.read(path)
    assert caught.value.why == "Permission denied"
