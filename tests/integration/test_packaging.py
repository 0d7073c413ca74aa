"""A wheel and an editable install both find models.toml and the demo model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import localr1
from localr1.models import catalog
from localr1.models.library import DEMO_PATH

ROOT = Path(localr1.__file__).parents[1]
CODE = (
    "import json, localr1; from localr1.models import catalog, library\n"
    "demo = catalog.load().model('demo')\n"
    "print(json.dumps([localr1.__file__, str(catalog.built_in_path()),"
    " str(library.DEMO_PATH), library.DEMO_PATH.is_file(), len(demo.variants)]))"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_everything(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"localr1/models.toml", "localr1/data/demo.gguf", "localr1/py.typed"} <= names
    assert not any(name.startswith(("tests/", "tools/", "benchmarks/")) for name in names)


def test_the_wheel_finds_its_files(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    package, catalogue, demo, there, variants = json.loads(done.stdout)
    assert Path(package).is_relative_to(installed)
    assert Path(catalogue) == installed / "localr1" / "models.toml"
    assert Path(demo).is_relative_to(installed)
    assert there
    assert variants == 1


def test_the_checkout_finds_its_files() -> None:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("localr1 is not installed from a checkout")
    assert catalog.built_in_path() == ROOT / "models.toml"
    assert DEMO_PATH.is_file()
