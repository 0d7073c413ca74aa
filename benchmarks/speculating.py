"""Guessing ahead by n-gram lookup: what it brings on the demo model, and on text that repeats."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import figures
from figures import Row, Unit
from our_engine import OurEngine, measuring, random_tokens

from localr1.chat import template
from localr1.chat.template import Segments
from localr1.engine.protocol import Generate, Generated, Segment
from localr1.fit.types import Settings
from localr1.models.library import DEMO_PATH

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import demo_task

Requests = Sequence[Callable[[int], Generate]]
"""Each makes a request that guesses at most so many tokens ahead."""
_REPEATS: Final = 128


async def on_the_demo(draft_tokens: int, runs: int, logs: Path) -> list[Row]:
    """Problems on the demo model, at temperature 0: asked once, and asked again.

    Asked again means with its thinking still there, as when R1 checks itself: text that repeats.
    """
    rng = random.Random(1)
    problems = [demo_task.draw_problem(rng, held_out=True) for _ in range(2 * runs)]
    turns = [demo_task.turn_of(problem, demo_task.ask(problem, rng)) for problem in problems]
    form = template.FamilyTemplate()

    def alone(turn: demo_task.Turn) -> Segments:
        return form.render("", [], template.Asked(turn.question, open_thinking=True))

    def again(turn: demo_task.Turn) -> Segments:
        thought = (*alone(turn), Segment("".join(turn.steps)), Segment("</think>", special=True))
        answered = (*thought, Segment("\n\n" + turn.answer), Segment(template.EOS, special=True))
        return (*answered, *form.new_turn(turn.question, open_thinking=True))

    rows: list[Row] = []
    for name, prompt in (
        ("the demo model", alone),
        ("the demo model, thinking once more what it has just thought", again),
    ):
        # A fresh worker each: what guessing is worth is remembered as long as the model is loaded.
        settings = Settings(2048, threads=1, draft_tokens=draft_tokens)
        our = await OurEngine.start(DEMO_PATH, settings, logs)
        try:
            requests = [_to_the_end(prompt(turn)) for turn in turns]
            rows += await _compare(our, requests, draft_tokens, name, trained=True)
        finally:
            await our.close()
    return rows


def _to_the_end(segments: Segments) -> Callable[[int], Generate]:
    return lambda draft: measuring(
        segments,
        1024,
        temperature=0.0,
        draft_tokens=draft,
        ignore_end=False,
        thinking_open=True,
    )


async def on_repeating_text(our: OurEngine, draft_tokens: int, runs: int, tokens: int) -> list[Row]:
    """One word over and over, which random weights go on with at temperature 0.

    It is the best case, not a usual one. The two texts of a pair may differ: between random
    weights the rounding of one matrix product decides which of two nearly equal tokens comes.
    """

    def request(seed: int) -> Callable[[int], Generate]:
        segments = [Segment(tokens=random_tokens(1, seed) * _REPEATS)]
        return lambda draft: measuring(segments, tokens, temperature=0.0, draft_tokens=draft)

    requests = [request(seed) for seed in range(runs)]
    return await _compare(our, requests, draft_tokens, "one word over and over", trained=False)


async def _compare(
    our: OurEngine, requests: Requests, draft_tokens: int, name: str, *, trained: bool
) -> list[Row]:
    plain: list[float] = []
    guessing: list[float] = []
    drafted = accepted = same = 0
    await our.finish(requests[0](0))
    for number, request in enumerate(requests):
        drafts = (0, draft_tokens) if number % 2 else (draft_tokens, 0)
        ended = {draft: (await our.finish(request(draft)))[0] for draft in drafts}
        without, with_guesses = ended[0], ended[draft_tokens]
        plain.append(_tokens(without) / without.generation_seconds)
        guessing.append(_tokens(with_guesses) / with_guesses.generation_seconds)
        drafted += with_guesses.drafted_tokens
        accepted += with_guesses.accepted_tokens
        same += without.answer_token_ids == with_guesses.answer_token_ids
    note = f"the same text in {same} of {len(requests)}" if trained else ""
    what = f"guessing {draft_tokens} tokens ahead, {name}"
    rows: list[tuple[str, Unit, Sequence[float], str]] = [
        (f"without guessing, {name}", "tokens/s", plain, ""),
        (what, "tokens/s", guessing, note),
        (
            f"{what}, right guesses",
            "percent",
            [100 * accepted / max(1, drafted)],
            f"of {drafted:,}",
        ),
        (f"{what}, with to without", "ratio", figures.ratios(guessing, plain), ""),
    ]
    return [Row(what, unit, tuple(samples), note=note) for what, unit, samples, note in rows]


def _tokens(generated: Generated) -> int:
    return generated.thinking_tokens + generated.answer_tokens
