"""Hundreds of faults while a file comes: it ends whole, or what is said is clear; little comes
twice."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from download_storm import PROCESSES, STORMS, Scene, is_whole
from downloading import loopback

SOAK: Final = os.environ.get("LOCALR1_SOAK") == "1"
ROUNDS: Final = 10 if SOAK else 1
_HANG_SECONDS: Final = 120.0
CASES: Final = [(name, seed) for seed in range(ROUNDS) for name in STORMS]


@pytest.fixture(scope="module")
def twice(pytestconfig: pytest.Config) -> Iterator[dict[str, list[float]]]:
    """What came twice, in MiB, by kind of fault; the full count tells it at its end."""
    measured: dict[str, list[float]] = {}
    yield measured
    reporter = pytestconfig.pluginmanager.getplugin("terminalreporter")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    if SOAK and reporter is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            for name, values in measured.items():
                middle, most = statistics.median(values), max(values)
                reporter.write_line(f"{name}: {middle:.2f} MiB came twice, at most {most:.2f}")


def test_there_are_enough_of_them() -> None:
    assert 10 * len(STORMS) >= 200


@pytest.mark.parametrize(("name", "seed"), CASES)
async def test_the_file_is_whole_or_the_word_is_clear(
    name: str,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    twice: dict[str, list[float]],
) -> None:
    if name in PROCESSES and sys.platform == "win32":
        pytest.skip("POSIX signals")
    with loopback(monkeypatch) as hub:
        monkeypatch.setenv("HF_TOKEN", hub.token)
        scene = Scene(hub, tmp_path, random.Random(f"{name} {seed}"))
        await asyncio.wait_for(STORMS[name](scene), _HANG_SECONDS)
        assert scene.happened, scene.injected
        assert is_whole(scene), scene.errors
        for error in scene.errors:
            assert type(error) in scene.allowed, error
            assert error.what, error
            assert error.todo, error
        assert {seen.authorization for seen in hub.requests("cdn")} <= {""}
        # More than was lost on purpose is never asked for again; socket buffers are the rest.
        twice.setdefault(name, []).append(scene.waste_bytes / 2**20)
        # On a busy computer a connection may be opened anew: a piece of 1 MiB comes twice.
        assert scene.waste_bytes <= max(scene.allowed_waste_bytes, 1 << 20), (
            f"{scene.waste_bytes / 2**20:.2f} MiB twice"
        )
