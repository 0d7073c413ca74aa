"""What every test gets: a home of its own, and no way to the real hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("GGML_NO_BACKTRACE", "1")
_OUTSIDE = (
    *("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT", "NO_COLOR", "FORCE_COLOR"),
    *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE"),
    *("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA"),
)
SOAK = os.environ.get("LOCALR1_SOAK") == "1"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALR1_HOME", str(tmp_path_factory.mktemp("home")))
    # Models of other programs on a developer's computer must not be found.
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("user")))
    for name in _OUTSIDE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def demo_path() -> Path:
    from localr1.models.library import DEMO_PATH

    return DEMO_PATH


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="the full count: `make soak`")
    for item in items:
        if "soak" in item.keywords and not SOAK:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what could not be tested here."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = {r.longrepr[2] for r in skipped if isinstance(r.longrepr, tuple)}
    for reason in sorted(reasons):
        if "NOT TESTED" in reason:
            terminalreporter.write_line(reason.removeprefix("Skipped: "), yellow=True, bold=True)
