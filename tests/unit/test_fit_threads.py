"""Which numbers of threads are tried, and which one wins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localr1.fit.threads import Sample, ThreadSpeed, candidates, choose, gentle
from localr1.fit.types import Settings
from localr1.machine.types import Cpu

speeds = st.floats(0.01, 1e5)


def cpu(physical: int, logical: int, performance: int) -> Cpu:
    return Cpu("a processor", physical, logical, performance, ())


def measured(threads: int, *pairs: tuple[float, float]) -> ThreadSpeed:
    return ThreadSpeed(threads, tuple(Sample(*pair) for pair in pairs))


def test_candidates() -> None:
    assert candidates(cpu(2, 2, 2), 2) == (1, 2)
    assert candidates(cpu(1, 1, 1), 1) == (1,)
    assert candidates(cpu(8, 16, 8), 8) == (4, 7, 8, 16)
    assert candidates(cpu(14, 20, 6), 6) == (5, 6, 7, 14, 20)
    assert candidates(cpu(8, 16, 8), 1) == (1, 4, 7, 8, 16)


@given(
    physical=st.integers(1, 128),
    twice=st.booleans(),
    fast=st.integers(1, 128),
    tiny=st.booleans(),
)
def test_candidates_can_always_be_used(
    physical: int, *, twice: bool, fast: int, tiny: bool
) -> None:
    processor = cpu(physical, physical * (1 + twice), min(fast, physical))
    default = 1 if tiny else processor.performance_cores
    counts = candidates(processor, default)
    assert default in counts
    assert list(counts) == sorted(set(counts))
    assert all(1 <= count <= processor.logical_cores for count in counts)
    assert len(counts) <= 6


def test_a_clear_winner_is_taken() -> None:
    usual = measured(8, (100, 10), (100, 10), (90, 9))
    assert choose([measured(4, (100, 11), (100, 11), (90, 10)), usual], 8, 60, 1000) == 4


def test_a_narrow_winner_is_not() -> None:
    usual = measured(8, (100, 10), (100, 10))
    assert choose([measured(7, (100, 10.2), (100, 10.2)), usual], 8, 60, 1000) == 8


def test_one_that_lost_a_round_is_not_taken() -> None:
    usual = measured(8, (100, 10), (100, 10), (100, 10))
    other = measured(4, (100, 12), (100, 12), (100, 9))
    assert choose([other, usual], 8, 60, 1000) == 8


def test_one_that_was_given_up_is_not_taken() -> None:
    assert choose([measured(1, (100, 10)), measured(2, (0.0, 0.0))], 1, 60, 1000) == 1
    assert choose([measured(1, (100, 10), (100, 10)), measured(2, (9.0, 3.0))], 1, 60, 1000) == 1


def test_rounds_are_compared_with_each_other() -> None:
    # The computer was slow for a while; in each round the other count was faster all the same.
    usual = measured(8, (100, 10), (10, 1))
    other = measured(4, (100, 11), (10, 1.1))
    assert choose([other, usual], 8, 60, 1000) == 4


@given(
    rows=st.lists(st.tuples(speeds, speeds, speeds, speeds), min_size=1, max_size=5),
)
def test_the_choice_is_never_slower_than_the_default(
    rows: list[tuple[float, float, float, float]],
) -> None:
    found = [
        measured(index, (row[0], row[1]), (row[2], row[3])) for index, row in enumerate(rows, 1)
    ]
    chosen = choose(found, 1, 60, 1000)
    best = next(speed for speed in found if speed.threads == chosen)
    for ours, usual in zip(best.samples, found[0].samples, strict=True):
        assert ours.answer_seconds(60, 1000) <= usual.answer_seconds(60, 1000)


def test_a_gentle_computer_uses_half_of_its_cores_and_small_batches() -> None:
    hybrid = cpu(14, 20, 6)
    gently = gentle(Settings(8192, ubatch=512), hybrid)
    assert (gently.threads, gently.ubatch, gently.context_window) == (3, 128, 8192)
    assert gentle(Settings(8192, threads=1, ubatch=64), hybrid) == Settings(
        8192, threads=1, ubatch=64
    )
