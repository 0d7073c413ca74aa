"""A wrong models.toml names the file, the line and the key; a right one is laid over ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localr1.errors import CatalogueError, FileError
from localr1.models import catalog
from localr1.models.types import Model, Sourced

BUILT_IN = catalog.load()
OURS = catalog.built_in_path().read_text(encoding="utf-8")

NEW_MODEL = """\
schema = 1

[sources]
me = "my own measurement"

[quantization]
Q9_MINE = { kld = 0.001, bits_per_weight = 9.0, source = "me" }

[[model]]
id = "mine"
name = "My R1"
source = "me/My-R1"
released = { value = "2026-01-02", source = "me" }
license = { value = "mit", source = "me" }
base_license = { value = "", source = "unverified" }
force_think = { value = true, source = "me" }
system_prompt = { value = false, source = "me" }
kv_cache_types = { value = ["f16", "q8_0"], source = "me" }

[model.architecture]
name = "llama"
layers = 2
embedding_length = 64
feed_forward_length = 128
head_count = 4
head_count_kv = 2
key_length = 16
value_length = 16
vocabulary_size = 300
context_length = 1_024
parameters = 100_000
source = "me"

[model.sampling]
temperature = 0.7
top_p = 0.9
top_k = 40
source = "me"

[model.thinking_tokens]
typical = 10
hard = 20
assumed = []
source = "me"

[model.benchmarks]
gpqa_diamond = { value = 40.0, source = "me" }

