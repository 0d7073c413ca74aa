"""From arguments to an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from localr1 import crash
from localr1.cli import output, parser
from localr1.config import Directories
from localr1.errors import FileError, Interrupted, LocalR1Error

# Modules are imported when their command is given: each costs something.
_COMMANDS: Final = {
    None: "app",
    "chat": "app",
    "advise": "advise",
    "ask": "ask",
    "bench": "bench",
    "completion": "completion",
    "doctor": "doctor",
    "estimate": "estimate",
    "history": "history",
    "machine": "machine",
    "models": "library:run_models",
    "pull": "pull",
    "import": "importing",
    "rm": "library:run_remove",
    "verify": "upkeep:run_verify",
    "move": "upkeep:run_move",
    "bundle": "bundle",
    "serve": "serve",
    "lend": "lend",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments without the program's name; None for the process's own.

    Returns:
        The exit code of design: 0 fine, 1 failed, 2 wrong usage, 3 nothing fits, 4 offline and
        not here, 130 interrupted.
    """
    _prepare_streams()
    # Starting makes some 100,000 objects that stay: looking through them again and again for
    # garbage would take a tenth of the time.
    gc.set_threshold(50_000)
    arguments = parser.parse(argv)
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
    except OSError as error:
        reason = error.strerror or str(error)
        output.print_error(
            FileError("The output cannot be written.", reason, "Check the disk it goes to.")
        )
        return FileError.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: a user never sees a traceback
        path = crash.record(error, Directories.standard().logs)
        output.print_error(crash.explain(error, path))
        return LocalR1Error.exit_code
    return code


def _prepare_streams() -> None:
    """Make printing safe.

    Models write every script; a console with a smaller character set shows `?` for the rest.
    A stream that the caller closed swallows what is written.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            encoding = "utf-8" if not stream.isatty() else stream.encoding
            stream.reconfigure(encoding=encoding, errors="replace")
