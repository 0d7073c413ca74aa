"""Work done while idle changes nothing but the time: the history is computed again, not shifted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from talking import demo_engine, question

from localr1.chat import template
from localr1.engine import protocol
from localr1.engine.protocol import Load, Segment
from localr1.models.library import DEMO_PATH

# In a range of 26: a batch and single steps round differently by 0.002, a shifted cache by 0.7.
TOLERANCE = 0.01

THOUGHT = "I add 347 and 589 column by column, from the right.\n7 + 9 + 0 = 16, write 6, carry 1\n"
QUESTION = "What is 12 + 5?"
SPEECH = (
    Segment(template.BOS, special=True),
    Segment(template.USER, special=True),
    Segment("What is 347 + 589?"),
    Segment(template.ASSISTANT, special=True),
)
ANSWER = (Segment("\n\n347 + 589 = 936"), Segment(template.EOS, special=True))
NEXT = (
    Segment(template.USER, special=True),
    Segment(QUESTION),
    Segment(template.ASSISTANT, special=True),
    Segment(template.THINK, special=True),
    Segment("\n"),
)
SPOKEN = (
    *SPEECH,
    Segment(template.THINK, special=True),
    Segment("\n" + THOUGHT * 3),
    Segment("</think>", special=True),
    *ANSWER,
)


@pytest.fixture(scope="module")
def low_level() -> Iterator[Any]:
    """The worker's own classes, in this process: (Model, api, make)."""
    from llama_cpp import llama_cpp as api

    from localr1.engine import native
    from localr1.engine.model import Model

    log = native.Log()
    abort = native.AbortFlag()

    def make() -> Model:
        load = Load(1, str(DEMO_PATH), 2048, "f16", 0, 0, (), (), True, 512, 1)
        return Model(load, log, abort, on_progress=lambda _share: None, stopped=lambda: False)

    yield api, make
    # The library keeps the callback of the log; it must stay for as long as the process.
    globals()["_kept"] = (log, abort)


def logits(api: Any, model: Any) -> list[float]:
    size = api.llama_vocab_n_tokens(model._vocab)
    return [float(x) for x in api.llama_get_logits_ith(model._context, -1)[:size]]


