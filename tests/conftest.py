"""What every test gets: a home of its own, and no way to the real hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("GGML_NO_BACKTRACE", "1")
SOAK = os.environ.get("LOCALR1_SOAK") == "1"


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALR1_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT", "NO_COLOR", "FORCE_COLOR"):
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
