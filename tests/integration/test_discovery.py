"""Models that other programs have: found, told apart, and left alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import elsewhere
import pytest
import synthetic

from localr1 import workflow
from localr1.errors import FileError
from localr1.models import catalog, upkeep, walk
from localr1.models.headers import HeaderCache
from localr1.models.library import Library
from localr1.models.place import Sidecar, target_path, write_sidecar
from localr1.models.places import places
from localr1.models.records import Records
from localr1.models.types import Choice, LocalModel

SEVEN_B = elsewhere.seven_b()
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


@pytest.fixture
def user(tmp_path: Path) -> Path:
    return tmp_path / "user"


@pytest.fixture
def library(tmp_path: Path, user: Path) -> Library:
    found = places([tmp_path / "added"], environment={}, home=user, platform="linux")
    return Library(tmp_path / "own", places=found, cache=HeaderCache(tmp_path / "cache"))


def snapshot(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file with size, time and the start of its bytes: what must not change."""
    facts = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            with path.open("rb") as file:
                start = hashlib.sha256(file.read(1 << 16)).hexdigest()
            facts[str(path)] = (status.st_size, status.st_mtime_ns, start)
    return facts


def test_every_program_is_looked_at_and_nothing_is_changed(
    library: Library, user: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.gguf"
    expected = {
        "LM Studio": elsewhere.write_7b(user / ".lmstudio/models/owner/repo/any name.gguf"),
        "llama.cpp": elsewhere.write_7b(user / ".cache/llama.cpp/o_r_x.gguf", "Q6_K"),
        "Jan": elsewhere.write_7b(
            user / ".local/share/Jan/data/llamacpp/models/r1/model.gguf", "Q8_0"
        ),
        "text-generation-webui": elsewhere.write_7b(
            user / "text-generation-webui/user_data/models/m.gguf", "Q2_K"
        ),
        "your folder": elsewhere.write_merge(tmp_path / "added/deep/er/merge.gguf"),
        "Ollama": elsewhere.into_ollama(
            user / ".ollama/models", "deepseek-r1", "7b", elsewhere.write_7b(new, "F16")
        ),
    }
    if sys.platform != "win32":
        elsewhere.write_7b(new, "Q4_0")
        cache = user / ".cache/huggingface/hub"
        expected["Hugging Face"] = elsewhere.into_hub_cache(cache, "owner/repo-GGUF", new)
    before = snapshot(user)
    found = {local.place: local for local in library.scan(catalog.load()) if not local.model.demo}
    assert {place: local.path for place, local in found.items()} == expected
    for place, local in found.items():
        assert local.model.id == (SEVEN_B.id if place != "your folder" else "merge"), place
        assert local.size_bytes == local.path.stat().st_size
    assert found["Ollama"].variant.quantization == "F16"
    assert snapshot(user) == before


def test_a_models_name_is_not_trusted(library: Library, user: Path) -> None:
    folder = user / ".lmstudio/models"
    elsewhere.write_7b(folder / "harmless.gguf")
    elsewhere.write_7b(folder / "x/DeepSeek-R1-Distill-Qwen-7B-Q8_0.gguf", name="Qwen Tune")
    (folder / "DeepSeek-R1-Distill-Qwen-7B-Q6_K.gguf").write_bytes(b"not a model at all")
    survey = library.survey(catalog.load())
    ids = {local.path.name: local.model.id for local in survey.models if not local.model.demo}
    assert ids["harmless.gguf"] == SEVEN_B.id
    assert [one.state for one in survey.discovery.unusable] == ["damaged"]
    assert survey.discovery.unusable[0].r1


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("DeepSeek R1 Distill Qwen 7B", True),
        ("deepseek-ai_DeepSeek-R1-Distill-Qwen-7B", True),
        ("DeepSeek-R1-Distill-Qwen-7B-BF16", True),
        ("DeepSeek-R1-Distill-Qwen-7B-abliterated", False),
        ("DeepSeek-R1-Distill-Qwen-7B-Japanese", False),
        ("OpenR1-Qwen-7B", False),
    ],
)
def test_a_fine_tune_is_another_model(library: Library, user: Path, name: str, same: bool) -> None:
    path = elsewhere.write_7b(user / ".lmstudio/models/m.gguf", name=name)
    (local,) = (one for one in library.scan(catalog.load()) if one.path == path)
    assert (local.model.id == SEVEN_B.id) is same
    assert local.model.architecture == SEVEN_B.architecture


def test_files_of_other_families_are_passed_over_unless_the_user_brings_them(
    library: Library, user: Path, tmp_path: Path
) -> None:
    for folder in (user / ".lmstudio/models", tmp_path / "added"):
        path = elsewhere.write_merge(folder / "other.gguf", "Some Llama")
        raw = path.read_bytes()
        turn = synthetic.ASSISTANT.encode()
        # Same length, another word: a chat model that does not think.
        path.write_bytes(raw.replace(turn, b"x" * len(turn)).replace(b"think>", b"other>"))
    names = [local.path for local in library.scan(catalog.load()) if not local.model.demo]
    assert names == [tmp_path / "added" / "other.gguf"]


