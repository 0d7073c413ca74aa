"""Pictures of the chat's own screens, each named by what it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_snapshots import chat_app, to_chat
from textual import events
from textual.pilot import Pilot
from tui_scene import (
    ADVICE,
    GIB,
    QWEN_7B,
    STATS,
    THINKING,
    FrozenServices,
    chat_of,
    hold_still,
    in_chat,
    messages,
    until,
)

from localr1.chat.types import Conversation
from localr1.fit.types import Plan, Settings
from localr1.tui.screens.answer_again import AnswerAgainChoice
from localr1.tui.screens.compare import Compare
from localr1.tui.screens.context import ContextWindow
from localr1.tui.widgets.status_line import Status

SnapCompare = Callable[..., bool]
SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
CODE = "Add them:\n\n```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```\n\nThat is all.\n"
SAID = messages(("How do I add?", THINKING, CODE))
TALK = Conversation(1, "add", QWEN_7B.id, SAID, SAID)


def with_versions() -> Conversation:
    """Two questions and three replies to one of them."""
    question, reply = SAID
    stats = replace(STATS, model_id="r1-distill-qwen-7b")
    more = [replace(reply, id=number, stats=stats) for number in (3, 4)]
    first = [question, reply, *more]
    return Conversation(1, "add", QWEN_7B.id, (question, first[2]), tuple(first))


@SIZES
def test_a_chosen_reply_shows_its_keys_and_which_version_it_is(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = chat_app(conversation=with_versions())

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        await pilot.press("alt+up")
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_a_chosen_code_block_is_copied_and_saved_by_a_key(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = chat_app(conversation=TALK)

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        await pilot.press("alt+up", "b")
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_another_answer_from_the_same_thinking_tells_what_it_costs(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = chat_app(conversation=TALK)

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        await pilot.press("alt+up", "a")
        await until(pilot, lambda: isinstance(app.screen, AnswerAgainChoice))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_a_full_window_has_choices_with_their_cost(
    snap_compare: SnapCompare, size: tuple[int, int]
) -> None:
    app = chat_app(conversation=TALK)

    async def twice_as_large(*_: object) -> Plan:
        plan = ADVICE.plans[1]
        extra = plan.devices[0].kv_cache_bytes + int(1.4 * GIB)
        memory = replace(plan.devices[0], kv_cache_bytes=extra)
        return replace(plan, devices=(memory,), settings=Settings(32768))

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        running = app.runner.running
        assert running is not None
        app.runner.running = replace(running, plan=ADVICE.plans[1])
        app.services.plan_for = twice_as_large  # type: ignore[method-assign, assignment]
        chat_of(app).status.status = Status(
            "DeepSeek-R1-Distill-Qwen-7B",
            "Q4_K_M",
            "thinking",
            18.0,
            0.0,
            14200,
            16384,
            12100,
            2100,
        )
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, ContextWindow))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_a_long_paste_is_one_line_with_its_cost(
    snap_compare: SnapCompare, size: tuple[int, int], tmp_path: Path
) -> None:
    del tmp_path
    app = chat_app(conversation=TALK)

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: in_chat(app))
        await to_chat(app, pilot)
        chat = chat_of(app)
        services = app.services
        assert isinstance(services, FrozenServices)

        async def counted(_prompts: object) -> tuple[int]:
            return (2412,)

        services.engines[-1].count_tokens = counted  # type: ignore[method-assign, assignment]
        chat.composer.load("What is wrong here? ")
        chat.composer.post_message(events.Paste("a line of the log\n" * 400))
        await until(pilot, lambda: "token" in str(chat.composer.border_subtitle))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)


@SIZES
def test_two_versions_stand_side_by_side(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    app = chat_app(conversation=with_versions())

    async def ready(pilot: Pilot[None]) -> None:
        await to_chat(app, pilot)
        await pilot.press("alt+up", "v")
        await until(pilot, lambda: isinstance(app.screen, Compare))
        await hold_still(pilot)

    assert snap_compare(app, terminal_size=size, run_before=ready)