[model.files]
repository = "me/My-R1-GGUF"
pattern = "My-R1-{quantization}.gguf"
source = "me"
variants = [
  { quantization = "Q9_MINE", size_bytes = 100, size_is_exact = true, source = "me" },
  { quantization = "Q4_K_M", size_bytes = 50, size_is_exact = false, source = "me" },
]
"""


def load(tmp_path: Path, text: str) -> catalog.Catalogue:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return catalog.load(path)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "key", "complaint"),
    [
        ("layers = 2\n", "layers = -2\n", "model.architecture.layers", "at least 1, not -2"),
        ("layers = 2\n", 'layers = "2"\n', "model.architecture.layers", "whole number"),
        ("layers = 2\n", "layers = 2.0\n", "model.architecture.layers", "whole number"),
        ("layers = 2\n", "layers = true\n", "model.architecture.layers", "whole number"),
        ("layers = 2\n", "layer = 2\n", "model.architecture.layer", "unknown key"),
        ('name = "llama"', 'name = "gemma"', "model.architecture.name", "qwen2 or qwen3"),
        ("temperature = 0.7", "temperature = 7", "model.sampling.temperature", "from 0.0 to 5.0"),
        ("top_p = 0.9", "top_p = nan", "model.sampling.top_p", "from 0.0 to 1.0"),
        ("top_p = 0.9", "top_p = [0.9]", "model.sampling.top_p", "must be a number"),
        ('id = "mine"', 'id = "My Model"', "model.id", "lower-case"),
        ('id = "mine"', "id = [1]", "model.id", "lower-case"),
        ('name = "My R1"', 'name = ""', "model.name", "must not be empty"),
        ('name = "My R1"', "name = 1", "model.name", "text in quotes"),
        ('"2026-01-02"', '"last year"', "model.released.value", "a date"),
        ('"2026-01-02"', "2026-01-02", "model.released.value", "a date"),
        ("value = true", 'value = "yes"', "model.force_think.value", "true or false"),
        ('["f16", "q8_0"]', '["f16", "q5_0"]', "model.kv_cache_types.value", "f16 or q8_0"),
        ('["f16", "q8_0"]', '"f16"', "model.kv_cache_types.value", "must be a list"),
        ("assumed = []", 'assumed = ["all"]', "model.thinking_tokens.assumed", "typical or hard"),
        ("value = 40.0", "value = -1", "model.benchmarks.gpqa_diamond.value", "from 0 to"),
        (
            '{ value = 40.0, source = "me" }',
            "40.0",
            "model.benchmarks.gpqa_diamond",
            "must be a table",
        ),
        (
            '40.0, source = "me"',
            '40.0, source = "you"',
            "model.benchmarks.gpqa_diamond.source",
            "no source 'you'",
        ),
        ("size_bytes = 50", "size_bytes = 0", "model.files.variants.size_bytes", "at least 1"),
        ("size_bytes = 50, ", "", "model.files.variants.size_bytes", "missing"),
        ('"Q4_K_M", size', '"q9_mine", size', "model.files.variants.quantization", "twice"),
        ("= 50,", '= 50, sha256 = ["ab"],', "model.files.variants.sha256", "64 lower-case hex"),
        (
            "= 50,",
            f'= 50, sha256 = ["{"a" * 64}"],',
            "model.files.variants.sha256_source",
            "missing",
        ),
        (
            "= 50,",
            f'= 50, sha256_source = "me", sha256 = ["{"a" * 64}", "{"b" * 64}"],',
            "model.files.variants.sha256",
            "2 hashes for 1 files",
        ),
        ("= 50,", '= 50, files = ["../x.gguf"],', "model.files.variants.files", "inside"),
        ("= 50,", '= 50, files = ["/x.gguf"],', "model.files.variants.files", "inside"),
        ("= 50,", "= 50, files = ['C:\\x.gguf'],", "model.files.variants.files", "inside"),
        ("= 50,", '= 50, files = ["*/*.gguf"],', "model.files.variants.files", "one * only"),
        ("= 50,", "= 50, files = [],", "model.files.variants.files", "at least one"),
        ("{quantization}", "Q4", "model.files.pattern", "must hold {quantization}"),
        ("me/My-R1-GGUF", "My-R1-GGUF", "model.files.repository", "owner/name"),
        ("kld = 0.001, ", "", "quantization.Q9_MINE", "exactly one of"),
        ("kld = 0.001", 'same_as = "Q77"', "quantization.Q9_MINE.same_as", "no quantization"),
        (', source = "me" }\n\n[[', " }\n\n[[", "quantization.Q9_MINE.source", "missing"),
        ("schema = 1", "schema = 2", "schema", "must be 1"),
        ("schema = 1", "models = 1", "models", "unknown key"),
        ("[[model]]", "[model]", "model", "must be a list"),
    ],
)
def test_mistakes_name_line_and_key(
    tmp_path: Path, old: str, new: str, key: str, complaint: str
) -> None:
    assert old in NEW_MODEL
    text = NEW_MODEL.replace(old, new, 1)
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path, text)
    error = caught.value
    assert str(tmp_path / "models.toml") in error.what
    assert error.why.startswith(f"Line {line_of(NEW_MODEL, old)}, {key}: ")
    assert complaint in error.why
    assert error.todo


@pytest.mark.parametrize(
    ("removed", "key", "at"),
    [
        ('name = "My R1"\n', "model.name", "[[model]]"),
        ('id = "mine"\n', "model.id", "[[model]]"),
        ("hard = 20\n", "model.thinking_tokens.hard", "[model.thinking_tokens]"),
        ('repository = "me/My-R1-GGUF"\n', "model.files.variants.repository", "{ quant"),
        ('pattern = "My-R1-{quantization}.gguf"\n', "model.files.variants.files", "{ quant"),
        ("schema = 1\n", "schema", ""),
    ],
)
def test_a_missing_key_has_the_line_of_its_table(
    tmp_path: Path, removed: str, key: str, at: str
) -> None:
    text = NEW_MODEL.replace(removed, "", 1)
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path, text)
    assert caught.value.why.startswith(f"Line {line_of(text, at)}, {key}: missing")


def test_two_models_with_one_id(tmp_path: Path) -> None:
    body = NEW_MODEL[NEW_MODEL.index("[[model]]") :]
    text = f"{NEW_MODEL}\n{body}"
    second = text[: text.rindex('id = "mine"')].count("\n") + 1
    with pytest.raises(CatalogueError, match=f"Line {second}, model.id: 'mine' is there twice"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("schema = 1\n\nname = 'open\n", "Line 3: "),
        ("schema = 1\nschema = 1\n", "Line 2: "),
        ("schema = 1\n[sources\n", "Line 2: "),
        ("schema = 1\nx = [", "Line 2: "),
        ("x = " + "[" * 5000, "Line 1: lists or tables are nested too deep"),
    ],
)
def test_text_that_is_not_toml(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path, text)
    assert caught.value.why.startswith(why)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(b"schema = 1\n# \xff\xfe\n")
    with pytest.raises(CatalogueError, match="Line 2: not UTF-8"):
        catalog.load(path)


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.toml"
    path.touch()
    read_text = Path.read_text

    def refuse(self: Path, encoding: str | None = None) -> str:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return read_text(self, encoding=encoding)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(FileError, match="Permission denied"):
        catalog.load(path)


def test_without_a_users_file_the_catalogue_is_ours(tmp_path: Path) -> None:
    assert catalog.load(tmp_path / "none.toml") == BUILT_IN
    assert load(tmp_path, "schema = 1\n") == BUILT_IN


def test_a_new_model_is_added(tmp_path: Path) -> None:
    merged = load(tmp_path, NEW_MODEL)
    assert merged.models[:-1] == BUILT_IN.models
    mine = merged.model("mine")
    assert mine == merged.models[-1]
    assert mine.sampling.top_k == 40
    assert not mine.thinking_tokens.assumed
    assert mine.benchmarks == {"gpqa_diamond": Sourced(40.0, "me")}
    # AIME is missing: the mean is over what there is.
    assert mine.quality == 40.0
    assert [v.quantization for v in mine.variants] == ["Q9_MINE", "Q4_K_M"]
    assert mine.variants[0].files == ("My-R1-Q9_MINE.gguf",)
    assert mine.architecture.active_parameters == 100_000
    assert merged.quantization_loss("q9_mine") == pytest.approx(0.06)
    assert merged.sources["me"] == "my own measurement"
    assert merged.resolve("mine:q4_k_m").variant == mine.variants[1]


def test_a_known_model_changes_only_where_told(tmp_path: Path) -> None:
    text = """\
