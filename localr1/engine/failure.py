"""What a worker answers instead of what was asked for, in the family of `errors`."""

from __future__ import annotations

from pathlib import Path

from localr1.engine import protocol
from localr1.errors import (
    ContextFull,
    EngineError,
    Interrupted,
    LoadFailed,
    LocalR1Error,
    RpcUnavailable,
)


def error_of(event: protocol.Event | LocalR1Error, path: Path | None = None) -> LocalR1Error:
    """The error that a user sees for an event that is none of those expected.

    Args:
        event: What came.
        path: The model's file, where one was to be loaded.
    """
    if isinstance(event, LocalR1Error):
        return event
    if not isinstance(event, protocol.Failure):
        return EngineError(
            "The engine gave an unexpected answer.", repr(event)[:200], "Start it again."
        )
    if event.kind == "load":
        name = path.name if path is not None else "the model"
        return LoadFailed(
            f"{name} could not be loaded.",
            event.why,
            "Choose a smaller model or context window, or check the file with `localr1 doctor`.",
        )
    if event.kind == "context_full":
        numbers = event.details
        return ContextFull(
            event.what,
            f"It has {numbers.get('prompt_tokens', 0):,} tokens; the window holds "
            f"{numbers.get('context_window', 0):,}.",
            "Begin a new conversation, shorten the message, or use a larger context window.",
        )
    if event.kind == "cancelled":
        return Interrupted(event.what)
    kind = RpcUnavailable if event.kind == "rpc" else EngineError
    return kind(
        event.what, event.why, event.todo or "Ask again; if it happens again, run `localr1 doctor`."
    )
