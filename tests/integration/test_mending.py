"""The engine replaced for real, in an environment of its own: builds that work, and that do not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import lender
import pytest
import wheels

import localr1
from localr1.install import mend
from localr1.install.swap import FOLDER

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
ROOT = Path(localr1.__file__).parent.parent
ASKED = """
import asyncio, json, sys
from pathlib import Path
from localr1.engine.client import probe
print(json.dumps(asyncio.run(probe(Path(sys.argv[1]))).compiled))
"""
needs_pip = pytest.mark.skipif(
    not any(metadata.distributions(name="pip")), reason="NOT TESTED: this environment has no pip"
)
pytestmark = [
    needs_pip,
    pytest.mark.skipif(os.name == "nt", reason="NOT TESTED: POSIX signals and paths"),
]


@dataclass(frozen=True)
class Scratch:
    """An environment with an engine of its own; everything else is the tests'."""

    root: Path

    @property
    def packages(self) -> Path:
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.root / "env" / "lib" / name / "site-packages"

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        # A pip that is killed leaves what it unpacked.
        temporary = self.root / "tmp"
        temporary.mkdir(exist_ok=True)
        return subprocess.Popen(
            [self.root / "env" / "bin" / "python", "-m", "localr1", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "LOCALR1_HOME": str(self.root / "home"),
                "COLUMNS": "80",
                "TMPDIR": str(temporary),
                **environment,
            },
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=1200)
        return process.returncode, out, err

    def compiled(self) -> list[str]:
        """What the engine that is in place has, by its own account."""
        python = self.root / "env" / "bin" / "python"
        here = {**os.environ, "PYTHONPATH": str(ROOT)}
        said = subprocess.run(
            [python, "-c", ASKED, self.root], env=here, capture_output=True, text=True, check=True
        ).stdout
        backends: list[str] = json.loads(said)
        return backends

    def files(self) -> set[str]:
        return {str(path.relative_to(self.packages)) for path in self.packages.rglob("*.so*")}


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    made = Scratch(tmp_path)
    shared = sysconfig.get_path("purelib")
    (made.packages / "shared.pth").write_text(f"{shared}\n", encoding="utf-8")
    for name, data in wheels.installed().items():
        path = made.packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return made


@pytest.fixture(scope="module")
def own_files() -> dict[str, bytes]:
    return wheels.installed()


@pytest.mark.skipif(
    lender.library_folder() is None,
    reason="NOT TESTED: there is no llama.cpp with RPC; `make rpc` builds it",
)
def test_another_build_and_back(scratch: Scratch, own_files: dict[str, bytes]) -> None:
    folder = lender.library_folder()
    assert folder is not None
    rpc = wheels.write(scratch.root / "rpc", wheels.with_libraries(own_files, folder))
    plain = wheels.write(scratch.root / "cpu", own_files)

    code, out, err = scratch.run("doctor", "--fix", "rpc", "--source", str(rpc))
    assert "Done: " in err, (code, out, err)
    assert "The demonstration model ran on CPU." in err
    assert set(scratch.compiled()) == {"RPC", "CPU"}
    code, out, err = scratch.run("--offline", "doctor", "--fix", "cpu", "--source", str(plain))
    assert "Done: " in err, (code, out, err)
    assert scratch.compiled() == ["CPU"]
    assert not (scratch.packages / FOLDER).exists()


@pytest.mark.skipif(
    lender.library_folder() is None,
    reason="NOT TESTED: there is no llama.cpp with RPC; `make rpc` builds it",
)
async def test_layers_on_a_device_are_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lender.library_folder()
    assert folder is not None
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(folder))
    with lender.lent(folder, 4 << 30, tmp_path / "lender.log") as server:
        on = await mend.calculated(["RPC0"], tmp_path, rpc_endpoints=[server.endpoint])
    assert on == "RPC0"
    assert await mend.calculated([], tmp_path) == "CPU"


def test_a_broken_build_never_takes_the_place_of_the_old_one(
    scratch: Scratch, own_files: dict[str, bytes]
) -> None:
    before = scratch.files()
    library = next(n for n in own_files if n.rpartition("/")[2].startswith("libllama.so"))
    cut = {**own_files, library: own_files[library][:4096]}
    wheel = wheels.write(scratch.root / "cut", cut)

    code, _, err = scratch.run("doctor", "--fix", "cpu", "--source", str(wheel))
    assert code == 1
    assert "The new engine does not work here." in err
    assert "It does not start." in err
    assert "The old one is still in place." in err
    assert scratch.files() == before
    # What it has not is said as well.
    plain = wheels.write(scratch.root / "plain", own_files)
    code, _, err = scratch.run("doctor", "--fix", "rpc", "--source", str(plain))
    assert code == 1
    assert "It has no RPC." in err
    assert scratch.compiled() == ["CPU"]
    assert not (scratch.packages / FOLDER).exists()


def archive(folder: Path, backend: str) -> Path:
    """An archive of a package whose build runs `backend`, without anything from the network."""
    root = folder / "llama_cpp_python-0.3.36"
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n'
        '[project]\nname = "llama_cpp_python"\nversion = "0.3.36"\n',
        encoding="utf-8",
    )
    code = f"def build_wheel(folder, config=None, about=None):\n    {backend}\n"
    (root / "b.py").write_text(code, encoding="utf-8")
    path = folder / "llama_cpp_python-0.3.36.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(root, root.name)
    return path


