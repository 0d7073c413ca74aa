"""What the engine tells the app about memory and time, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceBuffers:
    """llama.cpp's buffers on one device."""

    device: str
    """The engine's name of the device; `CPU` for main memory."""
    weights_bytes: int
    kv_cache_bytes: int
    compute_buffer_bytes: int
    output_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of them."""
        return (
            self.weights_bytes + self.kv_cache_bytes + self.compute_buffer_bytes + self.output_bytes
        )


@dataclass(frozen=True)
class Measurement:
    """What a load would take, by llama.cpp's own reckoning (its `no_alloc` load)."""

    buffers: tuple[DeviceBuffers, ...]
    context_window: int
    seconds: float
