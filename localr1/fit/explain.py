"""A plan in words: why it is as it is, and what limits it.

Sizes are in GiB with one decimal, times in minutes and seconds. Every number comes from
the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from localr1.fit.attention import has_flash_attention
from localr1.fit.memory import CPU, GIB
from localr1.fit.mix import Mix, repacked_types
from localr1.fit.network import alone
from localr1.fit.pool import Shortage, gpu_pools, main_memory, pool_needs, shortages
from localr1.fit.search import speed_of, wished_window
from localr1.fit.speed import typical_depth
from localr1.fit.types import NOTHING, Asked, Interval, Plan
from localr1.machine.types import Device, Machine

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
_MOST_NAMED = 2
"""Devices that are named one by one."""
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


def room(device: Device) -> str:
    """A GPU's memory for people: `11.0 GiB free of 12.0 GiB`, also where nobody knows it."""
    if not device.total_bytes:
        return "shares main memory" if device.unified else "its memory is not known"
    pool = " (shared with the CPU)" if device.unified else ""
    return f"{gib(device.free_bytes)} free of {gib(device.total_bytes)}{pool}"


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


def milliseconds(seconds: float) -> str:
    """A short time for people: `0.4 ms`, `25 ms`; nothing is said to take no time."""
    if seconds < 0.00005:
        return "less than 0.1 ms"
    return f"{seconds * 1000:,.{0 if seconds >= 0.01 else 1}f} ms"


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


def together(names: Sequence[str]) -> str:
    """Devices in one phrase: `CUDA0`, `CUDA0 and CUDA1`, `CUDA0 to CUDA7`."""
    return f"{names[0]} to {names[-1]}" if len(names) > _MOST_NAMED else " and ".join(names)


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
    if len(needs) == 1:
        return f"{gib(needs[CPU])} of {gib(pools[CPU].free_bytes)} free"
    gpus = [name for name in shown if name != CPU]
    groups = [gpus] if len(gpus) > _MOST_NAMED else [[name] for name in gpus]
    parts = [
        f"{gib(sum(needs[name] for name in group))} of"
        f" {gib(sum(pools[name].free_bytes for name in group))} free"
        f" {'in main memory' if group == [CPU] else f'on {together(group)}'}"
        for group in [*groups, *([[CPU]] if CPU in shown else [])]
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
        if not plan.settings.flash_attention:
            yield f"Without flash attention, which takes more memory: {_NO_KERNEL}"
        yield from network(plan, machine)
    yield from _asked_for(plan, machine, asked)
    yield from _cut_short(plan)
    if plan.fits:
        yield from _chosen(plan, asked)
    else:
        yield from _if_it_ran(plan, machine)
    yield from _model_facts(plan, machine)
    yield from ranking.beside
    if plan.upper_bound:
        yield "Memory is an upper bound: it was not measured for such a model or placement"
    if not _bandwidth_known(plan, machine):
        yield "Memory bandwidth is not known here: the speed is a wide guess"


def _cut_short(plan: Plan) -> Iterator[str]:
    """What a window does that is too small for a typical question, or for a hard one."""
    times, thinking = plan.time_to_answer, plan.model.thinking_tokens
    for kind, tokens, is_cut in (
        ("typical", thinking.typical, times.typical_cut_short),
        ("hard", thinking.hard, times.hard_cut_short),
    ):
        if is_cut:
            yield (
                f"A {kind} question takes about {tokens:,} tokens of thinking, which a window of"
                f" {plan.settings.context_window:,} cuts short; the time given is that until it is"
                " full"
            )
            return


def _chosen(plan: Plan, asked: Asked) -> Iterator[str]:
    """What localr1 chose that is not what one would wish for."""
    settings = plan.settings
    longest = wished_window(plan.model)
    if asked.context_window is None and settings.context_window < longest:
        yield (
            f"Context of {settings.context_window:,} tokens: {longest:,} would not fit or"
            " would be much slower"
        )
    if asked.kv_cache_type is None and settings.kv_cache_type != "f16":
        yield f"KV cache in {settings.kv_cache_type} to save memory, {_cost_of_cache(plan)}"


def _cost_of_cache(plan: Plan) -> str:
    """What a KV cache of fewer bits than 16 does to a model.

    The reserve is what a published test found to cost a little: 0.1 to 1.1 points for 4 bits in
    the 14B and 32B (arXiv:2504.04823).
    """
    model, kind = plan.model, plan.settings.kv_cache_type
    if kind in model.kv_cache_types:
        return "which does not harm this model"
    if kind in model.kv_cache_reserve:
        return "which costs this model a little in published tests"
    return "which is known to harm this model, or was not tested with it"


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
    names = together(settings.device_names) if settings.device_names else ""
    if not names:
        return f"Runs on the CPU{_why_not_gpus(plan, machine)}"
    if settings.cpu_expert_layers:
        dense = plan.model.architecture.leading_dense_layers
        kept = max(0, settings.cpu_expert_layers - dense)
        share = "all" if kept >= layers - dense else f"{kept} of {layers - dense} layers'"
        return f"On {names}, with {share} experts in main memory"
    if settings.gpu_layers > layers:
        return f"Runs entirely on {names}"
    return f"{settings.gpu_layers} of {layers + 1} layers on {names}, the others on the CPU"


def _why_not_gpus(plan: Plan, machine: Machine) -> str:
    here = alone(machine)
    if here != machine:
        return ": no slower than with what other computers lend"
    if not here.gpus:
        return ""
    architecture = plan.model.architecture
    if not any(has_flash_attention(architecture, gpu.backend) for gpu in here.gpus):
        return f": {_NO_KERNEL}"
    return ", without the GPU"


def network(plan: Plan, machine: Machine) -> Iterator[str]:
    """How other computers are reached, and what that takes of each token."""
    speed = speed_of(plan, machine)
    depth = typical_depth(plan.model)
    whole = speed.token_seconds(depth).expected
    for crossing in speed.crossings:
        link = crossing.link
        slower = min(link.up_bytes_per_second, link.down_bytes_per_second)
        yield (
            f"{crossing.device} is {link.endpoint}: {milliseconds(link.round_trip_seconds)} there"
            f" and back, {slower / 1e6:,.{0 if slower >= 1e7 else 1}f} MB/s; the network takes"
            f" {milliseconds(crossing.token_seconds(depth))} of the {milliseconds(whole)} for"
            " each token"
        )


def _asked_for(plan: Plan, machine: Machine, asked: Asked) -> Iterator[str]:
    model, settings = plan.model, plan.settings
    longest = model.architecture.context_length
    if asked.context_window is not None and asked.context_window > longest:
        yield (
            f"Context of {longest:,} tokens instead of {asked.context_window:,}:"
            " the model was made for no more"
        )
    kv = asked.kv_cache_type
    if kv is not None and kv not in model.kv_cache_types:
        yield f"KV cache in {kv}, {_cost_of_cache(plan)}"
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
