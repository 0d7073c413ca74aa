"""The model names a conversation while the user does nothing, and lets go at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from tui_scene import (
    QWEN_7B,
    FrozenServices,
    answering,
    chat_of,
    generated,
    in_chat,
    offline_home,
    until,
)

from localr1.models.types import LocalModel
from localr1.tui import talk
from localr1.tui.app import LocalR1App

LOCAL = LocalModel(QWEN_7B, QWEN_7B.variants[1], Path("model-Q4_K_M.gguf"), 4 << 30)


def an_app() -> tuple[LocalR1App, FrozenServices]:
    home = offline_home()
    services = FrozenServices(home, idle=True, last=LOCAL)
    return LocalR1App(home, services=services), services


async def replied(app: LocalR1App, pilot: Pilot[None], services: FrozenServices) -> Any:
    """A conversation with one reply; the engine."""
    await until(pilot, lambda: in_chat(app))
    engine = services.engines[-1]
    chat_of(app).composer.load("What is 347 + 589?")
    await pilot.press("enter")
    await until(pilot, lambda: engine.asked)
    for event in (answering("936", 3), generated()):
        engine.events.put_nowait(event)
    await until(pilot, chat_of(app)._idle.is_set)
    return engine


async def test_a_title_comes_when_nothing_else_is_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "_TITLE_SECONDS", 0.0)
    app, services = an_app()
    async with app.run_test(size=(100, 30)) as pilot:
        engine = await replied(app, pilot, services)
        await until(pilot, lambda: len(engine.asked) == 2)
        assert engine.asked[1].thinking_budget_tokens == 0
        for event in (answering("A sum", 2), generated()):
            engine.events.put_nowait(event)
        store = await services.kept()
        await until(pilot, lambda: store.summaries()[0].title == "A sum")
        assert store.summaries()[0].titled_by == "model"


async def test_a_question_comes_before_a_title(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "_TITLE_SECONDS", 0.0)
    app, services = an_app()
    async with app.run_test(size=(100, 30)) as pilot:
        engine = await replied(app, pilot, services)
        await until(pilot, lambda: len(engine.asked) == 2)
        stops: list[int] = []

        async def stop(target: int) -> None:
            stops.append(target)

        engine.stop = stop
        chat_of(app).composer.load("And 5 - 9?")
        await pilot.press("enter")
        await until(pilot, lambda: len(engine.asked) == 3)
        assert engine.asked[2].thinking_budget_tokens is None
        for event in (answering("-4", 2), generated()):
            engine.events.put_nowait(event)
        await until(pilot, chat_of(app)._idle.is_set)
        await asyncio.sleep(0.1)
        assert len(engine.asked) == 3  # the second reply is no time for a title
        store = await services.kept()
        assert store.summaries()[0].title == "What is 347 + 589?"
