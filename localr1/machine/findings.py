"""What one GPU probe brings home."""

from __future__ import annotations

from dataclasses import dataclass

from localr1.machine.types import SystemGpu


@dataclass(frozen=True)
class Findings:
    """Graphics processors that were found, and what could not be found out."""

    gpus: tuple[SystemGpu, ...] = ()
    problems: tuple[str, ...] = ()
    """One sentence each."""
