"""Takes mutants in as the app would, under a limit of memory; run as a program of its own.

Usage: hostile_reader.py FOLDER FIRST COUNT. Prints one JSON line for each seed.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import hostile
from fit_machines import machine

from localr1.errors import LocalR1Error
from localr1.fit.placement import place
from localr1.models import acquire, catalog
from localr1.models.headers import HeaderCache, examine
from localr1.models.library import Library
from localr1.models.records import Records

READER_BYTES = 200 << 20
LAPTOP = machine(32, 24)


def limit_memory(more_bytes: int) -> None:
    """Let this process take no more than so much memory in addition; Linux only."""
    if sys.platform != "linux":
        return
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, used + more_bytes))


def take(path: Path, folder: Path, catalogue: catalog.Catalogue) -> dict[str, object]:
    """One mutant through header, import and estimate."""
    outcome: dict[str, object] = {"path": str(path)}
    library = Library(folder / "own", cache=HeaderCache(None), records=Records(folder / "data"))
    started = time.perf_counter()
    try:
        reading = examine(path)
        outcome["state"] = reading.state
        outcome["read_seconds"] = time.perf_counter() - started
        local = acquire.take_in(path, library, catalogue)
        outcome["imported"] = True
        plan = place(local.model, local.variant, LAPTOP)
        outcome["fits"] = plan.fits
        outcome["context_window"] = plan.settings.context_window
    except LocalR1Error as error:
        outcome["error"] = type(error).__name__
        outcome["explained"] = bool(error.what and error.why)
    outcome["seconds"] = time.perf_counter() - started
    return outcome


def main() -> None:
    """Work through the seeds."""
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    originals = hostile.bases(folder / "originals")
    catalogue = catalog.load()
    limit_memory(READER_BYTES)
    for seed in range(first, first + count):
        place_of_it = folder / f"{seed}"
        told, path = hostile.write_mutant(originals, seed, place_of_it)
        try:
            outcome = take(path, folder, catalogue)
        except Exception as error:  # noqa: BLE001 - what no mutant may cause; the test tells of it
            outcome = {"crash": repr(error)}
        sys.stdout.write(json.dumps({"seed": seed, "told": told, **outcome}) + "\n")
        sys.stdout.flush()
        if not outcome.get("imported"):
            shutil.rmtree(place_of_it)


if __name__ == "__main__":
    main()
