"""How fast a placed model generates, reads prompts and answers.

Generating one token reads every active weight and the whole used KV cache once; the time
is the sum over the memories they lie in, each at its own speed, plus a little per token.
Prompts are bound by computing, or, where one batch has to read more weights than it
computes with (experts), by reading. All figures are predictions with an interval.
"""

from __future__ import annotations

from dataclasses import dataclass

from localr1.fit.memory import CPU, shares
from localr1.fit.mix import Mix
from localr1.fit.rates import (
    DISK_BYTES_PER_SECOND,
    PCIE_BYTES_PER_SECOND,
    PROMPT_TOKEN_SECONDS,
    TOKEN_SECONDS,
    Rate,
    cpu_rate,
    gpu_rate,
)
from localr1.fit.types import Interval, Settings, TimeToAnswer
from localr1.fit.weights import Weights
from localr1.machine.types import Machine
from localr1.models.types import Model


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
    weights_bytes: float
    """Weights read for one token."""
    all_weights_bytes: float
    """Weights read for a large batch of tokens."""
    kv_bytes: float
    """KV cache read for one token, for each token of depth."""
    parameters: float
    """Active parameters."""
    on_cpu: bool


@dataclass(frozen=True)
class Speed:
    """Predicted speeds of one model variant in one placement."""

    reads: tuple[_Reads, ...]
    ubatch: int
    has_fast_gpu: bool
    paged_bytes: float
    """Bytes that every token has to read from disk again."""

    @property
    def known(self) -> bool:
        """Whether every bandwidth that matters was measured or looked up."""
        return all(read.rate.known for read in self.reads if read.weights_bytes)

    def token_seconds(self, depth: int) -> Interval:
        """Seconds for one token with `depth` tokens in the KV cache; low is the fastest."""
        low, expected, high = TOKEN_SECONDS.low, TOKEN_SECONDS.expected, TOKEN_SECONDS.high
        for read in self.reads:
            size = read.weights_bytes + read.kv_bytes * depth
            low += size / read.rate.read.high
            expected += size / read.rate.read.expected
            high += size / read.rate.read.low
        paged = self.paged_bytes / DISK_BYTES_PER_SECOND
        return Interval(low + paged / 3, expected + paged, high + paged * 4)

    def generation_tps(self, depth: int) -> Interval:
        """Tokens per second with `depth` tokens in the KV cache."""
        return _inverse(self.token_seconds(depth))

    def prompt_tps(self) -> Interval:
        """Prompt tokens per second."""
        return _inverse(self._prompt_token_seconds())

    def answer_seconds(self, prompt_tokens: int, generated_tokens: int) -> Interval:
        """Seconds from Enter to the end of the answer, thinking included."""
        prompt = self._prompt_token_seconds()
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

    def _prompt_token_seconds(self) -> Interval:
        times = [PROMPT_TOKEN_SECONDS] * 3
        for read in self.reads:
            flops, speed = read.rate.flops, read.rate.read
            pairs = (
                (flops.high, speed.high),
                (flops.expected, speed.expected),
                (flops.low, speed.low),
            )
            for index, (compute, bandwidth) in enumerate(pairs):
                seconds = 2 * read.parameters / compute
                if read.on_cpu and self.has_fast_gpu:
                    # Large batches go to the GPU, with the weights they need.
                    sent = read.all_weights_bytes / PCIE_BYTES_PER_SECOND / self.ubatch
                    seconds = min(seconds, sent)
                times[index] += seconds + read.all_weights_bytes / bandwidth / self.ubatch
        paged = self.paged_bytes / DISK_BYTES_PER_SECOND / self.ubatch
        return Interval(times[0] + paged / 3, times[1] + paged, times[2] + paged * 4)


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
        machine: What it runs on.
        short_bytes: Main memory that is missing: so much of the CPU's weights has to come
            from disk for every token.
    """
    a = mix.architecture
    active_share = a.expert_used_count / a.expert_count if a.expert_count else 1.0
    gpus = {device.name: device for device in machine.gpus}
    per_layer = a.kv_cache_bytes_per_token(settings.kv_cache_type) / a.layers
    active = a.active_parameters or a.parameters
    placed = shares(a.layers, settings)
    parts: list[tuple[str, float, float, float]] = []
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
        output = (weights.output_bytes or weights.embedding_bytes) if share.output else 0
        dense = part.dense_bytes + output
        kv = per_layer * (share.stop - share.start)
        parts.append((share.device, dense + experts * active_share, dense + experts, kv))
    name, cpu_active, cpu_all, kv = parts[0]
    parts[0] = (name, cpu_active + kept_active, cpu_all + kept_all, kv)
    total = max(1.0, sum(part[1] for part in parts))
    cpu = cpu_rate(machine, mix.base)
    reads = tuple(
        _Reads(
            rate=gpu_rate(gpus[device]) if device in gpus else cpu,
            weights_bytes=active_bytes,
            all_weights_bytes=all_bytes,
            kv_bytes=kv_bytes,
            parameters=active * active_bytes / total,
            on_cpu=device not in gpus,
        )
        for device, active_bytes, all_bytes, kv_bytes in parts
        if active_bytes or kv_bytes
    )
    fast = any(not gpus[n].unified for n in settings.device_names if n in gpus)
    on_cpu = parts[0][2]
    paged = parts[0][1] * min(1.0, short_bytes / on_cpu) if on_cpu else 0.0
    return Speed(reads, settings.ubatch, fast, paged)


def time_to_answer(model: Model, speed: Speed, context_window: int) -> TimeToAnswer:
    """Seconds to an answer by kind of question.

    Thinking and answer end where the context window does, and a document is as long as the
    window leaves room for.
    """
    thinking = model.thinking_tokens
    return TimeToAnswer(
        typical=_seconds(model, speed, context_window, TYPICAL),
        hard=_seconds(model, speed, context_window, HARD),
        long_document=_seconds(model, speed, context_window, LONG_DOCUMENT),
        assumed=thinking.assumed,
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
    return speed.answer_seconds(prompt, generated)


def _inverse(seconds: Interval) -> Interval:
    return Interval(1 / seconds.high, 1 / seconds.expected, 1 / seconds.low)
