"""How commands print: tables and JSON on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from localr1.errors import LocalR1Error
from localr1.printable import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

# A pipe has no width of its own; tables must not be cut for it.
_PIPE_COLUMNS = 200
_LONGEST_LINE = 8_000


def console(*, stderr: bool = False) -> Console:
    """A console for a stream; plain where it is no terminal."""
    from localr1.cli.console import PrintableConsole  # noqa: PLC0415 - heavy, and not every command prints

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_COLUMNS
    return PrintableConsole(
        stderr=stderr, width=width, highlight=False, markup=False, soft_wrap=False
    )


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(as_json(value))


def as_json(value: dict[str, Any]) -> str:
    """One JSON object as text."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    if printable(text) != text:  # what a terminal would obey is written as JSON's escapes
        text = "".join(one if printable(one) else json.dumps(one)[1:-1] for one in text)
    return text + "\n"


def say(text: str) -> None:
    """One line on stdout, whatever names of files and models it holds."""
    console().print(line(text))


def line(text: str) -> str:
    """Text as one printable line."""
    return one_line(text, _LONGEST_LINE)


def print_lines(lines: Iterable[str]) -> None:
    """Lines on stdout, as they are but for what a terminal would obey."""
    sys.stdout.write("".join(f"{printable(text)}\n" for text in lines))


def print_error(error: LocalR1Error) -> None:
    """What happened, why, and what to do, on stderr."""
    lines = [f"localr1: {line(error.what)}"]
    lines += [f"  {line(part)}" for part in (error.why, error.todo) if part]
    sys.stderr.write("\n".join(lines) + "\n")


def note(text: str) -> None:
    """A remark on stderr."""
    sys.stderr.write(line(text) + "\n")
