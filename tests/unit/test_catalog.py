"""The catalogue that comes with localr1: complete, consistent, every fact with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from localr1.errors import CatalogueError
from localr1.gguf.file import recognise
from localr1.models import catalog
from localr1.models.quality import points_lost
from localr1.models.types import Model

CATALOGUE = catalog.load()
FAMILY = [m for m in CATALOGUE.models if not m.demo]
RAW = tomllib.loads(catalog.built_in_path().read_text(encoding="utf-8"))

# f16 KV bytes per token, from the attention of each model: 2 * layers * heads * length * 2, and
# for the compressed cache 61 * 576 * 2.
KV_BYTES_PER_TOKEN = {
    "r1-distill-qwen-1.5b": 28_672,
    "r1-distill-qwen-7b": 57_344,
    "r1-distill-llama-8b": 131_072,
    "r1-0528-qwen3-8b": 147_456,
    "r1-distill-qwen-14b": 196_608,
    "r1-distill-qwen-32b": 262_144,
    "r1-distill-llama-70b": 327_680,
    "r1-671b": 4_997_120,
    "r1-0528-671b": 70_272,
}
BITS = {"f16": 16.0, "q8_0": 8.5, "q4_0": 4.5}


def test_the_whole_family_is_there() -> None:
    assert {m.id for m in FAMILY} == set(KV_BYTES_PER_TOKEN)
    assert CATALOGUE.models[-1].id == "demo"
    assert CATALOGUE.models[-1].demo


@pytest.mark.parametrize("kv_cache_type", BITS)
@pytest.mark.parametrize("model_id", KV_BYTES_PER_TOKEN)
def test_kv_cache_bytes_per_token(model_id: str, kv_cache_type: str) -> None:
    architecture = CATALOGUE.model(model_id).architecture
    expected = KV_BYTES_PER_TOKEN[model_id] * BITS[kv_cache_type] / 16
    assert architecture.kv_cache_bytes_per_token(kv_cache_type) == expected


@pytest.mark.parametrize("model", FAMILY, ids=lambda m: m.id)
def test_every_model_is_usable_as_described(model: Model) -> None:
    assert model.license == "mit"
    assert model.base_license
    assert model.source.startswith("deepseek-ai/")
    assert model.name == model.source.removeprefix("deepseek-ai/")
    assert 0 < model.quality < 100
    assert model.kv_cache_types[0] == "f16"
    assert 0 < model.thinking_tokens.typical < model.thinking_tokens.hard
    assert model.sampling.temperature == 0.6
    assert model.sampling.top_p == 0.95
    architecture = model.architecture
    assert architecture.active_parameters <= architecture.parameters
    assert len({v.quantization for v in model.variants}) == len(model.variants)
    for variant in model.variants:
        bits_per_weight = variant.size_bytes * 8 / architecture.parameters
        assert 1.5 < bits_per_weight < 16.2, variant.quantization
        assert variant.repository
        assert all(name.endswith(".gguf") for name in variant.files)
        assert len(variant.sha256) in {0, len(variant.files)}


@pytest.mark.parametrize("model", FAMILY, ids=lambda m: m.id)
def test_variants_are_best_first(model: Model) -> None:
    losses = [
        CATALOGUE.quantization_loss(v.quantization, model.architecture.parameters)
        for v in model.variants
    ]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0]


def test_4_bit_kv_is_never_offered_where_it_ruins_answers() -> None:
    for size in ("1.5b", "7b"):
        assert CATALOGUE.model(f"r1-distill-qwen-{size}").kv_cache_types == ("f16",)
    assert all("q4_0" not in m.kv_cache_types for m in FAMILY)


def test_the_0528_models_differ_where_their_makers_say_so() -> None:
    for model in FAMILY:
        is_new = "0528" in model.id
        assert model.force_think != is_new
        assert model.system_prompt == is_new
        assert (model.thinking_tokens.hard == 23_000) == is_new


def test_files_are_where_the_repositories_have_them() -> None:
    variant = {
        (m.id, v.quantization): v.files[0] if len(v.files) == 1 else v.files
        for m in FAMILY
        for v in m.variants
    }
    seven = "DeepSeek-R1-Distill-Qwen-7B"
    assert variant["r1-distill-qwen-7b", "Q4_K_M"] == f"{seven}-Q4_K_M.gguf"
    assert variant["r1-distill-qwen-7b", "F16"] == f"{seven}-f16.gguf"
    assert variant["r1-0528-qwen3-8b", "Q8_0"] == "deepseek-ai_DeepSeek-R1-0528-Qwen3-8B-Q8_0.gguf"
    assert variant["r1-distill-llama-70b", "Q8_0"] == "DeepSeek-R1-Distill-Llama-70B-Q8_0/*.gguf"
    assert variant["r1-671b", "UD-IQ1_S"] == "DeepSeek-R1-UD-IQ1_S/*.gguf"
    assert variant["r1-0528-671b", "Q4_K_M"] == "Q4_K_M/DeepSeek-R1-0528-Q4_K_M-*.gguf"
    assert variant["r1-0528-671b", "UD-TQ1_0"] == "DeepSeek-R1-0528-UD-TQ1_0.gguf"
    by_shards = {v.quantization: v.shards for v in CATALOGUE.model("r1-0528-671b").variants}
    assert by_shards["UD-TQ1_0"] == 1
    assert by_shards["Q8_0"] == 15
    assert by_shards["UD-Q5_K_XL"] == 0


def test_the_default_quantization_is_known_to_the_byte() -> None:
    variants = {v.quantization: v for v in CATALOGUE.model("r1-distill-qwen-7b").variants}
    assert variants["Q4_K_M"].size_bytes == 4_683_073_504
    assert variants["Q4_K_M"].size_is_exact
    assert variants["Q4_K_M"].sha256[0].startswith("731ece8d06dc")
    assert not variants["Q8_0"].size_is_exact


def test_quality_uses_exactly_the_scores_that_all_have() -> None:
    shared = set.intersection(*(set(m.benchmarks) for m in FAMILY))
    assert set(CATALOGUE.quality_benchmarks) == shared
    seven = CATALOGUE.model("r1-distill-qwen-7b")
    assert seven.quality == pytest.approx((55.5 + 49.1) / 2)
    assert seven.benchmarks["math_500"].value == 92.8
    assert seven.benchmarks["math_500"].source == "r1-readme"
    assert CATALOGUE.model("demo").quality == 0


def facts(node: object) -> Iterator[dict[str, object]]:
    if isinstance(node, dict):
        if "source" in node and "id" not in node:
            yield node
        for key, child in node.items():
            if key != "sources":
                yield from facts(child)
    elif isinstance(node, list):
        for child in node:
            yield from facts(child)


def test_every_source_is_a_named_place() -> None:
    used = {str(fact["source"]) for fact in facts(RAW)}
    used |= {str(f["sha256_source"]) for f in facts(RAW) if "sha256_source" in f}
    assert used - {"unverified"} == set(RAW["sources"])
    assert not any(" id " in text for text in RAW["sources"].values())


def test_sizes_known_only_from_copies_are_marked() -> None:
    exact = [f for f in facts(RAW) if f.get("size_is_exact")]
    assert len(exact) == 5
    assert {f["source"] for f in exact} == {"unverified"}


def test_unverified_keys_exist() -> None:
    for model in RAW["model"]:
        architecture = model["architecture"]
        assert set(architecture.get("unverified", [])) <= set(architecture)


def test_quantization_loss() -> None:
    loss = CATALOGUE.quantization_loss
    assert loss("F16") == 0
    assert loss("q4_k_m") == loss("Q4_K_M") == loss("Q4_K_L")
    # The published losses of R1-Distill-Qwen-7B: 1.6 to 2.1 at 4 bit, 5.4 to 6.2 at 3 bit.
    assert 0.4 < loss("Q4_K_M") < 2.2
    assert 4 < loss("Q3_K_M") < 8
    assert 4 < loss("IQ3_M") < 8
    assert loss("Q2_K") > 15
    small = CATALOGUE.model("r1-distill-qwen-1.5b").architecture.parameters
    large = CATALOGUE.model("r1-distill-qwen-32b").architecture.parameters
    assert loss("Q4_K_M", small) > loss("Q4_K_M") > loss("Q4_K_M", large)
    ladder = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ1_S"]
    assert [loss(q) for q in ladder] == sorted(loss(q) for q in ladder)
    assert loss("IQ1_S", small) == 60


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UD-Q4_K_M", "Q4_K_M"),
        ("UD-IQ4_XS", "IQ4_XS"),
        ("Q5_K_XL", "Q5_K_M"),
        ("Q3_K_XL", "Q3_K_L"),
    ],
)
def test_quantization_loss_of_relatives(name: str, expected: str) -> None:
    assert CATALOGUE.quantization_loss(name) == CATALOGUE.quantization_loss(expected)


def test_quantization_loss_of_unknown_names_goes_by_their_bits() -> None:
    loss = CATALOGUE.quantization_loss
    assert loss("MXFP4_MOE") > loss("Q5_1") > loss("Q8_1") > 0
    assert loss("Q2_0") > loss("Q3_9") > loss("MXFP4_MOE")
    assert loss("strange") == 0
    assert points_lost({}, "F32") == 0


def test_the_demo_is_described_by_its_own_file() -> None:
    demo = CATALOGUE.model("demo")
    assert demo.demo
    assert demo.sampling.temperature == 0.6
    path = catalog.PACKAGE_FOLDER / "data" / "demo.gguf"
    if not path.exists():
        assert demo.variants == ()
        assert "not part" in demo.notes[-1]
        return
    found = recognise(path)
    assert demo.architecture == found.architecture
    assert len(demo.variants) == 1
    assert demo.variants[0].path == path
    assert demo.variants[0].size_bytes == path.stat().st_size
    assert demo.variants[0].quantization == found.quantization


def test_a_damaged_demo_costs_the_demo_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo.gguf").write_bytes(b"GGUF")
    (tmp_path / "models.toml").write_bytes(catalog.built_in_path().read_bytes())
    monkeypatch.setattr(catalog, "PACKAGE_FOLDER", tmp_path)
    loaded = catalog.load()
    assert loaded.model("demo").variants == ()
    assert "ends after 4 bytes" in loaded.model("demo").notes[-1]
    assert loaded.models[:-1] == CATALOGUE.models[:-1]
    (tmp_path / "data" / "demo.gguf").unlink()
    assert "not part" in catalog.load().model("demo").notes[-1]


def test_a_wheel_has_it_inside_and_a_checkout_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "localr1"
    package.mkdir()
    monkeypatch.setattr(catalog, "PACKAGE_FOLDER", package)
    with pytest.raises(CatalogueError, match="neither") as caught:
        catalog.load()
    assert "Install" in caught.value.todo
    beside = tmp_path / "models.toml"
    beside.write_text("schema = 1\n", encoding="utf-8")
    assert catalog.built_in_path() == beside
    inside = package / "models.toml"
    inside.write_text("schema = 1\n", encoding="utf-8")
    assert catalog.built_in_path() == inside
    assert catalog.load().models == ()
