"""Finding the best placement of one model variant on one machine.

Every context window and KV cache type is placed, as much as fits on the GPUs and the rest on the
CPU; the goal's score decides between them. A KV cache type that only serves where memory is short
counts where no better one fits at the same context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from localr1.config import Goal
from localr1.fit.attention import has_flash_attention
from localr1.fit.memory import CPU, cache_tokens, compute_is_upper_bound, memory_of
from localr1.fit.mix import Mix, repacked_types
from localr1.fit.network import alone
from localr1.fit.pool import Shortage, gpu_pools, pool_needs, shortages
from localr1.fit.score import score_within
from localr1.fit.speed import HARD, Speed, predict, time_to_answer, typical_depth
from localr1.fit.split import even_counts, greedy_counts
from localr1.fit.types import NOTHING, Asked, DeviceMemory, Plan, Settings
from localr1.fit.weights import Weights, of_variant
from localr1.gguf.types import Architecture
from localr1.machine.types import Device, Machine
from localr1.models.types import Model, Variant

CONTEXT_WINDOWS = (32768, 16384, 8192, 4096)
"""Context windows that are tried, best first, from the one that holds a hard question on."""
_DEMO_WINDOW = 1024
"""What the demo was trained on: 28 earlier sums at most, after more of them it is wrong."""
_USUAL_WINDOW = 16384
"""Wished for in any case: a hard problem takes R1 about 12,000 tokens."""
WORTH_A_NETWORK = 1.15
"""A plan must be faster by this factor for other computers to be used: networks are not steady, and
of what is there less is known. Judgement."""


def find(
    model: Model,
    variant: Variant,
    machine: Machine,
    asked: Asked = NOTHING,
    goal: Goal = "balanced",
) -> Plan:
    """The best placement, without reasons; `fits` is False where there is none.

    Args:
        model: The model.
        variant: One of its files.
        machine: What it is to run on.
        asked: Choices that are not localr1's to make.
        goal: What the choices that are localr1's are made for.

    Raises:
        ValueError: An unknown KV cache type, or a context window below 1.
    """
    if asked.context_window is not None and asked.context_window < 1:
        raise ValueError(f"a context window of {asked.context_window} tokens")

    def best_on(some: Machine) -> Plan:
        site = _Site(model.architecture, variant, some)
        plans = [_plan(model, placed) for placed in _candidates(model, site, asked)]
        # The quantization is the same for all of them, so what it costs does not matter here.
        return max(plans, key=lambda plan: score_within(plan, goal, 0.0, asked))

    found, here = best_on(machine), alone(machine)
    if here == machine:
        return found
    own = best_on(here)
    faster = found.generation_tps.expected > WORTH_A_NETWORK * own.generation_tps.expected
    return own if own.fits and not (found.fits and faster) else found


def speed_of(plan: Plan, machine: Machine) -> Speed:
    """The speeds that a plan's estimate comes from, for other depths and questions."""
    return _Placed(_Site(plan.model.architecture, plan.variant, machine), plan.settings).speed


@dataclass(frozen=True)
class _Site:
    """A variant and a machine, and what does not depend on the placement."""

    architecture: Architecture
    variant: Variant
    machine: Machine

    @cached_property
    def weights(self) -> Weights:
        repacked = repacked_types(self.machine.used_features)
        return of_variant(self.architecture, self.variant, repacked)

    @cached_property
    def gpus(self) -> tuple[Device, ...]:
        """GPUs worth using, the fastest first: cards of their own before shared memory.

        What other computers lend comes last, however fast: there is a network in between.
        """
        every = self.machine.gpus
        gpus = [g for g in every if has_flash_attention(self.architecture, g.backend)] or every
        here = [gpu for gpu in gpus if not gpu.lent]
        own = [gpu for gpu in here if not gpu.unified] or here[:1]
        own += [gpu for gpu in gpus if gpu.lent]
        own.sort(key=lambda gpu: (gpu.lent, -(gpu.bandwidth_bytes_per_second or 0)))
        return tuple(own)

    @cached_property
    def flash_attention(self) -> bool:
        """Whether these GPUs compute it; without it their KV cache must be f16."""
        return all(has_flash_attention(self.architecture, gpu.backend) for gpu in self.gpus)

    def settings(self, context_window: int, kv_cache_type: str) -> Settings:
        """What is wished for on the GPUs, or on the CPU where they cannot do it."""
        off = not self.flash_attention and kv_cache_type == "f16"
        return Settings(context_window, kv_cache_type, flash_attention=not off)

    @cached_property
    def budgets(self) -> dict[str, int]:
        pools = gpu_pools(self.machine)
        return {name: pool.budget_bytes for name, pool in pools.items()}


