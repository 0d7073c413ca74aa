"""The catalogue from the hub: shown as a difference, kept only when told to."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import elsewhere
import pytest
from commands import Run
from loopback_hub import LoopbackHub

from localr1 import workflow
from localr1.models import catalog, refresh
from localr1.models.hub import RemoteFile
from localr1.models.types import Model

BUILT_IN = catalog.load()
SEVEN_B = BUILT_IN.model("r1-distill-qwen-7b")
REPOSITORY = SEVEN_B.variants[0].repository


def remote(model: Model, repository: str) -> dict[str, bytes]:
    """A repository as the catalogue describes it, but with files of a few bytes."""
    files: dict[str, bytes] = {}
    for variant in model.variants:
        if variant.repository == repository and "*" not in variant.files[0]:
            files |= {name: f"{name}".encode() for name in variant.files}
    return files


@pytest.fixture
def hub(hub: LoopbackHub) -> LoopbackHub:
    hub.add(REPOSITORY, remote(SEVEN_B, REPOSITORY))
    return hub


def changes(run: Run, *arguments: str) -> dict[str, dict[str, object]]:
    code, out, _ = run("models", "--refresh", "--json", *arguments)
    assert code == 0
    return {
        change["variant"]: change
        for change in json.loads(out)["changes"]
        if change["model"] == SEVEN_B.id and change["repository"] == REPOSITORY
    }


def test_a_difference_is_shown_and_nothing_is_kept_unasked(run: Run, hub: LoopbackHub) -> None:
    files = hub.repositories[REPOSITORY].files
    stem = SEVEN_B.variants[0].files[0].rsplit("-", 1)[0]
    files[f"{stem}-Q9_X.gguf"] = b"a new quantization"
    gone = next(
        v for v in SEVEN_B.variants if v.repository == REPOSITORY and v.quantization != "Q4_K_M"
    )
    del files[gone.files[0]]
    found = changes(run)
    assert found["Q9_X"]["kind"] == "new"
    assert found["Q4_K_M"]["kind"] == "changed"
    assert found[gone.quantization]["kind"] == "gone"
    code, out, _ = run("models", "--refresh")
    assert code == 0
    assert "+ Q9_X" in out
    assert "Nothing was kept" in out
    home = workflow.open_home(offline=True)
    assert not (home.directories.settings / catalog.REFRESHED_NAME).exists()
    assert home.catalogue.model(SEVEN_B.id).variants == SEVEN_B.variants


def test_what_is_kept_is_used_and_then_nothing_differs(
    run: Run, hub: LoopbackHub, tmp_path: Path
) -> None:
    stem = SEVEN_B.variants[0].files[0].rsplit("-", 1)[0]
    content = elsewhere.write_merge(tmp_path / "new.gguf").read_bytes()
    hub.repositories[REPOSITORY].files[f"{stem}-Q9_X.gguf"] = content
    first = changes(run, "--yes")
    home = workflow.open_home(offline=True)
    variants = {v.quantization: v for v in home.catalogue.model(SEVEN_B.id).variants}
    assert variants["Q9_X"].size_bytes == len(content)
    assert list(variants["Q9_X"].sha256) == first["Q9_X"]["sha256"]
    assert variants["Q4_K_M"].size_is_exact
    assert changes(run) == {}
    # Another file of the hub's later: the earlier finds stay.
    hub.repositories[REPOSITORY].files[f"{stem}-Q8_X.gguf"] = b"another"
    assert set(changes(run, "--yes")) == {"Q8_X"}
    later = workflow.open_home(offline=True).catalogue.model(SEVEN_B.id)
    assert {"Q9_X", "Q8_X"} <= {v.quantization for v in later.variants}
    code, out, err = run("pull", f"{SEVEN_B.id}:Q9_X")
    assert (code, "is here" in out) == (0, True), err


def test_a_users_own_changes_come_last(run: Run, hub: LoopbackHub) -> None:
    assert hub.repositories
    changes(run, "--yes")
    home = workflow.open_home(offline=True)
    row = '{ quantization = "Q4_K_M", size_bytes = 5, size_is_exact = true, source = "unverified" }'
    (home.directories.settings / "models.toml").write_text(
        f'schema = 1\n[[model]]\nid = "{SEVEN_B.id}"\n[model.files]\nvariants = [{row}]\n'
    )
    model = workflow.open_home(offline=True).catalogue.model(SEVEN_B.id)
    assert next(v for v in model.variants if v.quantization == "Q4_K_M").size_bytes == 5


def test_a_repository_that_is_gone_is_told_and_the_rest_is_asked(
    run: Run, hub: LoopbackHub
) -> None:
    code, out, _ = run("models", "--refresh", "--json")
    assert code == 0
    troubles = json.loads(out)["troubles"]
    assert troubles
    assert not any(trouble.split(":")[0] == REPOSITORY for trouble in troubles)
    hub.repositories.clear()
    code, out, _ = run("models", "--refresh")
    assert (code, "up to date" in out) == (0, True)


def test_offline_is_absolute(run: Run, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--offline", "models", "--refresh", "--yes")[0] == 4
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run("models", "--refresh")[0] == 4
    assert hub.seen == []


@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        ("DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf", "Q4_K_M"),
        ("UD-IQ1_S/DeepSeek-R1-UD-IQ1_S.gguf", "UD-IQ1_S"),
        ("DeepSeek-R1.Q8_0.gguf", "Q8_0"),
        ("model-bf16.gguf", "BF16"),
        ("model-IQ4_XS.gguf", "IQ4_XS"),
        ("DeepSeek-R1-Distill-Qwen-7B.gguf", ""),
    ],
)
def test_quantizations_are_read_from_names(path: str, quantization: str) -> None:
    assert refresh.quantization_of(path) == quantization


def test_hostile_names_from_the_hub_do_not_break_the_file(tmp_path: Path) -> None:
    file = RemoteFile("o/r", 'a"\n]\\x-Q4_K_M.gguf', "c", 5, "0" * 64, "http://x")
    change = refresh.Change(SEVEN_B.id, "Q4_K_M", "o/r", "changed", "", (file,))
    text = refresh.merged("", [change], "hub-x", 'quotes " and \\')
    raw = tomllib.loads(text)
    assert raw["model"][0]["files"]["variants"][0]["files"] == [file.path]
    again = refresh.merged(text, [], "hub-y", "nothing new")
    assert tomllib.loads(again) == raw
    (tmp_path / "x.toml").write_text(refresh.merged("not toml [", [change], "hub-x", "y"))
    assert tomllib.loads((tmp_path / "x.toml").read_text())["schema"] == 1


def test_an_odd_file_name_is_left_out_with_a_word(run: Run, hub: LoopbackHub) -> None:
    files = hub.repositories[REPOSITORY].files
    stem = SEVEN_B.variants[0].files[0].rsplit("-", 1)[0]
    files |= {"../../x-Q4_9.gguf": b"odd", f"{stem}-Q9_X.gguf": b"new"}
    code, out, _ = run("models", "--refresh", "--yes", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["kept"]
    assert any("../../x-Q4_9.gguf" in trouble for trouble in said["troubles"])
    kept = workflow.open_home(offline=True).catalogue.model(SEVEN_B.id).variants
    names = {variant.quantization for variant in kept}
    assert "Q9_X" in names
    assert "Q4_9" not in names


def test_a_damaged_refreshed_catalogue_stops_nothing(run: Run, hub: LoopbackHub) -> None:
    assert hub.repositories
    settings = workflow.open_home(offline=True).directories.settings
    settings.mkdir(parents=True, exist_ok=True)
    path = settings / catalog.REFRESHED_NAME
    for text in ("schema = [", "schema = 1\n[[model]]\nid = 3\n"):
        path.write_text(text)
        code, _, err = run("models")
        assert (code, "cannot be used" in err) == (0, True)
        assert run("verify", "demo")[0] == 0
    assert changes(run, "--yes")
    assert "cannot be used" not in run("models")[2]


def test_offline_asks_nobody_and_says_so(run: Run) -> None:
    code, _, err = run("--offline", "models", "--refresh")
    assert (code, "asking" in err) == (4, False)
