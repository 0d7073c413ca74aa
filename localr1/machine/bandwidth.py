"""How fast main memory can be read: token generation on the CPU is bound by it.

Convention: only bytes *read* are counted, each once, in bytes per second. Every thread
compares two equal halves of its own buffer with the C library's `memcmp`, which writes
nothing, as reading weights does. (STREAM's Copy counts bytes read plus bytes written and
so gives another number.) Where no `memcmp` can be found, `memmove` is used and, as in
STREAM, bytes read and bytes written are added.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CACHE_NAME = "bandwidth.json"
# Together larger than a last-level cache, and small enough to be touched in a few tenths
# of a second.
_BUFFER_BYTES = 64 << 20
_ALL_BUFFERS_BYTES = 512 << 20
_MOST_THREADS = 16
# Faster than any computer's main memory: a figure above it came from a cache.
_LIMIT_BYTES_PER_SECOND = 2e12

_ENOUGH_SAMPLES = 5
_CALM_SHARE = 0.85
"""Threads that ran for less of the time had to wait for other programs."""
_BUSY = " (busy)"
"""Behind a processor's name: figures that were taken while other programs ran."""

_Compare = Callable[[int, int, int], object]


@dataclass(frozen=True)
class Reading:
    """How fast memory was read."""

    bytes_per_second: float
    """Over all threads."""
    running_share: float
    """Of the time, in which the threads had a core to run on."""

    @property
    def calm(self) -> bool:
        """Whether this is memory's speed, and not what other programs left of the cores."""
        return self.running_share >= _CALM_SHARE

    @property
    def likely(self) -> float:
        """What it would have been with all cores, in bytes per second.

        Between what was read and what each thread read while it ran, times their number: memory
        that several cores read at once gives each of them less. In the middle of the two.
        """
        return float(self.bytes_per_second / min(1.0, max(0.01, self.running_share)) ** 0.5)


def measure_bandwidth(
    seconds: float = 0.4, threads: int | None = None, memory_bytes: int | None = None
) -> Reading:
    """Measure the read bandwidth of main memory.

    Args:
        seconds: How long to read; preparing the buffers comes on top (about 0.1 s).
        threads: Threads that read at once; all CPUs up to 16 by default.
        memory_bytes: Most memory to take for it, in bytes; 64 MiB a thread, 512 in all, by
            default.
    """
    threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
    half = min(_BUFFER_BYTES, min(_ALL_BUFFERS_BYTES, memory_bytes or sys.maxsize) // threads) // 2
    half = max(1 << 20, half // 4096 * 4096)
    operation = _compare_function() or ctypes.memmove
    buffers = [ctypes.create_string_buffer(2 * half) for _ in range(threads)]
    counts = [0] * threads
    ends = [0.0] * threads
    ran = [0.0] * threads
    deadline = [0.0]
    ready = threading.Barrier(threads + 1)

    def read(index: int) -> None:
        first = ctypes.addressof(buffers[index])
        # Untouched pages all map to one page of zeros, which stays in the cache.
        ctypes.memset(first, 1, 2 * half)
        ready.wait()
        ready.wait()
        before = time.thread_time()
        while time.perf_counter() < deadline[0]:
            operation(first, first + half, half)
            counts[index] += 2 * half
        ran[index] = time.thread_time() - before
        ends[index] = time.perf_counter()

    workers = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    deadline[0] = start + seconds
    ready.wait()
    for worker in workers:
        worker.join()
    took = max(ends) - start
    return Reading(sum(counts) / took, sum(ran) / (threads * took))


def cached_bandwidth(cache_dir: Path, cpu_name: str) -> float | None:
    """Return the best bandwidth measured so far with this processor, in bytes per second.

    The best, because whatever else ran meanwhile can only have taken from it. What was measured on a
    busy computer counts only as long as there is nothing else.
    """
    busy = max(_samples(cache_dir, cpu_name + _BUSY), default=None)
    return max(_samples(cache_dir, cpu_name), default=busy)


def measured_enough(cache_dir: Path, cpu_name: str, *, busy: bool = False) -> bool:
    """Whether further measurements are not worth their time: one may have met a busy moment.

    Args:
        cache_dir: Where they are kept.
        cpu_name: Of this processor.
        busy: Whether other programs keep it busy now: one more of that kind tells nothing new.
    """
    if len(_samples(cache_dir, cpu_name)) >= _ENOUGH_SAMPLES:
        return True
    return busy and len(_samples(cache_dir, cpu_name + _BUSY)) >= _ENOUGH_SAMPLES


def remember_bandwidth(cache_dir: Path, cpu_name: str, reading: Reading) -> None:
    """Add a measured bandwidth to what `cached_bandwidth` knows.

    A cache that cannot be written is no error: the next run measures again.
    """
    name = cpu_name if reading.calm else cpu_name + _BUSY
    samples = [*_samples(cache_dir, name), reading.likely][-_ENOUGH_SAMPLES:]
    values = {**_read_cache(cache_dir), name: samples}
    part = cache_dir / f"{CACHE_NAME}.{os.getpid()}.part"
    with contextlib.suppress(OSError):
        cache_dir.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(values, indent=1), encoding="utf-8")
        part.replace(cache_dir / CACHE_NAME)


def _samples(cache_dir: Path, cpu_name: str) -> list[float]:
    values = _read_cache(cache_dir).get(cpu_name)
    return [
        float(value)
        for value in (values if isinstance(values, list) else [])
        if isinstance(value, (int, float)) and 0 < value < _LIMIT_BYTES_PER_SECOND
    ]


def _read_cache(cache_dir: Path) -> dict[str, object]:
    try:
        values = json.loads((cache_dir / CACHE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _compare_function() -> _Compare | None:
    """Return the C library's memcmp; ctypes releases the interpreter's lock during it."""
    try:
        library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
        function = library.memcmp
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    function.restype = ctypes.c_int
    return function
