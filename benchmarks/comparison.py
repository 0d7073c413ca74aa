"""What engine.py measures: each method adds rows to the table."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import figures
import random_model
from figures import Bound, Row
from llama_tools import LlamaBench, LlamaServer, RunSettings, ToolError
from our_engine import OurEngine, Window, measuring, own_seconds_per_token, random_tokens

from localr1.engine.protocol import Generated, Segment

GENERATION: Final = Bound("at least", 0.99)
PROMPT: Final = Bound("at least", 0.98)
OWN_COST_MS: Final = Bound("at most", 0.1)
TURN: Final = Bound("at most", 1.1)

_SKIP_TOKENS: Final = 8
_SAMPLER_STEPS: Final = 64
# Text comes in pieces: a window may be longer than asked for by what a fast GPU does meanwhile.
_SLACK_TOKENS: Final = 64
_REPLY_PROMPT_TOKENS: Final = 32
_THINKING_TOKENS: Final = 300
_MESSAGE_TOKENS: Final = 64
_Measure = Callable[[], Awaitable[float]]
_NATIVE_SAMPLER: Final = Path(__file__).with_name("native_sampler.py")


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    pairs: int
    window: int
    """Tokens timed in one run."""
    prompt: int
    depths: tuple[int, ...]
    """Ascending; the last one, if there are several, is reached within one reply."""
    turn_trials: int
    starts: int = 1
    """How often both programs are started anew: where their memory lies in the machine's is luck, and
    worth some per cent."""
    answer: int = 800
    """Tokens of the answer that turn 2 follows."""

    @property
    def context_window(self) -> int:
        """What our engine needs."""
        reply = (_SKIP_TOKENS + self.window + _SLACK_TOKENS) * self.pairs
        turn = _THINKING_TOKENS + self.answer + 4 * _MESSAGE_TOKENS
        return max(_REPLY_PROMPT_TOKENS + self.depths[-1] + reply, self.prompt + 64, turn) + 256


@dataclass(frozen=True)
class _Measured:
    """Generation at one depth: seconds per token of each run, and our replies."""

    where: str
    our: list[float]
    their: list[float]
    replies: list[Generated]


@dataclass
class Comparison:
    """One run of the benchmark on one model.

    Args:
        start: Starts the engine under test, with the model loaded.
        tools: llama-bench and llama-server.
        settings: How all of them run the model.
        extent: How much is measured.
        logs: Where the programs' own output goes.
    """

    start: Callable[[], Awaitable[OurEngine]]
    tools: dict[str, Path]
    settings: RunSettings
    extent: Extent
    logs: Path
    rows: list[Row] = field(default_factory=list)
    llama_cpp: str = ""
    """The commit that llama-bench names."""
    _sampling: list[float] = field(default_factory=list)
    _our: OurEngine | None = None

    @property
    def our(self) -> OurEngine:
        """The engine under test."""
        if self._our is None:
            raise RuntimeError("not opened")
        return self._our

    async def open(self) -> None:
        """Start the engine, or start it anew."""
        await self.close()
        self._our = await self.start()

    async def close(self) -> None:
        """End the engine."""
        ended, self._our = self._our, None
        if ended is not None:
            await ended.close()

    async def prompt_processing(self) -> None:
        """A prompt that shares nothing with the cache, against llama-bench."""
        count = self.extent.prompt
        seeds = iter(range(1000, 9999))

        async def ours() -> float:
            prompt = [Segment(tokens=random_tokens(count, next(seeds)))]
            return await self.our.first_token_seconds(prompt) / count

        our, their = await self._starts(ours, partial(self._bench, prompt=count))
        what = f"prompt of {count:,} tokens"
        self._add(f"{what}, llama-bench", "tokens/s", figures.per_second(their))
        self._add(f"{what}, our client, to the first token", "tokens/s", figures.per_second(our))
        self._add(f"{what}, ours to theirs", "ratio", figures.ratios(their, our), PROMPT)

    async def generation(self) -> None:
        """Token generation at each depth, against llama-bench and the sampler chain."""
        await self._time_sampler()
        *shallow, deepest = self.extent.depths
        measured = [await self._many_replies(depth) for depth in shallow or [deepest]]
        if shallow:
            measured.append(await self._one_reply(deepest))
        await self._time_sampler()
        sampling = statistics.median(self._sampling)
        self._add("sampler chain, native", "ms", [s * 1e3 for s in self._sampling])
        for each in measured:
            self._generation_rows(each, sampling)
            self._cost_rows(each.where, each.replies)

    def _generation_rows(self, measured: _Measured, sampling: float) -> None:
        what, our, their = f"generation {measured.where}", measured.our, measured.their
        self._add(f"{what}, llama-bench", "tokens/s", figures.per_second(their))
        self._add(f"{what}, our client", "tokens/s", figures.per_second(our))
        self._add(f"{what}, ours to theirs", "ratio", figures.ratios(their, our), note="raw")
        with_sampling = figures.with_sampling(their, sampling)
        ratio = figures.ratios(with_sampling, our)
        self._add(f"{what}, ours to theirs and sampling", "ratio", ratio, GENERATION)

    def _cost_rows(self, where: str, replies: Sequence[Generated]) -> None:
        own = [own_seconds_per_token(reply) * 1e3 for reply in replies]
        sampling = [
            reply.sampling_seconds * 1e3 / max(1, reply.answer_tokens + reply.thinking_tokens)
            for reply in replies
        ]
        self._add(f"sampling in the worker, {where}", "ms", sampling)
        self._add(f"the worker's own cost per token, {where}", "ms", own, OWN_COST_MS)

    async def _many_replies(self, depth: int) -> _Measured:
        """A reply for each run, all after the same prompt."""
        window = self.extent.window
        prompt = [Segment(tokens=random_tokens(depth - _SKIP_TOKENS, seed=depth))]
        replies: list[Generated] = []

        async def ours() -> float:
            seed = len(replies) + 1
            reply = self.our.reply(measuring(prompt, _SKIP_TOKENS + window, seed=seed))
            timed = await reply.window(_SKIP_TOKENS, window)
            replies.append(await reply.end())
            return timed.seconds_per_token

        bench = partial(self._bench, generate=window, depth=depth)
        our, their = await self._starts(ours, bench)
        return _Measured(f"at depth {depth:,}", our, their, replies)

    async def _one_reply(self, depth: int) -> _Measured:
        """Windows of one long reply that stands still while llama-bench runs."""
        extent, windows = self.extent, list[Window]()
        middle = figures.middle_of_windows(depth, _SKIP_TOKENS, extent.window, extent.pairs)
        their_depth = _REPLY_PROMPT_TOKENS + middle
        bench = await self._bench(generate=extent.window, depth=their_depth, tests=extent.pairs)
        prompt = [Segment(tokens=random_tokens(_REPLY_PROMPT_TOKENS, seed=1))]
        most = depth + extent.pairs * (_SKIP_TOKENS + extent.window + _SLACK_TOKENS)
        reply = self.our.reply(measuring(prompt, most))
        await reply.reach(depth)
        # A worker that has just sent text computes the next token. Held in the middle of that,
        # here and below, it counts the wait as decoding and not as its own cost.
        await asyncio.sleep(bench.seconds_per_token / 3)
        self.our.hold()

        async def ours() -> float:
            self.our.go_on()
            timed = await reply.window(_SKIP_TOKENS, extent.window)
            windows.append(timed)
            await asyncio.sleep(timed.seconds_per_token / 3)
            self.our.hold()
            return timed.seconds_per_token

        our, their = await self._pairs(ours, bench.next, extent.pairs)
        self.our.go_on()
        ended = await reply.stop()
        await bench.close()
        our_depth = _REPLY_PROMPT_TOKENS + int(statistics.median(w.first_token for w in windows))
        where = f"after {depth:,} tokens of one reply (depths {our_depth:,} and {their_depth:,})"
        return _Measured(where, our, their, [ended])

    async def next_turn(self) -> None:
        """The first token of turn 2 after a long answer: the cost of the new message alone?"""
        turn = _Turn()
        our = self.our
        history, seconds = await self._answered(turn, 0)
        prefilled = await our.engine.prefill(history)
        pause = max(prefilled.seconds * 1.1, 0.05)
        self._add("computing the history without thinking anew", "s", [prefilled.seconds])
        await our.first_token_seconds(turn.asking(history, 0))
        length = sum(len(segment.tokens) for segment in history)
        new = len(turn.message(0))
        bench = await self._bench(prompt=new, depth=length, tests=self.extent.turn_trials)
        after_pause, at_once, alone, native, answers = [], [], [], [], [seconds]
        for trial in range(1, self.extent.turn_trials + 1):
            history, seconds = await self._answered(turn, trial)
            answers.append(seconds)
            idle = asyncio.create_task(our.engine.prefill(history))
            await asyncio.sleep(pause)
            after_pause.append(await our.first_token_seconds(turn.asking(history, 3 * trial)))
            await idle
            alone.append(await our.first_token_seconds(turn.asking(history, 3 * trial + 1)))
            native.append(await bench.next() * new)
            history, seconds = await self._answered(turn, 100 + trial)
            answers.append(seconds)
            idle = asyncio.create_task(our.engine.prefill(history))
            at_once.append(await our.first_token_seconds(turn.asking(history, 3 * trial + 2)))
            await idle
        await bench.close()
        what = f"turn 2 after {self.extent.answer} tokens of answer"
        self._add(f"an answer of {self.extent.answer} tokens", "s", answers)
        self._add(f"a message of {new} tokens alone, llama-bench", "s", native)
        self._add(f"a message of {new} tokens alone, to the first token", "s", alone)
        self._add(f"{what}, first token after a pause of {pause:.2f} s", "s", after_pause)
        self._add(f"{what}, first token without a pause", "s", at_once)
        self._add(f"{what}, after the pause to alone", "ratio",
                  figures.ratios(after_pause, alone), TURN)  # fmt: skip
        self._add(f"{what}, without a pause to alone", "ratio", figures.ratios(at_once, alone))
        self._add(f"{what}, after the pause to llama-bench", "ratio",
                  figures.ratios(after_pause, native))  # fmt: skip

    async def _answered(self, turn: _Turn, seed: int) -> tuple[list[Segment], float]:
        """Generate turn 1 with thinking before it; the history that turn 2 will begin with."""
        opening = [Segment(tokens=turn.opening(seed))]
        generated, seconds = await self.our.finish(
            measuring(opening, self.extent.answer, seed=seed + 1)
        )
        return [Segment(tokens=turn.history(seed, generated.answer_token_ids))], seconds

    async def server(self) -> None:
        """The same through llama-server, whose client sends the history like ours."""
        depth, window = self.extent.depths[0], self.extent.window
        server = await LlamaServer.start(
            self.tools["llama-server"],
            self.settings,
            self.logs / "llama-server.log",
            self.extent.context_window,
        )
        try:
            prompt = random_tokens(depth, seed=depth)
            segments = [Segment(tokens=prompt)]

            async def theirs() -> float:
                timings, _ = await server.complete(prompt, window)
                return float(timings["predicted_per_token_ms"]) / 1e3

            async def ours() -> float:
                reply = self.our.reply(measuring(segments, _SKIP_TOKENS + window))
                timed = await reply.window(_SKIP_TOKENS, window)
                await reply.end()
                return timed.seconds_per_token

            await theirs()
            await ours()
            our, their = await self._pairs(ours, theirs, self.extent.pairs)
            what = f"generation at depth {depth:,}"
            self._add(f"{what}, llama-server", "tokens/s", figures.per_second(their))
            self._add(f"{what}, our client to llama-server", "ratio", figures.ratios(their, our))
            turn, seconds = _Turn(), []
            for trial in range(self.extent.turn_trials):
                answered, _ = await server.complete(turn.opening(trial), self.extent.answer)
                history = turn.history(trial, answered["tokens"])
                _, took = await server.complete((*history, *turn.message(trial)), 1)
                seconds.append(took)
            self._add(
                f"turn 2 after {self.extent.answer} tokens of answer, first token, llama-server",
                "s",
                seconds,
            )
        finally:
            await server.close()

    async def _time_sampler(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_NATIVE_SAMPLER),
            *(str(self.settings.model), str(self.settings.threads)),
            *(str(self.settings.gpu_layers), str(_SAMPLER_STEPS)),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise ToolError("The sampler could not be measured; the reason stands above.")
        self._sampling += json.loads(out)["after_decode"]

    async def _bench(
        self, *, prompt: int = 0, generate: int = 0, depth: int = 0, tests: int
    ) -> LlamaBench:
        """A llama-bench that has done, and thrown away, its first test."""
        bench = await LlamaBench.start(
            self.tools["llama-bench"],
            self.settings,
            self.logs / "llama-bench.log",
            prompt=prompt,
            generate=generate,
            depth=depth,
            tests=tests + 1,
        )
        await bench.next()
        self.llama_cpp = bench.build
        return bench

    async def _starts(
        self, ours: _Measure, bench: Callable[..., Awaitable[LlamaBench]]
    ) -> tuple[list[float], list[float]]:
        """All pairs of runs, both programs started anew several times; first runs do not count."""
        our: list[float] = []
        their: list[float] = []
        for start in range(self.extent.starts):
            count = len(range(start, self.extent.pairs, self.extent.starts))
            if start:
                await self.open()
            running = await bench(tests=count)
            await ours()
            some = await self._pairs(ours, running.next, count)
            await running.close()
            our += some[0]
            their += some[1]
        return our, their

    async def _pairs(
        self, ours: _Measure, theirs: _Measure, count: int
    ) -> tuple[list[float], list[float]]:
        """Run both in turn, each first every other time."""
        our: list[float] = []
        their: list[float] = []
        for number in range(count):
            steps = [(our, ours), (their, theirs)]
            for found, measure in steps if number % 2 else reversed(steps):
                found.append(await measure())
        return our, their

    def _add(
        self,
        what: str,
        unit: figures.Unit,
        samples: Sequence[float],
        bound: Bound | None = None,
        note: str = "",
    ) -> None:
        row = Row(what, unit, tuple(samples), bound, note)
        self.rows.append(row)
        print(figures.markdown([row]).splitlines()[-1], file=sys.stderr, flush=True)


class _Turn:
    """Two turns of a conversation in token ids, as R1's template joins them."""

    def __init__(self) -> None:
        ids = random_model.special_ids()
        self._end, self._user, self._assistant, self._begin = ids[:4]
        self._think, self._end_think = ids[5:7]

    def _question(self, seed: int) -> tuple[int, ...]:
        return (self._begin, self._user, *random_tokens(_MESSAGE_TOKENS, seed), self._assistant)

    def opening(self, seed: int) -> tuple[int, ...]:
        """Turn 1 up to the answer: the question and what was thought about it."""
        thinking = random_tokens(_THINKING_TOKENS, seed + 500)
        return (
            *self._question(seed),
            *(self._think, _NEWLINE, *thinking, _NEWLINE, self._end_think, _NEWLINE, _NEWLINE),
        )

    def history(self, seed: int, answer: Sequence[int]) -> tuple[int, ...]:
        """Turn 1 as turn 2 shows it: without the thinking."""
        return (*self._question(seed), _NEWLINE, _NEWLINE, *answer, self._end)

    def message(self, seed: int) -> tuple[int, ...]:
        """The new message of turn 2, up to where the model begins to think."""
        words = random_tokens(_MESSAGE_TOKENS, seed + 9000)
        return (self._user, *words, self._assistant, self._think, _NEWLINE)

    def asking(self, history: Sequence[Segment], seed: int) -> list[Segment]:
        """Turn 2's prompt."""
        return [*history, Segment(tokens=self.message(seed))]


_NEWLINE: Final = random_model.NEWLINE_ID
