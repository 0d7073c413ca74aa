"""From arguments to an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from localr1.cli import output, parser
from localr1.errors import Interrupted, LocalR1Error

# Modules are imported when their command is given: each costs something.
_COMMANDS: Final = {
    None: "app",
    "chat": "app",
    "advise": "advise",
    "ask": "ask",
    "doctor": "doctor",
    "history": "history",
    "machine": "machine",
    "models": "library:run_models",
    "pull": "library:run_pull",
    "rm": "library:run_remove",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments without the program's name; None for the process's own.

    Returns:
        The exit code of design: 0 fine, 1 failed, 2 wrong usage, 3 nothing fits, 4 offline and
        not here, 130 interrupted.
    """
    _use_utf8()
    arguments = parser.build().parse_args(argv)
    module_name, _, function_name = _COMMANDS[arguments.command].partition(":")
    try:
        module = import_module(f"localr1.cli.{module_name}")
        run: Callable[[object], int] = getattr(module, function_name or "run")
        code = run(arguments)
        sys.stdout.flush()
    except LocalR1Error as error:
        output.print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        output.print_error(Interrupted("Stopped."))
        return Interrupted.exit_code
    except BrokenPipeError:
        # The reader has left; Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _use_utf8() -> None:
    """Models write every script; a console with a smaller character set shows `?` for the rest."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            encoding = "utf-8" if not stream.isatty() else stream.encoding
            stream.reconfigure(encoding=encoding, errors="replace")
