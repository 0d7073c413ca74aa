"""An engine without a model: it speaks the protocol and says what a test wants it to say.

Every character is a token, so windows fill exactly where a test expects it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from localr1.chat import template
from localr1.engine import protocol
from localr1.engine.client import Engine
from localr1.engine.protocol import Segment
from localr1.errors import EngineDied, LocalR1Error
from localr1.fit.types import Settings

SEPARATOR = "\n\n"


@dataclass(frozen=True)
class Says:
    """What the engine answers to one question."""

    thinking: str = ""
    answer: str = ""
    before: tuple[protocol.Event, ...] = ()
    """Sent before the first word."""
    stops_after: int | None = None
    """Tokens after which the user is taken to have stopped it."""
    dies_after: int | None = None


def written(segments: Sequence[Segment]) -> str:
    """A prompt as text; token ids are code points here."""
    return "".join("".join(map(chr, s.tokens)) if s.tokens else s.text for s in segments)


@dataclass(eq=False)
class Scripted:
    """Plays one `Says` for each question; an answer that goes on is played on."""

    context_window: int = 4096
    script: list[Says] = field(default_factory=list)
    alive: bool = True
    settings: Settings = field(default_factory=lambda: Settings(4096))
    asked: list[protocol.Generate] = field(default_factory=list)
    prefilled: list[str] = field(default_factory=list)
    kept: dict[Path, int] = field(default_factory=dict)
    """Saved states: tokens by file."""
    cached: int = 0
    cache_holder: object | None = None
    holds: asyncio.Event | None = None
    """Prefills wait for it, where there is one."""
    _now: Says = field(default_factory=Says)
    _stopped: bool = False

    @property
    def engine(self) -> Engine:
        return cast("Engine", self)

    @property
    def prompts(self) -> list[str]:
        return [written(request.segments) for request in self.asked]

    async def count_tokens(self, prompts: Sequence[Sequence[Segment]]) -> tuple[int, ...]:
        await asyncio.sleep(0)
        self._check()
        return tuple(len(written(prompt)) for prompt in prompts)

    async def prefill(self, segments: Sequence[Segment]) -> protocol.Prefilled:
        self._check()
        self.prefilled.append(written(segments))
        if self.holds is not None:
            await self.holds.wait()
        self._check()
        self.cached = len(self.prefilled[-1])
        return protocol.Prefilled(0, self.cached, self.cached, self.cached / 100)

    async def save_state(self, path: Path) -> protocol.StateSaved:
        self._check()
        await asyncio.to_thread(path.write_bytes, b"x")
        self.kept[path] = self.cached
        return protocol.StateSaved(0, self.cached, 1, 0.001)

    async def restore_state(self, path: Path) -> protocol.StateRestored:
        self._check()
        self.cached = self.kept.get(path, 0)
        reason = "" if self.cached else "it is damaged"
        return protocol.StateRestored(0, self.cached, reason, 0.001)

    async def stop(self, _target_id: int) -> None:
        self._stopped = True

    async def generate(self, request: protocol.Generate) -> AsyncGenerator[protocol.Event, None]:
        self._check()
        self.asked.append(request)
        self._stopped = False
        number = len(self.asked)
        prompt = written(request.segments)
        assert len(prompt) < self.context_window
        if request.continues_answer and not request.segments[-1].tokens:
            # From a thinking, or an answer, of which only the words are known.
            self._now = self.script.pop(0)
            thinking, answer = "", self._now.answer
        elif request.continues_answer:
            thinking = ""
            ids = request.segments[-1].tokens
            begun = "".join(map(chr, ids))
            whole = SEPARATOR + self._now.answer
            assert whole.startswith(begun), "the answer so far is not what was said"
            answer = whole[len(begun) :]
        else:
            self._now = self.script.pop(0)
            thinking, answer = self._now.thinking, SEPARATOR + self._now.answer
        yield protocol.PromptProgressed(number, len(prompt), len(prompt))
        for event in self._now.before if not request.continues_answer else ():
            yield event
        room = self.context_window - len(prompt)
        limit = min(room, request.max_tokens) if request.max_tokens else room
        said: list[str] = []
        reason: Literal["stop", "length", "cancelled"] = "stop"
        for character in thinking + answer:
            if len(said) == limit:
                reason = "length"
                break
            if self._stopped or len(said) == self._now.stops_after:
                reason = "cancelled"
                break
            if len(said) == self._now.dies_after:
                self.alive = False
                self._check()
            said.append(character)
            part: Literal["thinking", "answer"] = (
                "thinking" if len(said) <= len(thinking) else "answer"
            )
            count = len(said) if part == "thinking" else len(said) - len(thinking)
            if part == "thinking" or count > len(SEPARATOR) or request.continues_answer:
                yield protocol.Text(number, part, character, count, count / 10)
        answered = "".join(said)[len(thinking) :]
        self.cached = len(prompt) + len(said)
        yield protocol.Generated(
            number,
            finish_reason=reason,
            prompt_tokens=len(prompt),
            cached_tokens=0,
            thinking_tokens=min(len(said), len(thinking)),
            answer_tokens=len(answered),
            prompt_seconds=len(prompt) / 100,
            generation_seconds=len(said) / 10,
            time_to_first_token_seconds=1.0,
            thinking_seconds=min(len(said), len(thinking)) / 10,
            total_seconds=len(prompt) / 100 + len(said) / 10,
            context_used=self.cached,
            answer_token_ids=tuple(map(ord, answered)),
            window_full=reason == "length" and limit == room,
        )

    def _check(self) -> None:
        if not self.alive:
            raise EngineDied("The engine stopped: killed (SIGKILL).", "", "Start it again.")


def last_question(prompt: str) -> str:
    """The words after the last user marker, up to the assistant's."""
    return prompt.rpartition(template.USER)[2].partition(template.ASSISTANT)[0]


def died(error: LocalR1Error | None) -> bool:
    """Whether the reply ended with the engine's death."""
    return isinstance(error, EngineDied)
