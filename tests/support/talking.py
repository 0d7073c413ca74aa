"""A real engine on the demo model, and conversations with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.types import (
    AnswerDelta,
    Failed,
    Finished,
    Notice,
    PromptProgress,
    ReplyStats,
    ThinkingDelta,
)
from localr1.engine.client import Engine
from localr1.errors import LocalR1Error
from localr1.fit.types import Settings
from localr1.models import catalog
from localr1.models.library import DEMO_PATH
from localr1.models.types import Model

GREEDY = ReplyOptions(temperature=0.0)


def demo_model() -> Model:
    return catalog.load().model("demo")


@asynccontextmanager
async def demo_engine(logs: Path, context_window: int = 2048) -> AsyncIterator[Engine]:
    engine = await Engine.start(DEMO_PATH, Settings(context_window, threads=1), log_directory=logs)
    try:
        yield engine
    finally:
        await engine.close()


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
    heard = Heard()
    async with aclosing(session.send(question, options)) as events:
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
