"""A real engine on the demo model, and conversations with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from localr1.chat import template
from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.types import (
    AnswerDelta,
    Ask,
    Failed,
    Finished,
    Notice,
    PromptProgress,
    ReplyStats,
    ThinkingDelta,
    Wish,
)
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.engine.process import LIMITS
from localr1.engine.watch import Limits
from localr1.errors import LocalR1Error
from localr1.fit.types import Settings
from localr1.models import catalog
from localr1.models.library import DEMO_PATH
from localr1.models.types import Model

GREEDY = ReplyOptions(temperature=0.0)


def demo_model() -> Model:
    return catalog.load().model("demo")


def question(text: str = "", **changes: Any) -> protocol.Generate:
    """A request to the demo model, which says what it is surest of."""
    asked = protocol.Generate(
        request_id=0,
        segments=template.render("", [], text, open_thinking=True),
        thinking_open=True,
        seed=1,
        temperature=0.0,
        top_p=0.95,
        top_k=64,
        min_p=0.0,
        max_tokens=0,
    )
    return replace(asked, **changes)


@asynccontextmanager
async def loaded(
    path: Path, settings: Settings, logs: Path, *endpoints: str, limits: Limits = LIMITS
) -> AsyncIterator[Engine]:
    """An engine, closed at the end; the endpoints are of RPC servers."""
    engine = await Engine.start(
        path, settings, log_directory=logs, rpc_endpoints=endpoints, limits=limits
    )
    try:
        yield engine
    finally:
        await engine.close()


def demo_engine(
    logs: Path, context_window: int = 2048, *, limits: Limits = LIMITS, **settings: Any
) -> AbstractAsyncContextManager[Engine]:
    """The demo model; the settings are those of `Settings`."""
    asked = Settings(context_window, threads=1, **settings)
    return loaded(DEMO_PATH, asked, logs, limits=limits)


@dataclass
class Heard:
    """Everything that came of one question."""

    thinking: str = ""
    answer: str = ""
    notices: list[str] = field(default_factory=list)
    progress: list[PromptProgress] = field(default_factory=list)
    stats: ReplyStats | None = None
    error: LocalR1Error | None = None


async def ask(session: ChatSession, question: str, options: ReplyOptions = GREEDY) -> Heard:
    return await carry_out(session, Ask(question), options)


async def carry_out(session: ChatSession, wish: Wish, options: ReplyOptions = GREEDY) -> Heard:
    heard = Heard()
    async with aclosing(session.carry_out(wish, options)) as events:
        async for event in events:
            match event:
                case ThinkingDelta():
                    heard.thinking += event.text
                case AnswerDelta():
                    heard.answer += event.text
                case Notice():
                    heard.notices.append(event.text)
                case PromptProgress():
                    heard.progress.append(event)
                case Finished():
                    heard.stats = event.stats
                case Failed():
                    heard.error = event.error
    return heard
