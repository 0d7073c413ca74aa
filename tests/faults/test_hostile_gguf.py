"""Damaged and hostile model files: taken in consistently or refused by name, and nothing dies.

Each mutant goes through import and estimate in a process that may take 200 MB, and what was
taken in is loaded by a real worker that may take no more than a small model needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hostile
import pytest

from localr1.engine import protocol
from localr1.engine.process import WorkerProcess
from localr1.errors import EngineDied, LocalR1Error

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
MUTANTS = 1000 if SOAK else 100
WORKER_BYTES = 6 << 30
"""Address space, not memory: libraries, threads' stacks and arenas, and a tiny model."""
SUPPORT = Path(hostile.__file__).parent


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    seed: int
    told: str
    facts: dict[str, object]

    @property
    def imported(self) -> bool:
        return self.facts.get("imported") is True

    @property
    def path(self) -> Path:
        return Path(str(self.facts["path"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> list[Outcome]:
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "hostile_reader.py"), str(folder), "0", str(MUTANTS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [Outcome(int(line["seed"]), str(line["told"]), line) for line in lines]


def test_every_kind_of_damage_is_among_them(outcomes: list[Outcome]) -> None:
    assert len(outcomes) == MUTANTS
    told = Counter(outcome.told.split(": ")[1].split()[0].rstrip(";") for outcome in outcomes)
    assert set(told) == set(hostile.KINDS)
    taken = sum(outcome.imported for outcome in outcomes)
    assert MUTANTS / 20 < taken < MUTANTS / 2, "neither everything nor nothing is harmless"


def test_import_and_estimate_never_crash(outcomes: list[Outcome]) -> None:
    crashes = [(one.seed, one.told, one.facts["crash"]) for one in outcomes if "crash" in one.facts]
    assert crashes == []
    for one in outcomes:
        assert one.imported != ("error" in one.facts), one
        assert one.facts.get("explained", True), f"an error without a reason: {one}"


def test_the_reader_takes_no_time(outcomes: list[Outcome]) -> None:
    # The requirement is a second for reading, and it stands for a busy machine too.
    slow = [one for one in outcomes if float(str(one.facts.get("read_seconds", 0))) > 1]
    assert slow == []


@contextmanager
def limited(more_bytes: int) -> Iterator[None]:
    """What is started meanwhile inherits a limit of address space; this process is above it."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Loader:
    """Loads files one after the other, with a new worker only where the last one is spent."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._worker: WorkerProcess | None = None
        self.started = 0

    async def load(self, path: Path) -> str:
        """Load a file; `loaded`, or the kind of the named error."""
        if self._worker is None:
            with limited(WORKER_BYTES):
                self._worker = await WorkerProcess.start(self._logs)
            self.started += 1
        worker = self._worker
        number, inbox = worker.open()
        await worker.send(
            protocol.Load(
                number,
                path=str(path),
                context_window=256,
                kv_cache_type="f16",
                gpu_layers=0,
                cpu_expert_layers=0,
                tensor_split=(),
                device_names=(),
                flash_attention=True,
                ubatch=32,
                threads=1,
            )
        )
        try:
            while True:
                event = await inbox.get()
                if isinstance(event, protocol.Failure):
                    assert event.what
                    return "refused"
                if isinstance(event, EngineDied):
                    assert event.what
                    assert event.why
                    await self.close()
                    return "died"
                if isinstance(event, LocalR1Error):
                    raise event
                if isinstance(event, protocol.Loaded):
                    await self.close()
                    return "loaded"
        finally:
            worker.forget(number)

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()


async def test_what_was_taken_in_loads_or_is_refused_by_name(
    outcomes: list[Outcome], folder: Path, tmp_path: Path
) -> None:
    loader = Loader(tmp_path)
    found: Counter[str] = Counter()
    try:
        assert await loader.load(hostile.bases(folder / "sound")[0][0]) == "loaded"
        for one in outcomes:
            if one.imported:
                found[await loader.load(one.path)] += 1
    finally:
        await loader.close()
    assert sum(found.values()) == sum(one.imported for one in outcomes)
    assert found["loaded"] > 0
    # A refusal leaves the worker fit for the next file.
    assert loader.started == 1 + found["loaded"] + found["died"]


async def test_what_import_refuses_cannot_bring_the_app_down_either(
    outcomes: list[Outcome], folder: Path, tmp_path: Path
) -> None:
    loader = Loader(tmp_path)
    originals = hostile.bases(folder / "again")
    refused = [one for one in outcomes if not one.imported][:: 8 if SOAK else 4]
    try:
        for one in refused:
            _, path = hostile.write_mutant(originals, one.seed, tmp_path / str(one.seed))
            assert await loader.load(path) in {"loaded", "refused", "died"}
    finally:
        await loader.close()


def text(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


TOKENS = text(b"tokenizer.ggml.tokens")
LARGEST = {
    # As much as the limits let through, or just more.
    "strings to skip": (0, [(TOKENS + u32(9) + u32(8) + u64(2**21), bytes(8 * 2**21))]),
    "strings to keep": (0, [(TOKENS + u32(9) + u32(8) + u64(2**19), text(b"ab") * 2**19)]),
    "numbers to keep": (0, [(TOKENS + u32(9) + u32(0) + u64(2**19), bytes(2**19))]),
    "a wide text": (
        0,
        [(text(b"k") + u32(8), text("\N{GRINNING FACE}".encode() + b"x" * (16 * 2**20 - 100)))],
    ),
    "pairs": (0, [(text(b"%d" % n) + u32(0), b"\0") for n in range(2**14)]),
    "short arrays": (
        0,
        [(text(b"%d" % n) + u32(9) + u32(0) + u64(1024), bytes(1024)) for n in range(512)],
    ),
    "tensors": (2**15, []),
    "too many strings": (0, [(TOKENS + u32(9) + u32(8) + u64(2**24), bytes(8 * 2**24))]),
    "numbers to skip": (0, [(TOKENS + u32(9) + u32(0) + u64(2**27), bytes(2**27))]),
    "too many pairs": (0, [(text(b"%d" % n) + u32(0), b"\0") for n in range(2**18)]),
    "too many tensors": (2**18, []),
    "a text without end": (0, [(text(b"k") + u32(8), text(bytes(2**27)))]),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_headers_stay_within_a_second_and_their_memory(
    tmp_path: Path, name: str
) -> None:
    tensors, pairs = LARGEST[name]
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + u32(3) + u64(tensors) + u64(len(pairs)))
        for key, value in pairs:
            file.write(key + value)
        for number in range(tensors):
            file.write(text(b"blk.%d.w" % number) + u32(4) + u64(1) * 4 + u32(0) + u64(32 * number))
        file.truncate(file.tell() + 64 + 32 * tensors)
    code = (
        "import sys, time, hostile_reader\n"
        "from pathlib import Path\n"
        "from localr1.errors import GgufError\n"
        "from localr1.gguf import header\n"
        "hostile_reader.limit_memory(hostile_reader.READER_BYTES)\n"
        "started = time.process_time()\n"
        "try:\n"
        "    header.read(Path(sys.argv[1]), keep=('tokenizer.ggml.tokens',))\n"
        "    header.read(Path(sys.argv[1]))\n"
        "    said = 'accepted'\n"
        "except GgufError:\n"
        "    said = 'refused'\n"
        "print(said, time.process_time() - started)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )
    assert done.returncode == 0, done.stderr
    said, seconds = done.stdout.split()
    assert said == ("refused" if "too many" in name or "without" in name else "accepted")
    assert float(seconds) < 2, "two readings, a second each"
