"""Scenes for the app's tests: a frozen machine, fixed advice, and waiting for a condition."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from localr1.chat.session import ChatSession
from localr1.chat.types import Conversation, ConversationSummary, Message, ReplyStats
from localr1.config import Goal
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.errors import LocalR1Error
from localr1.fit.types import (
    NOTHING,
    Advice,
    Asked,
    DeviceMemory,
    Interval,
    Plan,
    Settings,
    TimeToAnswer,
)
from localr1.gguf.types import Architecture
from localr1.install import mend
from localr1.install.types import Bench, Build, Place, Tools
from localr1.machine.types import Cpu, Device, EngineDevice, EngineInfo, Machine, Memory, Power
from localr1.models.catalog import Catalogue
from localr1.models.types import LocalModel, Model, Sampling, ThinkingTokens, Variant
from localr1.tui.app import LocalR1App
from localr1.tui.screens.chat import Chat
from localr1.tui.services import Services
from localr1.tui.widgets.advice_detail import AdviceDetail
from localr1.tui.widgets.advice_list import AdviceList
from localr1.tui.widgets.reply import Reply
from localr1.workflow import Home, open_home

GIB = 1 << 30
UNTIL_SECONDS = float(os.environ.get("LOCALR1_TEST_WAIT_SECONDS", "180"))
"""What is waited for at most; far more than it takes."""

MACHINE = Machine(
    operating_system="Linux 6.8 x86_64",
    cpu=Cpu("AMD Ryzen 7 7840U", 8, 16, 8, ("SSE3", "AVX", "AVX2", "AVX512", "FMA", "F16C")),
    memory=Memory(32 * GIB, 21 * GIB, 68e9),
    devices=(
        Device(
            "CPU",
            "AMD Ryzen 7 7840U",
            "cpu",
            "amd",
            "CPU",
            32 * GIB,
            21 * GIB,
            False,
            68e9,
            True,
            "",
        ),
        Device(
            "CUDA0",
            "NVIDIA GeForce RTX 4070",
            "gpu",
            "nvidia",
            "CUDA",
            12 * GIB,
            11 * GIB,
            False,
            504e9,
            True,
            "",
            capability="8.9",
            runtime="CUDA 12.4",
        ),
    ),
    engine=EngineInfo(
        "0.3.36",
        ("CPU", "CUDA"),
        (
            EngineDevice("CUDA0", "NVIDIA GeForce RTX 4070", "gpu", 12 * GIB, 11 * GIB),
            EngineDevice("CPU", "AMD Ryzen 7 7840U", "cpu", 32 * GIB, 21 * GIB),
        ),
        "CPU : AVX2 = 1 | REPACK = 1 | ",
        compiled=("CUDA", "CPU"),
    ),
    power=Power(False, None),
    problems=("The battery could not be read: no such file.",),
)


def a_model(identity: str, name: str, *variants: Variant, demo: bool = False) -> Model:
    return Model(
        id=identity,
        name=name,
        architecture=Architecture(
            "qwen2", 28, 3584, 18944, 28, 4, 128, 128, 152064, 131072, 7_600_000_000
        ),
        variants=variants,
        license="MIT",
        base_license="Apache-2.0",
        released="2025-01-20",
        source="",
        force_think=True,
        system_prompt=False,
        sampling=Sampling(),
        kv_cache_types=("f16",),
        thinking_tokens=ThinkingTokens(2000, 8000, assumed=True, source=""),
        quality=69.0,
        demo=demo,
    )


def a_variant(quantization: str, size_gib: float, repository: str = "owner/model-GGUF") -> Variant:
    return Variant(
        quantization,
        repository,
        (f"model-{quantization}.gguf",),
        int(size_gib * GIB),
        size_is_exact=True,
    )


def a_plan(
    model: Model,
    variant: Variant,
    tps: float,
    *reasons: str,
    fits: bool = True,
    needs_gib: float = 6,
) -> Plan:
    def around(value: float) -> Interval:
        return Interval(value * 0.8, value, value * 1.2)

    need = int(needs_gib * GIB)
    cache, compute = need * 12 // 100, need * 7 // 100
    memory = DeviceMemory("CUDA0", need - cache - compute, 0, 0, cache, compute, 0, 0)
    return Plan(
        model=model,
        variant=variant,
        settings=Settings(16384),
        devices=(memory,),
        fits=fits,
        upper_bound=False,
        prompt_tps=around(tps * 20),
        generation_tps=around(tps),
        time_to_answer=TimeToAnswer(
            around(2000 / tps),
            around(8000 / tps),
            around(2500 / tps),
            assumed=True,
            hard_assumed=True,
        ),
        reasons=reasons,
        would_fit_if=() if fits else ("the computer has 120 GiB more main memory",),
    )


QWEN_7B = a_model(
    "r1-distill-qwen-7b",
    "DeepSeek-R1-Distill-Qwen-7B",
    a_variant("Q5_K_M", 5.1),
    a_variant("Q4_K_M", 4.4),
)
QWEN_14B = a_model("r1-distill-qwen-14b", "DeepSeek-R1-Distill-Qwen-14B", a_variant("Q4_K_M", 8.4))
R1 = a_model("r1", "DeepSeek-R1", a_variant("UD-IQ1_S", 131))

ADVICE = Advice(
    "balanced",
    (
        a_plan(
            QWEN_14B,
            QWEN_14B.variants[0],
            38,
            "Needs 9.8 GiB of 11.0 GiB free on CUDA0; about 38 tokens/s; the best that answers in time",
            "Runs entirely on CUDA0",
            needs_gib=9.8,
        ),
        a_plan(
            QWEN_7B,
            QWEN_7B.variants[0],
            71,
            "Needs 6.4 GiB of 11.0 GiB free on CUDA0; about 71 tokens/s; a typical answer in about 28 s",
            "Runs entirely on CUDA0",
            needs_gib=6.4,
        ),
        a_plan(
            QWEN_7B,
            QWEN_7B.variants[1],
            80,
            "Needs 5.6 GiB of 11.0 GiB free on CUDA0; about 80 tokens/s; a typical answer in about 25 s",
            needs_gib=5.6,
        ),
        a_plan(
            R1,
            R1.variants[0],
            0.4,
            "Needs 141 GiB of 32.0 GiB free; lacks 109 GiB",
            fits=False,
            needs_gib=141,
        ),
    ),
)

STATS = ReplyStats(
    finish_reason="stop",
    seed=1,
    prompt_tokens=17,
    thinking_tokens=100,
    answer_tokens=14,
    prompt_tps=412.0,
    generation_tps=38.2,
    time_to_first_token_seconds=0.1,
    thinking_seconds=2.6,
    total_seconds=3.1,
    context_used=131,
    context_window=16384,
)
THINKING = (
    "I add 347 and 589 column by column, from the right.\n7 + 9 + 0 = 16, write 6, carry 1\n"
    "4 + 8 + 1 = 13, write 3, carry 1\n3 + 5 + 1 = 9, write 9, carry 0\nSo 347 + 589 = 936\n"
)
ANSWER = (
    "The sum is **936**.\n\n| step | result |\n|---|---|\n| ones | 16 |\n| tens | 13 |\n\n"
    "\\[ 347 + 589 = \\boxed{936} \\]\n"
)


def messages(*pairs: tuple[str, str, str], stats: ReplyStats = STATS) -> tuple[Message, ...]:
    """Questions with thinking and answer."""
    now = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    out: list[Message] = []
    for question, thinking, answer in pairs:
        parent = out[-1].id if out else None
        asked = Message(len(out) + 1, parent, "user", question, "", None, now)
        out += [asked, Message(asked.id + 1, asked.id, "assistant", answer, thinking, stats, now)]
    return tuple(out)


@dataclass
class PlayedEngine:
    """Stands where a loaded model would; a reply is what a test puts into `events`."""

    alive: bool = True
    context_window: int = 16384
    settings: Settings = field(default_factory=lambda: Settings(16384))
    events: asyncio.Queue[protocol.Event] = field(default_factory=asyncio.Queue)
    asked: list[protocol.Generate] = field(default_factory=list)
    thinking_ended: int = 0
    """How often the user wanted the answer now."""
    process_id: int = os.getpid()

    async def close(self) -> None:
        self.alive = False

    async def count_tokens(self, prompts: Sequence[object]) -> tuple[int, ...]:
        return (10,) * len(prompts)

    async def prefill(self, _segments: object) -> protocol.Prefilled:
        return protocol.Prefilled(0, 10, 10, 0.01)

    async def generate(self, request: protocol.Generate) -> AsyncGenerator[protocol.Event, None]:
        self.asked.append(request)
        while True:
            event = await self.events.get()
            yield event
            if isinstance(event, protocol.Generated):
                return

    async def stop(self, _target_id: int) -> None:
        self.events.put_nowait(generated("cancelled"))

    async def end_thinking(self, _target_id: int) -> None:
        self.thinking_ended += 1


def thinking(text: str, tokens: int, seconds: float) -> protocol.Text:
    return protocol.Text(1, "thinking", text, tokens, seconds)


def answering(text: str, tokens: int) -> protocol.Text:
    return protocol.Text(1, "answer", text, tokens, tokens / 10)


def generated(
    reason: Literal["stop", "length", "cancelled"] = "stop", *, window_full: bool = False
) -> protocol.Generated:
    """The end of a reply."""
    return protocol.Generated(
        1,
        finish_reason=reason,
        prompt_tokens=20,
        cached_tokens=0,
        thinking_tokens=100,
        answer_tokens=14,
        prompt_seconds=0.1,
        generation_seconds=3.0,
        time_to_first_token_seconds=0.1,
        thinking_seconds=2.6,
        total_seconds=3.1,
        context_used=131,
        answer_token_ids=(1, 2, 3),
        window_full=window_full,
    )


class FrozenServices(Services):
    """The real services with a fixed machine and fixed advice.

    Args:
        home: As for `Services`.
        conversation: What an opened conversation holds.
        load_error: What loading a model raises.
        pause: Loading waits for this, when given.
        last: The model of the last run.
        idle: A `PlayedEngine` instead of a real one.
        steps: What gives way while loading.
        connected: Whether there seems to be a connection, where it may be used at all.
        cleaning_seconds: How long a load that was stopped takes to go away.
    """

    def __init__(  # noqa: PLR0913  # keyword arguments with defaults
        self,
        home: Home,
        *,
        advice: Advice = ADVICE,
        conversation: Conversation | None = None,
        load_error: LocalR1Error | None = None,
        pause: asyncio.Event | None = None,
        last: LocalModel | None = None,
        idle: bool = False,
        steps: Sequence[str] = (),
        connected: bool = True,
        cleaning_seconds: float = 0.0,
    ) -> None:
        super().__init__(home)
        self.advice = advice
        self.last = last
        self.idle = idle or load_error is not None or pause is not None
        self.talk = conversation
        self.load_error = load_error
        self.pause = pause
        self.steps = steps
        self.is_connected = connected
        self.cleaning_seconds = cleaning_seconds
        self.engines: list[PlayedEngine] = []
        self.machine = MACHINE
        self.mending: Callable[[Callable[[mend.Event], None]], Awaitable[mend.Mended]] | None = None
        """Stands where an installer would run for minutes."""

    async def connected(self) -> bool:
        return self.online and self.is_connected

    async def examine(self) -> Machine:
        return self.machine

    async def bench(self) -> Bench:
        place = Place("Linux", "x86_64", (3, 12), "/v/bin/python", "pip")
        return Bench(place, Tools(compiler=True, packages="apt"))

    async def mend(
        self,
        builds: Sequence[Build],
        machine: Machine,
        bench: Bench,
        on_event: Callable[[mend.Event], None],
    ) -> mend.Mended:
        del builds, machine, bench
        assert self.mending is not None
        return await self.mending(on_event)

    async def advise(self, machine: Machine, goal: Goal, asked: Asked = NOTHING) -> Advice:
        del machine, asked
        return replace(self.advice, goal=goal)

    async def plan_for(self, machine: Machine, local: LocalModel, asked: Asked = NOTHING) -> Plan:
        del machine, asked
        return a_plan(
            local.model, local.variant, 800, "Needs 0.2 GiB of 21.0 GiB free", needs_gib=0.2
        )

    async def free_disk_bytes(self) -> int:
        return 212 * GIB

    async def start_engine(
        self,
        local: LocalModel,
        plan: Plan,
        on_progress: Callable[[float], None],
        on_step: Callable[[str], None],
    ) -> Engine:
        if not self.idle:
            return await super().start_engine(local, plan, on_progress, on_step)
        for step in self.steps:
            on_step(step)
        on_progress(0.4)
        try:
            if self.pause is not None:
                await self.pause.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleaning_seconds)
            raise
        if self.load_error is not None:
            raise self.load_error
        on_progress(1.0)
        self.engines.append(PlayedEngine())
        return cast("Engine", self.engines[-1])

    async def last_used(self) -> LocalModel | None:
        return self.last or await super().last_used()

    async def session(
        self, engine: Engine, local: LocalModel, conversation: Conversation | None
    ) -> ChatSession:
        return await super().session(engine, local, conversation or self.talk)

    async def summaries(
        self, query: str = "", *, archived: bool = False, tag: str = ""
    ) -> tuple[ConversationSummary, ...]:
        if self.talk is not None:
            return ()
        return await super().summaries(query, archived=archived, tag=tag)


async def hold_still(pilot: Pilot[None]) -> None:
    """Stop what moves by itself: for pictures."""
    pilot.app.animation_level = "none"
    for area in pilot.app.screen.query(TextArea):
        area.cursor_blink = False
    for line in pilot.app.screen.query(Input):
        line.cursor_blink = False
    # A busy computer lays out a little later than it draws.
    before: list[str] = []
    for _ in range(40):
        await pilot.pause(0.05)
        now = [strip.text for strip in pilot.app.screen._compositor.render_strips()]
        if now == before:
            return
        before = now


def offline_home() -> Home:
    return open_home(offline=True)


async def a_chat(**options: Any) -> LocalR1App:
    """The app on its way into the chat; the options are those of `FrozenServices`."""
    home = offline_home()
    services = FrozenServices(home, idle=True, **options)
    services.last = (await services.local_models())[-1]
    return LocalR1App(home, services=services)


def greedy_home() -> Home:
    """Offline, and the demo always says what it is surest of."""
    home = offline_home()
    models = tuple(replace(m, sampling=Sampling(temperature=0.0)) for m in home.catalogue.models)
    catalogue: Catalogue = replace(home.catalogue, models=models)
    return replace(home, catalogue=catalogue)


@asynccontextmanager
async def first_run(
    size: tuple[int, int] = (100, 40),
) -> AsyncIterator[tuple[LocalR1App, Pilot[None]]]:
    """The app with the demo loaded, by the way that a first run goes."""
    app = LocalR1App(greedy_home())
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: at_advice(app))
        await pilot.press("enter")
        await until(pilot, lambda: in_chat(app))
        yield app, pilot


@asynccontextmanager
async def played_chat(
    size: tuple[int, int] = (80, 24), **options: Any
) -> AsyncIterator[tuple[LocalR1App, Pilot[None], PlayedEngine]]:
    """The chat with an engine that is played; the options are those of `FrozenServices`."""
    app = await a_chat(**options)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: in_chat(app))
        services = app.services
        assert isinstance(services, FrozenServices)
        yield app, pilot, services.engines[-1]


async def played(app: LocalR1App, pilot: Pilot[None], *events: protocol.Event) -> None:
    """Let a reply that was asked for come, to its end."""
    services = app.services
    assert isinstance(services, FrozenServices)
    chat, engine = chat_of(app), services.engines[-1]
    await until(pilot, lambda: chat._talk.busy)
    for event in events or (thinking("I think.", 4, 1.0), answering("So it is.", 4), generated()):
        engine.events.put_nowait(event)
    await until(pilot, chat._idle.is_set)
    await pilot.pause()


async def asked(app: LocalR1App, pilot: Pilot[None], text: str, *events: protocol.Event) -> None:
    """Ask, and let the reply come."""
    chat_of(app).composer.load(text)
    await pilot.press("enter")
    await played(app, pilot, *events)


def home_at(path: Path, *, offline: bool = False) -> Home:
    """A home that shows the same path in every picture; nothing is written there."""
    home = open_home(offline=offline)
    return replace(home, directories=replace(home.directories, models=path))


async def until(
    pilot: Pilot[None], condition: Callable[[], object], seconds: float = UNTIL_SECONDS
) -> None:
    """Wait for a condition; a failure names it by its source line."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {condition.__code__.co_firstlineno}")
        await pilot.pause(0.02)


