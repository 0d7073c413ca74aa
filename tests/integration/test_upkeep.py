"""Importing, verifying, moving, removing, and what could be deleted: by the commands."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import elsewhere
import pytest
import synthetic
from commands import Run, killed_while_copying
from downloading import REPOSITORY
from loopback_hub import LoopbackHub

from localr1 import workflow
from localr1.models import copying, lock
from localr1.models.copying import Span
from localr1.models.downloaded import units
from localr1.models.inventory import STOPPED_DAYS, UNUSED_DAYS, Row, deletable
from localr1.models.library import DEMO_PATH, Partial
from localr1.models.place import read_sidecar, sidecar_path
from localr1.models.types import LocalModel

DAY_SECONDS = 86_400.0
NAME = "some-r1-merge-F16"


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    return home


@pytest.fixture
def merge(tmp_path: Path) -> Path:
    return elsewhere.write_merge(tmp_path / f"{NAME}.gguf")


@pytest.fixture
def hub(hub: LoopbackHub, merge: Path) -> LoopbackHub:
    hub.add(REPOSITORY, {f"{NAME}.gguf": merge.read_bytes(), "README.md": b"hello"})
    return hub


def listed(run: Run) -> dict[str, dict[str, object]]:
    """Every variant that is here, by name."""
    code, out, _ = run("models", "--json")
    assert code == 0
    return {
        f"{model['model']}:{variant['variant']}": {**model, **variant}
        for model in json.loads(out)["models"]
        for variant in model["variants"]
        if variant["here"] and not model["demo"]
    }


def test_a_file_is_used_where_it_lies_and_only_forgotten(run: Run, merge: Path) -> None:
    before = (merge.stat().st_mtime_ns, merge.read_bytes())
    code, out, err = run("import", str(merge))
    assert (code, "where it lies" in err) == (0, True)
    assert f"localr1 chat {NAME}" in out
    here = listed(run)[f"{NAME}:F16"]
    assert (here["path"], here["place"], here["ours"]) == (str(merge), "imported", False)
    code, _, err = run("move", NAME, str(merge.parent / "elsewhere"))
    assert (code, "not moved" in err) == (1, True)
    code, out, _ = run("rm", NAME)
    assert (code, "no longer listed" in out) == (0, True)
    assert listed(run) == {}
    assert (merge.stat().st_mtime_ns, merge.read_bytes()) == before


def test_a_copy_is_our_own(run: Run, merge: Path) -> None:
    code, _, _ = run("import", "--copy", str(merge))
    assert code == 0
    here = listed(run)[f"{NAME}:F16"]
    copy = Path(str(here["path"]))
    assert here["ours"]
    assert copy != merge
    assert copy.read_bytes() == merge.read_bytes()
    code, out, _ = run("rm", NAME)
    assert (code, "free again" in out) == (0, True)
    assert not copy.parent.exists()
    assert merge.exists()


def test_a_model_of_another_family_works_with_a_word(run: Run, tmp_path: Path) -> None:
    path = elsewhere.write_merge(tmp_path / "plain.gguf", "Plain Chat")
    turn = synthetic.ASSISTANT.encode()
    raw = path.read_bytes().replace(turn, b"x" * len(turn))
    path.write_bytes(raw.replace(b"think>", b"other>"))
    code, out, _ = run("import", str(path))
    assert code == 0
    assert "not of the R1 family" in out
    assert listed(run)["plain:F16"]["r1_family"] is False


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("base.gguf", "no template", "no chat template"),
        ("noise.gguf", b"GGUF" + b"\xff" * 64, "not a usable GGUF"),
        ("text.gguf", b"hello", "not a usable GGUF"),
        ("gone.gguf", None, "does not exist"),
        ("", "folder", "is a folder"),
    ],
)
def test_what_cannot_be_imported_is_said(
    run: Run, tmp_path: Path, name: str, content: object, expected: str
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    path = folder / name
    if content == "no template":
        elsewhere.write_merge(path)
        key = b"tokenizer.chat_template"
        path.write_bytes(path.read_bytes().replace(key, b"tokenizer.chat_templatX"))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    code, _, err = run("import", str(path))
    assert code == 1
    assert expected in err
    assert listed(run) == {}


@pytest.mark.parametrize("source", ["hf", "hub page", "repository page", "any server"])
def test_a_download_is_imported_and_is_ours(run: Run, hub: LoopbackHub, source: str) -> None:
    address = {
        "hf": f"hf:{REPOSITORY}",
        "hub page": f"{hub.endpoint}/{REPOSITORY}/blob/main/{NAME}.gguf",
        "repository page": f"{hub.endpoint}/{REPOSITORY}",
        "any server": hub.link(REPOSITORY, f"{NAME}.gguf"),
    }[source]
    code, out, err = run("import", address)
    assert code == 0, err
    assert f"localr1 chat {NAME}" in out
    here = listed(run)[f"{NAME}:F16"]
    path = Path(str(here["path"]))
    assert here["ours"]
    assert here["place"] == "localr1"
    assert path.read_bytes() == hub.repositories[REPOSITORY].files[f"{NAME}.gguf"]
    if source == "any server":
        assert all(not seen.authorization for seen in hub.seen)


def test_several_files_are_listed_to_choose_from(run: Run, hub: LoopbackHub) -> None:
    content = hub.repositories[REPOSITORY].files[f"{NAME}.gguf"]
    hub.add("o/r", {"m-Q8_0.gguf": content, "m-Q6_K.gguf": content, "mmproj-f16.gguf": content})
    code, _, err = run("import", "hf:o/r")
    assert code == 2
    assert "m-Q8_0.gguf" in err
    assert "mmproj" not in err
    hub.add("o/usual", {"m-Q8_0.gguf": content, "m-Q4_K_M.gguf": content})
    code, out, _ = run("import", "hf:o/usual")
    assert code == 0
    assert "m-Q4_K_M.gguf" in out
    code, _, err = run("import", "hf:o/usual/m-Q5_K_M.gguf")
    assert (code, "m-Q8_0.gguf" in err) == (1, True)


@pytest.mark.parametrize("text", ["hf:", "hf:onlyname", "ftp://x/y.gguf", "https://x.org/y.zip"])
def test_what_is_no_source_is_wrong_usage(run: Run, text: str) -> None:
    code, _, err = run("import", text)
    assert code == 2
    assert "localr1:" in err


def test_offline_is_absolute_for_imports(run: Run, hub: LoopbackHub) -> None:
    for address in (f"hf:{REPOSITORY}", "https://example.org/m.gguf"):
        code, _, _ = run("--offline", "import", address)
        assert code == 4
    assert hub.seen == []


@pytest.mark.usefixtures("hub")
def test_an_altered_byte_is_found_by_every_authority(run: Run, user: Path) -> None:
    run("import", f"hf:{REPOSITORY}")
    ours = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    own_file = elsewhere.write_merge(user / ".lmstudio/models/other-r1.gguf", "Other R1", seed=3)
    for name in (NAME, "other-r1"):
        assert run("verify", name)[0] == 0
    assert "earlier check" in run("verify", "other-r1")[1]
    for path, name in ((ours, NAME), (own_file, "other-r1")):
        facts = path.stat()
        with path.open("r+b") as file:
            file.seek(facts.st_size - 100)
            file.write(b"\x55" * 3)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        code, out, err = run("verify", name)
        assert code == 1
        assert "NOT" in out
        assert str(path) in err
        assert ("rm" in err) is (path == ours)
    code, out, _ = run("verify", "--all", "--json")
    assert code == 1
    outcomes = {item["model"]: item["outcome"] for item in json.loads(out)["files"]}
    assert outcomes == {NAME: "altered", "other-r1": "altered", "demo": "recorded"}
    assert [listed(run)[f"{name}:F16"]["altered"] for name in (NAME, "other-r1")] == [True, True]
    assert run("models")[1].count("ALTERED") == 2
    assert "nonsense" in run("ask", "--model", "other-r1", "--max-tokens", "1", "hi")[2]


def test_other_programs_vouch_by_their_blobs_names(run: Run, user: Path, tmp_path: Path) -> None:
    path = elsewhere.write_merge(tmp_path / "x.gguf")
    elsewhere.into_ollama(user / ".ollama/models", "my-r1", "1b", path)
    code, out, _ = run("verify", "my-r1-1b")
    assert code == 0
    assert "as Ollama says" in out


@pytest.mark.usefixtures("hub")
def test_what_changed_since_it_was_checked_is_not_called_verified(run: Run, user: Path) -> None:
    run("import", f"hf:{REPOSITORY}")
    ours = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    assert listed(run)[f"{NAME}:F16"]["verified_seconds"]
    other = user / ".cache/llama.cpp" / f"{NAME}.gguf"
    other.parent.mkdir(parents=True)
    shutil.copy2(ours, other)
    elsewhere.damage(ours)
    row = listed(run)[f"{NAME}:F16"]
    assert (row["path"], row["verified_seconds"], row["altered"]) == (str(ours), None, False)
    code, _, err = run("verify", str(ours))
    assert (code, f"localr1 rm {ours}" in err, "localr1 pull" in err) == (1, True, True)
    # The copy that is not known to be altered is used now, and ours is told.
    row = listed(run)[f"{NAME}:F16"]
    assert (row["path"], row["altered"]) == (str(other), False)
    assert run("rm", str(ours))[0] == 0
    assert not ours.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_what_is_known_of_a_file_holds_by_all_its_names(run: Run, user: Path) -> None:
    repository = user / ".cache/huggingface/hub/models--o--m"
    blob = elsewhere.write_merge(repository / "blobs" / ("0" * 64))
    links = [repository / "snapshots" / name / "merge-r1.gguf" for name in ("first", "second")]
    for link in links:
        link.parent.mkdir(parents=True)
        link.symlink_to(blob)
    assert run("verify", str(links[0]))[0] == 1  # its name is another sha256
    shutil.rmtree(links[0].parent)
    (row,) = (row for name, row in listed(run).items() if name != "demo:F16")
    assert (row["path"], row["altered"]) == (str(links[1]), True)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("place", ["gone", "an empty folder"])
def test_a_copy_that_was_stopped_and_a_disk_that_is_away(
    run: Run, tmp_path: Path, merge: Path, place: str
) -> None:
    disk = tmp_path / "disk"
    assert run("import", "--copy", str(merge))[0] == 0
    assert run("move", NAME, str(disk))[0] == 0
    (folder,) = disk.iterdir()
    stopped = folder / "other.gguf.copying"
    stopped.write_bytes(bytes(1000))
    assert f"Stopped while it was copied: {stopped}" in run("models")[1]
    assert run("rm", str(stopped))[0] == 0
    assert not stopped.exists()
    disk.rename(tmp_path / "drawer")
    if place != "gone":
        disk.mkdir()
    assert "not connected" in run("models")[1]
    code, _, err = run("ask", "--model", NAME, "hi")
    assert (code, "not connected" in err) == (2, True)
    assert run("rm", str(disk))[0] == 0
    assert "not connected" not in run("models")[1]


@pytest.mark.usefixtures("hub")
def test_a_disk_that_is_not_connected_is_said(run: Run, tmp_path: Path) -> None:
    run("import", f"hf:{REPOSITORY}")
    disk, gone = tmp_path / "disk", tmp_path / "drawer"
    assert run("move", NAME, str(disk))[0] == 0
    disk.rename(gone)
    assert f"{disk}, where downloads were moved to, is not connected" in run("models")[1]
    for command in ("ask", "verify"):
        code, _, err = run(command, *(("--model", "7b", "hi") if command == "ask" else ("7b",)))
        assert (code, "not connected" in err) == (1, True)
    gone.rename(disk)
    assert f"{NAME}:F16" in listed(run)
    assert "not connected" not in run("models")[1]
    disk.rename(gone)
    code, out, _ = run("rm", str(disk))
    assert (code, "no longer looked for" in out) == (0, True)
    assert "not connected" not in run("models")[1]


@pytest.mark.skipif(sys.platform == "win32", reason="a path is shorter than a name there")
def test_a_name_that_leaves_no_room_for_ours(run: Run, tmp_path: Path) -> None:
    path = elsewhere.write_merge(tmp_path / f"{'n' * 250}.gguf")
    code, _, err = run("import", "--copy", str(path))
    assert code == 1
    assert "shorter name" in err


@pytest.mark.usefixtures("hub")
def test_one_move_of_a_model_at_a_time(run: Run, tmp_path: Path) -> None:
    run("import", f"hf:{REPOSITORY}")
    models = workflow.open_home(offline=True).directories.models
    with (
        lock.held_now(models / f"{NAME}-F16.gguf.moving"),
        lock.held_now(models / f"{NAME}.gguf.moving"),
    ):
        code, _, err = run("move", NAME, str(tmp_path / "disk"))
    assert (code, "Another localr1 moves it now" in err) == (1, True)
    assert run("move", NAME, str(tmp_path / "disk"))[0] == 0


def test_a_set_of_shards_is_verified_when_every_one_is(run: Run, user: Path) -> None:
    first = user / ".lmstudio/models/set-R1.gguf"
    first.parent.mkdir(parents=True)
    synthetic.write_tiny(first, shard_tensors=8, name="Some R1 Set")
    *_, last = shards = sorted(first.parent.glob("*.gguf"))
    assert len(shards) > 1
    records = workflow.open_home(offline=True).library.records
    (name,) = (name for name in listed(run) if name != "demo:F16")
    for shard in shards:
        assert listed(run)[name]["verified_seconds"] is None
        facts = shard.stat()
        stamp = {"size_bytes": facts.st_size, "modified_ns": facts.st_mtime_ns}
        records.note(shard, verified_seconds=1.0, **stamp)
    assert listed(run)[name]["verified_seconds"] == 1.0
    os.utime(last, (5, 5))
    assert listed(run)[name]["verified_seconds"] is None


@pytest.mark.usefixtures("hub")
def test_moving_verifies_switches_and_deletes(run: Run, tmp_path: Path) -> None:
    run("import", f"hf:{REPOSITORY}")
    before = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    content = before.read_bytes()
    workflow_home = workflow.open_home(offline=True)
    local = workflow_home.library.at(before, workflow_home.catalogue)
    assert local is not None
    workflow.remember(workflow_home, local)
    disk = tmp_path / "disk"
    code, out, err = run("move", NAME, str(disk))
    assert code == 0, err
    after = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    assert str(after) in out
    assert after.is_relative_to(disk)
    assert after.read_bytes() == content
    assert not before.parent.exists()
    assert listed(run)[f"{NAME}:F16"]["last_used_seconds"]
    last = workflow.last_used(workflow.open_home(offline=True))
    assert last is not None
    assert last.path == after
    assert run("move", NAME, str(disk))[0] == 0
    assert after.read_bytes() == content
    assert run("verify", NAME)[0] == 0
    assert run("rm", NAME)[0] == 0
    assert not after.exists()


@pytest.mark.usefixtures("hub")
def test_a_damaged_source_is_not_moved(run: Run, tmp_path: Path) -> None:
    run("import", f"hf:{REPOSITORY}")
    path = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"\x01\x02\x03")
    code, _, err = run("move", NAME, str(tmp_path / "disk"))
    assert (code, "damaged" in err) == (1, True)
    assert path.exists()
    assert list((tmp_path / "disk").rglob("*.gguf*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a kill is another thing there")
@pytest.mark.parametrize("after_seconds", [0.0, 0.05, 0.15, 0.3, 0.5])
def test_a_kill_while_moving_loses_nothing(
    run: Run, merge: Path, tmp_path: Path, after_seconds: float
) -> None:
    run("import", "--copy", str(merge))
    disk = tmp_path / "disk"
    killed_while_copying("move", NAME, str(disk), watched=disk, after_seconds=after_seconds)
    here = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    assert here.read_bytes() == merge.read_bytes()
    assert run("move", NAME, str(disk))[0] == 0
    here = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    assert here.is_relative_to(disk)
    assert here.read_bytes() == merge.read_bytes()
    assert not list(disk.rglob("*.copying"))


def test_a_copy_that_was_stopped_goes_on_and_a_wrong_start_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    for start, right in ((source.read_bytes()[:100_000], True), (b"\x00" * 100_000, False)):
        target = tmp_path / f"target-{right}"
        copying.growing_path(target).write_bytes(start)
        counted: list[int] = []
        copying.copy([Span(source, 0, 300_000)], target, counted.append)
        assert target.read_bytes() == source.read_bytes()
        assert sum(counted) == (600_000 if right else 1_200_000)


def row(local: LocalModel, **facts: object) -> Row:
    values: dict[str, object] = {
        "ours": True,
        "imported": False,
        "since_seconds": 0.0,
        "last_used_seconds": 0.0,
        "verified_seconds": 0.0,
        "generation_tps": 0.0,
    }
    return Row(local, **{**values, **facts})  # type: ignore[arg-type]


def test_what_can_be_deleted_and_why() -> None:
    now = 1000 * DAY_SECONDS
    model = elsewhere.seven_b()
    variants = {v.quantization: v for v in model.variants}

    def local(quantization: str) -> LocalModel:
        variant = variants[quantization]
        return LocalModel(model, variant, Path(quantization), variant.size_bytes)

    quality = {"Q8_0": 70.0, "Q4_K_M": 65.0, "Q3_K_M": 60.0}

    def judge(one: LocalModel) -> float:
        return quality[one.variant.quantization]

    used, old = (
        row(local("Q4_K_M"), last_used_seconds=now - 10),
        row(local("Q3_K_M"), last_used_seconds=now - (UNUSED_DAYS + 5) * DAY_SECONDS),
    )
    foreign = row(local("Q3_K_M"), ours=False)
    fresh = row(local("Q8_0"), since_seconds=now - 3 * DAY_SECONDS)
    partials = [
        Partial("o/r", ("a.gguf",), 5, 10, now - (STOPPED_DAYS + 1) * DAY_SECONDS),
        Partial("o/r", ("b.gguf",), 5, 10, now),
    ]
    found = deletable([used, old, foreign, fresh], partials, now, judge)
    assert [one.name for one in found] == [old.name, "o/r/a.gguf"]
    assert found[0].reasons == (
        f"not used for {UNUSED_DAYS + 5} days",
        f"{used.name} is here and answers better",
    )
    assert found[0].command == f"localr1 rm {old.name}"
    assert deletable([used], [], now, judge) == ()
    twin = row(local("Q8_0"), copies=(("LM Studio", Path("x")),), since_seconds=now)
    for equal in ({}, {Path("x"): False}):
        assert deletable([used, replace(twin, equal=equal)], [], now, judge) == ()
    twin = replace(twin, equal={Path("x"): True})
    (only,) = deletable([used, twin], [], now, judge)
    assert only.reasons == ("the same file is in LM Studio's folder",)


def test_unused_downloads_are_told_by_the_command(run: Run, merge: Path) -> None:
    assert "Nothing" in run("models", "--unused")[1]
    run("import", "--copy", str(merge))
    path = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    long_ago = time.time() - 90 * DAY_SECONDS
    os.utime(sidecar_path(path), (long_ago, long_ago))
    code, out, _ = run("models", "--unused")
    assert code == 0
    assert "never used in 90 days" in out
    assert f"localr1 rm {NAME}:F16" in out
    (unused,) = json.loads(run("models", "--unused", "--json")[1])["unused"]
    assert unused["size_bytes"] == merge.stat().st_size


def test_use_and_speed_are_remembered(run: Run, merge: Path) -> None:
    run("import", str(merge))
    home = workflow.open_home(offline=True)
    local = home.library.at(merge, home.catalogue)
    assert local is not None
    workflow.note_speed(home, local, 12.5, tokens=100)
    workflow.note_speed(home, local, 99.0, tokens=3)
    here = listed(run)[f"{NAME}:F16"]
    assert here["generation_tps"] == 12.5
    assert time.time() - float(str(here["last_used_seconds"])) < 60
    assert "12.5" in run("models")[1]


def test_a_damaged_record_is_set_aside(run: Run, merge: Path) -> None:
    run("import", str(merge))
    records = workflow.open_home(offline=True).directories.data / "library.json"
    records.write_text('{"schema": 1, "folders": 3}')
    assert listed(run) == {}
    assert records.with_name("library.json.damaged").exists()
    assert run("import", str(merge))[0] == 0
    assert list(listed(run)) == [f"{NAME}:F16"]


def test_the_demo_stays(run: Run, tmp_path: Path) -> None:
    code, _, err = run("rm", "demo")
    assert (code, "part of localr1" in err) == (1, True)
    copy = shutil.copy2(DEMO_PATH, tmp_path / "my r1.gguf")
    assert run("import", str(copy))[0] == 0
    assert run("rm", str(copy))[0] == 0
    assert DEMO_PATH.exists()


def test_a_copy_keeps_its_checksum(run: Run, merge: Path) -> None:
    run("import", "--copy", str(merge))
    home = workflow.open_home(offline=True)
    (unit,) = units(home.directories.models)
    note = read_sidecar(unit.path)
    assert note is not None
    assert note.sha256 == copying.file_sha256(merge, lambda _: None)


def test_the_whole_name_of_a_file_comes_before_a_part_of_another(run: Run, tmp_path: Path) -> None:
    path = elsewhere.write_merge(tmp_path / "model.gguf")
    run("import", str(path))
    home = workflow.open_home(offline=True)
    for name in ("model", "model:F16", "MODEL"):
        found = home.library.find(home.catalogue.resolve(name))
        assert found is not None
        assert found.path == path
    assert str(path) in run("verify", "model")[1]
    code, out, _ = run("rm", "model:F16")
    assert (code, str(path) in out) == (0, True)


def test_two_models_with_one_file_name_have_two_names(run: Run, tmp_path: Path) -> None:
    for folder, name in (("a", "First R1"), ("b", "Second R1")):
        path = elsewhere.write_merge(tmp_path / folder / "model.gguf", name)
        code, out, _ = run("import", str(path))
        assert code == 0
        announced = out.split("localr1 chat ")[1].strip()
        assert announced.startswith("model")
        assert str(path) in run("verify", announced)[1]
    assert len(listed(run)) == 2
    home = workflow.open_home(offline=True)
    names = set(listed(run))
    for name in names:
        found = home.library.find(home.catalogue.resolve(name))
        assert found is not None
        assert str(found.path) == listed(run)[name]["path"]


def test_an_imported_copy_is_found_by_the_name_that_was_told(
    run: Run, user: Path, tmp_path: Path
) -> None:
    first = elsewhere.write_merge(user / ".lmstudio/models/a/one.gguf")
    for name in ("two.gguf", "one.gguf"):
        path = Path(shutil.copy2(first, tmp_path / name))
        _, out, _ = run("import", str(path))
        announced = out.split("localr1 chat ")[1].strip()
        home = workflow.open_home(offline=True)
        found = home.library.find(home.catalogue.resolve(announced))
        assert found is not None
        assert found.path == path
        assert str(path) in run("verify", announced)[1]
        assert run("rm", announced)[0] == 0
        assert path.exists()


def test_a_second_copy_of_one_name_does_not_replace_the_first(run: Run, tmp_path: Path) -> None:
    contents = []
    for seed, folder in enumerate(("a", "b", "b")):
        name = "First R1" if folder == "a" else "Second R1"
        path = elsewhere.write_merge(tmp_path / folder / "model.gguf", name, seed=seed + 1)
        if seed < 2:
            contents.append(path.read_bytes())
        else:
            path.write_bytes(contents[1])
        assert run("import", "--copy", str(path))[0] == 0
    ours = [Path(str(one["path"])).read_bytes() for one in listed(run).values()]
    assert sorted(ours) == sorted(contents)


def test_a_folder_of_ours_may_lie_within_another(run: Run, merge: Path) -> None:
    run("import", "--copy", str(merge))
    within = workflow.open_home(offline=True).directories.models / "sub"
    assert run("move", NAME, str(within))[0] == 0
    here = listed(run)[f"{NAME}:F16"]
    assert Path(str(here["path"])).is_relative_to(within)
    assert here["ours"]
    assert run("rm", NAME)[0] == 0


def test_offline_and_not_here_is_told_by_the_exit_code(run: Run) -> None:
    for command in ("verify", "rm"):
        assert run("--offline", command, "7b")[0] == 4
        assert run(command, "7b")[0] == 1


def test_a_copy_is_as_the_file_it_was_copied_from(run: Run, hub: LoopbackHub, merge: Path) -> None:
    run("import", "--copy", str(merge))
    _, out, _ = run("verify", NAME)
    assert "as it was when it was copied; nobody else says" in out
    assert listed(run)[f"{NAME}:F16"]["verified_seconds"] is None
    assert "hub" not in out
    run("rm", NAME)
    run("import", hub.link(REPOSITORY, f"{NAME}.gguf"))
    assert "as the download says" in run("verify", NAME)[1]
    run("rm", NAME)
    run("import", f"hf:{REPOSITORY}")
    assert "as the hub says" in run("verify", NAME)[1]


def test_files_are_the_same_only_when_their_checksums_are(
    run: Run, user: Path, merge: Path
) -> None:
    run("import", "--copy", str(merge))
    other = user / ".lmstudio/models/a/other.gguf"
    other.parent.mkdir(parents=True)
    content = merge.read_bytes()
    at = len(content) - len(content) // 14  # between two of the samples
    other.write_bytes(content[:at] + b"\x55" * 50 + content[at + 50 :])
    assert "not compared" in run("models")[1]
    assert "Nothing" in run("models", "--unused")[1]
    assert "other contents" in run("models")[1]
    other.write_bytes(content)
    os.utime(other, (1, 1))
    assert "not compared" in run("models")[1]
    assert "the same file is in LM Studio's folder" in run("models", "--unused")[1]
    assert "the same file is also at" in run("models")[1]


def test_two_fine_tunes_with_one_header_are_two_models(run: Run, user: Path, merge: Path) -> None:
    content = merge.read_bytes()
    for name in ("one", "two"):
        path = user / f".lmstudio/models/{name}/{NAME}.gguf"
        path.parent.mkdir(parents=True)
        # Another last weight; header and size are the same.
        path.write_bytes(content[:-1] + name[:1].encode())
    here = listed(run)
    assert len(here) == 2
    for name, row in here.items():
        assert name.startswith(NAME)
        code, out, _ = run("verify", name)
        assert (code, str(row["path"]) in out) == (0, True)


def test_every_file_is_verified(run: Run, user: Path, tmp_path: Path) -> None:
    first = elsewhere.write_merge(user / ".lmstudio/models/a/one.gguf")
    copy = user / ".lmstudio/models/b/copy.gguf"
    copy.parent.mkdir()
    shutil.copy2(first, copy)
    second = elsewhere.write_merge(tmp_path / "one.gguf", "Another R1")
    run("import", str(second))
    code, out, _ = run("verify", "--all", "--json")
    assert code == 0
    paths = {item["path"] for item in json.loads(out)["files"]}
    assert paths == {str(path) for path in (first, copy, second, DEMO_PATH)}


ODD = "odd\u202e\x1b[31m\nR1"


@pytest.mark.skipif(sys.platform == "win32", reason="such names cannot be there")
def test_names_do_not_reach_the_terminal_as_they_are(run: Run, tmp_path: Path) -> None:
    path = elsewhere.write_merge(tmp_path / f"{ODD}.gguf", ODD)
    for command in ("import", "verify", "models", "rm"):
        _, out, err = run(command, *([str(path)] if command != "models" else []))
        assert "\x1b" not in out + err
        assert "\u202e" not in out + err
        assert "\nR1" not in out + err, command
        if command == "verify":
            _, out, _ = run("models", "--json")
            assert "\u202e" not in out
            assert str(path) in {
                row["path"] for model in json.loads(out)["models"] for row in model["variants"]
            }


def test_a_useless_download_does_not_stay(run: Run, hub: LoopbackHub) -> None:
    content = hub.repositories[REPOSITORY].files[f"{NAME}.gguf"]
    hub.add("o/cut", {"cut.gguf": content[:-1000]})
    hub.add("o/page", {"page.gguf": b"<html>" * 100})
    models = workflow.open_home(offline=True).directories.models
    for name in ("cut", "page"):
        code, _, err = run("import", f"hf:o/{name}")
        assert (code, "deleted again" in err) == (1, True)
        assert list(models.rglob(f"{name}.gguf*")) == []


@pytest.mark.usefixtures("hub")
def test_a_spoilt_download_of_ours_can_be_removed_by_its_path(run: Run) -> None:
    run("import", f"hf:{REPOSITORY}")
    path = Path(str(listed(run)[f"{NAME}:F16"]["path"]))
    path.write_bytes(b"<html>")
    assert run("rm", str(path))[0] == 0
    assert not path.exists()
    assert not sidecar_path(path).exists()
