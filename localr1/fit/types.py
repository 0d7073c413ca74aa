"""Plans and estimates, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass

from localr1.config import Goal
from localr1.models.types import Model, Variant


@dataclass(frozen=True)
class DeviceMemory:
    """What a plan needs on one device, in bytes, by component."""

    name: str
    """The engine's device name: `CPU`, `CUDA0`."""
    weights_bytes: int
    """Every tensor byte placed on the device, whether mapped or copied."""
    repack_bytes: int
    """How much of the weights is a private, repacked copy (CPU only)."""
    mapped_bytes: int
    """How much of the weights is file pages that the system may drop and read again."""
    kv_cache_bytes: int
    compute_buffer_bytes: int
    output_bytes: int
    overhead_bytes: int
    """Runtime outside any buffer: driver context, libraries, the worker process."""

    @property
    def total_bytes(self) -> int:
        """Everything, mapped pages included."""
        return (
            self.weights_bytes
            + self.kv_cache_bytes
            + self.compute_buffer_bytes
            + self.output_bytes
            + self.overhead_bytes
        )

    @property
    def resident_bytes(self) -> int:
        """What must stay in memory: everything but mapped pages."""
        return self.total_bytes - self.mapped_bytes


@dataclass(frozen=True)
class Interval:
    """A prediction with its spread."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class TimeToAnswer:
    """Seconds from Enter to the end of the answer, by kind of question."""

    typical: Interval
    hard: Interval
    long_document: Interval
    assumed: bool
    """True where the number of thinking tokens is an assumption."""


@dataclass(frozen=True)
class Settings:
    """How a model is to be run; together with a file this is what the engine needs."""

    context_window: int
    """Tokens the session can hold."""
    kv_cache_type: str = "f16"
    gpu_layers: int = 0
    """Of `layers + 1`: the last one is the output layer."""
    cpu_expert_layers: int = 0
    """The experts of layers below this index stay on the CPU although the layer is on a GPU,
    as with llama.cpp's `--n-cpu-moe`."""
    tensor_split: tuple[float, ...] = ()
    """Share of each GPU, in the order of `device_names`; only their ratios count. Plans give
    the number of layers, so that no rounding moves one."""
    device_names: tuple[str, ...] = ()
    """GPUs to use, by the engine's names; empty means CPU only."""
    flash_attention: bool = True
    ubatch: int = 512
    threads: int = 0
    """0: the machine's performance cores."""
    draft_tokens: int = 0
    """Most tokens that a reply may guess ahead; 0: no speculation."""


@dataclass(frozen=True)
class Plan:
    """One model variant, placed on one machine, with its estimate."""

    model: Model
    variant: Variant
    settings: Settings
    devices: tuple[DeviceMemory, ...]
    fits: bool
    upper_bound: bool
    """True where the compute buffer is an upper bound, not a measured formula."""
    prompt_tps: Interval
    generation_tps: Interval
    time_to_answer: TimeToAnswer
    reasons: tuple[str, ...]
    """Why this plan, or why it does not fit; the first is one line by itself."""
    would_fit_if: tuple[str, ...] = ()
    score: float = 0.0
    """What the ranking sorted by; larger is better; 0 where nothing fits."""

    @property
    def total_bytes(self) -> int:
        """Memory over all devices, mapped pages included."""
        return sum(d.total_bytes for d in self.devices)

    @property
    def resident_bytes(self) -> int:
        """Memory over all devices that must stay."""
        return sum(d.resident_bytes for d in self.devices)


@dataclass(frozen=True)
class Advice:
    """Ranked plans, best first; those that do not fit come last."""

    goal: Goal
    plans: tuple[Plan, ...]

    @property
    def best(self) -> Plan | None:
        """The first plan that fits, or None."""
        return next((p for p in self.plans if p.fits), None)
