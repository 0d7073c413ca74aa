"""Graphics processors by name: advertised memory and memory bandwidth.

Used where the driver does not say (a Vulkan device, a what-if card, a profile). The figures and
their sources are in `gpu_cards` and `gpu_cards_nvidia`. A name that a driver gives finds exactly its
own rows; what a person types may leave out a series' first word, or the spaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from localr1.machine.gpu_cards import AMD, APPLE, INTEL, SOURCES, Row
from localr1.machine.gpu_cards_nvidia import NVIDIA

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
    source: str
    """The page that the figures are from."""
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


_GROUPS: Final[tuple[tuple[Vendor, Mapping[str, tuple[Row, ...]]], ...]] = (
    ("nvidia", NVIDIA),
    ("amd", AMD),
    ("intel", INTEL),
)
CARDS: Final[tuple[Card, ...]] = (
    *(
        Card(name, vendor, memory, speed, SOURCES[group])
        for vendor, groups in _GROUPS
        for group, rows in groups.items()
        for name, memory, speed in rows
    ),
    *(Card(name, "apple", None, speed, SOURCES["apple"], cores) for name, cores, speed in APPLE),
)


def _by_name() -> dict[str, tuple[Card, ...]]:
    result: dict[str, tuple[Card, ...]] = {}
    for card in CARDS:
        result[card.name] = (*result.get(card.name, ()), card)
    return result


_BY_NAME: Final = _by_name()

# Words that tell no two cards apart.
_IDLE_WORDS = frozenset(
    (
        *("nvidia", "geforce", "tesla", "amd", "ati", "radeon", "intel", "apple", "corporation"),
        *("graphics", "gpu", "card", "with", "design", "generation", "edition", "workstation"),
        *("blackwell", "series"),
    )
)
_SYNONYMS = {"mobile": "laptop", "notebook": "laptop"}
_LAPTOP = frozenset(("laptop", "maxq"))
# What a person leaves out of a name.
_SERIES = ("rtx", "gtx", "rx", "arc", "radeon pro", "ai pro", "quadro", "quadro rtx", "instinct")
# What people call a chip whose graphics have another name (AMD's pages of the processors, as of the
# table's `ryzen` rows).
_CHIPS = {
    "strix halo": "8060s",
    "ryzen ai max+ 395": "8060s",
    "ai max+ 395": "8060s",
    "ryzen ai max 390": "8050s",
    "ryzen ai max 385": "8050s",
    "strix point": "890m",
    "ryzen ai 9 hx 370": "890m",
}
_CAPITALS = frozenset(
    ("rtx", "gtx", "rx", "xt", "xtx", "gre", "le", "vii", "sff", "ai", "wx", "ii")
)
_MEMORY = re.compile(r"^(\d+)gi?b$")
_GPU_CORES = re.compile(r"\b(\d+)[ -]cores?\b")
_NEAREST = 4
# Advertised and reported memory differ: reserved or error-correcting memory takes up to 7 %.
_SAME_MEMORY_SHARE = 0.08


def words_of(name: str) -> list[str]:
    """Return a product name's words, lower case, without trade marks and driver notes."""
    text = re.sub(r"\((?:r|tm|c)\)|[®™]", " ", name.lower())
    text = re.sub(r"\(.*?\)", " ", text)
    text = re.sub(r"(\d+)\s*(gi?b)\b", r"\1\2", text)
    text = re.sub(r"\bmax-q\b", "maxq", text)
    words = (word for word in re.split(r"[\s\-_/,]+", text) if word)
    return [_SYNONYMS.get(word, word) for word in words]


def normalize(name: str) -> str:
    """Return a product name without brand words and memory: `rtx 3080 laptop`, `m3 max`."""
    return " ".join(w for w in words_of(name) if w not in _IDLE_WORDS and not _MEMORY.match(w))


def is_laptop(name: str) -> bool:
    """Tell whether a name says that it is a laptop's part."""
    return any(word in _LAPTOP for word in words_of(name))


def find_cards(name: str, memory_bytes: int | None = None) -> tuple[Card, ...]:
    """Return the table's cards of exactly this name, the common one first.

    Args:
        name: A product name as a driver or a user writes it; memory in it (`12GB`) counts.
        memory_bytes: Memory that tells twins apart; cards with other memory are left out.
    """
    found = _BY_NAME.get(normalize(name), ())
    for word in words_of(name):
        size = _MEMORY.match(word)
        if size and memory_bytes is None:
            memory_bytes = int(size.group(1)) * GIB
    if memory_bytes is None:
        return found
    return tuple(card for card in found if _same_memory(card, memory_bytes))


def meant_cards(text: str, memory_bytes: int | None = None) -> tuple[Card, ...]:
    """Return the cards that a person means: `4090`, `rtx4070ti laptop`, `M3 Max 30 cores`.

    Args:
        text: A name, perhaps without spaces or without its series' first word.
        memory_bytes: Memory that tells twins apart.
    """
    cores = _GPU_CORES.search(text.lower())
    name = _GPU_CORES.sub(" ", text.lower())
    exact = find_cards(_CHIPS.get(normalize(name), name), memory_bytes)
    if not exact:
        wanted = normalize(name).replace(" ", "")
        keys = {wanted, *(f"{normalize(series)}{wanted}".replace(" ", "") for series in _SERIES)}
        names = {card.name for card in CARDS if card.name.replace(" ", "") in keys}
        sizes = " ".join(word for word in words_of(name) if _MEMORY.match(word))
        exact = find_cards(f"{names.pop()} {sizes}", memory_bytes) if len(names) == 1 else ()
    if cores is not None:
        exact = tuple(card for card in exact if card.gpu_cores == int(cores[1]))
    return exact


def shown_name(name: str) -> str:
    """Return a name of the table as it is written: `RTX 4070 Ti Super`, `Arc A770`."""
    return " ".join(
        word.upper() if word in _CAPITALS or any(c.isdigit() for c in word) else word.capitalize()
        for word in name.split()
    ).replace("Maxq", "Max-Q")


def nearest_names(text: str) -> tuple[str, ...]:
    """Return the names in the table that look most like a text, the likeliest first."""
    import difflib  # noqa: PLC0415  # only for names that nobody knows

    known = [*_BY_NAME, *_CHIPS]
    found = difflib.get_close_matches(normalize(text), known, n=_NEAREST, cutoff=0.6)
    return tuple(shown_name(name) for name in found)


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
    if words & {"amd", "radeon", "ati", "instinct", "rx"}:
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
