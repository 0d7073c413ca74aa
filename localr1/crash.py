"""What happens to an exception that nobody expected: the log gets it, the user gets words."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

from localr1.errors import LocalR1Error


def record(error: BaseException, logs: Path) -> Path | None:
    """Write the traceback to a log file; None where no log can be written."""
    path = logs / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return None
    return path


def explain(error: BaseException, log: Path | None) -> LocalR1Error:
    """The words for it."""
    return LocalR1Error(
        "localr1 met a mistake of its own and stopped.",
        f"{type(error).__name__}: {error}",
        f"Conversations and downloads are kept. The details are in {log}; please report them."
        if log
        else "Conversations and downloads are kept. Run `localr1 doctor`.",
    )
