"""The table of GGML types against llama.cpp itself."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.gguf.quantization import (
    BLOCK_SIZES,
    FILE_TYPES,
    TYPE_NAMES,
    file_type_name,
    row_bytes,
)


def ggml() -> ctypes.CDLL:
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "lib"
    names = ("libggml-base.so", "libggml-base.dylib", "ggml-base.dll")
    library = next(folder / name for name in names if (folder / name).exists())
    loaded = ctypes.CDLL(str(library))
    loaded.ggml_type_size.restype = ctypes.c_size_t
    loaded.ggml_blck_size.restype = ctypes.c_int64
    loaded.ggml_type_name.restype = ctypes.c_char_p
    return loaded


def test_block_sizes_are_those_of_the_engine() -> None:
    engine = ggml()
    for name, block in BLOCK_SIZES.items():
        assert engine.ggml_blck_size(block.type_id) == block.elements, name
        assert engine.ggml_type_size(block.type_id) == block.size_bytes, name
        assert engine.ggml_type_name(block.type_id).decode().upper() == name


def test_no_type_of_the_engine_is_missing() -> None:
    engine = ggml()
    known = {number for number in range(43) if engine.ggml_type_size(number)}
    assert known == set(TYPE_NAMES)


def test_file_types_are_those_of_the_gguf_package() -> None:
    import gguf

    for file_type in gguf.LlamaFileType:
        if file_type != gguf.LlamaFileType.GUESSED:
            name = file_type.name.removeprefix("MOSTLY_").removeprefix("ALL_")
            assert FILE_TYPES[file_type] == name


@pytest.mark.parametrize(
    ("type_name", "elements", "expected"),
    [
        ("f16", 1024, 2048),
        ("F32", 3, 12),
        ("q8_0", 1024, 1088),
        ("q4_0", 1024, 576),
        ("Q4_K", 512, 288),
        ("bf16", 0, 0),
        ("Q6_K", 0, 0),
    ],
)
def test_row_bytes(type_name: str, elements: int, expected: int) -> None:
    assert row_bytes(type_name, elements) == expected


@pytest.mark.parametrize(("type_name", "elements"), [("Q5_9", 32), ("q8_0", 33), ("f16", -1)])
def test_row_bytes_refuses_what_no_row_can_be(type_name: str, elements: int) -> None:
    with pytest.raises(ValueError, match=type_name):
        row_bytes(type_name, elements)


@given(st.sampled_from(sorted(BLOCK_SIZES)), st.integers(0, 10_000), st.integers(0, 10_000))
def test_rows_add_up(type_name: str, first: int, second: int) -> None:
    block = BLOCK_SIZES[type_name].elements
    together = row_bytes(type_name, (first + second) * block)
    assert together == row_bytes(type_name, first * block) + row_bytes(type_name, second * block)


def test_file_type_names() -> None:
    assert file_type_name(15) == "Q4_K_M"
    assert file_type_name(1024 + 15) == "Q4_K_M"
    assert file_type_name(999) is None
