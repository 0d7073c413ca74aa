"""`python -m localr1` and the `localr1` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from localr1.cli.main import main as run  # noqa: PLC0415 - the worker never needs the CLI

    sys.exit(run())


if __name__ == "__main__":
    main()
