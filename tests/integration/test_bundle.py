"""Models on a USB disk: carried, split, resumed, verified."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import elsewhere
import pytest
from commands import Run, killed_while_copying

from localr1 import workflow
from localr1.errors import DiskFull
from localr1.models import bundle, copying, luggage, place, unbundle
from localr1.models.manifest import FOLDER_NAME, MANIFEST_NAME, PART_BYTES, Manifest, read_manifest
from localr1.models.types import LocalModel, Model

NAME = "some-r1-merge-F16"
PART = 100_000


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    return tmp_path / "usb"


@pytest.fixture
def merge(tmp_path: Path) -> Path:
    return elsewhere.write_merge(tmp_path / f"{NAME}.gguf")


@pytest.fixture
def another_computer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], workflow.Home]:
    def go(name: str) -> workflow.Home:
        monkeypatch.setenv("LOCALR1_HOME", str(tmp_path / name))
        return workflow.open_home(offline=True)

    return go


def here(home: workflow.Home) -> dict[str, LocalModel]:
    return {
        f"{local.model.id}:{local.variant.quantization}": local
        for local in workflow.local_models(home)
        if not local.model.demo
    }


def carried(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER_NAME).iterdir())


def test_models_settings_and_catalogue_are_carried(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    left = another_computer("left")
    settings = left.directories.settings
    settings.mkdir(parents=True)
    (settings / "models.toml").write_text(
        'schema = 1\n[[model]]\nid = "r1-distill-qwen-7b"\nnotes = ["mine"]\n'
    )
    (settings / "settings.toml").write_text("goal = 'fast'\ncontext_window = 4096\n")
    assert run("import", "--copy", str(merge))[0] == 0
    other = elsewhere.write_merge(merge.with_name("where-it-lies-r1.gguf"), "Lies R1", seed=5)
    assert run("import", str(other))[0] == 0
    code, out, err = run("bundle", "export", str(usb))
    assert code == 0, err
    assert NAME in out
    assert not list((usb / FOLDER_NAME).glob("*.copying"))
    arrived = another_computer("arrived")
    code, out, err = run("bundle", "import", str(usb))
    assert code == 0, err
    arrived = workflow.open_home(offline=True)
    assert arrived.preferences.goal == "fast"
    assert arrived.preferences.models_directory is None
    assert arrived.catalogue.model("r1-distill-qwen-7b").notes == ("mine",)
    found = here(arrived)
    assert set(found) == {f"{NAME}:F16", "where-it-lies-r1:F16"}
    assert found[f"{NAME}:F16"].path.read_bytes() == merge.read_bytes()
    assert found["where-it-lies-r1:F16"].path.read_bytes() == other.read_bytes()
    assert all(arrived.library.unit(local) for local in found.values())
    assert run("verify", "--all")[0] == 0
    assert run("rm", NAME)[0] == 0


def test_folders_of_this_computer_stay(
    another_computer: Callable[[str], workflow.Home], tmp_path: Path
) -> None:
    home = another_computer("left")
    home.directories.settings.mkdir(parents=True)
    text = f"goal = 'fast'\nmodels_directory = '{tmp_path}'\nmodel_folders = [\n 'a',\n]\n"
    (home.directories.settings / "settings.toml").write_text(text)
    packed = luggage.pack(workflow.open_home(offline=True).directories)
    assert packed == {"settings.toml": 'goal = "fast"\n'}


def test_a_second_time_nothing_is_copied(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    home = another_computer("left")
    run("import", "--copy", str(merge))
    run("bundle", "export", str(usb))
    file = next((usb / FOLDER_NAME).glob("*.gguf"))
    before = file.stat().st_mtime_ns
    assert run("bundle", "export", str(usb))[0] == 0
    assert file.stat().st_mtime_ns == before
    home = another_computer("arrived")
    assert run("bundle", "import", str(usb))[0] == 0
    (local,) = here(home).values()
    before = local.path.stat().st_mtime_ns
    assert run("bundle", "import", str(usb / FOLDER_NAME))[0] == 0
    assert local.path.stat().st_mtime_ns == before


def exported(
    home: workflow.Home, usb: Path, on_bytes: Callable[[int], None] = lambda _: None
) -> Manifest:
    locals_here = list(here(home).values())
    return bundle.export(locals_here, home.library, usb, {}, on_bytes, part_bytes=PART).manifest


def test_large_files_are_split_and_joined(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    home = another_computer("left")
    run("import", str(merge))
    counted: list[int] = []
    manifest = exported(home, usb, counted.append)
    size = merge.stat().st_size
    assert sum(counted) == bundle.export_size(list(here(home).values())) == 3 * size
    (model,) = manifest.models
    parts = model.files[0].parts
    assert len(parts) == -(-size // PART) > 2
    assert all((usb / FOLDER_NAME / p.name).stat().st_size == p.size_bytes <= PART for p in parts)
    home = another_computer("arrived")
    counted.clear()
    read = read_manifest(usb)
    assert read == manifest
    ((_, path),) = unbundle.take_in(
        manifest, usb, home.library, home.catalogue, counted.append
    ).models
    assert path.read_bytes() == merge.read_bytes()
    assert sum(counted) == unbundle.import_size(manifest)


def test_no_part_is_too_large_for_fat32() -> None:
    assert PART_BYTES < 2**32


STOPPED = """
import sys
from pathlib import Path
import test_bundle
from localr1 import workflow
home = workflow.open_home(offline=True)
if sys.argv[1] == "export":
    test_bundle.exported(home, Path(sys.argv[2]))
