"""What runs on this computer say of the speed estimate: pure functions of their records.

Every `localr1 bench` and every reply leaves a record: what was measured, and what had been
estimated for exactly that. Later estimates are corrected by them, for the same computer, engine
build, devices and family of weight types, and their interval becomes as narrow as the records
agree.

Logarithms of measured over estimated speed are looked at, so that twice and half are equally far
off. The middle one counts: a run that something disturbed moves it by one place at most. A
correction is drawn towards that of all families on the same devices, and this towards none, as if
`PRIOR_RUNS` runs had said so; its spread is drawn towards `PRIOR_SPREAD`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from localr1.fit.types import Interval, Settings
from localr1.gguf.types import Architecture
from localr1.machine.busy import BUSY_SHARE
from localr1.machine.types import Correction, Machine

ESTIMATE_VERSION: Final = 2
"""Of the plain estimate: records of another one say nothing of this one."""
KEPT_RUNS: Final = 24
"""Of one device and family, the latest: computers change."""
PRIOR_RUNS: Final = 0.5
PRIOR_SPREAD: Final = 0.15
PRIOR_SPREAD_RUNS: Final = 1.5
"""What the plain estimate is off by where kernels or bandwidth are known, as a logarithm."""
LEAST_SPREAD: Final = 0.04
"""Runs differ by so much even on a quiet computer."""
INTERVAL_SPREADS: Final = 1.64
"""How many spreads an interval reaches to either side: nine runs in ten, were they normal."""
_TO_DEVIATION: Final = 1.4826
"""From the median distance to the standard deviation of normally distributed figures."""
TELLING_PROMPT_TOKENS: Final = 64
TELLING_TOKENS: Final = 24
"""A prompt or a reply of fewer says nothing of the speed."""
RECORD_RUNS: Final = 12
"""The latest, of which the error is told."""

What = Literal["generation", "prompt"]


@dataclass(frozen=True)
class Rates:
    """A measured speed and what had been said of it, in tokens per second."""

    measured_tps: float
    plain_tps: float
    """The estimate without any correction."""
    said_tps: float
    """What was shown: the plain estimate, corrected by the runs before."""


@dataclass(frozen=True)
class Run:
    """One reply or benchmark on one computer."""

    machine: str
    """The computer and its engine build."""
    devices: str
    """What computed; see `devices_key`."""
    family: str
    """The type of most weights: `Q4_K`."""
    model: str
    quantization: str
    source: Literal["bench", "chat"]
    at_seconds: float
    """When, in seconds since 1970."""
    prompt_tokens: int
    """Computed, not found in the cache."""
    generated_tokens: int
    prompt: Rates | None
    """None where the prompt was too short to say anything."""
    generation: Rates | None
    on_battery: bool = False
    busy_share: float = 0.0
    """Of the processor, used by other programs meanwhile."""
    version: int = ESTIMATE_VERSION

    @property
    def telling(self) -> bool:
        """Whether it says more about the computer than about other programs."""
        return self.busy_share < BUSY_SHARE and self.version == ESTIMATE_VERSION

    @property
    def error(self) -> float | None:
        """By what share the time that it took had been predicted wrong; None for no figures."""
        said = measured = 0.0
        for rates, tokens in (
            (self.prompt, self.prompt_tokens),
            (self.generation, self.generated_tokens),
        ):
            if rates is not None:
                said += tokens / rates.said_tps
                measured += tokens / rates.measured_tps
        return abs(said / measured - 1) if measured else None


def devices_key(machine: Machine, settings: Settings, architecture: Architecture) -> str:
    """What computes in a placement, by the products' names: `CPU`, `RTX 4090`, `RTX 4090 + CPU`."""
    by_name = {device.name: device.description for device in machine.gpus}
    named = [by_name[name] for name in settings.device_names if name in by_name]
    if not named or not settings.gpu_layers:
        return "CPU"
    whole = settings.gpu_layers > architecture.layers and not settings.cpu_expert_layers
    return " + ".join([*sorted(named), *([] if whole else ["CPU"])])