@dataclass(frozen=True)
class _Placed:
    """One placement with what it needs."""

    site: _Site
    settings: Settings

    @cached_property
    def devices(self) -> tuple[DeviceMemory, ...]:
        site = self.site
        return memory_of(site.architecture, site.weights, self.settings, site.machine)

    @cached_property
    def lacks(self) -> tuple[Shortage, ...]:
        return shortages(self.devices, self.site.machine)

    @property
    def gpus_hold(self) -> bool:
        """Whether the GPUs have room for their part."""
        budgets = self.site.budgets
        return all(d.total_bytes <= budgets[d.name] for d in self.devices[1:])

    @cached_property
    def speed(self) -> Speed:
        site = self.site
        short = 0
        if self.lacks:
            need = pool_needs(self.devices, site.machine)[CPU]
            short = max(0, need - site.machine.memory.available_bytes)
        return predict(
            Mix(site.variant.quantization, site.architecture),
            site.weights,
            self.settings,
            site.machine,
            short,
        )


def _plan(model: Model, placed: _Placed) -> Plan:
    settings, speed = placed.settings, placed.speed
    return Plan(
        model=model,
        variant=placed.site.variant,
        settings=settings,
        devices=placed.devices,
        fits=not placed.lacks,
        upper_bound=compute_is_upper_bound(model.architecture),
        prompt_tps=speed.prompt_tps(),
        generation_tps=speed.generation_tps(typical_depth(model)),
        time_to_answer=time_to_answer(model, speed, settings.context_window),
        reasons=(),
    )


def _candidates(model: Model, site: _Site, asked: Asked) -> list[_Placed]:
    """The placements to choose from: those that fit, or else the one that needs least."""

    def fast(placed: _Placed) -> bool:
        return not site.gpus or _whole(site.architecture, placed.settings)

    tried: dict[Settings, _Placed] = {}

    def fitting(context: int) -> list[_Placed]:
        here: list[_Placed] = []
        for kv_cache_type, in_need_only in types:
            if in_need_only and here:
                continue
            settings = site.settings(context, kv_cache_type)
            placed = tried.get(settings) or _arrange(site, settings, asked.gpu_layers)
            tried[settings] = placed
            if placed.lacks:
                continue
            here.append(placed)
            if fast(placed):
                # A smaller cache does not make it much faster.
                break
        return here

    types, contexts = _cache_types(model, asked), _contexts(model, asked)
    # What does not fit with the shortest context does not with a longer one.
    if not fitting(contexts[-1]):
        return [list(tried.values())[-1]]
    found: list[_Placed] = []
    for context in contexts:
        here = fitting(context)
        found += here
        if here and fast(here[0]) and here[0].settings.kv_cache_type == types[0][0]:
            # Nor does a shorter context.
            break
    return found


def _contexts(model: Model, asked: Asked) -> Sequence[int]:
    """Context windows to try, best first."""
    longest = model.architecture.context_length
    if asked.context_window is not None:
        return [min(asked.context_window, longest)]
    wished = wished_window(model)
    return [c for c in CONTEXT_WINDOWS if c <= wished] or [wished]


def wished_window(model: Model) -> int:
    """The smallest window that holds a hard question, or all that the model was made for."""
    if model.demo:
        return min(_DEMO_WINDOW, model.architecture.context_length)
    needed = HARD.prompt_tokens + model.thinking_tokens.hard + HARD.answer_tokens
    holding = [c for c in CONTEXT_WINDOWS if needed <= c]
    wished = max(_USUAL_WINDOW, min(holding, default=CONTEXT_WINDOWS[0]))
    return min(wished, model.architecture.context_length)


def _cache_types(model: Model, asked: Asked) -> Sequence[tuple[str, bool]]:
    """KV cache types to try, best first, and whether a type is only for want of memory."""
    if asked.kv_cache_type:
        return [(asked.kv_cache_type, False)]
    usual = model.kv_cache_types or ("f16",)
    return [(name, False) for name in usual] + [(name, True) for name in model.kv_cache_reserve]


def _whole(architecture: Architecture, settings: Settings) -> bool:
    """Whether the whole model is on the GPUs."""
    return settings.gpu_layers > architecture.layers and not settings.cpu_expert_layers


