"""A plan in words: why it is as it is, and what limits it.

Sizes are in GiB with one decimal, times in minutes and seconds. Every number comes from
the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from localr1.fit.attention import has_flash_attention
from localr1.fit.memory import CPU, GIB
from localr1.fit.mix import Mix, repacked_types
from localr1.fit.pool import Shortage, gpu_pools, main_memory, pool_needs, shortages
from localr1.fit.search import CONTEXT_WINDOWS
from localr1.fit.types import NOTHING, Asked, Interval, Plan
from localr1.machine.types import Machine

SLOW_TPS = 0.5
"""Below this a typical answer takes more than half an hour."""


@dataclass(frozen=True)
class Ranking:
    """What only the comparison with other plans can say."""

    place: str = ""
    """Why it stands where it does, for the end of the first line."""
    beside: tuple[str, ...] = ()
    """What it was preferred to, and what would be sooner: each a line by itself."""


UNRANKED = Ranking()
MOST_USERS = 3
"""Of a GPU's memory that are named."""

# Like the IQ types; all others are unpacked as quickly as Q4_K, or nearly.
_SLOW_TYPES = frozenset(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0"))
_NO_KERNEL = "llama.cpp has no kernel for its attention on this GPU"


def gib(size_bytes: float) -> str:
    """A size for people: `5.9 GiB`; below 0.1 GiB in MiB."""
    if size_bytes < 0.1 * GIB:
        return f"{size_bytes / (1 << 20):.0f} MiB"
    return f"{size_bytes / GIB:,.1f} GiB"


def duration(seconds: float) -> str:
    """A time for people: `40 s`, `2 min 40 s`, `1 h 20 min`; to 10 s from two minutes on."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    step = 10 if seconds >= 120 else 5 if seconds >= 30 else 1
    whole = round(seconds / step) * step
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{round(whole / 60)} min"
    hours, minutes = divmod(round(whole / 60), 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days" if hours >= 36 else "a day"


def tps(interval: Interval) -> str:
    """A speed for people: `11 tokens/s`, one decimal below 10, two below 1."""
    value = interval.expected
    digits = 0 if value >= 10 else 1 if value >= 1 else 2
    return f"{value:.{digits}f} tokens/s"


def reasons(
    plan: Plan, machine: Machine, asked: Asked = NOTHING, ranking: Ranking = UNRANKED
) -> tuple[str, ...]:
    """Why this plan, or why it does not fit; the first is one line by itself."""
    lacks = shortages(plan.devices, machine)
    first = _first_line(plan, machine, lacks, ranking)
    return (first, *_details(plan, machine, asked, ranking))


def needs_of_free(plan: Plan, machine: Machine) -> str:
    """`5.9 GiB of 12.4 GiB free`, with the device's name where there are several pools.

    Main memory is left out where a GPU holds the model and it needs less than 1 GiB.
    """
    needs = pool_needs(plan.devices, machine)
    pools = {CPU: main_memory(machine), **gpu_pools(machine)}
    shown = [
        name
        for name, need in needs.items()
        if need and (len(needs) == 1 or name != CPU or need >= GIB)
    ]
    # The GPUs first: that is where the model is meant to be.
    shown.sort(key=lambda name: name == CPU)
    if len(needs) == 1:
        return f"{gib(needs[CPU])} of {gib(pools[CPU].free_bytes)} free"
    parts = [
        f"{gib(needs[name])} of {gib(pools[name].free_bytes)} free"
        f" {'in main memory' if name == CPU else f'on {name}'}"
        for name in shown
    ]
    return " and ".join(parts)


def _first_line(plan: Plan, machine: Machine, lacks: tuple[Shortage, ...], ranking: Ranking) -> str:
    needs = f"Needs {needs_of_free(plan, machine)}"
    if plan.fits:
        parts = [needs, f"about {tps(plan.generation_tps)}"]
        if ranking.place:
            parts.append(ranking.place)
        else:
            seconds = plan.time_to_answer.typical.expected
            parts.append(f"a typical answer in about {duration(seconds)}")
        return "; ".join(parts)
    pools = {CPU: main_memory(machine), **gpu_pools(machine)}
    missing = " and ".join(
        f"{gib(lack.bytes_short)}"
        f"{'' if lack.pool == CPU else f' on {lack.pool}'}"
        f" to leave {gib(pools[lack.pool].headroom_bytes)} free"
        for lack in lacks
    )
    return f"{needs}; lacks {missing}"


def _details(plan: Plan, machine: Machine, asked: Asked, ranking: Ranking) -> Iterator[str]:
    if plan.model.demo:
        yield "A demonstration that only does small sums: not an R1 model"
    if plan.fits or asked.gpu_layers is not None:
        yield _placement(plan, machine)
    yield from _asked_for(plan, machine, asked)
    if plan.fits:
        yield from _chosen(plan, asked)
        yield from _cut_short(plan)
    else:
        yield from _if_it_ran(plan, machine)
    yield from _model_facts(plan, machine)
    yield from ranking.beside
    if plan.upper_bound:
        yield "Memory is an upper bound: it was not measured for such a model or placement"
    if not _bandwidth_known(plan, machine):
        yield "Memory bandwidth is not known here: the speed is a wide guess"


def _chosen(plan: Plan, asked: Asked) -> Iterator[str]:
    """What localr1 chose that is not what one would wish for."""
    settings = plan.settings
    longest = min(CONTEXT_WINDOWS[0], plan.model.architecture.context_length)
    if asked.context_window is None and settings.context_window < longest:
        yield (
            f"Context of {settings.context_window:,} tokens: {longest:,} would not fit or"
            " would be much slower"
        )
    kv = settings.kv_cache_type
    if asked.kv_cache_type is None and kv != "f16":
        # arXiv 2504.04823, table 1: 4 bits cost 0.1 to 1.1 points where a model bears them.
        harm = (
            "cost this model about a point at most in a published test"
            if kv == "q4_0"
            else "does not harm this model"
        )
        yield f"KV cache in {kv} to save memory, which {harm}"


def _cut_short(plan: Plan) -> Iterator[str]:
    """What kinds of question the context window has no room for."""
    times, thinking = plan.time_to_answer, plan.model.thinking_tokens
    window = f"a context of {plan.settings.context_window:,} tokens"
    if times.typical_cut_short:
        yield (
            f"About {thinking.typical:,} tokens of thinking on a typical question do not fit into"
            f" {window}: it is cut short, and answers get worse"
        )
    elif times.hard_cut_short:
        yield (
            f"About {thinking.hard:,} tokens of thinking on a hard question do not fit into"
            f" {window}: there it is cut short, which may cost the right answer"
        )


def _model_facts(plan: Plan, machine: Machine) -> Iterator[str]:
    architecture = plan.model.architecture
    if architecture.name == "deepseek2" and not architecture.mla:
        cache = sum(device.kv_cache_bytes for device in plan.devices)
        compressed = (
            2 * architecture.layers * (architecture.kv_lora_rank + architecture.rope_length)
        )
        times = architecture.kv_cache_bytes_per_token("f16") / max(1, compressed)
        more = f", {times:.0f} times that of newer files" if architecture.kv_lora_rank else ""
        yield f"An older kind of file: its KV cache takes {gib(cache)}{more}"
    if plan.points_lost is not None and plan.points_lost >= 0.5:
        yield (
            f"{plan.variant.quantization} costs about {plan.points_lost:.1f} of"
            f" {plan.model.quality:.0f} points in the published tests"
        )

    base = Mix(plan.variant.quantization, architecture).base
    slow = base.startswith("IQ") or base in _SLOW_TYPES
    if slow and not plan.on_gpus_alone and base not in repacked_types(machine.used_features):
        yield (
            f"{plan.variant.quantization} takes this processor more computing for each byte than"
            " Q4_K_M: llama.cpp has no faster layout for it here"
        )


def held_by(machine: Machine, pool: str) -> str:
    """Who holds a GPU's memory, the largest first, where its driver says: `firefox holds 1.8 GiB`."""
    device = next((d for d in machine.devices if d.name == pool), None)
    users = sorted(device.users, key=lambda user: -user.held_bytes) if device else []
    told = [f"{user.name} holds {gib(user.held_bytes)}" for user in users[:MOST_USERS]]
    return ", ".join(told)


def _placement(plan: Plan, machine: Machine) -> str:
    settings, layers = plan.settings, plan.model.architecture.layers
    names = " and ".join(settings.device_names)
    if not names:
        if not machine.gpus:
            return "Runs on the CPU"
        architecture = plan.model.architecture
        if not any(has_flash_attention(architecture, gpu.backend) for gpu in machine.gpus):
            return f"Runs on the CPU: {_NO_KERNEL}"
        return "Runs on the CPU, without the GPU"
    if settings.cpu_expert_layers:
        dense = plan.model.architecture.leading_dense_layers
        kept = max(0, settings.cpu_expert_layers - dense)
        share = "all" if kept >= layers - dense else f"{kept} of {layers - dense} layers'"
        return f"On {names}, with {share} experts in main memory"
    if settings.gpu_layers > layers:
        return f"Runs entirely on {names}"
    return f"{settings.gpu_layers} of {layers + 1} layers on {names}, the others on the CPU"


def _asked_for(plan: Plan, machine: Machine, asked: Asked) -> Iterator[str]:
    model, settings = plan.model, plan.settings
    longest = model.architecture.context_length
    if asked.context_window is not None and asked.context_window > longest:
        yield (
            f"Context of {longest:,} tokens instead of {asked.context_window:,}:"
            " the model was made for no more"
        )
    kv = asked.kv_cache_type
    if kv is not None and kv not in (*model.kv_cache_types, *model.kv_cache_reserve):
        yield f"A KV cache in {kv} is known to harm, or was not tested with, this model"
    wanted = asked.gpu_layers
    if wanted is not None and wanted != settings.gpu_layers:
        if not machine.gpus:
            yield f"{wanted} layers on a GPU were asked for, but llama.cpp can use no GPU here"
        elif not settings.device_names and wanted > 0:
            yield f"{wanted} layers on a GPU were asked for; {_NO_KERNEL}"
        else:
            most = model.architecture.layers + 1
            yield f"{settings.gpu_layers} layers on the GPU instead of {wanted}: it has {most} in all"


def _if_it_ran(plan: Plan, machine: Machine) -> Iterator[str]:
    """What would happen if it were run all the same."""
    if not any(lack.pool == CPU for lack in shortages(plan.devices, machine)):
        return
    left = machine.memory.available_bytes - pool_needs(plan.devices, machine)[CPU]
    if left >= 0:
        yield f"It would leave {gib(left)} to other programs, and the whole computer may slow down"
        return
    speed = plan.generation_tps
    seconds = plan.time_to_answer.typical.expected
    slow = "far too slow" if speed.expected < SLOW_TPS else "too slow"
    yield (
        f"Part of it would be read from disk for every token: about {tps(speed)},"
        f" {duration(seconds)} for a typical answer, {slow}"
    )


def _bandwidth_known(plan: Plan, machine: Machine) -> bool:
    gpus = {gpu.name: gpu for gpu in machine.gpus}
    used = [gpus[name] for name in plan.settings.device_names if name in gpus]
    if any(gpu.bandwidth_bytes_per_second is None for gpu in used):
        return False
    on_cpu = plan.settings.gpu_layers <= plan.model.architecture.layers
    on_cpu = on_cpu or plan.settings.cpu_expert_layers > 0
    shared = any(g.unified and g.bandwidth_bytes_per_second is not None for g in machine.gpus)
    return not on_cpu or machine.memory.bandwidth_bytes_per_second is not None or shared


def lacking(plan: Plan) -> str:
    """What a plan that does not fit lacks, in a few words; empty where it fits."""
    if plan.fits or not plan.reasons:
        return ""
    return plan.reasons[0].rpartition("; ")[2].partition(" to leave ")[0]


def brief(plan: Plan) -> str:
    """The end of the first reason, for tables that show the estimates in columns of their own."""
    return plan.reasons[0].rpartition("; ")[2] if plan.reasons and not plan.model.demo else ""
