"""Tab completion: what may follow, and that real shells ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Run

from localr1.cli import completion
from localr1.cli.main import _COMMANDS


def names(line: str) -> list[str]:
    return [found.name for found in completion.candidates(completion.split(line))]


def test_every_command_is_offered() -> None:
    assert set(names("localr1 ")) == {name for name in _COMMANDS if name}
    assert names("localr1 hist") == ["history"]
    assert names("localr1 --off") == ["--offline"]
    assert names("localr1 --offline hist") == ["history"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("localr1 history ", ["list", "search", "show", "export", "import", "delete"]),
        ("localr1 history export 3 --format m", ["markdown"]),
        ("localr1 estimate 7b --kv q", ["q8_0", "q4_0"]),
        ("localr1 ask --thinking h", ["hide"]),
        ("localr1 ask --model dem", ["demo"]),
        ("localr1 rm demo --st", ["--stopped"]),
        (
            "localr1 chat demo --",
            ["--help", "--offline", "--model", "--plain", "--endpoint", "--pool", "--profile"],
        ),
        ("localr1 verify demo ", []),
        ("localr1 import ", []),  # the shell offers files
        ("localr1 ask --seed ", []),
        ("localr1 ask 'half a quo", []),
        ("localr1 nonsense ", names("localr1 ")),
    ],
)
def test_what_may_follow(line: str, expected: list[str]) -> None:
    assert names(line) == expected


def test_files_are_offered_after_an_at_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "nested").mkdir()
    (tmp_path / ".hidden").touch()
    monkeypatch.chdir(tmp_path)
    assert names("localr1 ask @") == ["@nested/", "@notes.txt"]
    assert names("localr1 ask what @no") == ["@notes.txt"]
    assert names("localr1 ask @none/x") == []
    assert names(f"localr1 ask @{tmp_path}/.h") == [f"@{tmp_path}/.hidden"]


def test_models_without_a_readable_list(run: Run) -> None:
    settings = Path(os.environ["LOCALR1_HOME"]) / "settings"
    settings.mkdir(parents=True)
    (settings / "models.toml").write_text("broken =")
    assert run("completion", "words", "--line", "localr1 rm d") == (0, "", "")


@pytest.fixture
def shell_path(tmp_path: Path) -> str:
    """A folder first on the path in which `localr1` is this program."""
    program = tmp_path / "bin" / "localr1"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localr1 "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def shell(name: str, script: str, path: str, folder: Path) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"NOT TESTED: there is no {name} here")
    done = subprocess.run(
        [name, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash(shell_path: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    script = 'eval "$(localr1 completion bash)"\n'
    for line in ("localr1 hist", "localr1 ask @no"):  # bash takes the sign for a word's end
        script += f'COMP_LINE="{line}" COMP_POINT={len(line)}; _localr1; echo "${{COMPREPLY[@]}}"\n'
    said = shell("bash", script + "complete -p localr1", shell_path, tmp_path)
    assert said.splitlines()[:2] == ["history", "notes.txt"]
    assert "_localr1" in said


def test_fish(shell_path: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    script = 'localr1 completion fish | source; complete -C "localr1 history ex"; '
    said = shell("fish", script + 'complete -C "localr1 import no"', shell_path, tmp_path)
    assert said.splitlines() == ["export\twrite conversations to a file", "notes.txt"]


def test_zsh(shell_path: str, tmp_path: Path) -> None:
    script = (
        "compdef() { echo compdef $@ }\n_describe() { print -l ${(P)2} }\n_files() { echo files }\n"
        'eval "$(localr1 completion zsh)"\n'
        'LBUFFER="localr1 history ex" _localr1; LBUFFER="localr1 import x" _localr1'
    )
    said = shell("zsh", script, shell_path, tmp_path)
    assert said.splitlines() == [
        "compdef _localr1 localr1",
        "export:write conversations to a file",
        "files",
    ]
