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
    hard_assumed: bool = False
    """The same for the hard question, for which more counts are published."""
    hard_cut_short: bool = False
    """True where the context window ends the thinking on a hard question before the model does."""
    typical_cut_short: bool = False
    """The same for a typical question."""


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
    sequences: int = 1
    """How many replies may run at once, each with a context window of its own."""


@dataclass(frozen=True)
class Asked:
    """What the user fixed; None leaves the choice to localr1."""

    context_window: int | None = None
    kv_cache_type: str | None = None
    gpu_layers: int | None = None


NOTHING = Asked()


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
    """What would make a plan fit that does not, the cheapest change first."""
    score: float = 0.0
    """What the ranking sorted by; larger is better; 0 where nothing fits."""
    pool: tuple[str, ...] = ()
    """What is to be known before it is loaded with other computers' memory, or not so although
    that was asked for; empty where it was not."""
    points_lost: float | None = None
    """What its quantization costs, in points of `Model.quality`; None where nobody asked."""

    @property
    def on_gpus_alone(self) -> bool:
        """Whether the GPUs hold all layers, experts included."""
        settings, layers = self.settings, self.model.architecture.layers
        named = bool(settings.device_names)
        return named and settings.gpu_layers > layers and not settings.cpu_expert_layers

    @property
    def total_bytes(self) -> int:
        """Memory over all devices, mapped pages included."""
        return sum(d.total_bytes for d in self.devices)

    @property
    def resident_bytes(self) -> int:
        """Memory over all devices that must stay."""
        return sum(d.resident_bytes for d in self.devices)


@dataclass(frozen=True)
class FullR1:
    """What the full R1 would be on a machine."""

    plan: Plan
    """The best variant that fits, or the one that needs least."""
    gpu_bytes: int
    """What lies in the memory of graphics cards."""
    memory_bytes: int
    """What lies in main memory."""
    disk_bytes: int
    """What main memory has no room for."""
    beaten_by: Plan | None
    """The plan that is the better choice here, where there is one."""
    words: str


@dataclass(frozen=True)
class Advice:
    """Ranked plans, best first; those that do not fit come last."""

    goal: Goal
    plans: tuple[Plan, ...]
    full_r1: FullR1 | None = None
    """None where the catalogue does not have it."""

    @property
    def best(self) -> Plan | None:
        """The first plan that fits, or None."""
        return next((p for p in self.plans if p.fits), None)
