"""What every test gets: a home of its own, and no way to the real hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from commands import Run
from downloading import loopback
from loopback_hub import LoopbackHub

os.environ.setdefault("GGML_NO_BACKTRACE", "1")
_OUTSIDE = (
    *("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT", "NO_COLOR", "FORCE_COLOR"),
    *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE"),
    *("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA"),
)
SOAK = os.environ.get("LOCALR1_SOAK") == "1"


# What is measured once on a computer; every test at its first start would cost minutes.
_MEASURED = ("bandwidth.json", "kernels.json", "buffers.json")


@pytest.fixture(scope="session")
def _measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(autouse=True)
def _own_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, _measured: Path
) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    _copy(_measured, home / "cache")
    monkeypatch.setenv("LOCALR1_HOME", str(home))
    # Models of other programs on a developer's computer must not be found.
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("user")))
    for name in _OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    yield
    _copy(home / "cache", _measured)


def _copy(source: Path, target: Path) -> None:
    for name in _MEASURED:
        with suppress(OSError):
            data = (source / name).read_bytes()
            target.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)


@pytest.fixture
def demo_path() -> Path:
    from localr1.models.library import DEMO_PATH

    return DEMO_PATH


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    from localr1.cli.main import main

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty hub, which the environment names."""
    with loopback(monkeypatch) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="the full count: `make soak`")
    for item in items:
        if item.get_closest_marker("soak") is not None and not SOAK:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what could not be tested here."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = {r.longrepr[2] for r in skipped if isinstance(r.longrepr, tuple)}
    for reason in sorted(reasons):
        if "NOT TESTED" in reason:
            terminalreporter.write_line(reason.removeprefix("Skipped: "), yellow=True, bold=True)
