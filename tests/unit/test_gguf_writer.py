"""Headers that we write are read back as they were meant, and llama.cpp's facts are all there."""

from __future__ import annotations

from pathlib import Path

import pytest

from localr1.errors import FileError
from localr1.gguf import architecture, header, recipe, writer
from localr1.gguf.file import recognise
from localr1.models import catalog
from localr1.models.types import Model

FAMILY = catalog.load().models


@pytest.mark.parametrize("model", FAMILY, ids=lambda m: m.id)
def test_a_header_says_what_the_model_is(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tensors = recipe.tensors(model.architecture, "Q4_K_M")
    writer.write_header(path, model.architecture, tensors)
    found = recognise(path)
    assert found.architecture == model.architecture
    assert header.read(path).tensors == tensors
    # A hole: the true length, and next to nothing of it on the disk.
    assert found.size_bytes > sum(tensor.size_bytes for tensor in tensors)
    assert path.stat().st_blocks * 512 < 1 << 20


def test_every_kind_of_value_comes_back(tmp_path: Path) -> None:
    model = next(m for m in FAMILY if m.demo)
    facts: dict[str, writer.Value] = writer.hyperparameters(model.architecture)
    facts |= {
        "a.flag": True,
        "a.number": 7,
        "a.large": 713_000_000_000,
        "a.negative": -3,
        "a.part": 0.5,
        "a.text": "Grüße",
        "a.numbers": (1, 2, 3),
        "a.parts": (0.5, 0.25),
        "a.none": (),
    }
    content = writer.header_bytes(model.architecture, (), facts)
    path = tmp_path / "facts.gguf"
    path.write_bytes(content)
    found = header.read(path).metadata
    # Fractions are kept in 32 bits.
    rounded = {k: pytest.approx(v) if isinstance(v, float) else v for k, v in facts.items()}
    assert {key: found[key] for key in facts} == rounded


def test_shards_become_one_file(tmp_path: Path) -> None:
    model = FAMILY[0]
    tensors = recipe.tensors(model.architecture, "Q8_0")
    halves = (tensors[:100], tensors[100:])
    # In files of their own both begin at 0.
    apart = [writer.packed(half) for half in halves]
    assert apart[1][0].offset_bytes == 0
    joined = writer.packed([*apart[0], *apart[1]])
    assert joined == tensors
    writer.write_header(tmp_path / "one.gguf", model.architecture, joined)
    read = header.read(tmp_path / "one.gguf")
    assert architecture.from_header(read) == model.architecture


def test_a_folder_that_is_not_there_is_our_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        writer.write_header(tmp_path / "none" / "model.gguf", FAMILY[0].architecture, ())