def chat_of(app: LocalR1App) -> Chat:
    screen = app.screen
    assert isinstance(screen, Chat)
    return screen


def at_advice(app: LocalR1App) -> bool:
    """Whether the advice is on top and filled, and its row explained."""
    found = app.screen.query(AdviceList)
    row = found.first().highlighted if found else None
    return row is not None and app.screen.query_one(AdviceDetail).row == row


def in_chat(app: LocalR1App) -> bool:
    """Whether the chat is on top and its model loaded."""
    return isinstance(app.screen, Chat) and app.screen._talk.ready


def texts(app: App[None], selector: str) -> str:
    """What is seen on screen where a selector's widgets are, as plain text."""
    lines = [strip.text for strip in app.screen._compositor.render_strips()]
    parts = []
    for widget in app.screen.query(selector):
        region = widget.region
        parts += [line[region.x : region.right] for line in lines[region.y : region.bottom]]
    return "\n".join(parts)


async def ask(app: LocalR1App, pilot: Pilot[None], text: str) -> Reply:
    """Type a question, wait for the end of the reply."""
    chat = chat_of(app)
    before = len(chat.query(Reply))
    chat.composer.load(text)
    await pilot.press("enter")
    await until(pilot, lambda: len(chat.query(Reply)) > before and chat._idle.is_set())
    reply = chat.transcript.last_reply
    assert reply is not None
    return reply
