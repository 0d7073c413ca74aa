"""Thousands of turns on the demo model: does memory stay, and are the answers right to the end?

    python benchmarks/turns.py [--turns 10000] [--json FILE]

Conversations as in the app: kept in a database, with the next prompt computed ahead, each long
enough to overflow the context window several times. The window is half the usual one, so that it
overflows before the history is longer than any that the demo was trained on (28 exchanges).
Every question is one that training never saw, and every answer is checked. Exit code 0: every bound is kept; 1: one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import figures
import psutil
from figures import Bound, Row

from localr1.chat.session import ChatSession, ReplyOptions
from localr1.chat.store import Store
from localr1.chat.types import AnswerDelta, Conversation, Failed, Message, Notice
from localr1.engine.client import Engine
from localr1.errors import LocalR1Error
from localr1.fit.types import Settings
from localr1.machine import cpu
from localr1.machine.host import Host
from localr1.models import catalog
from localr1.models.library import DEMO_PATH
from localr1.models.types import Model

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import demo_task

GROWTH: Final = Bound("at most", 2.0)
RIGHT: Final = Bound("at least", 98.0)
_MIB: Final = 2**20
_SAMPLES: Final = 200
_WARM_UP_SHARE: Final = 0.1
_COMPARED_SAMPLES: Final = 10


@dataclass
class Course:
    """What was seen on the way."""

    turns: int
    right: list[bool] = field(default_factory=list)
    overflowed: int = 0
    """Turns in which the user was told that earlier ones no longer fit."""
    worker_bytes: list[int] = field(default_factory=list)
    """Resident memory, sampled evenly."""
    app_bytes: list[int] = field(default_factory=list)
    wrong: list[tuple[int, int]] = field(default_factory=list)
    """Where wrong answers are in the database: conversation and number of the message. Holding
    their conversations here would be memory that grows."""
    same_when_fresh: int = 0
    """Of the wrong answers, those that an engine gives too that has computed nothing before."""


def growth_percent(samples: Sequence[int]) -> float:
    """How much more there is at the end than right after the warm-up, the first tenth.

    Raises:
        ValueError: With fewer than 20 samples, there is no telling.
    """
    if len(samples) < 2 * _COMPARED_SAMPLES:
        raise ValueError("too few samples")
    warm = int(len(samples) * _WARM_UP_SHARE)
    before = statistics.median(samples[warm : warm + _COMPARED_SAMPLES])
    after = statistics.median(samples[-_COMPARED_SAMPLES:])
    return 100.0 * (after / before - 1.0)


def rows_of(course: Course, seconds: float) -> list[Row]:
    """The table."""
    total = [a + b for a, b in zip(course.worker_bytes, course.app_bytes, strict=True)]
    last = course.right[-max(1, course.turns // 10) :]
    rows = [
        Row("right answers", "percent", (_percent(course.right),), RIGHT),
        Row("right answers in the last tenth", "percent", (_percent(last),), RIGHT),
        *_wrong_rows(course),
        Row(
            "turns with earlier ones left out", "percent", (100 * course.overflowed / course.turns,)
        ),
        Row("one turn", "ms", (1000 * seconds / course.turns,)),
    ]
    for name, samples in (
        ("the worker", course.worker_bytes), ("the app", course.app_bytes), ("both", total),
    ):  # fmt: skip
        note = f"at most {max(samples) / _MIB:.1f} MiB"
        rows.append(Row(f"memory of {name}, growth", "percent", (growth_percent(samples),),
                        GROWTH, note))  # fmt: skip
        rows.append(Row(f"memory of {name}, at the end", "MiB", (samples[-1] / _MIB,)))
    return rows


def _wrong_rows(course: Course) -> list[Row]:
    if not course.wrong:
        return []
    note = f"{len(course.wrong)} wrong ones"
    share = 100 * course.same_when_fresh / len(course.wrong)
    return [Row("wrong answers that a fresh engine gives too", "percent", (share,), note=note)]


def _percent(right: Sequence[bool]) -> float:
    return 100 * sum(right) / len(right)


async def run(turns: int, turns_each: int, window: int, folder: Path) -> Course:
    """Hold the conversations, one after another.

    Raises:
        LocalR1Error: When the engine or the database fails.
    """
    course = Course(turns)
    rng = random.Random("turns")
    model = catalog.load().model("demo")
    store = Store(folder / "conversations.db")
    engine = await Engine.start(DEMO_PATH, Settings(window, threads=1), log_directory=folder)
    app, worker = psutil.Process(), psutil.Process(engine.process_id)
    try:
        session = ChatSession(engine, store, model)
        for number in range(turns):
            if number % turns_each == 0:
                session = ChatSession(engine, store, model)
            problem = demo_task.draw_problem(rng, held_out=True)
            answer = await _ask(session, demo_task.ask(problem, rng), course)
            course.right.append(answer == demo_task.answer_of(problem))
            if not course.right[-1]:
                course.wrong.append((session.conversation_id or 0, len(session.messages)))
            if (number + 1) % max(1, turns // _SAMPLES) == 0:
                # Finished conversations are cycles that Python collects when it sees fit: until
                # then they would look like growth.
                gc.collect()
                course.worker_bytes.append(worker.memory_info().rss)
                course.app_bytes.append(app.memory_info().rss)
            if (number + 1) % max(1, turns // 20) == 0:
                _tell(course)
    finally:
        await engine.close()
    for conversation, length in course.wrong:
        messages = store.conversation(conversation).messages[:length]
        fresh = await _fresh_answer(messages, model, window, folder)
        course.same_when_fresh += fresh == messages[-1].text
    store.close()
    return course


async def _fresh_answer(
    messages: tuple[Message, ...], model: Model, window: int, folder: Path
) -> str:
    """What an engine that has computed nothing yet answers to the last question.

    A tiny model is wrong now and then; a fault of the cache would show as another answer here.
    """
    *before, question, _ = messages
    conversation = Conversation(0, "", "demo", tuple(before))
    engine = await Engine.start(DEMO_PATH, Settings(window, threads=1), log_directory=folder)
    try:
        fresh = ChatSession(engine, None, model, conversation=conversation, look_ahead=False)
        return await _ask(fresh, question.text, Course(1))
    finally:
        await engine.close()


async def _ask(session: ChatSession, question: str, course: Course) -> str:
    answer = ""
    async with aclosing(session.send(question, ReplyOptions(temperature=0.0))) as events:
        async for event in events:
            match event:
                case AnswerDelta():
                    answer += event.text
                case Notice():
                    course.overflowed += 1
                case Failed():
                    raise event.error
    return answer


def _tell(course: Course) -> None:
    print(
        f"{len(course.right):,} turns, {_percent(course.right):.2f} % right, "
        f"worker {course.worker_bytes[-1] / _MIB:.1f} MiB, app {course.app_bytes[-1] / _MIB:.1f} MiB",
        file=sys.stderr,
        flush=True,
    )


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("--turns-each", type=int, default=50, help="of one conversation")
    parser.add_argument("--window", type=int, default=1024, help="tokens of context")
    parser.add_argument("--json", type=Path, help="write everything to this file too")
    given = parser.parse_args()
    if given.turns < _SAMPLES:
        parser.error(f"--turns is at least {_SAMPLES}")
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="localr1-turns-") as folder:
            course = asyncio.run(run(given.turns, given.turns_each, given.window, Path(folder)))
    except LocalR1Error as error:
        print(f"turns: {error.what} {error.why} {error.todo}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    machine = {
        "cpu": cpu.probe(Host()).name,
        "system": platform.platform(),
        "python": platform.python_version(),
        "turns": f"{given.turns:,} in conversations of {given.turns_each}, "
        f"window {given.window:,}, temperature 0",
        "taken": f"{seconds:.0f} s",
    }
    rows = rows_of(course, seconds)
    for name, value in machine.items():
        print(f"- {name}: {value}")
    print(f"\n{figures.markdown(rows)}")
    if given.json is not None:
        given.json.write_text(figures.as_json(machine, rows), encoding="utf-8")
    return 0 if figures.all_kept(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