def test_a_build_that_fails_says_why(scratch: Scratch) -> None:
    backend = "import sys; sys.exit('error: nvcc fatal: Unsupported gpu architecture')"
    source = archive(scratch.root / "failing", backend)
    code, _, err = scratch.run("doctor", "--fix", "cpu", "--source", str(source))
    assert code == 1
    assert "The engine was not built." in err
    assert "Unsupported gpu architecture" in err
    assert "build-" in err
    assert scratch.compiled() == ["CPU"]


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGKILL]
)
def test_a_build_that_is_cut_short(scratch: Scratch, how: signal.Signals) -> None:
    mark = scratch.root / "building"
    backend = (
        f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(os.getpid()));"
        " time.sleep(600)"
    )
    source = archive(scratch.root / "endless", backend)
    process = scratch.start("doctor", "--fix", "cpu", "--source", str(source))
    while not (mark.exists() and mark.read_text(encoding="utf-8")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGKILL:  # what it started ends with its next line of output
        os.killpg(os.getpgid(int(mark.read_text(encoding="utf-8"))), signal.SIGKILL)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    left = (scratch.packages / FOLDER).exists()
    assert left == (how == signal.SIGKILL)
    # The old engine was never touched; the next look puts the rest right and says so.
    _, out, err = scratch.run("--offline", "doctor")
    assert "0.3.36 starts" in out
    assert ("put right" in err) == left
    assert not (scratch.packages / FOLDER).exists()
    assert scratch.compiled() == ["CPU"]


def test_without_a_network_nothing_is_lost(scratch: Scratch) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "0"}
    quick = {
        "PIP_RETRIES": "1",
        "PIP_TIMEOUT": "2",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    code, _, err = scratch.run("doctor", "--fix", "rpc", **nowhere, **quick)
    assert code == 1
    assert "the package index does not answer" in err
    assert "--source" in err
    assert scratch.compiled() == ["CPU"]


def test_two_at_a_time_are_refused(scratch: Scratch, own_files: dict[str, bytes]) -> None:
    from localr1.models.lock import held_now

    plain = wheels.write(scratch.root / "plain", own_files)
    with held_now(scratch.packages / f"{FOLDER}.lock"):
        code, _, err = scratch.run("doctor", "--fix", "cpu", "--source", str(plain))
    assert code == 1
    assert "Another localr1 is changing the engine." in err


def test_wrong_use() -> None:
    from commands import localr1 as run

    done = run("doctor", "--source", "x.tar.gz")
    assert done.returncode == 2
    assert "--fix" in done.stderr
    done = run("doctor", "--fix", "--source", "no/such/archive.tar.gz")
    assert done.returncode == 2
    assert "pip download" in done.stderr


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="two builds from source: make soak")
def test_built_from_source_and_back(scratch: Scratch) -> None:
    """Needs a compiler and the package index, about five minutes a build."""
    assert shutil.which("c++")
    for backend, has in (("rpc", {"RPC", "CPU"}), ("cpu", {"CPU"})):
        code, out, err = scratch.run("doctor", "--fix", backend)
        assert "Done: " in err, (code, out, err)
        assert set(scratch.compiled()) == has


def test_offline_nothing_is_fetched(scratch: Scratch) -> None:
    code, _, err = scratch.run("--offline", "doctor", "--fix", "rpc")
    assert code == 4
    assert "--source FILE" in err
    assert not (scratch.packages / FOLDER).exists()


@pytest.mark.parametrize(
    ("beginning", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "for another processor"),
        (
            "raise OSError('libvulkan.so.1: cannot open shared object file: No such file')",
            "a library that it needs is missing",
        ),
        (None, "llama-cpp-python is not installed"),
    ],
    ids=["illegal-instruction", "missing-library", "missing"],
)
def test_an_engine_that_does_not_start_is_explained_and_mended(
    scratch: Scratch, own_files: dict[str, bytes], beginning: str | None, told: str
) -> None:
    package = scratch.packages / "llama_cpp"
    if beginning is None:
        # The tests' own engine lies further back; this one hides it.
        shutil.rmtree(package)
        code = "raise ModuleNotFoundError(\"No module named 'llama_cpp'\", name='llama_cpp')\n"
        (scratch.packages / "llama_cpp.py").write_text(code, encoding="utf-8")
    else:
        start = package / "__init__.py"
        start.write_text(f"{beginning}\n{start.read_text(encoding='utf-8')}", encoding="utf-8")
    code_, out, _ = scratch.run("--offline", "doctor", "--json")
    assert code_ == 1
    (check, *_) = json.loads(out)["checks"]
    assert check["status"] == "failed"
    assert told in check["what"]
    assert "pip install" in check["command"] or check["todo"]
    if "SIGILL" not in (beginning or ""):
        return
    wheel = wheels.write(scratch.root / "plain", own_files)
    _, out, err = scratch.run("doctor", "--fix", "--source", str(wheel))
    assert "Done: " in err, (out, err)
    assert scratch.compiled() == ["CPU"]
