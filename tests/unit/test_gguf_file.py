"""Recognising models: architecture, shards, quantization."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import synthetic

from localr1.errors import FileError, GgufError, UnsupportedArchitecture
from localr1.gguf import header
from localr1.gguf.architecture import from_header
from localr1.gguf.file import chat_format, model_stem, recognise, shard_paths
from localr1.gguf.types import Header
from localr1.models import catalog
from localr1.models.types import Model

FAMILY = [m for m in catalog.load().models if not m.demo]

# DeepSeek's tensor bytes are not in the published tables; the others are llama.cpp's own sums
# for the distills' Q4_K_M files.
Q4_K_M_TENSOR_BYTES = {
    "r1-distill-qwen-1.5b": 1_111_370_240,
    "r1-distill-qwen-7b": 4_677_120_000,
    "r1-distill-llama-8b": 4_912_898_304,
    "r1-0528-qwen3-8b": 5_021_827_072,
    "r1-distill-qwen-14b": 8_982_142_976,
    "r1-distill-qwen-32b": 19_845_357_568,
    "r1-distill-llama-70b": 42_512_531_712,
}


@pytest.mark.parametrize("model", FAMILY, ids=lambda m: m.id)
def test_the_catalogue_says_what_the_header_says(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    moe = model.architecture.name == "deepseek2"
    quantization = "Q8_0" if moe else "Q4_K_M"
    synthetic.write_header_only(
        path, model.architecture, quantization, name=model.name, tensor_data=False
    )
    found = recognise(path, header_only=True)
    assert found.architecture == model.architecture
    assert found.quantization == quantization
    assert found.name == model.name
    tensors = header.read(path, header_only=True).tensors
    if moe:
        # Counts of the published files: ggml-org/llama.cpp issue 13916 for the new ones.
        assert len(tensors) == (1086 if model.architecture.mla else 1025)
    else:
        assert sum(t.size_bytes for t in tensors) == Q4_K_M_TENSOR_BYTES[model.id]
    with pytest.raises(GgufError, match="cut short"):
        recognise(path)


def test_a_sparse_file_of_true_length_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    shape = replace(FAMILY[0].architecture, layers=2, vocabulary_size=512)
    total = synthetic.write_header_only(path, shape, "Q8_0")
    found = recognise(path)
    assert found.size_bytes == path.stat().st_size
    assert found.size_bytes - total < 20_000


def test_how_a_file_writes_conversations(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    synthetic.write_tiny(path)
    own = chat_format(recognise(path), ask=("<think>", "<|im_start|>"))
    assert own.template == synthetic.TEMPLATE
    assert (own.begin, own.end) == (synthetic.BEGIN, synthetic.END)
    assert own.adds_begin
    assert own.tokens == {"<think>"}


@pytest.mark.parametrize(
    ("tokenizer", "pre", "says", "adds"),
    [
        ("gpt2", "qwen2", None, False),
        ("gpt2", "llama-bpe", None, True),
        ("gpt2", "llama-bpe", False, False),
        ("gpt2", "qwen2", True, True),
        ("llama", "default", None, True),
    ],
)
def test_whether_prompts_begin_with_a_token(
    tmp_path: Path, tokenizer: str, pre: str, says: bool | None, adds: bool
) -> None:
    path = tmp_path / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_tokenizer_model(tokenizer)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(["a", "b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(7)  # beyond the vocabulary
    if says is not None:
        writer.add_add_bos_token(says)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tiny = tmp_path / "tiny.gguf"
    synthetic.write_tiny(tiny)
    own = chat_format(replace(recognise(tiny), path=path, chat_template=""))
    assert own.adds_begin == adds
    assert (own.begin, own.end, own.template) == ("b", "", "")


def test_tied_embeddings_and_template(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    synthetic.write_tiny(path, name="")
    found = recognise(path)
    assert not found.architecture.tied_embeddings
    assert found.chat_template == synthetic.TEMPLATE
    assert found.name == "tiny"
    read = header.read(path)
    tied = [t for t in read.tensors if t.name != "output.weight"]
    assert from_header(read, tied).tied_embeddings


def changed(read: Header, **metadata: object) -> Header:
    """The header with keys replaced (`__` stands for a dot) or, with None, removed."""
    merged = {**read.metadata, **{k.replace("__", "."): v for k, v in metadata.items()}}
    return replace(read, metadata={k: v for k, v in merged.items() if v is not None})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Header:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    synthetic.write_tiny(path)
    return header.read(path)


@pytest.mark.parametrize("name", ["mamba2", "rwkv7", None, 7])
def test_other_architectures_are_named(tiny: Header, name: object) -> None:
    with pytest.raises(UnsupportedArchitecture) as caught:
        from_header(changed(tiny, general__architecture=name), label="x.gguf")
    assert "x.gguf" in caught.value.what
    assert (name if isinstance(name, str) else "not named") in caught.value.why
    assert "deepseek2" in caught.value.why
    assert caught.value.todo


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"qwen2__block_count": None}, "block_count is missing"),
        ({"qwen2__block_count": 0}, "block_count is 0"),
        ({"qwen2__block_count": 2**32 - 1}, "block_count"),
        ({"qwen2__block_count": 3}, "layer 2 of 3"),
        ({"qwen2__block_count": "two"}, "'two'"),
        ({"qwen2__embedding_length": 65}, "embedding"),
        ({"qwen2__attention__head_count": 0}, "head_count is 0"),
        ({"qwen2__attention__head_count": True}, "head_count is True"),
        ({"qwen2__attention__head_count_kv": 3}, "cannot share"),
        ({"qwen2__attention__head_count_kv": (2, 1)}, "head_count_kv"),
        ({"qwen2__expert_used_count": 9}, "expert_used_count"),
        ({"qwen2__context_length": 2.5}, "context_length"),
        ({"qwen2__attention__key_length_mla": 192}, "kv_lora_rank is missing"),
    ],
)
def test_contradictory_headers(tiny: Header, change: dict[str, object], why: str) -> None:
    with pytest.raises(GgufError, match=why):
        from_header(changed(tiny, **change))


def test_one_value_per_layer_is_one_value(tiny: Header) -> None:
    per_layer = changed(tiny, qwen2__attention__head_count_kv=(2, 2))
    assert from_header(per_layer) == from_header(tiny)


def test_a_vocabulary_is_no_model(tiny: Header) -> None:
    with pytest.raises(GgufError, match="no token embedding"):
        from_header(replace(tiny, tensors=()))


def test_quantization_without_a_file_type(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "x.gguf"
    synthetic.write_tiny(path)
    raw = path.read_bytes()
    assert raw.count(gguf.Keys.General.FILE_TYPE.encode()) == 1
    path.write_bytes(raw.replace(b"general.file_type", b"general.other_key"))
    assert recognise(path).quantization == "F16"


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    synthetic.write_tiny(tmp_path / "model.gguf", shard_tensors=12)
    found = sorted(tmp_path.glob("*.gguf"))
    assert len(found) == 3
    return found


def test_shards_are_one_model(shards: list[Path], tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "whole.gguf"
    whole.parent.mkdir()
    synthetic.write_tiny(whole)
    for shard in shards:
        found = recognise(shard)
        assert found.path == shards[0]
        assert found.shards == 3
        assert found.size_bytes == sum(s.stat().st_size for s in shards)
        assert found.architecture == recognise(whole).architecture
    assert shard_paths(shards[1]) == tuple(shards)
    assert model_stem(shards[2]) == "model"
    assert shard_paths(whole) == (whole,)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_shard_is_named(shards: list[Path], missing: int) -> None:
    shards[missing].unlink()
    asked = shards[0] if missing else shards[1]
    with pytest.raises(GgufError) as caught:
        recognise(asked)
    assert shards[missing].name in caught.value.why
    assert "all 3" in caught.value.why


def test_a_missing_file_is_a_file_error_even_with_a_shards_name(shards: list[Path]) -> None:
    with pytest.raises(FileError, match="does not exist"):
        recognise(shards[0].with_name("other-00002-of-00003.gguf"))


def test_a_renamed_shard_is_not_taken_for_a_model(shards: list[Path]) -> None:
    renamed = shards[0].rename(shards[0].with_name("renamed.gguf"))
    with pytest.raises(GgufError, match="one of 3 shards") as caught:
        recognise(renamed)
    assert "Rename" in caught.value.todo


def test_shards_of_two_models_do_not_mix(shards: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    synthetic.write_tiny(other / "model.gguf", layers=4, shard_tensors=18)
    for shard in other.iterdir():
        if "00003" in shard.name:
            shard.replace(shards[2])
    with pytest.raises(GgufError, match="do not belong together") as caught:
        recognise(shards[0])
    assert "39 tensors; the first says 27" in caught.value.why


def test_a_shard_twice_is_not_a_model(shards: list[Path]) -> None:
    shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(GgufError, match="same tensor"):
        recognise(shards[0])
