"""A request to generate, from its arrival to its last event, whatever goes wrong. Worker side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localr1.engine import protocol
from localr1.engine.generation import Control, GrammarProblem, PromptTooLong, Reply
from localr1.engine.mailbox import Mailbox
from localr1.engine.native import Log
from localr1.engine.sequence import CachedSequence, DecodeError


@dataclass(frozen=True)
class Answerer:
    """Carries out requests, each on the sequence that it is given."""

    mailbox: Mailbox
    send: Callable[[protocol.Event], None]
    log: Log

    def give_up(self, request: protocol.Generate) -> None:
        """Answer a request that was stopped before its turn came."""
        self.send(
            protocol.Generated(
                request.request_id,
                "cancelled",
                *(0, 0, 0, 0),
                *(0.0, 0.0, 0.0, 0.0, 0.0),
                context_used=0,
                sequence_id=request.sequence_id,
            )
        )

    def answer(self, sequence: CachedSequence, request: protocol.Generate) -> None:
        """Generate a reply; the last event says how it ended or why there is none."""
        self.send(self._outcome(sequence, request))

    def _outcome(self, sequence: CachedSequence, request: protocol.Generate) -> protocol.Event:
        identity = request.request_id
        control = Control(
            stopped=lambda: self.mailbox.stopped(identity),
            answer_asked=lambda: self.mailbox.answer_asked(identity),
        )
        try:
            return Reply(sequence, request, control, self.send).run()
        except PromptTooLong as error:
            return protocol.Failure(
                identity,
                "context_full",
                "The conversation does not fit the context window.",
                details={
                    "prompt_tokens": error.prompt_tokens,
                    "context_window": error.context_window,
                },
            )
        except GrammarProblem as error:
            what = "The form of the answer cannot be kept."
            return protocol.Failure(identity, "engine", what, str(error))
        except DecodeError as error:
            sequence.truncate(0)
            why = self.log.errors() or str(error)
            return protocol.Failure(identity, "engine", "llama.cpp failed while generating.", why)
