"""What is asked of the advice: a goal, choices that are the user's, and perhaps another machine.

Pure functions; each row of the what-if panel has its options in an order in which one can step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from localr1.amount import parse_size
from localr1.config import Goal
from localr1.errors import ProfileError, UsageError
from localr1.fit.types import Asked
from localr1.machine.gpu_table import meant_cards, nearest_names
from localr1.machine.types import Device, Machine
from localr1.machine.what_if import what_if
from localr1.printable import printable
from localr1.tui import wording

Field = Literal["goal", "context_window", "kv_cache_type", "ram_bytes", "gpu"]
FIELDS: Final[tuple[Field, ...]] = get_args(Field)
LABELS: Final[dict[Field, str]] = {
    "goal": "Goal",
    "context_window": "Context",
    "kv_cache_type": "KV cache",
    "ram_bytes": "Memory",
    "gpu": "Graphics",
}
TYPED: Final[frozenset[Field]] = frozenset(("context_window", "ram_bytes", "gpu"))
"""What can be typed as well."""
GOAL_WORDS: Final[dict[Goal, str]] = {
    "best": "best quality first",
    "balanced": "balanced",
    "fast": "fast answers first",
}

_CONTEXTS: Final = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
_KV_TYPES: Final = ("f16", "q8_0", "q4_0")
_RAM_GIB: Final = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
# By memory, so that a step to the right is a step up; any other name can be typed.
_CARDS: Final = (
    *("RTX 4060", "RTX 3060", "Arc B580", "RTX 4070", "RTX 4060 Ti 16GB", "RX 9070 XT"),
    *("RTX 5070 Ti", "RX 7900 XTX", "RTX 3090", "RTX 4090", "RTX 5090", "RTX 3090 x2"),
    *("RTX 4090 x2", "RTX 5090 x2", "RTX PRO 6000", "RTX 3090 x4"),
)
_CHIPS: Final = (
    *("M1", "M2", "M4", "M1 Pro", "M2 Pro", "M4 Pro", "M1 Max", "M2 Max", "M4 Max"),
    *("M2 Ultra", "M3 Ultra"),
)
_MOST_CONTEXT: Final = 1 << 20
_SMALLEST_RAM: Final = 1 << 29
_COUNT: Final = re.compile(r"(.*\S)\s+x(\d+)")
# `Some Card 24G`: the memory of a card that is in no table.
_OWN_MEMORY: Final = re.compile(r"(.*\S)\s+(\d+(?:\.\d+)?\s*[GM](?:i?B)?)", re.IGNORECASE)
_BRANDS: Final = re.compile(r"^(NVIDIA GeForce|NVIDIA|AMD Radeon|AMD|Intel|Apple)\s+")


@dataclass(frozen=True)
class Scenario:
    """What the advice is for; None leaves things as they are, or the choice to localr1."""

    goal: Goal = "balanced"
    context_window: int | None = None
    kv_cache_type: str | None = None
    ram_bytes: int | None = None
    gpu: str | None = None
    """As for `--gpu`: `RTX 4090 x2`, `none`."""
    gpu_memory_bytes: int | None = None
    """Of each of those, where the table does not know it."""

    @property
    def elsewhere(self) -> bool:
        """Whether it is about a machine that is not this one."""
        return self.ram_bytes is not None or self.gpu is not None

    @property
    def asked(self) -> Asked:
        """What is asked of every plan."""
        return Asked(self.context_window, self.kv_cache_type)

    def on(self, machine: Machine) -> Machine:
        """The machine that it is about.

        Args:
            machine: This one.

        Raises:
            ProfileError: The memory of the GPU is not known.
        """
        return what_if(machine, self.ram_bytes, self.gpu, self.gpu_memory_bytes)

    def here(self) -> Scenario:
        """The same on this machine."""
        return replace(self, ram_bytes=None, gpu=None, gpu_memory_bytes=None)

    def words(self) -> str:
        """The other machine in a few words: `64 GiB memory, 2 × RTX 3090`."""
        parts = []
        if self.ram_bytes is not None:
            parts.append(f"{_gib(self.ram_bytes)} memory")
        if self.gpu is not None:
            parts.append("no graphics card" if _is_none(self.gpu) else _counted(self.gpu))
        return ", ".join(parts)


@dataclass(frozen=True)
class Option:
    """One choice of a row."""

    value: str | int | None
    text: str


def options(
    field: Field, scenario: Scenario, machine: Machine | None, standard_context: int = 0
) -> tuple[Option, ...]:
    """The choices of a row, in order; what was typed is among them.

    Args:
        field: The row.
        scenario: The present choices.
        machine: This one; None while it is being examined.
        standard_context: The context of the user's settings; 0 where they have none.
    """
    match field:
        case "goal":
            return tuple(Option(goal, words) for goal, words in GOAL_WORDS.items())
        case "context_window":
            standard = f"{standard_context:,} (settings)" if standard_context else "automatic"
            values = _with(_CONTEXTS, scenario.context_window)
            return Option(None, standard), *(Option(n, f"{n:,} tokens") for n in values)
        case "kv_cache_type":
            return Option(None, "automatic"), *(Option(name, name) for name in _KV_TYPES)
        case "ram_bytes":
            return _memories(scenario, machine)
        case "gpu":
            return _cards(scenario, machine)


def moved(
    scenario: Scenario, field: Field, by: int, machine: Machine | None, *, around: bool = False
) -> Scenario:
    """The scenario after steps in a row; it stops at the ends unless it goes around."""
    choices = options(field, scenario, machine)
    at = position(choices, scenario, field) + by
    at = at % len(choices) if around else min(max(at, 0), len(choices) - 1)
    return chosen(scenario, field, choices[at].value)


def position(choices: Sequence[Option], scenario: Scenario, field: Field) -> int:
    """Which of a row's choices is the present one."""
    values = [choice.value for choice in choices]
    return values.index(getattr(scenario, field))


