"""Guessing ahead changes the speed of a reply and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from talking import demo_engine, question
from test_engine_idle import NEXT, SPEECH

from localr1.chat import template
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.engine.protocol import Segment

# The same sum before: its whole thinking can be guessed.
TOLD_BEFORE = (
    *SPEECH,
    Segment(
        "I add 347 and 589 column by column, from the right.\n7 + 9 + 0 = 16, write 6, carry 1\n"
        "4 + 8 + 1 = 13, write 3, carry 1\n3 + 5 + 1 = 9, write 9, carry 0\nlast carry 0\n"
        "So 347 + 589 = 936\n"
    ),
    Segment(template.EOS, special=True),
    NEXT[0],
    Segment("What is 347 + 589?"),
    *NEXT[2:],
)


async def said(engine: Engine, request: protocol.Generate) -> tuple[str, protocol.Generated]:
    events = [e async for e in engine.generate(request)]
    last = events[-1]
    assert isinstance(last, protocol.Generated)
    return "".join(e.text for e in events if isinstance(e, protocol.Text)), last


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.2])
async def test_the_reply_is_the_same(tmp_path: Path, temperature: float) -> None:
    """Whatever the sampling: a guess is kept only when sampling drew the same token."""
    accepted = 0
    async with demo_engine(tmp_path, draft_tokens=8) as engine:
        for seed in range(6):
            plain = question(segments=TOLD_BEFORE, seed=seed, temperature=temperature)
            guessed = question(
                "", segments=TOLD_BEFORE, seed=seed, temperature=temperature, draft_tokens=8
            )
            first, second = await said(engine, plain), await said(engine, guessed)
            assert first[0] == second[0]
            assert first[1].answer_token_ids == second[1].answer_token_ids
            assert first[1].drafted_tokens == 0
            accepted += second[1].accepted_tokens
            assert second[1].accepted_tokens <= second[1].drafted_tokens
    assert accepted > 0


async def test_nothing_is_left_of_wrong_guesses(tmp_path: Path) -> None:
    """The next reply on the same cache is that of an engine that never guessed."""
    async with demo_engine(tmp_path, draft_tokens=8) as engine:
        await said(engine, question(segments=TOLD_BEFORE, draft_tokens=8, max_tokens=40))
        after, last = await said(engine, question(segments=(*SPEECH, *NEXT[3:])))
        assert last.cached_tokens > 0
        assert "936" in after


async def test_guessing_ends_at_the_window(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, 256, draft_tokens=8) as engine:
        prompt = (*SPEECH, Segment("1 2 3 4 5 6 7 8 9 " * 8))
        _, last = await said(engine, question(segments=prompt, draft_tokens=8, ignore_end=True))
        assert last.finish_reason == "length"
        assert last.window_full
        assert last.prompt_tokens + last.thinking_tokens + last.answer_tokens == 256


async def test_more_guesses_than_loaded_for_are_cut(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, draft_tokens=2) as engine:
        first = await said(engine, question(segments=TOLD_BEFORE))
        second = await said(engine, question(segments=TOLD_BEFORE, draft_tokens=64))
        assert first[0] == second[0]
