"""Memory of AMD's cards as ROCm's own programs tell it, for where sysfs does not.

`rocm-smi` counts in bytes and names a card by its PCI address. `amd-smi` counts in units of 2^20
that it calls MB, by the number of a card; its `list` tells the addresses (amdsmi.h and the
documentation of both at rocm.docs.amd.com).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from localr1.machine.host import ProbeError, SlowProgramError

if TYPE_CHECKING:
    from localr1.machine.host import Host

_LIMIT_SECONDS: Final = 0.7
_ROCM_SMI: Final = ("rocm-smi", "--showbus", "--showproductname", "--showmeminfo", "vram", "--json")
_AMD_SMI: Final = (("amd-smi", "list", "--json"), ("amd-smi", "metric", "--mem-usage", "--json"))


@dataclass(frozen=True)
class Told:
    """What a program says of one card."""

    total_bytes: int
    used_bytes: int
    source: str
    """The program's name."""
    name: str = ""


def by_slot(host: Host) -> Mapping[str, Told]:
    """Return what is told of the cards, by PCI address (`0000:03:00.0`); empty where nothing is."""
    for ask in (_rocm_smi, _amd_smi):
        try:
            if found := dict(ask(host)):
                return found
        except SlowProgramError:
            break  # the other one would wait for the same driver
        except (ProbeError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not installed, or it says something else than is documented
    return {}


def _rocm_smi(host: Host) -> Iterator[tuple[str, Told]]:
    for card in _json(host.run(*_ROCM_SMI, limit_seconds=_LIMIT_SECONDS)).values():
        if "PCI Bus" not in card:
            continue  # `system` stands among the cards
        # Older releases write `Card series`.
        name = str(card.get("Card Series") or card.get("Card series") or "")
        yield (
            card["PCI Bus"].lower(),
            Told(
                int(card["VRAM Total Memory (B)"]),
                int(card["VRAM Total Used Memory (B)"]),
                "rocm-smi",
                "" if name == "N/A" else name,
            ),
        )


def _amd_smi(host: Host) -> Iterator[tuple[str, Told]]:
    listed, measured = (
        _cards(_json(host.run(*command, limit_seconds=_LIMIT_SECONDS))) for command in _AMD_SMI
    )
    slots = {card["gpu"]: card["bdf"].lower() for card in listed}
    for card in measured:
        usage = card["mem_usage"]
        total, used = (int(usage[key]["value"]) << 20 for key in ("total_vram", "used_vram"))
        yield slots[card["gpu"]], Told(total, used, "amd-smi")


def _cards(answer: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # JSON of another program
    cards: list[dict[str, Any]] = answer if isinstance(answer, list) else answer["gpu_data"]
    return cards


def _json(text: str) -> Any:  # noqa: ANN401  # as above
    """Return what stands after warnings, for example that a card is asleep."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("{", "[")):
            with suppress(ValueError):
                return json.loads("\n".join(lines[number:]))
    raise ValueError(text)