else:
    from localr1.models import unbundle
    from localr1.models.manifest import read_manifest
    unbundle.take_in(read_manifest(Path(sys.argv[2])), Path(sys.argv[2]), home.library, home.catalogue, lambda _: 0)
"""


def killed(action: str, usb: Path, after_seconds: float) -> None:
    watched = usb if action == "export" else Path(os.environ["LOCALR1_HOME"])
    killed_while_copying(
        action, str(usb), watched=watched, after_seconds=after_seconds, code=STOPPED
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a kill is another thing there")
@pytest.mark.parametrize("after_seconds", [0.0, 0.1, 0.3])
def test_a_kill_leaves_nothing_half_under_a_final_name(
    run: Run,
    merge: Path,
    usb: Path,
    another_computer: Callable[[str], workflow.Home],
    after_seconds: float,
) -> None:
    home = another_computer("left")
    run("import", str(merge))
    killed("export", usb, after_seconds)
    content = merge.read_bytes()
    for path in (usb / FOLDER_NAME).glob("*of*"):
        if path.suffix != ".copying":
            number = int(path.name.rsplit(".", 1)[1][:3]) - 1
            assert path.read_bytes() == content[number * PART : (number + 1) * PART]
    manifest = exported(home, usb)
    assert not list((usb / FOLDER_NAME).glob("*.copying"))
    assert not (usb / FOLDER_NAME / "progress.json").exists()
    home = another_computer("arrived")
    killed("import", usb, after_seconds)
    assert all(local.path.read_bytes() == content for local in here(home).values())
    ((_, path),) = unbundle.take_in(
        manifest, usb, home.library, home.catalogue, lambda _: None
    ).models
    assert path.read_bytes() == content


def test_finished_parts_are_not_copied_again(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    home = another_computer("left")
    run("import", str(merge))
    count = 0

    def interrupt(_: int) -> None:
        nonlocal count
        count += 1
        # The source is read whole first, then each part is read and read back.
        if count == 1 + 2 * 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exported(home, usb, interrupt)
    first = min((usb / FOLDER_NAME).glob("*.001of*"))
    before = first.stat().st_mtime_ns
    exported(home, usb)
    assert first.stat().st_mtime_ns == before


@dataclass(frozen=True)
class Shelf:
    models: tuple[Model, ...]


@pytest.mark.parametrize("why", ["another network", "another sha256"])
def test_what_cannot_be_the_variant_that_it_says_is_not_taken_in(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home], why: str
) -> None:
    home = another_computer("left")
    run("import", str(merge))
    exported(home, usb)
    home = another_computer("arrived")
    model = home.catalogue.model("r1-distill-qwen-7b")
    variant = model.variants[0]
    shelf = Shelf((model,))
    if why == "another sha256":
        known = replace(variant, size_bytes=merge.stat().st_size, sha256=("0" * 64,))
        shelf = Shelf((replace(model, variants=(known,)),))

    def claim(data: dict[str, Any]) -> None:
        (model,) = data["models"]
        model["repository"], model["files"][0]["path"] = variant.repository, variant.files[0]

    spoil(usb, claim)
    manifest = read_manifest(usb)
    assert manifest is not None
    taken = unbundle.take_in(manifest, usb, home.library, shelf, lambda _: None)
    (error,) = taken.refused
    assert ("it is not" if why == "another network" else "not the one of") in error.what
    assert taken.models == []
    assert here(home) == {}
    assert not list(home.directories.models.rglob("*.gguf"))


@pytest.mark.parametrize("damage", ["altered", "cut", "gone"])
def test_a_damaged_part_is_named_and_nothing_is_taken_in(
    run: Run,
    merge: Path,
    usb: Path,
    another_computer: Callable[[str], workflow.Home],
    damage: str,
) -> None:
    home = another_computer("left")
    run("import", str(merge))
    manifest = exported(home, usb)
    victim = usb / FOLDER_NAME / manifest.models[0].files[0].parts[1].name
    if damage == "altered":
        raw = bytearray(victim.read_bytes())
        raw[77] ^= 1
        victim.write_bytes(raw)
    elif damage == "cut":
        os.truncate(victim, 10)
    else:
        victim.unlink()
    home = another_computer("arrived")
    taken = unbundle.take_in(manifest, usb, home.library, home.catalogue, lambda _: None)
    (error,) = taken.refused
    assert victim.name in error.what
    assert taken.models == []
    assert here(home) == {}
    assert not list(home.directories.models.rglob("*.gguf"))


def spoil(usb: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = usb / FOLDER_NAME / MANIFEST_NAME
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))


SPOILERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "part outside": lambda d: d["models"][0]["files"][0]["parts"][0].update(name="../../x"),
    "absolute part": lambda d: d["models"][0]["files"][0]["parts"][0].update(name="/etc/passwd"),
    "path outside": lambda d: d["models"][0]["files"][0].update(path="../../x.gguf"),
    "no model": lambda d: d["models"][0]["files"][0].update(path="run.sh"),
    "repository": lambda d: d["models"][0].update(repository="../.."),
    "checksum": lambda d: d["models"][0]["files"][0].update(sha256="0"),
    "size": lambda d: d["models"][0]["files"][0].update(size_bytes=7),
    "infinity": lambda d: d.update(split_bytes=float("inf")),
    "not a number": lambda d: d.update(split_bytes=float("nan")),
    "huge": lambda d: d.update(split_bytes=10**400),
    "schema": lambda d: d.update(schema=99),
    "kind": lambda d: d.update(models={"a": 1}),
    "nothing": lambda d: d.clear(),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_a_hostile_manifest_is_refused(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home], name: str
) -> None:
    another_computer("left")
    run("import", str(merge))
    run("bundle", "export", str(usb))
    spoil(usb, SPOILERS[name])
    home = another_computer("arrived")
    code, _, err = run("bundle", "import", str(usb))
    assert code == 1
    assert "damaged" in err
    assert not home.directories.models.exists()


def test_what_is_here_already_is_kept(
    run: Run, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    home = another_computer("left")
    home.directories.settings.mkdir(parents=True)
    (home.directories.settings / "settings.toml").write_text("goal = 'fast'\n")
    assert run("bundle", "export", str(usb))[0] == 0
    home = another_computer("arrived")
    home.directories.settings.mkdir(parents=True)
    (home.directories.settings / "settings.toml").write_text("goal = 'best'\n")
    code, out, _ = run("bundle", "import", str(usb))
    assert code == 0
    assert "kept as it is" in out
    assert workflow.open_home(offline=True).preferences.goal == "best"


def test_settings_that_would_not_be_understood_are_not_used(
    run: Run, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    another_computer("left")
    run("bundle", "export", str(usb))
    text = "colour = 'red'\n"
    (usb / FOLDER_NAME / "settings.toml").write_text(text)
    part = {
        "name": "settings.toml",
        "size_bytes": len(text),
        "sha256": copying.file_sha256(usb / FOLDER_NAME / "settings.toml", lambda _: None),
    }
    spoil(usb, lambda data: data.update(extras=[part]))
    another_computer("arrived")
    code, out, _ = run("bundle", "import", str(usb))
    assert (code, "not used" in out) == (0, True)
    workflow.open_home(offline=True)


def test_a_full_disk_is_said_before_anything_is_written(
    run: Run,
    merge: Path,
    usb: Path,
    another_computer: Callable[[str], workflow.Home],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = another_computer("left")
    run("import", str(merge))
    monkeypatch.setattr(copying, "free_bytes", lambda _: 1000)
    with pytest.raises(DiskFull) as caught:
        exported(home, usb)
    assert carried(usb) == []
    assert place.size_text(1000) in caught.value.why
    assert "models_directory" not in caught.value.todo


def test_a_folder_without_a_bundle_is_said(run: Run, tmp_path: Path) -> None:
    code, _, err = run("bundle", "import", str(tmp_path))
    assert (code, "holds no bundle" in err) == (1, True)


def settle(run: Run, folder: Path, *seeds: int) -> list[Path]:
    """Import models where they lie, all of one file name in folders of their own."""
    paths = []
    for seed in seeds:
        path = folder / str(seed) / "model.gguf"
        paths.append(elsewhere.write_merge(path, f"Some R1 Merge {seed}", seed=seed))
        assert run("import", str(path))[0] == 0
    return paths


def contents(home: workflow.Home) -> list[bytes]:
    paths = home.directories.models.rglob("*.gguf")
    return sorted(path.read_bytes() for path in paths)


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-77] ^= 1
    path.write_bytes(raw)


def bundled(usb: Path) -> list[Path]:
    return sorted((usb / FOLDER_NAME).glob("*.gguf"))


def test_files_of_one_name_are_all_carried(
    run: Run, tmp_path: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    another_computer("left")
    paths = settle(run, tmp_path / "a", 1, 2)
    assert run("bundle", "export", str(usb))[0] == 0
    another_computer("another")
    paths += settle(run, tmp_path / "b", 3)
    for _ in range(2):
        assert run("bundle", "export", str(usb))[0] == 0
    assert len(bundled(usb)) == 3
    home = another_computer("arrived")
    code, _, err = run("bundle", "import", str(usb))
    assert code == 0, err
    assert contents(home) == sorted(path.read_bytes() for path in paths)


@pytest.mark.parametrize("moved", [False, True])
def test_another_model_in_the_same_place_is_not_replaced(
    run: Run,
    tmp_path: Path,
    usb: Path,
    another_computer: Callable[[str], workflow.Home],
    moved: bool,
) -> None:
    another_computer("left")
    theirs = elsewhere.write_merge(tmp_path / "their" / f"{NAME}.gguf", seed=1)
    other = elsewhere.write_merge(tmp_path / "other-r1.gguf", "Other R1", seed=2)
    for path in (theirs, other):
        assert run("import", "--copy", str(path))[0] == 0
    assert run("bundle", "export", str(usb))[0] == 0
    home = another_computer("arrived")
    mine = elsewhere.write_merge(tmp_path / "my" / f"{NAME}.gguf", seed=3)
    assert run("import", "--copy", str(mine))[0] == 0
    if moved:
        assert run("move", NAME, str(tmp_path / "disk"))[0] == 0
    code, out, err = run("bundle", "import", str(usb))
    assert code == 1
    assert NAME in err
    assert "localr1 rm" in err
    assert "other-r1" in out
    assert NAME not in out
    kept = [other] if moved else [mine, other]
    assert contents(home) == sorted(path.read_bytes() for path in kept)
    local = next(one for name, one in here(home).items() if name.startswith("other-r1"))
    assert home.library.records.read().of(local.path).authority == "the bundle"
    assert "as the bundle says" in run("verify", "--all")[1].replace("\n", " ")


def test_one_damaged_part_keeps_only_its_model_and_is_repaired(
    run: Run, tmp_path: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    another_computer("left")
    paths = settle(run, tmp_path / "a", 1, 2)
    assert run("bundle", "export", str(usb))[0] == 0
    victim = bundled(usb)[0]
    damage(victim)
    home = another_computer("arrived")
    code, _, err = run("bundle", "import", str(usb))
    assert code == 1
    assert victim.name in err.replace("\n", "")
    assert len(contents(home)) == 1
    # A computer without the model says what it cannot repair.
    code, out, err = run("bundle", "export", str(usb))
    assert (code, victim.name in err.replace("\n", ""), out.count("verified")) == (1, True, 1)
    another_computer("left")
    assert run("bundle", "export", str(usb))[0] == 0
    home = another_computer("arrived")
    assert run("bundle", "import", str(usb))[0] == 0
    assert contents(home) == sorted(path.read_bytes() for path in paths)


def test_an_altered_model_is_not_exported(
    run: Run, tmp_path: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    another_computer("left")
    first, _ = settle(run, tmp_path / "a", 1, 2)
    assert run("verify", "--all")[0] == 0
    damage(first)
    code, out, err = run("bundle", "export", str(usb))
    assert code == 1
    assert "not exported" in err
    assert str(first) in err.replace("\n", "")
    assert (out.count("verified"), len(bundled(usb))) == (1, 1)


def test_what_is_no_model_is_not_taken_in(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    another_computer("left")
    run("import", str(merge))
    run("bundle", "export", str(usb))
    (file,) = bundled(usb)
    file.write_bytes(bytes(file.stat().st_size))
    digest = copying.file_sha256(file, lambda _: None)
    spoil(usb, lambda d: d["models"][0]["files"][0].update(sha256=digest))
    spoil(usb, lambda d: d["models"][0]["files"][0]["parts"][0].update(sha256=digest))
    home = another_computer("arrived")
    code, out, err = run("bundle", "import", str(usb))
    assert (code, NAME in err, "verified" in out) == (1, True, False)
    assert contents(home) == []


def test_folders_of_the_other_computer_are_not_taken_over(
    another_computer: Callable[[str], workflow.Home],
) -> None:
    home = another_computer("arrived")
    text = "goal = 'fast'\nmodels_directory = '/theirs'\nmodel_folders = ['/theirs']\n"
    luggage.unpack(home.directories, {"settings.toml": text})
    written = (home.directories.settings / "settings.toml").read_text()
    assert written == 'goal = "fast"\n'


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another thing there")
def test_others_may_read_a_bundle(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    home = another_computer("left")
    home.directories.settings.mkdir(parents=True)
    (home.directories.settings / "settings.toml").write_text("goal = 'fast'\n")
    run("import", str(merge))
    before = os.umask(0o022)
    try:
        assert run("bundle", "export", str(usb))[0] == 0
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (usb / FOLDER_NAME).iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o644}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_only_plain_files_are_read(
    run: Run, merge: Path, usb: Path, another_computer: Callable[[str], workflow.Home]
) -> None:
    another_computer("left")
    run("import", str(merge))
    run("bundle", "export", str(usb))
    part = {"name": "settings.toml", "size_bytes": 0, "sha256": "0" * 64}
    spoil(usb, lambda data: data.update(extras=[part]))
    os.mkfifo(usb / FOLDER_NAME / "settings.toml")
    another_computer("arrived")
    code, out, err = run("bundle", "import", str(usb))
    assert (code, "not a plain file" in err.replace("\n", " "), NAME in out) == (1, True, True)