def chosen(scenario: Scenario, field: Field, value: str | int | None) -> Scenario:
    """The scenario with another value in one row."""
    if field == "gpu":
        scenario = replace(scenario, gpu_memory_bytes=None)
    return replace(scenario, **{field: value})  # type: ignore[arg-type]  # options have the type


def typed(scenario: Scenario, field: Field, text: str, machine: Machine) -> Scenario:
    """The scenario with what a person typed into a row; nothing typed leaves things as they are.

    Raises:
        UsageError: It is no such amount.
        ProfileError: The graphics card is not known.
    """
    text = " ".join(printable(text).split())
    if not text:
        return chosen(scenario, field, None)
    if field == "gpu":
        return _typed_gpu(scenario, text, machine)
    if field == "ram_bytes":
        # Who types 64 means GiB.
        size = parse_size(f"{text}G" if text.replace(".", "", 1).isdigit() else text)
        if size < _SMALLEST_RAM:
            raise UsageError(f"{text} is less than any computer has.", "", "Write it as 16G.")
        return chosen(scenario, field, size)
    number = text.replace(",", "").replace(" ", "")
    tokens = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0
    if not 1 <= tokens <= _MOST_CONTEXT:
        raise UsageError(f"{text!r} is no number of tokens.", "", "Write it as 32768.")
    return chosen(scenario, field, tokens)


def _typed_gpu(scenario: Scenario, text: str, machine: Machine) -> Scenario:
    wanted = chosen(scenario, "gpu", "none" if _is_none(text) else text)
    try:
        wanted.on(machine)
    except ProfileError as error:
        own = _OWN_MEMORY.fullmatch(text)
        if own is None:
            near = nearest_names(text)
            todo = f"Names like it: {', '.join(near)}. " if near else ""
            todo += "Or add its memory: My Card 24G."
            raise ProfileError(error.what, error.why, todo) from error
        wanted = replace(wanted, gpu=own[1], gpu_memory_bytes=parse_size(own[2]))
        wanted.on(machine)
    return wanted


def _memories(scenario: Scenario, machine: Machine | None) -> tuple[Option, ...]:
    here = machine.memory.total_bytes if machine is not None else 0
    values = _with([n << 30 for n in _RAM_GIB], scenario.ram_bytes)
    smaller = [Option(n, _gib(n)) for n in values if n < here]
    larger = [Option(n, _gib(n)) for n in values if n >= here]
    this = Option(None, f"{wording.size(here)} (as it is)" if here else "as it is")
    return *smaller, this, *larger


def _cards(scenario: Scenario, machine: Machine | None) -> tuple[Option, ...]:
    gpus = machine.gpus if machine is not None else ()
    ladder = _CHIPS if any(gpu.vendor == "apple" for gpu in gpus) else _CARDS
    names = [*(["none"] if gpus else []), *ladder]
    if scenario.gpu is not None and scenario.gpu not in names:
        names.insert(0, scenario.gpu)
    others = [Option(name, "none" if _is_none(name) else _card_words(name)) for name in names]
    return Option(None, f"{_this_gpu(gpus)} (as it is)"), *others


def _this_gpu(gpus: Sequence[Device]) -> str:
    if not gpus:
        return "none"
    name = _BRANDS.sub("", printable(gpus[0].description)) or gpus[0].name
    same = sum(1 for gpu in gpus if gpu.description == gpus[0].description)
    more = f" and {len(gpus) - same} more" if len(gpus) > same else ""
    return (f"{same} × {name}" if same > 1 else name) + more


def _card_words(name: str) -> str:
    counted = _COUNT.fullmatch(name)
    cards = meant_cards(counted[1] if counted else name)
    memory = cards[0].memory_gib if cards else None
    size = "" if memory is None else f", {memory:g} GiB{' each' if counted else ''}"
    return _counted(name) + size


def _counted(name: str) -> str:
    found = _COUNT.fullmatch(name)
    return f"{found[2]} × {found[1]}" if found else name


def _gib(size_bytes: int) -> str:
    return (
        f"{size_bytes / wording.GIB:g} GiB"
        if size_bytes % (1 << 28) == 0
        else wording.size(size_bytes)
    )


def _is_none(gpu: str) -> bool:
    return gpu.strip().lower() in {"none", "no", "0"}


def _with(values: Sequence[int], own: int | None) -> list[int]:
    return sorted({*values, own}) if own is not None else list(values)
