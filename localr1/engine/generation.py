"""One reply: prompt, thinking, answer. Worker side; the model comes in through a small interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from localr1.engine import protocol
from localr1.engine.detokenizer import TextDecoder
from localr1.engine.loading import Cancelled
from localr1.engine.loops import LoopWatch
from localr1.engine.protocol import Generate, Segment
from localr1.engine.reply import (
    EndReason,
    Part,
    ReplySplitter,
    StablePrefix,
    ThinkingLimits,
    Verdict,
    Vocabulary,
)
from localr1.engine.sampler import GrammarProblem, Sampler
from localr1.engine.sequence import CachedSequence
from localr1.engine.steps import Steps, computed
from localr1.engine.thinking import ANSWER_SEPARATOR, CLOSING_NEWLINE, CLOSING_SENTENCE

__all__ = ["Control", "GrammarProblem", "PromptTooLong", "Reply"]

# Deltas are joined for this long: four a second are what the app draws. Each costs the caches
# that a CPU model has just filled with weights, and wakes a reader on the cores that compute.
_DELTA_SECONDS: Final = 0.25
# So many tokens become text together at most: loops are looked for as often.
_SHOWN_TOKENS: Final = 16
# Prompt chunks aim at this long, so that progress moves. A stop ends a chunk on a CPU; on a GPU it
# waits for it.
_CHUNK_SECONDS: Final = 4.0
_GPU_CHUNK_SECONDS: Final = 1.0


class PromptTooLong(Exception):
    """The prompt leaves no room for a reply."""

    def __init__(self, prompt_tokens: int, context_window: int) -> None:
        super().__init__()
        self.prompt_tokens = prompt_tokens
        self.context_window = context_window


@dataclass
class Control:
    """What the user may do to a running reply; set from another thread."""

    stopped: Callable[[], bool]
    answer_asked: Callable[[], bool]


@dataclass
class _Stream:
    """Joins text and sends it as deltas."""

    request: Generate
    send: Callable[[protocol.Event], None]
    _part: Part = "thinking"
    _text: str = ""
    _sent_at: float = 0.0
    _began_at: dict[str, float] = field(default_factory=dict)

    def add(self, part: Part, text: str, tokens: int) -> None:
        """Queue text; send when the part changes or enough time has passed."""
        now = time.monotonic()
        self._began_at.setdefault(part, now)
        if part != self._part:
            self._part, self._text = part, ""
        self._text += text
        if self._text and now - self._sent_at >= 0.9 * _DELTA_SECONDS:
            self.flush(tokens)

    def flush(self, tokens: int) -> None:
        """Send what is queued."""
        if not self._text:
            return
        now = time.monotonic()
        seconds = now - self._began_at.get(self._part, now)
        request = self.request
        event = protocol.Text(
            request.request_id, self._part, self._text, tokens, seconds, request.sequence_id
        )
        self._text, self._sent_at = "", now
        self.send(event)


class Reply:
    """Runs one `Generate` request on a model.

    Args:
        model: The loaded model.
        request: What to generate.
        control: Stop and answer-now.
        send: Takes the events as they happen.
    """

    def __init__(
        self,
        model: CachedSequence,
        request: Generate,
        control: Control,
        send: Callable[[protocol.Event], None],
    ) -> None:
        self._model = model
        self._request = request
        self._control = control
        self._send = send
        self._splitter = ReplySplitter(
            # Measuring goes on whatever the model says.
            Vocabulary(-1, -1, frozenset()) if request.ignore_end else model.vocabulary,
            thinking_open=request.thinking_open,
        )
        self._limits = ThinkingLimits()
        self._stream = _Stream(request, send)
        self._decoder = TextDecoder()
        self._answer = StablePrefix(self._emit_answer, begun=request.continues_answer)
        self._loops = LoopWatch()
        self._looping = False
        self._unclosed = False
        self._unshown: list[int] = []
        self._shown_at = 0.0
        self._splitter.answer_begun = request.continues_answer
        self._closing: list[int] = []
        self._answer_ids: list[int] = []
        self._forced_tokens = 0
        self._started = time.monotonic()
        self._first_token_at = 0.0
        self._thinking_from = 0.0
        self._thinking_seconds = 0.0

    def run(self) -> protocol.Generated:
        """Generate the whole reply.

        Raises:
            PromptTooLong: When the prompt leaves no room.
            DecodeError: When llama.cpp fails.
            GrammarProblem: When the grammar cannot be used.
        """
        model, request = self._model, self._request
        prompt = model.tokenize(request.segments)
        room = model.context_window - len(prompt)
        if room < 1 or not prompt:
            raise PromptTooLong(len(prompt), model.context_window)
        limit = min(room, self._most_tokens()) if request.max_tokens else room
        self._limits = ThinkingLimits(
            request.thinking_budget_tokens,
            request.thinking_budget_seconds,
            # A short reply is not all reserve.
            min(request.answer_reserve_tokens, limit // 4),
        )
        cached = model.reuse(prompt)
        reason: Literal["stop", "length", "cancelled"] = "cancelled"
        prompt_seconds = 0.0
        sampler = model.sampler(request)
        steps = Steps(model, sampler, request.draft_tokens)
        try:
            self._process_prompt(prompt, cached)
            prompt_seconds = time.monotonic() - self._started
            reason = self._generate(steps, sampler, limit)
        except Cancelled:
            prompt_seconds = prompt_seconds or time.monotonic() - self._started
        finally:
            model.forget_guesses()
            sampler.close()
        window_full = reason == "length" and limit == room
        if window_full:
            self._answer.release()
        self._end_part()
        now = time.monotonic()
        return protocol.Generated(
            request_id=request.request_id,
            finish_reason=reason,
            prompt_tokens=len(prompt),
            cached_tokens=cached,
            thinking_tokens=self._splitter.thinking_tokens,
            answer_tokens=self._splitter.answer_tokens,
            prompt_seconds=prompt_seconds,
            generation_seconds=now - self._started - prompt_seconds,
            time_to_first_token_seconds=(self._first_token_at or now) - self._started,
            thinking_seconds=self._thinking_seconds,
            total_seconds=now - self._started,
            context_used=len(model.cached),
            forced_tokens=self._forced_tokens,
            answer_token_ids=tuple(self._answer_ids),
            window_full=window_full,
            sampling_seconds=steps.sampling_seconds,
            decoding_seconds=steps.decoding_seconds,
            drafted_tokens=steps.drafted_tokens,
            accepted_tokens=steps.accepted_tokens,
            sequence_id=request.sequence_id,
        )

    def _most_tokens(self) -> int:
        """What was asked for; where no thinking is wanted, its closing words come on top."""
        unwanted = self._request.thinking_budget_tokens == 0 and self._splitter.part == "thinking"
        return self._request.max_tokens + (len(self._closing_words()) if unwanted else 0)

    def _process_prompt(self, prompt: list[int], cached: int) -> None:
        request, total = self._request, len(prompt)
        chunk_seconds = _GPU_CHUNK_SECONDS if self._model.on_gpu else _CHUNK_SECONDS
        for done in computed(self._model, prompt, cached, chunk_seconds):
            self._send(
                protocol.PromptProgressed(request.request_id, done, total, request.sequence_id)
            )
            if self._control.stopped():
                raise Cancelled

    def _generate(
        self, steps: Steps, sampler: Sampler, limit: int
    ) -> Literal["stop", "length", "cancelled"]:
        splitter, stopped = self._splitter, self._control.stopped
        if splitter.part == "thinking":
            self._thinking_from = time.monotonic()
        produced = self._end_thinking_if_due(steps, 0, limit)
        while produced < limit:
            if stopped():
                return "cancelled"
            if self._request.grammar:
                self._keep_to_grammar(sampler)
            token = steps.sample()
            if token == self._model.vocabulary.think:
                self._show(splitter.part)  # what it means depends on the words before it
            if not self._first_token_at:
                self._first_token_at = time.monotonic()
            was = splitter.part
            verdict = splitter.accept(token)
            if verdict == "end":
                # A reply without an answer gets the chance of one.
                before, self._unclosed = produced, was == "thinking"
                produced = self._end_thinking_if_due(steps, produced, limit)
                if produced == before:
                    return "stop"
                continue
            produced += 1
            self._take(steps, token, was, verdict, last=produced == limit)
            if produced < limit:
                produced = self._end_thinking_if_due(steps, produced, limit)
        return "length"

    def _keep_to_grammar(self, sampler: Sampler) -> None:
        """Hold the answer to the grammar, and let the thinking be free.

        A model whose template leaves the opening of the thinking to itself may open it.
        """
        splitter = self._splitter
        unopened = not (splitter.thinking_tokens or splitter.closed or splitter.answer_begun)
        excused = self._model.vocabulary.think if unopened else -1
        sampler.keep_to_grammar(kept=splitter.part == "answer", excused=excused)

    def _take(self, steps: Steps, token: int, was: Part, verdict: Verdict, *, last: bool) -> None:
        """Put a token into the cache, unless it is the last one, and show it.

        A GPU computes the next token while this one is shown; on a CPU, where that takes
        longer, it is shown first. Tokens become text a few at a time: after a decode on the CPU
        nothing of this program is in the caches any more, so every line costs tenfold.
        """
        waited_for = not self._shown_at  # as the first one is
        ahead = self._model.on_gpu and not last and not waited_for
        if ahead:
            steps.take(token)
        if self._splitter.part != was:
            self._show(was)
            self._change_part(was)
        if verdict != "marker":
            self._unshown.append(token)
            if verdict == "answer":
                self._answer_ids.append(token)
            waited = time.monotonic() - self._shown_at
            if last or waited >= _DELTA_SECONDS or len(self._unshown) >= _SHOWN_TOKENS:
                self._show(self._splitter.part)
        if not ahead and not last:
            steps.take(token)

    def _show(self, part: Part) -> None:
        """Turn the tokens that wait into text of a part."""
        tokens, self._unshown = self._unshown, []
        self._shown_at = time.monotonic()
        if not tokens:
            return
        text = self._decoder.feed(b"".join(map(self._model.piece, tokens)))
        self._emit(part, text)
        if part == "thinking":
            self._watch(tokens, text)

    def _watch(self, tokens: list[int], text: str) -> None:
        """Notice loops in the thinking."""
        policy = self._request.on_loop
        if policy == "ignore":
            return
        *earlier, last = tokens
        found = [self._loops.feed(token, "") for token in earlier]
        for notice in (*found, self._loops.feed(last, text)):
            if notice is not None:
                kind, repeats = notice
                self._looping = policy == "end"
                identity, sequence = self._request.request_id, self._request.sequence_id
                self._send(protocol.LoopNoticed(identity, kind, repeats, sequence))

    def _end_thinking_if_due(self, steps: Steps, produced: int, limit: int) -> int:
        """Feed the closing words when the thinking must end; returns what is produced by then."""
        splitter, request = self._splitter, self._request
        thinking = splitter.part == "thinking"
        if not thinking or not self._model.vocabulary.knows_thinking:
            return produced
        closing = self._closing = self._closing or self._closing_words()
        due = self._limits.reason_to_end(
            thinking_tokens=splitter.thinking_tokens,
            thinking_seconds=time.monotonic() - self._thinking_from,
            room_tokens=limit - produced - len(closing),
            wanted=self._wanted_end(),
        )
        if due is None or produced + len(closing) >= limit:
            return produced
        self._show("thinking")
        self._emit("thinking", self._decoder.flush())
        splitter.closed = True
        for token in closing:
            was = splitter.part
            verdict = splitter.accept(token)
            if splitter.part != was:
                self._change_part(was)
            elif splitter.part == "answer":
                self._answer_ids.append(token)
            if verdict == "thinking":
                self._emit("thinking", self._decoder.feed(self._model.piece(token)))
        self._send(protocol.ThinkingEnded(request.request_id, due, request.sequence_id))
        steps.feed(closing)
        self._forced_tokens += len(closing)
        return produced + len(closing)

    def _wanted_end(self) -> EndReason | None:
        if self._control.answer_asked():
            return "user"
        if self._looping:
            return "loop"
        return "unclosed" if self._unclosed else None

    def _closing_words(self) -> list[int]:
        return [
            *self._model.tokenize([Segment(CLOSING_SENTENCE + CLOSING_NEWLINE)]),
            self._model.vocabulary.end_think,
            *self._model.tokenize([Segment(ANSWER_SEPARATOR)]),
        ]

    def _emit(self, part: Part, text: str) -> None:
        if part == "thinking":
            self._stream.add("thinking", text, self._splitter.thinking_tokens)
        else:
            self._answer.feed(text)

    def _emit_answer(self, text: str) -> None:
        self._splitter.answer_begun = True
        self._stream.add("answer", text, self._splitter.answer_tokens)

    def _change_part(self, was: Part) -> None:
        """Send what is left of the part that ended."""
        rest = self._decoder.flush()
        if was == "thinking":
            self._stream.add("thinking", rest, self._splitter.thinking_tokens)
            self._stream.flush(self._splitter.thinking_tokens)
            self._thinking_seconds += time.monotonic() - self._thinking_from
        else:
            self._thinking_from = time.monotonic()
            self._loops = LoopWatch()
            self._answer_ids.clear()  # line breaks before a late `<think>`

    def _end_part(self) -> None:
        self._show(self._splitter.part)
        self._emit(self._splitter.part, self._decoder.flush())
        thinking = self._splitter.part == "thinking"
        tokens = self._splitter.thinking_tokens if thinking else self._splitter.answer_tokens
        self._stream.flush(tokens)
        if thinking and self._thinking_from:
            self._thinking_seconds += time.monotonic() - self._thinking_from
