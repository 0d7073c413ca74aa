"""The messages between the client and its worker: JSON lines, one frozen dataclass each.

Requests go to the worker's stdin, events come from a private copy of its stdout. Every request
carries a `request_id`; events about a sequence carry its `sequence_id` too, so that several
sequences can share a worker. `encode` and `decode` are each other's inverse.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

PROTOCOL_VERSION: Final = 1


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt: text, or token ids that need no tokenizing."""

    text: str = ""
    special: bool = False
    """Whether special tokens in `text` are parsed (template markers) or not (anyone's words)."""
    tokens: tuple[int, ...] = ()
    """Used instead of `text` when not empty."""


# --- requests -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """Ask what llama.cpp is and which devices it sees."""

    request_id: int


@dataclass(frozen=True)
class Load:
    """Load a model and make its context."""

    request_id: int
    path: str
    context_window: int
    kv_cache_type: str
    gpu_layers: int
    cpu_expert_layers: int
    tensor_split: tuple[float, ...]
    device_names: tuple[str, ...]
    flash_attention: bool
    ubatch: int
    threads: int


@dataclass(frozen=True)
class CountTokens:
    """Count the tokens of several prompts' segments without running them."""

    request_id: int
    prompts: tuple[tuple[Segment, ...], ...]


@dataclass(frozen=True)
class Generate:
    """Process a prompt and generate a reply."""

    request_id: int
    segments: tuple[Segment, ...]
    thinking_open: bool
    """Whether the prompt ends inside `<think>`."""
    seed: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int
    """Most tokens of the reply, thinking included; 0 means as many as the window holds."""
    thinking_budget_tokens: int | None = None
    """Thinking is ended after this many tokens; None means no budget."""
    thinking_budget_seconds: float | None = None
    answer_reserve_tokens: int = 0
    """Thinking is ended when only this many tokens are left in the window or of `max_tokens`."""
    sequence_id: int = 0


@dataclass(frozen=True)
class Stop:
    """End the request named by `target_id`: a load, a prompt, or a reply."""

    request_id: int
    target_id: int


@dataclass(frozen=True)
class EndThinking:
    """End the thinking of the request named by `target_id`; the answer begins."""

    request_id: int
    target_id: int


@dataclass(frozen=True)
class Shutdown:
    """End the worker."""

    request_id: int


Request = Probe | Load | CountTokens | Generate | Stop | EndThinking | Shutdown

# --- events ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """The worker listens; sent once, first."""

    protocol_version: int
    request_id: int = 0


@dataclass(frozen=True)
class Probed:
    """llama.cpp's own words about itself."""

    request_id: int
    version: str
    system_info: str
    backends: tuple[str, ...]
    devices: tuple[dict[str, Any], ...]
    """Fields of `machine.types.EngineDevice`."""


@dataclass(frozen=True)
class LoadProgress:
    """Share of the model's tensors loaded, 0 to 1."""

    request_id: int
    fraction: float


@dataclass(frozen=True)
class Loaded:
    """The model is ready."""

    request_id: int
    context_window: int
    """As llama.cpp made it: at least what was asked for."""
    thinking_tokens_known: bool
    """Whether the vocabulary has `<think>` and `</think>` as single tokens."""
    buffers: tuple[str, ...]
    """llama.cpp's lines about the buffers it made."""
    load_seconds: float


@dataclass(frozen=True)
class Counted:
    """Token counts, one for each prompt of `CountTokens`."""

    request_id: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class PromptProgressed:
    """Prompt tokens in the KV cache so far, of all."""

    request_id: int
    done_tokens: int
    total_tokens: int
    sequence_id: int = 0


@dataclass(frozen=True)
class Text:
    """More text of the reply."""

    request_id: int
    part: Literal["thinking", "answer"]
    text: str
    tokens: int
    """Tokens of this part so far."""
    seconds: float
    """Since this part began."""
    sequence_id: int = 0


@dataclass(frozen=True)
class ThinkingEnded:
    """The engine ended the thinking itself, and why."""

    request_id: int
    reason: Literal["user", "budget", "room"]
    sequence_id: int = 0


@dataclass(frozen=True)
class Generated:
    """The reply is over."""

    request_id: int
    finish_reason: Literal["stop", "length", "cancelled"]
    prompt_tokens: int
    cached_tokens: int
    thinking_tokens: int
    answer_tokens: int
    prompt_seconds: float
    generation_seconds: float
    time_to_first_token_seconds: float
    thinking_seconds: float
    total_seconds: float
    context_used: int
    forced_tokens: int = 0
    """Of the thinking and answer tokens, those that the engine fed to end the thinking."""
    answer_token_ids: tuple[int, ...] = ()
    """Everything after `</think>`, its line breaks included, without the end token."""
    sequence_id: int = 0


@dataclass(frozen=True)
class Failure:
    """A request failed; the worker lives on."""

    request_id: int
    kind: Literal["load", "context_full", "cancelled", "engine"]
    what: str
    why: str = ""
    details: dict[str, int] = field(default_factory=dict)


Event = (
    Ready
    | Probed
    | LoadProgress
    | Loaded
    | Counted
    | PromptProgressed
    | Text
    | ThinkingEnded
    | Generated
    | Failure
)

MESSAGES: Final[tuple[type[Any], ...]] = (
    *(Probe, Load, CountTokens, Generate, Stop, EndThinking, Shutdown),
    *(Ready, Probed, LoadProgress, Loaded, Counted, PromptProgressed, Text),
    *(ThinkingEnded, Generated, Failure),
)
_KINDS: Final = {kind.__name__: kind for kind in MESSAGES}


class ProtocolError(ValueError):
    """A line that is no message of this protocol."""


def encode(message: Request | Event) -> bytes:
    """A message as one line of JSON, newline included."""
    body = {"message": type(message).__name__, **asdict(message)}
    return json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"not a message: {line[:200]!r}") from error
    return message


def _segments(value: list[Any]) -> tuple[Any, ...]:
    if value and isinstance(value[0], list):
        return tuple(_segments(inner) for inner in value)
    return tuple(Segment(item["text"], item["special"], tuple(item["tokens"])) for item in value)
