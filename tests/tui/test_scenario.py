"""What is asked of the advice, and the bars of memory: plain functions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fit_machines import ALL, M3_MAX_64, RTX_4090, TINY
from hypothesis import given
from hypothesis import strategies as st
from tui_scene import GIB, MACHINE

from localr1.errors import LocalR1Error
from localr1.fit import time_words
from localr1.fit.types import Interval
from localr1.fit.usage import PoolUse
from localr1.machine.gpu_table import meant_cards
from localr1.machine.types import GpuUser
from localr1.tui.memory_bar import PARTS, SHORT, bar_content, figure, memory_lines, split_cells
from localr1.tui.scenario import FIELDS, Field, Scenario, moved, options, position, typed
from localr1.tui.widgets.machine_panel import machine_lines

HERE = Scenario()
BYTES = st.integers(0, 200 * GIB)


USE = PoolUse("CUDA0", 12 * GIB, GIB, 8 * GIB, GIB, GIB, short_bytes=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("field", FIELDS)
def test_every_step_leads_to_a_machine_that_can_be_advised(name: str, field: Field) -> None:
    machine, scenario = ALL[name], HERE
    choices = options(field, scenario, machine)
    assert len({choice.value for choice in choices}) == len(choices)
    scenario = moved(scenario, field, -len(choices), machine)
    seen = [getattr(scenario, field)]
    for _ in choices[1:]:
        scenario = moved(scenario, field, 1, machine)
        seen.append(getattr(scenario, field))
        there = scenario.on(machine)
        assert scenario.elsewhere or there == machine
    assert seen == [choice.value for choice in choices]
    assert moved(scenario, field, 1, machine) == scenario


def test_memory_grows_to_the_right_of_what_is_there() -> None:
    larger = moved(HERE, "ram_bytes", 1, MACHINE)
    assert larger.on(MACHINE).memory.total_bytes == 32 * GIB
    assert moved(larger, "ram_bytes", 1, MACHINE).ram_bytes == 48 * GIB
    assert moved(HERE, "ram_bytes", -1, MACHINE).ram_bytes == 24 * GIB
    assert moved(larger, "ram_bytes", -1, MACHINE) == HERE


def test_every_card_offered_is_in_the_table() -> None:
    for machine in (TINY, RTX_4090, M3_MAX_64):
        for choice in options("gpu", HERE, machine):
            name = str(choice.value).removesuffix(" x2").removesuffix(" x4")
            assert choice.value in {None, "none"} or meant_cards(name), choice
    chips = [choice.value for choice in options("gpu", HERE, M3_MAX_64)]
    assert "M4 Max" in chips
    assert "RTX 4090" not in chips


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("ram_bytes", "64", 64 * GIB),
        ("ram_bytes", "64 GB", 64_000_000_000),
        ("ram_bytes", "", None),
        ("context_window", "32,768", 32768),
        ("context_window", " ", None),
        ("gpu", "rtx 4090 x2", "rtx 4090 x2"),
        ("gpu", "NONE", "none"),
        ("gpu", "My Card 24G", "My Card"),
    ],
)
def test_what_is_typed_is_understood_and_offered(
    field: Field, text: str, value: str | int | None
) -> None:
    scenario = typed(HERE, field, text, MACHINE)
    assert getattr(scenario, field) == value
    choices = options(field, scenario, MACHINE)
    assert choices[position(choices, scenario, field)].value == value
    scenario.on(MACHINE)


def test_a_card_of_ones_own_has_the_memory_that_was_typed() -> None:
    there = typed(HERE, "gpu", "My Card 24G", MACHINE).on(MACHINE)
    assert [gpu.total_bytes for gpu in there.gpus] == [24 * GIB]
    # The next card in the row has its own.
    other = moved(typed(HERE, "gpu", "My Card 24G", MACHINE), "gpu", 3, MACHINE)
    assert [gpu.total_bytes for gpu in other.on(MACHINE).gpus] != [24 * GIB]


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("ram_bytes", "much", "is not a size"),
        ("ram_bytes", "3 KB", "less than any computer has"),
        ("context_window", "0", "no number of tokens"),
        ("context_window", "²", "no number of tokens"),
        ("gpu", "RTX 4O90", "Names like it: RTX 4090"),
        ("gpu", "RTX 4090 x99", "names no GPUs"),
    ],
)
def test_what_cannot_be_understood_is_told_with_a_way_on(
    field: Field, text: str, told: str
) -> None:
    with pytest.raises(LocalR1Error) as error:
        typed(HERE, field, text, MACHINE)
    assert told in f"{error.value.what} {error.value.why} {error.value.todo}"
    assert "--" not in f"{error.value.why} {error.value.todo}"


@given(st.sampled_from(FIELDS), st.text(max_size=30))
def test_typing_anything_is_understood_or_told(field: Field, text: str) -> None:
    if field not in {"ram_bytes", "context_window", "gpu"}:
        return
    try:
        scenario = typed(HERE, field, text, MACHINE)
    except LocalR1Error:
        return
    scenario.on(MACHINE)
    options(field, scenario, MACHINE)


def test_the_other_machine_is_named() -> None:
    scenario = Scenario(ram_bytes=64 * GIB, gpu="RTX 3090 x2")
    assert scenario.words() == "64 GiB memory, 2 × RTX 3090"
    assert Scenario(gpu="none").words() == "no graphics card"
    assert not scenario.here().elsewhere
    asked = Scenario(context_window=8192, kv_cache_type="q8_0")
    assert not asked.elsewhere
    assert (asked.asked.context_window, asked.asked.kv_cache_type) == (8192, "q8_0")


# Bars


@given(st.lists(BYTES, min_size=1, max_size=8), st.integers(0, 300))
def test_cells_are_shared_out_wholly_and_nothing_that_is_there_vanishes(
    sizes: list[int], cells: int
) -> None:
    shares = split_cells(sizes, cells)
    there = sum(1 for size in sizes if size)
    assert sum(shares) == (cells if there else 0)
    assert all(share >= 0 for share in shares)
    assert all(share == 0 for share, size in zip(shares, sizes, strict=True) if not size)
    if cells >= there:
        assert all(share for share, size in zip(shares, sizes, strict=True) if size)
    if cells >= 8 * max(1, there):
        total = sum(sizes)
        for share, size in zip(shares, sizes, strict=True):
            assert total == 0 or abs(share - size * cells / total) <= there


@given(st.lists(BYTES, min_size=4, max_size=4), BYTES, st.integers(24, 200))
def test_memory_lines_fit_any_width(sizes: list[int], short: int, width: int) -> None:
    used, weights, cache, compute = sizes
    use = PoolUse("Vulkan0", sum(sizes), used, weights, cache, compute, short_bytes=short)
    for line in memory_lines([use, replace(use, name="CPU")], width):
        assert line.cell_length <= width


@pytest.mark.parametrize("width", [76, 116, 50, 30])
def test_every_part_is_told_without_colours_and_with_its_figure(width: int) -> None:
    text = "\n".join(line.plain for line in memory_lines([USE], width))
    for part in PARTS:
        assert text.count(part.sign) >= 2, part  # in the legend and in the bar
        assert part.name in text
    assert len({part.sign for part in (*PARTS, SHORT)}) == len(PARTS) + 1
    for told in ("8.0", "1.0", "CUDA0"):
        assert told in text


def test_what_is_missing_is_drawn_and_counted() -> None:
    use = replace(USE, weights_bytes=20 * GIB, short_bytes=int(11.5 * GIB))
    # 11.5 of 23.5 GiB have no room.
    assert bar_content(use, 47).plain == "/" * 2 + "█" * 22 + "!" * 23
    assert bar_content(use, 1).plain == "!"
    assert "! 11.5" in memory_lines([use], 100)[1].plain


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "<0.1"), (GIB, "1.0"), (int(8.44 * GIB), "8.4"), (131 * GIB, "131")],
)
def test_figures_are_short(size: int, text: str) -> None:
    assert figure(size) == text


@pytest.mark.parametrize(
    ("low", "high", "short", "words"),
    [
        (300, 720, "5–12 min", "5 to 12 min"),
        (50, 120, "50 s–2 min", "50 s to 2 min"),
        (301, 302, "5 min", "about 5 min"),
    ],
)
def test_a_time_is_told_with_its_spread(low: float, high: float, short: str, words: str) -> None:
    interval = Interval(low, (low + high) / 2, high)
    assert time_words.short_time_range(interval) == short
    assert time_words.time_range(interval) == words


@given(st.floats(0.01, 1e6), st.floats(0, 1e6))
def test_a_short_time_is_short(low: float, more: float) -> None:
    assert len(time_words.short_time_range(Interval(low, low + more / 2, low + more))) <= 12


def test_the_machine_tells_who_holds_a_cards_memory() -> None:
    cards = tuple(
        replace(device, users=(GpuUser("fire\x1b[31mfox", 1800 << 20),))
        if device.kind == "gpu"
        else device
        for device in MACHINE.devices
    )
    text = "\n".join(line.plain for line in machine_lines(replace(MACHINE, devices=cards), 120))
    assert "fire[31mfox holds 1.8 GiB" in text
