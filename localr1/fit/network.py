"""What crosses the network for each token, where other computers hold a part of a model.

Counted in llama.cpp's own words (RPC) between a worker and `localr1 lend`, llama-cpp-python 0.3.36:
a computer that holds layers gets the hidden state of every token (two rows of it from layers
before, which are added there) with its place and its mask, is told to compute, and is asked for
what came out. Each asking waits for the answer: that is a way there and back. Everything else is
sent without waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from localr1.fit.backends import backend
from localr1.fit.memory import CPU, Share
from localr1.fit.types import Settings
from localr1.gguf.types import Architecture
from localr1.machine.reconcile import backend_of
from localr1.machine.types import Device, Link, Machine

_VALUE_BYTES: Final = 4
"""Of the hidden state and of logits: f32."""
_MASK_BYTES: Final = 2
"""For each token in the KV cache: f16."""
_PLACE_BYTES: Final = 20
"""A token's position (4) and its two places in the KV cache (8 each)."""
_MESSAGES_BYTES: Final = 6 * 314
"""The heads of what is sent for one step."""
_ASK_BYTES: Final = 321
_CHOSEN_BYTES: Final = 2 * 256
"""The 64 best logits and their tokens."""
_GRAPH_LAYER_BYTES: Final = 15_000
"""The description of one layer's computation: 47,940 for 3 layers and the output, 92,604 for 6."""
_BROKEN_GRAPH_LAYER_BYTES: Final = 45_000
"""The same where experts on the CPU break it into pieces, which repeat each other: 180,836 for 4."""
_STEPS_PER_GRAPH: Final = 256
"""A graph is sent anew when the used part of the KV cache grows by a step (`CONTEXT_STEP`)."""
_SLOWER, _FASTER = 1.5, 0.85
"""Spread of what a network takes, around what was measured a moment ago. Judgement."""

Case = Literal["low", "expected", "high"]
_FACTOR: Final[dict[Case, float]] = {"low": _SLOWER, "expected": 1.0, "high": _FASTER}
"""By speed, as the cases of `speed`."""


@dataclass(frozen=True)
class Crossing:
    """What one computer's part of a model makes cross the network."""

    device: str
    """As the engine calls it: `RPC0`."""
    link: Link
    round_trips: int
    """For each step: a token, or a batch of a prompt."""
    up_bytes: float
    """There, for each token."""
    down_bytes: float
    """Back, for each token of a prompt."""
    last_down_bytes: float
    """Back, for the last token of a step: what the next one is chosen from."""
    step_up_bytes: float
    """There, for each step while generating."""
    batch_up_bytes: float
    """There, for each batch of a prompt."""

    def token_seconds(self, depth: float, case: Case = "expected") -> float:
        """For one generated token with `depth` tokens in the KV cache."""
        up = self.up_bytes + self.step_up_bytes + _MASK_BYTES * depth
        down = self.down_bytes + self.last_down_bytes
        return self._seconds(up, down) * _FACTOR[case]

    def prompt_token_seconds(self, batch: int, depth: float, case: Case = "expected") -> float:
        """For one token of a prompt, in batches of so many after `depth` others."""
        up = batch * (self.up_bytes + _MASK_BYTES * depth) + self.batch_up_bytes
        down = batch * self.down_bytes + self.last_down_bytes
        return self._seconds(up, down) / batch * _FACTOR[case]

    def _seconds(self, up_bytes: float, down_bytes: float) -> float:
        link = self.link
        return (
            self.round_trips * link.round_trip_seconds
            + up_bytes / link.up_bytes_per_second
            + down_bytes / link.down_bytes_per_second
        )


def alone(machine: Machine) -> Machine:
    """The computer without what others lend."""
    return replace(machine, devices=tuple(d for d in machine.devices if not d.lent))


def names_lent(settings: Settings) -> bool:
    """Whether a part of the model goes to another computer."""
    return any(backend_of(name) == "RPC" for name in settings.device_names)


def crossings(
    architecture: Architecture,
    settings: Settings,
    placed: Sequence[Share],
    devices: dict[str, Device],
) -> tuple[Crossing, ...]:
    """What crosses the network in a placement; empty where all of it is on this computer.

    Args:
        architecture: The model's shape.
        settings: How it is placed.
        placed: Which device holds which layers, in their order.
        devices: By the engine's names.
    """
    parts = [share for share in placed if share.device != CPU and _holds(share)]
    found = []
    for index, share in enumerate(parts):
        device = devices.get(share.device)
        if device is None or device.link is None:
            continue
        before = devices.get(parts[index - 1].device) if index else None
        after = devices.get(parts[index + 1].device) if index + 1 < len(parts) else None
        chosen = _chosen_there(architecture, settings, device)
        beside = _Beside(_together(before, device.link), _together(after, device.link), chosen)
        found.append(_crossing(architecture, settings, share, device.link, beside))
    return tuple(found)


@dataclass(frozen=True)
class _Beside:
    """What stands before and after a part, and what becomes of its logits."""

    joined_before: bool
    """Whether the same computer holds what comes before."""
    joined_after: bool
    chosen: bool
    """Whether only the best logits come back."""


def _crossing(
    a: Architecture, settings: Settings, share: Share, link: Link, beside: _Beside
) -> Crossing:
    row = a.embedding_length * _VALUE_BYTES
    layers = share.stop - share.start + share.output
    kept = max(
        0,
        min(share.stop, settings.cpu_expert_layers) - max(share.start, a.leading_dense_layers),
    )
    trips, down, last_down = 0, 0.0, 0.0
    up = float(_PLACE_BYTES)
    if beside.joined_before:
        trips += 2  # both rows stay there, but are waited for
    else:
        up += row if share.start == 0 else 2 * row
    if share.output:
        trips += 2 if beside.chosen else 1
        last_down += _CHOSEN_BYTES if beside.chosen else a.vocabulary_size * _VALUE_BYTES
    elif not beside.joined_after:
        trips += 2
        down += 2 * row
    # Each layer whose experts are here asks for the hidden state and for which experts it wants.
    trips += 2 * kept
    up += kept * a.expert_used_count * row
    down += kept * row
    graph = layers * (_BROKEN_GRAPH_LAYER_BYTES if kept else _GRAPH_LAYER_BYTES)
    heads = _MESSAGES_BYTES + trips * _ASK_BYTES
    return Crossing(
        share.device,
        link,
        trips,
        up,
        down,
        last_down,
        step_up_bytes=heads + (graph if kept else graph / _STEPS_PER_GRAPH),
        batch_up_bytes=heads + graph,
    )


def _holds(share: Share) -> bool:
    return share.stop > share.start or share.output


def _together(other: Device | None, link: Link) -> bool:
    """Whether a device is in the same computer as that of a link."""
    return other is not None and other.link is not None and other.link.endpoint == link.endpoint


def _chosen_there(a: Architecture, settings: Settings, device: Device) -> bool:
    """Whether only the best logits come back, as the worker has it (`chooses_on_device`)."""
    whole = settings.gpu_layers > a.layers
    return whole and not settings.draft_tokens and backend(device.backend).picks_best
