"""One package in the place of another: killed anywhere, one of the two is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localr1.errors import FileError
from localr1.install import swap
from localr1.install.swap import Site

OLD = {
    "llama_cpp/__init__.py": "old",
    "llama_cpp/gone.py": "old",
    "llama_cpp/lib/libllama.so": "old library",
    "lib/libllama.so": "old second copy",
    "llama_cpp_python-0.3.36.dist-info/METADATA": "Name: llama-cpp-python\nVersion: 0.3.36\n",
}
NEW = {
    "llama_cpp/__init__.py": "new",
    "llama_cpp/lib/libllama.so": "new library",
    "llama_cpp/lib/libggml-rpc.so": "new library",
    "llama_cpp_python-0.3.36.dist-info/METADATA": "Name: llama-cpp-python\nVersion: 0.3.36\n",
}
OTHERS = {"lib/other.so": "somebody else's", "numpy/__init__.py": "numpy"}
CACHED = {"llama_cpp/__pycache__/late.pyc": "not in the list"}
# Ends the process at the n-th move, as a kill or a power cut would.
KILLED = """
import os, sys
from pathlib import Path
from localr1.install import swap
left, plain = [int(sys.argv[2])], swap._move
def move(source, target):
    left[0] -= 1
    if left[0] < 0:
        os._exit(9)
    plain(source, target)
swap._move = move
site = swap.Site(Path(sys.argv[1]))
site.put_in() if sys.argv[3] == "in" else site.recover()
"""


def install(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    record = folder / "llama_cpp_python-0.3.36.dist-info" / "RECORD"
    rows = [f"{name},," for name in files]
    record.write_text("\n".join([*rows, "../../bin/convert,,"]) + "\n", encoding="utf-8")


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.name != "RECORD"
    }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    install(tmp_path, OLD)
    for name, text in {**OTHERS, **CACHED}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    site = Site(tmp_path)
    site.prepare()
    install(site.new, NEW)
    return site


def test_the_new_one_replaces_the_old_one_and_nothing_else(site: Site) -> None:
    site.put_in()
    site.keep()
    assert contents(site.folder) == {**NEW, **OTHERS}
    assert not site.recover()


def test_the_old_one_comes_back_whole(site: Site) -> None:
    site.put_in()
    assert site.recover()
    assert contents(site.folder) == {**OLD, **OTHERS, **CACHED}


def test_what_was_only_prepared_leaves_no_trace(site: Site) -> None:
    assert site.recover()
    assert contents(site.folder) == {**OLD, **OTHERS, **CACHED}


def test_where_nothing_was_installed_nothing_is_left_by_a_failure(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.prepare()
    install(site.new, NEW)
    site.put_in()
    assert contents(site.folder).keys() > NEW.keys()
    site.recover()
    assert contents(site.folder) == {}
    assert list(site.folder.iterdir()) == []


@pytest.mark.parametrize("moves", [0, 1, 5, 6, 7, 9])
def test_killed_between_any_two_moves(site: Site, moves: int) -> None:
    def killed(how: str, after: int) -> int:
        code = [sys.executable, "-c", KILLED, str(site.folder), str(after), how]
        return subprocess.run(code, check=False).returncode

    assert killed("in", moves) == 9
    # ... and killed again while that is put right.
    assert killed("back", moves // 2) in (0, 9)
    site.recover()
    assert contents(site.folder) == {**OLD, **OTHERS, **CACHED}


def test_a_file_that_cannot_be_moved_gives_the_old_one_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = swap._move

    def move(source: Path, target: Path) -> None:
        if source.is_relative_to(site.new) and source.name == "libllama.so":
            raise PermissionError(13, "Permission denied")
        plain(source, target)

    monkeypatch.setattr(swap, "_move", move)
    with pytest.raises(FileError, match="cannot be replaced") as caught:
        site.put_in()
    assert "Close every other localr1" in caught.value.todo
    assert contents(site.folder) == {**OLD, **OTHERS, **CACHED}


def test_a_folder_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("", encoding="utf-8")
    with pytest.raises(FileError):
        Site(in_the_way).prepare()