schema = 1

[[model]]
id = "r1-distill-qwen-7b"
notes = ["Mine."]

[model.sampling]
temperature = 0.5

[model.files]
variants = [
  { quantization = "q8_0", size_bytes = 9_000_000_000, size_is_exact = true, source = "assumed", repository = "me/7B" },
  { quantization = "Q5_1", path = "7b.gguf", size_bytes = 6_000_000_000, size_is_exact = true, source = "assumed" },
]
"""
    merged = load(tmp_path, text)
    before, after = BUILT_IN.model("r1-distill-qwen-7b"), merged.model("r1-distill-qwen-7b")
    assert [m.id for m in merged.models] == [m.id for m in BUILT_IN.models]
    assert after.notes == ("Mine.",)
    assert after.sampling.temperature == 0.5
    assert after.sampling.top_p == before.sampling.top_p
    assert after.architecture == before.architecture
    changed = {v.quantization.upper(): v for v in after.variants}
    assert len(after.variants) == len(before.variants) + 1
    assert changed["Q8_0"].repository == "me/7B"
    assert changed["Q8_0"].size_bytes == 9_000_000_000
    assert changed["Q8_0"].sha256 == ()
    assert changed["Q5_1"].path == tmp_path / "7b.gguf"
    assert changed["Q5_1"].repository == ""
    same = {v for v in before.variants if v.quantization != "Q8_0"}
    assert same < set(after.variants)


def test_a_row_for_a_known_model_must_come_from_somewhere(tmp_path: Path) -> None:
    text = """\
schema = 1
[[model]]
id = "demo"
[model.files]
variants = [
  { quantization = "Q8_0", size_bytes = 1, size_is_exact = true, source = "assumed" },
]
"""
    with pytest.raises(CatalogueError, match=r"Line 6, model\.files\.variants\.repository"):
        load(tmp_path, text)


def test_every_line_of_ours_is_needed_or_optional(tmp_path: Path) -> None:
    # The built-in file itself passes as a user's: same ids, so nothing is added or lost.
    assert load(tmp_path, OURS).models[:-1] == BUILT_IN.models[:-1]


def test_models_are_values() -> None:
    def key(model: Model) -> int:
        return hash(model)

    assert len({key(m) for m in BUILT_IN.models}) == len(BUILT_IN.models)
    assert re.fullmatch(r"[\w.-]+", BUILT_IN.models[0].id)
