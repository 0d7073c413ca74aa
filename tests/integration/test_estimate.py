"""`localr1 estimate` as its users meet it: files here, the catalogue, files on a hub."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import fit_machines
import pytest
import synthetic
from commands import localr1
from downloading import REPOSITORY
from loopback_hub import LoopbackHub

from localr1 import exact
from localr1.config import Directories
from localr1.machine import network, profile
from localr1.models import catalog

KEYS = {
    "schema", "model", "variant", "context_window", "kv_cache_type", "gpu_layers",
    "flash_attention", "ubatch", "exact", "cpu_expert_layers", "tensor_split", "devices",
    "total_bytes", "resident_bytes", "prompt_tps", "generation_tps", "time_to_answer_seconds",
}  # fmt: skip
PARTS = ("weights_bytes", "kv_cache_bytes", "compute_buffer_bytes", "output_bytes")
LOG_BYTES = 5300


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A profile, which spares looking at the computer every time."""
    path = tmp_path_factory.mktemp("profile") / "laptop.json"
    path.write_text(json.dumps(profile.to_json(fit_machines.LAPTOP_16)), encoding="utf-8")
    return str(path)


def estimate(laptop: str, *arguments: str) -> dict[str, object]:
    done = localr1("estimate", "--json", "--profile", laptop, *arguments)
    assert done.returncode == 0, done.stderr
    value: dict[str, object] = json.loads(done.stdout)
    assert set(value) >= KEYS
    return value


def near(a: dict[str, object], b: dict[str, object]) -> bool:
    """Whether two estimates say the same of every device, what a log rounds away aside."""
    return all(
        abs(x[part] - y[part]) <= LOG_BYTES
        for x, y in zip(a["devices"], b["devices"], strict=True)  # type: ignore[call-overload]
        for part in PARTS
    )


def test_the_demo_is_estimated_and_confirmed(laptop: str) -> None:
    value, exact = estimate(laptop, "demo"), estimate(laptop, "demo", "--exact")
    assert (value["tensors"], value["exact"]) == ("header", False)
    assert (exact["exact"], exact["differences"], exact["fits"]) == (True, "", True)
    assert near(value, exact)


def test_a_model_that_is_not_here_is_estimated_and_confirmed_by_its_recipe(
    laptop: str,
) -> None:
    asked = ("--offline", "32b:Q4_K_M", "--context", "8192", "--kv", "q8_0")
    value, exact = estimate(laptop, *asked), estimate(laptop, *asked, "--exact")
    assert value["tensors"] == "recipe"
    assert (value["context_window"], value["kv_cache_type"]) == (8192, "q8_0")
    assert near(value, exact)
    # The header that stood in for the file is gone again.
    assert not list(Directories.standard().cache.glob("dry-run-*"))


def test_layers_go_where_they_are_asked_to(laptop: str) -> None:
    value = estimate(laptop, "--offline", "7b:Q4_K_M", "--gpu", "RTX 3060", "--gpu-layers", "10")
    assert value["gpu_layers"] == 10
    assert [device["name"] for device in value["devices"]] == ["CPU", "CUDA0"]  # type: ignore[attr-defined]
    none = estimate(laptop, "--offline", "7b:Q4_K_M", "--gpu", "RTX 3060", "--gpu-layers", "0")
    assert len(none["devices"]) == 1  # type: ignore[arg-type]


def test_the_table_fits_the_terminal_and_says_what_is_what(laptop: str) -> None:
    done = localr1(
        "estimate", "--offline", "--profile", laptop, "7b:Q4_K_M", "--gpu", "RTX 4090 x2"
    )
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    table = [line for line in lines if line.startswith(("CPU", "CUDA0")) or "KV cache " in line]
    assert len(table) >= 3
    assert max(len(line) for line in lines) <= 100
    assert all(len(line.rstrip()) <= 80 for line in table)
    assert "recipe for Q4_K_M" in done.stdout
    assert "It fits." in done.stdout
    assert "Speed: prompts" in done.stdout


