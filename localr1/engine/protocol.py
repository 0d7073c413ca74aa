"""The messages between the client and its worker: JSON lines, one frozen dataclass each.

Requests go to the worker's stdin, events come from a private copy of its stdout. Every request
carries a `request_id`; events about a sequence carry its `sequence_id` too, so that several
sequences can share a worker. `engine.codec` turns them into lines and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

PROTOCOL_VERSION: Final = 3

LoopPolicy = Literal["ignore", "tell", "end"]


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt: text, or token ids that need no tokenizing."""

    text: str = ""
    special: bool = False
    """Whether special tokens in `text` are parsed (template markers) or not (anyone's words)."""
    tokens: tuple[int, ...] = ()
    """Used instead of `text` when not empty."""


@dataclass(frozen=True)
class Probe:
    """Ask what llama.cpp is and which devices it sees."""

    request_id: int
    rpc_endpoints: tuple[str, ...] = ()
    """Servers (`host:port`) whose devices join the list; needs an RPC build."""


@dataclass(frozen=True)
class MeasureKernels:
    """Time llama.cpp's CPU kernels."""

    request_id: int
    memory_bytes: int
    """Most memory to take for it."""


@dataclass(frozen=True)
class Load:
    """Load a model and make its context; or only measure what that would take."""

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
    draft_tokens: int = 0
    """Most tokens that a reply may guess ahead; the context keeps logits for them too."""
    sequences: int = 1
    """How many replies may run at once, each with a context window of its own."""
    rpc_endpoints: tuple[str, ...] = ()
    """Servers (`host:port`) whose devices `device_names` may name; needs an RPC build."""
    measure_only: bool = False
    """Answer `Measured` instead of `Loaded`: nothing is read but the header."""


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
    on_loop: LoopPolicy = "tell"
    """What to do when the thinking goes round in circles: nothing, say so, or end it."""
    draft_tokens: int = 0
    """Most tokens to guess ahead in one step, at most the load's; 0: no speculation."""
    continues_answer: bool = False
    """Whether the prompt ends in the middle of an answer, which goes on as it is."""
    grammar: str = ""
    """What the answer keeps to, in llama.cpp's notation (GBNF, `root`); the thinking is free."""
    ignore_end: bool = False
    """Go on after end tokens, to `max_tokens`: for measuring."""
    sequence_id: int = 0


@dataclass(frozen=True)
class Prefill:
    """Compute a prompt's KV cache while nothing else is to do.

    Any later request comes first; what was computed by then is kept.
    """

    request_id: int
    segments: tuple[Segment, ...]
    sequence_id: int = 0


@dataclass(frozen=True)
class SaveState:
    """Write the KV cache to a file."""

    request_id: int
    path: str
    sequence_id: int = 0


@dataclass(frozen=True)
class RestoreState:
    """Read the KV cache from a file; one that is damaged or of another model is ignored."""

    request_id: int
    path: str
    sequence_id: int = 0


@dataclass(frozen=True)
class SetThreads:
    """Compute with this many threads from now on."""

    request_id: int
    threads: int


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


Request = (
    Probe | MeasureKernels | Load | CountTokens | Generate | Prefill | SaveState | RestoreState
    | SetThreads | Stop | EndThinking | Shutdown
)  # fmt: skip


@dataclass(frozen=True)
class Ready:
    """The worker listens; sent once, first."""

    protocol_version: int
    request_id: int = 0


@dataclass(frozen=True)
class Alive:
    """Sent every second by a thread of its own: the worker runs, however long its work takes."""

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
    compiled: tuple[str, ...] = ()
    """This and what follows as in `machine.types.EngineInfo`."""
    words: str = ""
    build: str = ""


@dataclass(frozen=True)
class KernelsMeasured:
    """How fast llama.cpp's CPU kernels are."""

    request_id: int
    kernels: tuple[dict[str, Any], ...]
    """Fields of `machine.types.Kernel`."""


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
    buffers: tuple[dict[str, Any], ...]
    """Fields of `engine.types.DeviceBuffers`: where the model really went."""
    load_seconds: float


@dataclass(frozen=True)
class Measured:
    """What a load would take, by llama.cpp's own reckoning."""

    request_id: int
    buffers: tuple[dict[str, Any], ...]
    """Fields of `engine.types.DeviceBuffers`."""
    context_window: int
    """As llama.cpp would make it: at least what was asked for."""
    seconds: float


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
class LoopNoticed:
    """The thinking goes round in circles; sent once for each loop."""

    request_id: int
    kind: Literal["cycle", "paragraph"]
    """The same tokens over and over, or paragraphs said before."""
    repeats: int
    sequence_id: int = 0


@dataclass(frozen=True)
class ThinkingEnded:
    """The engine ended the thinking itself, and why."""

    request_id: int
    reason: Literal["user", "budget", "room", "loop", "unclosed"]
    """`unclosed`: the model ended its reply without ending the thinking."""
    sequence_id: int = 0


@dataclass(frozen=True)
class Prefilled:
    """An idle computation is over: done, or dropped for other work."""

    request_id: int
    done_tokens: int
    total_tokens: int
    seconds: float
    sequence_id: int = 0


@dataclass(frozen=True)
class StateSaved:
    """The KV cache lies in the file."""

    request_id: int
    tokens: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class StateRestored:
    """The KV cache was read, or the file ignored."""

    request_id: int
    tokens: int
    """0: ignored."""
    reason: str
    """Why it was ignored; empty when it was not."""
    seconds: float


@dataclass(frozen=True)
class ThreadsSet:
    """The number of threads in force."""

    request_id: int
    threads: int


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
    window_full: bool = False
    """With `length`: it was the window that ended, not `max_tokens`."""
    sampling_seconds: float = 0.0
    decoding_seconds: float = 0.0
    """Of the generation; what is left of `generation_seconds` is the worker's own cost."""
    drafted_tokens: int = 0
    """Guessed ahead in all."""
    accepted_tokens: int = 0
    """Of the guesses, those that sampling drew as well."""
    sequence_id: int = 0


@dataclass(frozen=True)
class Failure:
    """A request failed; the worker lives on."""

    request_id: int
    kind: Literal["load", "context_full", "cancelled", "engine", "file", "rpc"]
    what: str
    why: str = ""
    details: dict[str, int] = field(default_factory=dict)
    todo: str = ""
    """What to do, where only the worker knows."""


Event = (
    Ready | Alive | Probed | KernelsMeasured | LoadProgress | Loaded | Measured | Counted
    | PromptProgressed | Text | LoopNoticed | ThinkingEnded | Generated | Prefilled | StateSaved
    | StateRestored | ThreadsSet | Failure
)  # fmt: skip
