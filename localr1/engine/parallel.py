"""Several replies on one context: each in a sequence of its own, computed together. Worker side.

Each reply is the very same code that runs when there is only one. It runs in a strand, and where
it wants tokens computed it waits until they were, in a batch with what the others want.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from llama_cpp import llama_cpp as api

from localr1.engine import protocol
from localr1.engine.answering import Answerer
from localr1.engine.batch import Batcher, Wish
from localr1.engine.interrupts import Interrupts
from localr1.engine.loading import Cancelled
from localr1.engine.mailbox import Mailbox
from localr1.engine.model import Model
from localr1.engine.protocol import Generate, Segment
from localr1.engine.reply import common_prefix_length
from localr1.engine.sequence import CachedSequence
from localr1.engine.strand import Strand


class Slot(CachedSequence):
    """A sequence that is computed together with others.

    Args:
        model: Whose context it is.
        sequence_id: Its number there.
        batcher: Computes for all of them.
    """

    def __init__(self, model: Model, sequence_id: int, batcher: Batcher) -> None:
        super().__init__(*model.handles, sequence_id)
        self._model, self._batcher = model, batcher
        self.vocabulary, self.worth = model.vocabulary, model.worth
        self.context_window, self.batch_tokens = model.context_window, model.batch_tokens
        self.on_gpu, self.draft_tokens = model.on_gpu, model.draft_tokens
        self.prompt_tps = model.prompt_tps
        self.used = 0
        """When it was given to a request last: larger is later."""
        self.strand: Strand | None = None
        self.request_id = 0
        self.wish: Wish | None = None

    def tokenize(self, segments: Iterable[Segment]) -> list[int]:  # noqa: D102 - as inherited
        return self._model.tokenize(segments)

    def piece(self, token: int) -> bytes:  # noqa: D102 - as inherited
        return self._model.piece(token)

    def adopt(self, other: Slot, length: int) -> None:
        """Take over the first tokens of another's cache; no cell is copied for it."""
        self.truncate(0)
        api.llama_memory_seq_cp(self._memory, other.sequence_id, self.sequence_id, 0, length)
        self.cached = other.cached[:length]

    def _compute(self, tokens: Sequence[int], *, outputs_from: int) -> int:
        wish = Wish(self.sequence_id, len(self.cached), tokens, outputs_from)
        if self.strand is None:
            self._batcher.compute_alone(wish)
        else:
            self.wish = wish
            self.strand.wait()
        if wish.error is not None:
            raise wish.error
        return wish.row


class Parallel:
    """Runs requests side by side.

    Args:
        model: With room for several sequences.
        mailbox: Where requests come from.
        interrupts: Ends a computation when a reply is stopped.
        answerer: Carries one request out.
    """

    def __init__(
        self, model: Model, mailbox: Mailbox, interrupts: Interrupts, answerer: Answerer
    ) -> None:
        self._mailbox, self._interrupts, self._answerer = mailbox, interrupts, answerer
        self._model = model
        self._batcher = Batcher(model.handles[0], model.batch_tokens, model.prompt_tps)
        self.slots = [Slot(model, number, self._batcher) for number in range(model.sequences)]
        self._uses = 0

    def run(self, request: Generate, between: Callable[[protocol.Request], bool]) -> None:
        """Answer a request, and all others that come before none is left.

        Args:
            request: The first.
            between: Does what can be done between two batches; False: it has to wait until
                no reply runs.
        """
        self._admit(request)
        while self._running:
            self._take_in(between)
            running = self._running
            self._compute(running)
            for slot in running:
                if slot.wish is not None and slot.wish.answered:
                    self._resume(slot)

    @property
    def _running(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.strand is not None]

    def slot_for(self, prompt: Sequence[int]) -> Slot:
        """A free sequence for a prompt, with as much of it cached as any has.

        One that has most of the prompt goes on with it, or the prompt has most of what it has.
        Otherwise what is cached there may still be wanted: the one that was used longest ago is
        taken, and what another has of the prompt is taken over.
        """
        free = [slot for slot in self.slots if slot.strand is None]
        common = {slot: common_prefix_length(slot.cached, list(prompt)) for slot in self.slots}
        best = max(free, key=common.__getitem__)
        if 2 * common[best] < min(len(prompt), len(best.cached)) or not common[best]:
            best = min(free, key=lambda slot: slot.used)
        richest = max(self.slots, key=common.__getitem__)
        if common[richest] > common[best]:
            best.adopt(richest, common[richest])
        self._uses += 1
        best.used = self._uses
        return best

    def _take_in(self, between: Callable[[protocol.Request], bool]) -> None:
        """Begin what has come meanwhile, as far as there is room."""
        while (waiting := self._mailbox.waiting()) is not None:
            if isinstance(waiting, Generate):
                if len(self._running) == len(self.slots):
                    return
                self._mailbox.next()
                if self._mailbox.stopped(waiting.request_id):
                    self._answerer.give_up(waiting)
                else:
                    self._admit(waiting)
            elif between(waiting):
                self._mailbox.next()
            else:
                return

    def _admit(self, request: Generate) -> None:
        prompt = self._model.tokenize(request.segments)
        slot = self.slot_for(prompt)
        request = replace(
            request,
            segments=(Segment(tokens=tuple(prompt)),),
            sequence_id=slot.sequence_id,
        )
        slot.request_id = request.request_id
        slot.strand = Strand(lambda: self._answerer.answer(slot, request))
        self._resume(slot)

    def _resume(self, slot: Slot) -> None:
        assert slot.strand is not None  # noqa: S101 - only who runs is resumed
        slot.wish = None
        slot.strand.resume()
        if slot.strand.over:
            slot.strand = None

    def _compute(self, running: Sequence[Slot]) -> None:
        """One batch of what is wanted; whose reply was stopped in the meantime gets that said."""
        wishes: dict[int, Wish] = {}
        for slot in running:
            assert slot.wish is not None  # noqa: S101 - a strand waits for nothing else
            if self._mailbox.stopped(slot.request_id):
                slot.wish.error = Cancelled()
            else:
                wishes[slot.request_id] = slot.wish
        self._interrupts.begin(*wishes)
        if wishes:
            self._batcher.compute(tuple(wishes.values()))