def distance(first: list[float], second: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def top(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def fresh_logits(api: Any, make: Any) -> list[float]:
    model = make()
    model.decode(model.tokenize([*SPEECH, *ANSWER, *NEXT]))
    return logits(api, model)


def test_the_recomputed_history_equals_a_fresh_context(low_level: Any) -> None:
    api, make = low_level
    from localr1.engine.steps import computed

    model = make()
    for token in model.tokenize(SPOKEN):
        model.decode([token])
    history = model.tokenize([*SPEECH, *ANSWER])
    kept = model.reuse(history, all_of_it=True)
    assert 0 < kept < len(history)
    assert list(computed(model, history, kept, 0.001))[-1] == len(history)
    prompt = model.tokenize([*SPEECH, *ANSWER, *NEXT])
    assert model.reuse(prompt) == len(history)
    model.decode(prompt[len(history) :])
    fresh = fresh_logits(api, make)
    assert distance(logits(api, model), fresh) <= TOLERANCE
    assert top(logits(api, model)) == top(fresh)


def test_chunks_grow_to_what_the_speed_allows(low_level: Any) -> None:
    """A model that is too slow for a whole warm-up begins without a speed."""
    _, make = low_level
    from localr1.engine.steps import computed

    model = make()
    model.prompt_tps = 0.0
    prompt = [17] * 1003  # not a multiple of the smallest chunk
    chunks = list(computed(model, prompt, 0, 4.0))
    assert chunks[0] == 0
    assert chunks[-1] == len(prompt) == len(model.cached)
    assert model.prompt_tps > 0
    assert len(chunks) <= 4


def test_a_shifted_cache_does_not(low_level: Any) -> None:
    """The same comparison sees the difference that moving the answer's cells makes."""
    api, make = low_level
    model = make()
    speech, spoken = model.tokenize(SPEECH), model.tokenize(SPOKEN)
    answer = model.tokenize(ANSWER)
    model.decode(spoken)
    thought = len(spoken) - len(speech) - len(answer)
    api.llama_memory_seq_rm(model._memory, 0, len(speech), len(speech) + thought)
    api.llama_memory_seq_add(model._memory, 0, len(speech) + thought, -1, -thought)
    del model.cached[len(speech) : len(speech) + thought]
    assert model.cached == speech + answer
    model.decode(model.tokenize(NEXT))
    assert distance(logits(api, model), fresh_logits(api, make)) > 10 * TOLERANCE


async def test_the_next_turn_finds_its_history_computed(tmp_path: Path) -> None:
    async with demo_engine(tmp_path) as engine:
        first = [e async for e in engine.generate(question(segments=(*SPEECH, *NEXT[3:])))][-1]
        assert isinstance(first, protocol.Generated)
        answered = (Segment(tokens=first.answer_token_ids), ANSWER[-1])
        history = (*SPEECH, *answered)
        done = await engine.prefill(history)
        assert done.done_tokens == done.total_tokens > 0
        again = [e async for e in engine.generate(question(segments=(*history, *NEXT)))]
        last = again[-1]
        assert isinstance(last, protocol.Generated)
        assert last.cached_tokens == done.total_tokens
        assert "17" in "".join(e.text for e in again if isinstance(e, protocol.Text))


async def test_idle_work_gives_way_at_once(tmp_path: Path) -> None:
    """Requests that come in the middle are answered, and the reply is that of a quiet engine."""
    async with demo_engine(tmp_path, 8192) as engine:
        prompt = (*SPEECH, *ANSWER, *NEXT)
        quiet = [e async for e in engine.generate(question(segments=prompt))][-1]
        long = (*SPEECH, Segment(THOUGHT * 100))
        whole = (await engine.count_tokens([long]))[0]
        for _ in range(5):
            idle = asyncio.create_task(engine.prefill(long))
            await asyncio.sleep(0.02)
            events = [e async for e in engine.generate(question(segments=prompt))]
            dropped = await idle
            assert dropped.total_tokens == whole
            assert dropped.done_tokens < whole
            last = events[-1]
            assert isinstance(last, protocol.Generated)
            assert isinstance(quiet, protocol.Generated)
            assert last.answer_token_ids == quiet.answer_token_ids


async def test_counting_does_not_end_idle_work(tmp_path: Path) -> None:
    async with demo_engine(tmp_path, 8192) as engine:
        idle = asyncio.create_task(engine.prefill((*SPEECH, Segment(THOUGHT * 100))))
        for _ in range(10):
            await asyncio.sleep(0.005)
            counts = await engine.count_tokens([SPEECH, SPEECH + ANSWER])
            assert 0 < counts[0] < counts[1]
        done = await idle
        assert done.done_tokens == done.total_tokens


def test_what_was_computed_before_an_abort_is_kept(low_level: Any) -> None:
    """The cache mirrors llama.cpp's own, and going on from it gives what a fresh context does."""
    import threading

    from localr1.engine.loading import Cancelled

    api, make = low_level
    for seconds in (0.0, 0.002, 0.01, 0.02, 0.04, 0.08):
        model = make()
        prompt = model.tokenize([*SPEECH, Segment(THOUGHT * 40), *NEXT])[:2000]
        timer = threading.Timer(seconds, model._abort.raise_)
        timer.start()
        try:
            model.decode(prompt)
        except Cancelled:
            pass
        finally:
            timer.join()
            model._abort.lower()
        kept = len(model.cached)
        assert model.cached == prompt[:kept]
        assert int(api.llama_memory_seq_pos_max(model._memory, 0)) + 1 == kept
        model.reuse(prompt)
        model.decode(prompt[len(model.cached) :])
        fresh = make()
        fresh.decode(prompt)
        assert distance(logits(api, model), logits(api, fresh)) <= TOLERANCE