def corrections(runs: Iterable[Run], machine: str, *, on_battery: bool) -> tuple[Correction, ...]:
    """What the runs of one computer say, by devices and family.

    Args:
        runs: The oldest first; those of other computers and engine builds do not count.
        machine: As in the records.
        on_battery: Whether the computer runs on its battery now; only runs like this count.
    """
    here = [
        run
        for run in runs
        if run.machine == machine and run.telling and run.on_battery == on_battery
    ]
    found: list[Correction] = []
    for devices in dict.fromkeys(run.devices for run in here):
        some = [run for run in here if run.devices == devices]
        for what in ("generation", "prompt"):
            found += _of_devices(devices, some, what)
    return tuple(found)


def correction(
    known: Sequence[Correction], devices: str, family: str, what: What
) -> Interval | None:
    """By what to multiply a plain estimate; None where no run says anything.

    Args:
        known: `Machine.corrections`.
        devices: What computes.
        family: Of the weights; others on the same devices serve where it never ran.
        what: Which speed.
    """
    for wanted in (family, ""):
        for one in known:
            if (one.devices, one.family, one.what) == (devices, wanted, what):
                return Interval(one.low, one.expected, one.high)
    return None


def record_line(runs: Iterable[Run], machine: str) -> str:
    """How well the last runs on a computer were predicted, as a sentence; empty without any."""
    here = [run for run in runs if run.machine == machine and run.version == ESTIMATE_VERSION]
    errors = [error for run in here if run.telling and (error := run.error) is not None]
    if not errors:
        return ""
    last = errors[-RECORD_RUNS:]
    counted = (
        "The last run here: error"
        if len(last) == 1
        else f"Last {len(last)} runs here: median error"
    )
    return f"{counted} {_median(last):.0%}".replace("%", " %") + "."


def _of_devices(devices: str, runs: Sequence[Run], what: What) -> list[Correction]:
    """For all families together, then for each."""
    together = _estimate(_logarithms(runs, what), 0.0)
    if together is None:
        return []
    found = [_correction(devices, "", what, together)]
    for family in dict.fromkeys(run.family for run in runs):
        own = _logarithms([run for run in runs if run.family == family], what)
        estimate = _estimate(own, together[0])
        if estimate is not None:
            found.append(_correction(devices, family, what, estimate))
    return found


def _median(values: Sequence[float]) -> float:
    # The one in `statistics` takes longer to import than all of this module.
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _logarithms(runs: Sequence[Run], what: What) -> list[float]:
    rates = [run.generation if what == "generation" else run.prompt for run in runs]
    known = [rate for rate in rates if rate is not None]
    return [
        math.log(rate.measured_tps / rate.plain_tps)
        for rate in known
        if rate.measured_tps > 0 and rate.plain_tps > 0
    ][-KEPT_RUNS:]


def _estimate(logarithms: Sequence[float], prior: float) -> tuple[float, float, int] | None:
    """Middle and spread, drawn towards a prior, and the number of runs."""
    count = len(logarithms)
    if not count:
        return None
    middle = _median(logarithms)
    off = _TO_DEVIATION * _median([abs(value - middle) for value in logarithms])
    spread = math.sqrt(
        (PRIOR_SPREAD_RUNS * PRIOR_SPREAD**2 + count * max(off, LEAST_SPREAD) ** 2)
        / (PRIOR_SPREAD_RUNS + count)
    )
    return (PRIOR_RUNS * prior + count * middle) / (PRIOR_RUNS + count), spread, count


def _correction(
    devices: str, family: str, what: What, estimate: tuple[float, float, int]
) -> Correction:
    middle, spread, count = estimate
    reach = INTERVAL_SPREADS * spread
    low, expected, high = (math.exp(middle + side * reach) for side in (-1, 0, 1))
    return Correction(devices, family, what, low, expected, high, count)
