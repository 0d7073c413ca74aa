"""How fast a placed model generates, reads prompts and answers.

Generating one token reads every active weight and the whole used KV cache once; the time
is the sum over the memories they lie in, each at its own speed, plus a little per layer and per
token. Prompts are bound by computing, or, where one batch has to read more weights than it
computes with (experts), by reading. All figures are predictions with an interval; where runs on
this computer were recorded, by what these say (`Machine.corrections`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from localr1.fit import calibration
from localr1.fit.memory import CPU, shares
from localr1.fit.mix import Mix
from localr1.fit.network import Case, Crossing, crossings
from localr1.fit.rates import (
    CPU_TOKEN_SECONDS,
    DISK_BYTES_PER_SECOND,
    GPU_TOKEN_SECONDS,
    PCIE_BYTES_PER_SECOND,
    PROMPT_TOKEN_SECONDS,
    Rate,
    attention_flops,
    cpu_rate,
    gpu_rate,
)
from localr1.fit.types import Interval, Settings, TimeToAnswer
from localr1.fit.weights import Weights
from localr1.machine.types import Machine
from localr1.models.types import Model

_PAGED_FACTOR: Final = {"high": 1 / 3, "expected": 1.0, "low": 4.0}
_BATCH_TOKENS: Final = 512
"""Of the prompt whose speed is given where no length is."""


@dataclass(frozen=True)
class Question:
    """A kind of question that times to an answer are given for. Assumed, as are all such."""

    prompt_tokens: int
    answer_tokens: int
    hard: bool
    """Whether the model thinks as long as on a hard problem."""


TYPICAL = Question(prompt_tokens=60, answer_tokens=350, hard=False)
HARD = Question(prompt_tokens=200, answer_tokens=600, hard=True)
LONG_DOCUMENT = Question(prompt_tokens=6000, answer_tokens=500, hard=False)
DEMO_ANSWER_TOKENS = 20
"""The demo answers in one line."""


@dataclass(frozen=True)
class _Reads:
    """What one device does for each token."""

    rate: Rate
    layers: int
    weights_bytes: float
    """Weights read for one token."""
    all_weights_bytes: float
    """Weights read for a large batch of tokens."""
    kv_bytes: float
    """KV cache read for one token, for each token of depth."""
    parameters: float
    """That every token of a prompt is multiplied with."""
    attention_flops: float
    """Of one token, for each token of depth."""
    on_cpu: bool

    def seconds(self, depth: int, case: Case = "expected") -> float:
        """For one token with `depth` tokens in the KV cache."""
        launched = self.layers * float(getattr(self.rate.layer_seconds, _OPPOSITE[case]))
        weights = self.weights_bytes / float(getattr(self.rate.read, case))
        return launched + weights + self.kv_bytes * depth / float(getattr(self.rate.cache, case))


_OPPOSITE: Final[dict[Case, Case]] = {"low": "high", "expected": "expected", "high": "low"}


@dataclass(frozen=True)
class Speed:
    """Predicted speeds of one model variant in one placement."""

    reads: tuple[_Reads, ...]
    ubatch: int
    has_fast_gpu: bool
    paged_bytes: float
    """Bytes that every token has to read from disk again."""
    generation: Interval | None = None
    """How recorded runs compared with the plain estimate, as speeds; None where there are none."""
    prompt: Interval | None = None
    """The same of prompts."""
    crossings: tuple[Crossing, ...] = ()
    """What goes over a network, for each other computer."""

    @property
    def known(self) -> bool:
        """Whether every bandwidth that matters was measured or looked up."""
        return all(read.rate.known for read in self.reads if read.weights_bytes)

    def token_seconds(self, depth: int) -> Interval:
        """Seconds for one token with `depth` tokens in the KV cache; low is the fastest."""
        on_gpu = any(not read.on_cpu and read.layers for read in self.reads)
        fixed = GPU_TOKEN_SECONDS if on_gpu else CPU_TOKEN_SECONDS
        paged = self.paged_bytes / DISK_BYTES_PER_SECOND

        def seconds(case: Case) -> float:
            own = sum(read.seconds(depth, case) for read in self.reads)
            own += sum(crossing.token_seconds(depth, case) for crossing in self.crossings)
            return float(own + getattr(fixed, _OPPOSITE[case]) + paged * _PAGED_FACTOR[case])

        return _corrected(seconds, self.generation)

    def generation_tps(self, depth: int) -> Interval:
        """Tokens per second with `depth` tokens in the KV cache."""
        return _inverse(self.token_seconds(depth))

    def prompt_tps(self, tokens: int = _BATCH_TOKENS, depth: int = 0) -> Interval:
        """Prompt tokens per second, of a prompt of so many tokens after `depth` others."""
        return _inverse(self._prompt_token_seconds(tokens, depth))

    def answer_seconds(self, prompt_tokens: int, generated_tokens: int) -> Interval:
        """Seconds from Enter to the end of the answer, thinking included."""
        prompt = self._prompt_token_seconds(prompt_tokens, 0)
        # Depth grows by one with every token, and time linearly with it: the middle counts.
        token = self.token_seconds(prompt_tokens + generated_tokens // 2)
        return Interval(
            *(
                prompt_tokens * p + generated_tokens * t
                for p, t in (
                    (prompt.low, token.low),
                    (prompt.expected, token.expected),
                    (prompt.high, token.high),
                )
            )
        )

    def _prompt_token_seconds(self, tokens: int, depth: int) -> Interval:
        batch = max(1, min(tokens, self.ubatch))
        middle = depth + tokens / 2
        paged = self.paged_bytes / DISK_BYTES_PER_SECOND / batch

        def seconds(case: Case) -> float:
            total = PROMPT_TOKEN_SECONDS + paged * _PAGED_FACTOR[case]
            for crossing in self.crossings:
                total += crossing.prompt_token_seconds(batch, middle, case)
            for read in self.reads:
                rate = read.rate
                computing = 2 * read.parameters / getattr(rate.flops, case)
                attending = read.attention_flops * middle / getattr(rate.attention, case)
                if read.on_cpu and self.has_fast_gpu:
                    # Large batches go to the GPU, with the weights they need.
                    sent = read.all_weights_bytes / PCIE_BYTES_PER_SECOND / batch
                    computing = min(computing, sent)
                fixed = read.layers * getattr(rate.layer_seconds, _OPPOSITE[case])
                reading = read.all_weights_bytes / getattr(rate.read, case)
                total += computing + attending + (fixed + reading) / batch
            return float(total)

        return _corrected(seconds, self.prompt)


def predict(
    mix: Mix,
    weights: Weights,
    settings: Settings,
    machine: Machine,
    short_bytes: int = 0,
) -> Speed:
    """Predict the speeds of a placed model.

    Args:
        mix: The model's shape and types; some types are slow to unpack on a CPU.
        weights: Its bytes by layer.
        settings: How it is placed.
        machine: What it runs on, with what runs there said.
        short_bytes: Main memory that is missing: so much of the CPU's weights has to come
            from disk for every token.
    """
    a = mix.architecture
    active_share = a.expert_used_count / a.expert_count if a.expert_count else 1.0
    gpus = {device.name: device for device in machine.gpus}
    per_layer = a.kv_cache_bytes_per_token(settings.kv_cache_type) / a.layers
    placed = shares(a.layers, settings)
    parts: list[tuple[float, float, float]] = []
    kept_active = kept_all = 0.0
    for share in placed:
        part = weights.between(share.start, share.stop)
        experts = part.expert_bytes
        if share.device != CPU:
            stop = min(share.stop, max(share.start, settings.cpu_expert_layers))
            kept = weights.between(share.start, stop).expert_bytes
            kept_active += kept * active_share
            kept_all += kept
            experts -= kept
        head = weights.head_bytes if share.output else 0
        parts.append((part.dense_bytes + experts * active_share, part.dense_bytes + experts, head))
    parts[0] = (parts[0][0] + kept_active, parts[0][1] + kept_all, parts[0][2])
    total = max(1.0, sum(active_bytes for active_bytes, _, _ in parts))
    parameters = sum(kind.layer_parameters for kind in mix.kinds)
    cpu = cpu_rate(machine, mix, settings.kv_cache_type)
    reads = tuple(
        _Reads(
            rate=gpu_rate(gpus[share.device]) if share.device in gpus else cpu,
            layers=share.stop - share.start,
            weights_bytes=active_bytes + head_bytes,
            all_weights_bytes=all_bytes + head_bytes,
            kv_bytes=per_layer * (share.stop - share.start),
            parameters=parameters * active_bytes / total,
            attention_flops=attention_flops(mix) * (share.stop - share.start) / a.layers,
            on_cpu=share.device not in gpus,
        )
        for share, (active_bytes, all_bytes, head_bytes) in zip(placed, parts, strict=True)
        if active_bytes or head_bytes
    )
    fast = any(not gpus[n].unified for n in settings.device_names if n in gpus)
    on_cpu_active, on_cpu, _ = parts[0]
    paged = on_cpu_active * min(1.0, short_bytes / on_cpu) if on_cpu else 0.0
    where = calibration.devices_key(machine, settings, a)
    return Speed(
        reads,
        settings.ubatch,
        fast,
        paged,
        calibration.correction(machine.corrections, where, mix.base, "generation"),
        calibration.correction(machine.corrections, where, mix.base, "prompt"),
        crossings(a, settings, placed, gpus),
    )


def time_to_answer(model: Model, speed: Speed, context_window: int) -> TimeToAnswer:
    """Seconds to an answer by kind of question.

    Thinking and answer end where the context window does, and a document is as long as the
    window leaves room for. Where the length of thinking is assumed, the interval is twice as wide.
    """
    thinking = model.thinking_tokens
    counts = (thinking.typical, TYPICAL), (thinking.hard, HARD)
    typical_cut, hard_cut = (
        not model.demo and q.prompt_tokens + tokens + q.answer_tokens > context_window
        for tokens, q in counts
    )
    return TimeToAnswer(
        typical=_seconds(model, speed, context_window, TYPICAL),
        hard=_seconds(model, speed, context_window, HARD),
        long_document=_seconds(model, speed, context_window, LONG_DOCUMENT),
        assumed=thinking.assumed,
        hard_assumed=thinking.is_assumed(hard=True),
        hard_cut_short=hard_cut,
        typical_cut_short=typical_cut,
    )


def typical_depth(model: Model) -> int:
    """Tokens in the KV cache half way through a typical reply: where speeds are given for."""
    answer = DEMO_ANSWER_TOKENS if model.demo else TYPICAL.answer_tokens
    return TYPICAL.prompt_tokens + (model.thinking_tokens.typical + answer) // 2


def _seconds(model: Model, speed: Speed, context_window: int, question: Question) -> Interval:
    thinking = model.thinking_tokens.hard if question.hard else model.thinking_tokens.typical
    answer = DEMO_ANSWER_TOKENS if model.demo else question.answer_tokens
    generated = min(thinking + answer, max(1, context_window - TYPICAL.prompt_tokens))
    prompt = min(question.prompt_tokens, max(TYPICAL.prompt_tokens, context_window - generated))
    seconds = speed.answer_seconds(prompt, generated)
    return _doubled(seconds) if model.thinking_tokens.is_assumed(hard=question.hard) else seconds


def _doubled(interval: Interval) -> Interval:
    """Twice as wide, in the ratios of its ends to what is expected."""
    middle = interval.expected
    return Interval(interval.low**2 / middle, middle, interval.high**2 / middle)


def _corrected(seconds: Callable[[Case], float], runs: Interval | None) -> Interval:
    """The times of all cases; by what runs said where there are any."""
    expected = seconds("expected")
    if runs is None:
        return Interval(seconds("high"), expected, seconds("low"))
    return Interval(expected / runs.high, expected / runs.expected, expected / runs.low)


def _inverse(seconds: Interval) -> Interval:
    return Interval(1 / seconds.high, 1 / seconds.expected, 1 / seconds.low)
