"""What the app's own screen costs while a model writes, with the real widgets and a played engine.

    python benchmarks/ui.py [--runs N] [--seconds N] [--json FILE]

The chat screen, 120 x 40 cells, no terminal behind it. The conversation has 32,000 tokens
(128,000 characters) of questions, thinking and Markdown answers with code, tables and formulas;
the played engine sends 100 tokens/s in deltas four times a second, as the real one does. The
scenes are played one after the other:

- the longest stall: the longest time for which the event loop did nothing else, in processor time
  of its thread (other programs on the machine do not count) and, beside it, as the clock saw it;
- the UI's share of a core: processor time over the clock;
- renders: how often the screen was drawn in a second.

A figure for the terminal itself is not in it: what is written to it is thrown away.
"""

# ruff: noqa: SLF001 - it looks at what the screens do by themselves

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import textual
from figures import Bound, Row, all_kept, as_json, markdown
from rich.console import RenderableType
from textual import events
from textual.pilot import Pilot
from textual.screen import Screen

_SUPPORT: Final = Path(__file__).resolve().parent.parent / "tests" / "support"
sys.path.insert(0, str(_SUPPORT))

from tui_scene import (  # noqa: E402 - the folder above
    STATS,
    PlayedEngine,
    answering,
    chat_of,
    generated,
    played_chat,
    thinking,
    until,
)

from localr1.engine import protocol  # noqa: E402
from localr1.tui.app import LocalR1App  # noqa: E402

TOKENS: Final = 32_000
TOKENS_PER_SECOND: Final = 100
DELTAS_PER_SECOND: Final = 4
SIZE: Final = (120, 40)
_BEAT_SECONDS: Final = 0.002
STALL: Final = Bound("at most", 50.0)
SHARE: Final = Bound("at most", 15.0)
IDLE: Final = Bound("at most", 1.0)
RENDERS: Final = Bound("at most", 4.0)
"""Where nothing is pressed."""
_ANSWER: Final = (
    "## Step {n}\n\nBy the quadratic formula \\(x = \\frac{{-b \\pm \\sqrt{{b^2-4ac}}}}{{2a}}\\) "
    "the roots are **{n}** and {n}.5; see the table.\n\n"
    "| quantity | value |\n|---|---|\n| discriminant | {n} |\n| root | {n}.5 |\n\n"
    "```python\ndef root(a: float, b: float, c: float) -> float:\n"
    "    return (-b + (b * b - 4 * a * c) ** 0.5) / (2 * a)  # {n}\n```\n\n"
    "\\[ \\sum_{{k=1}}^{{n}} k = \\frac{{n(n+1)}}{{2}} \\]\n\n"
    "- first, **{n}** things follow from this\n- then, `value_{n}` is computed\n\n"
)
_THOUGHT: Final = (
    "Wait, let me check step {n} once more: the sum of the terms is what was asked for, so "
    "the carry must be one, and then the column to the left gives seven and not eight.\n\n"
)


_CODE: Final = (
    "def function_{n}(a: float, b: str) -> list[int]:\n"
    "    return [x for x in range({n}) if a > 2]  # {n}\n"
)
_LONG_CHARACTERS: Final = 12_000


