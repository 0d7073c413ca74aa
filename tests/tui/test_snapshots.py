"""Pictures of the app, each named by what it promises. After a wanted change: look, then
`pytest tests/tui/test_snapshots.py --snapshot-update`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from tui_scene import (
    ADVICE,
    ANSWER,
    GIB,
    MACHINE,
    QWEN_7B,
    THINKING,
    FrozenServices,
    at_advice,
    chat_of,
    hold_still,
    home_at,
    in_chat,
    messages,
    texts,
    thinking,
    until,
)

from localr1.chat.types import Conversation
from localr1.engine import protocol
from localr1.errors import EngineDied, LoadFailed
from localr1.fit.types import Advice, FullR1
from localr1.machine.types import GpuUser, Machine
from localr1.models.types import LocalModel
from localr1.tui.app import LocalR1App
from localr1.tui.screens.download import Download
from localr1.tui.screens.plan_detail import PlanDetail
from localr1.tui.widgets.note import ActionNote, LoopNote, RestartNote, StepNote
from localr1.tui.widgets.reply import Reply

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
MODELS = Path("/home/you/.local/share/localr1/models")
LOCAL = LocalModel(QWEN_7B, QWEN_7B.variants[1], MODELS / "model-Q4_K_M.gguf", 4 << 30)
TALK = Conversation(1, "sums", QWEN_7B.id, messages(("What is 347 + 589?", THINKING, ANSWER)))
SnapCompare = Callable[..., bool]


class HeldDownload(FrozenServices):
    """A download that has come to a certain point and stays there."""

    async def fetch(self, _model: Any, variant: Any, on_event: Any) -> LocalModel:
        from localr1.models.download import DownloadProgress

        on_event(
            DownloadProgress(
                int(1.9 * (1 << 30)), variant.size_bytes, 23.4 * (1 << 20), 281.0, variant.files[0]
            )
        )
        await asyncio.Event().wait()
        return LOCAL


def chat_app(**options: Any) -> LocalR1App:
    home = home_at(MODELS, offline=True)
    return LocalR1App(home, services=FrozenServices(home, last=LOCAL, idle=True, **options))


async def to_chat(app: LocalR1App, pilot: Pilot[None]) -> None:
    await until(pilot, lambda: in_chat(app))
    await chat_of(app)._redraw()
    await hold_still(pilot)


@SIZES
def test_the_first_screen_tells_the_machine_and_what_fits(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    home = home_at(MODELS)
    app = LocalR1App(home, services=FrozenServices(home))

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: at_advice(app))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


def advised(machine: Machine, advice: Advice) -> LocalR1App:
    home = home_at(MODELS)
    services = FrozenServices(home, advice=advice)

    async def examine() -> Machine:
        return machine

    services.examine = examine  # type: ignore[method-assign]
    return LocalR1App(home, services=services)


def two_cards() -> tuple[Machine, Advice]:
    """A machine with two cards, one of them in use, and a model over both and main memory."""
    cpu, card = MACHINE.devices
    firefox = (GpuUser("firefox", int(1.8 * GIB)), GpuUser("Xorg", 400 << 20))
    cards = (
        replace(card, free_bytes=int(9.4 * GIB), users=firefox),
        replace(card, name="CUDA1", free_bytes=int(11.9 * GIB)),
    )
    machine = replace(MACHINE, devices=(cpu, *cards), problems=())
    whole = ADVICE.plans[0]
    memory = whole.devices[0]
    parts = (
        replace(memory, name="CPU", weights_bytes=GIB, mapped_bytes=GIB, kv_cache_bytes=0),
        replace(memory, weights_bytes=6 * GIB),
        replace(memory, name="CUDA1", weights_bytes=9 * GIB),
    )
    settings = replace(whole.settings, device_names=("CUDA0", "CUDA1"), gpu_layers=29)
    wide = replace(whole, devices=parts, settings=settings)
    words = (
        "DeepSeek-R1 UD-IQ1_S (131 GiB): 20 GiB on CUDA0 and CUDA1, 21 GiB in main memory and "
        "100 GiB read from disk again and again; about 0.2 tokens/s"
    )
    full = FullR1(ADVICE.plans[3], 20 * GIB, 21 * GIB, 100 * GIB, wide, words)
    return machine, Advice("balanced", (wide, *ADVICE.plans[1:]), full)


@SIZES
def test_the_advice_draws_the_memory_of_every_device(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = advised(*two_cards())

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: at_advice(app))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_a_machine_that_is_not_there_is_plainly_marked(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = advised(*two_cards())

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("w", "down", "down", "down", "right", "right", "down", "left")
        await pilot.press(*["right"] * 7)
        await until(pilot, lambda: "ranking" not in texts(app, "#ranking"))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
@pytest.mark.parametrize("row", [0, 3], ids=["fits", "too_big"])
def test_the_details_tell_times_memory_and_every_reason(
    snap_compare: SnapCompare, size: tuple[int, int], row: int
) -> None:
    app = advised(*two_cards())

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("a", "home", *["down"] * row, "d")
        await until(pilot, lambda: isinstance(app.screen, PlanDetail))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_a_download_tells_what_from_where_and_how_far(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    home = home_at(MODELS)
    app = LocalR1App(home, services=HeldDownload(home))

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Download))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_a_finished_thought_is_one_line_above_the_answer(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = chat_app(conversation=TALK)

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_an_opened_thought_is_whole_and_plain(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = chat_app(conversation=TALK)

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        await pilot.press("ctrl+o")
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_a_failure_says_what_why_and_what_to_do(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    error = LoadFailed(
        "The model cannot be loaded.",
        "llama.cpp says: failed to allocate buffer for kv cache",
        "Choose a smaller variant, or a smaller context window.",
    )
    app = chat_app(load_error=error)

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.screen.query(ActionNote))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


def test_a_dead_engine_can_be_restarted_where_it_happened(snap_compare: SnapCompare) -> None:
    app = chat_app(conversation=TALK)
    error = EngineDied(
        "The engine stopped: killed by signal 9.",
        "CUDA error: out of memory",
        "Start it again; everything written so far is kept.",
    )

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        await chat_of(app)._offer_restart(error, "Restart the engine", "Ctrl+R")
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)


def test_sixty_columns_are_enough_for_a_chat(snap_compare: SnapCompare) -> None:
    app = chat_app(conversation=TALK)

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)

    assert snap_compare(app, terminal_size=(60, 20), run_before=ready)


def test_a_thinking_in_circles_is_told_and_the_answer_offered(snap_compare: SnapCompare) -> None:
    app = chat_app()
    words = "Wait, let me check that once more. 347 + 589 = 936. "
    events: list[protocol.Event] = [
        protocol.PromptProgressed(1, 17, 17),
        thinking(THINKING + words * 20, 1830, 102.0),
        protocol.LoopNoticed(1, "cycle", 5),
    ]

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        services = app.services
        assert isinstance(services, FrozenServices)
        engine = services.engines[-1]
        chat_of(app).composer.load("What is 347 + 589?")
        await pilot.press("enter")
        await until(pilot, lambda: engine.asked)
        for event in events:
            engine.events.put_nowait(event)
        await until(pilot, lambda: app.screen.query(LoopNote))
        await chat_of(app).query(Reply).last().draw()
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)


def test_what_gives_way_is_told_while_the_model_loads(snap_compare: SnapCompare) -> None:
    app = chat_app(
        pause=asyncio.Event(),
        steps=(
            "Only 3.1 GiB of memory are free now: the context window goes from 16,384 to 8,192"
            " tokens.",
            "It did not load, memory was short. Trying again: the KV cache goes from f16 to q8_0.",
        ),
    )

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.screen.query(StepNote)) == 2)
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)


def test_a_load_that_was_stopped_can_be_begun_again(snap_compare: SnapCompare) -> None:
    app = chat_app(pause=asyncio.Event())

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.screen.query("Composer") and chat_of(app)._loading.running)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen.query(RestartNote))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)
