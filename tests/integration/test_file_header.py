"""Headers fetched by range from a real HTTP server, kept without vocabulary, and used for plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from downloading import QUICK, REPOSITORY, content, names_in, size_of, variant
from fit_machines import LAPTOP_16
from loopback_hub import Fault, LoopbackHub

from localr1.errors import GgufError, HubNotFound, HubUnreachable, OfflineError
from localr1.fit import placement
from localr1.fit.weights import origin
from localr1.gguf import header
from localr1.gguf.file import recognise
from localr1.models import catalog
from localr1.models.file_header import FileHeaders
from localr1.models.types import Model

MIB = 1 << 20
NAME = "DeepSeek-R1-Distill-Qwen-1.5B-Q8_0.gguf"
SMALL = replace(
    synthetic.SMALL_DENSE, vocabulary_size=60_000, embedding_length=256, key_length=32,
    value_length=32,
)  # fmt: skip
"""A header of more than a megabyte, and fifty of weights."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("remote") / NAME
    synthetic.write_header_only(path, SMALL, "Q8_0", full_vocabulary=True)
    return path


@pytest.fixture(scope="module")
def size(whole: Path) -> int:
    return whole.stat().st_size


@pytest.fixture
def hub(hub: LoopbackHub, whole: Path) -> LoopbackHub:
    hub.add(REPOSITORY, {NAME: whole.read_bytes()})
    return hub


async def test_only_the_header_is_fetched_and_only_once(
    hub: LoopbackHub, whole: Path, size: int, tmp_path: Path
) -> None:
    headers, wanted = FileHeaders(tmp_path), variant(NAME)
    assert headers.known(wanted) is None
    found = await headers.fetch(wanted, patience=QUICK)
    expected = header.read(whole)
    assert found.architecture == recognise(whole).architecture
    assert [(t.name, t.shape, t.size_bytes) for t in found.tensors] == [
        (t.name, t.shape, t.size_bytes) for t in expected.tensors
    ]
    assert found.file_bytes == size
    assert MIB < expected.data_offset_bytes < hub.bytes_sent < 8 * MIB < size
    assert size_of(headers.path(wanted)) < MIB // 4  # without the vocabulary

    hub.reset_counts()
    again = await FileHeaders(tmp_path).fetch(wanted, patience=QUICK)
    assert again == found == headers.known(wanted)
    assert hub.bytes_sent == 0

    # Another commit: asked for anew.
    hub.replace(REPOSITORY, NAME, hub.repositories[REPOSITORY].files[NAME] + bytes(64))
    assert (await headers.fetch(wanted, patience=QUICK)).file_bytes == found.file_bytes + 64


async def test_shards_are_one_model(hub: LoopbackHub, tmp_path: Path) -> None:
    synthetic.write_tiny(tmp_path / "tiny.gguf", layers=4, shard_tensors=9)
    parts = [tmp_path / name for name in names_in(tmp_path)]
    assert len(parts) > 3
    hub.add(REPOSITORY, {f"Q8/{p.name}": p.read_bytes() for p in parts})
    found = await FileHeaders(tmp_path).fetch(variant("Q8/*.gguf"), patience=QUICK)
    together = recognise(parts[0])
    assert found.architecture == together.architecture
    assert found.file_bytes == together.size_bytes


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("reset", times=2)],
        [Fault("drop", after_bytes=300_000)],
        [Fault("truncate", after_bytes=10_000), Fault("status", status=503)],
        [Fault("no-range", times=9)],
    ],
    ids=lambda faults: faults[0].kind,
)
async def test_a_bad_line_does_not_matter(
    faults: list[Fault], hub: LoopbackHub, whole: Path, tmp_path: Path
) -> None:
    hub.inject(*faults)
    found = await FileHeaders(tmp_path).fetch(variant(NAME), patience=QUICK)
    assert found.architecture == recognise(whole).architecture


async def test_refusals_are_the_hubs_own(hub: LoopbackHub, tmp_path: Path) -> None:
    headers = FileHeaders(tmp_path)
    with pytest.raises(OfflineError):
        await headers.fetch(variant(NAME), offline=True)
    with pytest.raises(HubNotFound):
        await headers.fetch(variant("none.gguf"), patience=QUICK)
    hub.add(REPOSITORY, {NAME: content(3 * MIB)})
    with pytest.raises(GgufError):
        await headers.fetch(variant(NAME), patience=QUICK)
    hub.inject(Fault("reset", times=99))
    with pytest.raises(HubUnreachable):
        await headers.fetch(variant(NAME), patience=QUICK)
    assert headers.known(variant(NAME)) is None


@pytest.mark.usefixtures("hub")
async def test_a_damaged_cache_is_no_error(tmp_path: Path) -> None:
    headers, wanted = FileHeaders(tmp_path), variant(NAME)
    found = await headers.fetch(wanted, patience=QUICK)
    path = headers.path(wanted)
    path.write_bytes(path.read_bytes()[:1000])
    assert headers.known(wanted) is None
    assert await headers.fetch(wanted, patience=QUICK) == found


def test_a_plan_says_where_its_tensors_are_known_from(whole: Path, tmp_path: Path) -> None:
    catalogue = catalog.load()
    model: Model = catalogue.model("r1-671b")
    kinds = {v.quantization: origin(model.architecture, v) for v in model.variants}
    assert kinds["Q8_0"] == kinds["Q4_K_M"] == "recipe"
    assert kinds["UD-IQ1_S"] == kinds["UD-Q2_K_XL"] == "size"
    for dense in catalogue.models:
        if not dense.architecture.expert_count and not dense.demo:
            assert {origin(dense.architecture, v) for v in dense.variants} == {"recipe"}
    choice = catalogue.from_file(whole)
    assert choice.variant is not None
    own, file = (
        FileHeaders(tmp_path).of_file(choice.variant, whole).applied(choice.model, choice.variant)
    )
    assert origin(own.architecture, file) == "header"
    plan = placement.place(own, file, LAPTOP_16)
    assert plan.devices[0].weights_bytes == sum(t.size_bytes for t in header.read(whole).tensors)
