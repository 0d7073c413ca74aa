"""Guessing ahead by n-gram lookup: what it brings on the demo model, and on text that repeats."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import figures
from figures import Row, Unit
from our_engine import OurEngine, measuring, random_tokens

from localr1.chat import template
from localr1.engine.protocol import Generate, Generated, Segment
from localr1.fit.types import Settings
from localr1.models.library import DEMO_PATH

Requests = Sequence[Callable[[int], Generate]]
"""Each makes a request that guesses at most so many tokens ahead."""


async def on_the_demo(draft_tokens: int, runs: int, logs: Path) -> list[Row]:
    """Sums, differences and comparisons on the demo model, at temperature 0."""
    pick = random.Random(1)
    questions = []
    for _ in range(runs):
        a, b = pick.randrange(100, 9999), pick.randrange(100, 9999)
        questions += [f"What is {a} + {b}?", f"What is {a} - {b}?"]

    def request(question: str) -> Callable[[int], Generate]:
        segments = template.render("", [], question, open_thinking=True)
        return lambda draft: measuring(
            segments,
            1024,
            temperature=0.0,
            draft_tokens=draft,
            ignore_end=False,
            thinking_open=True,
        )

    our = await OurEngine.start(
        DEMO_PATH, Settings(2048, threads=1, draft_tokens=draft_tokens), logs
    )
    try:
        requests = [request(question) for question in questions]
        return await _compare(our, requests, draft_tokens, "the demo model", trained=True)
    finally:
        await our.close()


async def on_repeating_text(our: OurEngine, draft_tokens: int, runs: int, tokens: int) -> list[Row]:
    """Text that goes round in circles: random weights at temperature 0 after a repeated prompt.

    It is the best case, not a usual one. The two texts of a pair differ: between random weights
    the rounding of one matrix product decides which of two nearly equal tokens comes.
    """

    def request(seed: int) -> Callable[[int], Generate]:
        phrase = random_tokens(24, seed)
        segments = [Segment(tokens=phrase * 4)]
        return lambda draft: measuring(
            segments, tokens, temperature=0.0, draft_tokens=draft, seed=seed
        )

    requests = [request(seed) for seed in range(runs)]
    return await _compare(our, requests, draft_tokens, "text that repeats itself", trained=False)


async def _compare(
    our: OurEngine, requests: Requests, draft_tokens: int, name: str, *, trained: bool
) -> list[Row]:
    plain: list[float] = []
    guessing: list[float] = []
    right: list[float] = []
    same = 0
    await our.finish(requests[0](0))
    for number, request in enumerate(requests):
        drafts = (0, draft_tokens) if number % 2 else (draft_tokens, 0)
        ended = {draft: (await our.finish(request(draft)))[0] for draft in drafts}
        without, with_guesses = ended[0], ended[draft_tokens]
        plain.append(_tokens(without) / without.generation_seconds)
        guessing.append(_tokens(with_guesses) / with_guesses.generation_seconds)
        right.append(100 * with_guesses.accepted_tokens / max(1, with_guesses.drafted_tokens))
        same += without.answer_token_ids == with_guesses.answer_token_ids
    note = f"the same text in {same} of {len(requests)}" if trained else ""
    what = f"guessing {draft_tokens} tokens ahead, {name}"
    rows: list[tuple[str, Unit, Sequence[float], str]] = [
        (f"without guessing, {name}", "tokens/s", plain, ""),
        (what, "tokens/s", guessing, note),
        (f"{what}, right guesses", "percent", right, ""),
        (f"{what}, with to without", "ratio", figures.ratios(guessing, plain), ""),
    ]
    return [Row(what, unit, tuple(samples), note=note) for what, unit, samples, note in rows]


def _tokens(generated: Generated) -> int:
    return generated.thinking_tokens + generated.answer_tokens
