"""What is computed at once, and on what: the facts that a compute buffer depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """What is computed at once."""

    tokens: int
    context: int
    """Cells of the KV cache."""
    kv_cache_type: str
    flash_attention: bool
    outputs: int
    """Tokens whose logits are wanted."""
    top_k: int = 0
    """Best logits that the output's device picks itself; 0: none."""


@dataclass(frozen=True)
class Place:
    """Where one layer is, by the index of its device: the GPUs in their order, then the CPU."""

    device: int
    experts: int
    """Of its routed experts."""
    sparse: bool
    """Whether it has experts."""
    sizes: tuple[tuple[str, int], ...] = ()
    """Bytes of its matrices by name, or of the largest of their kind, where the CPU has them and
    a GPU may compute with them."""


@dataclass(frozen=True)
class Layout:
    """Where a model is, and what its devices do differently."""

    places: tuple[Place, ...]
    output: int
    """Device of the output layer."""
    cpu: int
    vectors_move: bool = False
    """Whether a GPU takes over work with the CPU's norms and biases, too."""
    flash_extra_bytes: int = 0
    """What a GPU's flash attention needs beside its result."""


@dataclass(frozen=True)
class Devices:
    """What a graph is computed on; the CPU is the last."""

    alignments: tuple[int, ...]
    """Bytes, of each device."""
    takes_over: bool = False
    """Whether the first GPU takes over large pieces of work from the CPU."""
    copies: int = 1
    """How often inputs are kept: several times where GPUs work in a pipeline."""

    @property
    def cpu(self) -> int:
        """Index of the CPU."""
        return len(self.alignments) - 1
