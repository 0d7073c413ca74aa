"""Messages as lines of JSON: `encode` and `decode` are each other's inverse."""

from __future__ import annotations

import json
from typing import Any, Final

from localr1.engine.protocol import (
    Alive,
    Counted,
    CountTokens,
    EndThinking,
    Event,
    Failure,
    Generate,
    Generated,
    KernelsMeasured,
    Load,
    Loaded,
    LoadProgress,
    LoopNoticed,
    Measured,
    MeasureKernels,
    Prefill,
    Prefilled,
    Probe,
    Probed,
    PromptProgressed,
    Ready,
    Request,
    RestoreState,
    SaveState,
    Segment,
    SetThreads,
    Shutdown,
    StateRestored,
    StateSaved,
    Stop,
    Text,
    ThinkingEnded,
    ThreadsSet,
)

MESSAGES: Final[tuple[type[Any], ...]] = (
    *(Probe, MeasureKernels, Load, CountTokens, Generate, Prefill, SaveState, RestoreState),
    *(SetThreads, Stop, EndThinking, Shutdown),
    *(Ready, Alive, Probed, KernelsMeasured, LoadProgress, Loaded, Measured, Counted),
    *(PromptProgressed, Text),
    *(LoopNoticed, ThinkingEnded, Generated, Prefilled, StateSaved, StateRestored, ThreadsSet),
    Failure,
)
_KINDS: Final = {kind.__name__: kind for kind in MESSAGES}
BEGINNING: Final = b'{"message":"'
"""Of every message, and nowhere else in one: quotes in texts are escaped."""


class ProtocolError(ValueError):
    """A line that is no message of this protocol."""


def encode(message: Request | Event) -> bytes:
    """A message as one line of JSON, newline included."""
    # `vars`, not `asdict`: deep copies of every piece of text would be felt.
    body = {"message": type(message).__name__, **vars(message)}
    line = json.dumps(body, ensure_ascii=True, separators=(",", ":"), default=vars)
    return line.encode() + b"\n"


def decode(line: bytes) -> Request | Event:
    """The message on a line.

    Raises:
        ProtocolError: For anything that is not one.
    """
    try:
        body = json.loads(line)
        kind = _KINDS[body.pop("message")]
        for name in ("segments", "prompts"):
            if name in body:
                body[name] = _segments(body[name])
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}
        message: Request | Event = kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {line[:200]!r}") from error
    if type(message.request_id) is not int:
        raise ProtocolError(f"not the number of a request: {line[:200]!r}")
    return message


def _segments(value: list[Any]) -> tuple[Any, ...]:
    if value and isinstance(value[0], list):
        return tuple(_segments(inner) for inner in value)
    return tuple(Segment(item["text"], item["special"], tuple(item["tokens"])) for item in value)