def test_a_chip_that_is_meant_brings_its_own_processor() -> None:
    card, chip = (localr1("advise", "--gpu", name).stdout for name in ("RTX 4090", "M3 Max"))
    assert "with this one's processor" in card
    assert "the chip's own processor" in " ".join(chip.split())
    assert "this one's" not in chip


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("no-such-model",), 2, "localr1 models"),
        (("7b:Q9_9",), 2, "Q4_K_M"),
        (("--kv", "q2", "7b"), 2, "q8_0"),
        (("--gpu-layers", "-1", "7b"), 2, "not a whole number from 0"),
        (("/no/such/file.gguf",), 1, "file.gguf"),
        (("--exact", "--gpu", "RTX 4090", "7b:Q4_K_M"), 2, "CUDA0"),
        (("owner/model-GGUF/model-Q4_K_M.gguf",), 4, "owner/model-GGUF"),
    ],
)
def test_what_cannot_be_estimated_says_why(
    arguments: tuple[str, ...], code: int, part: str, laptop: str
) -> None:
    done = localr1("--offline", "estimate", "--profile", laptop, *arguments)
    assert done.returncode == code, done.stderr
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def hub(hub: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    path = tmp_path / "source.gguf"
    shape = replace(
        catalog.load().model("r1-distill-qwen-1.5b").architecture, layers=2, vocabulary_size=600
    )
    synthetic.write_header_only(path, shape, "Q8_0", name="DeepSeek R1 in small")
    hub.add(REPOSITORY, {"R1-small-Q8_0.gguf": path.read_bytes()})
    return hub


def test_a_file_on_the_hub_is_estimated_by_its_header_alone(hub: LoopbackHub, laptop: str) -> None:
    name = f"{REPOSITORY}/R1-small-Q8_0.gguf"
    value = estimate(laptop, name)
    assert (value["variant"], value["tensors"]) == ("Q8_0", "header")
    assert hub.bytes_sent < 2 << 20
    # Known from now on, also with no network, and to llama.cpp as well.
    hub.reset_counts()
    assert near(estimate(laptop, "--offline", f"hf:{name}", "--exact"), value)
    assert not hub.seen


def test_a_model_of_the_catalogue_has_the_header_of_its_file_when_asked(hub: LoopbackHub) -> None:
    settings = Directories.standard().settings
    settings.mkdir(parents=True)
    settings.joinpath("models.toml").write_text(
        f"""schema = 1
[[model]]
id = "r1-distill-qwen-1.5b"
[model.files]
repository = "{REPOSITORY}"
pattern = "R1-small-{{quantization}}.gguf"
variants = [
  {{ quantization = "Q8_0", size_bytes = 1_000_000, size_is_exact = false, source = "assumed" }},
]
""",
        encoding="utf-8",
    )
    plain = json.loads(localr1("estimate", "--json", "1.5b:Q8_0").stdout)
    assert plain["tensors"] != "header"
    assert not hub.seen
    done = localr1("estimate", "--json", "--exact", "1.5b:Q8_0")
    assert "Reading the header of DeepSeek-R1-Distill-Qwen-1.5B Q8_0" in done.stderr
    value = json.loads(done.stdout)
    assert value["tensors"] == "header"
    assert value["devices"][0]["weights_bytes"] < 1 << 29
    hub.reset_counts()
    again = json.loads(localr1("estimate", "--json", "1.5b:Q8_0").stdout)
    assert again["tensors"] == "header"
    assert again["devices"] != plain["devices"]
    assert not hub.seen


def test_the_catalogue_marks_where_each_list_of_tensors_is_from() -> None:
    models = json.loads(localr1("models", "--json").stdout)["models"]
    marks = {
        (one["model"], file["variant"]): file["tensors"]
        for one in models
        for file in one["variants"]
    }
    assert marks["r1-distill-qwen-7b", "Q4_K_M"] == "recipe"
    assert marks["demo", "F16"] == "header"
    # A mix that no recipe of llama.cpp gives.
    assert marks["r1-671b", "UD-IQ1_S"] == "size"
    assert set(marks.values()) == {"header", "recipe", "size"}


async def test_a_hub_that_did_not_answer_is_not_waited_for_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "connected", lambda: True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    model = catalog.load().model("r1-distill-qwen-7b")
    directories = Directories.standard()
    path = directories.cache / exact._UNREACHED_NAME

    async def told() -> str:
        said: list[str] = []
        found = await exact.from_hub(
            model, model.variants[0], directories, offline=False, say=said.append
        )
        assert found == (model, model.variants[0])
        return " ".join(said)

    assert "Reading the header" in await told()
    again = await told()
    assert "a moment ago" in again
    assert "Reading" not in again
    # Another address was not tried yet, and in some minutes this one is again.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert "Reading the header" in await told()
    for entry in ({"http://127.0.0.1:1": time.time() - 400}, {"http://127.0.0.1:1": "?"}):
        path.write_text(json.dumps(entry))
        assert "Reading the header" in await told()