def test_copies_are_told_with_the_one_that_is_used(library: Library, user: Path) -> None:
    first = elsewhere.write_merge(user / ".lmstudio/models/a/one.gguf")
    second = user / ".cache/llama.cpp/two.gguf"
    second.parent.mkdir(parents=True)
    shutil.copy2(first, second)
    survey = library.survey(catalog.load())
    (found,) = survey.discovery.found
    assert found.path == first
    assert [(copy.tool, copy.path) for copy in found.copies] == [("llama.cpp", second)]
    assert [m.path for m in survey.models if not m.model.demo] == [first]


def test_a_copy_that_was_proven_is_used_before_one_that_only_looks_the_same(
    tmp_path: Path, user: Path
) -> None:
    found_in = places([], environment={}, home=user, platform="linux")
    cache, records = HeaderCache(tmp_path / "cache"), Records(tmp_path / "records.json")
    library = Library(tmp_path / "own", places=found_in, cache=cache, records=records)
    damaged = elsewhere.write_merge(user / ".lmstudio/models/a/one.gguf")
    sound = user / ".cache/llama.cpp/two.gguf"
    sound.parent.mkdir(parents=True)
    shutil.copy2(damaged, sound)
    elsewhere.damage(damaged)
    facts = sound.stat()
    records.note(
        sound, size_bytes=facts.st_size, modified_ns=facts.st_mtime_ns, verified_seconds=1.0
    )
    survey = library.survey(catalog.load())
    (local,) = (one for one in survey.models if not one.model.demo)
    assert local.path == sound
    (found,) = survey.discovery.found
    assert [(copy.tool, copy.path) for copy in found.copies] == [("LM Studio", damaged)]
    # Also where a name is looked up among what was found before.
    choice = Choice(local.model, local.variant)
    again = library.find(choice)
    assert again is not None
    assert again.path == sound
    # Not once it has changed since.
    elsewhere.damage(sound)
    (found,) = library.survey(catalog.load()).discovery.found
    assert found.path == damaged


def test_a_damaged_copy_stays_the_last_however_often_it_is_checked(
    tmp_path: Path, user: Path
) -> None:
    found_in = places([], environment={}, home=user, platform="linux")
    records = Records(tmp_path / "data")
    library = Library(
        tmp_path / "own", places=found_in, cache=HeaderCache(tmp_path / "cache"), records=records
    )
    damaged = elsewhere.write_merge(user / ".lmstudio/models/a/My-R1-Merge-Q8_0.gguf")
    other = Path(shutil.copy2(damaged, tmp_path / "other"))
    sound = elsewhere.into_ollama(user / ".ollama/models", "merge", "7b", other)
    elsewhere.damage(damaged)
    models = catalog.load()

    def used() -> LocalModel:
        (local,) = (one for one in library.scan(models) if not one.model.demo)
        again = library.find(Choice(local.model, local.variant))
        assert again is not None
        assert again.path == local.path
        return local

    def check(path: Path) -> str:
        (local,) = (one for one in library.files(models) if one.path == path)
        (verdict,) = upkeep.verify(local, library, lambda *_: None)
        return verdict.outcome

    assert (first := used()).path == damaged  # nothing is known of either
    assert [check(damaged), check(damaged), check(sound)] == ["recorded", "unchanged", "sound"]
    assert used().path == sound
    assert (used().model.id, used().variant.quantization) == (first.model.id, "Q8_0")
    assert check(damaged) == "unchanged"
    assert used().path == sound
    # One that is found altered comes after those of which nothing is known.
    elsewhere.damage(sound)
    assert check(sound) == "altered"
    assert used().path == damaged
    assert not used().altered
    damaged.unlink()
    assert used().altered
    elsewhere.damage(sound)  # the same bytes again: what was
    assert check(sound) == "sound"
    assert not used().altered


