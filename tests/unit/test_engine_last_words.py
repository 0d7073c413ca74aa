"""What is quoted of a worker's log when the worker has ended."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from localr1.engine.last_words import last_words

# What llama.cpp writes when idle work is broken off because a question came.
BROKEN_OFF = """graph_compute: ggml_backend_sched_graph_compute_async failed with error 1
process_ubatch: failed to compute graph, compute status: 1
decode: removing memory module entries for seq_id = 0, pos = [0, +inf)
llama_decode: failed to decode, ret = 2
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
def test_work_that_was_broken_off_is_no_reason_for_a_crash(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(f"sched_reserve: reserve took 1.68 ms\n{BROKEN_OFF}")
    assert last_words(log, -signal.SIGSEGV) == "sched_reserve: reserve took 1.68 ms"
    log.write_text(f"{BROKEN_OFF}llama_decode: failed to decode, ret = -3\n")
    assert last_words(log, 1) == "llama_decode: failed to decode, ret = -3"
