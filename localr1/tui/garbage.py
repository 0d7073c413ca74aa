"""When Python looks for garbage: not in the middle of drawing.

A full search walks through every object of the program, 100 ms and more with a screen full of
widgets, and comes by itself about once a second while a reply streams. So what the program itself
consists of is left out of it for good, and full searches are made at times of our own.
"""

from __future__ import annotations

import gc
import time
from typing import Final

# Objects made until the young ones are looked through, and how often that is until the next stage.
_YOUNG_OBJECTS: Final = 2_000
_STAGES: Final = 8
_NEVER: Final = 1_000_000
_LONGEST_SECONDS: Final = 60.0


class Garbage:
    """Decides when to look for garbage; the whole process has only one."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._last = time.monotonic()

    def begin(self) -> None:
        """The program has started: from now on it looks at times of its own."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, _STAGES, _NEVER)

    def look(self) -> None:
        """Look now: nothing moves on the screen."""
        gc.collect()
        self._last = time.monotonic()

    def look_if_due(self) -> None:
        """Look, if that was long ago: something has been moving all the time."""
        if time.monotonic() - self._last > _LONGEST_SECONDS:
            self.look()

    def end(self) -> None:
        """As it was before."""
        gc.set_threshold(*self._before)
        gc.unfreeze()


GARBAGE: Final = Garbage()
"""The process's own."""