@dataclass
class Beat:
    """What a heartbeat saw of the event loop."""

    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)
    renders: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Percent of a core."""
        return 100 * self.cpu_seconds / self.seconds

    @property
    def renders_per_second(self) -> float:
        """How often the screen was drawn."""
        return self.renders / self.seconds


@asynccontextmanager
async def watched(app: LocalR1App) -> AsyncIterator[Beat]:
    """Look at the event loop and the screen meanwhile."""
    beat = Beat()
    display = app._display

    def counted(screen: Screen[object], renderable: RenderableType | None) -> None:
        beat.renders += renderable is not None
        display(screen, renderable)

    async def look() -> None:
        clock, thread = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            now, used = time.perf_counter(), time.thread_time()
            beat.wall_ms.append(1000 * (now - clock - _BEAT_SECONDS))
            beat.cpu_ms.append(1000 * (used - thread))
            clock, thread = now, used

    app._display = counted  # type: ignore[method-assign]
    looking = asyncio.create_task(look())
    began, used = time.perf_counter(), time.process_time()
    try:
        yield beat
        await asyncio.sleep(0.05)
    finally:
        beat.seconds = time.perf_counter() - began
        beat.cpu_seconds = time.process_time() - used
        looking.cancel()
        app._display = display  # type: ignore[method-assign]


def heartbeat_share() -> float:
    """What the looking itself costs, in percent of a core: it is taken off every share."""

    async def alone() -> float:
        began, used = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < 1:
            await asyncio.sleep(_BEAT_SECONDS)
            time.thread_time()
        return 100 * (time.process_time() - used) / (time.perf_counter() - began)

    return asyncio.run(alone())


async def talked_about(app: LocalR1App) -> int:
    """Put a conversation of 32,000 tokens into the store; its number."""
    store = await app.services.store()
    number, parent, length = store.create("Long", "demo"), None, 0
    while length < 4 * TOKENS:
        at = length // 1000
        thought = "".join(_THOUGHT.format(n=n) for n in range(12))
        answer = "".join(_ANSWER.format(n=at + n) for n in range(4))
        _, reply = store.add_exchange(number, parent, f"What about case {at}?")
        store.update(reply.id, answer, thought, STATS)
        parent = reply.id
        length += len(thought) + len(answer)
    return number


async def stream(
    engine: PlayedEngine, make: Callable[[str, int], protocol.Text], text: str, seconds: float
) -> None:
    """Send a text in deltas, at the wanted speed."""
    step = TOKENS_PER_SECOND // DELTAS_PER_SECOND
    at = 0
    began = time.perf_counter()
    for number in range(int(seconds * DELTAS_PER_SECOND)):
        engine.events.put_nowait(make(text[at : at + 4 * step], (number + 1) * step))
        at += 4 * step
        await asyncio.sleep(
            max(0.0, began + (number + 1) / DELTAS_PER_SECOND - time.perf_counter())
        )


def a_thought(text: str, tokens: int) -> protocol.Text:
    """More thinking."""
    return thinking(text, tokens, tokens / TOKENS_PER_SECOND)


Scene = Callable[[LocalR1App, Pilot[None], PlayedEngine, float], Awaitable[Beat]]


async def begun(app: LocalR1App, pilot: Pilot[None], engine: PlayedEngine) -> None:
    """A question was sent, and the engine is at it."""
    before = len(engine.asked)
    chat_of(app).composer.load("Go on.")
    await pilot.press("enter")
    await until(pilot, lambda: len(engine.asked) > before)
    await asyncio.sleep(0.3)


async def ended(app: LocalR1App, pilot: Pilot[None], engine: PlayedEngine) -> None:
    """The reply is over."""
    engine.events.put_nowait(generated())
    await until(pilot, chat_of(app)._idle.is_set)
    await asyncio.sleep(0.3)


async def folded(app: LocalR1App, pilot: Pilot[None], engine: PlayedEngine, s: float) -> Beat:
    """A long thinking goes on, folded."""
    await begun(app, pilot, engine)
    engine.events.put_nowait(a_thought("".join(_THOUGHT.format(n=n) for n in range(600)), 1))
    await asyncio.sleep(0.5)
    async with watched(app) as beat:
        await stream(engine, a_thought, "".join(_THOUGHT.format(n=n) for n in range(200)), s)
    await ended(app, pilot, engine)
    return beat


async def opened(app: LocalR1App, pilot: Pilot[None], engine: PlayedEngine, s: float) -> Beat:
    """A long thinking goes on, opened meanwhile."""
    await begun(app, pilot, engine)
    engine.events.put_nowait(a_thought("".join(_THOUGHT.format(n=n) for n in range(600)), 1))
    await asyncio.sleep(0.5)
    async with watched(app) as beat:
        await pilot.app.screen.run_action("toggle_thinking")
        await stream(engine, a_thought, "".join(_THOUGHT.format(n=n) for n in range(200)), s)
    await ended(app, pilot, engine)
    return beat


async def answered(app: LocalR1App, pilot: Pilot[None], engine: PlayedEngine, s: float) -> Beat:
    """An answer comes, to its end."""
    await begun(app, pilot, engine)
    async with watched(app) as beat:
        await stream(engine, answering, "".join(_ANSWER.format(n=n) for n in range(60)), s)
        engine.events.put_nowait(generated())
        await until(pilot, chat_of(app)._idle.is_set)
        await asyncio.sleep(0.3)
    return beat


async def coded(app: LocalR1App, pilot: Pilot[None], engine: PlayedEngine, s: float) -> Beat:
    """An answer goes on that is one block of code of some 300 lines."""
    text = "```python\n" + "".join(_CODE.format(n=n) for n in range(1000))
    await begun(app, pilot, engine)
    engine.events.put_nowait(answering(text[:_LONG_CHARACTERS], 1))
    await asyncio.sleep(2)
    async with watched(app) as beat:
        await stream(engine, answering, text[_LONG_CHARACTERS:], s)
    await ended(app, pilot, engine)
    return beat


async def resting(app: LocalR1App, _pilot: Pilot[None], _engine: PlayedEngine, s: float) -> Beat:
    """Nothing happens."""
    await asyncio.sleep(0.5)
    async with watched(app) as beat:
        await asyncio.sleep(s)
    return beat


async def away_and_back(
    app: LocalR1App, _pilot: Pilot[None], _engine: PlayedEngine, _s: float
) -> Beat:
    """The terminal loses the focus and gets it back, three times."""
    async with watched(app) as beat:
        for event in (events.AppBlur(), events.AppFocus()) * 3:
            app.post_message(event)
            await asyncio.sleep(0.3)
    return beat


async def scrolled(app: LocalR1App, pilot: Pilot[None], _engine: PlayedEngine, _s: float) -> Beat:
    """Eight pages up."""
    async with watched(app) as beat:
        for _ in range(8):
            await pilot.press("pageup")
            await asyncio.sleep(0.1)
    await pilot.press("ctrl+end")
    return beat


async def reopened(app: LocalR1App, _pilot: Pilot[None], _engine: PlayedEngine, _s: float) -> Beat:
    """The conversation is drawn anew, as when it is opened."""
    chat = chat_of(app)
    async with watched(app) as beat:
        await chat._redraw()
        await asyncio.sleep(1.0)
    return beat


SCENES: Final[tuple[tuple[str, Scene, Bound | None], ...]] = (
    ("thinking, folded", folded, SHARE),
    ("thinking, open", opened, SHARE),
    ("answer", answered, SHARE),
    ("at rest", resting, IDLE),
    ("terminal left and come back to", away_and_back, None),
    ("scrolled by pages", scrolled, None),
    ("conversation opened", reopened, None),
    ("answer, long code", coded, SHARE),
)


async def measure(runs: int, seconds: float, looking: float) -> list[Row]:
    """All scenes, so many times; what looking costs, in percent of a core, is taken off."""
    found: dict[str, list[Beat]] = {}
    for _ in range(runs):
        async with played_chat(size=SIZE) as (app, pilot, engine):
            chat = chat_of(app)
            await chat._talk.open(await talked_about(app))
            await chat.show_conversation()
            await asyncio.sleep(1.0)
            for name, scene, _bound in SCENES:
                found.setdefault(name, []).append(await scene(app, pilot, engine, seconds))
    rows = []
    for name, _scene, bound in SCENES:
        beats = found[name]
        rows.append(
            Row(f"{name}: longest stall", "ms", tuple(max(b.cpu_ms) for b in beats), STALL,
                f"by the clock {max(max(b.wall_ms) for b in beats):,.0f} ms")
        )  # fmt: skip
        if bound is not None:
            rows.append(
                Row(
                    f"{name}: share of a core",
                    "percent",
                    tuple(max(0.0, b.share - looking) for b in beats),
                    bound,
                )
            )
        renders = tuple(b.renders_per_second for b in beats)
        rows.append(
            Row(f"{name}: renders per second", "ratio", renders, RENDERS if bound else None)
        )
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    looking = heartbeat_share()
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "textual": textual.__version__,
        "looking costs, percent of a core, taken off": round(looking, 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LOCALR1_HOME"] = folder
        rows = asyncio.run(measure(arguments.runs, arguments.seconds, looking))
    print("  ".join(f"{name}: {value}" for name, value in machine.items()))
    print(markdown(rows))
    if arguments.json:
        arguments.json.write_text(as_json(machine, rows), encoding="utf-8")
    return 0 if all_kept(rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
