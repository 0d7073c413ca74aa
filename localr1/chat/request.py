"""What the engine is asked for a reply: a pure function."""

from __future__ import annotations

from localr1.chat import budget
from localr1.chat.types import ReplyOptions
from localr1.engine import protocol
from localr1.models.types import Sampling


def request_for(  # noqa: PLR0913 - each is a fact of its own
    segments: tuple[protocol.Segment, ...],
    seed: int,
    options: ReplyOptions,
    sampling: Sampling,
    *,
    context_window: int,
    thinking_open: bool,
) -> protocol.Generate:
    """The request for a reply.

    Args:
        segments: The prompt.
        seed: For sampling.
        options: What the user wants; where that is nothing, the model's recommendation holds.
        sampling: The model's recommendation.
        context_window: Tokens of the whole window.
        thinking_open: Whether the prompt ends inside `<think>`.
    """
    temperature, top_p = options.temperature, options.top_p
    return protocol.Generate(
        request_id=0,
        segments=segments,
        thinking_open=thinking_open,
        seed=seed,
        temperature=sampling.temperature if temperature is None else temperature,
        top_p=sampling.top_p if top_p is None else top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        max_tokens=options.max_tokens,
        thinking_budget_tokens=options.thinking_budget_tokens,
        thinking_budget_seconds=options.thinking_budget_seconds,
        answer_reserve_tokens=budget.answer_reserve(context_window),
        on_loop=options.on_loop,
        draft_tokens=options.draft_tokens,
        grammar=options.grammar,
    )
