"""The panel with live figures: shown by a key, remembered, and nothing while it is hidden."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_snapshots import TALK, chat_app, to_chat
from textual.content import Content
from textual.pilot import Pilot
from tui_scene import (
    ADVICE,
    GIB,
    MACHINE,
    chat_of,
    first_run,
    hold_still,
    played_chat,
    texts,
    thinking,
    until,
)

from localr1.config import Directories, load_preferences
from localr1.engine import protocol
from localr1.machine.gauges import Gauges, GpuNow, Now
from localr1.machine.types import Power, SystemGpu
from localr1.tui.panel_words import Pace, Speeds, panel_lines
from localr1.tui.runner import Running
from localr1.tui.widgets.status_line import Status

SnapCompare = Callable[..., bool]
SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
CARD = SystemGpu("NVIDIA GeForce RTX 4070", "nvidia", 12 * GIB, GIB, False, None, "NVML")
NOW = Now(
    memory=replace(MACHINE.memory, available_bytes=19 * GIB),
    power=Power(True, 81.0, 24.2),
    cpu_share=0.31,
    cpu_celsius=62.4,
    engine_bytes=int(0.9 * GIB),
    gpus=(GpuNow(CARD, 0.97, 71.0, 180.2),),
)
STATUS = Status(
    context_used=1300, context_window=16384, thinking_tokens=830, answer_tokens=20, context_base=450
)


class FixedGauges(Gauges):
    """Says the same every time, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.closed = threading.Event()

    def look(self, process_id: int | None = None) -> Now:
        del process_id
        self.looks += 1
        return NOW

    def close(self) -> None:
        self.closed.set()


def lines(width: int = 28, **changes: Any) -> list[str]:
    running = Running(None, ADVICE.plans[0], None)  # type: ignore[arg-type]  # only the plan is read
    given = {
        "status": STATUS,
        "speeds": Speeds(38.2, 36.0, 412.0, 38.0),
        "running": running,
        "machine": MACHINE,
        "now": NOW,
        **changes,
    }
    return [line.plain.rstrip() for line in panel_lines(**given, width=width)]


def test_every_figure_has_its_line() -> None:
    assert lines() == [
        "Speed, tokens/s",
        " now                      38",
        " average                  36",
        " expected                 38",
        " reading                 412",
        "",
        "Context, 1.3k of 16k",
        " ━╍━──────────────────────╌╌",
        " ━ history               450",
        " ╍ thinking              830",
        " ━ answer                 20",
        " ╌ kept for answer     1,024",
        "",
        "Memory, GiB",
        " CUDA0          11.0 of 12.0",
        "   planned for it        9.8",
        "",
        "This computer",
        " Processor       31 %  62 °C",
        " Graphics 97 %  71 °C  180 W",
        " Battery          24 W, 81 %",
    ]


def test_what_the_system_does_not_say_has_no_line() -> None:
    silent = Now(MACHINE.memory, Power(None, None))
    told = lines(speeds=Speeds(), status=Status(), now=silent)
    assert told == []
    told = lines(speeds=Speeds(), now=None)
    assert told[0].startswith("Context")
    assert "This computer" not in told
    assert "Memory, GiB" not in lines(machine=None)


@given(st.integers(12, 60), st.integers(0, 10**6), st.floats(0, 10**5))
def test_no_line_is_longer_than_the_panel(width: int, tokens: int, tps: float) -> None:
    status = Status(context_used=tokens, context_window=131072, thinking_tokens=tokens // 2)
    found = panel_lines(status, Speeds(tps, tps, tps, tps), None, MACHINE, NOW, width)
    assert found
    assert all(line.cell_length <= width for line in found if isinstance(line, Content))


def test_now_is_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.note(0.0, 0) is None
    assert pace.note(1.0, 10) == 10.0
    for second in range(2, 8):
        last = pace.note(float(second), 10 + 40 * (second - 1))
    assert last == 40.0, "what was slow long ago does not count"
    assert pace.note(8.0, 5) is None, "another reply begins anew"


async def test_a_key_shows_and_hides_it_and_the_next_start_knows() -> None:
    gauges = FixedGauges()
    async with played_chat((120, 40)) as (app, pilot, _):
        panel = chat_of(app).panel
        panel._gauges = lambda: gauges
        assert not panel.display
        assert panel._watcher is None, "hidden, it costs nothing"
        await pilot.press("f12")
        await until(pilot, lambda: "Battery" in texts(app, "#panel"))
        await until(pilot, lambda: load_preferences(Directories.standard()).panel)
        await pilot.press("f12")
        await until(pilot, lambda: not panel.display)
        await until(pilot, lambda: not load_preferences(Directories.standard()).panel)
        await until(pilot, gauges.closed.is_set)
        looks = gauges.looks
        await pilot.pause(1.3)
        assert gauges.looks == looks


async def test_it_goes_where_there_is_no_room_and_comes_back() -> None:
    async with played_chat((120, 40)) as (app, pilot, _):
        panel = chat_of(app).panel
        panel._gauges = FixedGauges
        await pilot.press("f12")
        await until(pilot, lambda: panel.display)
        await pilot.resize_terminal(70, 24)
        await until(pilot, lambda: not panel.display and panel._watcher is None)
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: panel.display)


async def test_the_speed_now_follows_a_reply() -> None:
    async with played_chat((120, 40)) as (app, pilot, engine):
        panel = chat_of(app).panel
        panel._gauges = FixedGauges
        await pilot.press("f12")
        chat = chat_of(app)
        chat.composer.load("Hello")
        await pilot.press("enter")
        await until(pilot, lambda: chat._talk.busy)
        engine.events.put_nowait(protocol.PromptProgressed(1, 20, 20))
        engine.events.put_nowait(thinking("I think.", 100, 5.0))
        await until(pilot, lambda: "average" in texts(app, "#panel"))
        await pilot.pause(1.1)
        engine.events.put_nowait(thinking(" More.", 150, 7.5))
        await until(pilot, lambda: " now " in texts(app, "#panel"))
        await chat.action_stop()
        await until(pilot, chat._idle.is_set)


async def test_with_the_real_engine_it_says_what_the_model_holds() -> None:
    async with first_run((120, 40)) as (app, pilot):
        await pilot.press("f12")
        await until(pilot, lambda: "by the model" in texts(app, "#panel"))
        shown = texts(app, "#panel")
        assert "Memory" in shown
        assert "planned for it" in shown


@SIZES
def test_live_figures_stand_beside_the_chat(snap_compare: SnapCompare, size: Any) -> None:
    app = chat_app(conversation=TALK)

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        chat_of(app).panel._gauges = FixedGauges
        chat_of(app).panel.wanted = True
        await until(pilot, lambda: "Battery" in texts(app, "#panel"))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)
