"""Graphics processors by name: advertised memory and memory bandwidth.

Used where the driver does not say (a Vulkan device, a what-if card, a profile). Figures
are the manufacturers' published specifications (NVIDIA's, AMD's, Intel's and Apple's
product pages), in GiB as advertised and in GB/s (10^9), cross-checked where they have the
card against the tables of two MIT-licensed projects: whichllm (`src/whichllm/data/gpu.py`)
and llmfit (`llmfit-core/src/hardware.rs`). Where those are wrong or disagree the
manufacturer's figure stands: RTX 5060 448, RX 9070 and 9070 XT 640, RTX 3080 12 GB 912,
RTX 3060 8 GB 240, M3 Max with 30 GPU cores 300, M4 Max with 32 cores 410, M3 Ultra 819.

Laptop parts carry the desktop's name and slower memory: they are not in the table, and a
name that says laptop finds nothing. Bandwidth of a GPU that shares main memory is that of
the fastest memory it was sold with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Vendor = Literal["nvidia", "amd", "intel", "apple", "unknown"]
GIB = 1 << 30


@dataclass(frozen=True)
class Card:
    """One product: a name, its memory, and how fast that is."""

    name: str
    """As `normalize` writes it: lower case, without brand words."""
    vendor: Vendor
    memory_gib: float | None
    """Advertised memory; None where it shares main memory."""
    bandwidth_gb_per_second: float
    gpu_cores: int | None = None
    """Apple only, where one chip name has two speeds."""

    @property
    def memory_bytes(self) -> int | None:
        """Advertised memory in bytes (a card's GB is GiB)."""
        return None if self.memory_gib is None else int(self.memory_gib * GIB)

    @property
    def bandwidth_bytes_per_second(self) -> float:
        """Memory bandwidth in bytes per second."""
        return self.bandwidth_gb_per_second * 1e9


# name, GiB, GB/s. The common twin of a name comes first.
_NVIDIA = (
    ("rtx 5090", 32, 1792),
    ("rtx 5080", 16, 960),
    ("rtx 5070 ti", 16, 896),
    ("rtx 5070", 12, 672),
    ("rtx 5060 ti", 16, 448),
    ("rtx 5060 ti", 8, 448),
    ("rtx 5060", 8, 448),
    ("rtx 4090", 24, 1008),
    ("rtx 4090 d", 24, 1008),
    ("rtx 4080 super", 16, 736),
    ("rtx 4080", 16, 717),
    ("rtx 4070 ti super", 16, 672),
    ("rtx 4070 ti", 12, 504),
    ("rtx 4070 super", 12, 504),
    ("rtx 4070", 12, 504),
    ("rtx 4060 ti", 8, 288),
    ("rtx 4060 ti", 16, 288),
    ("rtx 4060", 8, 272),
    ("rtx 3090 ti", 24, 1008),
    ("rtx 3090", 24, 936),
    ("rtx 3080 ti", 12, 912),
    ("rtx 3080", 10, 760),
    ("rtx 3080", 12, 912),
    ("rtx 3070 ti", 8, 608),
    ("rtx 3070", 8, 448),
    ("rtx 3060 ti", 8, 448),
    ("rtx 3060", 12, 360),
    ("rtx 3060", 8, 240),
    ("rtx 3050", 8, 224),
    ("rtx 3050", 6, 168),
    ("titan rtx", 24, 672),
    ("rtx 2080 ti", 11, 616),
    ("rtx 2080 super", 8, 496),
    ("rtx 2080", 8, 448),
    ("rtx 2070 super", 8, 448),
    ("rtx 2070", 8, 448),
    ("rtx 2060 super", 8, 448),
    ("rtx 2060", 6, 336),
    ("gtx 1660 super", 6, 336),
    ("gtx 1660 ti", 6, 288),
    ("gtx 1660", 6, 192),
    # Sold with GDDR5 (128) and GDDR6 (192) under one name: the slower is promised.
    ("gtx 1650", 4, 128),
    ("gtx 1080 ti", 11, 484),
    ("gtx 1080", 8, 320),
    ("gtx 1070", 8, 256),
    ("gtx 1060", 6, 192),
    ("gtx 1050 ti", 4, 112),
    ("h200", 141, 4800),
    ("h100", 80, 3350),
    ("h100 sxm", 80, 3350),
    ("h100 hbm3", 80, 3350),
    ("h100 pcie", 80, 2039),
    ("a100", 80, 2039),
    ("a100", 40, 1555),
    ("a100 sxm4", 80, 2039),
    ("a100 sxm4", 40, 1555),
    ("a100 pcie", 80, 1935),
    ("a100 pcie", 40, 1555),
    ("l40s", 48, 864),
    ("l40", 48, 864),
    ("l4", 24, 300),
    ("t4", 16, 320),
    ("v100", 16, 900),
    ("v100", 32, 900),
    ("a40", 48, 696),
    ("a10", 24, 600),
    ("p40", 24, 346),
    ("a6000", 48, 768),
    ("rtx a6000", 48, 768),
    ("rtx a5000", 24, 768),
    ("rtx a4000", 16, 448),
    ("rtx 6000 ada generation", 48, 960),
    ("rtx 6000 ada", 48, 960),
    ("rtx pro 6000 blackwell workstation edition", 96, 1792),
    ("rtx pro 6000", 96, 1792),
    ("gb10", None, 273),
)
_AMD = (
    ("rx 9070 xt", 16, 640),
    ("rx 9070", 16, 640),
    ("rx 9060 xt", 16, 320),
    ("rx 9060 xt", 8, 320),
    ("rx 7900 xtx", 24, 960),
    ("rx 7900 xt", 20, 800),
    ("rx 7900 gre", 16, 576),
    ("rx 7800 xt", 16, 624),
    ("rx 7700 xt", 12, 432),
    ("rx 7600 xt", 16, 288),
    ("rx 7600", 8, 288),
    ("rx 6950 xt", 16, 576),
    ("rx 6900 xt", 16, 512),
    ("rx 6800 xt", 16, 512),
    ("rx 6800", 16, 512),
    ("rx 6750 xt", 12, 432),
    ("rx 6700 xt", 12, 384),
    ("rx 6650 xt", 8, 280),
    ("rx 6600 xt", 8, 256),
    ("rx 6600", 8, 224),
    ("rx 5700 xt", 8, 448),
    ("rx 580", 8, 256),
    ("rx vega 64", 8, 484),
    ("vii", 16, 1024),
    ("ai pro r9700", 32, 640),
    ("pro w7900", 48, 864),
    ("instinct mi300x", 192, 5300),
    ("8060s", None, 256),
    ("8050s", None, 256),
    ("890m", None, 120),
    ("780m", None, 90),
)
_INTEL = (
    ("arc a770", 16, 560),
    ("arc a770", 8, 512),
    ("arc a750", 8, 512),
    ("arc a580", 8, 512),
    ("arc a380", 6, 186),
    ("arc b580", 12, 456),
    ("arc b570", 10, 380),
    ("arc pro b60", 24, 456),
    ("arc 140v", None, 136),
)
# chip, GPU cores where they tell twins apart, GB/s. The full chip of a name comes first.
_APPLE = (
    ("m1", None, 68),
    ("m1 pro", None, 200),
    ("m1 max", None, 400),
    ("m1 ultra", None, 800),
    ("m2", None, 100),
    ("m2 pro", None, 200),
    ("m2 max", None, 400),
    ("m2 ultra", None, 800),
    ("m3", None, 100),
    ("m3 pro", None, 150),
    ("m3 max", 40, 400),
    ("m3 max", 30, 300),
    ("m3 ultra", None, 819),
    ("m4", None, 120),
    ("m4 pro", None, 273),
    ("m4 max", 40, 546),
    ("m4 max", 32, 410),
    ("m5", None, 153),
    ("m5 pro", None, 307),
    ("m5 max", 40, 614),
)

CARDS: tuple[Card, ...] = (
    *(Card(name, "nvidia", memory, speed) for name, memory, speed in _NVIDIA),
    *(Card(name, "amd", memory, speed) for name, memory, speed in _AMD),
    *(Card(name, "intel", memory, speed) for name, memory, speed in _INTEL),
    *(Card(name, "apple", None, speed, cores) for name, cores, speed in _APPLE),
)

_BRANDS = frozenset(
    (
        *("nvidia", "geforce", "tesla", "quadro", "amd", "ati", "radeon", "intel", "apple"),
        *("corporation", "graphics", "gpu", "card"),
    )
)
_LAPTOP = frozenset(("laptop", "mobile", "notebook", "max-q", "maxq"))
_MEMORY = re.compile(r"^(\d+)gi?b$")
# Advertised and reported memory differ: reserved or error-correcting memory takes up to 7 %.
_SAME_MEMORY_SHARE = 0.08


def words_of(name: str) -> list[str]:
    """Return a product name's words, lower case, without trade marks and driver notes."""
    text = re.sub(r"\((?:r|tm|c)\)|[®™]", " ", name.lower())
    text = re.sub(r"\(.*?\)", " ", text)
    text = re.sub(r"(\d+)\s*(gi?b)\b", r"\1\2", text)
    text = re.sub(r"\bmax-q\b", "maxq", text)
    return [word for word in re.split(r"[\s\-_/,]+", text) if word]


def normalize(name: str) -> str:
    """Return a product name without brand words and memory: `rtx 3080`, `m3 max`."""
    return " ".join(w for w in words_of(name) if w not in _BRANDS and not _MEMORY.match(w))


def is_laptop(name: str) -> bool:
    """Tell whether a name says that it is a laptop's part."""
    return any(word in _LAPTOP for word in words_of(name))


def find_cards(name: str, memory_bytes: int | None = None) -> tuple[Card, ...]:
    """Return the table's cards of exactly this name, the common one first.

    Args:
        name: A product name as a driver or a user writes it; memory in it (`12GB`) counts.
        memory_bytes: Memory that tells twins apart; cards with other memory are left out.
    """
    if is_laptop(name):
        return ()
    wanted = normalize(name)
    found = tuple(card for card in CARDS if card.name == wanted)
    for word in words_of(name):
        size = _MEMORY.match(word)
        if size and memory_bytes is None:
            memory_bytes = int(size.group(1)) * GIB
    if memory_bytes is None:
        return found
    return tuple(card for card in found if _same_memory(card, memory_bytes))


def bandwidth_of(
    name: str, memory_bytes: int | None = None, gpu_cores: int | None = None
) -> float | None:
    """Return a card's memory bandwidth in bytes per second, or None rather than a guess.

    Args:
        name: The product's name.
        memory_bytes: Its memory, to tell twins apart.
        gpu_cores: Apple: its GPU cores, likewise.
    """
    cards = find_cards(name, memory_bytes)
    if gpu_cores is not None and len(cards) > 1:
        cards = tuple(card for card in cards if card.gpu_cores == gpu_cores)
    speeds = {card.bandwidth_bytes_per_second for card in cards}
    return speeds.pop() if len(speeds) == 1 else None


def vendor_of(text: str) -> Vendor:
    """Return who makes a graphics processor, from its name."""
    words = set(words_of(text))
    if words & {"nvidia", "geforce", "tesla", "quadro", "rtx", "gtx", "titan"}:
        return "nvidia"
    if words & {"amd", "radeon", "ati", "instinct"}:
        return "amd"
    if words & {"intel", "arc", "iris", "uhd"}:
        return "intel"
    if "apple" in words:
        return "apple"
    vendors = {card.vendor for card in find_cards(text)}
    return vendors.pop() if len(vendors) == 1 else "unknown"


def _same_memory(card: Card, memory_bytes: int) -> bool:
    expected = card.memory_bytes
    return expected is None or abs(memory_bytes - expected) <= _SAME_MEMORY_SHARE * expected
