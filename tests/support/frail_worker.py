"""A worker that fails on purpose: little memory, or a crash while it loads.

`folder` makes a folder for PYTHONPATH whose `sitecustomize` acts in workers only. Linux only.
"""

from __future__ import annotations

import os
from pathlib import Path

import localr1

_CODE = """
import os, sys

if "localr1.engine.worker" in sys.orig_argv:
    room = int(os.environ.get("FRAIL_MEMORY_BYTES", "0"))
    largest = int(os.environ.get("FRAIL_CONTEXT_WINDOW", "0"))
    if room or largest:
        import importlib.abc
        import importlib.util
        import resource
        import signal

        class Finder(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name != "localr1.engine.loading":
                    return None
                sys.meta_path.remove(self)
                spec = importlib.util.find_spec(name)
                run = spec.loader.exec_module

                def exec_module(module):
                    run(module)
                    real = module.open_context

                    def open_context(model, load, *rest):
                        if room and not load.measure_only:
                            with open("/proc/self/statm") as file:
                                used = int(file.read().split()[0]) * resource.getpagesize()
                            resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
                        if largest and load.context_window > largest and not load.measure_only:
                            os.kill(os.getpid(), getattr(signal, os.environ["FRAIL_SIGNAL"]))
                        return real(model, load, *rest)

                    module.open_context = open_context

                spec.loader.exec_module = exec_module
                return spec

        sys.meta_path.insert(0, Finder())
"""


def folder(parent: Path) -> Path:
    """Write the folder."""
    path = parent / "frail"
    path.mkdir(exist_ok=True)
    (path / "sitecustomize.py").write_text(_CODE, encoding="utf-8")
    return path


def environment(
    parent: Path, *, memory_bytes: int = 0, context_window: int = 0, signal_name: str = "SIGABRT"
) -> dict[str, str]:
    """Environment variables for an app whose workers are frail.

    Args:
        parent: Where to write the folder.
        memory_bytes: Address space that a context may take; 0 for no limit. Linux only.
        context_window: Contexts larger than this kill the worker; 0 for none.
        signal_name: How.
    """
    package = str(Path(localr1.__file__).parents[1])
    return {
        "PYTHONPATH": os.pathsep.join((str(folder(parent)), package)),
        "FRAIL_MEMORY_BYTES": str(memory_bytes),
        "FRAIL_CONTEXT_WINDOW": str(context_window),
        "FRAIL_SIGNAL": signal_name,
    }