def _arrange(site: _Site, settings: Settings, gpu_layers: int | None) -> _Placed:
    """Put as much as fits on the GPUs, or the layers that were asked for."""
    if not site.gpus or gpu_layers == 0 or settings.flash_attention > site.flash_attention:
        return _on_cpu(site, settings)
    every = site.architecture.layers + 1
    if gpu_layers is not None:
        return _asked_layers(site, settings, min(max(gpu_layers, 0), every))
    gpus = site.gpus
    weights = site.weights.total_bytes - site.weights.embedding_bytes
    # One GPU that holds everything is as fast as several, and simpler.
    sets = [(gpu,) for gpu in gpus] + ([gpus] if len(gpus) > 1 else [])
    for some in sets:
        if weights < sum(site.budgets[gpu.name] for gpu in some):
            placed = _on(site, some, settings, every, 0)
            if placed.gpus_hold:
                return placed
    layers = site.architecture.layers
    if site.architecture.expert_count:

        def with_experts_of(kept: int) -> _Placed:
            return _on(site, gpus, settings, every, kept)

        if with_experts_of(layers).gpus_hold:
            return _smallest(with_experts_of, 0, layers)
    kept = layers if site.architecture.expert_count else 0

    def without(on_cpu: int) -> _Placed:
        return _on(site, gpus, settings, every - on_cpu, kept)

    # With no layer on the GPUs nothing is needed of them, so that the search always ends.
    return _smallest(without, 0, every)


def _on_cpu(site: _Site, settings: Settings) -> _Placed:
    return _Placed(site, replace(settings, flash_attention=True))


def _asked_layers(site: _Site, settings: Settings, gpu_layers: int) -> _Placed:
    for gpu in site.gpus:
        placed = _on(site, (gpu,), settings, gpu_layers, 0)
        if placed.gpus_hold:
            return placed
    placed = _on(site, site.gpus, settings, gpu_layers, 0)
    layers = site.architecture.layers
    if placed.gpus_hold or not site.architecture.expert_count:
        return placed

    def with_experts_of(kept: int) -> _Placed:
        return _on(site, site.gpus, settings, gpu_layers, kept)

    held = with_experts_of(layers).gpus_hold
    return _smallest(with_experts_of, 0, layers) if held else placed


def _smallest(make: Callable[[int], _Placed], low: int, high: int) -> _Placed:
    """The placement with the smallest number in (low, high] whose GPUs hold it."""
    best = make(high)
    while high - low > 1:
        middle = (low + high) // 2
        placed = make(middle)
        if placed.gpus_hold:
            high, best = middle, placed
        else:
            low = middle
    return best


def _on(
    site: _Site, gpus: Sequence[Device], settings: Settings, gpu_layers: int, kept: int
) -> _Placed:
    """A placement on these GPUs, split so that each has room where that can be done.

    Other computers get the first layers, so that what is chosen from comes out on this one, and
    no more of them than the GPUs here have no room for.
    """
    if gpu_layers == 0:
        return _on_cpu(site, settings)
    lent = any(gpu.lent for gpu in gpus)
    gpus = sorted(gpus, key=lambda gpu: not gpu.lent)
    wanted = replace(
        settings,
        gpu_layers=gpu_layers,
        cpu_expert_layers=kept,
        device_names=tuple(gpu.name for gpu in gpus),
    )
    if len(gpus) == 1:
        return _Placed(site, wanted)
    sizes = _sizes(site, wanted)
    # What a GPU needs whatever its layers, as an even split shows it.
    placed = _Placed(site, wanted)
    fixed = max(d.compute_buffer_bytes + d.overhead_bytes for d in placed.devices[1:])
    room = [max(0, site.budgets[gpu.name] - fixed) for gpu in gpus]
    ways = [even_counts(sizes, room), greedy_counts(sizes, room)]
    if lent:
        ways.insert(0, greedy_counts(sizes[::-1], room[::-1])[::-1])
    for counts in ways:
        used = [(gpu.name, float(n)) for gpu, n in zip(gpus, counts, strict=True) if n]
        placed = _Placed(
            site,
            replace(
                wanted,
                device_names=tuple(name for name, _ in used),
                tensor_split=tuple(n for _, n in used) if len(used) > 1 else (),
            ),
        )
        if placed.gpus_hold:
            break
    return placed


def _sizes(site: _Site, settings: Settings) -> list[int]:
    """Bytes of each layer that goes to a GPU, the output last."""
    architecture, weights = site.architecture, site.weights
    first = architecture.layers + 1 - settings.gpu_layers
    per_token = architecture.kv_cache_bytes_per_token(settings.kv_cache_type)
    kv = per_token // architecture.layers * cache_tokens(settings)
    sizes = [
        layer.dense_bytes + (0 if index < settings.cpu_expert_layers else layer.expert_bytes) + kv
        for index, layer in enumerate(weights.layers[first:], first)
    ]
    return [*sizes, weights.head_bytes]