def test_incomplete_and_damaged_files_are_told_apart(library: Library, user: Path) -> None:
    folder = user / ".lmstudio/models"
    whole = elsewhere.write_merge(folder / "whole.gguf")
    cut = folder / "cut.gguf"
    cut.write_bytes(whole.read_bytes()[:-1000])
    (folder / "noise R1.gguf").write_bytes(b"\xff" * 4096)
    shutil.copy2(whole, folder / "coming-R1.gguf.part")
    shards = folder / "shards/set.gguf"
    shards.parent.mkdir()
    synthetic.write_tiny(shards, shard_tensors=8)
    parts = sorted(shards.parent.glob("*.gguf"))
    assert len(parts) > 2
    parts[1].unlink()
    ollama = user / ".ollama/models"
    blob = elsewhere.into_ollama(
        ollama, "deepseek-r1", "8b", Path(shutil.copy2(whole, folder / "c"))
    )
    blob.unlink()
    survey = library.survey(catalog.load())
    states = {one.path.name: one.state for one in survey.discovery.unusable}
    assert states == {
        "cut.gguf": "incomplete",
        "noise R1.gguf": "damaged",
        "coming-R1.gguf.part": "incomplete",
        parts[0].name: "incomplete",
        blob.name: "incomplete",
    }
    assert all(one.r1 and one.why for one in survey.discovery.unusable if "R1" in one.path.name)
    assert [m.path for m in survey.models if not m.model.demo] == [whole]


def test_a_download_is_listed_once_whatever_its_header_says(library: Library) -> None:
    models = catalog.load()
    variant = models.model("r1-distill-qwen-7b").variants[0]
    path = target_path(library.directory, variant.repository, variant.files[0])
    path.parent.mkdir(parents=True)
    elsewhere.write_merge(path, "Quite Another R1")
    facts = path.stat()
    unit = ((variant.files[0], facts.st_size),)
    note = (variant.repository, variant.files[0], "main", facts.st_size, "", facts.st_mtime_ns)
    write_sidecar(path, Sidecar(*note, unit))
    (local,) = (one for one in library.scan(models) if not one.model.demo)
    assert (local.path, local.model.id) == (path, "r1-distill-qwen-7b")
    assert [one.path for one in library.files(models) if not one.model.demo] == [path]


def test_a_file_that_is_only_called_model_has_its_folders_name(
    library: Library, user: Path
) -> None:
    path = elsewhere.write_merge(user / "jan/llamacpp/models/My-R1-Merge/model.gguf")
    (local,) = (one for one in library.scan(catalog.load()) if not one.model.demo)
    assert (local.path, local.model.id, local.place) == (path, "my-r1-merge", "Jan")


def test_a_model_of_one_letter_is_found_by_name_and_variant(library: Library, user: Path) -> None:
    elsewhere.write_merge(user / "text-generation-webui/text-generation-webui/models/s.gguf")
    models = catalog.load().with_others(lambda: library.beyond(catalog.load()))
    library.scan(models)
    assert models.resolve("s:F16").model.id == "s"


def test_shards_are_one_model(library: Library, user: Path) -> None:
    shards = user / ".lmstudio/models/set.gguf"
    shards.parent.mkdir(parents=True)
    synthetic.write_tiny(shards, shard_tensors=8)
    parts = sorted(shards.parent.glob("*.gguf"))
    (local,) = (one for one in library.scan(catalog.load()) if not one.model.demo)
    assert local.path == parts[0]
    assert local.size_bytes == sum(part.stat().st_size for part in parts)


@needs_links
def test_links_in_a_circle_end(library: Library, user: Path) -> None:
    folder = user / ".lmstudio/models"
    path = elsewhere.write_merge(folder / "a/b/model.gguf")
    (folder / "a/b/again").symlink_to(folder, target_is_directory=True)
    (folder / "a/link.gguf").symlink_to(path)
    (folder / "a/nowhere.gguf").symlink_to(folder / "gone")
    survey = library.survey(catalog.load())
    assert len(survey.discovery.found) == 1
    assert not survey.discovery.found[0].copies
    assert [one.state for one in survey.discovery.unusable] == ["incomplete"]


