"""A function that stops in the middle, wherever it has to wait, and goes on later."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Strand:
    """Runs a function in a thread of its own, but never at the same time as its owner.

    So nothing that the two share needs a lock, llama.cpp's context above all.

    Args:
        work: The function.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._error: BaseException | None = None
        self.over = False
        """Whether the function has returned."""
        threading.Thread(target=self._run, name="strand", daemon=True).start()

    def resume(self) -> None:
        """Let the function run until it waits or returns; what it raises is raised here."""
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Called by the function: let the owner go on, until the next `resume`."""
        self._back.release()
        self._go.acquire()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the owner waits
            self._error = error
        finally:
            self.over = True
            self._back.release()
