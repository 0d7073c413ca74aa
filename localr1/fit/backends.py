"""What llama.cpp's backends do differently, as far as memory depends on it.

Facts of llama.cpp of llama-cpp-python 0.3.36 (ggml-cuda, ggml-vulkan, ggml-metal, ggml-sycl and
ggml-rpc), but for what their drivers take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

MIB: Final = 1 << 20

TakesOver = Literal["nothing", "matrices", "everything"]


@dataclass(frozen=True)
class Backend:
    """One way to compute on a GPU."""

    driver_bytes: int
    """What its driver takes for a process, outside any buffer."""
    host_buffer: bool
    """Whether the CPU's weights are put into memory that the GPU reads well; if not, the CPU
    repacks them for itself."""
    takes_over: TakesOver
    """What it computes of the CPU's layers when there are many tokens, with weights sent to it."""
    alignment_bytes: int
    unpacks_cache: Literal["never", "quantized", "always"] = "never"
    """When its flash attention keeps room for the cache of one layer in F16."""
    picks_best: bool = False
    """Whether localr1 lets it find the best logits itself: others were not seen to, and may lack
    the operation."""


BACKENDS: Final[Mapping[str, Backend]] = {
    # Reports put CUDA context and cuBLAS at 300 to 600 MiB; the engine's own reading of free
    # memory is taken inside a context already, so the lower end.
    "CUDA": Backend(300 * MIB, True, "everything", 128, "quantized", True),
    # About 0.4 GiB according to one report.
    "ROCm": Backend(400 * MIB, True, "everything", 128, "quantized"),
    # The drivers of the rest are assumed.
    "SYCL": Backend(300 * MIB, True, "everything", 128),
    "Vulkan": Backend(150 * MIB, True, "everything", 64),
    "Metal": Backend(100 * MIB, False, "matrices", 32, "always"),
    "RPC": Backend(0, False, "nothing", 32, "never", True),
}
OTHER: Final = Backend(300 * MIB, True, "everything", 128)
"""A backend that nobody looked into."""
CPU_ALIGNMENT_BYTES: Final = 32

DEVICE_TOP_K: Final = 64
"""How many of the best logits a device picks, where it does: more than any sampler here wants to
see. What is left is chosen among them on the CPU."""


def backend(name: str) -> Backend:
    """What is known of a backend."""
    return BACKENDS.get(name, OTHER)
