"""`python -m localr1` and the `localr1` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from localr1.cli.main import main as run  # noqa: PLC0415 - the worker never needs the CLI

        code = run()
    except KeyboardInterrupt:  # before the command line could take it, or while it leaves
        sys.stderr.write("localr1: Stopped.\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
