"""What commands print: nothing a terminal would obey, and a useless list of models told once."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from localr1.cli import bench as bench_command
from localr1.cli import output
from localr1.cli.bytes_done import counting
from localr1.cli.console import PrintableConsole
from localr1.cli.main import main
from localr1.cli.progress import DownloadBar
from localr1.engine.bench import Bench
from localr1.models.catalog import REFRESHED_NAME
from localr1.models.progress import DownloadNotice
from localr1.workflow import open_home

ODD = r"Odd\u001b[31m\u202e\nTail"
CATALOGUE = f"""
schema = 1
[[model]]
id = "demo"
name = "{ODD}"

[[model]]
id = "r1-distill-qwen-1.5b"
name = "{ODD}"
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench.__init__, "__kwdefaults__", {"limit_seconds": 0.5})
    monkeypatch.setattr(bench_command, "used_share", lambda: 0.01)


def settings() -> Path:
    folder = open_home(offline=True).directories.settings
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "demo"),
        ("advise",),
        ("advise", "--all", "--ram", "1G"),
        ("bench", "demo"),
        ("models", "--all"),
        ("models", "--json"),
        ("verify", "demo"),
        ("pull", "--offline", "r1-distill-qwen-1.5b:Q4_K_M"),
    ],
    ids=" ".join,
)
def test_no_name_of_a_list_is_obeyed(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (settings() / "models.toml").write_text(CATALOGUE, encoding="utf-8")
    main([*arguments])
    said = capsys.readouterr()
    assert said.out + said.err
    for text in (said.out, said.err):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\nTail" not in text
    if arguments[0] not in {"models", "verify"}:
        assert "Odd" in said.out + said.err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "demo"),
        ("advise",),
        ("bench", "demo"),
        ("models",),
        ("models", "--json"),
        ("verify", "demo"),
        ("ask", "--model", "demo", "1 + 1"),
    ],
    ids=" ".join,
)
def test_a_list_that_cannot_be_used_is_told_once(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (settings() / REFRESHED_NAME).write_text("[[model\x1b[31m")
    code = main([*arguments])
    said = capsys.readouterr()
    assert code in {0, 3}, said.err
    lines = [line for line in said.err.splitlines() if REFRESHED_NAME in line]
    assert len(lines) == 1
    assert "--refresh" in lines[0]
    assert "\x1b" not in said.err
    assert REFRESHED_NAME not in said.out


def test_tables_and_bars_obey_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.table import Table

    odd = "odd\x1b]0;title\x07\u202e"
    stream = io.StringIO()
    table = Table(odd)
    table.add_row(odd)
    PrintableConsole(file=stream, width=80).print(odd, table)
    assert stream.getvalue().count("odd]0;title") == 3
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with DownloadBar(10) as bar:
        bar.show(DownloadNotice(odd))
    with counting(odd, 10) as on_bytes:
        on_bytes(10)
    assert output.console(stderr=True).is_terminal
    said = capsys.readouterr().err
    assert "odd]0;title" in said
    assert "\x1b]0" not in said
    assert "\u202e" not in said