def test_a_huge_folder_is_not_searched_to_its_end(
    library: Library, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = user / ".lmstudio/models"
    folder.mkdir(parents=True)
    monkeypatch.setattr(walk, "MOST_ENTRIES", 50)
    for number in range(80):
        (folder / f"{number:03}.txt").touch()
    assert library.survey(catalog.load()).discovery.cut_short == (folder,)


def test_settings_of_other_programs_say_where_they_keep_models(tmp_path: Path) -> None:
    user = tmp_path / "user"
    (user / ".lmstudio").mkdir(parents=True)
    (user / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": "/disk/lms"}))
    (user / ".lmstudio-home-pointer").write_text("/disk/home\n")
    jan = user / ".config/Jan"
    jan.mkdir(parents=True)
    (jan / "settings.json").write_text(json.dumps({"data_folder": "/disk/jan"}))
    environment = {
        "HF_HOME": "/disk/hf",
        "OLLAMA_MODELS": "/disk/ollama",
        "LLAMA_CACHE": "~/llama",
    }
    folders = {
        place.folder: place.tool
        for place in places(environment=environment, home=user, platform="linux")
    }
    assert folders[Path("/disk/lms")] == "LM Studio"
    assert folders[Path("/disk/home/models")] == "LM Studio"
    assert folders[Path("/disk/jan/llamacpp/models")] == "Jan"
    assert folders[Path("/disk/hf/hub")] == "Hugging Face"
    assert folders[Path("/disk/ollama")] == "Ollama"
    assert folders[user / "llama"] == "llama.cpp"


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("darwin", {}, "Library/Caches/llama.cpp"),
        ("darwin", {}, "Library/Application Support/Jan/data/llamacpp/models"),
        ("darwin", {}, ".ollama/models"),
        ("win32", {"LOCALAPPDATA": "{home}/local"}, "local/llama.cpp"),
        ("win32", {"APPDATA": "{home}/roaming"}, "roaming/Jan/data/llamacpp/models"),
        ("win32", {}, ".lmstudio/models"),
        ("linux", {"XDG_CACHE_HOME": "{home}/xdg"}, "xdg/huggingface/hub"),
    ],
)
def test_each_system_has_its_own_places(
    tmp_path: Path, platform: str, environment: dict[str, str], folder: str
) -> None:
    filled = {name: value.format(home=tmp_path) for name, value in environment.items()}
    known = {p.folder for p in places(environment=filled, home=tmp_path, platform=platform)}
    assert tmp_path / folder in known


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"schema": 1, "files": {"x": 3}}', "nonsense", "[" * 100_000]
)
def test_a_damaged_cache_is_no_loss(
    library: Library, user: Path, tmp_path: Path, damage: str
) -> None:
    elsewhere.write_merge(user / ".lmstudio/models/one.gguf")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "headers.json").write_text(damage)
    assert len(library.scan(catalog.load())) == 2


def test_a_cache_with_damaged_entries_is_no_loss(
    library: Library, user: Path, tmp_path: Path
) -> None:
    elsewhere.write_merge(user / ".lmstudio/models/one.gguf")
    first = library.scan(catalog.load())
    path = tmp_path / "cache" / "headers.json"
    data = json.loads(path.read_bytes())
    (entry,) = data["files"].values()
    assert entry["state"] == "complete"
    for key in (*entry, "architecture"):
        strange: tuple[object, ...] = (None, 7, "x", {}, [[1]])
        for value in strange:
            spoiled = json.loads(path.read_bytes())
            (inner,) = spoiled["files"].values()
            (inner["gguf"] if key == "architecture" else inner)[key] = value
            path.write_text(json.dumps(spoiled))
            again = Library(
                tmp_path / "own",
                places=places(environment={}, home=user, platform="linux"),
                cache=HeaderCache(tmp_path / "cache"),
            )
            if key != "r1":
                assert again.scan(catalog.load())[0].path == first[0].path
            path.write_text(json.dumps(data))


def test_a_second_look_reads_no_header(
    library: Library, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = elsewhere.write_merge(user / ".lmstudio/models/one.gguf")
    first = library.scan(catalog.load())

    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError("a header was read again")

    monkeypatch.setattr("localr1.models.headers.examine", unwanted)
    again = Library(
        tmp_path / "own",
        places=places([tmp_path / "added"], environment={}, home=user, platform="linux"),
        cache=HeaderCache(tmp_path / "cache"),
    )
    assert again.scan(catalog.load()) == first
    os.utime(path, (1, 1))
    with pytest.raises(AssertionError, match="read again"):
        again.scan(catalog.load())


def test_a_found_model_is_the_one_of_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user"
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("USERPROFILE", str(user))
    listed = elsewhere.write_7b(user / ".lmstudio/models/a.gguf")
    merge = elsewhere.write_merge(user / ".lmstudio/models/my-merge.gguf")
    home = workflow.open_home(offline=True)
    by_path = {local.path: local for local in workflow.local_models(home)}
    for path, name in ((listed, "7b"), (merge, "my-merge")):
        workflow.remember(home, by_path[path])
        later = workflow.open_home(offline=True)
        assert workflow.last_used(later) == by_path[path]
        choice = later.catalogue.resolve(name)
        found = later.library.find(choice)
        assert found is not None
        assert found.path == path
        with pytest.raises(FileError, match="not removed"):
            later.library.remove(by_path[path])
    assert home.library.find(Choice(SEVEN_B, None)) == by_path[listed]
    listed.unlink()
    merge.unlink()
    assert workflow.last_used(workflow.open_home(offline=True)) is None


def test_a_thousand_files_are_listed_quickly(library: Library, user: Path) -> None:
    # A hang deadline, ten times what it takes on a slow disk; not a measurement.
    folder = user / ".lmstudio/models"
    path = elsewhere.write_merge(folder / "one.gguf")
    for number in range(1000):
        (folder / f"{number}").mkdir()
        (folder / f"{number}/notes.txt").touch()
    os.link(path, folder / "0/two.gguf")
    started = time.monotonic()
    assert len(library.survey(catalog.load()).discovery.found) == 1
    assert time.monotonic() - started < 10
