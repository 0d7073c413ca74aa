"""Which memory llama.cpp took or would take on each device, read from its own log.

Its log is the only account that it gives on every system: the function behind it returns a C++
container. Pure functions; the figures for KV cache, compute and output are printed in MiB with
two decimals, so they are exact within 0.005 MiB each.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from localr1.engine.types import DeviceBuffers
from localr1.gguf.types import TensorInfo

CPU: Final = "CPU"
_MIB: Final = 1 << 20

_SIZE: Final = re.compile(
    r"(\S+) +(?P<kind>model|KV|compute|output) buffer size = *(?P<mib>[\d.]+) MiB"
)
_KV_CACHE: Final = re.compile(r"llama_kv_cache\w*: size = *(?P<mib>[\d.]+) MiB")
_LAYER: Final = re.compile(r"load_tensors: layer +(\d+) assigned to device ([^\s,]+)")
_KV_LAYER: Final = re.compile(r"llama_kv_cache\w*: layer +\d+: dev = (\S+)")
_OVERRIDDEN: Final = re.compile(r"tensor (\S+) \(.*\) buffer type overridden to (\S+)")
_UNUSED: Final = re.compile(r"model has unused tensor (\S+) ")
_TENSOR_LAYER: Final = re.compile(r"blk\.(\d+)\.")
# A mapped buffer is as long as the part of the file that it spans, used or not.
_MAPPED: Final = "_Mapped"


def read(
    lines: Iterable[str],
    tensors: Sequence[TensorInfo],
    owners: Mapping[str, str],
    *,
    measured: bool,
) -> tuple[DeviceBuffers, ...]:
    """The buffers of a load, by device.

    A dry run prints 0 for weights and KV cache. Those weights, and mapped ones, are added up
    from the tensors and from the device that llama.cpp says it gave each layer to.

    Args:
        lines: llama.cpp's log of loading the model and making its context, debug lines included.
        tensors: Of all shards.
        owners: Device name by the name of its buffers, for every device but the CPU.
        measured: Whether it was a dry run.

    Returns:
        The CPU first, then the devices of `owners` in their order.
    """
    lines = list(lines)
    mapped: defaultdict[str, int] = defaultdict(int)
    sizes: dict[str, defaultdict[str, int]] = {
        kind: defaultdict(int) for kind in ("model", "KV", "compute", "output")
    }
    compute: dict[str, int] = {}
    for line in lines:
        match = _SIZE.search(line)
        if match is None:
            continue
        kind, size, device = match["kind"], _bytes(match["mib"]), _owner(match[1], owners)
        if kind == "model" and match[1].endswith(_MAPPED):
            mapped[device] += size
        elif kind == "compute":
            compute[match[1]] = size  # printed anew whenever it is reserved anew
        else:
            sizes[kind][device] += size
    for name, size in compute.items():
        sizes["compute"][_owner(name, owners)] += size
    weights, kv_cache = sizes["model"], sizes["KV"]
    assigned = _assigned(lines, tensors, owners)
    if measured:
        weights, kv_cache = assigned, _kv_cache(lines)
    for device in mapped:
        weights[device] = max(assigned[device], weights[device])
    return tuple(
        DeviceBuffers(
            device,
            weights_bytes=weights[device],
            kv_cache_bytes=kv_cache[device],
            compute_buffer_bytes=sizes["compute"][device],
            output_bytes=sizes["output"][device],
        )
        for device in (CPU, *owners.values())
    )


def _owner(buffer: str, owners: Mapping[str, str]) -> str:
    """The device of a buffer: `MTL0_Private` is the GPU's, `CUDA_Host` is main memory."""
    stem = buffer.rpartition("_")[0]
    if buffer in owners or stem in owners:
        return owners.get(buffer) or owners[stem]
    return stem if stem in owners.values() else CPU


def _assigned(
    lines: Sequence[str], tensors: Sequence[TensorInfo], owners: Mapping[str, str]
) -> defaultdict[str, int]:
    """Bytes of the tensors by device, from llama.cpp's own decisions."""
    layers: dict[int, str] = {}
    overridden: dict[str, str] = {}
    unused: set[str] = set()
    for line in lines:
        if match := _LAYER.search(line):
            layers[int(match[1])] = match[2]
        elif match := _OVERRIDDEN.search(line):
            overridden[match[1]] = _owner(match[2], owners)
        elif match := _UNUSED.search(line):
            unused.add(match[1])
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    result: defaultdict[str, int] = defaultdict(int)
    for tensor in tensors:
        if tensor.name in unused:
            continue
        match = _TENSOR_LAYER.match(tensor.name)
        if match is not None:
            devices = {overridden.get(tensor.name) or layers.get(int(match[1]), CPU)}
        else:
            devices = _ends(tensor.name, list(layers.values()), tied=tied)
        for device in devices:
            result[device] += tensor.size_bytes
    return result


def _ends(name: str, layers: Sequence[str], *, tied: bool) -> set[str]:
    """The devices of a tensor that belongs to no layer; the output counts as one more layer."""
    output = layers[-1] if layers else CPU
    if name == "rope_freqs.weight":
        return set(layers[:-1])  # used by every layer, so copied
    if name.startswith("token_embd"):
        # It stays on the CPU; where it is the output too, a GPU gets a copy.
        return {CPU, output} if tied else {CPU}
    return {output}


def _kv_cache(lines: Sequence[str]) -> defaultdict[str, int]:
    """The KV cache by device: the same for every layer in all models of the R1 family."""
    total = sum(_bytes(match["mib"]) for line in lines if (match := _KV_CACHE.search(line)))
    devices = [match[1] for line in lines if (match := _KV_LAYER.search(line))]
    result: defaultdict[str, int] = defaultdict(int)
    for device in devices:
        result[device] += 1
    for device, layers in result.items():
        result[device] = total * layers // len(devices)
    return result


def _bytes(mib: str) -> int:
    return round(float(mib) * _MIB)
