"""Plans and advice as the objects of `--json`, and as the rows of a table.

The keys are a contract: they may be added to, never renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localr1.fit.explain import needs_of_free
from localr1.fit.types import Advice, DeviceMemory, FullR1, Interval, Plan
from localr1.fit.weights import origin
from localr1.machine.types import Machine

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One plan in a table; numbers are not rounded yet."""

    rank: int
    model: str
    """Full name."""
    quantization: str
    fits: bool
    need_bytes: int
    """Over all memories."""
    needs: str
    """`5.9 GiB of 12.4 GiB free`."""
    file_bytes: int
    generation_tps: float
    answer_seconds: float
    """For a typical question."""
    reason: str
    """One line by itself."""


def summary(plan: Plan, machine: Machine, rank: int = 1) -> Row:
    """One plan as a table row."""
    return Row(
        rank=rank,
        model=plan.model.name,
        quantization=plan.variant.quantization,
        fits=plan.fits,
        need_bytes=plan.total_bytes,
        needs=needs_of_free(plan, machine),
        file_bytes=plan.variant.size_bytes,
        generation_tps=plan.generation_tps.expected,
        answer_seconds=plan.time_to_answer.typical.expected,
        reason=plan.reasons[0] if plan.reasons else "",
    )


def plan_to_json(plan: Plan, rank: int) -> dict[str, Any]:
    """One plan of `advise --json`; ranks begin at 1."""
    settings = plan.settings
    return {
        "model": plan.model.id,
        "variant": plan.variant.quantization,
        "rank": rank,
        "fits": plan.fits,
        "context_window": settings.context_window,
        "kv_cache_type": settings.kv_cache_type,
        "gpu_layers": settings.gpu_layers,
        "cpu_expert_layers": settings.cpu_expert_layers,
        "tensor_split": list(settings.tensor_split),
        "flash_attention": settings.flash_attention,
        "ubatch": settings.ubatch,
        "devices": [_device(device) for device in plan.devices],
        "total_bytes": plan.total_bytes,
        "resident_bytes": plan.resident_bytes,
        "file_bytes": plan.variant.size_bytes,
        "upper_bound": plan.upper_bound,
        "tensors": origin(plan.model.architecture, plan.variant),
        "prompt_tps": _interval(plan.prompt_tps),
        "generation_tps": _interval(plan.generation_tps),
        "time_to_answer_seconds": _times(plan),
        "device_names": list(settings.device_names),
        "quality": _rounded(plan.model.quality),
        "points_lost": None if plan.points_lost is None else _rounded(plan.points_lost),
        "score": _rounded(plan.score),
        "reasons": list(plan.reasons),
        "would_fit_if": list(plan.would_fit_if),
    }


def advice_to_json(advice: Advice, machine_json: Mapping[str, Any]) -> dict[str, Any]:
    """The object of `advise --json`.

    Args:
        advice: What `advise` returned.
        machine_json: The machine as `machine --json` shows it.
    """
    return {
        "schema": SCHEMA,
        "machine": dict(machine_json),
        "goal": advice.goal,
        "plans": [plan_to_json(plan, rank) for rank, plan in enumerate(advice.plans, 1)],
        "full_r1": None if advice.full_r1 is None else _full_r1(advice.full_r1),
    }


def _full_r1(full: FullR1) -> dict[str, Any]:
    plan, other = full.plan, full.beaten_by
    return {
        "model": plan.model.id,
        "variant": plan.variant.quantization,
        "fits": plan.fits,
        "gpu_bytes": full.gpu_bytes,
        "memory_bytes": full.memory_bytes,
        "disk_bytes": full.disk_bytes,
        "generation_tps": _interval(plan.generation_tps),
        "time_to_answer_seconds": _times(plan),
        "beaten_by": other
        and {
            "model": other.model.id,
            "variant": other.variant.quantization,
            "generation_tps": _interval(other.generation_tps),
            "time_to_answer_seconds": _times(other),
        },
        "words": full.words,
    }


def estimate_to_json(plan: Plan, *, exact: bool = False) -> dict[str, Any]:
    """The object of `estimate --json`.

    Args:
        plan: What `place` returned, with the engine's own figures where it was asked.
        exact: Whether the memory is the engine's.
    """
    settings = plan.settings
    return {
        "schema": SCHEMA,
        "model": plan.model.id,
        "variant": plan.variant.quantization,
        "context_window": settings.context_window,
        "kv_cache_type": settings.kv_cache_type,
        "gpu_layers": settings.gpu_layers,
        "flash_attention": settings.flash_attention,
        "ubatch": settings.ubatch,
        "exact": exact,
        "cpu_expert_layers": settings.cpu_expert_layers,
        "tensor_split": list(settings.tensor_split),
        "devices": [_device(device) for device in plan.devices],
        "total_bytes": plan.total_bytes,
        "resident_bytes": plan.resident_bytes,
        "fits": plan.fits,
        "upper_bound": plan.upper_bound and not exact,
        "tensors": origin(plan.model.architecture, plan.variant),
        "prompt_tps": _interval(plan.prompt_tps),
        "generation_tps": _interval(plan.generation_tps),
        "time_to_answer_seconds": _times(plan),
        "reasons": list(plan.reasons),
        "would_fit_if": list(plan.would_fit_if),
    }


def _device(device: DeviceMemory) -> dict[str, Any]:
    return {
        "name": device.name,
        "weights_bytes": device.weights_bytes,
        "repack_bytes": device.repack_bytes,
        "mapped_bytes": device.mapped_bytes,
        "kv_cache_bytes": device.kv_cache_bytes,
        "compute_buffer_bytes": device.compute_buffer_bytes,
        "output_bytes": device.output_bytes,
        "overhead_bytes": device.overhead_bytes,
        "total_bytes": device.total_bytes,
        "resident_bytes": device.resident_bytes,
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {
        "low": _rounded(interval.low),
        "expected": _rounded(interval.expected),
        "high": _rounded(interval.high),
    }


def _times(plan: Plan) -> dict[str, Any]:
    times, thinking = plan.time_to_answer, plan.model.thinking_tokens
    return {
        "typical": _interval(times.typical),
        "hard": _interval(times.hard),
        "long_document": _interval(times.long_document),
        "assumed": times.assumed,
        "hard_assumed": times.hard_assumed,
        "typical_cut_short": times.typical_cut_short,
        "hard_cut_short": times.hard_cut_short,
        "thinking_tokens": {
            "typical": thinking.typical,
            "hard": thinking.hard,
            "source": thinking.source,
        },
    }


def _rounded(value: float) -> float:
    # Four digits: the estimate does not know more.
    return float(f"{value:.4g}")
