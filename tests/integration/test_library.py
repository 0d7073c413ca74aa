"""What is on the disk: complete, partial, damaged, removed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
from downloading import (
    NAME,
    REPOSITORY,
    content,
    fetch,
    fetch_until,
    listed,
    names_in,
    size_of,
    variant,
)
from loopback_hub import LoopbackHub

from localr1.errors import FileError
from localr1.gguf.types import Architecture
from localr1.models.library import DEMO_PATH, Library
from localr1.models.place import free_bytes, read_sidecar, sidecar_path
from localr1.models.types import Choice, Model, Sampling, ThinkingTokens, Variant

MIB = 1 << 20
SHARDS = [f"big-Q8_0-{n:05}-of-00002.gguf" for n in (1, 2)]
SMALL = variant()
BIG = dataclasses.replace(variant("big-Q8_0-*.gguf"), quantization="Q8_0")


@dataclass(frozen=True)
class Shelf:
    """The one thing of a catalogue that the library asks for."""

    models: tuple[Model, ...]


def model(identifier: str, *variants: Variant, demo: bool = False) -> Model:
    return Model(
        id=identifier,
        name=identifier,
        architecture=Architecture("qwen2", 1, 8, 8, 1, 1, 8, 8, 16, 32, 100),
        variants=variants,
        license="MIT",
        base_license="MIT",
        released="2025-01-20",
        source="owner/model",
        force_think=True,
        system_prompt=False,
        sampling=Sampling(),
        kv_cache_types=("f16",),
        thinking_tokens=ThinkingTokens(1, 2, assumed=True, source=""),
        demo=demo,
    )


MODEL = model("model", BIG, SMALL)
DEMO = model("demo", Variant("F16", "", ("demo.gguf",), 0, False), demo=True)
SHELF = Shelf((MODEL, DEMO))


def gguf_bytes(path: Path) -> bytes:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("Tiny")
    writer.add_tensor("token_embd.weight", np.zeros((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    path = tmp_path / "demo.gguf"
    gguf_bytes(path)
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def library(models: Path, demo: Path) -> Library:
    return Library(models, demo)


@pytest.fixture
def hub(hub: LoopbackHub, demo: Path) -> LoopbackHub:
    files = {name: content(3 * MIB, seed=n) for n, name in enumerate(SHARDS)}
    hub.add(REPOSITORY, {NAME: demo.read_bytes(), **files})
    return hub


async def stopped(hub: LoopbackHub, models: Path, *files: str, after: int) -> None:
    hub.bytes_per_second = MIB
    await fetch_until(listed(hub, *files), models, after)
    hub.bytes_per_second = 0


def test_the_demo_is_always_there(library: Library, demo: Path) -> None:
    (local,) = library.scan(SHELF)
    assert (local.model, local.path, local.size_bytes) == (DEMO, demo, demo.stat().st_size)
    assert library.find(Choice(DEMO, None)) == local
    assert library.partials() == ()


def test_the_demo_lies_in_the_package() -> None:
    assert DEMO_PATH.parts[-3:] == ("localr1", "data", "demo.gguf")


def test_without_a_demo_file_nothing_is_promised(models: Path, tmp_path: Path) -> None:
    assert Library(models, tmp_path / "nothing.gguf").scan(SHELF) == ()


async def test_a_download_is_found_and_removed(
    hub: LoopbackHub, library: Library, models: Path, demo: Path
) -> None:
    path = await fetch(listed(hub), models)
    local = library.find(Choice(MODEL, None))
    assert local is not None
    assert (local.variant, local.path, local.size_bytes) == (SMALL, path, size_of(demo))
    assert [item.path for item in library.scan(SHELF)] == [path, demo]
    assert library.find(Choice(MODEL, BIG)) is None
    assert library.remove(local) > local.size_bytes
    assert library.find(Choice(MODEL, None)) is None
    assert names_in(models) == []


async def test_the_best_variant_here_is_chosen(
    hub: LoopbackHub, library: Library, models: Path
) -> None:
    await fetch(listed(hub), models)
    first = await fetch(listed(hub, "big-Q8_0-*.gguf"), models)
    best = library.find(Choice(MODEL, None))
    assert best is not None
    assert (best.variant, best.path, best.size_bytes) == (BIG, first, 6 * MIB)
    named = library.find(Choice(MODEL, SMALL))
    assert named is not None
    assert named.variant is SMALL
    library.remove(best)
    left = library.find(Choice(MODEL, None))
    assert left is not None
    assert left.variant is SMALL


async def test_a_stopped_download_is_listed_until_it_is_whole(
    hub: LoopbackHub, library: Library, models: Path
) -> None:
    await stopped(hub, models, "big-Q8_0-*.gguf", after=4 * MIB)
    assert library.find(Choice(MODEL, BIG)) is None
    (partial,) = library.partials()
    assert (partial.repository, partial.files) == (REPOSITORY, tuple(SHARDS))
    assert 4 * MIB <= partial.done_bytes < partial.total_bytes == 6 * MIB
    await fetch(listed(hub, "big-Q8_0-*.gguf"), models)
    assert library.partials() == ()
    assert library.find(Choice(MODEL, BIG)) is not None


async def test_a_stop_between_two_shards_is_still_a_partial_download(
    hub: LoopbackHub, library: Library, models: Path
) -> None:
    first = await fetch(listed(hub, "big-Q8_0-*.gguf"), models)
    second = first.with_name(SHARDS[1])
    second.unlink()
    sidecar_path(second).unlink()
    assert library.find(Choice(MODEL, BIG)) is None
    (partial,) = library.partials()
    assert partial.done_bytes == 3 * MIB


async def test_a_stopped_download_can_be_removed(
    hub: LoopbackHub, library: Library, models: Path
) -> None:
    await stopped(hub, models, "big-Q8_0-*.gguf", after=4 * MIB)
    (partial,) = library.partials()
    assert library.remove_partial(partial) >= 4 * MIB
    assert library.partials() == ()
    assert names_in(models) == []


async def test_a_running_download_is_not_removed(
    hub: LoopbackHub, library: Library, models: Path
) -> None:
    hub.bytes_per_second = MIB
    task = asyncio.create_task(fetch(listed(hub, "big-Q8_0-*.gguf"), models))
    await asyncio.to_thread(hub.wait_for_bytes, MIB)
    partials = library.partials()
    with pytest.raises(FileError, match="being downloaded"):
        library.remove_partial(partials[0])
    hub.bytes_per_second = 0
    assert (await task).exists()


async def test_a_touched_file_is_a_model_still_but_not_known_to_be_the_same(
    hub: LoopbackHub, library: Library, models: Path
) -> None:
    path = await fetch(listed(hub), models)
    os.utime(path, (1, 1))
    assert library.find(Choice(MODEL, SMALL)) is not None
    note = read_sidecar(path)
    assert note is not None
    assert note.modified_ns != 1_000_000_000


@pytest.mark.parametrize("damage", ["overwritten", "cut short", "gone", "note"])
async def test_a_damaged_file_is_not_offered(
    hub: LoopbackHub, library: Library, models: Path, damage: str
) -> None:
    path = await fetch(listed(hub), models)
    if damage == "overwritten":
        path.write_bytes(b"\x00" * path.stat().st_size)
    elif damage == "cut short":
        os.truncate(path, path.stat().st_size - 1)
    elif damage == "gone":
        path.unlink()
    else:
        sidecar_path(path).write_text("{")
    assert library.find(Choice(MODEL, SMALL)) is None


async def test_a_file_nobody_vouched_for_is_read_first(
    hub: LoopbackHub, library: Library, models: Path
) -> None:
    hub.repositories[REPOSITORY].lfs = False
    await fetch(listed(hub), models)
    assert library.find(Choice(MODEL, SMALL)) is not None
    await fetch(listed(hub, "big-Q8_0-*.gguf"), models)
    assert library.find(Choice(MODEL, BIG)) is None, "random bytes are no GGUF"


async def test_the_folder_can_be_carried_elsewhere(
    hub: LoopbackHub, models: Path, tmp_path: Path, demo: Path
) -> None:
    await fetch(listed(hub), models)
    shutil.move(models, tmp_path / "stick")
    found = Library(tmp_path / "stick", demo).find(Choice(MODEL, SMALL))
    assert found is not None
    assert found.path.is_relative_to(tmp_path / "stick")


def test_the_demo_and_strangers_files_are_not_removed(library: Library) -> None:
    (local,) = library.scan(SHELF)
    with pytest.raises(FileError, match="part of localr1"):
        library.remove(local)
    stranger = dataclasses.replace(local, model=MODEL)
    with pytest.raises(FileError, match="not downloaded"):
        library.remove(stranger)
    assert local.path.exists()


def test_an_imported_file_is_used_where_it_lies(library: Library, demo: Path) -> None:
    imported = dataclasses.replace(SMALL, repository="", path=demo)
    local = library.find(Choice(MODEL, imported))
    assert local is not None
    assert local.path == demo
    gone = dataclasses.replace(imported, path=demo.with_name("gone.gguf"))
    assert library.find(Choice(MODEL, gone)) is None


def test_free_space_is_known_for_a_folder_to_come(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") == free_bytes(tmp_path) > 0
