"""What a user means by MODEL[:VARIANT]."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from localr1.errors import FileError, GgufError, UnknownModel, UnsupportedArchitecture
from localr1.models import catalog

CATALOGUE = catalog.load()


@pytest.mark.parametrize(
    ("text", "model_id", "quantization"),
    [
        ("r1-distill-qwen-7b", "r1-distill-qwen-7b", None),
        ("DeepSeek-R1-Distill-Qwen-7B", "r1-distill-qwen-7b", None),
        ("deepseek-r1-distill-qwen-7b", "r1-distill-qwen-7b", None),
        ("deepseek r1 distill qwen 7b", "r1-distill-qwen-7b", None),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "r1-distill-qwen-7b", None),
        ("bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF", "r1-distill-qwen-7b", None),
        ("unsloth/DeepSeek-R1-GGUF", "r1-671b", None),
        ("DeepSeek-R1", "r1-671b", None),
        ("DeepSeek-R1-0528", "r1-0528-671b", None),
        ("7b", "r1-distill-qwen-7b", None),
        ("7B", "r1-distill-qwen-7b", None),
        ("  7b ", "r1-distill-qwen-7b", None),
        ("1.5b", "r1-distill-qwen-1.5b", None),
        ("14b", "r1-distill-qwen-14b", None),
        ("32b", "r1-distill-qwen-32b", None),
        ("70b", "r1-distill-llama-70b", None),
        ("llama-8b", "r1-distill-llama-8b", None),
        ("qwen3", "r1-0528-qwen3-8b", None),
        ("0528-qwen3", "r1-0528-qwen3-8b", None),
        ("0528-671b", "r1-0528-671b", None),
        ("llama-7", "r1-distill-llama-70b", None),
        ("demo", "demo", None),
        ("7b:Q4_K_M", "r1-distill-qwen-7b", "Q4_K_M"),
        ("7b:q4_k_m", "r1-distill-qwen-7b", "Q4_K_M"),
        ("DeepSeek-R1-0528:ud-iq1_s", "r1-0528-671b", "UD-IQ1_S"),
        ("DeepSeek-R1-0528:IQ1_S", "r1-0528-671b", "UD-IQ1_S"),
    ],
)
def test_names(text: str, model_id: str, quantization: str | None) -> None:
    choice = CATALOGUE.resolve(text)
    assert choice.model.id == model_id
    assert (choice.variant.quantization if choice.variant else None) == quantization


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("8b", ["r1-distill-llama-8b", "r1-0528-qwen3-8b"]),
        ("0528", ["r1-0528-qwen3-8b", "r1-0528-671b"]),
        ("671b", ["r1-671b", "r1-0528-671b"]),
        ("qwen", ["r1-distill-qwen-1.5b", "r1-distill-qwen-7b"]),
        ("8b:Q4_K_M", ["r1-distill-llama-8b", "r1-0528-qwen3-8b"]),
    ],
)
def test_ambiguous_parts_name_every_meaning(text: str, ids: list[str]) -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOGUE.resolve(text)
    assert "several" in caught.value.what
    assert all(model_id in caught.value.why for model_id in ids)
    assert ids[0] in caught.value.todo
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("qwn-7b", "r1-distill-qwen-7b"),
        ("r1-distil-llama-8b", "r1-distill-llama-8b"),
        ("DeepSeek-R1-Distill-Qwen-33B", "r1-distill-qwen-32b"),
        ("demmo", "demo"),
    ],
)
def test_unknown_names_get_the_closest(text: str, close: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOGUE.resolve(text)
    assert "Did you mean" in caught.value.todo
    assert close in caught.value.todo


@pytest.mark.parametrize("text", ["", " ", ":", ":Q4_K_M", "gpt-oss-xyz", "\0", "a" * 5000])
def test_what_nothing_answers_to(text: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOGUE.resolve(text)
    assert "localr1 models" in caught.value.todo


def test_unknown_variants_list_the_known() -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOGUE.resolve("7b:Q9_K")
    assert "Q9_K" in caught.value.what
    assert "Q4_K_M, " in caught.value.why
    assert "r1-distill-qwen-7b:F16" in caught.value.todo


def test_the_size_after_the_colon_is_understood_as_a_hint() -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOGUE.resolve("deepseek-r1:7b")
    assert "Did you mean r1-distill-qwen-7b?" in caught.value.todo


def test_model_takes_ids_only() -> None:
    assert CATALOGUE.model("r1-671b").name == "DeepSeek-R1"
    with pytest.raises(UnknownModel):
        CATALOGUE.model("7b")


@given(st.text(max_size=40))
def test_any_text_is_a_choice_or_an_unknown_model(text: str) -> None:
    try:
        assert CATALOGUE.resolve(text).model.id
    except (UnknownModel, FileError):
        return


def test_a_file_gets_the_flags_of_the_model_it_is(tmp_path: Path) -> None:
    twin = CATALOGUE.model("r1-distill-qwen-1.5b")
    path = tmp_path / "Some-Finetune-Q4_K_M.gguf"
    synthetic.write_header_only(path, twin.architecture, "Q4_K_M")
    choice = CATALOGUE.resolve(str(path))
    model, variant = choice.model, choice.variant
    assert variant is not None
    assert model.id == "Some-Finetune-Q4_K_M"
    assert model.variants == (variant,)
    assert variant.path == path
    assert variant.quantization == "Q4_K_M"
    assert variant.size_bytes == path.stat().st_size
    assert variant.repository == ""
    assert model.force_think == twin.force_think
    assert model.kv_cache_types == ("f16",)
    assert model.quality == twin.quality
    assert model.architecture == twin.architecture
    assert twin.name in model.notes[0]


@pytest.mark.parametrize(
    ("stem", "model_id", "mla"),
    [
        ("DeepSeek-R1-UD-Q2_K_XL", "r1-671b", False),
        ("DeepSeek-R1-0528-UD-Q2_K_XL", "r1-0528-671b", True),
        # Files of the January model that were converted again have the new cache.
        ("DeepSeek-R1-UD-Q2_K_XL", "r1-671b", True),
    ],
)
def test_of_two_models_of_one_shape_the_named_one(
    tmp_path: Path, stem: str, model_id: str, mla: bool
) -> None:
    architecture = CATALOGUE.model("r1-0528-671b" if mla else "r1-671b").architecture
    small = replace(architecture, embedding_length=256, feed_forward_length=256)
    small = replace(small, expert_feed_forward_length=256, expert_count=4, expert_used_count=2)
    known = replace(
        CATALOGUE,
        models=tuple(
            replace(m, architecture=small) if m.architecture.name == "deepseek2" else m
            for m in CATALOGUE.models
        ),
    )
    path = tmp_path / f"{stem}.gguf"
    shape = replace(small, q_lora_rank=256)
    synthetic.write_header_only(path, shape, "F16", name="model")
    choice = known.resolve(str(path))
    assert choice.model.force_think == CATALOGUE.model(model_id).force_think
    assert CATALOGUE.model(model_id).name in choice.model.notes[0]
    assert choice.model.architecture.mla == mla
    assert choice.variant is not None
    assert choice.variant.quantization == "UD-Q2_K_XL"


def test_a_file_of_unknown_shape_runs_with_cautious_settings(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    synthetic.write_tiny(path)
    model = CATALOGUE.resolve(str(path)).model
    assert model.name == "tiny R1"
    assert model.force_think
    assert model.quality == 0
    assert model.thinking_tokens.assumed
    assert "Not in the catalogue" in model.notes[0]


def test_a_file_without_r1s_template_is_asked_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    monkeypatch.setattr(synthetic, "TEMPLATE", source)
    path = tmp_path / "qwen2.5-math-1.5b.gguf"
    shape = CATALOGUE.model("r1-distill-qwen-1.5b").architecture
    synthetic.write_header_only(path, shape, "Q4_K_M", name="Qwen2.5 Math 1.5B")
    model = CATALOGUE.resolve(str(path)).model
    assert not model.force_think
    assert model.own_format is not None
    assert model.own_format.template == source
    assert model.own_format.begin == synthetic.BEGIN
    assert model.own_format.end == synthetic.END
    assert model.own_format.adds_begin
    assert "Not of the R1 family" in model.notes[0]


@pytest.mark.parametrize(
    ("name", "source", "special_tokens", "is_r1"),
    [
        ("Some finetune", synthetic.TEMPLATE, True, True),
        # As the first uploads had it: no word of thinking but for stripping it.
        ("Some finetune", "<｜Assistant｜>{{ m.content.split('</think>')[-1] }}", True, True),
        # R1's turns, but not its thinking.
        ("Some finetune", "<｜Assistant｜>{{ m.content }}", True, False),
        ("DeepSeek-V3.1", "<｜Assistant｜>{{ '</think>' }}", True, False),
        # By name alone only with R1's tokens.
        ("DeepSeek-R1-Distill-Qwen-1.5B", "", True, True),
        ("My-R1-like-tune", "<|im_start|>", True, True),
        ("My-R1-like-tune", "<|im_start|>", False, False),
        ("Qwen2.5 Math 1.5B", "", True, False),
    ],
)
def test_which_files_are_of_the_family(  # noqa: PLR0913 - a table and two fixtures
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
    source: str,
    special_tokens: bool,
    is_r1: bool,
) -> None:
    monkeypatch.setattr(synthetic, "TEMPLATE", source)
    if not special_tokens:
        ends = (synthetic.BEGIN, synthetic.END)
        monkeypatch.setattr(synthetic, "SPECIAL_TOKENS", ends)
    shape = CATALOGUE.model("r1-distill-qwen-1.5b").architecture
    path = tmp_path / "file.gguf"
    synthetic.write_header_only(path, shape, "Q4_K_M", name=name)
    model = CATALOGUE.resolve(str(path)).model
    assert (model.own_format is None) == is_r1
    assert ("Not of the R1 family" in model.notes[0]) == (not is_r1)
    if not is_r1:
        assert ("it cannot chat" in model.notes[0]) == (not source)


def test_a_shard_stands_for_its_model(tmp_path: Path) -> None:
    synthetic.write_tiny(tmp_path / "model.gguf", shard_tensors=12)
    second = tmp_path / "model-00002-of-00003.gguf"
    choice = CATALOGUE.resolve(str(second))
    assert choice.model.id == "model"
    assert choice.variant is not None
    assert choice.variant.path == tmp_path / "model-00001-of-00003.gguf"
    assert choice.variant.shards == 3


def test_a_file_without_the_ending_is_found_too(tmp_path: Path) -> None:
    path = tmp_path / "blob-of-some-other-program"
    synthetic.write_tiny(path)
    assert CATALOGUE.resolve(str(path)).model.id == path.name


def test_a_name_in_the_catalogue_beats_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_bytes(b"not a model")
    assert CATALOGUE.resolve("demo").model.demo
    (tmp_path / "other").write_bytes(b"not a model")
    with pytest.raises(GgufError):
        CATALOGUE.resolve("other")


@pytest.mark.parametrize("text", ["missing.gguf", "C:\\models\\x.gguf", "./x.GGUF", "7b.gguf"])
def test_a_path_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="does not exist"):
        CATALOGUE.resolve(text)


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    synthetic.write_tiny(tmp_path / "x.gguf")
    assert CATALOGUE.resolve("~/x.gguf").model.id == "x"


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mamba.gguf"
    synthetic.write_tiny(path)
    path.write_bytes(path.read_bytes().replace(b"qwen2", b"mamba"))
    with pytest.raises(UnsupportedArchitecture, match="mamba"):
        CATALOGUE.resolve(str(path))
