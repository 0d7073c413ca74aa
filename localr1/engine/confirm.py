"""A plan confirmed by llama.cpp's own dry run, before a download or a load."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from localr1.config import ensure
from localr1.engine.client import measure
from localr1.engine.types import Measurement
from localr1.fit.explain import gib
from localr1.fit.pool import shortages
from localr1.fit.types import DeviceMemory, Plan
from localr1.fit.weights import origin
from localr1.gguf import recipe, writer
from localr1.machine.types import Machine
from localr1.models.types import Model, Variant

WORTH_TELLING_SHARE: Final = 0.01
WORTH_TELLING_BYTES: Final = 16 << 20
"""A plan that is off by less, of a device's memory, is right."""


@dataclass(frozen=True)
class Confirmed:
    """What llama.cpp says of a plan."""

    plan: Plan
    """With its figures, and with whether it fits by them."""
    words: str
    """What differs, in sentences; empty where the plan was right."""


async def confirm(  # noqa: PLR0913 - each by keyword
    plan: Plan,
    machine: Machine,
    *,
    path: Path | None,
    cache: Path,
    logs: Path,
    rpc_endpoints: Sequence[str] = (),
) -> Confirmed:
    """Ask llama.cpp what a plan would take; of a file that is not here, by its header alone.

    Args:
        plan: What is meant to be run.
        machine: What it is to fit.
        path: The file, or its first shard; None where it is not here.
        cache: For the header, as long as it is needed.
        logs: Where llama.cpp's output goes.
        rpc_endpoints: Servers (`host:port`) whose devices the plan may name.

    Raises:
        EngineMissing: llama-cpp-python is absent or does not start here.
        LoadFailed: llama.cpp refuses the file or the settings, or has no such device.
        EngineDied: The worker ended.
        FileError: The header cannot be written, for example where files cannot be that long.
    """
    ask = partial(measure, settings=plan.settings, log_directory=logs, rpc_endpoints=rpc_endpoints)
    path = path or plan.variant.path
    if path is not None:
        return judged(plan, await ask(path), machine)
    with tempfile.TemporaryDirectory(prefix="dry-run-", dir=ensure(cache)) as folder:
        named = re.sub(r"[^\w.-]", "-", f"{plan.model.id}-{plan.variant.quantization}")
        stand_in = Path(folder) / f"{named}.gguf"
        write_stand_in(stand_in, plan.model, plan.variant)
        found = await ask(stand_in)
    # Of a mix that only its header knows, the size says more than the stand-in's tensors.
    known = origin(plan.model.architecture, plan.variant) != "size"
    return judged(plan, found, machine, weights=known)


def write_stand_in(path: Path, model: Model, variant: Variant) -> None:
    """Write a header and a hole: all that a dry run needs of a file that is not here.

    Raises:
        FileError: It cannot be written.
    """
    tensors = variant.tensors or recipe.tensors(model.architecture, variant.quantization)
    writer.write_header(path, model.architecture, tensors, file_bytes=variant.size_bytes)


def judged(plan: Plan, found: Measurement, machine: Machine, *, weights: bool = True) -> Confirmed:
    """A plan with the engine's figures in the place of its own; those of weights if wanted."""
    devices = exact_devices(plan.devices, found, weights=weights)
    fits = not shortages(devices, machine)
    words = " ".join(differences(plan.devices, devices))
    if plan.fits and not fits:
        words = f"{words} It does not fit after all.".strip()
    exact = replace(plan, devices=devices, fits=fits, upper_bound=False)
    return Confirmed(exact, words)


def exact_devices(
    devices: Sequence[DeviceMemory], found: Measurement, *, weights: bool = True
) -> tuple[DeviceMemory, ...]:
    """Memory by device with the engine's figures; what is in no buffer stays as estimated.

    Args:
        devices: As planned.
        found: What llama.cpp said.
        weights: Whether its figures of the weights count.
    """
    by_name = {buffers.device: buffers for buffers in found.buffers}
    result = []
    for device in devices:
        buffers = by_name.get(device.name)
        if buffers is None:
            result.append(device)
            continue
        size = buffers.weights_bytes if weights else device.weights_bytes
        repack = min(device.repack_bytes, size)
        result.append(
            replace(
                device,
                weights_bytes=size,
                repack_bytes=repack,
                mapped_bytes=size - repack if device.mapped_bytes else 0,
                kv_cache_bytes=buffers.kv_cache_bytes,
                compute_buffer_bytes=buffers.compute_buffer_bytes,
                output_bytes=buffers.output_bytes,
            )
        )
    return tuple(result)


def differences(planned: Sequence[DeviceMemory], exact: Sequence[DeviceMemory]) -> tuple[str, ...]:
    """A sentence for each device that needs clearly more or less than was planned."""
    told = []
    for before, after in zip(planned, exact, strict=True):
        off = after.total_bytes - before.total_bytes
        if abs(off) > max(WORTH_TELLING_BYTES, WORTH_TELLING_SHARE * after.total_bytes):
            where = "main memory" if after.name == "CPU" else after.name
            told.append(
                f"llama.cpp needs {gib(after.total_bytes)} of {where},"
                f" not {gib(before.total_bytes)} as planned."
            )
    return tuple(told)
